"""Node tasks on large graphs: each step sees some nodes and a sample of their neighbourhoods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Batch, Collator
from dgl_mutual.nn.blocks import BlockBatch, LayerwiseBatch
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds.base import SteppedFeed, TrainingBatch, shuffled
from dgl_mutual.utils.torch_settings import threads_kept
from dgl_mutual.utils.wording import counted

#: Default number of neighbours sampled for a node in each convolution.
DEFAULT_FANOUT = 10


class SeedsFeed(SteppedFeed):
    """Steps over the training nodes in random order.

    If members exchange on more than labelled samples, a step also sees other nodes, without their labels: by default as many, drawn
    without repetition in an epoch.
    """

    sampled = True
    sample = "node"

    def _epoch(self) -> list[tuple[IntArray, IntArray]]:
        """Return this process's training nodes and other nodes of each step."""
        unlabelled = self._some(self._unlabelled, len(self._train) if self._per_epoch is None else self._per_epoch)
        return self._steps(shuffled(self._train, self._order), unlabelled)

    def _some(self, nodes: IntArray, most: int) -> IntArray:
        """Draw at most so many of the nodes, in random order. Unlike for a shuffle, the time does not depend on the number of nodes."""
        rng = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=self._order)))
        return nodes[rng.choice(len(nodes), min(most, len(nodes)), replace=False)]

    def _seed_draws(self) -> None:
        """Seed DGL's global stream for a step, whatever else has drawn from it. Each process has other seeds."""
        dgl.seed(int(torch.randint(2**31 - 1, (), generator=self._order)) + self._ranks.stream)


class NeighbourFeed(SeedsFeed):
    """Each step samples in-neighbours of its nodes, in-neighbours of these, and so on; all students run on the same sample.

    Evaluation is exact: layer by layer over the whole graph.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        placement: Placement,
        *,
        fanout: Sequence[int],
        batch_size: int,
        order: torch.Generator,
    ) -> None:
        """Sample `fanout` neighbours for each convolution, first to last (-1: all). Other arguments and errors as in `SeedsFeed`."""
        super().__init__(split, batch_size=batch_size, order=order, ranks=placement.ranks)
        self._whole = Collator(dataset, placement.device, placement.dtype).all()
        self._graph = _dgl_graph(dataset)  # on the CPU, where sampling runs; blocks move to the device
        # The fused kernel numbers nodes in an order that depends on the timing of threads.
        self._sampler = dgl.dataloading.NeighborSampler(list(fanout), fused=False)

    def training_batches(self) -> Iterator[TrainingBatch]:
        for known, unknown in self._epoch():
            seeds = torch.as_tensor(np.concatenate([known, unknown]))
            # Each of DGL's threads has its own stream, so samples would depend on which thread handles which node.
            with threads_kept():
                torch.set_num_threads(1)
                self._seed_draws()
                drawn = self._sampler.sample(self._graph, seeds)[2]
            device = self._whole.device
            batch, nodes = BlockBatch.of(drawn, self._whole, device), seeds.to(device)
            yield TrainingBatch(batch, nodes, nodes, slice(0, len(known)))

    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[Batch, Tensor]]:
        numbers = torch.as_tensor(samples, device=self._whole.device)
        yield LayerwiseBatch(self._whole, numbers), numbers


def _dgl_graph(dataset: Dataset) -> dgl.DGLGraph:
    in_offsets, sources = torch.as_tensor(dataset.in_offsets), torch.as_tensor(dataset.edges[0])
    return dgl.graph(("csc", (in_offsets, sources, torch.arange(len(sources)))), num_nodes=dataset.num_nodes)


def resolve_fanout(fanout: Sequence[int] | None, depths: Sequence[int]) -> tuple[int, ...]:
    """Return the number of neighbours for each convolution of the deepest member; shallower members use the last ones.

    Raises:
        UsageError: numbers for another depth.
    """
    depth = max(depths)
    if fanout is None:
        return (DEFAULT_FANOUT,) * depth
    if len(fanout) != depth:
        raise UsageError(
            f"The fan-out {','.join(map(str, fanout))} has {counted(len(fanout), 'number')}, one for each convolution, and the deepest "
            f"member has {counted(depth, 'convolution')}. Give {counted(depth, 'number')}, for example "
            f"--fanout {','.join(['10'] * depth)}, or set student.depth."
        )
    return tuple(fanout)
