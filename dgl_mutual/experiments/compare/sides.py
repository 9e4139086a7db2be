"""Both sides trained with the same seeds, splits, starting weights and order of graphs, an epoch of ours and one of theirs in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.compare.ours import fit, starting_point
from dgl_mutual.experiments.compare.theirs import reference_from
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.trial import Trial
from dgl_mutual.reference.trainer import ReferenceTrainer
from dgl_mutual.training.seeds import derive


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


class _Turns:
    """Called after each epoch of ours: has the reference train one, and times both."""

    def __init__(self, reference: ReferenceTrainer) -> None:
        self.reference = reference
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.mark = time.perf_counter()

    def __call__(self, _: object) -> None:
        ended = time.perf_counter()
        if self.reference.stopped:
            return
        self.reference.train_epoch()
        self.reference.evaluate()
        self.ours.append(ended - self.mark)
        self.mark = time.perf_counter()
        self.theirs.append(self.mark - ended)


def train_both(trial: Trial, config: RunConfig, dataset: Dataset, say: Callable[[str], None]) -> Match:
    """Train ours and the reference on one trial. Dropout is drawn from a stream of each side's own."""
    say(f"{trial.name}: training both sides")
    start = starting_point(trial, config, dataset)
    reference = reference_from(start, trial, config, dataset)
    torch.manual_seed(derive(trial.seed, "reference", trial.fold))
    turns = _Turns(reference)
    result = fit(trial, config, dataset, on_epoch=turns)
    while not reference.stopped:
        reference.train_epoch()
        reference.evaluate()
    pairs = tuple(
        MemberPair(
            trial.seed,
            trial.fold,
            theirs.member,
            result[theirs.member].test,
            theirs.test,
            result[theirs.member].inference_ms,
            theirs.inference_ms,
            result[theirs.member].parameters,
            theirs.parameters,
        )
        for theirs in reference.results()
    )
    # The first epoch also prepares what later ones use.
    return Match(pairs, median(turns.ours[1:] or turns.ours), median(turns.theirs[1:] or turns.theirs), len(turns.ours))
