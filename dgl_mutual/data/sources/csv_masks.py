"""Masks in a CSV folder: the splits that they make, and columns that look like masks and have the name of none."""

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
#: Numbers of parts or folds that a column has at most.
_MAX_PARTS = 20


def with_joined_masks(table: CsvTable, faults: Faults) -> CsvTable:
    """The table with a column ``train_mask`` in place of ``train_mask_0``, ``train_mask_1``, ..., with a value for each of them."""
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
    """The columns ``train_mask_0``, ``train_mask_1``, ... of each mask, with their numbers."""
    return {
        mask: {
            str(column): int(found[1]) for column in table.frame if (found := re.fullmatch(rf"{mask}[_. -]?([0-9]{{1,9}})", str(column)))
        }
        for mask in MASKS
    }


def read_splits(samples: CsvTable, faults: Faults) -> tuple[Split, ...]:
    """The splits of the masks: cells with commas have a value for each of several, and a mask without is the same in all of them."""
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
    """Which samples are in a part of each split: (samples, splits)."""
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
