"""Warnings name the line of the user's code, however far below it they arise."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dgl_mutual
from dgl_mutual.data.values import graph_records
from dgl_mutual.data.values.graph_records import warn_of_weights
from dgl_mutual.utils.user_warnings import warn

SMALL: dict[str, Any] = {"students": "gcn,sage", "student": {"hidden": 4}, "training": {"epochs": 1}}


@pytest.fixture
def caught() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


class Probabilities(nn.Module):
    def __init__(self, in_size: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_size, num_classes)

    def forward(self, graph: Any, features: Tensor) -> Tensor:
        return torch.softmax(self.linear(features), dim=-1)


def _folder_with_an_unused_column(folder: Path) -> None:
    (folder / "meta.yaml").write_text("{dataset_name: own, edge_data: [{file_name: edges.csv}], node_data: [{file_name: nodes.csv}]}")
    (folder / "edges.csv").write_text("src_id,dst_id,colour\n0,1,red\n1,2,blue\n")
    (folder / "nodes.csv").write_text("node_id,label,feat\n0,a,0.5\n1,b,1.5\n2,a,2.5\n")
    dgl_mutual.load(folder)


def _codes(folder: Path) -> None:
    dgl_mutual.Dataset.from_arrays(edges=[(0, 1), (1, 2)], features=np.array([[0], [3], [7]]), labels=[0, 1, 0])


def _a_recipe(folder: Path) -> None:
    dgl_mutual.fit("digits", recipe="mutag-small", training={"epochs": 1})


def _a_student_that_torch_calls(folder: Path) -> None:
    dgl_mutual.fit("digits", students=[Probabilities, "gcn"], training={"epochs": 1})


def _options_of_another_method(folder: Path) -> None:
    dgl_mutual.experiment("digits", ["independent"], strategy_options={"weight": 2.5}, seeds=1, jobs=1, out=folder, **SMALL)


def _options_of_another_method_in_a_search(folder: Path) -> None:
    pytest.importorskip("optuna")
    options: dict[str, Any] = {"strategy_options": {"weight": 2.5}, "seeds": 2, "jobs": 1, "tuned": 1}
    dgl_mutual.experiment("digits", ["independent"], out=folder, **options, **SMALL)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (_folder_with_an_unused_column, "colour is not used"),
        (_codes, "are treated as numerical values"),
        (_a_recipe, "the recipe mutag-small that the node task"),
        (_a_student_that_torch_calls, "seems to return probabilities"),
        (_options_of_another_method, "Options of gml that independent does not take over"),
        (_options_of_another_method_in_a_search, "Options of gml that independent does not take over"),
    ],
)
def test_a_warning_names_the_users_line(
    call: Callable[[Path], None], message: str, tmp_path: Path, caught: list[warnings.WarningMessage]
) -> None:
    call(tmp_path)
    ours = [one for one in caught if message in str(one.message)]
    assert ours and all(one.category is UserWarning and one.filename == __file__ for one in ours)
    assert {one.lineno for one in ours} <= {line for *_, line in call.__code__.co_lines()}


def test_each_message_of_a_line_is_shown_once(caught: list[warnings.WarningMessage]) -> None:
    warnings.simplefilter("default")
    for text in ("mind this", "mind this", "and this"):
        warn(text)
    assert [str(one.message) for one in caught] == ["mind this", "and this"]


def test_where_the_user_has_no_line_the_one_of_the_package_is_named(caught: list[warnings.WarningMessage]) -> None:
    """As in a worker process, whose stack begins in a library."""
    thread = threading.Thread(target=warn_of_weights, args=("this graph", "name them"))
    thread.start()
    thread.join()
    assert [one.filename for one in caught] == [graph_records.__file__]


def test_code_without_a_file_is_the_users() -> None:
    code = "from dgl_mutual.utils.user_warnings import warn\nwarn('mind this')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("<string>:2: UserWarning: mind this")
