"""Node tasks on a partitioned graph with parts on several machines: steps get neighbours and features from DGL's graph store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.graph_store import GraphStore
from dgl_mutual.data.values.split import Split
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.blocks import BlockBatch
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds.base import TrainingBatch
from dgl_mutual.training.feeds.sampled import SeedsFeed

#: Number of nodes that are evaluated together, each with all its neighbours.
EVALUATION_SEEDS = 1024


class StoredFeed(SeedsFeed):
    """Steps as in `NeighbourFeed`, sampled by the store's servers. Evaluation is exact: with all neighbours, some nodes at a time.

    NOTE: servers draw from their own streams, so a training with a limited fan-out is not reproducible.
    """

    def __init__(
        self,
        store: GraphStore,
        split: Split,
        placement: Placement,
        *,
        fanout: Sequence[int],
        batch_size: int,
        order: torch.Generator,
    ) -> None:
        super().__init__(split, batch_size=batch_size, order=order, ranks=placement.ranks)
        self._graph, self._ids, self._device = store.graph, store.ids, placement.device
        self._nodes = _StoredNodes(store.graph, placement.device, placement.dtype)
        self._fanout = tuple(fanout)

    def training_batches(self) -> Iterator[TrainingBatch]:
        for known, unknown in self._epoch():
            self._seed_draws()
            samples = np.concatenate([known, unknown])
            numbers = torch.as_tensor(samples, device=self._device)
            yield TrainingBatch(self._around(samples, self._fanout), numbers, numbers, slice(0, len(known)))

    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[Batch, Tensor]]:
        for start in range(0, len(samples), EVALUATION_SEEDS):
            part = samples[start : start + EVALUATION_SEEDS]
            yield self._around(part, (-1,) * len(self._fanout)), torch.as_tensor(part, device=self._device)

    def _around(self, samples: IntArray, fanout: Sequence[int]) -> BlockBatch:
        seeds = torch.as_tensor(self._ids[samples])
        blocks: list[dgl.DGLGraph] = []
        for neighbours in reversed(fanout):
            block = dgl.to_block(dgl.distributed.sample_neighbors(self._graph, seeds, neighbours), seeds)
            seeds = block.srcdata[dgl.NID]
            blocks.insert(0, block)
        return BlockBatch.of(blocks, self._nodes, self._device)


class _StoredNodes:
    """Node data whose rows are read from the store when they are indexed."""

    def __init__(self, graph: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.edge_features = None
        self.in_degrees, self.out_degrees, self.features = (
            _Column(graph.ndata[name], device, dtype) for name in ("in_degree", "out_degree", "feat")
        )


@dataclass(frozen=True)
class _Column:
    stored: Any
    device: torch.device
    dtype: torch.dtype

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, slice):
            raise TypeError("rows of a store are indexed by number")
        values: Tensor = self.stored[rows.cpu()]
        return values.to(self.device, self.dtype)
