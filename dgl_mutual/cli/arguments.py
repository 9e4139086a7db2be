"""Options shared by several commands, and checks of the options of all commands."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dgl_mutual.utils.arguments import MAX_JOBS, MAX_THREADS
from dgl_mutual.utils.paths import user_path


class UserPath(click.Path):
    """A file or folder. ``~`` is expanded, since most shells do not expand it in ``--out=~/runs``."""

    def __init__(self, *, exists: bool = False) -> None:
        super().__init__(exists=exists, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | bytes | os.PathLike[str]:
        return super().convert(user_path(value), param, ctx)


#: The type of all paths that need not exist.
PATH = UserPath()

data_dir_option = click.option(
    "--data-dir",
    type=PATH,
    help="Data folder (default: $DGL_MUTUAL_DATA). It is only read; downloads go to your cache. Without either: ./data, downloads too.",
)
targets_option = click.option(
    "--targets",
    metavar="NAMES",
    help="Targets to use, for example digit,even (default: all targets; in a CSV folder, the column 'label').",
)
trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Import, and so execute, code that the file names as package.module:Class (default: only code named on the command line).",
)


def file_option(*, help: str, metavar: str, default: Path | None = None) -> Callable[[Any], Any]:
    """The option for the output file of a command."""
    return click.option("-o", "--out", type=PATH, default=default, show_default=True, metavar=metavar, help=help)


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


def was_given(name: str | None) -> bool:
    """Whether the option with this name was given on the command line."""
    return click.get_current_context().get_parameter_source(name or "") is ParameterSource.COMMANDLINE


def refuse_repeated(context: click.Context, arguments: Sequence[str]) -> None:
    """Raise `click.UsageError` for a repeated option that takes one value: click would silently use the last one."""
    command = context.command
    try:
        _, rest, order = command.make_parser(context).parse_args(args=list(arguments))
    except click.UsageError:  # the command itself reports it
        return
    for parameter, times in Counter(order).items():
        if times > 1 and isinstance(parameter, click.Option) and not parameter.multiple and not parameter.is_flag:
            name = next(name for name in parameter.opts if name.startswith("--"))
            raise click.UsageError(f"{name} was given {times} times, and takes one value. Leave out all but one.", context)
    if isinstance(command, click.Group) and rest:
        below = command.get_command(context, rest[0])
        if below is not None:
            refuse_repeated(click.Context(below, info_name=rest[0], parent=context), rest[1:])
