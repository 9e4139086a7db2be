"""The runs of a suite, and its searches, with the time that they should take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dgl_mutual.errors import DglMutualError
from dgl_mutual.experiments.estimate import num_missing, seconds_per_trial
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.suites.suite import SuitePlan, SuiteRun, named, with_data
from dgl_mutual.experiments.tuning.search import plan_search
from dgl_mutual.experiments.tuning.study import SearchPlan
from dgl_mutual.experiments.tuning.trials import import_optuna
from dgl_mutual.strategies import resolve_strategy


@dataclass(frozen=True)
class Estimate:
    """The estimated time of a run of a suite, or of a search.

    Attributes:
        trials: number of trials.
        missing: number of trials still to be run; 0 if an earlier entry of the suite is the same run.
        seconds: upper bound for one trial, 0 if none is missing. Of a search: for the given configuration, everything else at its default.
        trainings: number of trainings per trial.
        objection: why the run would fail; empty if no reason is known.
    """

    data: str
    method: str
    trials: int
    missing: int
    seconds: float
    trainings: int = 1
    objection: str = ""


def estimate_runs(suite_plan: SuitePlan, *, start_over: bool) -> Iterator[Estimate]:
    """Estimate the runs of a suite one by one, by measuring a few epochs of each. Nothing is written.

    Args:
        start_over: count all trials as missing, finished ones too.
    """
    out = suite_plan.folder.parent
    to_run = {plan.name: plan for plan in suite_plan.plans}
    for run, plan in suite_plan.entries:
        first = to_run.pop(plan.name, None)
        missing = 0 if first is None else len(first.trials) if start_over else num_missing(first, out)
        seconds, objection = 0.0, ""
        if missing:
            try:
                seconds = seconds_per_trial(plan, out)
            except DglMutualError as error:
                objection = str(error)
        yield Estimate(run.data, run.method, len(plan.trials), missing, seconds, objection=objection)


def estimate_searches(suite_plan: SuitePlan, data: DataSource, *, trials: int) -> tuple[SuitePlan, list[Estimate]]:
    """Estimate the searches that `tune_suite` would make for the runs of an untuned plan. Nothing is written.

    Args:
        data: source of the plan's datasets.
        trials: number of trials of each search.

    Returns:
        The plan without datasets that cannot be split for a search, and one estimate per search.

    Raises:
        UsageError: see `tune_suite`.
    """
    import_optuna()
    out = suite_plan.folder.parent
    plans = {run: plan for run, plan in suite_plan.entries if resolve_strategy(run.config.strategy).trains}

    def planned(run: SuiteRun) -> SearchPlan:
        dataset = data.load(run.config, run.data)
        return plan_search(run.config, dataset, trials=run.tuning.num_trials(trials), splits=run.tuning.splits, out=out)

    searches, missing = with_data(plans, planned)
    estimates = []
    for run, search in searches:  # after all of them have been checked
        to_run, measured = search.progress()
        seconds = 0.0
        if to_run:
            with named(run.method, run.data):
                seconds = measured if measured is not None else search.splits * seconds_per_trial(plans[run], out)
        estimates.append(Estimate(run.data, run.method, search.trials, to_run, seconds, trainings=search.splits))
    return suite_plan.without(missing), estimates
