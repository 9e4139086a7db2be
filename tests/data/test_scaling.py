"""Columns are brought to one size by powers of two, by what the training part shows alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.scaling import column_scales, edge_column_scales, with_scaled_columns, with_scaled_edge_columns
from dgl_mutual.data.values.split import Split

SIZES = (4, 7, 3, 6, 5, 8)
SPLIT = Split(np.array([0, 1, 3]), np.array([2]), np.array([4, 5]))


@pytest.fixture
def dataset() -> Dataset:
    """Columns of very different sizes, two that never vary and an indicator."""
    random = np.random.default_rng(0)
    nodes = sum(SIZES)
    features = random.normal(3.0, 1.0, (nodes, 6)) * [1e-3, 1.0, 60.0, 0.0, 0.0, 100.0]
    return Dataset.from_arrays(
        np.empty((2, 0), dtype=np.int64),
        features.astype(np.float32),
        np.arange(len(SIZES)) % 2,
        node_offsets=np.cumsum([0, *SIZES]),
        feature_names=("small", "plain", "large", "constant", "zero", "label 1"),
        feature_kinds=(*("number",) * 5, "indicator"),
    )


def training_rows(dataset: Dataset) -> np.ndarray:
    return np.concatenate([np.arange(dataset.node_offsets[g], dataset.node_offsets[g + 1]) for g in SPLIT.train])


def test_deviations_come_near_one_by_powers_of_two(dataset: Dataset) -> None:
    scales = column_scales(dataset, SPLIT)
    mantissas, _ = np.frexp(scales)
    assert (mantissas == 0.5).all()
    deviations = with_scaled_columns(dataset, scales).features[training_rows(dataset), :3].std(axis=0)
    assert ((deviations >= 2**-0.5) & (deviations <= 2**0.5)).all()
    assert scales[3:].tolist() == [1.0, 1.0, 1.0]


def test_nodes_outside_the_training_part_do_not_count(dataset: Dataset) -> None:
    others = np.setdiff1d(np.arange(dataset.num_nodes), training_rows(dataset))
    features = np.array(dataset.features)
    features[others] *= 1000.0
    np.testing.assert_array_equal(column_scales(replace(dataset, features=features), SPLIT), column_scales(dataset, SPLIT))


def test_on_a_node_task_there_is_one_factor_and_the_training_nodes_count(dataset: Dataset) -> None:
    nodes = Split(np.arange(1, 9), np.arange(9, 12), np.arange(12, 15))
    measured = np.asarray(dataset.features)[1:9, [0, 1, 2]]
    factor = np.exp2(-np.round(np.log2(measured.std(dtype=np.float64))))
    assert factor != 1.0
    of_nodes = replace(dataset, task="node", labels=np.zeros(dataset.num_nodes, dtype=np.int64))
    np.testing.assert_array_equal(column_scales(of_nodes, nodes), [factor] * 5 + [1.0])
    rare = np.array(dataset.features)
    rare[12:, 3] = 50.0  # a column that does not vary on the training nodes, and is as large as others elsewhere
    np.testing.assert_array_equal(column_scales(replace(of_nodes, features=rare), nodes), [factor] * 5 + [1.0])


def test_sparse_columns_are_scaled_as_dense_ones(dataset: Dataset) -> None:
    features = np.where(np.random.default_rng(1).random(dataset.features.shape) < 0.6, 0.0, np.nan_to_num(dataset.features, posinf=1.0))
    dense = replace(dataset, features=features.astype(np.float32))
    thin = replace(dense, features=sparse.csr_matrix(dense.features))
    scales = column_scales(dense, SPLIT)
    np.testing.assert_array_equal(column_scales(thin, SPLIT), scales)
    scaled = with_scaled_columns(thin, scales).features
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled.toarray(), with_scaled_columns(dense, scales).features)


def test_edge_features_likewise(dataset: Dataset) -> None:
    random = np.random.default_rng(1)
    first = np.repeat(dataset.node_offsets[:-1], 3)
    ends = np.stack([first, first + np.tile([0, 1, 2], len(SIZES))])
    values = random.normal(size=(ends.shape[1], 3)) * [1e-3, 50.0, 100.0]
    kinds = ("number", "number", "indicator")
    edges = Dataset.from_arrays(
        ends, dataset.features, dataset.labels, node_offsets=dataset.node_offsets, edge_features=values, edge_feature_kinds=kinds
    )
    scales = edge_column_scales(edges, SPLIT)
    assert scales is not None and scales[2] == 1 and (np.frexp(scales)[0] == 0.5).all()
    scaled = with_scaled_edge_columns(edges, scales).edge_features
    graph_of = np.searchsorted(edges.node_offsets, edges.edges[1], side="right") - 1
    deviations = scaled[np.isin(graph_of, SPLIT.train), :2].std(axis=0)
    assert ((deviations > 0.7) & (deviations < 1.5)).all()
    elsewhere = np.where(np.isin(graph_of, SPLIT.train)[:, None], edges.edge_features, 1e6)
    np.testing.assert_array_equal(edge_column_scales(edges.replaced(edge_features=elsewhere), SPLIT), scales)
    thin = edges.replaced(edge_features=sparse.csr_matrix(edges.edge_features))
    np.testing.assert_array_equal(with_scaled_edge_columns(thin, scales).edge_features.toarray(), scaled)
    assert edge_column_scales(dataset, SPLIT) is None and with_scaled_edge_columns(dataset, None) is dataset
    none = edges.replaced(edges=np.empty((2, 0)), edge_features=np.empty((0, 3)))
    assert edge_column_scales(none, SPLIT).tolist() == [1, 1, 1]


@pytest.mark.parametrize("task", ["graph", "node"])
def test_unlabelled_training_samples_count(dataset: Dataset, task: str) -> None:
    if task == "node":
        offsets, labels = np.array([0, dataset.num_nodes]), np.zeros(dataset.num_nodes, dtype=np.int64)
        features = np.array(dataset.features)
        features[1:4] *= 1000.0
        dataset = replace(dataset, task="node", labels=labels, node_offsets=offsets, features=features)
    few = Split(SPLIT.train[:1], SPLIT.val, SPLIT.test, SPLIT.train[1:])
    np.testing.assert_array_equal(column_scales(dataset, few), column_scales(dataset, SPLIT))
    assert (column_scales(dataset, replace(few, unlabelled=np.array([], dtype=np.int64))) != column_scales(dataset, few)).any()


def test_sums_of_edge_features_stay_as_they_are(dataset: Dataset) -> None:
    sums = replace(dataset, feature_kinds=("number", "number", "edge-sum", *dataset.feature_kinds[3:]))
    assert column_scales(dataset, SPLIT)[2] != 1
    np.testing.assert_array_equal(column_scales(sums, SPLIT)[[0, 1, 2]], [*column_scales(dataset, SPLIT)[:2], 1])


def test_on_a_node_task_edges_that_end_in_training_nodes_count() -> None:
    ends = np.array([[0, 1, 2, 3], [1, 0, 1, 0]])  # of the last two the sources are no training nodes
    edges = Dataset.from_arrays(
        np.concatenate([ends, ends[::-1, 2:]], axis=1),
        np.ones((4, 1), dtype=np.float32),
        np.arange(4) % 2,
        edge_features=np.array([[8.0], [-8.0], [8.0], [-8.0], [1e6], [-1e6]]),
        edge_feature_kinds=("number",),
    )
    assert edge_column_scales(edges, Split(np.array([0, 1]), np.array([2]), np.array([3]))).tolist() == [1 / 8]
