"""Edge features from every source; each row stays with its edge."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from dgl_mutual.data import Dataset, Split, load_dataset
from dgl_mutual.data.describe import describe_dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.noise import NoiseSpec, add_noise
from dgl_mutual.data.schema import align_to
from dgl_mutual.data.sources.ogb_graphs import read_ogb
from dgl_mutual.data.values.edges import canonical_edge_rows, canonical_edges
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.errors import DataError
from dgl_mutual.training.trial_data import make_trial_data

Build = Callable[..., Path]

# The numbers of nodes are easily told apart, and codes of nothing.
pytestmark = pytest.mark.filterwarnings("ignore:The edge features are integers")


def by_ends(dataset: Dataset) -> dict[tuple[int, int], list[float]]:
    features = dataset.edge_features
    assert features is not None
    rows = features.toarray() if sparse.issparse(features) else features
    return {(int(source), int(destination)): row.tolist() for source, destination, row in zip(*dataset.edges, rows, strict=True)}


def toy(**changed: Any) -> Dataset:
    """Each edge's features are its ends."""
    edges = np.array([[2, 0, 1, 3, 1, 2], [1, 1, 0, 2, 2, 3]])
    values = {"edges": edges, "features": np.eye(4), "labels": [0, 1, 0, 1], "edge_features": edges.T, **changed}
    return Dataset.from_arrays(**values)


def assert_rows_are_ends(dataset: Dataset) -> None:
    found = by_ends(dataset)
    assert found and all(row == list(map(float, ends)) for ends, row in found.items())


def test_unsorted_edges_keep_their_features() -> None:
    dataset = toy()
    assert dataset.edge_features is not None and dataset.edge_features.dtype == np.float32
    assert_rows_are_ends(dataset)
    assert (dataset.edge_feature_names, dataset.edge_feature_kinds) == (("edge feature 0", "edge feature 1"), ("number", "number"))
    direct = Dataset(**{**vars(dataset), "edges": dataset.edges[:, ::-1], "edge_features": dataset.edge_features[::-1]})
    assert_rows_are_ends(direct)
    assert fingerprint(direct) == fingerprint(dataset)


def test_of_duplicates_the_first_counts_and_self_loops_go() -> None:
    edges = np.array([[0, 1, 0, 2, 0], [1, 1, 1, 0, 1]])
    with pytest.warns(UserWarning, match="repeated with different features .2 in all., for example 0 -> 1"):
        dataset = toy(edges=edges, edge_features=[[1], [2], [3], [4], [5]])
    assert by_ends(dataset) == {(0, 1): [1], (2, 0): [4]}
    with pytest.warns(UserWarning, match="Edges are repeated .* .2 in all"):
        both = toy(edges=edges, edge_features=[[1], [2], [3], [4], [5]], symmetric=True)
    assert by_ends(both) == {(0, 1): [1], (1, 0): [1], (2, 0): [4], (0, 2): [4]}
    given = toy(edges=np.array([[0, 1], [1, 0]]), edge_features=[[1], [2]], symmetric=True)
    assert by_ends(given) == {(0, 1): [1], (1, 0): [2]}


@pytest.mark.parametrize("store", [np.asarray, sparse.csr_matrix])
def test_duplicates_with_the_same_features_are_no_fault(store: Callable[[list[list[int]]], Any], recwarn: pytest.WarningsRecorder) -> None:
    edges = np.array([[0, 1, 0, 2, 0], [1, 1, 1, 0, 1]])
    same = toy(edges=edges, edge_features=store([[1.0], [2], [1], [4], [1]]))
    reverse = toy(edges=np.array([[0, 1], [1, 0]]), edge_features=store([[1.0], [2]]), symmetric=True)
    assert (same.num_edges, reverse.num_edges, len(recwarn)) == (2, 2, 0)


def test_rows_lead_to_the_same_edges_as_without() -> None:
    rng = np.random.default_rng(0)
    source, destination = rng.integers(0, 9, (2, 60))
    for symmetric in (False, True):
        edges, rows = canonical_edge_rows(source, destination, 9, symmetric=symmetric, features=np.ones((60, 1), np.float32))
        np.testing.assert_array_equal(edges, canonical_edges(source, destination, 9, symmetric=symmetric))
        same = (source[rows] == edges[0]) & (destination[rows] == edges[1])
        assert (same | (symmetric & (source[rows] == edges[1]) & (destination[rows] == edges[0]))).all()
    none = np.zeros(0, dtype=np.int64)
    assert canonical_edge_rows(none, none, 3, symmetric=True, features=np.ones((0, 1), np.float32))[0].shape == (2, 0)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.ones((5, 2)), r"row for each of the 6 edges, shape \(6, columns\), found \(5, 2\)"),
        (np.ones(6), "One number for each edge is a matrix of one column"),
        (np.full((6, 1), np.nan), "edge features: expected finite.*row 0"),
        (np.array([["a"]] * 6), "expected numbers"),
        (np.ones((6, 0)), "1 to 1000000 columns"),
    ],
)
def test_wrong_edge_features_are_refused(features: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        toy(edge_features=features)


def test_a_warning_says_that_features_are_of_edges() -> None:
    with pytest.warns(UserWarning, match="^edge features, column 1: values from 1700000000 to 1700003600"):
        toy(edge_features=np.column_stack([np.arange(6), np.where(np.arange(6) < 3, 1_700_000_000, 1_700_003_600)]))


def test_a_dataset_is_checked_however_it_is_made() -> None:
    values = vars(toy())
    with pytest.raises(DataError, match="3 rows of edge features for 6 edges"):
        Dataset(**{**values, "edge_features": np.ones((3, 2), dtype=np.float32)})
    with pytest.raises(DataError, match="1 name for 2 columns of edge features"):
        Dataset(**{**values, "edge_feature_names": ("a",)})
    with pytest.raises(DataError, match="no edge_features"):
        Dataset(**{**values, "edge_features": None})
    with pytest.raises(DataError, match="1 name for 2 columns of edge features"):
        toy().replaced(edge_feature_names=("a",))
    with pytest.raises(ValueError, match="edges were replaced"):
        toy().replaced(edges=toy().edges[:, 1:])


def test_fingerprint_repr_and_description() -> None:
    dataset, bare = toy(), toy().without_edge_features()
    assert bare.edge_features is None and bare.edge_feature_names == () and bare.without_edge_features() is bare
    other = toy(edge_features=np.ones((6, 2)))
    assert len({fingerprint(dataset), fingerprint(bare), fingerprint(other)}) == 3
    as_csr = dataset.replaced(edge_features=sparse.csr_matrix(dataset.edge_features))
    assert fingerprint(as_csr) == fingerprint(dataset)
    assert "4 features, 2 edge features\n" in repr(dataset) and "edge features" not in repr(bare)
    assert describe_dataset(dataset)["edge_features"] == 2 and "edge_features" not in describe_dataset(bare)


def test_tu_edge_labels_and_attributes(build_tu: Build) -> None:
    folder = build_tu(edge_labels="7\n7\n2\n2\n7\n7\n", edge_attributes="0.5\n0.5\n1\n1\n2\n2\n")
    dataset = load_dataset(folder)
    assert dataset.edge_feature_names == ("edge label=2", "edge label=7", "edge attribute 0")
    assert dataset.edge_feature_kinds == ("indicator", "indicator", "number")
    assert by_ends(dataset) == {
        **{(0, 1): [0, 1, 0.5], (1, 0): [0, 1, 0.5], (1, 2): [1, 0, 1], (2, 1): [1, 0, 1]},
        **{(3, 4): [0, 1, 2], (4, 3): [0, 1, 2]},
    }
    one_way = load_dataset(build_tu(A="1, 2\n2, 3\n5, 4\n", edge_labels="1\n2\n3\n", name="ONEWAY"))
    assert by_ends(one_way)[1, 0] == [1, 0, 0] and by_ends(one_way)[3, 4] == [0, 0, 1]


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("edge_labels", "1\n2\n", "expected 6 lines, one for each edge of TOY_A.txt, found 2"),
        ("edge_labels", "1\n2\n1.5\n1\n1\n1\n", "integers"),
        ("edge_attributes", "1\n2\nx\n1\n1\n1\n", "numbers only"),
        ("edge_attributes", "1\n2\n1e300\n1\n1\n1\n", "finite numbers"),
    ],
)
def test_tu_faults(build_tu: Build, part: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(build_tu(**{part: content}))


def test_ogb_bonds(build_ogb: Build) -> None:
    dataset = read_ogb(build_ogb(), "ogbg-molbace", Faults(), Request())
    assert dataset.num_edge_features == 13 and set(dataset.edge_feature_kinds) == {"indicator"}
    single, double = np.zeros((2, 13))
    single[[0, 5, 11]] = double[[3, 5, 12]] = 1
    assert by_ends(dataset)[0, 1] == by_ends(dataset)[1, 0] == single.tolist()
    assert by_ends(dataset)[1, 2] == by_ends(dataset)[2, 1] == double.tolist()
    assert dataset.feature_kinds[-13:] == ("edge-sum",) * 13 and "edge-sum" not in dataset.feature_kinds[:-13]


def test_mutag_has_the_edge_labels_that_torch_geometric_reads(data_dir: Path) -> None:
    read = pytest.importorskip("torch_geometric.io").read_tu_data
    theirs, slices, _ = read(str(data_dir / "tu" / "MUTAG"), "MUTAG")
    dataset = load_dataset("MUTAG", data_dir=data_dir, offline=True)
    counts = slices["edge_index"].diff()
    ends = map(tuple, (theirs.edge_index + slices["x"][:-1].repeat_interleave(counts)).T.tolist())
    assert by_ends(dataset) == dict(zip(ends, theirs.edge_attr.tolist(), strict=True))


@pytest.mark.filterwarnings("ignore:.*weight is not used")
def test_csv_edges(build_csv: Build) -> None:
    files = {
        "meta_yaml": "dataset_name: toy\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n",
        "nodes_csv": "node_id,label,age\n0,1,1\n1,0,2\n2,1,3\n",
        "graphs_csv": None,
    }
    with pytest.warns(UserWarning, match="Edges are repeated with different features"):
        dataset = load_dataset(build_csv(**files, edges_csv='src_id,dst_id,feat,weight\n2,1,"1,2",9\n0,1,"3,4",9\n0,1,"5,6",9\n'))
    assert by_ends(dataset) == {(2, 1): [1, 2], (0, 1): [3, 4]}
    assert dataset.edge_feature_names == ("edge feature 0", "edge feature 1")
    with pytest.raises(DataError, match=r"edges\.csv.*feat"):
        load_dataset(build_csv(**files, edges_csv="src_id,dst_id,feat\n2,1,1\n0,1,red\n"))


def dgl_graph(**edata: Any) -> Any:
    dgl = pytest.importorskip("dgl_mutual.dgl_compat").dgl
    torch = pytest.importorskip("torch")
    graph = dgl.graph((torch.tensor([2, 0, 1]), torch.tensor([1, 1, 0])))
    graph.ndata["feat"] = torch.eye(3)
    for key, values in edata.items():
        graph.edata[key] = torch.as_tensor(values)
    return graph


@pytest.mark.filterwarnings("ignore:.*edata..weight.. are not used")
def test_from_dgl() -> None:
    graph = dgl_graph(feat=[[2.0, 1], [0, 1], [1, 0]], weight=[1.0, 2, 3])
    assert_rows_are_ends(Dataset.from_dgl(graph))
    assert by_ends(Dataset.from_dgl(graph, edge_feat="weight"))[1, 0] == [3]
    assert Dataset.from_dgl(graph, edge_feat=None).edge_features is None
    assert Dataset.from_dgl(dgl_graph()).edge_features is None
    with pytest.raises(DataError, match="no edge features 'bond'"):
        Dataset.from_dgl(graph, edge_feat="bond")


def test_features_of_some_graphs_only_are_refused() -> None:
    graph = dgl_graph(feat=[[2.0, 1], [0, 1], [1, 0]])
    assert Dataset.from_dgl([graph, graph], labels=[0, 1]).num_edge_features == 2
    with pytest.raises(DataError, match="edge features of graph 1 have no rows"):
        Dataset.from_dgl([graph, dgl_graph()], labels=[0, 1])
    with pytest.raises(DataError, match="edge features of graph 1"):
        Dataset.from_dgl([graph, dgl_graph(feat=[[1.0]] * 3)], labels=[0, 1])


def test_from_pyg() -> None:
    pyg, torch = pytest.importorskip("torch_geometric.data"), pytest.importorskip("torch")

    def graph(**more: Any) -> Any:
        return pyg.Data(x=torch.eye(3), edge_index=torch.tensor([[2, 0, 1], [1, 1, 0]]), **more)

    ends = torch.tensor([[2.0, 1], [0, 1], [1, 0]])
    assert_rows_are_ends(Dataset.from_pyg(graph(edge_attr=ends)))
    assert by_ends(Dataset.from_pyg(graph(edge_attr=ends[:, 0])))[2, 1] == [2]
    lone = pyg.Data(x=torch.eye(3), edge_index=torch.zeros((2, 0), dtype=torch.int64))
    assert Dataset.from_pyg([graph(edge_attr=ends), lone], labels=[0, 1]).num_edge_features == 2
    with pytest.raises(DataError, match=r"edge features of graph 1 have rows of the shape .2,., but those of graph 0 no rows"):
        Dataset.from_pyg([graph(), graph(edge_attr=ends)], labels=[0, 1])
    with pytest.raises(DataError, match="Graph 0 has 3 edges but 2 rows"):
        Dataset.from_pyg(graph(edge_attr=ends[:2]))


@pytest.mark.parametrize("kind", ["edge", "edge-add", "edge-remove"])
def test_noise_keeps_features_with_their_edges(kind: str) -> None:
    pairs = np.stack(np.triu_indices(12, 1))[:, ::3]
    features = np.stack([pairs.sum(0), pairs.prod(0)], axis=1)  # the same in both directions
    dataset = Dataset.from_arrays(pairs, np.eye(12), [0, 1] * 6, edge_features=features, symmetric=True)
    split = Split([0, 1], [2, 3], [4, 5])
    noisy = add_noise(dataset, split, NoiseSpec(kind, 0.4), seed=0)
    before, after = by_ends(dataset), by_ends(noisy)
    assert all(row == before[ends] for ends, row in after.items() if ends in before)
    new = {ends: row for ends, row in after.items() if ends not in before}
    assert all(row in before.values() and row == new[ends[::-1]] for ends, row in new.items())
    assert bool(new) == (kind != "edge-remove")
    bare = add_noise(dataset.without_edge_features(), split, NoiseSpec(kind, 0.4), seed=0)
    np.testing.assert_array_equal(bare.edges, noisy.edges)


def test_taking_nodes_out_keeps_features_with_their_edges() -> None:
    split = Split([0], [1], [2, 3])
    scene = make_trial_data(toy(), split, 0.5, seed=0)
    assert scene.nodes is not None and len(scene.nodes) == 3
    assert {tuple(scene.nodes[list(ends)]): tuple(row) for ends, row in by_ends(scene.seen).items()} == {
        ends: tuple(row) for ends, row in by_ends(toy()).items() if set(ends) <= set(scene.nodes.tolist())
    }


def test_new_data_in_the_columns_of_a_model() -> None:
    data = toy(
        edge_features=np.arange(12).reshape(6, 2), edge_feature_names=("length", "bond=2"), edge_feature_kinds=("number", "indicator")
    )

    def known(*names: str) -> Dataset:
        kinds = ["number" if name in ("length", "angle") else "indicator" for name in names]
        return toy(edge_features=np.zeros((6, len(names))), edge_feature_names=names, edge_feature_kinds=kinds)

    bonds = known("bond=1", "bond=2", "length")
    aligned = align_to(data, bonds)
    before = by_ends(data)
    assert by_ends(aligned) == {ends: [0, before[ends][1], before[ends][0]] for ends in before}
    assert align_to(aligned, bonds) is aligned
    assert align_to(data, bonds, edge_features=False).edge_features is None
    with pytest.raises(DataError, match=r"expects 1 edge feature column and the edges of graph have 2.*not expected: bond=2"):
        align_to(data, known("length"))
    with pytest.raises(DataError, match="Missing: angle;"):
        align_to(data, known("bond=1", "bond=2", "length", "angle"))
    with pytest.raises(DataError, match="the edges of graph have none"):
        align_to(data.without_edge_features(), bonds)
    with pytest.raises(DataError, match="not expected: degree=1"):  # only degrees of nodes count as the highest that is known
        align_to(known("degree=0", "degree=1"), known("degree=0"))
    lone = toy(edges=np.zeros((2, 0)), edge_features=None)
    assert align_to(lone, bonds).num_edge_features == 3


def test_columns_of_graph_objects_have_names_of_ones_own() -> None:
    """So that a trained student finds them."""
    pyg, torch = pytest.importorskip("torch_geometric.data"), pytest.importorskip("torch")
    names = {
        "feature_names": ("x", "y"),
        "feature_kinds": ("count", "number"),
        "edge_feature_names": ("s", "d"),
        "edge_feature_kinds": "indicator",
    }
    graph = dgl_graph(feat=[[1.0, 0], [0, 1], [1, 0]])
    graph.ndata["feat"] = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    same = pyg.Data(x=graph.ndata["feat"], edge_index=torch.stack(graph.edges()), edge_attr=graph.edata["feat"])
    for dataset in (Dataset.from_dgl(graph, **names), Dataset.from_pyg(same, **names)):
        assert (dataset.feature_names, dataset.feature_kinds) == (("x", "y"), ("count", "number"))
        assert (dataset.edge_feature_names, dataset.edge_feature_kinds) == (("s", "d"), ("indicator", "indicator"))


def test_booleans_stay_indicators_beside_a_graph_without_edges() -> None:
    dgl = pytest.importorskip("dgl")
    graph = dgl_graph(feat=[[1.0, 0], [0, 1], [1, 0]])
    graph.edata["feat"] = graph.edata["feat"].bool()
    alone = dgl.graph(([], []), num_nodes=1)
    alone.ndata["feat"] = graph.ndata["feat"][:1]
    assert Dataset.from_dgl([graph, alone, graph], labels=[0, 1, 0]).edge_feature_kinds == ("indicator", "indicator")


@pytest.mark.parametrize("what", ["features", "edge_features"])
def test_integers_that_may_be_codes_are_a_warning(what: str) -> None:
    codes = np.array([[0, 3], [7, 1], [2, 0]])
    with pytest.warns(
        UserWarning, match=r"features are integers from 0 to 7, and are treated as numerical values.*encode each column one-hot"
    ):
        Dataset.from_arrays([[0, 1, 2], [1, 2, 0]], **{"features": np.eye(3), what: codes})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in (codes.astype(float), codes > 1, np.minimum(codes, 1), codes - 4):
            Dataset.from_arrays([[0, 1, 2], [1, 2, 0]], **{"features": np.eye(3), what: values})


@pytest.mark.parametrize("named", [False, True])
def test_only_a_named_indicator_may_be_absent_from_new_data(named: bool) -> None:
    """A column with a default name is missing because the data have fewer columns."""
    values, edges = np.eye(6, dtype=bool), np.array([[0, 1, 2], [1, 2, 3]])

    def columns(width: int, of_edges: int) -> Dataset:
        names = [f"atom={n}" for n in range(width)] if named else None
        bonds = [f"bond={n}" for n in range(of_edges)] if named else None
        return Dataset.from_arrays(
            edges, values[:, :width], edge_features=values[:3, :of_edges], feature_names=names, edge_feature_names=bonds
        )

    known, narrow = columns(5, 5), columns(3, 3)
    if named:
        aligned = align_to(narrow, known)
        assert aligned.num_features == 5 and not np.asarray(aligned.features)[:, 3:].any()
        return
    with pytest.raises(DataError, match="Missing: feature 3, feature 4"):
        align_to(narrow, known)
    with pytest.raises(DataError, match="Missing: edge feature 3, edge feature 4"):
        align_to(columns(5, 3), known)


def test_names_without_edge_features_are_refused() -> None:
    with pytest.raises(DataError, match="names of edge features, but no edge features"):
        Dataset.from_arrays([[0, 1], [1, 0]], np.ones((2, 1)), edge_feature_names=["length"])
    bare = Dataset.from_arrays([[0, 1], [1, 0]], np.ones((2, 1)))
    copied = Dataset.from_arrays(bare.edges, bare.features, edge_features=bare.edge_features, edge_feature_names=bare.edge_feature_names)
    lone = Dataset.from_arrays(np.zeros((2, 0)), np.ones((2, 1)), edge_feature_names=["length"])
    assert copied.edge_features is None and lone.edge_features is None


@pytest.mark.parametrize("keys", [{"edge_feat": ["feat"]}, {"feat": 5}, {"label": 0}])
def test_keys_of_dgl_graphs_are_strings(keys: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(keys))} = .* is not a key of the graph's data"):
        Dataset.from_dgl(dgl_graph(), **keys)


def test_taking_first_nodes_out_keeps_features_with_their_edges() -> None:
    """Edges are sorted by destination: those of the nodes that are taken out come first."""
    from dgl_mutual.data.values.split import Split

    scene = make_trial_data(toy(), Split([2], [3], [0, 1]), 0.5, seed=0)
    assert scene.nodes is not None and len(scene.nodes) == 3
    assert {tuple(scene.nodes[list(ends)]): tuple(row) for ends, row in by_ends(scene.seen).items()} == {
        ends: tuple(row) for ends, row in by_ends(toy()).items() if set(ends) <= set(scene.nodes.tolist())
    }
