"""Graph tasks: mini-batches of graphs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.arrays import IntArray
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.split import Split
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.training.evaluation_batches import evaluation_groups
from dgl_mutual.training.feeds.base import Feed, TrainingBatch, shuffled
from dgl_mutual.training.placement import Placement


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
        for known, unknown in zip(labelled, others, strict=True):
            mine = self._ranks.share(known)
            graphs = np.concatenate([mine, self._ranks.share(unknown)])
            samples = torch.as_tensor(graphs, device=self._collate.device)
            yield TrainingBatch(self._collate(graphs), samples, samples, slice(0, len(mine)))

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
