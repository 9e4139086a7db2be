"""Datasets: loading by name or folder, checking, splitting, fetching. Nothing here knows of models; names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dgl_mutual.data.catalog import Entry, catalog, find_entry
    from dgl_mutual.data.dataset import Dataset, Split, Target, canonical_edges
    from dgl_mutual.data.load import load_dataset

_HOMES = {
    "dgl_mutual.data.catalog": ("Entry", "catalog", "find_entry"),
    "dgl_mutual.data.dataset": ("Dataset", "Split", "Target", "canonical_edges"),
    "dgl_mutual.data.load": ("load_dataset",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["Dataset", "Entry", "Split", "Target", "canonical_edges", "catalog", "find_entry", "load_dataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
