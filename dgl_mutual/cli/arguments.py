"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Data folder, only read (default: $DGL_MUTUAL_DATA, else ./data). Downloads go to the user's cache.",
)
offline_option = click.option("--offline", is_flag=True, help="Never download.")
