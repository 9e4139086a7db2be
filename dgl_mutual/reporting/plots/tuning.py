"""How a search went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dgl_mutual.reporting.plots.style import COLOURS, COLUMN, figure, title
from dgl_mutual.store.tables import read_tuning

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tuning_history(folder: Path) -> Figure:
    """The validation metric of each trial of a search, in order, and the best so far. Failed trials stand on the axis.

    Args:
        folder: of a search (see `dgl_mutual.experiments.tuning.Tuning`).

    Raises:
        StoreError: tuning.csv is damaged.
    """
    from matplotlib.ticker import MaxNLocator

    history = read_tuning(folder)
    drawn = figure(COLUMN, 2.6)
    axes = drawn.subplots()
    for place, (state, marker) in enumerate((("complete", "o"), ("pruned", "x"))):
        rows = history[history["state"] == state].dropna(subset="value")
        if len(rows):
            axes.plot(rows["trial"], rows["value"], marker, color=COLOURS[place], label=state)
    best = history.dropna(subset="best")
    axes.step(best["trial"], best["best"], where="post", color=COLOURS[2], label="best so far")
    failed = history[history["state"] == "failed"]
    if len(failed):
        axes.plot(
            failed["trial"], [0] * len(failed), "v", color=COLOURS[-1], label="failed", transform=axes.get_xaxis_transform(), clip_on=False
        )
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("metric on validation, mean student")
    title(axes, folder.name)
    drawn.legend(loc="outside lower center", ncols=4)
    return drawn
