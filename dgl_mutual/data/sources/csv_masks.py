"""Masks in a CSV folder: the splits that they define, and columns that look like masks, but have other names."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_mutual.data.files.csv_table import CsvTable, without_brackets
from dgl_mutual.data.values.faults import Faults
from dgl_mutual.data.values.split import MASKS, Split, splits_of_masks
from dgl_mutual.errors import DataError, listed
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

#: ``train``, ``is_valid``, ``test_set``, ``val_idx_0``, ``TrainMask``, ...
_PART = re.compile(
    r"(?:(?:is|in)[_. -]?)?(?:train(?:ing)?|val(?:id(?:ation)?)?|dev|test(?:ing)?)[_. -]?(?:mask|set|split|idx|index|nodes?|graphs?)?"
    r"[_. -]?[0-9]*"
)
#: ``split``, ``cv_fold``, ``mask``, ``fold_id``, ...
_SPLIT = re.compile(r"(?:(?:cv|data|train|official)[_. -]?)?(?:masks?|splits?|folds?)[_. -]?(?:id|idx|index|no|nr)?[_. -]?[0-9]*")
_TRUE, _FALSE = ("true", "1", "1.0"), ("false", "0", "0.0")
_BOOLEANS = {*_TRUE, *_FALSE, "yes", "no", ""}
#: The most distinct values, which are parts or folds, of a column that looks like a mask.
_MAX_PARTS = 20


def with_joined_masks(table: CsvTable, faults: Faults) -> CsvTable:
    """Join columns ``train_mask_0``, ``train_mask_1``, ... to a column ``train_mask`` with a value for each of them."""
    frame, numbered = table.frame, numbered_masks(table)
    if len({tuple(sorted(numbers.values())) for numbers in numbered.values() if numbers}) > 1:
        columns = listed([column for numbers in numbered.values() for column in numbers])
        faults.add(table.path, f"expected masks of the same splits, with the same numbers for each part, found {columns}", 1)
    for mask, numbers in numbered.items():
        ordered = sorted(numbers, key=numbers.__getitem__)
        if ordered and mask in frame:
            rule = f"expected either the column {mask} or {listed(ordered)}, which are masks of several splits, found both"
            faults.add(table.path, rule, 1)
        elif ordered:
            joined = frame[ordered[0]].str.cat(frame[ordered[1:]], sep=",") if ordered[1:] else frame[ordered[0]]
            frame = frame.drop(columns=ordered).assign(**{mask: joined})
    return replace(table, frame=frame)


def numbered_masks(table: CsvTable) -> dict[str, dict[str, int]]:
    """The numbered columns ``train_mask_0``, ``train_mask_1``, ... of each mask, and their numbers."""
    return {
        mask: {
            str(column): int(found[1]) for column in table.frame if (found := re.fullmatch(rf"{mask}[_. -]?([0-9]{{1,9}})", str(column)))
        }
        for mask in MASKS
    }


def read_splits(samples: CsvTable, faults: Faults) -> tuple[Split, ...]:
    """The splits of the masks. Cells with commas have a value for each of several splits; a mask without commas is the same in all."""
    present = [mask for mask in MASKS if mask in samples.frame]
    if not present:
        return ()
    if len(present) < len(MASKS):
        faults.add(samples.path, f"expected {', '.join(MASKS)} together, found only {', '.join(present)}", 1)
        return ()
    before = len(faults.found)
    masks = {mask: _mask(samples, mask, faults) for mask in MASKS}
    if len(faults.found) > before:
        return ()
    try:
        splits = splits_of_masks(masks)
    except DataError as error:
        faults.add(samples.path, str(error).removesuffix("."))
        return ()
    for number, split in enumerate(splits):
        where = f" in split {number}" if len(splits) > 1 else ""
        in_several = np.bincount(np.concatenate([*split.parts.values()]), minlength=len(samples.frame)) > 1
        samples.refuse(faults, in_several, f"masks: expected each sample in one part of the split only{where}")
        for mask, part in zip(MASKS, split.parts.values(), strict=True):
            if not len(part):
                faults.add(samples.path, f"{mask}: expected at least one sample{where}")
    return splits


def _mask(samples: CsvTable, mask: str, faults: Faults) -> npt.NDArray[np.bool_]:
    """Read a mask: (samples, splits)."""
    cells = without_brackets(samples.frame[mask]).str.lower()
    counts = cells.str.count(",").to_numpy() + 1
    width = int(counts.max(initial=1))
    samples.refuse_cells(faults, mask, counts != width, f"expected {counted(width, 'value')}, one for each split")
    if (counts != width).any():  # one long cell must not make a table of as many columns
        return np.zeros((len(cells), 1), dtype=np.bool_)
    values = pd.DataFrame([[value.strip() for value in cell.split(",")] for cell in cells], dtype=str)
    samples.refuse_cells(faults, mask, ~values.isin([*_TRUE, *_FALSE]).all(axis=1).to_numpy(), "expected True or False")
    return values.isin(_TRUE).to_numpy()


def warn_of_masks(table: CsvTable, columns: Collection[str], use: str) -> set[str]:
    """Warn of columns that look like masks, and return them.

    Such a column has the name of a part and only booleans, or the name of a split and few values: a test score is not a mask.

    Args:
        use: how the columns are used, for example ``used as features``.
    """
    masks = [column for column in map(str, table.frame) if column in columns and _looks_like_mask(table, column)]
    if masks:
        they_look = "looks like a mask, but is" if len(masks) == 1 else "look like masks, but are"
        warn(
            f"{table.path}: {listed(masks, 8)} {they_look} {use}. Masks are called {', '.join(MASKS[:-1])} and "
            f"{MASKS[-1]}, and have True or False in each row. If these mark the parts of a split, write such columns instead."
        )
    return set(masks)


def _looks_like_mask(table: CsvTable, column: str) -> bool:
    name = column.strip().casefold()
    if name in MASKS:
        return False
    cells = table.frame[column].str.casefold()
    if _PART.fullmatch(name):
        return bool(cells.isin(_BOOLEANS).all())
    return _SPLIT.fullmatch(name) is not None and cells.nunique() <= _MAX_PARTS
