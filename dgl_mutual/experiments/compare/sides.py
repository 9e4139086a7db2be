"""Training of both sides with the same seeds, splits, starting weights and order of graphs, in alternating turns of a few epochs.

Each side has its own process, so that neither uses memory that the other has freed: our process keeps freed memory while it trains.
The time of the first epoch of a turn does not count, since the other side has replaced the contents of the caches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TypeAlias, TypeVar

import pandas as pd
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import TrainingError
from dgl_mutual.experiments.compare import theirs
from dgl_mutual.experiments.compare.ours import assembled, weights_of
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.processes import process_apart
from dgl_mutual.experiments.progress import OnEpoch
from dgl_mutual.experiments.trial import Trial, fit_resolved
from dgl_mutual.reference.trainer import ReferenceResult
from dgl_mutual.training.callbacks import Callback, EpochReports
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.distributed.ranks import SINGLE_PROCESS, Ranks
from dgl_mutual.training.state import TrainingState

T = TypeVar("T")

#: A function that returns the time in seconds.
Clock: TypeAlias = Callable[[], float]

#: Number of epochs of a turn.
TURN = 5


@dataclass(frozen=True)
class Match:
    """One trial on both sides.

    Attributes:
        pairs: one row per member, with its test metric as a fraction, inference time and number of parameters on both sides.
        seconds_ours, seconds_reference: median seconds over the epochs that both trained, without the first of each turn; an epoch is
            training, clean pass and validation.
        epochs: number of epochs in these medians.
    """

    pairs: pd.DataFrame
    seconds_ours: float
    seconds_reference: float
    epochs: int


class _Reference:
    """The reference in a separate process, which trains a given number of epochs at a time."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self.stopped = False

    def start(self, trial: Trial, config: RunConfig, dataset: Dataset, threads: int) -> None:
        """Create the reference with the starting weights of our side."""
        tensors = weights_of(assembled(trial, config, dataset)[0].cohort, config)
        weights = [{name: value.numpy() for name, value in group.items()} for group in tensors]
        self._ask(theirs.start, weights, config, dataset, trial.split, trial.seed, trial.fold, threads)

    def train(self, epochs: int, clock: Clock) -> list[float]:
        """Train `epochs` epochs, or fewer if training stops, and return the seconds of each."""
        seconds, self.stopped = self._ask(theirs.train, epochs, clock)
        return seconds

    def results(self) -> Sequence[ReferenceResult]:
        return self._ask(theirs.results)

    def _ask(self, function: Callable[..., T], *arguments: object) -> T:
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            raise TrainingError(
                "The process of the reference ended unexpectedly; most likely it was killed for lack of memory, since its features are "
                "dense. Choose a smaller dataset or a machine with more memory, or leave accuracy and cost out with --parity-only."
            ) from None


class _Turns(Callback):
    """Callback of our training: at the end of each turn, the reference trains as many epochs. Keeps the seconds of both sides."""

    def __init__(self, reference: _Reference, clock: Clock) -> None:
        self.reference = reference
        self.clock = clock
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._turn: list[float] = []
        self._mark = self.clock()

    def on_epoch_end(self, state: TrainingState) -> None:
        self._turn.append(self.clock() - self._mark)
        if len(self._turn) == TURN:
            self.end()
        self._mark = self.clock()

    def end(self) -> None:
        """End a turn, full or not."""
        if self._turn and not self.reference.stopped:
            reference = self.reference.train(len(self._turn), self.clock)
            both = min(len(self._turn), len(reference))
            first = 1 if both > 1 or self.ours else 0
            self.ours += self._turn[first:both]
            self.theirs += reference[first:both]
        self._turn = []


def train_both(
    trial: Trial,
    config: RunConfig,
    dataset: Dataset,
    *,
    on_epoch: OnEpoch | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    threads: int | None = None,
    clock: Clock = time.perf_counter,
) -> Match:
    """Train both sides on one trial. Each side draws dropout from its own random stream.

    Args:
        on_epoch: called with the trial's title at the end of each of our epochs.
        ranks: the processes of our side, of which this is the first; the others call `fit_resolved`.
        threads: number of threads of the reference (default: as many as this process has).
        clock: the clock of both sides in seconds: a function of the module `time`, which both processes can import.

    Raises:
        TrainingError: the process of the reference died.
    """
    with process_apart() as pool:
        reference = _Reference(pool)
        reference.start(trial, config, dataset, threads or torch.get_num_threads())
        turns = _Turns(reference, clock)
        reports = [] if on_epoch is None else [EpochReports(partial(on_epoch, trial.title))]
        result = fit_resolved(trial, config, dataset, callbacks=[turns, *reports], placement=Placement(ranks=ranks))
        turns.end()
        while not reference.stopped:
            reference.train(TURN, clock)
        members = reference.results()
    pairs = [
        {
            "seed": trial.seed,
            "fold": trial.fold,
            "member": other.member,
            "ours": own.test,
            "reference": other.test,
            "inference_ms_ours": own.inference_ms,
            "inference_ms_reference": other.inference_ms,
            "parameters_ours": own.parameters,
            "parameters_reference": other.parameters,
        }
        for own, other in ((result[other.member], other) for other in members)
    ]
    return Match(pd.DataFrame(pairs), median(turns.ours), median(turns.theirs), len(turns.ours))
