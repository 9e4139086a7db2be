"""Graphs, masks and splits that users bring, and mistakes in them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import dgl_mutual as dm
from dgl_mutual.errors import DataError, UsageError
from tests.small_graph import EDGES, FEATURES, LABELS, SPLIT, N, fit, graph


def masks(**changes: Any) -> dict[str, Any]:
    places = np.arange(N)
    return {
        "train_mask": places < 10,
        "val_mask": (places >= 10) & (places < 20),
        "test_mask": places >= 20,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_mask": np.full(N, 0.5, dtype=np.float32)}, "train_mask holds 0.5. A mask is true or false"),
        ({"val_mask": np.full(N, np.nan, dtype=np.float32)}, "val_mask holds nan"),
        ({"test_mask": np.full(N, 2)}, "test_mask holds 2"),
    ],
)
def test_a_mask_of_other_numbers_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dm.Dataset.from_dgl(graph(**masks(**changes)))


def test_transposed_features_are_told_before_the_edges() -> None:
    message = r"features have the shape \(4, 30\), but there are 30 labels: expected a row for each node. Transpose them: features.T"
    with pytest.raises(DataError, match=message):
        dm.Dataset.from_arrays(EDGES, FEATURES.T, LABELS)
    with pytest.raises(DataError, match=r"^(?!.*ranspose).*label"):  # too few labels, as many as there are columns
        dm.Dataset.from_arrays(EDGES, FEATURES, LABELS[: FEATURES.shape[1]])


@pytest.mark.parametrize("labels", [np.arange(N)[:, None] % 2, pd.DataFrame({"y": np.arange(N) % 2})])
def test_a_column_that_may_be_two_classes_is_told(labels: Any) -> None:
    for make in (lambda: dm.Dataset.from_arrays(EDGES, FEATURES, labels), lambda: dm.Dataset.from_dgl(graph(), labels)):
        with pytest.warns(UserWarning, match=r"is read as one binary label .* For two classes give .* labels\[:, 0\]"):
            assert make().target.kind == "multi-label"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dm.Dataset.from_dgl(graph(label=np.arange(N)[:, None] % 2)).target.kind == "single-label"
        dm.Dataset.from_arrays(EDGES, FEATURES, np.stack([LABELS == 0, LABELS < 2], 1))


def test_masks_of_numbers_and_of_booleans_are_the_same() -> None:
    plain = dm.Dataset.from_dgl(graph(**masks()))
    numbers = dm.Dataset.from_dgl(graph(**{name: mask.astype(np.float32) for name, mask in masks().items()}))
    assert plain.official_split is not None and numbers.official_split is not None
    for name, part in plain.official_split.parts.items():
        assert (part == numbers.official_split.parts[name]).all()


def test_a_split_of_two_masks_is_refused_unless_one_is_given() -> None:
    two = graph(**{name: mask for name, mask in masks().items() if name != "val_mask"})
    with pytest.raises(DataError, match="The split has train_mask, test_mask, but val_mask is missing"):
        dm.Dataset.from_dgl(two)
    assert len(fit(data=two).split.val) == len(SPLIT.val)
    several = graph(train_mask=np.ones((N, 10), dtype=np.bool_), val_mask=np.ones((N, 10)), test_mask=np.ones((N, 10)))
    assert len(fit(data=several).split.val) == len(SPLIT.val)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: dm.Dataset.from_arrays(EDGES, np.ma.masked_greater(FEATURES, 0), LABELS), "features are a masked array with"),
        (lambda: dm.Dataset.from_arrays(EDGES, FEATURES, np.ma.masked_equal(LABELS, 2)), "labels are a masked array with 10 masked values"),
        (lambda: dm.Dataset.from_arrays(np.eye(N), FEATURES, LABELS), r"looks like an adjacency matrix. Give its edges"),
        (lambda: dm.Dataset.from_arrays(sparse.eye_array(N), FEATURES, LABELS), "looks like an adjacency matrix"),
        (lambda: dm.Dataset.from_arrays(0.5 * sparse.eye_array(N), FEATURES, LABELS), "looks like an adjacency matrix"),
        (lambda: dm.Dataset.from_arrays(sparse.eye_array(10**7), None), "looks like an adjacency matrix"),
        (lambda: dm.Dataset.from_arrays(torch.eye(N), FEATURES, LABELS), r"matrix.to_sparse\(\).coalesce\(\).indices\(\)"),
        (lambda: dm.Dataset.from_arrays(EDGES.astype(str), FEATURES, LABELS), r"found <U\d+ values such as '\d+'"),
        (lambda: dm.Dataset.from_arrays(None, FEATURES, LABELS), r"must be an array of integers, found None\."),
        (lambda: dm.Dataset.from_dgl({"graph": graph()}), "Expected DGL graphs, found a dict"),
        (lambda: dm.Dataset.from_pyg({"graph": graph()}), "Expected PyG graphs, found a dict"),
        (lambda: dm.Dataset.from_dgl(pd.DataFrame({"a": [1]})), "DGL graphs"),
        (lambda: dm.Split("train", "val", "test"), r"part 'train' of the split is 'train' \(a str\)"),
        (lambda: dm.Split({1, 2}, [3], [4]), r"part 'train' of the split is \{1, 2\} \(a set\)"),
        (lambda: dm.Split(None, [3], [4]), "part 'train' of the split is None"),
        (lambda: dm.Split([0], slice(1, 2), [4]), "part 'val' of the split is slice"),
    ],
)
def test_data_of_another_kind_is_refused(made: Callable[[], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        made()


def test_data_of_pyg_under_the_other_name_is_refused() -> None:
    pyg = pytest.importorskip("torch_geometric.data", reason="torch_geometric is an extra")
    data = pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES), y=torch.as_tensor(LABELS))
    with pytest.raises(DataError, match=r"found PyG data. Use Dataset.from_pyg"):
        dm.Dataset.from_dgl(data)
    result = fit()
    assert (result.predict(data) == result.predict(dm.Dataset.from_pyg(data))).all()


def unlabelled(**columns: Any) -> Any:
    made = graph(**columns)
    del made.ndata["label"]
    return made


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (unlabelled(labels=LABELS), r"ndata\['label'\] is missing \(ndata has: feat, labels\).*from_dgl\(graph, label='labels'\)"),
        (unlabelled(), r"\(ndata has: feat\). Set it, or .*from_dgl\(graph, labels=...\)"),
        ([unlabelled()] * 3, r"not \(graph, label\) pairs, and ndata\['label'\] is missing \(of graph 0, ndata has: feat\)"),
        (graph(label=np.full(N, -1)), "all are unknown"),
        (dm.Dataset.from_arrays(EDGES, FEATURES), "none were given to Dataset.from_arrays"),
    ],
)
@pytest.mark.filterwarnings("ignore:None of 1 test sample of graphs? has a known label")
def test_data_without_labels_say_where_they_were_looked_up(data: Any, message: str) -> None:
    split = dm.Split([0], [1], [2])
    for options in ({"split": split}, {}):
        with pytest.raises(UsageError, match=f"has no labels: .*{message}"):
            dm.fit(data, "gcn,sage", **options)


def test_pyg_data_without_labels_say_where_they_were_looked_up() -> None:
    pyg = pytest.importorskip("torch_geometric.data", reason="torch_geometric is an extra")
    data = pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES), target=torch.as_tensor(LABELS))
    with pytest.raises(UsageError, match=r"y is missing \(the graph has: x, edge_index, target\). Set it, as in data.y = data.target, or"):
        dm.fit(data)
    data.y = data.target
    assert len(fit(data=data).split.val) == len(SPLIT.val)
    with pytest.raises(UsageError, match=r"y is missing \(graph 0 has: x, edge_index\). Set it, or load .* one per graph"):
        dm.fit([pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES)) for _ in range(3)])


def test_nodes_with_several_labels_and_no_split_are_trained_on_random_shares() -> None:
    several = np.stack([LABELS % 2, LABELS > 1], axis=1).astype(np.float32)
    dataset = dm.Dataset.from_arrays(EDGES, FEATURES, several)
    results = [dm.fit(dataset, "gcn,sage", training={"epochs": 2}, student={"hidden": 4}, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (result.split for result in results)
    assert results[0].config["protocol"] == "holdout" and 0 <= results[0]["mean"].test <= 1
    assert sorted(np.concatenate(list(first.parts.values()))) == list(range(N))
    assert [len(part) for part in first.parts.values()] == [N - 2 * round(N / 5), round(N / 5), round(N / 5)]
    assert np.array_equal(first.test, again.test) and not np.array_equal(first.test, other.test)


def test_a_split_of_pandas_can_be_written_to() -> None:
    split = dm.Split(pd.Index(range(5)), pd.Series(range(5, 8)), [8])
    assert all(part.flags.writeable for part in split.parts.values())


@pytest.mark.parametrize(
    ("values", "whose"),
    [
        ({"feature_names": ["a", "\udce9"]}, "a feature column"),
        ({"labels": ["a", "\udce9", "a"]}, "a class or label"),
        ({"labels": {"\udce9": [0, 1, 0], "b": [0, 1, 1]}}, "a target"),
    ],
)
def test_names_that_no_file_can_hold_are_refused_before_training(values: dict[str, Any], whose: str) -> None:
    """A student could not be saved once it was trained."""
    given = {"edges": [[0, 1], [1, 2]], "features": np.eye(3, 2), "labels": [0, 1, 0], **values}
    with pytest.raises(DataError, match=rf"'\\udce9', the name of {whose}, cannot be written as UTF-8"):
        dm.Dataset.from_arrays(**given)
