"""Interface of feeds: the batches of training and of evaluation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.csr import Rows
from dgl_mutual.training.distributed.ranks import Ranks
from dgl_mutual.utils.wording import counted


@dataclass(frozen=True)
class TrainingBatch:
    """One step's input.

    Attributes:
        batch: the graphs.
        samples: (N,): dataset indices of the batch's samples.
        index: the same numbers as an index, ``slice(None)`` where the batch is the whole dataset in order.
        labelled: rows of the samples whose labels may be learned from.
    """

    batch: Batch
    samples: Tensor
    index: Rows
    labelled: Rows

    def gathered(self, ranks: Ranks) -> TrainingBatch:
        """The samples of all processes' shares, of which `batch` is the share of this process."""
        if ranks.divides != "samples":
            return self
        has_label = torch.zeros_like(self.samples)
        has_label[self.labelled] = 1
        samples, known = ranks.gather(torch.stack([self.samples, has_label], dim=1)).unbind(1)
        return TrainingBatch(self.batch, samples, samples, torch.nonzero(known).squeeze(1))


class Feed(ABC):
    """Batches of a dataset under one split."""

    #: N of a full-batch node task; None if the set of samples is not fixed.
    num_transductive_samples: int | None = None
    #: Steps see samples of neighbourhoods, and a clean pass over everything costs many steps.
    sampled: bool = False
    #: An epoch draws some of the unlabelled samples where ``training.unlabelled_ratio`` is given.
    draws_unlabelled: bool = False

    @abstractmethod
    def training_batches(self) -> Iterator[TrainingBatch]:
        """The steps of one epoch."""

    @abstractmethod
    def add_unlabelled(self, samples: IntArray, ratio: float | None = None) -> None:
        """Let every epoch also see these samples, or some of them, without their labels, where it would not anyway.

        Args:
            ratio: how many are drawn in each epoch for each labelled one, without repetition (default: the feed's choice). It has no effect
                without `draws_unlabelled`.

        Raises:
            UsageError: more than there are.
        """

    @abstractmethod
    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[Batch, Tensor]]:
        """Batches that cover at least these samples, each with its samples' numbers."""

    def statistics_batches(self, samples: IntArray) -> Iterator[Batch]:
        """Batches of these samples, in the same order each time, for statistics of batch norm as training steps make them.

        A batch of one sample, which has no statistics, is left out if there are others.
        """
        for batch, numbers in self.evaluation_batches(samples):
            if len(numbers) > 1 or len(samples) == 1:
                yield batch


class SteppedFeed(Feed):
    """Steps over the training samples in random order, with unlabelled ones if there are any. Several processes divide those of a step."""

    draws_unlabelled = True
    #: What a sample is, for messages.
    sample: TaskName

    def __init__(self, split: Split, *, batch_size: int, order: torch.Generator, ranks: Ranks) -> None:
        """Take `batch_size` training samples in a step, or all of them if there are fewer.

        Raises:
            UsageError: fewer samples in a step than processes that divide them.
        """
        self._num_steps = math.ceil(len(split.train) / batch_size)
        smallest = len(split.train) // self._num_steps
        ranks.check("samples", smallest, f"a batch of {counted(smallest, self.sample)}", "choose a larger --batch-size")
        self._ranks = ranks
        self._train = split.train
        self._order = order
        self._unlabelled: IntArray = np.empty(0, dtype=np.int64)
        self._per_epoch: int | None = None

    def add_unlabelled(self, samples: IntArray, ratio: float | None = None) -> None:
        self._unlabelled, self._per_epoch = samples, num_drawn(ratio, len(samples), len(self._train))

    def _steps(self, labelled: IntArray, unlabelled: IntArray) -> list[tuple[IntArray, IntArray]]:
        """This process's samples of each step of an epoch, which has these.

        Sizes of steps differ by one at most: batch norm would be noisy in a last one of few samples.
        """
        parts = (np.array_split(samples, self._num_steps) for samples in (labelled, unlabelled))
        return [(self._ranks.share(known), self._ranks.share(unknown)) for known, unknown in zip(*parts, strict=True)]


def shuffled(samples: IntArray, order: torch.Generator) -> IntArray:
    """The samples in a random order, which the generator decides."""
    return np.take(samples, torch.randperm(len(samples), generator=order).numpy())


def num_drawn(ratio: float | None, num_unlabelled: int, num_labelled: int) -> int | None:
    """How many unlabelled samples an epoch draws by ``training.unlabelled_ratio``; None for all.

    Raises:
        UsageError: more than there are.
    """
    if ratio is None:
        return None
    count = max(1, round(ratio * num_labelled))
    if count > num_unlabelled:
        raise UsageError(
            f"training.unlabelled_ratio = {ratio:g} asks for {count} unlabelled samples an epoch ({num_labelled} are labelled), and "
            f"there are {num_unlabelled}. Give {math.floor(1000 * num_unlabelled / num_labelled) / 1000:g} or less, or leave it "
            "out."
        )
    return count
