"""The objective of a search: the students' mean validation metric over one or several trainings of a configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.label_rate import without_labels
from dgl_mutual.errors import DglMutualError, StoreError, TrainingError, UsageError
from dgl_mutual.experiments.configuration.grid import point_of
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.trial import Trial, fit_resolved, trial_data
from dgl_mutual.experiments.tuning.study import Search
from dgl_mutual.store.members import MEAN
from dgl_mutual.training.callbacks import Callback, EpochReports
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.state import TrainingState
from dgl_mutual.utils.error_causes import is_interrupt, is_out_of_memory, not_enough_memory

if TYPE_CHECKING:
    import optuna

#: Number of epochs between two reports.
REPORT_EVERY = 10


def evaluate(search: Search, trial: optuna.Trial, objective: Callable[[], float]) -> str | None:
    """Train a trial's configuration and record its outcome. Returns the message if it failed.

    Args:
        search: an open search.
        trial: a trial that this process has claimed.
        objective: trains, and returns the value to maximise (see `mean_metric`).

    Raises:
        UsageError: the given configuration does not work even with the defaults.
        StoreError: the folder of the search is gone, or cannot be written.
    """
    import optuna

    study = search.study
    state, value, error = optuna.trial.TrialState.FAIL, None, None
    try:
        value = objective()
        state = optuna.trial.TrialState.COMPLETE
    except optuna.TrialPruned:
        state = optuna.trial.TrialState.PRUNED
    except UsageError as fault:
        if "defaults" in trial.user_attrs:
            trial.set_user_attr("interrupted", True)
            search.proposals.enqueue_defaults()
            study.tell(trial, state=state)
            raise
        error = str(fault)
    except StoreError:  # an error of the journal, after which the trial runs again
        raise
    except DglMutualError as fault:
        error = str(fault)
    except Exception as fault:  # a fault of ours in one trial must not cost the others
        if is_interrupt(fault):
            raise KeyboardInterrupt from fault
        error = not_enough_memory(fault) if is_out_of_memory(fault) else f"{type(fault).__name__}: {fault}"
    if error is not None:
        trial.set_user_attr("error", error[:2000])
    study.tell(trial, value, state=state)
    search.write()
    return error


def mean_metric(
    search: Search,
    trial: optuna.Trial,
    parts: Sequence[Trial],
    dataset: Dataset,
    device: str,
    on_epoch: Callable[[EpochReport], None] | None,
) -> float:
    """Train a configuration, and return the students' mean validation metric, averaged over its trainings.

    Args:
        parts: the trainings of a configuration.
        on_epoch: called with a report at the end of each epoch.

    Raises:
        optuna.TrialPruned: other trials had better values in this epoch.
        TrainingError: the metric is undefined.
    """
    config = resolve(point_of(search.given, search.drawn(trial)), dataset)
    values: list[float] = []
    for index, part in enumerate(parts):
        data = trial_data(part, config, without_labels(dataset, part.split.test))  # a search sees no test labels

        def report(epoch: EpochReport, index: int = index) -> None:
            if on_epoch is not None:
                on_epoch(EpochReport(index * epoch.epochs + epoch.epoch, len(parts) * epoch.epochs, epoch.loss, epoch.val))

        callbacks = [EpochReports(report), PruningReports(trial, values, index * search.plan.resolved.training.epochs)]
        placement = Placement(torch.device(device))
        result = fit_resolved(part, config, data.seen, callbacks=callbacks, placement=placement)
        values.append(result[MEAN].val)
    value = sum(values) / len(values)
    if math.isnan(value):
        raise TrainingError("The metric is not defined on the validation part, so there is nothing to choose by. Choose another split.")
    return value


class PruningReports(Callback):
    """Report the students' best mean validation metric so far, averaged with those of earlier trainings, and prune trials that are behind.

    Only the last phase of a strategy is reported, since earlier ones may train other models, such as the teacher of `kd`.
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
        if phase.epochs_done % REPORT_EVERY == 0 and math.isfinite(self.best):
            self.trial.report(fmean([*self.before, self.best]), self.first_step + phase.epochs_done)
            if self.trial.should_prune():
                raise optuna.TrialPruned
