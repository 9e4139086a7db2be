"""The running state of one training, which the loop changes and callbacks receive."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.joint import TaskWeights
from dgl_mutual.nn.module import CohortMember
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.averages import Averages
from dgl_mutual.training.distributed.ranks import Ranks
from dgl_mutual.training.evaluation.clean_logits import CleanLogits
from dgl_mutual.training.history import KEYS, HistoryRow, fault_of_name
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.seeds import Streams, TrialSeed
from dgl_mutual.training.targets import Targets
from dgl_mutual.training.timing import now


@dataclass
class Phase:
    """The progress of a training in one phase of its strategy.

    Attributes:
        number: index of the phase, from 0.
        active: the members that train in it.
        optimizer: the optimizer of these members and of the strategy.
        epoch_offset: number of epochs of the phases before.
        is_last: whether no other phase follows.
        epochs_done: number of finished epochs of this phase.
        stopped: whether it ends after the current epoch.
    """

    number: int
    active: Sequence[int]
    optimizer: torch.optim.Optimizer
    epoch_offset: int
    is_last: bool
    epochs_done: int = 0
    stopped: bool = False


@dataclass(frozen=True)
class Validation:
    """Scores on the validation part after an epoch: of the active members in order and, in the last phase, of the ensemble.

    Attributes:
        names: names of the members, and ``ensemble`` at the end in the last phase.
        metrics: values of the dataset's metric, fractions in [0, 1], one for each of `names`.
        losses: cross-entropies in nats, one for each of `names`.
    """

    names: tuple[str, ...]
    metrics: Sequence[float]
    losses: Sequence[float]


@dataclass
class TrainingState:
    """The state of a training. Callbacks may read everything, add columns to the history with `log`, and end a phase with `stop`.

    Attributes:
        cohort, strategy: the trained modules.
        phases: the members that train together, phase after phase.
        dataset, split, options, exchange, task_weights: what they are trained on, and how.
        trial_seed: the seed and fold that determine all random numbers.
        ranks: the processes that train together; each of them calls its own callbacks.
        history: one row per epoch; the row of the current epoch is added after its training and validation.
        phase: the current phase; None before the first.
        epoch: the current epoch's number over all phases, from 0.
        step, terms: during `on_step_end` alone, the step and its loss terms before they are summed.
        validation: the scores after the current epoch; None if it was not validated (training.eval_every).
        result: during `on_fit_end` alone, what `fit` returns.
        averages: averages of the members' weights, for evaluation (training.average) and for targets.
        targets: the source of the targets of the exchange.
        clean, streams: the latest clean logits, and all random streams.
        phases_over: number of phases that an earlier, interrupted training has finished.
        started: start on the clock of `time.perf_counter`, less the seconds trained before interruptions.
    """

    cohort: Cohort
    strategy: Strategy
    phases: tuple[tuple[int, ...], ...]
    dataset: Dataset
    split: Split
    options: TrainingOptions
    exchange: Exchange
    task_weights: TaskWeights
    trial_seed: TrialSeed
    ranks: Ranks
    averages: Averages
    targets: Targets
    streams: Streams
    history: list[HistoryRow] = field(default_factory=list)
    phase: Phase | None = None
    epoch: int = 0
    step: Step | None = None
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    validation: Validation | None = None
    result: FitResult | None = None
    phases_over: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seed(self) -> int:
        return self.trial_seed.seed

    @property
    def fold(self) -> int:
        return self.trial_seed.fold

    @property
    def current(self) -> Phase:
        """The current phase; only for use within a phase."""
        assert self.phase is not None
        return self.phase

    @property
    def clean(self) -> CleanLogits:
        return self.targets.clean

    def evaluated_member(self, member: int) -> CohortMember:
        """Return a member as it is validated, selected and saved: with averaged weights, if training.average is on and has begun."""
        return self.averages.evaluated(member)

    @property
    def mean_metric(self) -> float | None:
        """Mean validation metric of the active students after the current epoch, or of all active members if none of them is a student (the
        teacher of ``kd``, for example). None if the epoch was not validated."""
        if self.validation is None:
            return None
        active = dict(zip(self.current.active, self.validation.metrics, strict=False))  # in the last phase the ensemble's follows
        students = [metric for member, metric in active.items() if member < self.cohort.num_students]
        return fmean(students or active.values())

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including those before interruptions."""
        return now(self.clean.device) - self.started

    @property
    def is_phase_over(self) -> bool:
        """Whether the current phase ends with the current epoch."""
        return self.current.stopped or self.current.epochs_done == self.options.epochs

    def log(self, name: str, value: float) -> None:
        """Add a column to the current epoch's row of the history, in `on_epoch_end`; in `on_phase_end` and `on_fit_end` to the last row.

        Raises:
            UsageError: a column that exists already, a name that is empty or not printable, a value that is not one finite number, or no
                row of the current epoch: it is added after the last step of the epoch and its validation.
        """
        number = _number(name, value)
        if not self.history:
            raise UsageError(f"There is no epoch yet to log {name!r} for. Call state.log in on_epoch_end.")
        if self.history[-1]["epoch"] != self.epoch or (self.phase is not None and self.phase.epochs_done == 0):
            # Between two phases the number of the epoch is still that of the last one.
            raise UsageError(
                f"Cannot log {name!r} = {value!r} yet: the last row of the history is that of epoch {self.history[-1]['epoch']:.0f}, and "
                "the row of the current epoch is added after its last step. Keep the value in the callback, and call state.log in "
                "on_epoch_end."
            )
        if not math.isfinite(number):
            raise UsageError(
                f"Cannot log {name!r} = {value!r} in epoch {self.epoch}: the history takes finite numbers. Leave it out there."
            )
        if name in self.history[-1] or name in KEYS:
            raise UsageError(f"The history has a column {name!r} in this epoch already. Log under another name, for example 'my/{name}'.")
        self.history[-1][name] = number

    def stop(self) -> None:
        """End the current phase after this epoch. Each student then returns to its best epoch by validation, as at any other end.

        Raises:
            UsageError: no phase has begun.
        """
        if self.phase is None:
            raise UsageError("There is no phase yet to stop. Call state.stop in on_epoch_begin or later.")
        self.phase.stopped = True


def _number(name: object, value: object) -> float:
    """Return a logged value as a number; arrays and tensors with one entry are allowed.

    Raises:
        UsageError: the value is not one number, or the name is not a string, or is empty or not printable.
    """
    if not isinstance(name, str):
        raise UsageError(
            f"Cannot log under the name {name!r}: the name of a column is a string. Give one, for example state.log('mine', 1.0)."
        )
    if fault := fault_of_name(name):
        raise UsageError(f"Cannot log under the name {name!r}: it {fault}, for example state.log('mine', 1.0).")
    size = math.prod(getattr(value, "shape", ()))
    try:
        if size == 1 and not isinstance(value, str):
            return float(value.item() if hasattr(value, "item") else value)  # type: ignore[arg-type]  # float says what is no number
    except (TypeError, ValueError, OverflowError):
        pass
    shown = " ".join(repr(value).split())[:80]
    hint = f"Log each entry by itself, or one number of all, such as state.log({name!r}, value.mean())" if size > 1 else "Give a number"
    raise UsageError(f"Cannot log {name!r} = {shown}: a column takes one number per epoch. {hint}.")
