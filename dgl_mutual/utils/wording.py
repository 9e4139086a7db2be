"""Formatting of counts and values in messages."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence


def counted(number: int, one: str, several: str | None = None, *, form: str = "") -> str:
    """Format a count with its noun: ``1 class``, ``2 classes``.

    Args:
        one: the noun in the singular.
        several: its plural, if it is not `one` with an s.
        form: format of the number, for example ``,`` for 1,000.
    """
    return f"{number:{form}} {one if number == 1 else several or f'{one}s'}"


def assignments(values: Mapping[str, object]) -> str:
    """Names and their values: ``hidden=8, epochs=7``."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def kind_of(value: object) -> str:
    """The type of a value with its article: ``an int``, ``a list``, ``a function``, ``None``."""
    if value is None:
        return "None"
    if inspect.isroutine(value):
        return "a function"
    name = type(value).__name__
    return f"{'an' if name == 'ndarray' or name[0].lower() in 'aeio' else 'a'} {name}"


def value_and_kind(value: object) -> str:
    """The start of a value, and its type: ``'all' (a str)``, ``None``."""
    return "None" if value is None else f"{value!r:.60} ({kind_of(value)})"


def pipe_table(header: Sequence[str], rows: Sequence[Sequence[str]], num_labels: int | None = None) -> str:
    """Format a Markdown table, whose cells are Markdown without unescaped bars.

    Args:
        num_labels: number of left-aligned columns; the others are right-aligned (default: all are left-aligned).
    """
    labels = len(header) if num_labels is None else num_labels
    rule = "|".join("---" if index < labels else "---:" for index in range(len(header)))
    return "\n".join([_pipe_row(header), f"|{rule}|", *map(_pipe_row, rows)])


def _pipe_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def aligned(rows: Sequence[Sequence[str]], num_labels: int = 1) -> list[str]:
    """Format rows of cells as aligned lines for a screen: the first `num_labels` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if index < num_labels else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return lines
