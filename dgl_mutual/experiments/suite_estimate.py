"""The runs of a suite with the time that they should take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dgl_mutual.errors import DglMutualError
from dgl_mutual.experiments.estimate import num_missing, seconds_per_trial
from dgl_mutual.experiments.suite import SuitePlan


@dataclass(frozen=True)
class RunEstimate:
    """The estimated time of a run of a suite.

    Attributes:
        trials: number of its trials.
        missing: number of those that are to be run; none where another entry of the suite is the same run, and comes before.
        seconds: at most, of one trial; 0 where none is to be run.
        objection: why it would fail; empty where nothing shows that it would.
    """

    data: str
    method: str
    trials: int
    missing: int
    seconds: float
    objection: str = ""


def estimate_runs(suite_plan: SuitePlan, *, anew: bool) -> Iterator[RunEstimate]:
    """The runs of a suite, one after another, since a few epochs of each are measured. Nothing is written.

    Args:
        anew: all trials are to run, also those that are there.
    """
    out = suite_plan.folder.parent
    to_run = {plan.name: plan for plan in suite_plan.plans}
    for run, plan in suite_plan.entries:
        first = to_run.pop(plan.name, None)
        missing = 0 if first is None else len(first.trials) if anew else num_missing(first, out)
        seconds, objection = 0.0, ""
        if missing:
            try:
                seconds = seconds_per_trial(plan, out)
            except DglMutualError as error:
                objection = str(error)
        yield RunEstimate(run.data, run.method, len(plan.trials), missing, seconds, objection)
