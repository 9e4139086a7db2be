"""Node tasks on many graphs, split by graphs: all nodes of a graph are in the same part."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.protocols import graphs_of
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds.base import Feed, TrainingBatch
from dgl_mutual.training.feeds.graphs import GraphsFeed


class NodesOfGraphsFeed(Feed):
    """Steps see training graphs only, as one disjoint union or in mini-batches; other graphs are seen in evaluation.

    Samples are nodes. Training is inductive: no node of another graph, nor its features, takes part in a step.
    """

    def __init__(self, dataset: Dataset, split: Split, placement: Placement, *, batch_size: int | None, order: torch.Generator) -> None:
        self._offsets = dataset.node_offsets
        by_graph = Split(*(self._graphs_of(part) for part in (split.train, split.val, split.test)))
        self._train = by_graph.train
        self._in_batches = batch_size is not None
        if not self._in_batches:
            # A resumed training creates the union again, so its order must depend on the seed only.
            order = torch.Generator().manual_seed(order.initial_seed())
        self._graphs = GraphsFeed(dataset, by_graph, placement, batch_size=batch_size or len(by_graph.train), order=order)
        device = placement.device
        self._first = torch.as_tensor(self._offsets[:-1], device=device)
        self._sizes = torch.as_tensor(np.diff(self._offsets), device=device)
        self._has_label = torch.zeros(dataset.num_nodes, dtype=torch.bool, device=device)
        self._has_label[torch.as_tensor(split.train, device=device)] = True

    def training_batches(self) -> Iterator[TrainingBatch]:
        yield from map(self._of_nodes, self._graphs.training_batches()) if self._in_batches else [self._union]

    def add_unlabelled(self, samples: IntArray, ratio: float | None = None) -> None:
        self._graphs.add_unlabelled(np.setdiff1d(self._graphs_of(samples), self._train))

    def statistics_batches(self, samples: IntArray) -> Iterator[GraphBatch]:
        return self._graphs.statistics_batches(self._graphs_of(samples))

    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[GraphBatch, Tensor]]:
        for batch, graphs in self._graphs.evaluation_batches(self._graphs_of(samples)):
            yield batch, self._nodes_of(graphs, batch.num_nodes)

    @cached_property
    def _union(self) -> TrainingBatch:
        """All training graphs (this process's share) as one batch, created once."""
        (batch,) = self._graphs.training_batches()
        return self._of_nodes(batch)

    def _of_nodes(self, batch: TrainingBatch) -> TrainingBatch:
        assert isinstance(batch.batch, GraphBatch)
        nodes = self._nodes_of(batch.samples, batch.batch.num_nodes)
        return TrainingBatch(batch.batch, nodes, nodes, torch.nonzero(self._has_label[nodes]).squeeze(1))

    def _graphs_of(self, nodes: IntArray) -> IntArray:
        return graphs_of(nodes, self._offsets)

    def _nodes_of(self, graphs: Tensor, count: int) -> Tensor:
        """Return the numbers of the nodes of these graphs, `count` in total, graph after graph, without waiting for the device."""
        first, sizes = self._first[graphs], self._sizes[graphs]
        shift = first - (sizes.cumsum(0) - sizes)
        return torch.repeat_interleave(shift, sizes, output_size=count) + torch.arange(count, device=graphs.device)
