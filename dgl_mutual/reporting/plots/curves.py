"""Learning curves on validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from dgl_mutual.reporting.plots.style import COLUMN, cohort_order, figure, file_name, finished, line_style, title, whole_numbers
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.tables import metric_name
from dgl_mutual.store.summary import what_n_counts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curves(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure per run: mean over its trials and a band of one standard deviation (ddof = 1), for each student and the ensemble."""
    for run in runs:
        columns = sorted((name for name in run.history.columns if name.startswith("val/")), key=cohort_order)
        if columns and len(run.trials):
            yield file_name("curves", run.data, run.method), _draw(run, columns)


def _draw(run: Run, columns: Sequence[str]) -> Figure:
    drawn = figure(COLUMN, 2.9)
    axes = drawn.subplots()
    statistics = over_trials(run.history, columns)
    for index, column in enumerate(columns):
        mean, spread = statistics[column, "mean"], statistics[column, "std"].fillna(0)
        style = line_style(index)
        marks = (len(mean) // 12 * (index % 3), max(1, len(mean) // 5))
        axes.plot(mean.index, mean, label=column.removeprefix("val/"), markevery=marks, **style)
        axes.fill_between(mean.index, mean - spread, mean + spread, color=style["color"], alpha=0.15, linewidth=0)
    whole_numbers(axes)
    axes.set_ylabel(f"validation {metric_name(run.overall['metric'].iloc[0])}")
    title(axes, f"{run.data}: {run.method}")
    axes.margins(x=0.01)
    bands = ", bands: one standard deviation (ddof = 1)" if len(run.finished) > 1 else ""
    return finished(drawn, [axes], f"Lines: {mean_text([run])}{bands}.")


def trials_text(run: Run) -> str:
    """The trials of a mean, as text: ``10 trials (n = 10 seeds)``, ``one trial``."""
    number = len(run.finished)
    return f"{number} trials (n = {number} {what_n_counts(run.overall)})" if number > 1 else "one trial"


def mean_text(runs: Sequence[Run]) -> str:
    """The trials of a mean, with its name: ``mean over 10 trials (n = 10 seeds)``, or ``one trial``, which has no mean."""
    texts = sorted({trials_text(run) for run in runs})
    return ("" if texts == ["one trial"] else "mean over ") + " or ".join(texts)


def over_trials(history: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Mean and standard deviation over trials by epoch, up to the last epoch that at least half of the trials reached."""
    epochs = history.dropna(subset=list(columns), how="all").groupby("epoch")
    count = epochs.size()
    reached = count.index[count >= count.max() / 2]
    return epochs[list(columns)].agg(["mean", "std"]).loc[reached]
