"""What a step trains on and an evaluation looks at: the whole graph, or mini-batches of graphs."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset, IntArray, Split
from dgl_mutual.data.splits import is_inductive
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.adjacency import Rows
from dgl_mutual.nn.batch import Batch, Collator, GraphBatch
from dgl_mutual.nn.split import split_batch
from dgl_mutual.training.distributed import ALONE, Ranks

#: Most nodes in one evaluation batch. States of 4,096 nodes stay in a core's cache: as fast as larger batches or faster, and a third of
#: their memory (PROTEINS: 110 MiB of training memory against 320 with 65,536).
EVALUATION_NODES = 1 << 12

#: Most nodes (or one step's) of the training steps whose batches are made together: on small graphs deriving a structure takes as long as
#: using it, and hardly longer for many steps at once.
GROUP_NODES = 1 << 12


@dataclass(frozen=True)
class TrainingBatch:
    """One step's input.

    Attributes:
        batch: the graphs.
        samples: (N,): dataset numbers of the batch's samples.
        columns: the same numbers as an index, ``slice(None)`` where the batch is the whole dataset in order.
        labelled: rows of the samples whose labels may be learned from.
    """

    batch: Batch
    samples: Tensor
    columns: Rows
    labelled: Rows

    def gathered(self, ranks: Ranks) -> TrainingBatch:
        """The samples of all processes' shares, of which `batch` is this one's own."""
        if ranks.divides != "samples":
            return self
        has_label = torch.zeros_like(self.samples)
        has_label[self.labelled] = 1
        samples, known = ranks.gather(torch.stack([self.samples, has_label], dim=1)).unbind(1)
        return TrainingBatch(self.batch, samples, samples, torch.nonzero(known).squeeze(1))


class Feed(ABC):
    """Batches of a dataset under one split."""

    #: N of a full-batch node task; None where samples come and go.
    num_transductive_samples: int | None = None
    #: Steps see samples of neighbourhoods, and a clean pass over everything costs many steps.
    sampled: bool = False

    @abstractmethod
    def training_batches(self) -> Iterator[TrainingBatch]:
        """The steps of one epoch."""

    @abstractmethod
    def bring_along(self, samples: IntArray) -> None:
        """Let every epoch also see these samples, or some of them, without their labels, where it would not anyway."""

    @abstractmethod
    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[Batch, Tensor]]:
        """Batches that cover at least these samples, each with its samples' numbers."""


class FullGraphFeed(Feed):
    """Node task: every step and every evaluation sees the whole graph."""

    def __init__(self, dataset: Dataset, split: Split, device: torch.device, dtype: torch.dtype) -> None:
        self.num_transductive_samples = dataset.num_nodes
        self._samples = torch.arange(dataset.num_nodes, device=device)
        self._batch = Collator(dataset, device, dtype).all()
        self._labelled = torch.as_tensor(split.train, device=device)

    def training_batches(self) -> Iterator[TrainingBatch]:
        yield TrainingBatch(self._batch, self._samples, slice(None), self._labelled)

    def bring_along(self, samples: IntArray) -> None:
        """There is nothing to do: every step sees the whole graph."""

    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[GraphBatch, Tensor]]:
        yield self._batch, self._samples


class GraphsFeed(Feed):
    """Graph task: shuffled mini-batches of training graphs; evaluation in batches that are kept once they are asked for again."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        device: torch.device,
        dtype: torch.dtype,
        *,
        batch_size: int,
        order: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> None:
        """Take the training graphs in a step, and the processes that divide them.

        Raises:
            UsageError: more processes than graphs in a step.
        """
        ranks.check_batch(len(split.train) // math.ceil(len(split.train) / batch_size), "graphs")
        self._ranks = ranks
        self._collate = Collator(dataset, device, dtype)
        self._train = split.train
        self._batch_size = batch_size
        self._order = order
        self._company: IntArray = np.empty(0, dtype=np.int64)
        self._sizes = np.diff(dataset.node_offsets)
        self._seen: set[bytes] = set()
        self._kept: dict[bytes, list[tuple[GraphBatch, Tensor]]] = {}

    def training_batches(self) -> Iterator[TrainingBatch]:
        num_steps = math.ceil(len(self._train) / self._batch_size)
        # Batches of equal size rather than a last one of few graphs: batch norm needs company.
        labelled, others = (np.array_split(self._shuffled(graphs), num_steps) for graphs in (self._train, self._company))
        known = [self._ranks.share(graphs) for graphs in labelled]
        steps = [np.concatenate([mine, self._ranks.share(unknown)]) for mine, unknown in zip(known, others, strict=True)]
        batches = itertools.chain.from_iterable(self._collated(group) for group in self._groups(steps))
        for graphs, mine, batch in zip(steps, known, batches, strict=True):
            samples = torch.as_tensor(graphs, device=self._collate.device)
            yield TrainingBatch(batch, samples, samples, slice(0, len(mine)))

    def _groups(self, steps: Sequence[IntArray]) -> Iterator[Sequence[IntArray]]:
        """Steps whose graphs are put together at once."""
        so_far = np.cumsum([self._sizes[graphs].sum() for graphs in steps])
        for _, group in itertools.groupby(range(len(steps)), key=lambda step: so_far[step] // GROUP_NODES):
            yield [steps[step] for step in group]

    def _collated(self, group: Sequence[IntArray]) -> Sequence[GraphBatch]:
        return split_batch(self._collate(np.concatenate(group)), [len(graphs) for graphs in group])

    def bring_along(self, samples: IntArray) -> None:
        self._company = samples

    def _shuffled(self, graphs: IntArray) -> IntArray:
        order: IntArray = torch.randperm(len(graphs), generator=self._order).numpy()
        return np.take(graphs, order)

    def evaluation_batches(self, samples: IntArray) -> Iterator[tuple[GraphBatch, Tensor]]:
        key = samples.tobytes()
        if key not in self._kept:
            groups = np.cumsum(self._sizes[samples]) // EVALUATION_NODES
            graphs_of_batches = (samples[groups == group] for group in np.unique(groups))
            batches = ((self._collate(graphs), torch.as_tensor(graphs, device=self._collate.device)) for graphs in graphs_of_batches)
            if key not in self._seen:  # a pass over everything, at the end, comes once, and would be most of the memory
                self._seen.add(key)
                yield from batches
                return
            self._kept[key] = list(batches)
        yield from self._kept[key]


def make_feed(
    dataset: Dataset,
    split: Split,
    *,
    batch_size: int | None,
    order: torch.Generator,
    device: torch.device,
    dtype: torch.dtype,
    fanout: Sequence[int] | None = None,
    ranks: Ranks = ALONE,
) -> Feed:
    """The feed that the task asks for; with a fan-out, one that samples neighbours.

    Raises:
        UsageError: steps that several processes cannot divide, or more nodes in a step than there are to train on.
    """
    if fanout is not None:
        from dgl_mutual.training.sampling import NeighbourFeed

        assert batch_size is not None
        if dataset.store is not None:
            from dgl_mutual.training.stored import StoredFeed

            return StoredFeed(dataset.store, split, device, dtype, fanout=fanout, batch_size=batch_size, order=order, ranks=ranks)
        return NeighbourFeed(dataset, split, device, dtype, fanout=fanout, batch_size=batch_size, order=order, ranks=ranks)
    if dataset.store is not None:
        raise UsageError("A graph in parts is trained on by samples of neighbourhoods. Add --sampler neighbor.")
    if is_inductive(dataset, split):
        from dgl_mutual.training.inductive import NodesOfGraphsFeed

        return NodesOfGraphsFeed(dataset, split, device, dtype, batch_size=batch_size, order=order, ranks=ranks)
    if dataset.task == "node":
        if ranks.divides == "samples":
            raise UsageError(
                "The nodes of a step on the whole graph cannot be divided among processes: each needs its neighbours. Divide the students, "
                "with --divide students, or samples of neighbours, with --sampler neighbor, or leave torchrun out and train several trials "
                "at a time, with --jobs."
            )
        return FullGraphFeed(dataset, split, device, dtype)
    return GraphsFeed(dataset, split, device, dtype, batch_size=batch_size or 32, order=order, ranks=ranks)
