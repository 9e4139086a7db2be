"""How much each student learns from each of its peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dgl_mutual.reporting.plots.curves import over_trials
from dgl_mutual.reporting.plots.style import COLOUR_MAP, COLUMN, cohort_order, figure, file_name, title, whole_epochs
from dgl_mutual.reporting.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PREFIX = "weights/"


def weight_maps(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure a run: the mean weight of each ordered pair of students, over epochs; a line divides the receivers.

    A student's weight for itself is drawn only where it is not zero.
    """
    for run in runs:
        columns = sorted(
            (name for name in run.history.columns if name.startswith(_PREFIX) and not (_is_own(name) and (run.history[name] == 0).all())),
            key=lambda name: [cohort_order(member) for member in name.removeprefix(_PREFIX).split("/")],
        )
        if columns:
            yield file_name("weights", run.data, run.method), _draw(run, columns)


def _is_own(name: str) -> bool:
    receiver, peer = name.removeprefix(_PREFIX).split("/")
    return receiver == peer


def _draw(run: Run, columns: Sequence[str]) -> Figure:
    pairs = [name.removeprefix(_PREFIX).split("/") for name in columns]
    means = over_trials(run.history, columns).xs("mean", axis=1, level=1)[list(columns)]
    drawn = figure(COLUMN, 1.3 + 0.16 * len(pairs))
    axes = drawn.subplots()
    epochs = np.append(means.index, means.index[-1] + 1)
    edges, values = np.arange(len(pairs) + 1), means.to_numpy().T
    image = axes.pcolormesh(epochs, edges, values, cmap=COLOUR_MAP, vmin=0, vmax=1, rasterized=True)
    axes.set_yticks(np.arange(len(pairs)) + 0.5, [f"{listener} ← {peer}" for listener, peer in pairs])
    for place in range(1, len(pairs)):
        if pairs[place][0] != pairs[place - 1][0]:
            axes.axhline(place, color="white", linewidth=2)
    axes.invert_yaxis()
    axes.grid(False)
    whole_epochs(axes)
    title(axes, f"{run.data}: {run.method}")
    drawn.colorbar(image, ax=axes, label="weight", pad=0.02)
    return drawn
