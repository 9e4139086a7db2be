"""Datasets: loading by name or folder, checking, splitting, fetching. Nothing here knows of models; names are imported when first used.

Each module imports only from modules listed before it:

values          what a dataset is made of: features, edges, labels and splits
files, objects      reading untrusted files; arrays and graphs in memory
dataset         the class; start reading here
fingerprint, schema     its hash; the meaning of its columns and labels
features_of_edges, positions, scaling, several_targets      features and targets that are derived from others
conversion      loading from memory
protocols, label_rate, pool, noise      splits, hidden labels, unlabelled graphs, and disturbances
sources, describe       loading by name or folder; statistics
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dgl_mutual.data.dataset import Dataset
    from dgl_mutual.data.describe import describe_dataset
    from dgl_mutual.data.protocols import available_protocols, default_protocol, make_splits
    from dgl_mutual.data.sources.catalog import Entry, find_entry, known_datasets
    from dgl_mutual.data.sources.load import fetch_dataset, load_dataset
    from dgl_mutual.data.sources.verify import verify_dataset
    from dgl_mutual.data.values.edges import canonical_edges
    from dgl_mutual.data.values.faults import Fault
    from dgl_mutual.data.values.split import Split
    from dgl_mutual.data.values.target import Target

__all__ = [
    "Dataset",
    "Entry",
    "Fault",
    "Split",
    "Target",
    "available_protocols",
    "canonical_edges",
    "default_protocol",
    "describe_dataset",
    "fetch_dataset",
    "find_entry",
    "known_datasets",
    "load_dataset",
    "make_splits",
    "verify_dataset",
]

_HOMES = {
    "sources.catalog": ("Entry", "find_entry", "known_datasets"),
    "dataset": ("Dataset",),
    "describe": ("describe_dataset",),
    "values.edges": ("canonical_edges",),
    "values.faults": ("Fault",),
    "sources.load": ("fetch_dataset", "load_dataset"),
    "protocols": ("available_protocols", "default_protocol", "make_splits"),
    "values.split": ("Split",),
    "values.target": ("Target",),
    "sources.verify": ("verify_dataset",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
