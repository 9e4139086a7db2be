"""Plots by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.reporting.plots.curves import learning_curves
from dgl_mutual.reporting.plots.exchange import exchanged_information
from dgl_mutual.reporting.plots.gains import gains
from dgl_mutual.reporting.plots.ranks import critical_differences
from dgl_mutual.reporting.plots.reliability import reliability_diagrams
from dgl_mutual.reporting.plots.similarity import similarity_matrices
from dgl_mutual.reporting.plots.time import accuracy_by_time
from dgl_mutual.reporting.plots.trends import accuracy_by_noise, accuracy_by_size
from dgl_mutual.reporting.plots.weights import weight_maps
from dgl_mutual.reporting.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Draw = Callable[..., Iterator[tuple[str, Figure]]]


@dataclass(frozen=True)
class Plot:
    """One kind of plot.

    Attributes:
        draw: yields figures of runs, each with a file name. It takes the runs, and the baseline if `has_baseline`.
        heading: its title in reports.
        needs: what it needs, for messages.
        has_baseline: whether it compares methods with a baseline.
    """

    draw: Draw
    heading: str
    needs: str
    has_baseline: bool = False

    def figures(self, runs: Sequence[Run], baseline: str | None = None) -> Iterator[tuple[str, Figure]]:
        """Draw the runs. The baseline is a method, or None for the default."""
        return self.draw(runs, baseline) if self.has_baseline else self.draw(runs)


#: The kinds of plots, in the order in which they are drawn; `PLOT_NAMES` has the same names.
PLOTS = {
    "gains": Plot(gains, "Difference to the baseline", "gains need a baseline, such as independent, and another method", has_baseline=True),
    "ranks": Plot(critical_differences, "Critical differences", "ranks need at least three methods on three datasets"),
    "cohort-size": Plot(accuracy_by_size, "Number of students", "cohort-size needs several runs that differ in their students alone"),
    "noise": Plot(accuracy_by_noise, "Noise", "noise needs several runs that differ in it"),
    "time": Plot(accuracy_by_time, "Accuracy against inference time", "time needs 'dgl-mutual time-inference RUN' first"),
    "curves": Plot(learning_curves, "Learning curves", "curves need a strategy that trains students"),
    "weights": Plot(weight_maps, "Weights of the peers", "weights need the strategy gml or okddip, and weights that are not uniform"),
    "exchange": Plot(exchanged_information, "Exchanged information", "exchange needs a strategy with an exchange"),
    "cka": Plot(similarity_matrices, "Similarity of hidden layers", "cka needs runs with training.diversity = true"),
    "reliability": Plot(reliability_diagrams, "Reliability of predicted probabilities", "reliability needs labels of the test part"),
}


def plots_need(kinds: Sequence[str] | None = None) -> str:
    """The requirements of some kinds of plots, as a sentence for messages.

    Args:
        kinds: names in `PLOTS` (default: all).
    """
    needs = "; ".join(PLOTS[kind].needs for kind in dict.fromkeys(kinds or PLOTS))
    return f"{needs[0].upper()}{needs[1:]}."


def draw(runs: Sequence[Run], kinds: Sequence[str] | None = None, baseline: str | None = None) -> Iterator[tuple[str, Figure]]:
    """Draw every plot for which these runs have data, each with a unique file name. Runs without a finished trial are left out.

    Args:
        kinds: names in `PLOTS` (default: all; without ranks if the runs cannot be combined in one table).
        baseline: the method with which plots compare the others (default: independent).

    Raises:
        UsageError: an unknown kind or baseline, or the runs cannot be combined in one table and nothing else can be drawn.
    """
    for kind in kinds or ():
        if not isinstance(kind, str) or kind not in PLOTS:
            raise unknown("plot", kind, PLOTS)
    runs = [run for run in runs if len(run.trials)]
    methods = dict.fromkeys(run.method for run in runs)
    if baseline is not None and baseline not in methods:
        raise unknown("method", baseline, methods)
    names: set[str] = set()
    refused = None
    for kind in kinds or PLOTS:
        try:
            for name, figure in PLOTS[kind].figures(runs, baseline):
                # Names of different runs may become equal as file names.
                numbered = (name, *(f"{name}-{number}" for number in range(2, len(names) + 2)))
                unused = next(candidate for candidate in numbered if candidate not in names)
                names.add(unused)
                yield unused, figure
        except UsageError as error:
            if kinds:
                raise
            refused = refused or error
    if refused is not None and not names:
        raise refused
