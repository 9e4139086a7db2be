"""Markdown pages whose tables are generated from run folders, so that no number is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

from dgl_mutual.errors import UsageError

_BEGIN, _END = "<!-- table:", "<!-- end of table -->"
#: A line that is, or was meant as, the first or last line of a block. Lines with more indentation are code.
_MARK = r"\ufeff? {0,3}<!--[^\S\n]*(?i:table[^\S\n]*:|end of table[^\S\n]*(?:-->|$))"
#: Whole lines, possibly with Windows line ends. A page may start with a byte order mark.
_BLOCK = (
    rf"^(?P<first>\ufeff?{_BEGIN} (?![^\S\n]*-->)(?P<arguments>.*) -->[ \t]*(?P<newline>\r?\n))"
    rf"(?:(?!{_MARK}).*\n)*"
    rf"(?P<last>{_END}[^\S\n]*)$"
)
#: Fenced code, whose lines are not marks. A block without its last line is searched for marks.
_CODE = r"^ {0,3}(?P<fence>`{3,}(?!`)(?!.*`)|~{3,}).*(?:\n(?! {0,3}(?P=fence)[`~]*\s*$).*)*(?P<closed>\n {0,3}(?P=fence).*)?"
_BLOCK_OR_CODE = re.compile(rf"{_BLOCK}|{_CODE}", re.MULTILINE)
_MARKED = re.compile(rf"^{_MARK}", re.MULTILINE)


def fill(page: str, make_table: Callable[[str], str]) -> str:
    """Regenerate the table of each block of a page. Nothing else changes.

    A block is ``<!-- table: ARGUMENTS -->``, the current content, and ``<!-- end of table -->``, on separate lines, and outside of
    fenced code (``` or ~~~).

    Args:
        make_table: arguments -> a table.

    Raises:
        UsageError: a block without an end or a beginning, or a line that resembles one, with its line number; a page without blocks; or
            a table that contains such a line.
    """
    rest = _BLOCK_OR_CODE.sub(lambda part: "\n" * part[0].count("\n") if part["first"] or part["closed"] else part[0], page)
    wrong = [(rest.count("\n", 0, mark.start()) + 1, rest[mark.start() :].partition("\n")[0]) for mark in islice(_MARKED.finditer(rest), 3)]
    if wrong:
        shown = ", ".join(f"line {number}: {line.strip()[:200]!r}" for number, line in wrong)
        raise UsageError(
            f"A table is marked incorrectly: {shown}. Write '{_BEGIN} ARGUMENTS -->' above each table and {_END} below it, at the "
            "beginning of separate lines."
        )
    if not any(part["first"] for part in _BLOCK_OR_CODE.finditer(page)):
        raise UsageError(f"There is no table in it. Put '{_BEGIN} ARGUMENTS -->' and {_END} at the beginning of separate lines.")

    def filled(block: re.Match[str]) -> str:
        if not block["first"]:
            return block[0]
        table = f"\n{make_table(block['arguments']).strip()}\n\n"
        if mark := _MARKED.search(table):
            line = table[mark.start() :].partition("\n")[0]
            raise UsageError(
                f"In the table of {block['arguments']!r} a line would be read as the mark of a table: {line[:200]!r}. Leave out that run, "
                "or rename its data or method."
            )
        return block["first"] + table.replace("\n", block["newline"]) + block["last"]

    return _BLOCK_OR_CODE.sub(filled, page)


def code(text: str, language: str) -> str:
    """Format text as a fenced code block, so that no Markdown or HTML in it has an effect."""
    fence = "`" * (1 + max(map(len, re.findall("`{2,}", text)), default=2))
    return f"{fence}{language}\n{text.strip()}\n{fence}\n"
