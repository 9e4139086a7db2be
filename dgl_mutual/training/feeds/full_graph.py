"""Node tasks on the whole graph."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds.base import Feed, TrainingBatch


class FullGraphFeed(Feed):
    """Node task: every step and every evaluation sees the whole graph."""

    def __init__(self, dataset: Dataset, split: Split, placement: Placement) -> None:
        self.num_transductive_samples = dataset.num_nodes
        self._samples = torch.arange(dataset.num_nodes, device=placement.device)
        self._batch = Collator(dataset, placement.device, placement.dtype).all()
        self._labelled = torch.as_tensor(split.train, device=placement.device)

    def training_batches(self) -> Iterator[TrainingBatch]:
        yield TrainingBatch(self._batch, self._samples, slice(None), self._labelled)

    def add_unlabelled(self, samples: IntArray, ratio: float | None = None) -> None:
        """Do nothing: every step sees the whole graph."""

    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[GraphBatch, Tensor]]:
        yield self._batch, self._samples
