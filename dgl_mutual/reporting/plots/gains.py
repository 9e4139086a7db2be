"""Gains and losses of methods against a baseline, by dataset."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
#: Height in inches of each method of a dataset, minimum height of all datasets together, and their maximum height in one figure.
_METHOD, _LEAST, _PAGE_HEIGHT = 0.14, 0.6, 12.0


def gains(runs: Sequence[Run], baseline: str | None = None) -> Iterator[tuple[str, Figure]]:
    """The difference of each method to a baseline on the test part, for the mean student and the ensemble; a figure for a page of datasets.

    Points are means of paired differences, lines their 95 % confidence intervals by Student's t, with the standard error of their test. A
    filled marker is a difference with p < 0.05 after Holm's adjustment over the differences of its dataset. Datasets on which the
    baseline or every other method is missing are left out.

    Args:
        baseline: a method (default: ``independent``, if it is one of several).

    Raises:
        UsageError: no such method, or its trials pair with those of no other method.
    """
    rows = differences([run for run in runs if len(run.trials)], baseline)
    if len(rows):
        methods = list(dict.fromkeys(rows["method"]))
        for lanes in _pages(rows):
            yield "gains", _draw(rows[rows["data"].isin([lane.data for lane in lanes])], lanes, methods)


def differences(runs: Sequence[Run], baseline: str | None = None) -> pd.DataFrame:
    """The rows of `compare` with a difference to the baseline, adjusted separately for each dataset.

    With ten pairs, p is at least 0.002, so with one adjustment over many datasets no difference could be significant.
    """
    if not runs:
        return pd.DataFrame()
    trials = gather(runs)
    baseline = baseline or default_baseline(trials)
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


def _pages(rows: pd.DataFrame) -> Iterator[list[_Lane]]:
    """Divide the datasets, in their order, into groups that fit on a page."""
    page: list[_Lane] = []
    top = 0.0
    for data, table in rows.groupby("data", sort=False):
        name = f"{textwrap.shorten(str(data), 60)} (n\u00a0=\u00a0{table['n'].max():.0f})"
        name = textwrap.fill(without_mark(name), 28)
        methods = tuple(dict.fromkeys(table["method"]))
        height = max(_METHOD * (len(methods) + 1), LINE * (2 + name.count("\n")))
        if page and top + height > _PAGE_HEIGHT:
            yield page
            page, top = [], 0.0
        page.append(_Lane(str(data), name, methods, top, height))
        top += height
    yield page


@dataclass(frozen=True)
class _Lane:
    """The place of a dataset in the figure.

    Attributes:
        name: its name beside the axis.
        methods: methods with a difference on it, from the top.
        top, height: in inches from the top of the panel.
    """

    data: str
    name: str
    methods: tuple[str, ...]
    top: float
    height: float

    def of(self, method: str) -> float:
        """The place of a method, in inches from the top of the panel."""
        place = (self.methods.index(method) + 1) / (len(self.methods) + 1)
        return self.top + self.height * (0.1 + 0.8 * place)


def _draw(rows: pd.DataFrame, lanes: Sequence[_Lane], methods: Sequence[str]) -> Figure:
    """Draw a page.

    Args:
        methods: the methods of all pages, whose places determine their look.
    """
    from matplotlib.lines import Line2D

    drawn = figure(PAGE, 1)
    members = [member for member in _MEMBERS if (rows["member"] == member).any()]
    panels = drawn.subplots(1, len(members), sharey=True, sharex=True, squeeze=False)[0]
    for axes, member in zip(panels, members, strict=True):
        _panel(axes, rows[rows["member"] == member], {lane.data: lane for lane in lanes}, methods)
        axes.set_title(member_name(member))
        axes.set_xlabel(textwrap.fill(f"test metric, difference to {rows['baseline'].iloc[0]} (points)", 48))
    height = lanes[-1].top + lanes[-1].height
    panels[0].set_yticks([lane.top + lane.height / 2 for lane in lanes], [lane.name for lane in lanes])
    panels[0].set_ylim(height, 0)
    grey: dict[str, Any] = {"color": "#555555", "linestyle": "", "marker": "o", "markersize": 5}
    kinds = [
        Line2D([], [], **grey, label="p < 0.05 (Holm, within a dataset)"),
        Line2D([], [], **grey, markerfacecolor="white", label="not significant"),
    ]
    none = f" (none with fewer than {FEWEST_PAIRS} seeds or {FEWEST_FOLDS} folds, or where differences are equal)"
    corrected = ", over folds and seeds of holdout with the corrected standard error" if (rows["test"] == CORRECTED_T).any() else ""
    lines = f"95 % confidence interval by Student's t{corrected}{none if rows['low'].isna().any() else ''}"
    note = (
        f"Points: mean of paired differences; lines: {lines}. n: pairs (seeds or folds). Tables adjust over all their datasets, and can "
        "have fewer marks."
    )
    return finished(drawn, panels, note, more=kinds, least=max(_LEAST, height))


def _panel(axes: Axes, rows: pd.DataFrame, lanes: Mapping[str, _Lane], methods: Sequence[str]) -> None:
    axes.axvline(0, color="#555555", linewidth=0.8)
    for index, method in enumerate(methods):
        shown = rows[rows["method"] == method]
        if shown.empty:
            continue
        look = line_style(index)
        height = np.array([lanes[data].of(method) for data in shown["data"]])
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
