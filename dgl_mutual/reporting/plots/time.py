"""Accuracy against inference time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from dgl_mutual.reporting.comparison import split_by
from dgl_mutual.reporting.plots.style import COLUMN, PAGE, figure, file_name, finished, line_style, marker, plain_powers, text_width, title
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import gather
from dgl_mutual.reporting.tables import metric_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracy_by_time(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure per dataset: the test metric of each student and the ensemble against its inference time.

    Times are medians and quartiles of inference.csv (``dgl-mutual time-inference``). Runs without this file are left out. The metric is the
    mean over trials with one standard deviation (ddof = 1). Colour: method; marker: member.
    """
    timed = [run for run in runs if len(run.trials) and len(run.inference)]
    if not timed:
        return
    # A suite may name a folder several times, and folders in different places may have the same name.
    times = pd.concat([run.inference.assign(run=folder) for folder, run in {str(run.folder): run for run in timed}.items()])
    for data, trials in split_by(gather(timed), "metric").groupby("data", sort=False):
        groups = trials.groupby(["run", "method", "member"], sort=False)
        means = groups.agg(test=("test", "mean"), spread=("test", "std"), count=("test", "count")).reset_index()
        points = means.merge(times, on=["run", "member"])
        if len(points):
            yield file_name("time", str(data)), _draw(str(data), points, metric_name(trials["metric"].iloc[0]))


def _draw(data: str, points: pd.DataFrame, metric: str) -> Figure:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator

    methods, members = list(dict.fromkeys(points["method"])), list(dict.fromkeys(points["member"]))
    width = COLUMN if text_width(methods) < 0.8 else PAGE
    drawn = figure(width, 2.5 + 0.16 * (len(methods) + len(members)) / 3)
    axes = drawn.subplots()
    for (method, member), rows in points.groupby(["method", "member"], sort=False):
        middle = rows["median_ms"].to_numpy(float)
        axes.errorbar(
            middle,
            rows["test"].to_numpy(float),
            # Lists: matplotlib 3.10 converts an array of one number to a number, and NumPy warns.
            xerr=[(middle - rows["quartile_1_ms"]).tolist(), (rows["quartile_3_ms"] - middle).tolist()],
            yerr=rows["spread"].fillna(0).to_numpy(float),
            fmt=marker(members.index(member)),
            color=line_style(methods.index(method))["color"],
            markeredgecolor="white",
            markersize=5.5,
            alpha=0.75,  # a point below another one remains visible
            elinewidth=0.7,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    plain_powers(axes.xaxis)
    threads = _numbers(points["threads"])
    axes.set_xlabel(f"inference time (ms, {_numbers(points['samples'])} samples, {threads} thread{'' if threads == '1' else 's'})")
    axes.set_ylabel(f"test {metric}")
    title(axes, data)
    kinds = [Line2D([], [], color="#555555", linestyle="", marker=marker(index), label=name) for index, name in enumerate(members)]
    colours = [Line2D([], [], label=name, color=line_style(index)["color"], linewidth=4) for index, name in enumerate(methods)]
    note = (
        f"Horizontal: median and quartiles of {_numbers(points['repeats'])} passes, one member at a time. "
        f"Vertical: mean and standard deviation of {_numbers(points['count'])} trials."
    )
    return finished(drawn, [axes], note, columns=3, more=[*colours, *kinds])


def _numbers(values: pd.Series[int]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
