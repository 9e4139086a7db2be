"""Graph tasks: mini-batches of graphs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.arrays import IntArray
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.split import Split
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.split_batch import split_batch
from dgl_mutual.training.evaluation_batches import evaluation_groups
from dgl_mutual.training.feeds.base import Feed, TrainingBatch, shuffled
from dgl_mutual.training.placement import Placement

#: Most nodes (or one step's) of the training steps whose batches are made together: on small graphs deriving a structure takes as long as
#: using it, and hardly longer for many steps at once.
GROUP_NODES = 1 << 12


class GraphsFeed(Feed):
    """Graph task: shuffled mini-batches of training graphs; evaluation in batches that are kept once they are asked for again."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        placement: Placement,
        *,
        batch_size: int,
        order: torch.Generator,
    ) -> None:
        """Take the training graphs in a step, and the processes that divide them.

        Raises:
            UsageError: more processes than graphs in a step.
        """
        self._num_steps = math.ceil(len(split.train) / batch_size)
        placement.ranks.check_batch(len(split.train) // self._num_steps, "graph")
        self._ranks = placement.ranks
        self._collate = Collator(dataset, placement.device, placement.dtype)
        self._train = split.train
        self._order = order
        self._unlabelled: IntArray = np.empty(0, dtype=np.int64)
        self._per_epoch: int | None = None
        self._num_nodes, self._num_edges = np.diff(dataset.node_offsets), np.diff(dataset.edge_offsets)
        self._seen: set[bytes] = set()
        self._kept: dict[bytes, list[tuple[GraphBatch, Tensor]]] = {}

    def training_batches(self) -> Iterator[TrainingBatch]:
        # Batches of nearly equal size: batch norm would be noisy in a last one of few graphs.
        drawn = (shuffled(self._train, self._order), shuffled(self._unlabelled, self._order)[: self._per_epoch])
        labelled, others = (np.array_split(graphs, self._num_steps) for graphs in drawn)
        known = [self._ranks.share(graphs) for graphs in labelled]
        steps = [np.concatenate([mine, self._ranks.share(unknown)]) for mine, unknown in zip(known, others, strict=True)]
        batches = itertools.chain.from_iterable(self._collated(group) for group in self._groups(steps))
        for graphs, mine, batch in zip(steps, known, batches, strict=True):
            samples = torch.as_tensor(graphs, device=self._collate.device)
            yield TrainingBatch(batch, samples, samples, slice(0, len(mine)))

    def _groups(self, steps: Sequence[IntArray]) -> Iterator[Sequence[IntArray]]:
        """Steps whose graphs are put together at once."""
        so_far = np.cumsum([self._num_nodes[graphs].sum() for graphs in steps])
        for _, group in itertools.groupby(range(len(steps)), key=lambda step: so_far[step] // GROUP_NODES):
            yield [steps[step] for step in group]

    def _collated(self, group: Sequence[IntArray]) -> Sequence[GraphBatch]:
        return split_batch(self._collate(np.concatenate(group)), [len(graphs) for graphs in group])

    def add_unlabelled(self, samples: IntArray, per_epoch: int | None = None) -> None:
        """By default an epoch sees all of them."""
        self._unlabelled, self._per_epoch = samples, per_epoch

    def statistics_batches(self, samples: IntArray) -> Iterator[GraphBatch]:
        """As many batches as an epoch has steps, of two graphs at least, with as many unlabelled graphs as an epoch draws.

        They are in random order: files are often sorted by class.
        """
        random = np.random.default_rng(0)
        if self._per_epoch is not None:
            labelled = np.isin(samples, self._train)
            samples = np.concatenate([samples[labelled], random.permutation(samples[~labelled])[: self._per_epoch]])
        order = random.permutation(samples)
        for graphs in np.array_split(order, max(1, min(self._num_steps, len(order) // 2))):
            yield self._collate(graphs)

    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[GraphBatch, Tensor]]:
        key = samples.tobytes()
        if key not in self._kept:
            graphs_of_batches = (samples[places] for places in evaluation_groups(self._num_nodes[samples], self._num_edges[samples]))
            batches = ((self._collate(graphs), torch.as_tensor(graphs, device=self._collate.device)) for graphs in graphs_of_batches)
            if key not in self._seen:  # a pass over everything, at the end, comes once, and would be most of the memory
                self._seen.add(key)
                yield from batches
                return
            self._kept[key] = list(batches)
        yield from self._kept[key]
