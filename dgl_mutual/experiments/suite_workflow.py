"""The searches and the plan of a suite: what the command ``suite`` and `dgl_mutual.experiment` have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.progress import Progress, no_progress
from dgl_mutual.experiments.suite import SuitePlan, plan_suite
from dgl_mutual.experiments.suite_file import Suite
from dgl_mutual.experiments.tuning.suite import SuiteTuning, tune_suite
from dgl_mutual.utils.files import check_writable


def prepare_suite(
    name: str,
    suite: Suite,
    *,
    out: Path,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
    data: DataSource,
    compute: Compute,
    tuned: int | None = None,
    progress: Callable[[], AbstractContextManager[Progress]] = no_progress,
) -> tuple[SuitePlan, SuiteTuning | None]:
    """Make the searches of a suite, if they are asked for, and plan its runs with what they have chosen.

    Args:
        out, quick, overrides, data: see `plan_suite`.
        tuned: trials of each search; None: nothing is searched.
        compute, progress: of the searches, see `tune_suite`.

    Returns:
        The plan, and the searches, if there were any.

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
    return plan, tuning
