"""``dgl-mutual report``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_mutual.cli.export import runs_argument
from dgl_mutual.cli.output import deliver


@click.command()
@runs_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="The page.")
def command(runs: tuple[Path, ...], output: Path) -> None:
    """Make one HTML page of runs: tables, plots, configuration, environment. It does not load other files.

    RUN is the folder of a run or a suite, or a folder that contains runs.

    \b
    Example:
      dgl-mutual report results/suite-node -o node.html
    """
    from dgl_mutual.reporting.report import report

    deliver(report(runs), output)
