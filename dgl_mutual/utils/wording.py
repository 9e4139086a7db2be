"""Formatting of counts and values in messages."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence


def counted(number: int, one: str, several: str | None = None, *, form: str = "") -> str:
    """A number and what it counts: ``1 class``, ``2 classes``.

    Args:
        one: what one of them is called.
        several: what several are called, where it is not `one` with an s.
        form: how the number is written, for example ``,`` for 1,000.
    """
    return f"{number:{form}} {one if number == 1 else several or f'{one}s'}"


def assignments(values: Mapping[str, object]) -> str:
    """Names and their values: ``hidden=8, epochs=7``."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def kind_of(value: object) -> str:
    """What sort of value this is: ``an int``, ``a list``, ``a function``, ``None``."""
    if value is None:
        return "None"
    if inspect.isroutine(value):
        return "a function"
    name = type(value).__name__
    return f"{'an' if name == 'ndarray' or name[0].lower() in 'aeio' else 'a'} {name}"


def value_and_kind(value: object) -> str:
    """The start of a value, and its kind: ``'all' (a str)``, ``None``."""
    return "None" if value is None else f"{value!r:.60} ({kind_of(value)})"


def pipe_table(header: Sequence[str], rows: Sequence[Sequence[str]], num_labels: int | None = None) -> str:
    """A table of Markdown, whose cells are Markdown without bars that are not escaped.

    Args:
        num_labels: the columns after so many are aligned to the right (default: none is).
    """
    labels = len(header) if num_labels is None else num_labels
    rule = "|".join("---" if index < labels else "---:" for index in range(len(header)))
    return "\n".join([_pipe_row(header), f"|{rule}|", *map(_pipe_row, rows)])


def _pipe_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def aligned(rows: Sequence[Sequence[str]], num_labels: int = 1) -> list[str]:
    """Rows of cells as lines, for a screen: the first `num_labels` columns begin, and the others end, in one place each."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if index < num_labels else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return lines
