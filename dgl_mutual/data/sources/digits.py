"""The 1,797 handwritten digits (8 x 8 pixels) that come with scikit-learn, with one target or three: real data without a download."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.features import compact
from dgl_mutual.data.values.target import Target, TaskName, join_targets

NUM_NEIGHBOURS = 8
_SIDE, _WHITE = 8, 16
_TARGET = Target("single-label", tuple(str(digit) for digit in range(10)), "accuracy")
_QUADRANTS = ("top left", "top right", "bottom left", "bottom right")


def read_digits(folder: Path, name: str, faults: Faults, request: Request) -> Dataset:
    """The dataset ``digits`` or ``digits-multi``, by default for the node task; no files are read."""
    task = request.task or "node"
    return _digits_multi(task) if name == "digits-multi" else _digits(task)


def _digits(task: TaskName) -> Dataset:
    """Digits as one graph of similar images (``node``), or each image as a graph of its inked pixels (``graph``).

    Node task: each image is a node with its 64 intensities in [0, 1] as features, connected to its `NUM_NEIGHBOURS` nearest images
    (Euclidean; an edge exists if either is among the other's nearest). Graph task: each pixel with ink is a node with its intensity,
    row and column in [0, 1] as features, connected to up to eight neighbours on the grid.
    """
    pixels, labels = _images()
    return _as_nodes(pixels, labels) if task == "node" else _as_graphs(pixels, labels)


def _digits_multi(task: TaskName) -> Dataset:
    """The graphs of `_digits` with these targets:

    - ``digit``: the ten digits (accuracy);
    - ``even``: whether the digit is even (binary, ROC-AUC);
    - ``ink``: which quadrants of the image have more ink than the median image (four labels, micro-averaged F1).
    """
    dataset, (pixels, digits) = _digits(task), _images()
    half = _SIDE // 2
    ink = pixels.reshape(-1, 2, half, 2, half).sum(axis=(2, 4)).reshape(-1, len(_QUADRANTS))
    targets = [
        replace(dataset.target, name="digit"),
        Target("multi-label", ("even",), "rocauc", "even"),
        Target("multi-label", _QUADRANTS, "micro-f1", "ink"),
    ]
    even, inked = digits[:, None] % 2 == 0, ink > np.median(ink, axis=0)
    labels, target = join_targets(targets, [digits, even.astype(np.float32), inked.astype(np.float32)])
    return dataset.replaced(name="digits-multi", labels=labels, target=target)


def _images() -> tuple[IntArray, IntArray]:
    """The images, (1797, 64), row by row, of integers from 0 to `_WHITE`; and their digits, (1797,)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return bunch.data.astype(np.int64), bunch.target.astype(np.int64)


def _as_nodes(pixels: IntArray, labels: IntArray) -> Dataset:
    num_nodes = len(pixels)
    # Integers are exact in double precision, so the graph is the same on every platform. Ties are broken by the index of the image.
    points = pixels.astype(np.float64)
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    ranks = distances * num_nodes + np.arange(num_nodes)
    nearest = np.argpartition(ranks, NUM_NEIGHBOURS, axis=1)[:, :NUM_NEIGHBOURS]
    centres = np.repeat(np.arange(num_nodes), NUM_NEIGHBOURS)
    return Dataset(
        name="digits",
        task="node",
        edges=canonical_edges(nearest.ravel(), centres, num_nodes, symmetric=True),
        features=compact(pixels / _WHITE),
        labels=labels,
        node_offsets=np.array([0, num_nodes]),
        target=_TARGET,
        feature_names=tuple(f"pixel {row},{column}" for row in range(_SIDE) for column in range(_SIDE)),
    )


def _as_graphs(pixels: IntArray, labels: IntArray) -> Dataset:
    images = pixels.reshape(-1, _SIDE, _SIDE)
    graph, row, column = np.nonzero(images)
    number = np.full((len(images), _SIDE + 2, _SIDE + 2), -1)  # with a border without ink, so that no edge case is needed
    number[graph, row + 1, column + 1] = np.arange(len(graph))
    # Four of the eight directions suffice: the edges are made symmetric.
    beside = np.stack([number[graph, row + 1 + down, column + 1 + right] for down, right in ((0, 1), (1, -1), (1, 0), (1, 1))])
    direction, source = np.nonzero(beside >= 0)
    return Dataset(
        name="digits",
        task="graph",
        edges=canonical_edges(source, beside[direction, source], len(graph), symmetric=True),
        features=compact(np.stack([images[graph, row, column] / _WHITE, row / (_SIDE - 1), column / (_SIDE - 1)], axis=1)),
        labels=labels,
        node_offsets=np.searchsorted(graph, np.arange(len(images) + 1)).astype(np.int64),
        target=_TARGET,
        feature_names=("intensity", "row", "column"),
    )
