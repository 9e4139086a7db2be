"""Similarity (linear CKA) of the students' hidden layers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dgl_mutual.reporting.plots.curves import mean_text
from dgl_mutual.reporting.plots.style import COLOUR_MAP, cohort_order, figure, file_name, finished
from dgl_mutual.reporting.run import Run, by_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PREFIX = "diversity/cka/"


def similarity_matrices(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure per data, with a panel per method: linear CKA between students in the last epoch, mean over trials."""
    measured = [run for run in runs if any(name.startswith(_PREFIX) for name in run.history.columns)]
    for data, here in by_data(measured).items():
        yield file_name("cka", data), _draw(data, here)


def _draw(data: str, runs: Sequence[Run]) -> Figure:
    columns = min(4, len(runs))
    rows = -(-len(runs) // columns)
    drawn = figure(0.9 + 1.75 * columns, 0.65 + 1.9 * rows)
    panels = drawn.subplots(rows, columns, squeeze=False).ravel()
    for axes, run in zip(panels, runs, strict=False):
        names, matrix = cka_matrix(run)
        image = axes.imshow(matrix, vmin=0, vmax=1, cmap=COLOUR_MAP)
        for a, b in np.ndindex(matrix.shape):
            # Dark text on light colours.
            axes.text(b, a, f"{matrix[a, b]:.2f}", ha="center", va="center", fontsize=6, color="black" if matrix[a, b] > 0.6 else "white")
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.grid(False)
        axes.set_title(textwrap.fill(run.method, 26))
    for axes in panels[len(runs) :]:
        axes.axis("off")
    drawn.colorbar(image, ax=list(panels), label="linear CKA", shrink=0.7, pad=0.02)
    drawn.suptitle(textwrap.fill(f"{data}: similarity of hidden layers", 15 + 26 * columns), fontsize=8)
    return finished(drawn, panels, f"Last epoch, {mean_text(runs)}.", least=1.4, rows=rows)


def cka_matrix(run: Run) -> tuple[list[str], npt.NDArray[Any]]:
    """Names of the students and the symmetric matrix (K, K) between them; 1 on the diagonal."""
    columns = [name for name in run.history.columns if name.startswith(_PREFIX)]
    last = run.history.dropna(subset=columns, how="all").groupby(["seed", "fold"])[columns].last().mean()
    pairs = {tuple(str(name).removeprefix(_PREFIX).split("/")): value for name, value in last.items()}
    names = sorted({name for pair in pairs for name in pair}, key=cohort_order)
    matrix = np.eye(len(names))
    for (a, b), value in pairs.items():
        matrix[names.index(a), names.index(b)] = matrix[names.index(b), names.index(a)] = value
    return names, matrix
