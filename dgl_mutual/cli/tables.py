"""``dgl-mutual tables``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgl_mutual.cli.arguments import UserPath, refuse_repeated
from dgl_mutual.cli.export import command as export_command
from dgl_mutual.cli.output import say
from dgl_mutual.errors import DglMutualError, UsageError
from dgl_mutual.store.files import ALL_FILE, SUITE_FILE

if TYPE_CHECKING:
    from dgl_mutual.reporting.run import Run

    _Read = tuple[list[Run], str | None]

#: The most bytes of a page.
_MAX_BYTES = 1 << 26


@click.command()
@click.argument("paths", nargs=-1, required=True, type=UserPath(exists=True), metavar="PAGE.md|DIR...")
@click.option("--check", is_flag=True, help="Change nothing; exit status 1 if a file is out of date.")
def command(paths: tuple[Path, ...], check: bool) -> None:
    """Update the tables of Markdown pages, and of every suite below a folder.

    In a page, the text between these two lines is replaced by the output of 'dgl-mutual export' with these arguments.
    Folders are relative to the page. CSV and LaTeX are put into code blocks.

    \b
      <!-- table: results/suite-node --percent --members mean,ensemble -->
      <!-- end of table -->

    \b
    Examples:
      dgl-mutual tables results README.md
      dgl-mutual tables README.md --check
    """
    from dgl_mutual.reporting.suite_tables import suite_tables
    from dgl_mutual.store.outputs import write_result
    from dgl_mutual.utils.files import write_text

    read = cache(read_runs)  # most tables of a page are of a few suites, and reading one takes longer than making a table of it
    texts: dict[Path, str] = {}
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob(SUITE_FILE)):
                texts |= suite_tables(file.parent, read((file.parent,))[0])
        else:
            texts[path] = filled(path, read)
    if not texts:
        say(f"There is no suite below {', '.join(map(str, paths))}, so there is nothing to make.")
        return
    if check:  # all.csv can be made again from trials.csv, so it may be missing
        texts = {file: text for file, text in texts.items() if file.name != ALL_FILE or file.exists()}
    stale = [file for file, text in texts.items() if not file.exists() or _text(file) != text]
    for file in stale:
        if not check:
            write = write_result if file in paths else write_text  # pages that users name may be links; files of a suite may not
            write(file, texts[file])
        say(f"{'Out of date:' if check else 'Written to'} {file}")
    if not stale:
        say("Nothing to change: all tables are up to date.")
    if stale and check:
        raise click.exceptions.Exit(1)


def read_runs(folders: tuple[Path, ...]) -> _Read:
    """The runs of folders, and the baseline of their suite."""
    from dgl_mutual.reporting.runs import load_runs, preferred_baseline

    return load_runs(folders), preferred_baseline(folders)


def filled(page: Path, read: Callable[[tuple[Path, ...]], _Read]) -> str:
    """The text of a page with its tables updated.

    Args:
        read: `read_runs`, which may keep its results.

    Raises:
        UsageError: a table cannot be made, or has no end; the message names it.
    """
    from dgl_mutual.reporting.pages import fill

    text = _text(page)
    try:
        return fill(text, partial(_table, page.parent, read))
    except UsageError as error:
        raise UsageError(f"{page}: {error}") from None


def _text(file: Path) -> str:
    from dgl_mutual.utils.files import read_bytes

    try:
        return read_bytes(file, _MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(file)!r} cannot be read ({error}). Give Markdown pages in UTF-8, and folders.") from None


def _table(folder: Path, read: Callable[[tuple[Path, ...]], _Read], arguments: str) -> str:
    from dgl_mutual.reporting.export import export
    from dgl_mutual.reporting.pages import code

    try:
        words = shlex.split(arguments)
        refuse_repeated(click.Context(export_command, info_name="table"), words)
        options = export_command.make_context("table", words, default_map={"kind": "markdown"}, help_option_names=[]).params
        if options.pop("out") is not None:
            raise UsageError("--out has no effect here: the table is written into this page. Leave it out.")
        paths, kind = tuple(folder / run for run in options.pop("runs")), options.pop("kind")
        runs, preferred = read(paths)
        table = export(runs, kind, preferred=preferred, **options)
        return table if kind == "markdown" else code(table, kind)
    except (DglMutualError, click.ClickException, ValueError) as error:
        why = error.format_message() if isinstance(error, click.ClickException) else str(error)
        raise UsageError(f"In the table of {arguments!r}: {why}") from None
