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
    """The input of one step.

    Attributes:
        batch: the graphs.
        samples: (N,): dataset indices of the batch's samples.
        index: the same numbers as an index, or ``slice(None)`` if the batch is the whole dataset in order.
        labelled: rows of the samples with labels for training.
    """

    batch: Batch
    samples: Tensor
    index: Rows
    labelled: Rows

    def gathered(self, ranks: Ranks) -> TrainingBatch:
        """Return the samples of the shares of all processes; `batch` remains that of this process."""
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
    #: Steps see sampled neighbourhoods, and a clean pass over all samples costs as much as many steps.
    sampled: bool = False
    #: With ``training.unlabelled_ratio``, an epoch draws some of the unlabelled samples.
    draws_unlabelled: bool = False

    @abstractmethod
    def training_batches(self) -> Iterator[TrainingBatch]:
        """Yield the batch of each step of an epoch."""

    @abstractmethod
    def add_unlabelled(self, samples: IntArray, ratio: float | None = None) -> None:
        """Add these samples, or some of them, to every epoch, without their labels, unless it sees them anyway.

        Args:
            ratio: number of samples drawn in each epoch for each labelled one, without repetition (default: the feed's choice). It has no
                effect without `draws_unlabelled`.

        Raises:
            UsageError: more samples than there are.
        """

    @abstractmethod
    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[Batch, Tensor]]:
        """Yield batches that cover at least these samples, each with the numbers of its samples."""

    def statistics_batches(self, samples: IntArray) -> Iterator[Batch]:
        """Yield batches of these samples for statistics of batch norm as in training steps, in the same order each time.

        A batch of one sample, which has no statistics, is left out if there are others.
        """
        for batch, numbers in self.evaluation_batches(samples):
            if len(numbers) > 1 or len(samples) == 1:
                yield batch


class SteppedFeed(Feed):
    """Steps over the training samples in random order, with unlabelled ones if any. Several processes divide the samples of a step."""

    draws_unlabelled = True
    #: Name of a sample in messages.
    sample: TaskName

    def __init__(self, split: Split, *, batch_size: int, order: torch.Generator, ranks: Ranks) -> None:
        """Use `batch_size` training samples in a step, or all of them if there are fewer.

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
        """Divide the samples of an epoch into steps, and return this process's share of each.

        Sizes of steps differ by one at most: batch norm would be noisy in a small last step.
        """
        parts = (np.array_split(samples, self._num_steps) for samples in (labelled, unlabelled))
        return [(self._ranks.share(known), self._ranks.share(unknown)) for known, unknown in zip(*parts, strict=True)]


def shuffled(samples: IntArray, order: torch.Generator) -> IntArray:
    """Shuffle samples with the generator."""
    return np.take(samples, torch.randperm(len(samples), generator=order).numpy())


def num_drawn(ratio: float | None, num_unlabelled: int, num_labelled: int) -> int | None:
    """Return the number of unlabelled samples that an epoch draws by ``training.unlabelled_ratio``; None for all.

    Raises:
        UsageError: more samples than there are.
    """
    if ratio is None:
        return None
    count = max(1, round(ratio * num_labelled))
    if count > num_unlabelled:
        raise UsageError(
            f"training.unlabelled_ratio = {ratio:g} asks for {count} unlabelled samples per epoch ({num_labelled} are labelled), and "
            f"there are {num_unlabelled}. Give {math.floor(1000 * num_unlabelled / num_labelled) / 1000:g} or less, or leave it "
            "out."
        )
    return count
