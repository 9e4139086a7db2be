"""Environment variables that libraries read during their import, and that can make it fail."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timezone

from dgl_mutual.errors import listed

#: Prefixes of the variables of tqdm, DGL and torch.
_PREFIXES = ("TQDM_", "DGL", "TORCH_", "PYTORCH_")
_OURS = "DGL_MUTUAL_"
#: Set by this package, and required by DGL.
_RIGHT = ("DGLBACKEND", "pytorch")
#: The build date in seconds since 1970: numpy reads it during the import of scipy, and matplotlib when it writes a figure.
SOURCE_DATE = "SOURCE_DATE_EPOCH"


def set_for_libraries() -> list[str]:
    """The names of set variables that may be wrong."""
    others = (name for name, value in os.environ.items() if (name, value) != _RIGHT)
    names = [name for name in others if name.startswith(_PREFIXES) and not name.startswith(_OURS)]
    return sorted([*names, SOURCE_DATE] if has_wrong_source_date() else names)


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
