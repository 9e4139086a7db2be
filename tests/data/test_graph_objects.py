"""Datasets from graphs of DGL and PyG."""

from __future__ import annotations

import warnings
from typing import Any

import dgl
import numpy as np
import pytest
import torch
from scipy import sparse

from dgl_mutual.data import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.errors import DataError, UsageError
from tests.data.test_dataset import EDGES, FEATURES, LABELS, toy


def dgl_graph(**data: Any) -> dgl.DGLGraph:
    graph = dgl.graph((torch.as_tensor(EDGES[0]), torch.as_tensor(EDGES[1])), num_nodes=4)
    for name, value in {"feat": FEATURES, "label": LABELS, **data}.items():
        graph.ndata[name] = torch.as_tensor(value)
    return graph


def test_from_dgl_node_task_with_masks() -> None:
    masks = {f"{part}_mask": np.arange(4) == index for index, part in enumerate(("train", "val", "test"))}
    dataset = Dataset.from_dgl(dgl_graph(**masks))
    assert fingerprint(dataset) == fingerprint(toy()) and dataset.task == "node"
    assert dataset.official_split is not None and [part.tolist() for part in dataset.official_split.parts.values()] == [[0], [1], [2]]
    assert fingerprint(Dataset.from_dgl(dgl_graph().int())) == fingerprint(toy())
    assert fingerprint(Dataset.from_dgl(dgl_graph(), labels=1 - LABELS)) == fingerprint(toy(labels=1 - LABELS))
    assert fingerprint(Dataset.from_dgl(dgl.add_self_loop(dgl_graph()))) == fingerprint(toy())


def test_the_metric_of_graph_objects() -> None:
    assert Dataset.from_dgl(dgl_graph(), metric="macro-f1").target.metric == "macro-f1"
    pyg = pytest.importorskip("torch_geometric.data", reason="PyG is of the extra reference")
    data = pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES), y=torch.as_tensor(LABELS))
    assert Dataset.from_pyg(data, metric="macro-f1").target == Dataset.from_dgl(dgl_graph(), metric="macro-f1").target


@pytest.mark.parametrize("graphs", [1, 2])
def test_sparse_features_of_pyg_stay_sparse(graphs: int) -> None:
    pyg = pytest.importorskip("torch_geometric.data", reason="PyG is of the extra reference")
    wide = torch.sparse_coo_tensor([[0, 3], [5, 999_999]], [1.0, 2.0], (4, 1_000_000), check_invariants=True)
    data = [pyg.Data(x=wide, edge_index=torch.as_tensor(EDGES), y=torch.as_tensor(LABELS)) for _ in range(graphs)]
    dataset = Dataset.from_pyg(data if graphs > 1 else data[0], task="node")
    features: Any = dataset.features
    assert features.shape == (4 * graphs, 1_000_000) and features.nnz == 2 * graphs and features[4 * graphs - 1, 999_999] == 2


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


def test_labels_of_graphs_in_imprecise_types_are_refused() -> None:
    """2^24 + 1 is 2^24 as float32, and would be exact as float64."""
    pairs = [(dgl_graph(), torch.tensor(label, dtype=torch.float32)) for label in (1, 2**24 + 1)]
    with pytest.raises(DataError, match="float32 cannot represent every integer"):
        Dataset.from_dgl(pairs)
    graph = dgl_graph()
    graph.ndata["label"] = (torch.arange(graph.num_nodes()) % 2 + 256).bfloat16()
    with pytest.raises(DataError, match="The labels are bfloat16 numbers, which cannot represent every integer from 256 on"):
        Dataset.from_dgl(graph)


def test_from_dgl_refuses_with_the_reason() -> None:
    bare = dgl.graph(([0], [1]))
    with pytest.raises(DataError, match=r"no node features 'feat' \(its ndata has: nothing\).*from_dgl\(graph, feat=None\)"):
        Dataset.from_dgl(bare)
    assert Dataset.from_dgl(bare, feat=None, labels=["x", "y"]).feature_names == ("degree=0", "degree=1")
    two = dgl.heterograph({("a", "r", "b"): ([0], [0]), ("b", "s", "a"): ([0], [0])})
    with pytest.raises(DataError, match=r"heterogeneous \(2 types of nodes"):
        Dataset.from_dgl(two)
    with pytest.raises(DataError, match="a block"):
        Dataset.from_dgl(dgl.to_block(dgl_graph()))
    with pytest.raises(DataError, match="3 labels for 2 graphs with 8 nodes"):
        Dataset.from_dgl([dgl_graph(), dgl_graph()], labels=[0, 1, 2])
    for array in (sparse.csr_matrix(np.eye(2)), np.array(1), torch.tensor(1)):
        for make in (Dataset.from_dgl, Dataset.from_pyg):
            with pytest.raises(DataError, match=r"Expected .*, found an? (csr_matrix|ndarray|Tensor)"):
                make(array)
    with pytest.raises(DataError, match=r"item 1 is an int\. Leave it out"):
        Dataset.from_dgl([dgl_graph(), 2])
    with pytest.raises(DataError, match=r"item 0 is a list\. Make it a tuple"):
        Dataset.from_dgl([[dgl_graph(), 1]])
    with pytest.raises(DataError, match=r"labels = 'y' is a string; .* If 'y' is a key of ndata, give label='y'"):
        Dataset.from_dgl(dgl_graph(), labels="y")
    with pytest.raises(DataError, match=r"feat = a Tensor is not a key of the graph's data.*for example feat='mine' after"):
        Dataset.from_dgl(dgl_graph(), feat=torch.zeros(50, 50))
    with pytest.raises(DataError, match="sequence is empty"):
        Dataset.from_dgl([])
    for labels, fix in (
        ({"glabel": torch.tensor([0, 1])}, r"from_dgl\(graphs, labels=labels\['glabel'\]\)"),
        ({}, r"from_dgl\(graphs\)"),
        (torch.tensor([0, 1]), r"from_dgl\(graphs, labels=labels\)"),
    ):
        with pytest.raises(DataError, match=rf"Unpack it: graphs, labels = dgl\.load_graphs\(\.\.\.\), then .*{fix}"):
            Dataset.from_dgl(([dgl_graph(), dgl_graph()], labels))
    with pytest.raises(DataError, match="node features of graph 1 have rows of the shape"):
        Dataset.from_dgl([dgl_graph(), dgl_graph(feat=FEATURES[:, :1])], labels=[0, 1])
    overlapping = {f"{part}_mask": np.array([True, True, False, False]) for part in ("train", "val", "test")}
    with pytest.raises(DataError, match="shares samples"):
        Dataset.from_dgl(dgl_graph(**overlapping))


def test_a_named_key_must_exist() -> None:
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
        ("feat", {}, r"Graph 2 has no node features 'feat' \(its ndata has: label\), but other graphs have"),
        ("label", {"label": "label"}, r"Graph 2 has no labels 'label' \(its ndata has: feat\), but other graphs have"),
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
    with pytest.raises(DataError, match=r"Graph 2 has no edge features 'w' \(its edata has: nothing\), but other graphs have"):
        Dataset.from_dgl(graphs, labels=[0, 1, 0], edge_feat="w")


def call_in(message: str, **names: Any) -> Any:
    """The result of the call of `dgl.to_homogeneous` in an error message."""
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
    with pytest.warns(UserWarning, match="-1 in 1 sample is read as unknown"):
        assert Dataset.from_dgl(call_in(str(caught.value), graph=two)).labels.tolist() == [0, -1]


def test_from_pyg() -> None:
    pyg = pytest.importorskip("torch_geometric.data")

    def graph(label: Any, **more: Any) -> Any:
        return pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES), y=torch.as_tensor(label), **more)

    masks = {f"{part}_mask": torch.arange(4) == index for index, part in enumerate(("train", "val", "test"))}
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
    with pytest.raises(DataError, match=r"Graph 1 has no node features x \(it has: edge_index\), but other graphs have"):
        Dataset.from_pyg([graph(LABELS), pyg.Data(edge_index=torch.as_tensor(EDGES))])
    with pytest.raises(DataError, match="item 1 is an int"):
        Dataset.from_pyg([graph(LABELS), 1])
    hetero = pyg.HeteroData()
    hetero["a"].x, hetero["b"].x, hetero["a"].y = torch.rand(2, 2), torch.rand(1, 2), torch.tensor([0, 2])
    hetero["a", "r", "b"].edge_index = torch.tensor([[0, 1], [0, 0]])
    with pytest.raises(DataError, match=r"Graph 0 is a HeteroData, .* Convert it with data.to_homogeneous\(\)"):
        Dataset.from_pyg(hetero)
    assert Dataset.from_pyg(hetero.to_homogeneous()).labels.tolist() == [0, 1, -1]


def test_graphs_in_memory_are_loaded_and_learned_from() -> None:
    import dgl_mutual

    assert fingerprint(dgl_mutual.load(dgl_graph())) == fingerprint(toy())
    masks = {f"{part}_mask": np.arange(4) % 3 == index for index, part in enumerate(("train", "val", "test"))}
    with pytest.warns(UserWarning, match="The training part of graph has no sample with the class '1'"):
        result = dgl_mutual.fit(dgl_graph(**masks), students="gcn,sage", training={"epochs": 1})
    assert result.predict(dgl_graph()).shape == (4, 2)
    for data, message in (
        (3, "Expected a Dataset, a DGL graph, a PyG graph, or a list of graphs, found an int"),
        ([], "found an empty list"),
        ([1, 2], "found a list whose item 0 is an int"),
        (np.zeros(3), "found an ndarray"),
        (None, "found None"),
        (torch.utils.data.DataLoader([1, 2]), r"found a DataLoader\. It is a loader of batches: give what it loads from, loader\.dataset"),
        ("digitz", "Unknown dataset 'digitz'. Did you mean 'digits'"),
    ):
        with pytest.raises(UsageError, match=message):
            dgl_mutual.fit(data)
    with pytest.raises(UsageError, match="found an empty list"):
        result.predict([])
    with pytest.raises(DataError, match=r"found a GraphDataLoader\. .* loader\.dataset"):
        result.predict(dgl.dataloading.GraphDataLoader([(dgl_graph(), 0)]))
    networkx = pytest.importorskip("networkx")
    with pytest.raises(UsageError, match=r"found a Graph of NetworkX. Convert it: dgl.from_networkx\(graph, node_attrs="):
        dgl_mutual.load(networkx.karate_club_graph())


def test_fit_takes_the_name_of_a_dataset() -> None:
    import dgl_mutual

    options = {"students": "gcn,sage", "training": {"epochs": 2}, "student": {"hidden": 8}}
    named, loaded = (dgl_mutual.fit(data, **options) for data in ("digits", dgl_mutual.load("digits")))
    assert np.array_equal(named.predict(), loaded.predict())


def test_one_value_per_graph_is_a_class_whatever_its_type() -> None:
    graph = dgl.graph(([0, 1], [1, 0]))
    large = (str(2**53), str(2**53 + 1))
    for labels, names in (([2.0, 1.0, 2.0], ("1", "2")), ([2**53, 2**53 + 1, 2**53], large), (list("aba"), ("a", "b"))):
        made = Dataset.from_dgl([(graph, label) for label in labels], feat=None)
        assert made.target.kind == "single-label" and made.target.names == names
    mixed = Dataset.from_dgl([(graph, label) for label in (2**53 + 1, 0.0, 2**53)], feat=None)
    assert mixed.target.names == ("0", str(2**53), str(2**53 + 1))
    with pytest.warns(UserWarning, match="is read as one binary label"):
        rows = Dataset.from_dgl([(graph, torch.tensor([label])) for label in (0.0, 1.0, np.nan)], feat=None)
    assert rows.target.kind == "multi-label" and rows.labels.shape == (3, 1)


def test_a_mask_covers_the_nodes_of_its_graph() -> None:
    pyg = pytest.importorskip("torch_geometric.data")
    masks = {f"{part}_mask": torch.arange(4) == index for index, part in enumerate(("train", "val", "test"))}
    masks["val_mask"] = masks["val_mask"][:3]
    short = pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES), y=torch.as_tensor(LABELS), **masks)
    with pytest.raises(DataError, match=r"val_mask of graph 0 has the shape \(3,\) for 4 nodes"):
        Dataset.from_pyg(short)


def test_unused_edge_weights_cause_a_warning() -> None:
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


def test_graphs_with_sparse_and_dense_features_of_half_precision_are_joined() -> None:
    x = torch.tensor([[0.0, 1.5], [2.0, 0.0], [0.0, 0.0]]).half()
    edge_index = torch.tensor([[0, 1], [1, 2]])
    pyg = pytest.importorskip("torch_geometric.data")
    graphs = [pyg.Data(x=x if index % 2 else x.to_sparse(), edge_index=edge_index, y=index % 2) for index in range(4)]
    dataset = Dataset.from_pyg(graphs)
    features = dataset.features.toarray() if hasattr(dataset.features, "toarray") else dataset.features
    np.testing.assert_array_equal(features, np.tile(x.float().numpy(), (4, 1)))
