"""``dgl-mutual report``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_mutual.cli.arguments import file_option, was_given
from dgl_mutual.cli.export import runs_argument
from dgl_mutual.cli.output import deliver


@click.command()
@runs_argument
@file_option(metavar="FILE.html", default=Path("report.html"), help="Output file.")
def command(runs: tuple[Path, ...], out: Path) -> None:
    """Make an HTML report of runs with tables, plots, configuration and environment: one page that loads no other files.

    RUN is the folder of a run or a suite, or a folder that contains runs.

    \b
    Example:
      dgl-mutual report results/suite-node --out node.html
    """
    from dgl_mutual.reporting.report import report
    from dgl_mutual.store.outputs import refuse_foreign, refuse_other_endings

    refuse_other_endings(out, (".html", ".htm"))
    if not was_given("out"):
        refuse_foreign(out)
    deliver(report(runs), out)
