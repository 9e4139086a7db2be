"""The files of a split in OGB's form: one for each part, with a sample's number in each line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dgl_mutual.data.faults import Faults
from dgl_mutual.data.number_tables import read_numbers
from dgl_mutual.data.split import Split

#: The files, in the order of the parts.
SPLIT_FILES = ("train.csv.gz", "valid.csv.gz", "test.csv.gz")


def read_split(folder: Path, num_samples: int | None, sample: str, faults: Faults) -> Split | None:
    """The split in a folder, or None after recording why there is none.

    Args:
        num_samples: None where that is not known, because of other faults.
        sample: what a sample is: ``node`` or ``graph``.
    """
    tables = [table for file in SPLIT_FILES if (table := read_numbers(folder / file, faults, columns=1)) is not None]
    if num_samples is None or len(tables) < len(SPLIT_FILES):
        return None
    seen = np.zeros(num_samples, dtype=np.bool_)
    parts = []
    for table in tables:
        part = table.integers(faults)[:, 0]
        outside = (part < 0) | (part >= num_samples)
        table.refuse(faults, outside, f"expected a {sample} number 0 ... {num_samples - 1}")
        table.refuse(faults, seen[np.where(outside, 0, part)], f"expected each {sample} in one part of the split only")
        seen[part[~outside]] = True
        parts.append(part)
    return Split(*parts)
