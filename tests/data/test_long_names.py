"""Messages about data stay short where names in the data are long, or many."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dgl_mutual import Dataset, Split, load
from dgl_mutual.data import make_splits
from dgl_mutual.data.label_rate import hide_labels
from dgl_mutual.data.schema import align_to
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DglMutualError

LONG = "z" * 10**6
MANY = [f"column {number}" for number in range(5000)]
META = "dataset_name: toy\nnode_data:\n- file_name: nodes.csv\nedge_data:\n- file_name: edges.csv\n"


def folder(path: Path, columns: list[str]) -> Path:
    """A CSV folder of three nodes with these columns besides the features of ``feat``."""
    cells = "0," * len(columns)
    (path / "meta.yaml").write_text(META)
    (path / "nodes.csv").write_text(f"node_id,{','.join(columns)},label,feat\na,{cells}0,1\nb,{cells}1,2\nc,{cells}0,3\n")
    (path / "edges.csv").write_text("src_id,dst_id\na,b\nb,c\n")
    return path


def dataset(names: list[str], classes: tuple[str, str] = ("a", "b")) -> Dataset:
    rows = 40
    labels = np.array([classes[int(row == 0)] for row in range(rows)])
    features = np.arange(rows * len(names), dtype=np.float32).reshape(rows, -1)
    return Dataset.from_arrays([[0, 1], [1, 2]], features, labels, feature_names=names)


def without_key(path: Path) -> Any:
    graph = dgl.graph(([0, 1], [1, 2]))
    graph.ndata[LONG] = dgl.backend.tensor(np.zeros((3, 1)))
    return Dataset.from_dgl(graph)


def several_in_tu_form(path: Path) -> Any:
    for number in range(500):
        (path / f"{number}{'z' * 200}_A.txt").touch()
    return load(path)


SITUATIONS: dict[str, Callable[[Path], Any]] = {
    "unused column": lambda path: load(folder(path, [LONG])),
    "columns like masks": lambda path: load(folder(path, [f"train_{'0' * 10**5}{number}" for number in range(10)])),
    "unknown target": lambda path: load(folder(path, [LONG]), targets="unknown"),
    "unknown target of many": lambda path: load(folder(path, MANY), targets="unknown"),
    "other columns": lambda path: align_to(dataset([LONG, "b"]), dataset([f"{LONG}1", "b"])),
    "rare class": lambda path: next(iter(make_splits(dataset(["a"], ("a", LONG)), "random", seed=0))),
    "class without labels": lambda path: hide_labels(
        dataset(["a"], ("a", LONG)), Split(range(30), range(30, 35), range(35, 40)), 0.2, seed=0
    ),
    "edges of a frame": lambda path: Dataset.from_arrays(pd.DataFrame({LONG: [0, 1, 0], "b": [1, 0, 2]}), np.zeros((3, 1)), [0, 1, 0]),
    "more than edges in a frame": lambda path: Dataset.from_arrays(
        pd.DataFrame({"source": [0, 1, 0], "destination": [1, 0, 2], LONG: 1.0}), np.zeros((3, 1)), [0, 1, 0]
    ),
    "graph without features": without_key,
    "several datasets in TU form": several_in_tu_form,
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_messages_are_short(situation: str, tmp_path: Path) -> None:
    messages = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            SITUATIONS[situation](tmp_path)
        except DglMutualError as error:
            messages.append(str(error))
    messages += [str(warning.message) for warning in warned]
    assert messages and max(map(len, messages)) < 10_000
