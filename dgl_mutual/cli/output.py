"""Output of commands. All of it goes through here, since names in it may come from untrusted files."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import click

from dgl_mutual.utils.files import is_special
from dgl_mutual.utils.safe_text import terminal_text

#: Maximum length of an error or a warning in characters; the longest of this package have a few thousand.
_MOST = 20_000


def say(text: str, *, err: bool = False) -> None:
    """Print text without control characters; to standard error, at most its first `_MOST` characters.

    Failures to write to standard error are ignored: they must not cost a result.
    """
    if err and len(text) > _MOST:
        text = f"{text[:_MOST]}...\n({len(text) - _MOST:,} more characters are not shown)"
    with suppress(OSError) if err else nullcontext():
        click.echo(terminal_text(text), err=err)


def deliver(text: str, output: Path | None, note: str = "") -> None:
    """Write a result to `output`, or to standard output if it is None or ``-``: byte for byte, unless that is a terminal.

    Args:
        note: appended to the line that says where the result was written.

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
