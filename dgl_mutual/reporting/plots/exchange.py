"""Mean divergence of students from their targets by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from dgl_mutual.reporting.plots.curves import over_trials
from dgl_mutual.reporting.plots.style import COLUMN, figure, file_name, finished, line_style, plain_powers, title, whole_numbers
from dgl_mutual.reporting.run import Run, by_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PREFIX = "exchange/"
#: Nats below which the axis is linear, down to zero.
_LEAST = 1e-3


def exchanged_information(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure per data, with a line per method: KL from the target to the member's own prediction, averaged over members and trials.

    If a line falls to zero early, the members have stopped learning from each other.
    """
    measured = [run for run in runs if any(name.startswith(_PREFIX) for name in run.history.columns)]
    for data, here in by_data(measured).items():
        yield file_name("exchange", data), _draw(data, here)


def exchange_of(run: Run) -> pd.Series[float]:
    """Nats by epoch, averaged over the members that were taught in it, and over trials."""
    columns = [name for name in run.history.columns if name.startswith(_PREFIX)]
    members = run.history[columns].mean(axis=1)
    taught = run.history[["seed", "fold", "epoch"]].assign(exchange=members).dropna(subset=["exchange"])
    return over_trials(taught, ["exchange"])["exchange", "mean"]


def _draw(data: str, runs: Sequence[Run]) -> Figure:
    drawn = figure(COLUMN, 2.9)
    axes = drawn.subplots()
    lines = [exchange_of(run) for run in runs]
    for index, (run, nats) in enumerate(zip(runs, lines, strict=True)):
        axes.plot(nats.index, nats, label=run.method, markevery=max(1, len(nats) // 5), **line_style(index))
    if all((nats > _LEAST).all() for nats in lines):
        if max(nats.max() for nats in lines) > 4 * min(nats.min() for nats in lines):  # otherwise few ticks would have numbers
            axes.set_yscale("log")
    else:  # a logarithmic axis has no zero
        axes.set_yscale("symlog", linthresh=_LEAST)
        axes.set_ylim(bottom=0)
    if axes.get_yscale() != "linear":
        plain_powers(axes.yaxis)
    whole_numbers(axes)
    axes.set_ylabel("KL(target ‖ own prediction) [nats]")
    title(axes, f"{data}: exchanged information")
    axes.margins(x=0.01)
    numbers = sorted({len(run.finished) for run in runs})
    note = f"Mean over members and over n = {' or '.join(map(str, numbers))} trials of each method, from the first epoch that teaches."
    return finished(drawn, [axes], note, columns=3)
