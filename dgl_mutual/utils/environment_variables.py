"""Environment variables that libraries read while they are imported: with a wrong one, a library that is sound cannot be imported."""

from __future__ import annotations

import os

from dgl_mutual.errors import listed

#: What the names of those of tqdm, DGL and torch start with.
_PREFIXES = ("TQDM_", "DGL", "TORCH_", "PYTORCH_")
_OURS = "DGL_MUTUAL_"
#: What this package sets itself, and DGL has to have.
_RIGHT = ("DGLBACKEND", "pytorch")


def set_for_libraries() -> list[str]:
    """The names of those that are set, and may be wrong."""
    there = (name for name, value in os.environ.items() if (name, value) != _RIGHT)
    return sorted(name for name in there if name.startswith(_PREFIXES) and not name.startswith(_OURS))


def shown_values(names: list[str]) -> str:
    """``DGLBACKEND = 'mxnet', TQDM_ASCII = '1'``."""
    return listed([f"{name} = {os.environ[name]!r}" for name in names])
