"""A pool of further graphs without labels, joined to a dataset of graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.schema import align_to
from dgl_mutual.data.values.arrays import Features
from dgl_mutual.data.values.features import compact
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.utils.wording import counted

#: Rounds of colour refinement.
_ROUNDS = 3

Hashes = npt.NDArray[np.uint64]


def with_pool(dataset: Dataset, pool: Dataset, *, edge_features: bool = True) -> tuple[Dataset, int]:
    """Append the graphs of a pool to the dataset, with unknown labels. Also returns the number of graphs that were left out.

    Graphs that the dataset already has, in any numbering of nodes (see `graph_hashes`), are left out: test graphs must not be trained on.

    Args:
        edge_features: whether students take edge features. If not, they are ignored in the comparison of graphs.

    Raises:
        UsageError: a node task, a dataset that has a pool, or a pool that holds nothing but the dataset's graphs.
        DataError: the pool has other feature columns; both sides are shown.
    """
    if dataset.task != "graph" or pool.task != "graph" or dataset.store is not None:
        wrong = dataset if dataset.task != "graph" else pool
        hint = ", or make it with task='graph' if it is one graph of a pool" if wrong is pool and wrong.num_graphs == 1 else ""
        raise UsageError(
            f"A pool of unlabelled graphs is for graph tasks, and {wrong.name} is a dataset for the {wrong.task} task. Leave the pool "
            f"out{hint}."
        )
    if dataset.num_pool:
        raise UsageError(
            f"{dataset.name} has a pool of {counted(dataset.num_pool, 'graph')} already. Give the dataset without it, and one pool."
        )
    pool = _aligned(dataset, pool)
    candidates, known = (graphs if edge_features else graphs.without_edge_features() for graphs in (pool, dataset))
    new = ~np.isin(graph_hashes(candidates), graph_hashes(known))
    if not new.any():
        raise UsageError(
            f"The pool {pool.name!r} holds nothing new: {counted(pool.num_graphs, 'graph')}, all of them in {dataset.name!r}. "
            "Choose another pool."
        )
    return _joined(dataset, pool, np.flatnonzero(new)), int((~new).sum())


def without_pool(dataset: Dataset) -> Dataset:
    """The dataset without its pool; the dataset itself if it has none."""
    if not dataset.num_pool:
        return dataset
    return _between(dataset, 0, dataset.num_graphs - dataset.num_pool)


def apply_separately(dataset: Dataset, change: Callable[[Dataset], Dataset]) -> Dataset:
    """Apply `change` to the graphs of the dataset without its pool, then separately to the pool, and join the results."""
    own_graphs = without_pool(dataset)
    pool = _between(dataset, own_graphs.num_graphs, dataset.num_graphs, official_splits=())
    return _joined(change(own_graphs), change(pool), np.arange(pool.num_graphs))


def _between(dataset: Dataset, first: int, end: int, **changes: Any) -> Dataset:
    """The graphs `first` to `end` - 1 as a dataset without a pool."""
    start, stop = dataset.node_offsets[[first, end]]
    edges = np.flatnonzero((start <= dataset.edges[1]) & (dataset.edges[1] < stop))
    return dataset.replaced(
        edges=dataset.edges[:, edges] - start,
        features=dataset.features[start:stop],
        edge_features=None if dataset.edge_features is None else dataset.edge_features[edges],
        labels=dataset.labels[first:end],
        node_offsets=dataset.node_offsets[first : end + 1] - start,
        num_pool=0,
        **changes,
    )


def graph_hashes(dataset: Dataset) -> Hashes:
    """A hash of each graph, (graphs,), that is invariant to the numbering of its nodes.

    Node colours start as hashes of the features. In each round, a colour absorbs the multiset of its neighbours' colours, with the features
    of the edges if there are any (Weisfeiler and Leman 1968). Graphs with equal hashes are nearly always equal.
    """
    source, destination = dataset.edges
    sizes = np.diff(dataset.node_offsets)
    graph_of = np.repeat(np.arange(dataset.num_graphs), sizes)
    with np.errstate(over="ignore"):  # numbers modulo 2^64
        colours = _feature_colours(dataset.features)
        of_edges = np.uint64(0) if dataset.edge_features is None else _mixed(_feature_colours(dataset.edge_features))
        for _ in range(_ROUNDS):
            around = np.zeros(dataset.num_nodes, dtype=np.uint64)
            np.add.at(around, destination, _mixed(colours[source] + of_edges))
            colours = _mixed(_mixed(colours) + around * np.uint64(3))
        hashes = np.zeros(dataset.num_graphs, dtype=np.uint64)
        np.add.at(hashes, graph_of, _mixed(colours))
        return _mixed(hashes + sizes.astype(np.uint64))


def _feature_colours(features: Features) -> Hashes:
    """A hash of each row. Zeros are ignored, so that it is equal for dense and sparse storage."""
    rows = sparse.csr_matrix(features, dtype=np.float32)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    bits = rows.data.view(np.uint32).astype(np.uint64)
    terms = _mixed(bits + _mixed(rows.indices.astype(np.uint64)))
    colours = np.zeros(rows.shape[0], dtype=np.uint64)
    np.add.at(colours, np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), terms)
    return colours


def _mixed(values: Hashes) -> Hashes:
    """splitmix64 (Steele et al. 2014): each bit of the input changes about half of the output's bits."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _aligned(dataset: Dataset, pool: Dataset) -> Dataset:
    try:
        return align_to(pool, dataset, owner=dataset.name)
    except DataError as error:
        raise DataError(f"The pool {pool.name!r} has another schema than {dataset.name!r}. {error}") from None


def _joined(dataset: Dataset, pool: Dataset, graphs: npt.NDArray[np.int64]) -> Dataset:
    """The dataset, followed by these graphs of a pool."""
    sizes = np.diff(pool.node_offsets)
    graph_of = np.repeat(np.arange(pool.num_graphs), sizes)
    nodes = np.isin(graph_of, graphs)
    new_index = np.cumsum(nodes) - 1 + dataset.num_nodes
    kept_edges = nodes[pool.edges[1]]
    unknown = np.full((len(graphs), *dataset.labels.shape[1:]), dataset.target.unknown)
    edge_features = dataset.edge_features
    if edge_features is not None:
        assert pool.edge_features is not None
        edge_features = _stacked(edge_features, pool.edge_features[np.flatnonzero(kept_edges)])
    splits = dataset.official_splits  # created anew below: the lengths of their masks would not count the pool
    return dataset.replaced(
        edges=np.concatenate([dataset.edges, new_index[pool.edges[:, kept_edges]]], axis=1),
        features=_stacked(dataset.features, pool.features[np.flatnonzero(nodes)]),
        edge_features=edge_features,
        labels=np.concatenate([dataset.labels, unknown.astype(dataset.labels.dtype)]),
        node_offsets=np.concatenate([dataset.node_offsets, dataset.num_nodes + np.cumsum(sizes[graphs])]),
        official_splits=tuple(Split(split.train, split.val, split.test, split.unlabelled) for split in splits),
        sample_ids=None,
        num_pool=len(graphs),
    )


def _stacked(above: Features, below: Features) -> Features:
    if isinstance(above, np.ndarray) and isinstance(below, np.ndarray):
        return np.concatenate([above, below])
    return compact(sparse.vstack([sparse.csr_matrix(above), sparse.csr_matrix(below)], format="csr"))
