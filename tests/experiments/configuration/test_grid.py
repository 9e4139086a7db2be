from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig, parse_config, read_config
from dgl_mutual.experiments.configuration.grid import GridPoint, grid_points, search
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.runner import run
from dgl_mutual.training.result import FitResult


@dataclass
class Figures:
    """A result of which validation alone may be looked at."""

    val: float
    name: str

    def __getitem__(self, member: str) -> Figures:
        assert member == "mean"
        return self


def _search(points: Any, vals: list[float]) -> tuple[Figures, list[dict[str, Any]], list[RunConfig]]:
    tried: list[RunConfig] = []

    def fit(number: int, point: RunConfig) -> FitResult:
        assert number == len(tried)
        tried.append(point)
        return cast(FitResult, Figures(vals[number], str(number)))

    result, rows = search(points, fit)
    return cast(Figures, result), rows, tried


def test_a_point_sets_what_it_names_and_nothing_else(ring: Dataset) -> None:
    grid = {"training.learning_rate": [0.1, 0.2], "strategy_options.weight": [3.0], "student.hidden": [8, 16]}
    config = parse_config({"grid": grid, "students": "gcn,gat", "strategy": "dml"})
    points = grid_points(config)
    assert len({str(values) for values, _ in points}) == 4
    for values, point in points:
        assert {s.hidden for s in point.cohort} == {values["student.hidden"]}
        assert point.training == config.training.model_copy(update={"learning_rate": values["training.learning_rate"]})
        assert point.strategy_options == {**config.strategy_options, "weight": 3.0}
        assert point.grid is None
        assert [s.architecture for s in point.students] == ["gcn", "gat"]


@pytest.mark.parametrize(
    ("vals", "best"), [([0.1, 0.3, 0.2], 1), ([0.3, 0.3, 0.1], 0), ([0.3, 0.1 + 0.2, 0.1], 0), ([float("nan"), 0.1, 0.2], 2)]
)
def test_validation_chooses_and_the_first_of_equals_wins(ring: Dataset, vals: list[float], best: int) -> None:
    points = prepare(parse_config({"grid": {"training.epochs": [5, 6, 7]}}), ring).points
    result, rows, tried = _search(points, vals)
    assert result.name == str(best)
    assert [row["chosen"] for row in rows] == [index == best for index in range(3)]
    assert [point.training.epochs for point in tried] == [row["training.epochs"] for row in rows] == [5, 6, 7]
    assert all(set(row) == {"training.epochs", "val", "chosen"} for row in rows)


def test_without_a_grid_the_configuration_itself_is_trained(ring: Dataset) -> None:
    config = resolve(parse_config({}), ring)
    result, rows, tried = _search([GridPoint({}, config)], [0.5])
    assert (result.name, rows, tried) == ("0", [], [config])


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"dataset": ["a"]}, "cannot vary 'dataset'.*training.KEY"),
        ({"training": [{}]}, "cannot vary 'training'"),
        ({"training.rate": [1]}, "training.rate"),
        ({"strategy_options.targets": ["no"]}, "strategy_options.targets"),
        ({"training.epochs": []}, "grid.training.epochs"),
        ({"training.patience": [3, 4]}, r"training.patience is set to 5, and the grid varies it over \[3, 4\]. Leave out one"),
        ({"student.hidden": [8, 16], "training.learning_rate": [-1]}, "training.learning_rate"),
    ],
)
def test_a_wrong_grid_is_found_before_anything_runs(ring: Dataset, grid: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(parse_config({"grid": grid, "training": {"patience": 5}}), ring)


def test_derived_options_are_derived_at_each_point(ring: Dataset) -> None:
    points = prepare(parse_config({"grid": {"training.epochs": [4, 40]}, "strategy": "gml"}), ring).points
    assert [point.strategy_options["exchange_warmup"] for _, point in points] == [[1, 1], [10, 10]]


def test_a_students_own_option_stands_at_every_point(ring: Dataset) -> None:
    students = ["gcn", {"architecture": "gin", "hidden": 4}]
    points = prepare(parse_config({"grid": {"student.hidden": [8, 16]}, "students": students}), ring).points
    assert [[student.hidden for student in point.students] for _, point in points] == [[8, 4], [16, 4]]


def test_a_run_searches_within_each_trial_and_can_be_repeated_from_its_configuration(tmp_path: Path) -> None:
    values = {"students": "gcn,sage", "strategy": "dml", "seeds": 2, "training": {"epochs": 3}, "grid": {"student.hidden": [4, 8]}}
    folder = run(parse_config(values), out=tmp_path, compute=Compute(jobs=1)).folder
    searched = pd.read_csv(folder / "grid.csv")
    assert searched[["seed", "student.hidden"]].to_numpy().tolist() == [[0, 4], [0, 8], [1, 4], [1, 8]]
    trials = pd.read_csv(folder / "trials.csv")
    for seed, points in searched.groupby("seed"):
        assert points["chosen"].tolist() == (points["val"] == points["val"].max()).tolist()
        alone = {**values, "grid": None, "seeds": 2, "student": {"hidden": int(points.loc[points["chosen"], "student.hidden"].iloc[0])}}
        single = pd.read_csv(run(parse_config(alone), out=tmp_path / str(seed), compute=Compute(jobs=1)).folder / "trials.csv")
        columns = ["member", "train", "val", "test", "parameters"]
        of_seed = [table.loc[table["seed"] == seed, columns].reset_index(drop=True) for table in (trials, single)]
        assert of_seed[0].equals(of_seed[1])
    again = run(parse_config(read_config(folder / "config.yaml")), out=tmp_path, compute=Compute(jobs=1))
    assert again.folder == folder


def test_a_grid_of_very_many_points_is_refused_before_they_are_made() -> None:
    values = [1 + number / 100 for number in range(100)]
    grid = {f"strategy_options.{name}": values for name in ("temperature", "weight", "entropy_weight")}
    with pytest.raises(UsageError, match=r"The grid has 1000000 points \(100 x 100 x 100\).*Give at most 10000, or search at random"):
        grid_points(parse_config({"grid": grid}))
