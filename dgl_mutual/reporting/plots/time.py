"""What accuracy costs at inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from dgl_mutual.reporting.plots.style import COLUMN, PAGE, figure, file_name, line_style, marker, text_width, title
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import gather
from dgl_mutual.reporting.tables import metric_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Sums of others: they have no place of their own here.
_LEFT_OUT = ("mean", "best_by_val")


def accuracy_by_time(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure a dataset: each student and the ensemble, test metric (with one standard deviation, ddof = 1) against inference time.

    Colour and line: method; marker: member.
    """
    finished = [run for run in runs if len(run.trials)]
    if not finished:
        return
    for data, trials in gather(finished).groupby("data", sort=False):
        shown = trials[~trials["member"].isin(_LEFT_OUT)]
        groups = shown.groupby(["method", "member"], sort=False)
        means = groups.agg(inference_ms=("inference_ms", "mean"), test=("test", "mean"), spread=("test", "std")).fillna(0).reset_index()
        yield file_name("time", str(data)), _draw(str(data), means, metric_name(trials["metric"].iloc[0]))


def _draw(data: str, means: pd.DataFrame, metric: str) -> Figure:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    methods, members = list(dict.fromkeys(means["method"])), list(dict.fromkeys(means["member"]))
    width = COLUMN if text_width(methods) < 0.8 else PAGE
    drawn = figure(width, 2.3 + 0.16 * (len(methods) + len(members)) / 3)
    axes = drawn.subplots()
    for place, method in enumerate(methods):
        # The line says which points are of one method, where colours cannot be seen.
        points = means[means["method"] == method].sort_values("inference_ms")
        look = {**line_style(place), "marker": ""}
        axes.plot(points["inference_ms"], points["test"], alpha=0.6, linewidth=0.9, **look)
        axes.errorbar(points["inference_ms"], points["test"], points["spread"], fmt="none", ecolor=look["color"], elinewidth=0.6, alpha=0.6)
        for member, milliseconds, test in points[["member", "inference_ms", "test"]].itertuples(index=False):
            axes.plot(milliseconds, test, marker(members.index(member)), markersize=5.5, color=look["color"], markeredgecolor="white")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("inference time (ms, all test samples)")
    axes.set_ylabel(f"test {metric}")
    title(axes, data)
    kinds = [Line2D([], [], color="#555555", linestyle="", marker=marker(place), label=name) for place, name in enumerate(members)]
    lines = [Line2D([], [], label=name, **{**line_style(place), "marker": ""}) for place, name in enumerate(methods)]
    drawn.legend(handles=[*lines, *kinds], loc="outside lower center", ncols=3)
    return drawn
