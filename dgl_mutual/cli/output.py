"""What commands show and write. All output goes through here, since names in it may come from untrusted files."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import click

from dgl_mutual.utils.files import is_special
from dgl_mutual.utils.safe_text import terminal_text

#: Characters of an error or a warning that are shown; the longest that this package writes itself have a few thousand.
_MOST = 20_000


def say(text: str, *, err: bool = False) -> None:
    """Print text with control characters removed; to standard error at most its first `_MOST` characters.

    What standard error does not take is lost: it must not cost a result.
    """
    if err and len(text) > _MOST:
        text = f"{text[:_MOST]}...\n({len(text) - _MOST:,} more characters are not shown)"
    with suppress(OSError) if err else nullcontext():
        click.echo(terminal_text(text), err=err)


def deliver(text: str, output: Path | None, note: str = "") -> None:
    """Write a result to `output`, or without one to standard output: byte for byte, unless that is a terminal.

    Args:
        note: follows the line that says where it was written.

    Raises:
        UsageError: see `dgl_mutual.store.outputs.refuse_kept`.
        StoreError: it cannot be written.
    """
    if output is None or output == Path("-"):
        click.echo(terminal_text(text) if sys.stdout.isatty() else text, nl=False)
        return
    from dgl_mutual.store.outputs import write_result

    write_result(output, text)
    if not is_special(output):  # the line might end up in the middle of the result
        say(f"Written to {output}{note}")
