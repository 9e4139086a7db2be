"""Reports of a trial to the pruner of its search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.state import TrainingState

if TYPE_CHECKING:
    import optuna

#: Epochs between two reports.
REPORT_EVERY = 10


class PruningReports(Callback):
    """Reports the students' best mean validation metric so far, averaged with those of the trainings before, and ends a trial that is
    behind.

    Of a strategy with several phases only the last one is reported: in the first phase of `kd`, for example, a teacher is trained, whose
    metric is not what trials are compared by.
    """

    def __init__(self, trial: optuna.Trial, before: Sequence[float], first_step: int) -> None:
        self.trial, self.before, self.first_step = trial, before, first_step
        self.best = -math.inf

    def on_epoch_end(self, state: TrainingState) -> None:
        import optuna

        phase = state.current
        if not phase.is_last:
            return
        if (mean := state.mean_metric) is not None:
            self.best = max(self.best, mean)
        if phase.epoch % REPORT_EVERY == 0 and math.isfinite(self.best):
            self.trial.report(fmean([*self.before, self.best]), self.first_step + phase.epoch)
            if self.trial.should_prune():
                raise optuna.TrialPruned
