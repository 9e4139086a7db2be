"""Facts and evaluators from the `ogb` package, without its dataset classes and their imports."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from dgl_mutual.data.files.number_tables import read_numbers
from dgl_mutual.data.values.faults import Faults
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import MetricName
from dgl_mutual.errors import DataError

_METRICS: dict[str, MetricName] = {"rocauc": "rocauc", "ap": "ap"}


def master_facts(name: str) -> tuple[int, MetricName]:
    """Number of tasks and metric of a graph dataset, from the table that the `ogb` package ships."""
    column = pd.read_csv(_file("graphproppred/master.csv"), index_col=0)[name]
    return int(column["num tasks"]), _METRICS[column["eval metric"]]


def node_facts(name: str) -> tuple[str, int] | tuple[None, None]:
    """The official split of a node dataset and its number of classes per task; None for both if `ogb` does not know it."""
    table = pd.read_csv(_file("nodeproppred/master.csv"), index_col=0)
    return (str(table[name]["split"]), int(table[name]["num classes"])) if name in table else (None, None)


def feature_widths() -> tuple[list[int], list[int]]:
    """The number of values of each feature of atoms and of bonds."""
    module = _load("utils/features.py")
    atoms: Sequence[int] = module.get_atom_feature_dims()
    bonds: Sequence[int] = module.get_bond_feature_dims()
    return list(atoms), list(bonds)


def make_evaluator(name: str) -> Any:
    """OGB's own `Evaluator` of a graph (``ogbg-...``) or node (``ogbn-...``) dataset."""
    return _load(f"{'nodeproppred' if name.startswith('ogbn-') else 'graphproppred'}/evaluate.py").Evaluator(name)


@cache
def _load(file: str) -> ModuleType:
    """Import a single module of `ogb`.

    Importing the package would query the package index for a newer version, and its subpackages import every installed graph library.
    """
    spec = importlib.util.spec_from_file_location(f"_ogb_{file.removesuffix('.py').replace('/', '_')}", _file(file))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _file(name: str) -> Path:
    """Find a file of the `ogb` package without importing it.

    Raises:
        DataError: it is not installed.
    """
    spec = importlib.util.find_spec("ogb")
    if spec is None or spec.origin is None:
        raise DataError("OGB's datasets need the package ogb, which is not installed. Install it: pip install ogb")
    return Path(spec.origin).parent / name


#: The files, in the order of the parts.
SPLIT_FILES = ("train.csv.gz", "valid.csv.gz", "test.csv.gz")


def read_split(folder: Path, num_samples: int | None, sample: str, faults: Faults) -> Split | None:
    """Read the split in a folder, or record why not and return None.

    Args:
        num_samples: number of samples; None if other faults make it unknown.
        sample: ``node`` or ``graph``.
    """
    tables = [table for file in SPLIT_FILES if (table := read_numbers(folder / file, faults, columns=1)) is not None]
    if num_samples is None or len(tables) < len(SPLIT_FILES):
        return None
    seen = np.zeros(num_samples, dtype=np.bool_)
    parts = []
    for table in tables:
        part = table.integers(faults)[:, 0]
        outside = (part < 0) | (part >= num_samples)
        table.refuse(faults, outside, f"expected a {sample} index 0 ... {num_samples - 1}")
        table.refuse(faults, seen[np.where(outside, 0, part)], f"expected each {sample} in one part of the split only")
        seen[part[~outside]] = True
        parts.append(part)
    return Split(*parts)
