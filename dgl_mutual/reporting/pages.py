"""Markdown pages whose tables are filled from run folders, so that no number in them is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable

from dgl_mutual.errors import UsageError

_BEGIN, _END = "<!-- table:", "<!-- end of table -->"
#: The first line of a block, whose end may be that of Windows. A page may start with a mark of its byte order.
_FIRST = re.compile(rf"\ufeff?{_BEGIN} (?P<arguments>.*) -->[ \t]*(?P<newline>\r?\n)")
_LAST = re.compile(rf"{_END}\s*")
#: What was meant as one of the two. Lines that are further indented are code.
_NEARLY = re.compile(r"^\ufeff? {0,3}<!--\s*(table\s*:|end of table\s*(-->|$))", re.IGNORECASE | re.MULTILINE)


def fill(page: str, make_table: Callable[[str], str]) -> str:
    """The page with every block's table made anew. All else stays to the letter.

    A block is ``<!-- table: ARGUMENTS -->``, what stands there now, ``<!-- end of table -->``, each on lines of its own.

    Args:
        make_table: arguments -> a table.

    Raises:
        UsageError: a block without an end or a beginning, or a line that is nearly one; says in which line. Also a page without blocks.
    """
    if not _NEARLY.search(page):
        raise UsageError(f"There is no table in it. Put '{_BEGIN} ARGUMENTS -->' and {_END} at the beginning of lines of their own.")
    filled: list[str] = []
    begun: tuple[int, re.Match[str]] | None = None
    for number, line in enumerate(page.split("\n"), start=1):
        line += "\n"
        if line.removeprefix("\ufeff").startswith(_BEGIN):
            first = _FIRST.fullmatch(line)
            if first is None or not first["arguments"].strip():
                raise UsageError(
                    f"Line {number} begins a table, but is {line.strip()[:200]!r}. Write '{_BEGIN} ARGUMENTS -->' in one line."
                )
            if begun is not None:
                raise _without_end(begun[0])
            begun = number, first
            filled.append(line)
        elif line.startswith(_END):
            if begun is None or not _LAST.fullmatch(line):
                raise UsageError(
                    f"Line {number} ends a table that has not begun, or has other text: {line.strip()[:200]!r}. Put "
                    f"'{_BEGIN} ARGUMENTS -->' on a line above, and nothing but {_END} here."
                )
            table, newline = make_table(begun[1]["arguments"]).strip(), begun[1]["newline"]
            filled += [f"\n{table}\n\n".replace("\n", newline), line]
            begun = None
        elif _NEARLY.match(line):
            raise UsageError(
                f"Line {number} is nearly the beginning or end of a table: {line.strip()[:200]!r}. Write '{_BEGIN} ARGUMENTS -->' or "
                f"{_END}, at the beginning of the line."
            )
        elif begun is None:
            filled.append(line)
    if begun is not None:
        raise _without_end(begun[0])
    return "".join(filled)[:-1]


def _without_end(number: int) -> UsageError:
    return UsageError(f"The table that begins in line {number} has no end. Put {_END} on a line of its own before the next table.")
