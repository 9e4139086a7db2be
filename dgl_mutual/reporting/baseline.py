"""The baseline of a comparison: the requested one, else the suite's, else the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting.comparison import Comparison, compare
from dgl_mutual.reporting.run import Run
from dgl_mutual.utils.user_warnings import warn

_DEFAULT_BASELINE = "independent"
#: Name that disables all tests.
_NO_BASELINE = "none"


def default_baseline(trials: pd.DataFrame) -> str | None:
    """``independent``, or by target ``independent (1 target)``, if it and others are among the methods."""
    methods = set(trials["method"])
    candidates = [name for name in (_DEFAULT_BASELINE, f"{_DEFAULT_BASELINE} (1 target)") if name in methods]
    return candidates[0] if candidates and len(methods) > 1 else None


def baseline_of(runs: Sequence[Run], of_suite: str | None) -> str | None:
    """Return the suite's baseline if it is one of several methods of these runs; else None, for the default."""
    methods = {run.method for run in runs if len(run.trials)}
    return of_suite if of_suite in methods and len(methods) > 1 else None


def compare_with_baseline(
    trials: pd.DataFrame,
    asked: str | None = None,
    of_suite: str | None = None,
    *,
    value: str = "test",
    metric: str | None = None,
    members: str | Sequence[str] | None = None,
) -> Comparison:
    """Call `compare` with the requested baseline, else with the suite's, else with the default one.

    If the suite's or the default baseline has no runs here, or no trials in common with other methods, nothing is tested: there is a
    warning, and `Comparison.objection` gives the reason.

    Args:
        asked: the requested method, or ``none`` for no tests; None if there was no request.
        of_suite: see `dgl_mutual.reporting.runs.preferred_baseline`.
        value, metric, members: see `compare`.

    Raises:
        UsageError: an unknown name, runs that must not be combined in one table, or a requested baseline that has no runs, or whose
            trials do not pair.
    """
    table_of = partial(compare, trials, value=value, metric=metric, members=members)
    if asked is not None:
        return table_of(baseline=None if isinstance(asked, str) and asked == _NO_BASELINE else asked)
    try:
        return table_of(baseline=of_suite or default_baseline(trials))
    except UsageError as error:
        comparison = table_of()  # without tests; raises again if the error has another cause
        warn(f"Nothing is tested. {error}")
        return replace(comparison, objection=str(error))


def warn_of_gaps(comparison: Comparison) -> None:
    """Warn of methods that are not tested on some data, and of missing trials, which CSV tables do not mention."""
    if comparison.unpaired:
        warn(f"Not tested, since the trials are not paired: {', '.join(comparison.unpaired)}.")
    if comparison.unfinished:
        warn(f"Not finished: {', '.join(comparison.unfinished)}.")
