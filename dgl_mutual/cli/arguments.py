"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dgl_mutual.errors import MAX_JOBS, MAX_THREADS

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Data folder, only read (default: $DGL_MUTUAL_DATA, else ./data). Downloads go to the user's cache.",
)
targets_option = click.option("--targets", metavar="NAMES", help="Which targets, for example digit,even (default: all of the dataset).")
trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Import the code that the file names as package.module:Class, which executes it (default: only what the command line names).",
)


class _FileOption(click.Option):
    """``-o`` or ``--out``. ``--output`` means the same, and is not in the help."""

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(context)
        return None if record is None else (record[0].replace(", --output", ""), record[1])


def file_option(*, help: str, metavar: str, default: Path | None = None) -> Callable[[Any], Any]:
    """The option that names the file that a command writes."""
    names = ("-o", "--out", "--output", "out")
    kind = click.Path(path_type=Path)
    return click.option(*names, cls=_FileOption, type=kind, default=default, show_default=True, metavar=metavar, help=help)


#: The types of --threads and --jobs.
THREADS = click.IntRange(1, MAX_THREADS)
JOBS = click.IntRange(1, MAX_JOBS)
offline_option = click.option("--offline", is_flag=True, help="Never download.")
track_option = click.option(
    "--track",
    multiple=True,
    metavar="NAME",
    callback=lambda context, option, names: tuple(name.strip() for given in names for name in given.split(",")),
    help="Also log to a tracker: tensorboard, mlflow or wandb; one tracked run per trial (default: none).",
)
