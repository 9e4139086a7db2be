"""Environment variables that libraries read while they are imported: with a wrong one, a library that is sound cannot be imported."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timezone

from dgl_mutual.errors import listed

#: What the names of those of tqdm, DGL and torch start with.
_PREFIXES = ("TQDM_", "DGL", "TORCH_", "PYTORCH_")
_OURS = "DGL_MUTUAL_"
#: What this package sets itself, and DGL has to have.
_RIGHT = ("DGLBACKEND", "pytorch")
#: The date of what is built, in seconds since 1970: numpy reads it while scipy is imported, and matplotlib when it writes a figure.
SOURCE_DATE = "SOURCE_DATE_EPOCH"


def set_for_libraries() -> list[str]:
    """The names of those that are set, and may be wrong."""
    there = (name for name, value in os.environ.items() if (name, value) != _RIGHT)
    found = [name for name in there if name.startswith(_PREFIXES) and not name.startswith(_OURS)]
    return sorted([*found, SOURCE_DATE] if has_wrong_source_date() else found)


def has_wrong_source_date() -> bool:
    """Whether `SOURCE_DATE` is set, but is not a date."""
    value = os.environ.get(SOURCE_DATE)
    if value is None:
        return False
    with suppress(ValueError, OverflowError, OSError):
        datetime.fromtimestamp(int(value), timezone.utc)
        return False
    return True


def shown_values(names: list[str]) -> str:
    """``DGLBACKEND = 'mxnet', TQDM_ASCII = '1'``."""
    return listed([f"{name} = {os.environ[name]!r}" for name in names])
