"""Small learnable datasets."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import dgl
import numpy as np
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import Target

Data: TypeAlias = tuple[Dataset, Split]


def _split(num_samples: int) -> Split:
    order = np.random.default_rng(7).permutation(num_samples)
    return Split(*(np.sort(part) for part in np.split(order, [num_samples // 2, 3 * num_samples // 4])))


def nodes() -> Data:
    """48 nodes of three classes whose features and neighbours tell the class, more or less."""
    random = np.random.default_rng(0)
    labels = np.arange(48) % 3
    features = np.eye(6, dtype=np.float32)[labels] + random.normal(scale=0.8, size=(48, 6)).astype(np.float32)
    source, destination = random.integers(0, 48, size=(2, 120))
    near = labels[source] == labels[destination]
    classes = np.array(["a", "b", "c"])[labels]
    return Dataset.from_arrays((source[near], destination[near]), features, classes, name="nodes", symmetric=True), _split(48)


def graphs() -> Data:
    """40 graphs of two classes that the nodes' mean feature tells, more or less."""
    random = np.random.default_rng(1)
    labels = np.arange(40) % 2
    sizes = random.integers(2, 7, size=40)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    owner = np.repeat(np.arange(40), sizes)
    features = (random.normal(size=(offsets[-1], 4)) + labels[owner, None]).astype(np.float32)
    source, destination = (offsets[owner] + random.integers(sizes[owner]) for _ in range(2))
    answers = np.array(["no", "yes"])[labels]
    dataset = Dataset.from_arrays((source, destination), features, answers, node_offsets=offsets, name="graphs", symmetric=True)
    return dataset, _split(40)


def multi_label_graphs() -> Data:
    """The same graphs with three labels each, a fifth of them unknown."""
    dataset, split = graphs()
    random = np.random.default_rng(2)
    labels = (random.random((40, 3)) < 0.2 + 0.6 * dataset.labels[:, None]).astype(np.float32)
    labels[random.random(labels.shape) < 0.2] = np.nan
    return replace(dataset, labels=labels, target=Target("multi-label", ("p", "q", "r"), "rocauc")), split


def as_dgl(dataset: Dataset) -> dgl.DGLGraph:
    """The dataset's graphs, batched, with the features of nodes and, where there are some, of edges as ``feat``."""
    graph = dgl.graph(tuple(torch.as_tensor(dataset.edges)), num_nodes=dataset.num_nodes)
    graph.set_batch_num_nodes(torch.as_tensor(np.diff(dataset.node_offsets)))
    graph.set_batch_num_edges(torch.as_tensor(np.diff(dataset.edge_offsets)))
    graph.ndata["feat"] = torch.as_tensor(np.asarray(dataset.features))
    if dataset.edge_features is not None:
        graph.edata["feat"] = torch.as_tensor(dataset.edge_features)
    return graph
