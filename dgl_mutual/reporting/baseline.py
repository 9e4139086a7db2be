"""The baseline of a comparison: the one that was asked for, else a suite's own, else the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting.comparison import Comparison, compare
from dgl_mutual.utils.user_warnings import warn

_DEFAULT_BASELINE = "independent"
#: In the place of a baseline: nothing is tested.
_NO_BASELINE = "none"


def default_baseline(trials: pd.DataFrame) -> str | None:
    """``independent``, or by target ``independent (1 target)``, if it and others are among the methods."""
    methods = set(trials["method"])
    there = [name for name in (_DEFAULT_BASELINE, f"{_DEFAULT_BASELINE} (1 target)") if name in methods]
    return there[0] if there and len(methods) > 1 else None


def compare_with_baseline(
    trials: pd.DataFrame,
    asked: str | None = None,
    of_suite: str | None = None,
    *,
    value: str = "test",
    metric: str | None = None,
    members: str | Sequence[str] | None = None,
) -> Comparison:
    """`compare` with the baseline that was asked for, else with the suite's, else with the default one.

    A suite's or the default baseline that has no runs here, or whose trials pair with those of no other method, is not replaced by
    another one: nothing is tested, with a warning, and `Comparison.objection` says why.

    Args:
        asked: a method, or ``none``; None: nobody asked for one.
        of_suite: see `dgl_mutual.reporting.runs.preferred_baseline`.
        value, metric, members: see `compare`.

    Raises:
        UsageError: an unknown name, runs that must not be combined in one table, or a baseline that was asked for and is not there, or
            whose trials do not pair.
    """
    table_of = partial(compare, trials, value=value, metric=metric, members=members)
    if asked is not None:
        return table_of(baseline=None if isinstance(asked, str) and asked == _NO_BASELINE else asked)
    try:
        return table_of(baseline=of_suite or default_baseline(trials))
    except UsageError as error:
        comparison = table_of()  # a table without tests can be made, or the same error comes again
        warn(f"Nothing is tested. {error}")
        return replace(comparison, objection=str(error))


def warn_of_gaps(comparison: Comparison) -> None:
    """Warn of methods that are not tested somewhere, and of trials that are missing: a table as CSV says neither."""
    if comparison.unpaired:
        warn(f"Not tested, since the trials are not paired: {', '.join(comparison.unpaired)}.")
    if comparison.unfinished:
        warn(f"Not finished: {', '.join(comparison.unfinished)}.")
