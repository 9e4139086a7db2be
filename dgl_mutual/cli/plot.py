"""``dgl-mutual plot``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_mutual.cli.arguments import PATH
from dgl_mutual.cli.export import dataset_option, method_option, runs_argument
from dgl_mutual.cli.output import say
from dgl_mutual.reporting.plot_names import PLOT_NAMES


@click.command()
@runs_argument
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="NAMES",
    help=f"Figures to draw: {', '.join(PLOT_NAMES)} (default: all).",
)
@dataset_option
@method_option
@click.option(
    "--baseline", metavar="METHOD", help="Method with which gains compare the others (default: that of the suite, else independent)."
)
@click.option("--out", type=PATH, default=Path("plots"), show_default=True, help="Output folder.")
def command(
    runs: tuple[Path, ...], kinds: tuple[str, ...], datasets: tuple[str, ...], methods: tuple[str, ...], baseline: str | None, out: Path
) -> None:
    """Draw figures of runs, as PDF and PNG. RUN is the folder of a run or a suite, or a folder that contains runs.

    \b
    Examples:
      dgl-mutual plot results --kind curves,weights --out plots
      dgl-mutual plot results/suite-node --kind gains --method independent --method gml
    """
    from dgl_mutual.errors import UsageError
    from dgl_mutual.reporting.baseline import baseline_of
    from dgl_mutual.reporting.plots import draw, plots_need
    from dgl_mutual.reporting.plots.style import drawing, save
    from dgl_mutual.reporting.runs import chosen_runs, load_runs, preferred_baseline
    from dgl_mutual.utils.files import check_writable

    check_writable(out)
    chosen = chosen_runs(load_runs(runs), datasets, methods)
    named = list(dict.fromkeys(kind.strip() for text in kinds for kind in text.split(",")))
    any_drawn = False
    with drawing():
        for name, figure in draw(chosen, named, baseline or baseline_of(chosen, preferred_baseline(runs))):
            any_drawn = True
            say("\n".join(str(file) for file in save(figure, out, name)))
    if not any_drawn:
        subject = f"the plot {' or '.join(map(repr, named))}" if named else "any plot"
        raise UsageError(f"These runs have no data for {subject}. {plots_need(named)}")
