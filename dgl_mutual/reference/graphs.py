"""Conversion of a dataset's arrays to torch_geometric graphs, and back, which shows that nothing was lost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Batch, Data

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import Features, FloatArray
from dgl_mutual.errors import DataError


def to_graphs(dataset: Dataset, dtype: torch.dtype = torch.float32) -> list[Data]:
    """One `Data` per graph, with dense features; `sample` holds the dataset's indices of its samples (nodes, or the graph itself).

    Raises:
        DataError: the dense features would not fit into memory.
    """
    _check_memory(dataset, dtype)
    features = torch.as_tensor(_dense(dataset.features), dtype=dtype)
    edges = torch.as_tensor(dataset.edges)
    edge_attr = None if dataset.edge_features is None else torch.as_tensor(_dense(dataset.edge_features), dtype=dtype)
    labels = torch.as_tensor(dataset.labels)
    if labels.is_floating_point():
        labels = labels.to(dtype)
    if dataset.task == "node":
        return [Data(x=features, edge_index=edges, edge_attr=edge_attr, y=labels, sample=torch.arange(dataset.num_nodes))]
    graphs = []
    for number in range(dataset.num_graphs):
        first, last = dataset.node_offsets[number : number + 2]
        first_edge, last_edge = dataset.edge_offsets[number : number + 2]
        graphs.append(
            Data(
                x=features[first:last],
                edge_index=edges[:, first_edge:last_edge] - first,
                edge_attr=None if edge_attr is None else edge_attr[first_edge:last_edge],
                y=labels[number : number + 1],
                sample=torch.tensor([number]),
            )
        )
    return graphs


def from_graphs(graphs: Sequence[Data], dataset: Dataset) -> Dataset:
    """Replace the arrays of `dataset` by those of the graphs, as the students of the reference see them."""
    if dataset.task == "node":
        whole: Any = graphs[0]
        offsets = dataset.node_offsets
    else:
        whole = Batch.from_data_list(list(graphs))
        offsets = whole.ptr.numpy()
    return replace(
        dataset,
        edges=whole.edge_index.numpy(),
        features=whole.x.to(torch.float32).numpy(),
        labels=whole.y.numpy(),
        node_offsets=offsets,
        edge_features=None if whole.edge_attr is None else whole.edge_attr.to(torch.float32).numpy(),
    )


def _dense(features: Features) -> FloatArray:
    return features if isinstance(features, np.ndarray) else features.toarray()


def _check_memory(dataset: Dataset, dtype: torch.dtype) -> None:
    if not hasattr(os, "sysconf"):  # not on Windows
        return
    needed = (dataset.num_nodes * dataset.num_features + dataset.num_edges * dataset.num_edge_features) * dtype.itemsize
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        raise DataError(
            f"The reference cannot load {dataset.name}: its dense features, {dataset.num_nodes} x {dataset.num_features}, take "
            f"{needed / 2**30:.1f} GiB of this machine's {memory / 2**30:.1f} GiB. Compare on a smaller dataset; "
            "`dgl-mutual run`, which keeps features sparse, needs no reference."
        )
