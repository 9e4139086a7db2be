from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.errors import DglMutualError
from tests.test_registry import forgetful  # noqa: F401  # a fixture

SETS = """
import numpy as np
import dgl, torch
from dgl_mutual import Dataset

def ring(size=6):
    nodes = np.arange(size)
    return Dataset.from_arrays(np.stack([nodes, (nodes + 1) % size]), np.eye(size), nodes % 2, name="own name")

def graph():
    made = dgl.rand_graph(7, 20)
    made.ndata["feat"], made.ndata["label"] = torch.rand(7, 3), torch.arange(7) % 2
    return made

READY = ring(8)

def needs(size):
    return ring(size)

def number():
    return 3

def failing():
    raise OSError("no disk")

def wrong():
    return Dataset.from_arrays([[0], [9]], np.eye(3), [0, 1, 0])

text = "ring"
"""


@pytest.fixture(autouse=True)
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: None) -> None:  # noqa: F811  # the fixture of that name
    (tmp_path / "plugpack").mkdir()
    (tmp_path / "plugpack" / "sets.py").write_text(SETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])


@pytest.mark.parametrize(("name", "nodes"), [("ring", 6), ("graph", 7), ("READY", 8)])
def test_a_dataset_is_found_by_its_import_path_and_bears_its_name(name, nodes):
    dataset = load_dataset(f"plugpack.sets:{name}")
    assert (dataset.name, dataset.num_nodes, dataset.task) == (f"plugpack.sets:{name}", nodes, "node")
    np.testing.assert_array_equal(dataset.labels, np.arange(nodes) % 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plugpack.sets:needs", "plugpack.sets:needs is a function that cannot be called without arguments .*'size'"),
        ("plugpack.sets:number", r"'plugpack.sets:number' \(import path\) cannot be used. Expected a Dataset, a DGL graph, .*found an int"),
        ("plugpack.sets:failing", r"'plugpack.sets:failing' \(import path\) raised an error: OSError: no disk"),
        ("plugpack.sets:wrong", r"'plugpack.sets:wrong' \(import path\) cannot be used. .*9"),
        ("plugpack.sets:text", "plugpack.sets:text is not a dataset but a str"),
        ("plugpack.sets:rin", "has no 'rin'. Did you mean 'ring'"),
        ("plugpack.set:ring", "there is no module 'plugpack.set'"),
        ("plugpak", r"Unknown dataset 'plugpak'. Choose from: .*an import path"),
    ],
)
def test_an_object_that_is_not_a_dataset_is_refused_with_the_reason(name, message):
    with pytest.raises(DglMutualError, match=message):
        load_dataset(name)


def test_another_task_is_refused():
    with pytest.raises(DglMutualError, match=r"plugpack.sets:ring is a dataset for the node task, not for 'graph'"):
        load_dataset("plugpack.sets:ring", "graph")


def test_a_choice_of_targets_needs_none_where_labels_are_not_needed():
    with pytest.raises(DglMutualError, match=r"plugpack.sets:ring has one target only"):
        load_dataset("plugpack.sets:ring", targets="kind")
    assert load_dataset("plugpack.sets:ring", targets="kind", require_labels=False).num_nodes == 6
