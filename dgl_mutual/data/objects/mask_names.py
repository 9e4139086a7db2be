"""Columns of a CSV folder that look like masks, by their names and cells, and have the name of none."""

from __future__ import annotations

import re
from collections.abc import Collection

from dgl_mutual.data.files.csv_table import CsvTable
from dgl_mutual.data.values.split import MASKS
from dgl_mutual.errors import listed
from dgl_mutual.utils.custom_code import warn

#: ``train``, ``is_valid``, ``test_set``, ``val_idx_0``, ``TrainMask``, ...
_PART = re.compile(
    r"(?:(?:is|in)[_. -]?)?(?:train(?:ing)?|val(?:id(?:ation)?)?|dev|test(?:ing)?)[_. -]?(?:mask|set|split|idx|index|nodes?|graphs?)?"
    r"[_. -]?[0-9]*"
)
#: ``split``, ``cv_fold``, ``mask``, ``fold_id``, ...
_SPLIT = re.compile(r"(?:(?:cv|data|train|official)[_. -]?)?(?:masks?|splits?|folds?)[_. -]?(?:id|idx|index|no|nr)?[_. -]?[0-9]*")
_BOOLEANS = {"true", "false", "yes", "no", "0", "1", "0.0", "1.0", ""}
#: Numbers of parts or folds that a column has at most.
_MAX_PARTS = 20


def warn_of_masks(table: CsvTable, columns: Collection[str], use: str) -> set[str]:
    """Warn of those of these columns that look like masks. Returns them.

    A mask with the name of a part holds only booleans, and one with the name of a split few values: a test score is not a mask.

    Args:
        use: what becomes of the columns, for example ``used as features``.
    """
    found = [column for column in map(str, table.frame) if column in columns and _looks_like_mask(table, column)]
    if found:
        named = listed(found, 8)
        they_look = "looks like a mask, and is" if len(found) == 1 else "look like masks, and are"
        warn(
            f"{table.path}: {named} {they_look} {use}. Masks are called {', '.join(MASKS[:-1])} and "
            f"{MASKS[-1]}, and have True or False in each row. If these mark the parts of a split, write such columns instead."
        )
    return set(found)


def _looks_like_mask(table: CsvTable, column: str) -> bool:
    name = column.strip().casefold()
    if name in MASKS:
        return False
    cells = table.frame[column].str.casefold()
    if _PART.fullmatch(name):
        return bool(cells.isin(_BOOLEANS).all())
    return _SPLIT.fullmatch(name) is not None and cells.nunique() <= _MAX_PARTS
