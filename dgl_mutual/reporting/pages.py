"""Markdown pages whose tables are filled from run folders, so that no number in them is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

from dgl_mutual.errors import UsageError

_BEGIN, _END = "<!-- table:", "<!-- end of table -->"
#: What is, or was meant as, the first or last line of a block. Lines that are further indented are code.
_MARK = r"\ufeff? {0,3}<!--[^\S\n]*(?i:table[^\S\n]*:|end of table[^\S\n]*(?:-->|$))"
#: Whole lines, whose end may be that of Windows. A page may start with a mark of its byte order.
_BLOCK = (
    rf"^(?P<first>\ufeff?{_BEGIN} (?![^\S\n]*-->)(?P<arguments>.*) -->[ \t]*(?P<newline>\r?\n))"
    rf"(?:(?!{_MARK}).*\n)*"
    rf"(?P<last>{_END}[^\S\n]*)$"
)
#: Code between fences, whose lines are no marks. Without its last line it is not closed, and looked through.
_CODE = r"^ {0,3}(?P<fence>`{3,}(?!`)(?!.*`)|~{3,}).*(?:\n(?! {0,3}(?P=fence)[`~]*\s*$).*)*(?P<closed>\n {0,3}(?P=fence).*)?"
_BLOCK_OR_CODE = re.compile(rf"{_BLOCK}|{_CODE}", re.MULTILINE)
_MARKED = re.compile(rf"^{_MARK}", re.MULTILINE)


def fill(page: str, make_table: Callable[[str], str]) -> str:
    """The page with every block's table made again. All else stays to the letter.

    A block is ``<!-- table: ARGUMENTS -->``, what stands there now, ``<!-- end of table -->``, each on lines of its own, and not in code
    between fences (``` or ~~~).

    Args:
        make_table: arguments -> a table.

    Raises:
        UsageError: a block without an end or a beginning, or a line that is nearly one; says in which line. Also a page without blocks,
            and a table in which there is such a line.
    """
    rest = _BLOCK_OR_CODE.sub(lambda part: "\n" * part[0].count("\n") if part["first"] or part["closed"] else part[0], page)
    wrong = [(rest.count("\n", 0, mark.start()) + 1, rest[mark.start() :].partition("\n")[0]) for mark in islice(_MARKED.finditer(rest), 3)]
    if wrong:
        shown = ", ".join(f"line {number}: {line.strip()[:200]!r}" for number, line in wrong)
        raise UsageError(
            f"A table is not marked as it should be: {shown}. Write '{_BEGIN} ARGUMENTS -->' above each table and {_END} below it, at the "
            "beginning of lines of their own."
        )
    if not any(part["first"] for part in _BLOCK_OR_CODE.finditer(page)):
        raise UsageError(f"There is no table in it. Put '{_BEGIN} ARGUMENTS -->' and {_END} at the beginning of lines of their own.")

    def filled(block: re.Match[str]) -> str:
        if not block["first"]:
            return block[0]
        table = f"\n{make_table(block['arguments']).strip()}\n\n"
        if mark := _MARKED.search(table):
            line = table[mark.start() :].partition("\n")[0]
            raise UsageError(
                f"In the table of {block['arguments']!r} a line would be taken for the mark of one: {line[:200]!r}. Leave out that run, or "
                "rename its data or method."
            )
        return block["first"] + table.replace("\n", block["newline"]) + block["last"]

    return _BLOCK_OR_CODE.sub(filled, page)


def code(text: str, language: str) -> str:
    """Text between fences, so that nothing in it is Markdown or HTML."""
    fence = "`" * (1 + max(map(len, re.findall("`{2,}", text)), default=2))
    return f"{fence}{language}\n{text.strip()}\n{fence}\n"
