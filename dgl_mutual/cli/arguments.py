"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_mutual.errors import MAX_THREADS

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
#: The type of --threads.
THREADS = click.IntRange(1, MAX_THREADS)
offline_option = click.option("--offline", is_flag=True, help="Never download.")
track_option = click.option(
    "--track",
    multiple=True,
    metavar="NAME",
    callback=lambda context, option, names: tuple(name.strip() for given in names for name in given.split(",")),
    help="Also log to a tracker: tensorboard, mlflow or wandb; one tracked run per trial (default: none).",
)
