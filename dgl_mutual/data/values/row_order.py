"""Tables of pandas are taken row by row, whatever their index; here, those whose index says that another order was meant are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dgl_mutual.errors import DataError


def refuse_other_order(tables: Mapping[str, Any], *, numbered: bool = True) -> None:
    """Refuse tables of pandas whose rows stand in another order than their index says. Anything else is not checked.

    Args:
        tables: by their names in messages; an index must not have the entries of an earlier one in another order.
        numbered: an index must not count the rows from 0 on in another order, either; false where rows have no number, as edges.

    Raises:
        DataError: such an index: the rows were meant for other samples, or edges, than those that they would be given to.
    """
    earlier: list[tuple[str, pd.Index[Any]]] = []
    for what, values in tables.items():
        if not isinstance(values, pd.DataFrame | pd.Series):
            continue
        index = values.index
        numbers = [("counts from 0 on", pd.RangeIndex(len(index)))] if numbered else []
        for others, order in [*numbers, *earlier]:
            if not index.equals(order) and len(index) == len(order) and set(index) == set(order):
                row = next(row for row, (own, other) in enumerate(zip(index, order, strict=True)) if own != other)
                raise DataError(
                    f"{what}: the index {others}, but in another order: row {row} has the index {index.tolist()[row]!r}. Rows are taken as "
                    "they stand, whatever their index. Sort them with .sort_index() or .loc, or, if they stand in the right order, leave "
                    "the index out: .reset_index(drop=True)."
                )
        earlier.append((f"has the entries of that of {what}", index))
