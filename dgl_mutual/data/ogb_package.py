"""What the `ogb` package is asked: facts of its datasets and its evaluator, without its dataset classes and all that they import."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

from dgl_mutual.data.dataset import MetricName

_METRICS: dict[str, MetricName] = {"rocauc": "rocauc", "ap": "ap"}


@dataclass(frozen=True)
class MasterFacts:
    """What OGB's ``master.csv`` says of a dataset."""

    num_tasks: int
    metric: MetricName
    url: str


def master_facts(name: str) -> MasterFacts:
    """Look `name` up in the table that the `ogb` package ships."""
    with resources.as_file(resources.files("ogb").joinpath("graphproppred/master.csv")) as path:
        column = pd.read_csv(path, index_col=0)[name]
    return MasterFacts(int(column["num tasks"]), _METRICS[column["eval metric"]], str(column["url"]))


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
    with resources.as_file(resources.files("ogb").joinpath("nodeproppred/master.csv")) as path:
        table = pd.read_csv(path, index_col=0)
    return NodeFacts(str(table[name]["split"]), int(table[name]["num classes"])) if name in table else None


def make_evaluator(name: str) -> Any:
    """OGB's own `Evaluator` of a graph (``ogbg-...``) or node (``ogbn-...``) dataset.

    Its module is loaded by itself: importing `ogb.graphproppred` would bring in every graph library that is installed.
    """
    return _evaluate_module("nodeproppred" if name.startswith("ogbn-") else "graphproppred").Evaluator(name)


@cache
def _evaluate_module(room: str) -> Any:
    with resources.as_file(resources.files("ogb").joinpath(f"{room}/evaluate.py")) as path:
        spec = importlib.util.spec_from_file_location(f"_ogb_{room}_evaluate", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module
