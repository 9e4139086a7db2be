"""Peer weights by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dgl_mutual.reporting.plots.curves import mean_text, over_trials
from dgl_mutual.reporting.plots.style import COLUMN, DIVERGING_MAP, cohort_order, figure, file_name, finished, title, whole_numbers
from dgl_mutual.reporting.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PREFIX = "weights/"
#: Weights whose largest difference from uniform weights is below this count as uniform.
_LEAST = 1e-6
#: Minimum height of the scale of weights in inches.
_SCALE = 0.8


def weight_maps(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure per run: the mean weight of each ordered pair of students over epochs, with lines between receivers.

    The colour map is centred on uniform weights, which are white, and covers all weights. Runs with only uniform weights are left out. A
    student's weight for itself is drawn only if it is not zero.
    """
    for run in runs:
        columns = sorted(
            (
                name
                for name in run.history.columns
                if name.startswith(_PREFIX) and not (_is_own(name) and (run.history[name].fillna(0) == 0).all())
            ),
            key=lambda name: [cohort_order(member) for member in name.removeprefix(_PREFIX).split("/")],
        )
        if not columns:
            continue
        statistics = over_trials(run.history, columns)
        means = pd.DataFrame({name.removeprefix(_PREFIX): statistics[name, "mean"] for name in columns})
        uniform = len({receiver for receiver, _ in _pairs(means)}) / len(columns)
        if np.nanmax((means - uniform).abs().to_numpy(), initial=0.0) > _LEAST:
            yield file_name("weights", run.data, run.method), _draw(run, means, uniform)


def _pairs(means: pd.DataFrame) -> list[list[str]]:
    return [str(pair).split("/") for pair in means]


def _is_own(name: str) -> bool:
    receiver, peer = name.removeprefix(_PREFIX).split("/")
    return receiver == peer


def _draw(run: Run, means: pd.DataFrame, uniform: float) -> Figure:
    """The figure of a run.

    Args:
        means: weights by epoch, mean over trials, with a column per ordered pair ``receiver/peer``.
        uniform: the weight of a peer if all are equal.
    """
    pairs = _pairs(means)
    drawn = figure(COLUMN, 1)
    axes = drawn.subplots()
    epochs = np.append(means.index, means.index[-1] + 1) - 0.5  # so that an epoch's tick is in the middle of its cell
    edges, values = np.arange(len(pairs) + 1), means.to_numpy().T
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    reach = max(uniform - low, high - uniform)
    image = axes.pcolormesh(epochs, edges, values, cmap=DIVERGING_MAP, vmin=uniform - reach, vmax=uniform + reach, rasterized=True)
    axes.set_yticks(np.arange(len(pairs)) + 0.5, [f"{listener} ← {peer}" for listener, peer in pairs])
    for index in range(1, len(pairs)):
        if pairs[index][0] != pairs[index - 1][0]:
            axes.axhline(index, color="black", linewidth=1.2)
    axes.invert_yaxis()
    axes.grid(False)
    whole_numbers(axes)
    title(axes, f"{run.data}: {run.method}")
    bar = drawn.colorbar(image, ax=axes, label="weight", pad=0.02)
    bar.ax.set_ylim(min(low, uniform), max(high, uniform))
    bar.ax.axhline(uniform, color="black", linewidth=1)
    note = (
        f"{mean_text([run]).capitalize()}. Receiver ← peer. White, and the line on the scale: uniform weights ({uniform:.3g}); "
        f"weights from {low:.3g} to {high:.3g}."
    )
    return finished(drawn, [axes], note, least=max(_SCALE, 0.16 * len(pairs)))
