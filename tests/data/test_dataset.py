"""Every dataset is valid: its inputs are converted, or refused with the offending entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import dgl_mutual
from dgl_mutual.data import Dataset, Split, load_dataset, make_splits
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.several_targets import select_targets
from dgl_mutual.data.values.target import ChosenMetric
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


def test_rows_of_pandas_that_are_numbered_in_another_order_are_refused() -> None:
    """The index is ignored, so rows in another order would silently be assigned to other nodes."""
    names = ["ann", "bob", "cid", "dan"]
    features, labels = pd.DataFrame(FEATURES), pd.Series(LABELS)
    for index in (None, names, [4, 5, 6, 7], [7.5, 0, 0, 1]):
        table = features if index is None else features.set_index(pd.Index(index))
        assert fingerprint(toy(features=table, labels=labels)) == fingerprint(toy())
        assert fingerprint(toy(features=table, labels=pd.Series(LABELS, index=table.index))) == fingerprint(toy())
    for given, message in (
        (
            {"features": features.iloc[::-1]},
            r"features: the index counts from 0 on, .* row 0 has the index 3\. .*sort_index",
        ),
        ({"labels": labels.iloc[[0, 2, 1, 3]]}, r"labels: .* row 1 has the index 2\."),
        ({"labels": {"kind": labels.iloc[::-1]}}, r"labels\['kind'\]: the index counts from 0 on"),
        (
            {"features": features.set_index(pd.Index(names)), "labels": pd.Series(LABELS, index=names[::-1])},
            "labels: the index has the same entries as that of features, but in another order: row 0 has the index 'dan'",
        ),
    ):
        with pytest.raises(DataError, match=message):
            toy(**given)
    assert fingerprint(toy(features=features.iloc[::-1].reset_index(drop=True))) == fingerprint(toy(features=FEATURES[::-1]))


def test_edge_features_in_another_order_than_their_edges_are_refused() -> None:
    """Edges may be in any order, but their features must be in the same order."""
    edges = pd.DataFrame({"src_id": [0, 1, 2], "dst_id": [1, 2, 3]})
    features = pd.DataFrame({"length": [0.5, 1.5, 2.5]})
    plain = fingerprint(toy(edges=edges, edge_features=features))
    assert fingerprint(toy(edges=edges.iloc[::-1], edge_features=features.iloc[::-1])) == plain
    with pytest.raises(DataError, match=r"edge features: the index has the same entries as that of edges, .* row 0 has the index 0\."):
        toy(edges=edges.iloc[::-1], edge_features=features)
    with pytest.raises(DataError, match=r"edge features: the index counts from 0 on, but in another order: row 0 has the index 2\."):
        toy(edges=edges.to_numpy().T, edge_features=features.iloc[::-1])


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
        (
            pd.DataFrame({"dst": EDGES[1], "src": EDGES[0]}),
            "the columns dst, src; expected src_id and dst_id, and a row for each edge. Rename",
        ),
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


def test_the_constructor_makes_edges_canonical() -> None:
    dataset = load_dataset("digits", "graph")
    order = np.random.default_rng(0).permutation(dataset.num_edges)
    assert fingerprint(replace(dataset, edges=dataset.edges[:, order])) == fingerprint(dataset)


def test_sound_edges_are_not_copied() -> None:
    dataset = toy()
    assert replace(dataset, name="other").edges is dataset.edges


@pytest.mark.parametrize(("kind", "limit"), [("bfloat16", 2**8), ("float16", 2**11), ("float32", 2**24), ("float64", 2**53)])
def test_floats_that_cannot_represent_all_integers_are_refused(kind: str, limit: int) -> None:
    below, large = (torch.tensor([0, number], dtype=torch.int64).to(getattr(torch, kind)) for number in (limit - 1, limit))
    assert Split(below, [1], [2]).train.tolist() == [0, limit - 1]
    told = rf"{kind} numbers, which cannot represent every integer from {limit} on, found {limit}\."
    forms = [large, [*large]] if kind == "bfloat16" else [large, [*large], large.numpy(), pd.Series(large.numpy())]
    for numbers in forms:
        with pytest.raises(DataError, match=f"The train samples are {told}"):
            Split(numbers, [1], [2])
        with pytest.raises(DataError, match=f"The node offsets are {told}"):
            toy(node_offsets=numbers)
        with pytest.raises(DataError, match=rf"labels, sample 1: .* found {limit}: from {limit} on, {kind} cannot represent every"):
            toy(labels=numbers)
    for single in [] if kind == "bfloat16" else [np.array([*large.numpy()], dtype=object), pd.Series([*large.numpy()], dtype=object)]:
        with pytest.raises(DataError, match=rf"labels, sample 1: .* found {limit}: from {limit} on, {kind} cannot represent every"):
            toy(labels=single)
    edges = torch.stack([large, large])
    frames = [] if kind == "bfloat16" else [pd.DataFrame({"src_id": large.numpy(), "dst_id": [0, 1]}), [large.numpy(), np.arange(2)]]
    for ends in (edges, [[*large], [*large]], *frames):
        with pytest.raises(DataError, match=f"The edges are {told}"):
            toy(edges=ends)


def test_each_object_is_judged_by_its_own_type() -> None:
    classes: list[Any] = [np.float16(2047), np.float32(2048), 2**60, None]
    assert toy(labels=np.array(classes, dtype=object)).target.names == ("2047", "2048", str(2**60))
    with pytest.raises(DataError, match=r"labels, sample 3: .* found 2048: from 2048 on, float16"):
        toy(labels=np.array([*classes[:3], np.float16(2048)], dtype=object))


def test_lists_of_tensors_of_any_type() -> None:
    one, two, three = (torch.tensor(number).bfloat16().requires_grad_() for number in (0.0, 1.0, 2.0))
    dataset = toy(edges=[[one, two], [two, three]], labels=[one, two, one, two], features=[[one, two]] * 4)
    assert (dataset.edges.tolist(), dataset.labels.tolist()) == ([[0, 1], [1, 2]], [0, 1, 0, 1])
    np.testing.assert_array_equal(dataset.features, [[0, 1]] * 4)
    assert Split([one], [two], [three]).test.tolist() == [2]
    with pytest.raises(DataError, match=r"The labels are a tensor .* on meta. without values"):
        toy(labels=[torch.ones((), device="meta")] * 4)


@pytest.mark.parametrize("kind", ["float32", "int64"])
def test_sparse_series_of_labels(kind: str) -> None:
    assert toy(labels=pd.Series([0, 2, 0, 2], dtype=pd.SparseDtype(kind, 0))).labels.tolist() == [0, 1, 0, 1]
    if kind == "float32":
        assert toy(labels=pd.Series([0, np.nan, 1, 0], dtype=pd.SparseDtype(kind))).labels.tolist() == [0, -1, 1, 0]
        with pytest.raises(DataError, match="found 16777216: from 16777216 on, float32"):
            toy(labels=pd.Series([0, 2**24, 0, 1], dtype=pd.SparseDtype(kind)))


def test_imprecise_class_numbers_of_several_targets_are_refused() -> None:
    joint = toy(labels={"many": np.arange(600) % 257, "few": np.arange(600) % 2}, features=np.ones((600, 1)), edges=[[0], [1]])
    with pytest.raises(DataError, match="The labels are bfloat16 numbers, which cannot represent every integer from 256 on"):
        joint.replaced(labels=torch.as_tensor(joint.labels).bfloat16())


def test_the_reverse_of_edges() -> None:
    assert toy(edges=[[0, 1], [1, 2]], symmetric=True).edges.T.tolist() == [[1, 0], [0, 1], [2, 1], [1, 2]]
    with pytest.raises(UsageError, match="symmetric = 'no' is neither True nor False"):
        toy(edges=[[0, 1], [1, 2]], symmetric="no")


@pytest.mark.parametrize(
    "features",
    [
        FEATURES.astype(np.float64),
        FEATURES.astype(np.int32),
        torch.as_tensor(FEATURES, dtype=torch.bfloat16),
        torch.as_tensor(FEATURES).requires_grad_(),
        torch.as_tensor(FEATURES).to_sparse(),
        torch.as_tensor(FEATURES).half().to_sparse_csr(),
        torch.as_tensor(FEATURES).to_sparse_csc().requires_grad_(),
        torch.as_tensor(FEATURES).to_sparse_bsr((2, 2)),
        torch.as_tensor(FEATURES).to_sparse(1),
        torch.as_tensor(FEATURES).to(torch.float8_e4m3fn),
        torch.quantize_per_tensor(torch.as_tensor(FEATURES), 1.0, 0, torch.qint8),
        FEATURES.astype(">f4"),
        FEATURES.astype(">f2"),
        sparse.coo_matrix(FEATURES),
        pd.DataFrame(FEATURES, columns=["a", "b"]),
        FEATURES.tolist(),
    ],
)
@pytest.mark.filterwarnings("ignore:The features are integers")
def test_features_of_any_library(features: Any) -> None:
    dataset = toy(features=features)
    np.testing.assert_array_equal(dataset.features, FEATURES)
    assert dataset.features.dtype == np.float32
    assert dataset.feature_names == (("a", "b") if isinstance(features, pd.DataFrame) else ("feature 0", "feature 1"))


@pytest.mark.parametrize(
    "features", [1.5, np.array(1.0), torch.tensor(1.0), torch.nested.nested_tensor([torch.ones(2)] * 4), {"a": 1}, {1, 2}]
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_features_without_rows_are_refused(features: Any) -> None:
    with pytest.raises(DataError, match=r"The features are an? .* without rows\. Give an array with a row"):
        toy(features=features)


@pytest.mark.parametrize("text", ["abc", b"abc"])
def test_a_text_has_no_rows(text: str | bytes) -> None:
    with pytest.raises(DataError, match=rf"The features are the string {text!r} without rows\."):
        toy(features=text)
    with pytest.raises(DataError, match="The edge features are the string"):
        toy(edge_features=text)


@pytest.mark.parametrize("labels", [torch.tensor(3), np.array(3), 3, "abcd"])
def test_labels_without_rows_are_refused_if_there_are_no_features(labels: Any) -> None:
    with pytest.raises(DataError, match=r"The labels are .*\. Give (a list or )?an array"):
        toy(features=None, labels=labels)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.coo_matrix, sparse.csc_array])
@pytest.mark.parametrize("features", [FEATURES, None])
def test_sparse_rows_of_labels(kind: Any, features: Any) -> None:
    rows = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    dataset = toy(labels=kind(rows), features=features)
    assert dataset.target.kind == "multi-label"
    np.testing.assert_array_equal(dataset.labels, rows)
    np.testing.assert_array_equal(toy(labels={"a": kind(rows), "b": [0, 1, 0, 1]}, features=features).labels[:, :2], rows)


def diagonal(kind: str, rows: int, columns: int) -> Any:
    """A large sparse matrix with few entries would take terabytes if it were made dense."""
    places = np.arange(0, min(rows, columns), 10_000)
    if kind == "scipy":
        return sparse.csr_matrix((np.ones(len(places), dtype=np.float32), (places, places)), shape=(rows, columns))
    return torch.sparse_coo_tensor(np.stack([places, places]), torch.ones(len(places)), (rows, columns))


@pytest.mark.parametrize("kind", ["scipy", "torch"])
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_large_sparse_matrices_are_never_made_dense(kind: str) -> None:
    given = {"features": diagonal(kind, 10**6, 10**6), "labels": np.arange(10**6) % 2}
    dataset = toy(**given)
    assert sparse.issparse(dataset.features) and dataset.features.shape == (10**6, 10**6) and dataset.features.nnz == 100
    for columns, hint in ((10**6, "This looks like an adjacency matrix"), (10**6 - 1, "sources, then destinations")):
        with pytest.raises(DataError, match=rf"The edges have the shape \(1000000, {columns}\).*{hint}"):
            toy(**given, edges=diagonal(kind, 10**6, columns))


def test_booleans_are_indicators_and_no_features_are_degrees() -> None:
    assert toy(features=FEATURES > 3).feature_kinds == ("indicator", "indicator")
    beside = {
        "x": [True, False, True, True],
        "y": [0.5, 1, 2, 3],
        "z": pd.array([True, False, False, True], dtype="boolean"),
        "n": [0.0, 1.0, 2.0, 3.0],
    }
    rows = pd.DataFrame(beside).to_numpy()
    for given in (pd.DataFrame(beside), pd.DataFrame(beside).astype(object), rows, rows.tolist(), [*map(tuple, rows)]):
        dataset = toy(features=given)
        assert dataset.feature_kinds == ("indicator", "number", "indicator", "number")
        np.testing.assert_array_equal(dataset.features[:, 0], [1, 0, 1, 1])
    edges = toy(edge_features=pd.DataFrame({"x": [True, False, True, True, False], "y": np.arange(5.0)}))
    assert edges.edge_feature_kinds == ("indicator", "number")
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


@pytest.mark.parametrize(
    ("labels", "usual", "others"),
    [
        ([0, 1, 1, 0], "accuracy", ("balanced-accuracy", "macro-f1", "rocauc")),
        ([0, 1, 2, 0], "accuracy", ("balanced-accuracy", "macro-f1")),
        ([[0, 1], [1, np.nan], [0, 0], [1, 1]], "micro-f1", ("macro-f1", "rocauc", "ap")),
    ],
)
def test_metrics_that_fit_can_be_chosen_and_taken_back(labels: Any, usual: str, others: tuple[str, ...]) -> None:
    plain = toy(labels=labels)
    assert plain.target == toy(labels=labels, metric=usual).target and plain.with_metric(None) is plain.with_metric(usual) is plain
    for metric in others:
        chosen = toy(labels=labels, metric=metric)
        assert (chosen.target.metric, chosen.target.default_metric) == (metric, usual)
        assert chosen.target == plain.with_metric(metric).target == chosen.with_metric(metric).target
        back = chosen.with_metric(usual).target
        assert (back.metric, back.default_metric) == (usual, usual), "that it was chosen stays known"
        assert fingerprint(chosen) == fingerprint(plain) and f"({metric})" in repr(chosen)
    rest = {*get_args(ChosenMetric)} - {usual, *others}
    for metric in rest:
        with pytest.raises(UsageError, match=f"metric = '{metric}' does not fit a target of .*Choose from: .*{others[0]}"):
            toy(labels=labels, metric=metric)


def test_a_metric_that_cannot_be_chosen_is_refused_with_what_can() -> None:
    with pytest.raises(UsageError, match=r"Unknown metric 'macro_f1'. Did you mean 'macro-f1'. Choose from: accuracy, balanced-accuracy"):
        toy(metric="macro_f1")
    labels = {"colour": [0, 1, 2, 0], "even": [[0.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]}
    with pytest.raises(UsageError, match=r"is for one target, and there are several \(colour, even\)"):
        toy(labels=labels, metric="macro-f1")
    two = toy(labels=[[0, 1], [1, np.nan], [0, 0], [1, 1]], metric="macro-f1")
    with pytest.raises(UsageError, match="made with metric = 'macro-f1', which is for one target, but several were requested"):
        select_targets(two, ["label 0", "label 1"])
    one = select_targets(two, ["label 1"]).target
    assert (one.metric, one.default_metric) == ("macro-f1", "micro-f1")
    official = toy(labels=[[0, 1], [1, 1], [0, 0], [1, 1]]).replaced(evaluator="ogbg-molbbbp")
    with pytest.raises(UsageError, match="'ap' cannot be chosen for graph: OGB's evaluator scores it, by micro-f1"):
        official.with_metric("ap")
    assert official.with_metric("micro-f1") is official
    several = toy(labels=labels).replaced(evaluator="ogbg-moltox21")
    with pytest.raises(UsageError, match="is for one target"):
        several.with_metric("ap")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"edges": [[0, 4], [1, 2]]}, r"names the node 4, but the graph has 4 nodes, 0 to 3"),
    ({"edges": [[0, -1], [1, 2]]}, r"names the node -1"),
    ({"edges": [[0, 1], [1, 2], [2, 3]]}, r"shape \(3, 2\); expected \(2, number of edges\).* Transpose"),
    ({"edges": [[0.5, 1], [1, 2]]}, "integers, found .*0.5"),
    ({"edges": [["a", "b"], ["b", "a"]]}, "integers, found"),
    ({"edges": [[0, 1], [1]]}, "rows of equal length|Give rows"),
    ({"features": FEATURES[:, 0]}, r"expected shape \(nodes, columns\), found \(4,\)"),
    ({"features": [["red", "1"], ["blue", "2"], ["red", "3"], ["red", "4"]]}, "encode words"),
    ({"features": np.where(FEATURES == 3, np.nan, FEATURES)}, "finite.*row 1"),
    ({"features": np.where(FEATURES == 5, 1e39, FEATURES.astype(float))}, "finite.*row 2"),
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
    ({"node_offsets": [0, 4, 4], "labels": [0, 1]}, r"Graph 1 has no nodes, and nothing can be predicted for a graph without nodes"),
    ({"node_offsets": [0, 0, 0, 4], "labels": [0, 1, 0]}, r"Graph 0 has no nodes \(the first of 2 such graphs\)"),
    ({"edges": [[], []], "features": np.zeros((0, 2)), "labels": []}, "Graph 0 has no nodes"),
    ({"feature_names": ["a"]}, "1 name for 2 feature columns"),
    ({"feature_names": ["a", "a"]}, "Several feature columns are called 'a'. Give each a name of its own"),
    ({"feature_names": "ab"}, r"names of the features are 'ab' \(a str\). Give a list"),
    ({"feature_names": 5}, r"names of the features are 5 \(an? int\)"),
    ({"feature_kinds": 5}, r"kinds of the features are 5 \(an int\)\. Give a list with one for each column"),
    ({"feature_names": {"a", "b"}}, r"names of the features are \{.*\} \(a set, which has no order\)\. Give a list"),
    ({"feature_names": {"a": 1, "b": 2}}, r"names of the features are .* \(a dict\)"),
    ({"feature_names": np.array("ab")}, r"names of the features are .* \(an ndarray\)"),
    ({"feature_kinds": {"number", "count"}}, "a set, which has no order"),
    ({"edge_features": np.ones((5, 2)), "edge_feature_names": {"a", "b"}}, "names of the edge features are .* which has no order"),
    ({"edge_features": np.ones((5, 2)), "edge_feature_kinds": frozenset(["number", "count"])}, "kinds of the edge .* which has no order"),
    ({"edge_feature_names": True}, r"names of edge features are True \(a bool\)"),
    ({"edge_feature_names": np.array(["a"])}, "There are names of edge features, but no edge features"),
    ({"edge_feature_kinds": "indicator"}, "There are kinds of edge features, but no edge features"),
    ({"feature_kinds": ["colour", "number"]}, "kind of feature column 'colour'. Choose from: number, indicator, count"),
    ({"name": ""}, "'' is not a valid name for a dataset: expected a non-empty string"),
    ({"name": "mine "}, "'mine ' is not a valid name for a dataset: .*Choose another name, for example 'mine'"),
    ({"name": None}, "None is not a valid name for a dataset"),
    ({"name": "m\udc80"}, "is not a valid name for a dataset"),
    ({"task": "edge"}, "Unknown task 'edge'"),
    ({"task": ""}, "Unknown task ''"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG)
def test_invalid_arrays_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        toy(**changed)


@pytest.mark.parametrize("make", [np.array, pd.Series, pd.Index, tuple, iter])
def test_names_and_kinds_of_columns_may_come_in_any_list(make: Callable[[list[str]], Any]) -> None:
    names, kinds = ["a", "b"], ["count", "number"]
    given = {f"{of}feature_{what}": make(values) for of in ("", "edge_") for what, values in (("names", names), ("kinds", kinds))}
    dataset = toy(edge_features=np.ones((5, 2)), **given)
    assert [dataset.feature_names, dataset.edge_feature_names] == [("a", "b")] * 2
    assert [dataset.feature_kinds, dataset.edge_feature_kinds] == [("count", "number")] * 2
    with pytest.raises(DataError, match="a set, which has no order"):
        dataset.replaced(feature_names=set(names))
    without = dataset.replaced(edge_features=None, edge_feature_names=None, edge_feature_kinds=None)
    assert (without.edge_feature_names, without.edge_feature_kinds) == ((), ())
    with pytest.raises(DataError, match="There are names or kinds of edge features, but no edge_features"):
        without.replaced(edge_feature_kinds="count")


@pytest.mark.parametrize("wrong", [[], {}, ["node"], np.array(["node", "graph"])])
def test_a_task_and_a_metric_are_strings(wrong: Any) -> None:
    for make in (toy, lambda **given: Dataset.from_dgl([], **given), lambda **given: Dataset.from_pyg([], **given)):
        with pytest.raises(UsageError, match=r"Unknown task .*Choose from: node, graph"):
            make(task=wrong)
    with pytest.raises(UsageError, match=r"Unknown metric .*Choose from: accuracy, balanced-accuracy"):
        toy(metric=wrong)
    with pytest.raises(UsageError, match=r"Unknown task .*Choose from: node, graph"):
        dgl_mutual.load("digits", task=wrong)
    with pytest.raises(UsageError, match=r"Unknown protocol .*Choose from: .*nested"):
        make_splits(toy(), wrong, seed=0)


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
def test_the_constructor_refuses_invalid_values(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(toy(), **changed)


def test_masks_and_numbers_make_the_same_split() -> None:
    mask = np.array([True, False, True, False])
    split = Split(torch.as_tensor(mask), [1], np.array([3], dtype=np.int8))
    assert split.train.tolist() == [0, 2] and split.train.dtype == split.test.dtype == np.int64
    with pytest.raises(DataError, match="train samples must be integers"):
        Split(["a"], [1], [2])


def test_it_prints_in_a_few_lines() -> None:
    lines = repr(toy(split=Split([0], [1], [2]))).splitlines()
    assert lines == [
        "Dataset 'graph': node classification, 2 classes (accuracy)",
        "  1 graph, 4 nodes, 5 edges (each direction counted), 2 features",
        "  split: 1 train, 1 val, 1 test",
    ]


def test_it_prints_how_many_samples_have_a_label_if_not_all_do() -> None:
    assert repr(toy(labels=[0, 1, np.nan, np.nan])).splitlines()[0].endswith("2 classes (accuracy), 2 of 4 nodes have a label")
    rows = toy(labels=[[0.0, np.nan], [1, 1], [0, 1], [np.nan, np.nan]])
    assert repr(rows).splitlines()[0].endswith("(micro-f1), 3 of 4 nodes have a label")


def test_classes_name_the_outputs() -> None:
    assert toy(labels=["b", "a", "b", "b"]).classes == ("a", "b")
    with pytest.warns(UserWarning, match="one binary label"):
        several = toy(labels={"digit": [7, 3, 7, 3], "even": [[1], [0], [1], [0]]})
    assert several.classes == ("digit=3", "digit=7", "even")


def test_it_prints_one_of_a_kind_in_the_singular() -> None:
    one = toy(edges=[[0], [1]], labels=[1, 1, 1, 1], features=FEATURES[:, :1] / 8, edge_features=[[0.5]])
    assert repr(one).splitlines()[:2] == [
        "Dataset 'graph': node classification, 1 class (accuracy)",
        "  1 graph, 4 nodes, 1 edge (each direction counted), 1 feature, 1 edge feature",
    ]


def test_checks_are_linear_and_replaced_checks_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edges of a dataset with other labels are not checked again."""
    dataset = toy()

    def fail(*_: Any) -> None:
        raise AssertionError("edges are checked again")

    monkeypatch.setattr("dgl_mutual.data.dataset.as_edges", fail)
    assert dataset.replaced(labels=1 - LABELS).labels.tolist() == (1 - LABELS).tolist()
    with pytest.raises(DataError, match="expected a class"):
        dataset.replaced(labels=LABELS + 1)


def test_a_loop_among_sorted_edges_is_removed_too() -> None:
    assert toy(edges=[[0, 0], [0, 1]]).edges.T.tolist() == [[0, 1]]


@pytest.mark.parametrize("which", ["features", "edge_features"])
def test_missing_numbers_of_pandas_are_called_missing(which: str) -> None:
    frame = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Float64"), "b": [0.5, 1.5, 2.5]})
    whole = pd.DataFrame({"a": pd.array([1, 2, 3], dtype="Float64"), "b": [0.5, 1.5, 2.5]})
    given: dict[str, Any] = {"features": np.ones((3, 1)), which: frame}
    with pytest.raises(DataError, match=r"features: expected finite numbers.* found nan in row 1; rescale the column, or fill in"):
        Dataset.from_arrays([[0, 1, 2], [1, 2, 0]], **given)
    given[which] = whole
    made = Dataset.from_arrays([[0, 1, 2], [1, 2, 0]], **given)
    assert sorted(np.asarray(getattr(made, which))[:, 0].tolist()) == [1, 2, 3]


def test_large_identifiers_are_not_node_indices() -> None:
    with pytest.raises(DataError, match=r"edges \(1 edge\) name the node 1000000000000, .* Number the nodes from 0 without gaps"):
        Dataset.from_arrays([[0], [10**12]], None, [0])
    assert Dataset.from_arrays([[0], [900]], None).num_nodes == 901


def test_unknown_attributes_cannot_be_replaced() -> None:
    with pytest.raises(TypeError, match="no attribute 'official_split' that can be replaced"):
        Dataset.from_arrays([[0], [1]], [[1.0], [2.0]], [0, 1]).replaced(official_split=None)


def test_use_does_not_change_the_hash_of_a_dataset() -> None:
    dataset = Dataset.from_arrays([[0, 1], [1, 0]], np.eye(2), [0, 1])
    before = joblib.hash(dataset)
    assert len(dataset.edge_offsets) == 2 and len(dataset.in_offsets) == 3
    assert joblib.hash(dataset) == before
