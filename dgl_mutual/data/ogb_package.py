"""Facts and evaluators from the `ogb` package, without its dataset classes and their imports."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from dgl_mutual.data.target import MetricName
from dgl_mutual.errors import DataError

_METRICS: dict[str, MetricName] = {"rocauc": "rocauc", "ap": "ap"}


@dataclass(frozen=True)
class MasterFacts:
    """What OGB's ``master.csv`` says of a dataset."""

    num_tasks: int
    metric: MetricName


def master_facts(name: str) -> MasterFacts:
    """Look `name` up in the table that the `ogb` package ships."""
    column = pd.read_csv(_file("graphproppred/master.csv"), index_col=0)[name]
    return MasterFacts(int(column["num tasks"]), _METRICS[column["eval metric"]])


@dataclass(frozen=True)
class NodeFacts:
    """What OGB's ``master.csv`` says of a node dataset.

    Attributes:
        split: name of the split that it is evaluated on.
        num_classes: of each task.
    """

    split: str
    num_classes: int


def node_facts(name: str) -> NodeFacts | None:
    """Look `name` up in the table of node datasets that the `ogb` package ships; None where it is not among them."""
    table = pd.read_csv(_file("nodeproppred/master.csv"), index_col=0)
    return NodeFacts(str(table[name]["split"]), int(table[name]["num classes"])) if name in table else None


def feature_widths() -> tuple[list[int], list[int]]:
    """How many values each feature of an atom has, and each of a bond."""
    module = _load("utils/features.py")
    atoms: Sequence[int] = module.get_atom_feature_dims()
    bonds: Sequence[int] = module.get_bond_feature_dims()
    return list(atoms), list(bonds)


def make_evaluator(name: str) -> Any:
    """OGB's own `Evaluator` of a graph (``ogbg-...``) or node (``ogbn-...``) dataset."""
    return _load(f"{'nodeproppred' if name.startswith('ogbn-') else 'graphproppred'}/evaluate.py").Evaluator(name)


@cache
def _load(file: str) -> ModuleType:
    """One module of `ogb` by itself.

    Importing the package would ask the package index for a newer version, and its subpackages import every graph library that is installed.
    """
    spec = importlib.util.spec_from_file_location(f"_ogb_{file.removesuffix('.py').replace('/', '_')}", _file(file))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _file(name: str) -> Path:
    """A file of the `ogb` package, which is found without being imported.

    Raises:
        DataError: it is not installed.
    """
    spec = importlib.util.find_spec("ogb")
    if spec is None or spec.origin is None:
        raise DataError("OGB's datasets need the package ogb, which is not installed. Install it: pip install ogb")
    return Path(spec.origin).parent / name
