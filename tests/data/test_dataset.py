"""A dataset cannot be wrong: what it is made of is brought into form, or refused with what and where."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import dgl
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from dgl_mutual.data import Dataset, Split, load_dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.errors import DataError, UsageError

EDGES = np.array([[0, 1, 1, 2, 3], [1, 0, 2, 1, 2]])
FEATURES = np.arange(8, dtype=np.float32).reshape(4, 2)
LABELS = np.array([0, 1, 1, 0])


def toy(**changed: Any) -> Dataset:
    given = {"edges": EDGES, "features": FEATURES, "labels": LABELS, **changed}
    return Dataset.from_arrays(given.pop("edges"), given.pop("features"), given.pop("labels"), **given)


def test_edges_come_in_any_order_with_loops_and_duplicates() -> None:
    shuffled = EDGES[:, [4, 2, 0, 1, 3]]
    loops = np.array([[2, 3], [2, 3]])
    messy = np.concatenate([shuffled, loops, shuffled[:, :2]], axis=1)
    for edges in (messy, messy.astype(np.int32), torch.as_tensor(messy), messy.tolist(), messy.astype(float)):
        dataset = toy(edges=edges)
        assert fingerprint(dataset) == fingerprint(toy())
        keys = dataset.edges[1] * 4 + dataset.edges[0]
        assert (np.diff(keys) > 0).all() and dataset.num_edges == 5


def test_edges_of_a_data_frame_are_found_by_their_names() -> None:
    frame = pd.DataFrame({"src_id": EDGES[0], "dst_id": EDGES[1]})
    for edges in (frame, frame[["dst_id", "src_id"]], pd.DataFrame(EDGES)):
        assert fingerprint(toy(edges=edges)) == fingerprint(toy())
        assert fingerprint(toy(edges=edges, features=None)) == fingerprint(toy(features=None))
        assert fingerprint(toy(edges=edges, edge_features=np.ones((5, 1)))) == fingerprint(toy(edge_features=np.ones((5, 1))))


FRAME = pd.DataFrame({"src_id": EDGES[0], "dst_id": EDGES[1], "weight": 1.0})


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (FRAME, r"the columns src_id, dst_id, weight; .* edge_features=frame\[\['weight'\]\]"),
        (pd.DataFrame({"dst": EDGES[1], "src": EDGES[0]}), "the columns dst, src; expected src_id and dst_id, with a row an edge. Rename"),
        (pd.DataFrame(EDGES.T), "the columns 0, 1; expected src_id and dst_id"),
        (FRAME[["dst_id", "src_id"]].T, r"Transpose it \(frame.T\), .* the row 'dst_id' is the first"),
        (FRAME[["src_id"]], "the columns src_id; expected"),
    ],
)
def test_a_data_frame_of_edges_with_other_columns_is_refused(edges: pd.DataFrame, message: str) -> None:
    """Which of two columns is the source is not guessed."""
    for features in (FEATURES, None):
        with pytest.raises(DataError, match=message):
            toy(edges=edges, features=features)


def test_the_constructor_brings_edges_into_form_too() -> None:
    dataset = load_dataset("digits", "graph")
    order = np.random.default_rng(0).permutation(dataset.num_edges)
    assert fingerprint(replace(dataset, edges=dataset.edges[:, order])) == fingerprint(dataset)


def test_sound_edges_are_not_copied() -> None:
    dataset = toy()
    assert replace(dataset, name="other").edges is dataset.edges


def test_the_reverse_of_edges() -> None:
    assert toy(edges=[[0, 1], [1, 2]], symmetric=True).edges.T.tolist() == [[1, 0], [0, 1], [2, 1], [1, 2]]


@pytest.mark.parametrize(
    "features",
    [
        FEATURES.astype(np.float64),
        FEATURES.astype(np.int32),
        torch.as_tensor(FEATURES, dtype=torch.bfloat16),
        torch.as_tensor(FEATURES).requires_grad_(),
        torch.as_tensor(FEATURES).to_sparse(),
        sparse.coo_matrix(FEATURES),
        pd.DataFrame(FEATURES, columns=["a", "b"]),
        FEATURES.tolist(),
    ],
)
def test_features_of_any_library(features: Any) -> None:
    dataset = toy(features=features)
    np.testing.assert_array_equal(dataset.features, FEATURES)
    assert dataset.features.dtype == np.float32
    assert dataset.feature_names == (("a", "b") if isinstance(features, pd.DataFrame) else ("feature 0", "feature 1"))


def test_booleans_are_indicators_and_no_features_are_degrees() -> None:
    assert toy(features=FEATURES > 3).feature_kinds == ("indicator", "indicator")
    assert toy(features=pd.DataFrame({"x": [True, False, True, True], "y": [0.5, 1, 2, 3]})).feature_kinds == ("number", "number")
    degrees = toy(features=None)
    assert degrees.feature_names == ("degree=0", "degree=1", "degree=2") and set(degrees.feature_kinds) == {"indicator"}
    np.testing.assert_array_equal(np.asarray(degrees.features).argmax(axis=1), [1, 2, 2, 0])


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["cat", "dog", None, "cat"], ("cat", "dog"), [0, 1, -1, 0]),
        ([2, 10, 10, -1], ("2", "10"), [0, 1, 1, -1]),
        ([1.0, np.nan, 0.0, 1.0], ("0", "1"), [1, -1, 0, 1]),
        (torch.tensor([True, False, True, False]), ("False", "True"), [1, 0, 1, 0]),
        (pd.Series(["b", "a", "b", "a"], dtype="category"), ("a", "b"), [1, 0, 1, 0]),
    ],
)
def test_labels_are_encoded_and_their_names_kept(labels: Any, names: tuple[str, ...], numbers: list[int]) -> None:
    dataset = toy(labels=labels)
    assert (dataset.target.kind, dataset.target.names, dataset.labels.tolist()) == ("single-label", names, numbers)


def test_columns_of_labels() -> None:
    dataset = toy(labels=[[0, 1], [1, np.nan], [0, 0], [1, 1]])
    assert (dataset.target.kind, dataset.target.metric, dataset.labels.dtype) == ("multi-label", "micro-f1", np.float32)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"edges": [[0, 4], [1, 2]]}, r"names the node 4, and the graph has 4 nodes, 0 to 3"),
    ({"edges": [[0, -1], [1, 2]]}, r"names the node -1"),
    ({"edges": [[0, 1], [1, 2], [2, 3]]}, r"shape \(3, 2\); expected \(2, number of edges\).* Transpose"),
    ({"edges": [[0.5, 1], [1, 2]]}, "whole numbers, found .*0.5"),
    ({"edges": [["a", "b"], ["b", "a"]]}, "whole numbers, found"),
    ({"edges": [[0, 1], [1]]}, "rows of equal length|Give rows"),
    ({"features": FEATURES[:, 0]}, r"expected shape \(nodes, columns\), found \(4,\)"),
    ({"features": [["red", "1"], ["blue", "2"], ["red", "3"], ["red", "4"]]}, "Encode words"),
    ({"features": np.where(FEATURES == 3, np.nan, FEATURES)}, "node 1.*finite"),
    ({"features": np.where(FEATURES == 5, 1e39, FEATURES.astype(float))}, "node 2.*finite"),
    ({"features": FEATURES[:, :0]}, "columns"),
    ({"labels": [0, 1, 0]}, "3 labels for 4 samples"),
    ({"labels": [0.25, 1.5, 0, 1]}, "regression"),
    ({"labels": [[0, 2], [1, 0], [0, 1], [1, 1]]}, "0 or 1 for each label"),
    ({"split": Split([0, 1], [1], [2])}, "'val' of the split shares samples .* for example 1"),
    ({"split": Split([0, 1], [2], [4])}, "'test' of the split names sample 4; there are 4"),
    ({"split": Split([0, 1], [], [2])}, "'val' of the split is empty"),
    ({"split": Split([0, 0], [1], [2])}, "'train' of the split names sample 0 twice"),
    ({"node_offsets": [0, 2, 3]}, "from 0 to the number of nodes, 4; found 0, 2, 3"),
    ({"node_offsets": [0, 3, 2, 4], "labels": [0, 1, 0]}, "must not decrease"),
    ({"node_offsets": [0, 2, 4], "labels": [0, 1]}, "joins graphs"),
    ({"feature_names": ["a"]}, "1 name for 2 feature columns"),
    ({"feature_kinds": ["colour", "number"]}, "kind of feature column 'colour'. Choose from: number, indicator, count"),
    ({"name": ""}, "'' is no name of a dataset: expected text that is not empty"),
    ({"name": "mine "}, "'mine ' is no name of a dataset: .*Choose another name, for example 'mine'"),
    ({"name": None}, "None is no name of a dataset"),
    ({"name": "m\udc80"}, "is no name of a dataset"),
    ({"task": "edge"}, "Unknown task 'edge'"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG)
def test_what_is_wrong_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        toy(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.array([0, 1, -5, 0])}, "Sample 2 has the label -5; expected a class 0 to 1, or -1"),
        ({"labels": np.array([0, 1, 2, 0])}, "Sample 2 has the label 2"),
        ({"labels": np.zeros(300, dtype=np.int64)}, "300 labels for 4 samples"),
        ({"features": FEATURES[:3]}, "number of nodes"),
        ({"sample_ids": ("a", "b")}, "2 sample_ids for 4 samples"),
    ],
)
def test_the_constructor_refuses_too(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(toy(), **changed)


def test_masks_and_numbers_make_the_same_split() -> None:
    mask = np.array([True, False, True, False])
    split = Split(torch.as_tensor(mask), [1], np.array([3], dtype=np.int8))
    assert split.train.tolist() == [0, 2] and split.train.dtype == split.test.dtype == np.int64
    with pytest.raises(DataError, match="train samples must be whole numbers"):
        Split(["a"], [1], [2])


def dgl_graph(**data: Any) -> dgl.DGLGraph:
    graph = dgl.graph((torch.as_tensor(EDGES[0]), torch.as_tensor(EDGES[1])), num_nodes=4)
    for name, value in {"feat": FEATURES, "label": LABELS, **data}.items():
        graph.ndata[name] = torch.as_tensor(value)
    return graph


def test_from_dgl_node_task_with_masks() -> None:
    masks = {f"{part}_mask": np.arange(4) == place for place, part in enumerate(("train", "val", "test"))}
    dataset = Dataset.from_dgl(dgl_graph(**masks))
    assert fingerprint(dataset) == fingerprint(toy()) and dataset.task == "node"
    assert dataset.official_split is not None and [part.tolist() for part in dataset.official_split.parts.values()] == [[0], [1], [2]]
    assert fingerprint(Dataset.from_dgl(dgl_graph().int())) == fingerprint(toy())
    assert fingerprint(Dataset.from_dgl(dgl_graph(), labels=1 - LABELS)) == fingerprint(toy(labels=1 - LABELS))
    assert fingerprint(Dataset.from_dgl(dgl.add_self_loop(dgl_graph()))) == fingerprint(toy())


def test_from_dgl_graph_task_of_lists_pairs_batches_and_datasets() -> None:
    graphs, labels = [dgl_graph(), dgl.reverse(dgl_graph(), copy_ndata=True)], [0, 1]
    known = Dataset.from_dgl(graphs, labels=labels)
    assert (known.task, known.num_graphs, known.num_nodes, known.labels.tolist()) == ("graph", 2, 8, labels)
    np.testing.assert_array_equal(known.edges[:, known.edges[1] < 4], toy().edges)

    class Pairs(dgl.data.DGLDataset):
        def __init__(self) -> None:
            super().__init__("pairs")

        def process(self) -> None:
            pass

        def __len__(self) -> int:
            return 2

        def __getitem__(self, number: int) -> Any:
            return graphs[number], torch.tensor([labels[number]])

    for data in (list(zip(graphs, map(torch.tensor, labels), strict=True)), Pairs()):
        assert fingerprint(Dataset.from_dgl(data)) == fingerprint(known)
    named = Pairs()
    assert Dataset.from_dgl(named).name == "pairs"
    named._name = " "
    assert Dataset.from_dgl(named).name == "graphs"
    assert fingerprint(Dataset.from_dgl(dgl.batch(graphs), labels=labels)) == fingerprint(known)
    nodes = Dataset.from_dgl(graphs)
    assert (nodes.task, nodes.num_graphs, nodes.num_samples) == ("node", 2, 8)


def test_labels_of_graphs_that_their_type_cannot_tell_apart_are_refused() -> None:
    """2^24 + 1 is 2^24 as float32, and would be exact as float64."""
    pairs = [(dgl_graph(), torch.tensor(label, dtype=torch.float32)) for label in (1, 2**24 + 1)]
    with pytest.raises(DataError, match="float32 does not tell all whole numbers apart"):
        Dataset.from_dgl(pairs)


def test_from_dgl_refuses_with_the_reason() -> None:
    bare = dgl.graph(([0], [1]))
    with pytest.raises(DataError, match=r"no node features 'feat' \(its ndata has: nothing\)"):
        Dataset.from_dgl(bare)
    assert Dataset.from_dgl(bare, feat=None, labels=["x", "y"]).feature_names == ("degree=0", "degree=1")
    two = dgl.heterograph({("a", "r", "b"): ([0], [0]), ("b", "s", "a"): ([0], [0])})
    with pytest.raises(DataError, match=r"heterogeneous \(2 types of nodes"):
        Dataset.from_dgl(two)
    with pytest.raises(DataError, match="a block"):
        Dataset.from_dgl(dgl.to_block(dgl_graph()))
    with pytest.raises(DataError, match="3 labels for 2 graphs with 8 nodes"):
        Dataset.from_dgl([dgl_graph(), dgl_graph()], labels=[0, 1, 2])
    with pytest.raises(DataError, match="item 1 is an int"):
        Dataset.from_dgl([dgl_graph(), 2])
    with pytest.raises(DataError, match="sequence is empty"):
        Dataset.from_dgl([])
    with pytest.raises(DataError, match="node features of graph 1 have rows of the shape"):
        Dataset.from_dgl([dgl_graph(), dgl_graph(feat=FEATURES[:, :1])], labels=[0, 1])
    overlapping = {f"{part}_mask": np.array([True, True, False, False]) for part in ("train", "val", "test")}
    with pytest.raises(DataError, match="shares samples"):
        Dataset.from_dgl(dgl_graph(**overlapping))


def test_a_key_that_is_named_must_be_there() -> None:
    with pytest.raises(DataError, match=r"The graph has no labels 'typo' \(its ndata has: feat, label\)"):
        Dataset.from_dgl(dgl_graph(), label="typo")
    with pytest.raises(DataError, match=r"None of the 2 graphs has labels 'typo' \(of graph 0, its ndata has: feat, label\)"):
        Dataset.from_dgl([dgl_graph(), dgl_graph()], label="typo")
    with pytest.raises(DataError, match="None of the 2 graphs has labels 'typo'"):  # the form of DGL's CSVDataset
        Dataset.from_dgl([(dgl_graph(), {"label": label}) for label in (0, 1)], label="typo")
    bare = dgl_graph()
    del bare.ndata["label"]
    with pytest.raises(DataError, match=r"no labels 'label' \(its ndata has: feat\)"):
        Dataset.from_dgl(bare, label="label")
    assert Dataset.from_dgl(bare).target.names == ()
    assert Dataset.from_dgl([(bare, 0), (bare, 1)], label="label").labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("key", "options", "message"),
    [
        ("feat", {}, r"Graph 2 has no node features 'feat' \(its ndata has: label\), and others have"),
        ("label", {"label": "label"}, r"Graph 2 has no labels 'label' \(its ndata has: feat\), and others have"),
    ],
)
def test_a_graph_that_lacks_what_others_have_is_named(key: str, options: dict[str, str], message: str) -> None:
    graphs = [dgl_graph(), dgl_graph(), dgl_graph()]
    del graphs[2].ndata[key]
    with pytest.raises(DataError, match=message):
        Dataset.from_dgl(graphs, **options)
    del graphs[1].ndata[key]
    with pytest.raises(DataError, match="Graphs 1, 2 have no "):
        Dataset.from_dgl(graphs, **options)


def test_edge_features_of_a_named_key_may_be_missing_where_there_are_no_edges() -> None:
    graphs = [dgl_graph(), dgl.graph(([], []), num_nodes=2), dgl_graph()]
    graphs[0].edata["w"], graphs[1].ndata["feat"], graphs[2].edata["w"] = torch.rand(5), torch.zeros(2, 2), torch.rand(5)
    assert Dataset.from_dgl(graphs, labels=[0, 1, 0], edge_feat="w").num_edge_features == 1
    del graphs[2].edata["w"]
    with pytest.raises(DataError, match=r"Graph 2 has no edge features 'w' \(its edata has: nothing\), and others have"):
        Dataset.from_dgl(graphs, labels=[0, 1, 0], edge_feat="w")


def call_in(message: str, **names: Any) -> Any:
    """What the call of `dgl.to_homogeneous` gives that a message advises."""
    call = message[message.index("dgl.to_homogeneous(") : message.index("), which drops") + 1]
    return eval(call, {"dgl": dgl, **names})


def test_the_advice_for_heterogeneous_graphs_keeps_the_data() -> None:
    two = dgl.heterograph({("n", "r", "n"): ([0, 1], [1, 2]), ("n", "s", "n"): ([0], [2])})
    two.ndata["x"], two.ndata["label"] = torch.rand(3, 2), torch.tensor([0, 1, 0])
    for kind, count in (("r", 2), ("s", 1)):
        two.edges[kind].data["feat"] = torch.rand(count, 1)
    with pytest.raises(DataError, match=r"heterogeneous \(1 type of nodes, 2 of edges\)") as caught:
        Dataset.from_dgl(two, feat="x")
    dataset = Dataset.from_dgl(call_in(str(caught.value), graph=two), feat="x")
    assert (dataset.labels.tolist(), dataset.num_features, dataset.num_edge_features) == ([0, 1, 0], 2, 1)


def test_the_advice_for_heterogeneous_graphs_says_which_types_lack_data() -> None:
    two = dgl.heterograph({("a", "r", "b"): ([0], [0]), ("b", "s", "a"): ([0], [0])})
    two.nodes["a"].data["feat"], two.nodes["a"].data["label"] = torch.rand(1, 2), torch.tensor([1])
    with pytest.raises(DataError, match=r"First set graph.nodes\['b'\].data\['feat'\], graph.nodes\['b'\].data\['label'\]") as caught:
        Dataset.from_dgl(two)
    two.nodes["b"].data["feat"], two.nodes["b"].data["label"] = torch.rand(1, 2), torch.tensor([-1])
    assert Dataset.from_dgl(call_in(str(caught.value), graph=two)).labels.tolist() == [0, -1]


def test_from_pyg() -> None:
    pyg = pytest.importorskip("torch_geometric.data")

    def graph(label: Any, **more: Any) -> Any:
        return pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES), y=torch.as_tensor(label), **more)

    masks = {f"{part}_mask": torch.arange(4) == place for place, part in enumerate(("train", "val", "test"))}
    node = Dataset.from_pyg(graph(LABELS, **masks))
    assert fingerprint(node) == fingerprint(toy()) and node.official_split is not None
    graphs = [graph([0]), graph([1])]
    known = Dataset.from_dgl([dgl_graph(), dgl_graph()], labels=[0, 1])
    for data in (graphs, pyg.Batch.from_data_list(graphs)):
        assert fingerprint(Dataset.from_pyg(data)) == fingerprint(known)
    rows = Dataset.from_pyg([graph([[0.0, 1.0]]), graph([[np.nan, 0.0]])])
    assert (rows.target.kind, rows.labels.shape) == ("multi-label", (2, 2))
    with pytest.raises(DataError, match="no node features x"):
        Dataset.from_pyg(pyg.Data(edge_index=torch.as_tensor(EDGES)))
    with pytest.raises(DataError, match=r"Graph 1 has no node features x \(it has: edge_index\), and others have"):
        Dataset.from_pyg([graph(LABELS), pyg.Data(edge_index=torch.as_tensor(EDGES))])
    with pytest.raises(DataError, match="item 1 is an int"):
        Dataset.from_pyg([graph(LABELS), 1])
    hetero = pyg.HeteroData()
    hetero["a"].x, hetero["b"].x, hetero["a"].y = torch.rand(2, 2), torch.rand(1, 2), torch.tensor([0, 1])
    hetero["a", "r", "b"].edge_index = torch.tensor([[0, 1], [0, 0]])
    with pytest.raises(DataError, match=r"Graph 0 is a HeteroData, .* Convert it with data.to_homogeneous\(\)"):
        Dataset.from_pyg(hetero)
    assert Dataset.from_pyg(hetero.to_homogeneous()).labels.tolist() == [0, 1, -1]


def test_it_prints_in_a_few_lines() -> None:
    lines = repr(toy(split=Split([0], [1], [2]))).splitlines()
    assert lines == [
        "Dataset 'graph': node classification, 2 classes (accuracy)",
        "  1 graph, 4 nodes, 5 edges (each direction counted), 2 features",
        "  split: 1 train, 1 val, 1 test",
    ]


def test_it_prints_one_of_a_kind_in_the_singular() -> None:
    one = toy(edges=[[0], [1]], labels=[1, 1, 1, 1], features=FEATURES[:, :1] / 8, edge_features=[[0.5]])
    assert repr(one).splitlines()[:2] == [
        "Dataset 'graph': node classification, 1 class (accuracy)",
        "  1 graph, 4 nodes, 1 edge (each direction counted), 1 feature, 1 edge feature",
    ]


def test_checks_are_linear_and_replaced_checks_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset with other labels does not look through its edges again."""
    dataset = toy()

    def fail(*_: Any) -> None:
        raise AssertionError("edges are checked again")

    monkeypatch.setattr("dgl_mutual.data.dataset.as_edges", fail)
    assert dataset.replaced(labels=1 - LABELS).labels.tolist() == (1 - LABELS).tolist()
    with pytest.raises(DataError, match="expected a class"):
        dataset.replaced(labels=LABELS + 1)


def test_graphs_in_memory_are_loaded_and_learned_from() -> None:
    import dgl_mutual

    assert fingerprint(dgl_mutual.load(dgl_graph())) == fingerprint(toy())
    masks = {f"{part}_mask": np.arange(4) % 3 == place for place, part in enumerate(("train", "val", "test"))}
    result = dgl_mutual.fit(dgl_graph(**masks), students="gcn,sage", training={"epochs": 1})
    assert result.predict(dgl_graph()).shape == (4, 2)
    for data, message in (
        (3, "Expected a Dataset, a DGL graph, a PyG graph, or a list of graphs, found an int"),
        ([], "found an empty list"),
        ([1, 2], "found a list whose item 0 is an int"),
        (np.zeros(3), "found an ndarray"),
        (None, "found None"),
        ("digitz", "Unknown dataset 'digitz'. Did you mean 'digits'"),
        ("digits", r"found the name of one, 'digits'. Load it: dgl_mutual.load\('digits'\)"),
    ):
        with pytest.raises(UsageError, match=message):
            dgl_mutual.fit(data)
    with pytest.raises(UsageError, match="found an empty list"):
        result.predict([])


def test_a_loop_among_sorted_edges_is_removed_too() -> None:
    assert toy(edges=[[0, 0], [0, 1]]).edges.T.tolist() == [[0, 1]]


@pytest.mark.parametrize("which", ["features", "edge_features"])
def test_missing_numbers_of_pandas_are_called_missing(which: str) -> None:
    frame = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": [0.5, 1.5, 2.5]})
    whole = pd.DataFrame({"a": pd.array([1, 2, 3], dtype="Int64"), "b": [0.5, 1.5, 2.5]})
    given: dict[str, Any] = {"features": np.ones((3, 1)), which: frame}
    with pytest.raises(DataError, match=r"(node|edge) 1: expected finite numbers.* found nan\. Rescale the column, or fill in"):
        Dataset.from_arrays([[0, 1, 2], [1, 2, 0]], **given)
    given[which] = whole
    made = Dataset.from_arrays([[0, 1, 2], [1, 2, 0]], **given)
    assert sorted(np.asarray(getattr(made, which))[:, 0].tolist()) == [1, 2, 3]


def test_one_value_a_graph_is_a_class_whatever_its_type() -> None:
    graph = dgl.graph(([0, 1], [1, 0]))
    large = (str(2**53), str(2**53 + 1))
    for labels, names in (([2.0, 1.0, 2.0], ("1", "2")), ([2**53, 2**53 + 1, 2**53], large), (list("aba"), ("a", "b"))):
        made = Dataset.from_dgl([(graph, label) for label in labels], feat=None)
        assert made.target.kind == "single-label" and made.target.names == names
    mixed = Dataset.from_dgl([(graph, label) for label in (2**53 + 1, 0.0, 2**53)], feat=None)
    assert mixed.target.names == ("0", str(2**53), str(2**53 + 1))
    rows = Dataset.from_dgl([(graph, torch.tensor([label])) for label in (0.0, 1.0, np.nan)], feat=None)
    assert rows.target.kind == "multi-label" and rows.labels.shape == (3, 1)


def test_a_mask_covers_the_nodes_of_its_graph() -> None:
    pyg = pytest.importorskip("torch_geometric.data")
    masks = {f"{part}_mask": torch.arange(4) == place for place, part in enumerate(("train", "val", "test"))}
    masks["val_mask"] = masks["val_mask"][:3]
    short = pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES), y=torch.as_tensor(LABELS), **masks)
    with pytest.raises(DataError, match=r"val_mask of graph 0 has the shape \(3,\) for 4 nodes"):
        Dataset.from_pyg(short)


def test_edge_weights_are_not_left_out_in_silence() -> None:
    pyg = pytest.importorskip("torch_geometric.data")
    plain = dgl_graph()
    plain.edata["weight"] = torch.rand(plain.num_edges(), 1)
    with pytest.warns(UserWarning, match=r"edata\['weight'\] are not used.*edge_feat='weight'"):
        Dataset.from_dgl(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Dataset.from_dgl(plain, edge_feat="weight").num_edge_features == 1
        assert Dataset.from_dgl(plain, edge_feat=None).num_edge_features == 0
    weights = torch.rand(EDGES.shape[1])
    data = pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES), y=torch.as_tensor(LABELS), edge_weight=weights)
    with pytest.warns(UserWarning, match=r"edge_weight are not used.*edge_attr = data\.edge_weight\[:, None\]"):
        Dataset.from_pyg(data)
    with pytest.raises(DataError, match=r"Graph 0 has no edge_index\. Set it, shape"):
        Dataset.from_pyg(pyg.Data(x=torch.as_tensor(FEATURES)))
