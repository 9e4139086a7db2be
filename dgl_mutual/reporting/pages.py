"""Markdown pages whose tables are made from run folders, so that no figure in them is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable

from dgl_mutual.errors import UsageError

_BEGIN, _END = "<!-- table: ", "<!-- end of table -->"
_BLOCK = re.compile(rf"^{_BEGIN}(?P<arguments>.*?) -->\n.*?^{_END}$", flags=re.MULTILINE | re.DOTALL)


def fill(page: str, make_table: Callable[[str], str]) -> str:
    """The page with every block's table made anew.

    A block is ``<!-- table: ARGUMENTS -->``, what stands there now, ``<!-- end of table -->``, each on lines of its own.

    Args:
        make_table: arguments -> a table.

    Raises:
        UsageError: a block without an end.
    """
    filled = _BLOCK.sub(lambda block: f"{_BEGIN}{block['arguments']} -->\n\n{make_table(block['arguments']).strip()}\n\n{_END}", page)
    begun, ended = (len(re.findall(f"^{re.escape(mark)}", filled, flags=re.MULTILINE)) for mark in (_BEGIN, _END))
    if not begun == ended == len(_BLOCK.findall(filled)):
        raise UsageError(f"{begun} tables begin ({_BEGIN}... -->) and {ended} end ({_END}). Give each both lines, one after the other.")
    return filled
