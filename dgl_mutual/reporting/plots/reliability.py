"""Reliability diagrams."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from dgl_mutual.reporting.plots.curves import trials_text
from dgl_mutual.reporting.plots.style import COLUMN, figure, file_name, finished, line_style
from dgl_mutual.reporting.run import Run, by_data
from dgl_mutual.store.columns import NUM_BINS
from dgl_mutual.store.members import ENSEMBLE, MEAN, MLP_MEMBER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Minimum number of decisions in a bin: the accuracy of smaller bins is mostly chance.
FEWEST = 10
_SINGLE = (ENSEMBLE, MLP_MEMBER, "teacher", "leader")
#: The lines; each has the same style in all panels.
_LINES = ("students", *_SINGLE)


def reliability_diagrams(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure per data and target, with a panel per method: accuracy by confidence on the test part.

    One line shows all decisions of all students in all trials, another those of the ensemble. Below the diagonal, a member is
    overconfident. Bars: share of the students' decisions in each bin. The title has the expected calibration error, mean over trials.
    """
    measured = [run for run in runs if len(run.reliability)]
    for data, here in by_data(measured).items():
        metrics = list(dict.fromkeys(metric for run in here for metric in run.reliability["metric"]))
        for metric in metrics:
            named = (data, metric) if len(metrics) > 1 else (data,)
            yield file_name("reliability", *named), _draw(named, metric, [run for run in here if metric in set(run.reliability["metric"])])


def pooled_bins(run: Run, metric: str) -> dict[str, pd.DataFrame]:
    """``students``, ``ensemble``, ...: by bin, ``count`` of decisions over all trials, their ``accuracy`` and mean ``confidence``."""
    rows = run.reliability[run.reliability["metric"] == metric]
    lines = rows["member"].where(rows["member"].isin(_SINGLE), "students")
    sums = rows.assign(line=lines, accuracy=rows["accuracy"] * rows["count"], confidence=rows["confidence"] * rows["count"])
    by_line = {}
    for line in dict.fromkeys(["students", *lines]):
        bins = sums[sums["line"] == line].groupby("bin")[["count", "accuracy", "confidence"]].sum()
        if len(bins):
            by_line[line] = bins.assign(accuracy=bins["accuracy"] / bins["count"], confidence=bins["confidence"] / bins["count"])
    return by_line


def _draw(named: tuple[str, ...], metric: str, runs: Sequence[Run]) -> Figure:
    columns = min(4, len(runs))
    rows = -(-len(runs) // columns)
    drawn = figure(max(COLUMN, 0.6 + 1.75 * columns), 0.85 + 2.0 * rows)
    panels = drawn.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, run in zip(panels, runs, strict=False):
        _panel(axes, run, metric)
    for axes in panels[: len(runs) : columns]:
        axes.set_ylabel("share of right decisions")
    for axes in panels[len(runs) :]:
        axes.axis("off")
    drawn.suptitle(textwrap.fill(f"{', '.join(named)}: reliability on the test part", 15 + 26 * columns), fontsize=8)
    note = (
        f"Decisions of {' or '.join(sorted({trials_text(run) for run in runs}))} together, in {NUM_BINS} bins of confidence; bins with "
        f"fewer than {FEWEST} are left out of lines. ECE: mean over trials."
    )
    return finished(drawn, panels, note, least=1.3, rows=rows)


def _panel(axes: Axes, run: Run, metric: str) -> None:
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, linestyle="--")
    for line, bins in pooled_bins(run, metric).items():
        if line == "students":
            share, edges = bins["count"] / bins["count"].sum(), bins.index.to_numpy() / NUM_BINS
            axes.bar(edges, share, 1 / NUM_BINS, align="edge", color="#dddddd", label="share of students' decisions")
        enough = bins[bins["count"] >= FEWEST]
        axes.plot(enough["confidence"], enough["accuracy"], label=line, clip_on=False, **line_style(_LINES.index(line)))
    errors = run.trials[run.trials["metric"] == metric].groupby("member")["ece"].mean()
    shown = ", ".join(
        f"{errors[member]:.3f} ({name})" for member, name in ((MEAN, "mean student"), (ENSEMBLE, "ensemble")) if member in errors
    )
    axes.set_title("\n".join((*textwrap.wrap(run.method, 26), *textwrap.wrap(f"ECE {shown}", 30))), fontsize=7)
    axes.set_xlabel("confidence")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
