"""Check of the row order of pandas tables: they are read row by row, and an index that says otherwise is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dgl_mutual.errors import DataError


def refuse_other_order(tables: Mapping[str, Any], *, numbered: bool = True) -> None:
    """Refuse pandas tables whose rows are in another order than their index says. Other values are not checked.

    Args:
        tables: tables by their names in messages; an index must not be a permutation of an earlier one.
        numbered: whether an index must not be a permutation of 0, 1, ... either; false for rows without numbers, such as edges.

    Raises:
        DataError: such an index: the rows would be assigned to the wrong samples or edges.
    """
    earlier: list[tuple[str, pd.Index[Any]]] = []
    for what, values in tables.items():
        if not isinstance(values, pd.DataFrame | pd.Series):
            continue
        index = values.index
        numbers = [("counts from 0 on", pd.RangeIndex(len(index)))] if numbered else []
        for others, order in [*numbers, *earlier]:
            if not index.equals(order) and len(index) == len(order) and set(index) == set(order):
                row = next(row for row, (entry, other) in enumerate(zip(index, order, strict=True)) if entry != other)
                raise DataError(
                    f"{what}: the index {others}, but in another order: row {row} has the index {index.tolist()[row]!r}. Rows are read in "
                    "their order, whatever their index. Sort them with .sort_index() or .loc, or, if their order is right, drop the index: "
                    ".reset_index(drop=True)."
                )
        earlier.append((f"has the same entries as that of {what}", index))
