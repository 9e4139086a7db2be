"""What is recorded of an epoch: one row, a number a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

HistoryRow: TypeAlias = dict[str, float]


def columns_of(means: Mapping[str, Any], names: Sequence[str], active: Sequence[int]) -> HistoryRow:
    """One column a number: ``loss/mutual/gat-1`` from (A,), ``weights/gat-1/gcn-0`` from (K, K), a scalar by its bare name.

    Args:
        means: nested lists or numbers by name, A of them for the active members.
        names: all members' names.
    """
    row: HistoryRow = {}
    for name, value in means.items():
        if not isinstance(value, list):
            row[name] = value
        elif value and isinstance(value[0], list):
            row.update({f"{name}/{names[i]}/{names[j]}": w for i, line in enumerate(value) for j, w in enumerate(line) if i != j})
        else:
            row.update({f"{name}/{names[k]}": entry for k, entry in zip(active, value, strict=True)})
    return row
