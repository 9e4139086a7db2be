"""Mutual learning of small graph neural networks on DGL.

    >>> import dgl_mutual
    >>> dataset = dgl_mutual.load("digits")
    >>> result = dgl_mutual.fit(dataset, students="gcn,gat", strategy="gml", seed=0)

The names below are imported on first use: importing the package alone loads neither torch nor DGL.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from dgl_mutual.version import __version__

if TYPE_CHECKING:
    from dgl_mutual.api import fit, load, load_student

# Without it DGL asks for a backend and writes the answer into the user's home.
os.environ.setdefault("DGLBACKEND", "pytorch")

__all__ = ["__version__", "fit", "load", "load_student"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("dgl_mutual.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
