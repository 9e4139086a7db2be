"""Optimisation history of a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dgl_mutual.reporting.plots.style import COLOURS, COLUMN, figure, finished, title, whole_numbers
from dgl_mutual.store.tables import read_tuning

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tuning_history(folder: Path, name: str, splits: int) -> Figure:
    """Plot the validation metric of each trial of a search, in order, and the best so far. Failed trials are on the axis.

    Args:
        folder: folder of a search (see `dgl_mutual.experiments.tuning.search.Tuning`).
        name: name of the method and data, for the title.
        splits: number of trainings of each configuration.

    Raises:
        StoreError: tuning.csv is damaged.
    """
    history = read_tuning(folder)
    drawn = figure(COLUMN, 2.9)
    axes = drawn.subplots()
    for index, (state, marker) in enumerate((("complete", "o"), ("pruned", "x"))):
        rows = history[history["state"] == state].dropna(subset="value")
        if len(rows):
            axes.plot(rows["trial"], rows["value"], marker, color=COLOURS[index], label=state)
    best = history.dropna(subset="best")
    axes.step(best["trial"], best["best"], where="post", color=COLOURS[2], label="best so far")
    failed = history[history["state"] == "failed"]
    if len(failed):
        axes.plot(
            failed["trial"], [0] * len(failed), "v", color=COLOURS[-1], label="failed", transform=axes.get_xaxis_transform(), clip_on=False
        )
    whole_numbers(axes, "trial")
    axes.set_ylabel("validation metric, mean student")
    title(axes, f"{name}: search on validation")
    mean = "" if splits == 1 else f", mean over n = {splits} trainings of a configuration"
    cut = " Of a pruned trial, the last value before it was stopped." if (history["state"] == "pruned").any() else ""
    return finished(drawn, [axes], f"Points: trials{mean}. The search starts with what was given and all other defaults.{cut}")
