"""A suite from its searches to its last trial: what the command ``suite`` and `dgl_mutual.experiment` have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.progress import Progress, no_progress
from dgl_mutual.experiments.runner import RunReport
from dgl_mutual.experiments.suite import SuitePlan, plan_suite, run_suite
from dgl_mutual.experiments.suite_data import SuiteData
from dgl_mutual.experiments.suite_file import Suite
from dgl_mutual.experiments.tuning.suite import SuiteTuning, tune_suite
from dgl_mutual.utils.files import check_writable


@dataclass(frozen=True, eq=False)
class PreparedSuite:
    """A suite whose searches are over, and whose trials can start.

    Attributes:
        tuning: the searches; None where none were asked for.
    """

    plan: SuitePlan
    tuning: SuiteTuning | None

    def run(
        self,
        *,
        compute: Compute,
        resume: bool,
        progress: Callable[[], AbstractContextManager[Progress]] = no_progress,
        cluster: str | None = None,
        track: Sequence[str] = (),
    ) -> tuple[list[RunReport], Path | None]:
        """Run what is missing.

        Args:
            progress: makes the display.
            compute, resume, cluster, track: see `run_suite`.

        Returns:
            The report of each run, and the file with all searches, if there were any.

        Raises:
            UsageError: see `run_suite`.
        """
        with progress() as shown:
            reports = run_suite(self.plan, compute=compute, resume=resume, progress=shown, cluster=cluster, track=track)
        return reports, None if self.tuning is None else self.tuning.write(self.plan.folder)


def prepare_suite(
    name: str,
    suite: Suite,
    *,
    out: Path,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
    data: SuiteData,
    compute: Compute,
    tuned: int | None = None,
    progress: Callable[[], AbstractContextManager[Progress]] = no_progress,
) -> PreparedSuite:
    """Make the searches of a suite, if they are asked for, and plan its runs with what they have chosen.

    Args:
        out, quick, overrides, data: see `plan_suite`.
        tuned: trials of each search; None: nothing is searched.
        compute, progress: of the searches, see `tune_suite`.

    Raises:
        UsageError, StoreError, TrainingError, Interrupted: see `tune_suite` and `plan_suite`.
    """
    tuning = None
    if tuned is not None:
        check_writable(out)
        tuning = tune_suite(
            suite,
            trials=tuned,
            quick=quick,
            overrides=overrides,
            out=out,
            data=data,
            compute=compute,
            progress=progress,
        )
    plan = plan_suite(
        name,
        suite,
        out=out,
        quick=quick,
        overrides=overrides,
        data=data,
        tuned=None if tuning is None else tuning.layers,
    )
    return PreparedSuite(plan, tuning)
