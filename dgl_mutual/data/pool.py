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

#: Rounds of colour refinement in which a node's colour takes in those of its neighbours.
_ROUNDS = 3

Hashes = npt.NDArray[np.uint64]


def with_pool(dataset: Dataset, pool: Dataset, *, edge_features: bool = True) -> tuple[Dataset, int]:
    """The dataset with the graphs of a pool behind its own, their labels unknown; and how many graphs of the pool were left out.

    Left out is what the dataset holds already, in whatever numbering of nodes (see `graph_hashes`): test graphs must not be trained on.

    Args:
        edge_features: whether students take them. If not, graphs that differ in these alone are the same.

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
    seen, known = (one if edge_features else one.without_edge_features() for one in (pool, dataset))
    new = ~np.isin(graph_hashes(seen), graph_hashes(known))
    if not new.any():
        raise UsageError(
            f"The pool {pool.name!r} holds nothing new: {counted(pool.num_graphs, 'graph')}, all of them in {dataset.name!r}. "
            "Choose another pool."
        )
    return _joined(dataset, pool, np.flatnonzero(new)), int((~new).sum())


def without_pool(dataset: Dataset) -> Dataset:
    """The graphs before those of the pool; the dataset itself where it has none."""
    if not dataset.num_pool:
        return dataset
    return _between(dataset, 0, dataset.num_graphs - dataset.num_pool)


def apply_separately(dataset: Dataset, change: Callable[[Dataset], Dataset]) -> Dataset:
    """A dataset with a pool after `change` of its own graphs, and then, separately, of those of the pool."""
    own = without_pool(dataset)
    pool = _between(dataset, own.num_graphs, dataset.num_graphs, official_splits=())
    return _joined(change(own), change(pool), np.arange(pool.num_graphs))


def _between(dataset: Dataset, first: int, end: int, **changes: Any) -> Dataset:
    """The graphs from the number `first` on and before `end`, without a pool."""
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
    """A number for each graph (graphs,), the same for graphs that differ in the numbering of their nodes alone.

    Node colours, at first of the features, take in the multiset of the neighbours' colours, each with the features of its edge where there
    are some, in some rounds (Weisfeiler and Leman 1968). Two graphs with one number need not be the same, but nearly always are.
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
    """A number for each row; zeros do not count, so that dense and sparse rows of the same values have the same."""
    rows = sparse.csr_matrix(features, dtype=np.float32)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    bits = rows.data.view(np.uint32).astype(np.uint64)
    terms = _mixed(bits + _mixed(rows.indices.astype(np.uint64)))
    colours = np.zeros(rows.shape[0], dtype=np.uint64)
    np.add.at(colours, np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), terms)
    return colours


def _mixed(values: Hashes) -> Hashes:
    """splitmix64 (Steele et al. 2014): each bit of a number changes about half of the result's."""
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
    sizes = np.diff(pool.node_offsets)
    graph_of = np.repeat(np.arange(pool.num_graphs), sizes)
    nodes = np.isin(graph_of, graphs)
    number = np.cumsum(nodes) - 1 + dataset.num_nodes
    kept_edges = nodes[pool.edges[1]]
    unknown = np.full((len(graphs), *dataset.labels.shape[1:]), dataset.target.unknown)
    edge_features = dataset.edge_features
    if edge_features is not None:
        assert pool.edge_features is not None
        edge_features = _stacked(edge_features, pool.edge_features[np.flatnonzero(kept_edges)])
    splits = dataset.official_splits  # created again below: the length of their masks is that without the pool
    return dataset.replaced(
        edges=np.concatenate([dataset.edges, number[pool.edges[:, kept_edges]]], axis=1),
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
