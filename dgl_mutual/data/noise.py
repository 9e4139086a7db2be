"""Noise in features, edges or training labels, for robustness experiments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.features_of_edges import with_features_of_edges
from dgl_mutual.data.pool import apply_separately
from dgl_mutual.data.several_targets import one_by_one
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.features import compact
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import join_targets
from dgl_mutual.errors import UsageError, unknown


@dataclass(frozen=True)
class NoiseSpec:
    """Kind and amount of noise.

    Attributes:
        kind: a name in `NOISES`.
        amount: a share in [0, 1].
    """

    kind: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> NoiseSpec:
        """Parse a text such as ``feature:0.2``.

        Raises:
            UsageError: not of the form KIND:AMOUNT, an unknown kind, or an amount outside [0, 1].
        """
        kind, _, number = text.partition(":")
        if kind not in NOISES:
            raise unknown("noise", kind, NOISES)
        try:
            amount = float(number)
        except ValueError:
            amount = -1.0
        if "," in number and ":" in number:
            raise UsageError(f"Noise {text!r} names several kinds. Give one, for example {text.partition(',')[0]}.")
        if not 0 <= amount <= 1:
            raise UsageError(f"Noise {text!r} has no amount between 0 and 1. The form is KIND:AMOUNT, for example {kind}:0.2.")
        return cls(kind, amount)

    @property
    def changes_edges(self) -> bool:
        """Whether edges change, and with them node features that are derived from edges."""
        return self.kind.startswith("edge")

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount:g}"


def add_noise(dataset: Dataset, split: Split, noise: NoiseSpec, *, seed: int) -> Dataset:
    """Return the dataset with noise, which is deterministic for the same arguments. The original does not change.

    - ``feature``: X' = (1 - a) X + a N(0, 1) (the protocol of Zhang et al., ICLR 2022, arXiv 2110.08727).
    - ``edge-remove``: a share a of the edges is removed.
    - ``edge-add``: a share a of the number of edges is added, between random unconnected nodes of the same graph.
    - ``edge``: both, so that the number of edges stays. A new edge has the features of a random other edge. Node features that are derived
      from edges (sums of edge features, one-hot degrees) are recomputed; degrees beyond the last column count as the last.
    - ``label``: a share a of the training samples' labels becomes another class at random (symmetric noise); of a multi-label target, a
      share a of the known training labels is inverted. With several targets, noise is added to each. Labels of the validation and test
      parts do not change, and neither do hidden labels of the training part.
    - ``label-asymmetric``: the same, but class c becomes class c + 1, and the last becomes the first (the pair flipping of Han et al.,
      NeurIPS 2018, arXiv 1804.06872). With two classes, and with a multi-label target, a share a of the ones becomes zeros, and zeros do
      not change: if both changed, the noise would be symmetric.

    A graph whose edges are stored in both directions keeps that property: noise then acts on pairs of nodes. A graph without enough free
    pairs gets fewer edges. A pool does not change the noise in the dataset's own graphs.

    Raises:
        UsageError: noise that changes no label or edge; noise in edges whose features are missing, but were summed into node features.
    """
    random = np.random.default_rng(seed)
    if dataset.num_pool and noise.changes_edges:
        return apply_separately(dataset, lambda part: NOISES[noise.kind](part, split, noise.amount, random))
    return NOISES[noise.kind](dataset, split, noise.amount, random)


def _feature_noise(dataset: Dataset, split: Split, amount: float, random: Generator) -> Dataset:
    features = dataset.features if isinstance(dataset.features, np.ndarray) else dataset.features.toarray()
    noisy = (1 - amount) * features + amount * random.standard_normal(features.shape, dtype=np.float32)
    return dataset.replaced(features=compact(noisy))


def _label_noise(dataset: Dataset, split: Split, amount: float, random: Generator, *, asymmetric: bool) -> Dataset:
    noisy = _wrong_labels(dataset, split, amount, random, asymmetric)
    if amount > 0 and np.array_equal(noisy, dataset.labels, equal_nan=True):
        raise UsageError(
            f"Label noise of {amount:g} changes no label of {dataset.name}: its training part has {len(split.train)} labelled samples, and "
            "this share of the labels that can change rounds to zero. Give more noise, or more labels."
        )
    return dataset.replaced(labels=noisy)


def _wrong_labels(dataset: Dataset, split: Split, amount: float, random: Generator, asymmetric: bool) -> npt.NDArray[Any]:
    if dataset.target.parts is not None:
        return join_targets(dataset.target.parts, [_wrong_labels(one, split, amount, random, asymmetric) for one in one_by_one(dataset)])[0]
    labels, num_classes = dataset.labels.copy(), dataset.target.num_outputs
    if dataset.target.kind == "single-label":
        known = split.train[labels[split.train] >= 0]
        if asymmetric and num_classes == 2:
            known = known[labels[known] == 1]
        chosen = random.permutation(known)[: round(amount * len(known))]
        # A cyclic shift by 1 ... C - 1 never returns the same class.
        steps = 1 if asymmetric else random.integers(1, max(num_classes, 2), size=len(chosen))
        labels[chosen] = (labels[chosen] + steps) % num_classes
    else:
        training_labels = labels[split.train]
        rows, columns = np.nonzero(training_labels == 1 if asymmetric else ~np.isnan(training_labels))
        chosen = random.permutation(len(rows))[: round(amount * len(rows))]
        places = split.train[rows[chosen]], columns[chosen]
        labels[places] = 1 - labels[places]
    return labels


def _edge_noise(dataset: Dataset, amount: float, random: Generator, *, remove: bool, add: bool) -> Dataset:
    edges, symmetric = _pairs(dataset)
    num_changed = round(amount * edges.shape[1])
    kept = edges[:, np.sort(random.permutation(edges.shape[1])[num_changed:])] if remove else edges
    added = _new_pairs(dataset, edges, num_changed if add else 0, symmetric, random)
    source, destination = np.concatenate([kept, added], axis=1)
    noisy = canonical_edges(source, destination, dataset.num_nodes, symmetric=symmetric)
    if amount > 0 and np.array_equal(noisy, dataset.edges):
        why = "no pair of nodes is free" if num_changed else "this share of them rounds to zero"
        raise UsageError(
            f"Noise of {amount:g} in edges changes no edge of {dataset.name}: it has {edges.shape[1]} of them (a pair of nodes that is "
            f"joined in both directions counts once), and {why}. Give more noise, or another kind of noise."
        )
    if dataset.edge_features is None:
        return with_features_of_edges(dataset.replaced(edges=noisy), "noise in edges")
    rows = _rows_of(dataset, noisy, random)
    return with_features_of_edges(dataset.replaced(edges=noisy, edge_features=dataset.edge_features[rows]), "noise in edges")


def _rows_of(dataset: Dataset, edges: IntArray, random: Generator) -> IntArray:
    """For each of these edges, the edge of the dataset that it takes its features from; a random one, for both directions, if it is new."""
    known, keys = (ends[1] * dataset.num_nodes + ends[0] for ends in (dataset.edges, edges))
    rows: IntArray = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    new = np.flatnonzero(known[rows] != keys)
    low, high = np.minimum(*edges[:, new]), np.maximum(*edges[:, new])
    pairs, pair_of = np.unique(low * dataset.num_nodes + high, return_inverse=True)
    rows[new] = random.integers(len(known), size=len(pairs))[pair_of]
    return rows


def _pairs(dataset: Dataset) -> tuple[IntArray, bool]:
    """One column per pair of adjacent nodes, and True, if all edges are stored in both directions; else the edges, and False."""
    source, destination = dataset.edges
    return (dataset.edges[:, source < destination], True) if dataset.is_symmetric else (dataset.edges, False)


#: A nearly complete graph then gets fewer new edges.
_MAX_DRAWS = 20


def _new_pairs(dataset: Dataset, edges: IntArray, count: int, symmetric: bool, random: Generator) -> IntArray:
    """At most `count` new pairs of nodes within graphs, not among `edges`. Graphs get new edges in proportion to their number of edges."""
    num_nodes = dataset.num_nodes
    taken = edges[0] * num_nodes + edges[1]
    new: IntArray = np.empty(0, dtype=np.int64)
    for _ in range(_MAX_DRAWS if count else 0):
        anchors = edges[1, random.integers(edges.shape[1], size=2 * (count - len(new)))]
        graphs = np.searchsorted(dataset.node_offsets, anchors, side="right") - 1
        first, sizes = dataset.node_offsets[graphs], np.diff(dataset.node_offsets)[graphs]
        source, destination = first + random.integers(sizes), first + random.integers(sizes)
        if symmetric:
            source, destination = np.minimum(source, destination), np.maximum(source, destination)
        keys = (source * num_nodes + destination)[source != destination]
        keys = np.setdiff1d(keys, np.concatenate([taken, new]))
        new = np.concatenate([new, random.permutation(keys)[: count - len(new)]])
        if len(new) == count:
            break
    return np.stack([new // num_nodes, new % num_nodes])


#: Kind -> the transform.
NOISES: dict[str, Callable[[Dataset, Split, float, Generator], Dataset]] = {
    "feature": _feature_noise,
    "edge": lambda dataset, split, amount, random: _edge_noise(dataset, amount, random, remove=True, add=True),
    "edge-add": lambda dataset, split, amount, random: _edge_noise(dataset, amount, random, remove=False, add=True),
    "edge-remove": lambda dataset, split, amount, random: _edge_noise(dataset, amount, random, remove=True, add=False),
    "label": partial(_label_noise, asymmetric=False),
    "label-asymmetric": partial(_label_noise, asymmetric=True),
}
