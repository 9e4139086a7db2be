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
    from dgl_mutual.coordinator import Weighting
    from dgl_mutual.data.dataset import Dataset
    from dgl_mutual.data.values.split import Split
    from dgl_mutual.experiment_api import experiment
    from dgl_mutual.reporting.experiment import Experiment
    from dgl_mutual.strategies.base.strategy import Strategy
    from dgl_mutual.training.callbacks import Callback
    from dgl_mutual.training.state import TrainingState

# Without it DGL asks for a backend and writes the answer into the user's home.
os.environ.setdefault("DGLBACKEND", "pytorch")

#: Name -> the module that it is imported from when it is first used.
_HOMES = {
    "Callback": "dgl_mutual.training.callbacks",
    "Dataset": "dgl_mutual.data.dataset",
    "Experiment": "dgl_mutual.reporting.experiment",
    "Split": "dgl_mutual.data.values.split",
    "Strategy": "dgl_mutual.strategies.base.strategy",
    "TrainingState": "dgl_mutual.training.state",
    "Weighting": "dgl_mutual.coordinator",
    "experiment": "dgl_mutual.experiment_api",
    "fit": "dgl_mutual.api",
    "load": "dgl_mutual.api",
    "load_student": "dgl_mutual.api",
}

__all__ = [
    "Callback",
    "Dataset",
    "Experiment",
    "Split",
    "Strategy",
    "TrainingState",
    "Weighting",
    "__version__",
    "experiment",
    "fit",
    "load",
    "load_student",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
