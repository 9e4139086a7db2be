"""What a dataset is: plain arrays, the same for DGL and for any other library. No model is known here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float32]
Features: TypeAlias = "FloatArray | sparse.csr_matrix"
TaskName: TypeAlias = Literal["node", "graph"]
TargetKind: TypeAlias = Literal["single-label", "multi-label", "joint"]
MetricName: TypeAlias = Literal["accuracy", "rocauc", "ap", "micro-f1", "mean"]


@dataclass(frozen=True)
class Target:
    """What is predicted for each sample.

    Attributes:
        kind: ``single-label`` (softmax over classes), ``multi-label`` (one Bernoulli per label; binary is one label), or ``joint`` (several
            targets at once, see `dgl_mutual.data.targets`).
        names: class names, or label names; their number is the number of logits.
        metric: how predictions are scored; ``mean`` of the parts' metrics for a joint target.
        name: what it is called where a dataset has several.
        parts: the targets of a joint one.
    """

    kind: TargetKind
    names: tuple[str, ...]
    metric: MetricName
    name: str | None = None
    parts: tuple[Target, ...] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "joint") != bool(self.parts):
            raise ValueError("a joint target has parts, and no other target has")
        if self.parts and not all(part.name and part.kind != "joint" for part in self.parts):
            raise ValueError("the parts of a joint target are single ones, with names")
        if self.parts and sum(part.num_outputs for part in self.parts) != self.num_outputs:
            raise ValueError("a joint target has the outputs of all its parts")

    @property
    def num_outputs(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Split:
    """Sample indices of one fold. The three parts are disjoint; they need not cover the dataset."""

    train: IntArray
    val: IntArray
    test: IntArray


@dataclass(frozen=True, eq=False)
class GraphStore:
    """A graph in parts, and how to ask for its nodes.

    Attributes:
        graph: its `dgl.distributed.DistGraph`, with node data ``feat``, ``in_degree`` and ``out_degree``.
        ids: (|V|,): what it calls each node.
        fingerprint: of the dataset that was cut up.
    """

    graph: Any
    ids: IntArray
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """One graph with labelled nodes (``task="node"``) or many graphs with labels (``task="graph"``).

    Attributes:
        edges: int64, shape (2, |E|), rows (source, destination) in global node numbers; an undirected edge stands in both directions;
            no self-loops, no duplicates; sorted by (destination, source). `canonical_edges` brings any list into this form.
        features: float32, shape (|V|, F); a CSR matrix where most entries are zero.
        labels: single-label: int64, shape (samples,), -1 where unknown. Multi-label: float32, shape (samples, L), NaN where unknown.
            Joint: float32, shape (samples, columns), NaN where unknown: a column of class numbers for a single-label part, L for others.
        node_offsets: int64, shape (graphs + 1,): graph g owns the nodes node_offsets[g] ... node_offsets[g + 1] - 1.
        feature_names: one name a column of `features`: the schema that a saved student asks of new data.
        official_split: the split that comes with the dataset, if any, and the protocol it belongs to (``public`` or ``scaffold``).
        evaluator: the OGB name whose `Evaluator` computes the metric, if any.
        sample_ids: what its files call the samples, if anything.
        store: what serves edges and features of a graph that no machine holds; then there are no `edges`, and `features` are zeros.
    """

    name: str
    task: TaskName
    edges: IntArray
    features: Features
    labels: npt.NDArray[np.int64] | FloatArray
    node_offsets: IntArray
    target: Target
    feature_names: tuple[str, ...]
    official_split: Split | None = None
    evaluator: str | None = None
    sample_ids: tuple[str, ...] | None = None
    store: GraphStore | None = None

    @property
    def num_nodes(self) -> int:
        return int(self.node_offsets[-1])

    @property
    def num_graphs(self) -> int:
        return len(self.node_offsets) - 1

    @property
    def num_edges(self) -> int:
        return int(self.edges.shape[1])

    @property
    def num_features(self) -> int:
        return int(self.features.shape[1])

    @property
    def num_samples(self) -> int:
        return self.num_nodes if self.task == "node" else self.num_graphs

    @cached_property
    def edge_offsets(self) -> IntArray:
        """int64, shape (graphs + 1,): graph g owns the edges edge_offsets[g] ... edge_offsets[g + 1] - 1."""
        return np.searchsorted(self.edges[1], self.node_offsets).astype(np.int64)

    @cached_property
    def in_offsets(self) -> IntArray:
        """int64, shape (|V| + 1,): the in-edges of node v are in_offsets[v] ... in_offsets[v + 1] - 1 (a CSC index pointer)."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.edges[1], minlength=self.num_nodes))]).astype(np.int64)


def canonical_edges(source: IntArray, destination: IntArray, num_nodes: int, *, symmetric: bool) -> IntArray:
    """Edges in the form `Dataset` asks for: no self-loops, no duplicates, sorted by (destination, source).

    Args:
        symmetric: add the reverse of every edge.
    """
    keep = source != destination
    source, destination = source[keep].astype(np.int64), destination[keep].astype(np.int64)
    keys = destination * num_nodes + source
    if symmetric:
        keys = np.concatenate([keys, source * num_nodes + destination])
    del source, destination  # with some 10^8 edges every copy counts
    keys.sort()
    first = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    keys = keys[first]
    edges = np.empty((2, len(keys)), dtype=np.int64)
    np.divmod(keys, num_nodes, out=(edges[1], edges[0]))
    return edges
