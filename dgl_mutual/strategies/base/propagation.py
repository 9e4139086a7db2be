"""Graph and operators of strategies that spread training labels, or errors on them, over the edges of one graph after training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.utils.wording import counted

#: A row for each node, a column for each class: (N, C).
Matrix: TypeAlias = npt.NDArray[np.float64]
Vector: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelledGraph:
    """One graph with the labels of its training nodes, and no other labels.

    Attributes:
        edges: (2, |E|).
        train, classes: the training nodes, and their classes, (n,) each.
        num_nodes, num_classes: N and C.
        best: the index of the best of several predictions (N, C) on validation; ties go to the first.
    """

    edges: IntArray
    train: IntArray
    classes: IntArray
    num_nodes: int
    num_classes: int
    best: Callable[[Sequence[Matrix]], int]

    @cached_property
    def adjacency(self) -> sparse.csr_matrix:
        """A (N, N), 1 where two nodes have an edge in either direction."""
        source, destination = self.edges
        one_way = sparse.csr_matrix((np.ones(len(source)), (destination, source)), shape=(self.num_nodes, self.num_nodes))
        return one_way.maximum(one_way.T).tocsr()

    @cached_property
    def by_rows(self) -> sparse.csr_matrix:
        """D^-1 A; the row of a node without neighbours is zero."""
        return (sparse.diags(_inverse(self._degrees)) @ self.adjacency).tocsr()

    @cached_property
    def symmetric(self) -> sparse.csr_matrix:
        """D^-1/2 A D^-1/2."""
        scale = sparse.diags(np.sqrt(_inverse(self._degrees)))
        return (scale @ self.adjacency @ scale).tocsr()

    @cached_property
    def labels(self) -> Matrix:
        """Y: the rows of training nodes are one-hot, all others zero."""
        labels = np.zeros((self.num_nodes, self.num_classes))
        labels[self.train, self.classes] = 1.0
        return labels

    @property
    def _degrees(self) -> Vector:
        return np.asarray(self.adjacency.sum(axis=1), dtype=np.float64).ravel()


def spread(operator: sparse.csr_matrix, start: Matrix, alpha: float, steps: int, after: Callable[[Matrix], Matrix] = lambda x: x) -> Matrix:
    """x <- after(alpha P x + (1 - alpha) x_0), `steps` times from x_0 on."""
    x = start
    for _ in range(steps):
        x = after(alpha * (operator @ x) + (1 - alpha) * start)
    return x


def as_probabilities(scores: Matrix, otherwise: Vector) -> Matrix:
    """Rows of scores as probabilities, in the same order of classes; a row of equal scores of at most 0 becomes `otherwise` (C,)."""
    positive = scores - np.minimum(scores.min(axis=1, keepdims=True), 0.0)
    total = positive.sum(axis=1, keepdims=True)
    probabilities: Matrix = np.where(total > 0, positive / np.where(total > 0, total, 1.0), otherwise)
    return probabilities


def labelled_graph_of(dataset: Dataset, split: Split, best: Callable[[Sequence[Matrix]], int]) -> LabelledGraph:
    """The graph of a node task, without any label but those of training nodes."""
    classes = np.asarray(dataset.labels[split.train], dtype=np.int64)
    known = classes >= 0
    return LabelledGraph(dataset.edges, split.train[known], classes[known], dataset.num_nodes, dataset.target.num_outputs, best)


def check_propagation(strategy: str, dataset: Dataset) -> None:
    """Check that the task of a dataset is to classify the nodes of one graph.

    Raises:
        UsageError: a graph task, several graphs, a partitioned graph, or another target than one class per node.
    """
    fault = None
    if dataset.task != "node":
        fault = f"{dataset.name} is a graph task, where no edge joins a test graph and a training graph"
    elif dataset.store is not None:
        fault = f"the edges of {dataset.name} are on several machines"
    elif dataset.num_graphs > 1:
        fault = f"{dataset.name} has {counted(dataset.num_graphs, 'graph')}, and no edge joins one to another"
    elif dataset.target.kind != "single-label":
        fault = f"the target of {dataset.name} is {dataset.target.kind}, not one class for each node"
    if fault is not None:
        raise UsageError(
            f"Strategy {strategy!r} spreads training labels over the edges of one graph, and {fault}. Choose another strategy."
        )


def _inverse(degrees: Vector) -> Vector:
    inverse: Vector = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    return inverse
