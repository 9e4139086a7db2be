"""`experiment` with custom datasets, students, strategies and weightings."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

import dgl_mutual
from dgl_mutual.coordinator import WeightingOptions
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.executors import local
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.independent import Independent
from tests.test_experiment import SMALL


class SeesTestGraphs(Independent):
    def exchange(self) -> Exchange:
        return Exchange("eval", on="transductive")


def test_a_strategy_that_shows_test_samples_says_so_in_every_row(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(72, 3))
    graphs = dgl_mutual.Dataset.from_arrays(
        np.stack([np.arange(0, 72, 3), np.arange(1, 72, 3)]), features, np.arange(24) % 2, node_offsets=np.arange(0, 73, 3), name="graphs"
    )
    methods = {"alone": "independent", "transductive": SeesTestGraphs}
    small = {**SMALL, "seeds": 1, "training": {"epochs": 1}}
    found = dgl_mutual.experiment(graphs, methods, out=tmp_path, folds=3, **small)
    protocols = found.trials.groupby("method")["protocol"].unique().explode().to_dict()
    assert protocols == {"alone": "nested", "transductive": "nested-transductive"}


class Mine(nn.Module):
    def __init__(self, in_features: int, num_outputs: int, widths: Sequence[int] = (4,)) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, widths[0]), nn.ReLU(), nn.Linear(widths[0], num_outputs))

    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        out: Tensor = self.layers(feat)
        return out


class Even(dgl_mutual.Weighting):
    class Options(WeightingOptions):
        nested: dict[str, Any] = Field(default_factory=dict)

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return torch.zeros(len(logits), len(logits), 1, 1)


def test_custom_students_and_weightings_are_read_back(tmp_path: Path) -> None:
    mine = {"architecture": Mine, "options": {"widths": [6, 7]}}
    own = {"strategy": "gml", "strategy_options": {"weighting": Even, "weighting_options": {"nested": {"a": [1]}}}}
    given = {**SMALL, "seeds": 1, "training": {"epochs": 2}, "student": None, "students": ["gcn", Mine, mine]}
    found = dgl_mutual.experiment("digits", {"alone": "independent", "teach": own}, baseline="alone", out=tmp_path, **given)
    assert found.table().shape == (6, 1)
    again = dgl_mutual.Experiment.load(tmp_path / "suite-experiment")
    options = again.runs[1].config["strategy_options"]
    assert again.runs[0].config["students"][2] == {"architecture": f"{__name__}:Mine", "options": {"widths": [6, 7]}}
    assert (options["weighting"], options["weighting_options"]) == (f"{__name__}:Even", {"nested": {"a": [1]}})
    assert again.runs[1].given["strategy_options"]["weighting"] == f"{__name__}:Even"


def test_a_class_in_a_grid_is_asked_for_by_its_import_path() -> None:
    grid = {"teach": {"strategy": "gml", "grid": {"strategy_options.weighting": [Even, "uniform"]}}}
    with pytest.raises(
        UsageError,
        match=r"'grid\.strategy_options\.weighting\.0' is not a plain value .*a class in a grid or within a list as its import path",
    ):
        dgl_mutual.experiment("digits", grid, **SMALL)


def test_custom_datasets_and_strategies_as_classes() -> None:
    nodes = np.arange(24)
    edges, split = np.stack([nodes, (nodes + 1) % 24]), dgl_mutual.Split(nodes[:12], nodes[12:18], nodes[18:])
    node_data = dgl_mutual.Dataset.from_arrays(edges, np.eye(24, 5, dtype=np.float32), nodes % 3, name="ring", split=split)
    found = dgl_mutual.experiment({"mine": node_data, "digits": "digits"}, {"alone": Independent}, **{**SMALL, "seeds": 1})
    assert list(found.table("none").columns) == ["mine", "digits"]
    assert set(found.trials["dataset"]) == {node_data.name, "digits"}
    with pytest.raises(UsageError, match="Several datasets are called"):
        dgl_mutual.experiment([node_data, node_data], **SMALL)


CHANGING = """
import os
from torch import nn

SCALE = 1.0


class Net(nn.Module):
    def __init__(self, in_features, num_outputs):
        super().__init__()
        self.layer = nn.Linear(in_features, num_outputs)

    def forward(self, graph, feat):
        return float(os.environ.get("CHANGING_SCALE", "1")) * SCALE * self.layer(feat)
"""


@pytest.fixture
def changing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "changing_ideas.py").write_text(CHANGING)
    yield importlib.import_module("changing_ideas")
    del sys.modules["changing_ideas"]


def rewrite(module: ModuleType, scale: str) -> None:
    Path(str(module.__file__)).write_text(CHANGING.replace("SCALE = 1.0", f"SCALE = {scale}"))


def first_losses(net: Any, jobs: int, **options: Any) -> list[float]:
    small = {"seeds": 2, "training": {"epochs": 1}, "jobs": jobs, **options}
    found = dgl_mutual.experiment("digits", "independent", students=["gcn", net], **small)
    return [float(loss) for loss in found.runs[0].history["loss/supervised/Net-1"]]


def test_processes_train_the_code_and_in_the_environment_that_there_are_now(changing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an earlier call has left processes."""
    first_losses(changing.Net, 2)
    old = first_losses(changing.Net, 1)
    monkeypatch.setenv("CHANGING_SCALE", "20")
    of_environment = first_losses(changing.Net, 1)
    rewrite(changing, "50.0")
    importlib.reload(changing)
    now = first_losses(changing.Net, 2)
    assert now == first_losses(changing.Net, 1) and now not in (old, of_environment)


@pytest.mark.parametrize("options", [{}, {"tuned": 1}])
@pytest.mark.parametrize("jobs", [1, 2])
def test_code_that_was_changed_and_not_imported_again_is_refused(changing: ModuleType, jobs: int, options: dict[str, Any]) -> None:
    rewrite(changing, "50.0")
    with pytest.raises(UsageError, match=r"changing_ideas:SCALE is not what its file says .*importlib.reload"):
        first_losses(changing.Net, jobs, **options)
    rewrite(changing, "1.0")
    changing.SCALE = 7.0  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"changing_ideas:SCALE is not what its file says .* was replaced in this process"):
        first_losses(changing.Net, jobs, **options)


@pytest.mark.usefixtures("forked_workers")
def test_code_that_is_changed_before_the_processes_import_it_is_not_trained(changing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = local.kept_datasets

    def kept_late(datasets: Any) -> Any:
        rewrite(changing, "50.0")
        return kept(datasets)

    monkeypatch.setattr(local, "kept_datasets", kept_late)
    with pytest.raises(UsageError, match=r"A training process has other code of changing_ideas:Net"):
        first_losses(changing.Net, 2)


def test_a_student_is_saved_whatever_became_of_its_file(changing: ModuleType, tmp_path: Path) -> None:
    result = dgl_mutual.fit("digits", [changing.Net, "gcn"], training={"epochs": 1})
    rewrite(changing, "50.0")
    with pytest.warns(UserWarning, match="changing_ideas:SCALE is not what its file says"):
        result.save(tmp_path / "saved")
    assert "code" not in json.loads((tmp_path / "saved" / "Net-0.json").read_text())
    rewrite(changing, "1.0")
    result.save(tmp_path / "saved")
    rewrite(changing, "50.0")
    importlib.reload(changing)
    with pytest.warns(UserWarning, match=r"The code of the student 'Net-0' .* has changed since it was saved"):
        dgl_mutual.load_student(tmp_path / "saved", "Net-0", trust=[changing.Net])


def test_code_in_a_grid_is_recorded(tmp_path: Path) -> None:
    grid = {"strategy_options.weighting": ["uniform", "tests.test_experiment_custom_code:Even"]}
    own = {"strategy": "gml", "grid": grid, "students": "gcn,gcn,sage"}
    found = dgl_mutual.experiment("digits", {"own": own}, out=tmp_path, **{**SMALL, "seeds": 1, "training": {"epochs": 1}})
    code = json.loads((found.runs[0].folder / "environment.json").read_text())["code"]
    assert list(code) == ["tests.test_experiment_custom_code:Even"]


class Chooses(Independent):
    def coordinator_weighting(self) -> Any:
        return ("tests.test_experiment_custom_code:Even", {})


class ChoosesByNew(Chooses):
    def __new__(cls, first: Any, *further: Any) -> Any:
        return super().__new__(cls)


class ChoosesLate(Independent):
    def coordinator_weighting(self) -> Any:
        return (Even if self.setting.num_students == 3 else "uniform"), {}


@pytest.mark.parametrize(
    ("kind", "recorded"),
    [(Chooses, ["Chooses", "Even"]), (ChoosesByNew, ["ChoosesByNew", "Even"]), (ChoosesLate, ["ChoosesLate"])],
)
def test_the_weighting_that_a_strategy_chooses_is_recorded(tmp_path: Path, kind: type[Independent], recorded: list[str]) -> None:
    """Where it depends on the setting, it counts as code that the strategy uses."""
    own = {"strategy": kind, "students": "gcn,gcn,sage"}
    found = dgl_mutual.experiment("digits", {"own": own}, out=tmp_path, **{**SMALL, "seeds": 1, "training": {"epochs": 1}})
    code = json.loads((found.runs[0].folder / "environment.json").read_text())["code"]
    assert list(code) == [f"tests.test_experiment_custom_code:{name}" for name in recorded]
