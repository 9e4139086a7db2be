"""Graph tasks: mini-batches of graphs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.evaluation.evaluation_batches import evaluation_groups
from dgl_mutual.training.feeds.base import SteppedFeed, TrainingBatch, shuffled


class GraphsFeed(SteppedFeed):
    """Graph task: shuffled mini-batches of training graphs. Evaluation batches are cached when they are requested a second time.

    By default an epoch sees all unlabelled graphs.
    """

    sample = "graph"

    def __init__(self, dataset: Dataset, split: Split, placement: Placement, *, batch_size: int, order: torch.Generator) -> None:
        super().__init__(split, batch_size=batch_size, order=order, ranks=placement.ranks)
        self._collate = Collator(dataset, placement.device, placement.dtype)
        self._num_nodes, self._num_edges = np.diff(dataset.node_offsets), np.diff(dataset.edge_offsets)
        self._seen: set[bytes] = set()
        self._kept: dict[bytes, list[tuple[GraphBatch, Tensor]]] = {}

    def training_batches(self) -> Iterator[TrainingBatch]:
        labelled, unlabelled = shuffled(self._train, self._order), shuffled(self._unlabelled, self._order)[: self._per_epoch]
        for known, unknown in self._steps(labelled, unlabelled):
            graphs = np.concatenate([known, unknown])
            samples = torch.as_tensor(graphs, device=self._collate.device)
            yield TrainingBatch(self._collate(graphs), samples, samples, slice(0, len(known)))

    def statistics_batches(self, samples: IntArray) -> Iterator[GraphBatch]:
        """Yield as many batches as an epoch has steps, of at least two graphs, with as many unlabelled graphs as an epoch draws.

        Graphs are in random order, since files are often sorted by class.
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
            if key not in self._seen:  # the pass over all graphs at the end comes once, and would take most of the memory
                self._seen.add(key)
                yield from batches
                return
            self._kept[key] = list(batches)
        yield from self._kept[key]
