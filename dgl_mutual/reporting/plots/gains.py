"""Gains and losses of methods against the baseline, one row per dataset."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dgl_mutual.reporting.baseline import default_baseline
from dgl_mutual.reporting.comparison import ALPHA, compare
from dgl_mutual.reporting.plots.style import LINE, PAGE, figure, finished, line_style, without_mark
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import gather
from dgl_mutual.reporting.tables import member_name
from dgl_mutual.statistics import CORRECTED_T, FEWEST_FOLDS, FEWEST_PAIRS, holm
from dgl_mutual.store.members import ENSEMBLE, MEAN
from dgl_mutual.utils.user_warnings import warn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEMBERS = (MEAN, ENSEMBLE)
#: Height in inches of each method in a row, and minimum height of all rows together.
_METHOD, _LEAST = 0.14, 0.6


def gains(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """One figure: the difference of each method to ``independent`` on the test part, for the mean student and the ensemble.

    Points are means of paired differences, lines their 95 % confidence intervals by Student's t, with the standard error of their test. A
    filled marker is a difference with p < 0.05 after Holm's adjustment over the differences of its dataset. Datasets on which
    ``independent`` or every other method is missing are left out.
    """
    rows = differences([run for run in runs if len(run.trials)])
    if len(rows):
        yield "gains", _draw(rows)


def differences(runs: Sequence[Run]) -> pd.DataFrame:
    """The rows of `compare` with a difference to the baseline, adjusted separately for each dataset.

    With ten pairs, p is at least 0.002, so with one adjustment over many datasets no difference could be significant.
    """
    if not runs:
        return pd.DataFrame()
    trials = gather(runs)
    baseline = default_baseline(trials)
    if baseline is None:
        return pd.DataFrame()
    comparison = compare(trials, members=_MEMBERS, baseline=baseline)
    if comparison.unpaired:
        warn(f"Left out, since the trials are not paired: {', '.join(comparison.unpaired)}.")
    rows = comparison.rows
    rows = rows[rows["difference"].notna() & (rows["method"] != baseline)].assign(baseline=baseline).reset_index(drop=True)
    for places in rows.groupby("data", sort=False).groups.values():
        rows.loc[places, "p_holm"] = holm(rows.loc[places, "p"].to_numpy(dtype=float))
    return rows


def _draw(rows: pd.DataFrame) -> Figure:
    from matplotlib.lines import Line2D

    datas, methods = list(dict.fromkeys(rows["data"])), list(dict.fromkeys(rows["method"]))
    drawn = figure(PAGE, 1)
    members = [member for member in _MEMBERS if (rows["member"] == member).any()]
    panels = drawn.subplots(1, len(members), sharey=True, sharex=True, squeeze=False)[0]
    for axes, member in zip(panels, members, strict=True):
        _panel(axes, rows[rows["member"] == member], datas, methods)
        axes.set_title(member_name(member))
        axes.set_xlabel(textwrap.fill(f"test metric, difference to {rows['baseline'].iloc[0]} (points)", 48))
    names = [f"{textwrap.shorten(data, 60)} (n\u00a0=\u00a0{rows[rows['data'] == data]['n'].max():.0f})" for data in datas]
    names = [textwrap.fill(without_mark(name), 28) for name in names]
    panels[0].set_yticks(range(len(datas)), names)
    panels[0].set_ylim(len(datas) - 0.5, -0.5)
    grey: dict[str, Any] = {"color": "#555555", "linestyle": "", "marker": "o", "markersize": 5}
    kinds = [
        Line2D([], [], **grey, label="p < 0.05 (Holm, within a dataset)"),
        Line2D([], [], **grey, markerfacecolor="white", label="not significant"),
    ]
    none = f" (none with fewer than {FEWEST_PAIRS} seeds or {FEWEST_FOLDS} folds, or where differences are equal)"
    corrected = ", over folds and seeds of holdout with the corrected standard error" if (rows["test"] == CORRECTED_T).any() else ""
    lines = f"95 % confidence interval by Student's t{corrected}{none if rows['low'].isna().any() else ''}"
    row = max(_METHOD * (len(methods) + 1), LINE * (1 + max(name.count("\n") + 1 for name in names)))
    note = f"Points: mean of paired differences; lines: {lines}. n: pairs (seeds or folds)."
    return finished(drawn, panels, note, more=kinds, least=max(_LEAST, row * len(datas)))


def _panel(axes: Axes, rows: pd.DataFrame, datas: list[str], methods: list[str]) -> None:
    axes.axvline(0, color="#555555", linewidth=0.8)
    for index, method in enumerate(methods):
        shown = rows[rows["method"] == method]
        look = line_style(index)
        height = np.array([datas.index(data) for data in shown["data"]]) + 0.8 * ((index + 1) / (len(methods) + 1) - 0.5)
        middle, low, high = (100 * shown[name].to_numpy(dtype=float) for name in ("difference", "low", "high"))
        axes.hlines(height, low, high, color=look["color"], linewidth=1.2)
        clear = shown["p_holm"].to_numpy(dtype=float) < ALPHA
        for filled in (True, False):
            axes.plot(
                middle[clear == filled],
                height[clear == filled],
                look["marker"],
                color=look["color"],
                markerfacecolor=look["color"] if filled else "white",
                markersize=5,
            )
        axes.plot([], [], look["marker"], color=look["color"], label=method)
