"""``dgl-mutual status``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_mutual.cli.arguments import PATH
from dgl_mutual.cli.output import say


@click.command()
@click.argument("folder", type=PATH, metavar="DIR")
def command(folder: Path) -> None:
    """List done, failed and missing trials. DIR is the folder of a run or a suite, or a folder that contains runs.

    Exit status 1 if any trial failed or is missing.

    \b
    Example:
      dgl-mutual status results/suite-node
    """
    from dgl_mutual.reporting.status import status_of

    status = status_of(folder)
    for run in status.runs:
        _say(f"{run.num_done} done, {len(run.failed)} failed, {run.num_missing} missing   {run.name}   {run.folder}")
        for line in run.failed:
            _say(f"  failed   {line}")
        for line in run.missing:
            say(f"  missing  {line}")
        if run.num_missing > len(run.missing):
            say(f"  missing  ... and {run.num_missing - len(run.missing)} more")
    for name, why in status.not_begun.items():
        _say(f"  missing  {name}: {why}")
    if not status.is_complete:
        raise click.exceptions.Exit(1)


def _say(text: str) -> None:
    """Print one entry. Further lines, as some messages have, are indented, so that none looks like an entry."""
    say("\n           ".join(text.splitlines()))
