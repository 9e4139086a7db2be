"""Both sides trained with the same seeds, splits, starting weights and order of graphs, an epoch of ours and one of theirs in turn.

Each has a process of its own, so that neither finds memory as the other leaves it: while ours trains, what it frees stays with its process.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import TrainingError
from dgl_mutual.experiments.compare import theirs
from dgl_mutual.experiments.compare.ours import fit, starting_point
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.trial import Trial
from dgl_mutual.reference.trainer import ReferenceResult

T = TypeVar("T")


@dataclass(frozen=True)
class MemberPair:
    """One member of one trial on both sides; metrics are fractions."""

    seed: int
    fold: int
    member: str
    ours: float
    reference: float
    inference_ms_ours: float
    inference_ms_reference: float
    parameters_ours: int
    parameters_reference: int


@dataclass(frozen=True)
class Match:
    """One trial on both sides.

    Attributes:
        seconds_ours, seconds_reference: medians over the epochs that both trained, the first left out; an epoch is training, the clean pass
            and validation.
        epochs: how many these are.
    """

    pairs: tuple[MemberPair, ...]
    seconds_ours: float
    seconds_reference: float
    epochs: int


class _Reference:
    """The reference in a process of its own, which trains when it is told to."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self.stopped = False

    def start(self, trial: Trial, config: RunConfig, dataset: Dataset) -> None:
        """Make it, at the weights that ours starts from."""
        start = starting_point(trial, config, dataset)
        weights = [{name: value.numpy() for name, value in group.items()} for group in start.by_owner(start.values)]
        self._ask(theirs.start, weights, config, dataset, trial.split, trial.seed, trial.fold, torch.get_num_threads())

    def train_epoch(self) -> float:
        """The seconds that an epoch takes: training, the clean pass and validation."""
        seconds, self.stopped = self._ask(theirs.train_epoch)
        return seconds

    def results(self) -> Sequence[ReferenceResult]:
        return self._ask(theirs.results)

    def _ask(self, what: Callable[..., T], *arguments: object) -> T:
        try:
            return self._pool.submit(what, *arguments).result()
        except BrokenProcessPool:
            raise TrainingError(
                "The process of the reference ended all of a sudden; most likely it was killed for lack of memory, since its features are "
                "dense. Choose a smaller dataset or machine with more of it, or compare no more than numbers, with --parity-only."
            ) from None


class _Turns:
    """Called after each epoch of ours: has the reference train one, and keeps the seconds of both."""

    def __init__(self, reference: _Reference) -> None:
        self.reference = reference
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.mark = time.perf_counter()

    def __call__(self, _: object) -> None:
        if self.reference.stopped:
            return
        self.ours.append(time.perf_counter() - self.mark)
        self.theirs.append(self.reference.train_epoch())
        self.mark = time.perf_counter()


def train_both(trial: Trial, config: RunConfig, dataset: Dataset, say: Callable[[str], None]) -> Match:
    """Train ours and the reference on one trial. Dropout is drawn from a stream of each side's own.

    Raises:
        TrainingError: the reference's process died.
    """
    say(f"{trial.name}: training both sides")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        reference = _Reference(pool)
        reference.start(trial, config, dataset)
        turns = _Turns(reference)
        result = fit(trial, config, dataset, on_epoch=turns)
        while not reference.stopped:
            reference.train_epoch()
        members = reference.results()
    pairs = tuple(
        MemberPair(
            trial.seed,
            trial.fold,
            member.member,
            result[member.member].test,
            member.test,
            result[member.member].inference_ms,
            member.inference_ms,
            result[member.member].parameters,
            member.parameters,
        )
        for member in members
    )
    # The first epoch also prepares what later ones use.
    return Match(pairs, median(turns.ours[1:] or turns.ours), median(turns.theirs[1:] or turns.theirs), len(turns.ours))
