from __future__ import annotations

import itertools
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import DataError, SplitError, UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig, parse_config
from dgl_mutual.experiments.configuration.resolve import resolve, run_name
from dgl_mutual.experiments.estimate import num_missing, seconds_per_trial
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.plan import Plan, prepare
from dgl_mutual.experiments.runner import execute
from dgl_mutual.experiments.suites.suite import configurations, plan_suite, run_suite
from dgl_mutual.experiments.suites.suite_file import Suite, load_suite
from dgl_mutual.options import parse_options
from dgl_mutual.reporting.runs import load_runs
from dgl_mutual.reporting.status import status_of
from tests.experiments.suites.conftest import SMALL


def test_the_smoke_suite_needs_no_data(tmp_path: Path) -> None:
    plan = plan_suite(*load_suite("smoke"), out=tmp_path, data=DataSource(tmp_path, offline=True))
    assert plan.missing == {}
    assert len(plan.plans) == 6


@pytest.mark.parametrize(
    "grid",
    [
        {},
        {"training.epochs": [100, 200]},
        {"training.epochs": [20, 100]},
        {"training.epochs": ["100", 200.0]},
        {"training.learning_rate": [0.1, 0.01]},
    ],
)
@pytest.mark.parametrize(
    ("values", "varied"),
    [
        ({"training": {"average": "swa", "average_start": 60}}, {}),
        ({"strategy_options": {"exchange_warmup": [50, 20]}}, {}),
        ({"training": {"average": "ema"}}, {"training.average_start": [None, 10, 60, 80]}),
        ({}, {"strategy_options.exchange_warmup": [None, [0, 0], [10, 5], [50, 20], [60, 0]]}),
        ({"student": {"starts_after": 0.9}}, {"strategy_options.weight": [0.5, 1.0]}),
        ({"strategy_options": {"entropy_weight": 0.1, "entropy_schedule": "warmup", "exchange_warmup": [40, 0]}}, {}),
    ],
)
def test_every_valid_suite_is_valid_with_quick(values: dict[str, Any], varied: dict[str, Any], grid: dict[str, Any], ring: Dataset) -> None:
    base = {**values, "grid": {**grid, **varied} or None}
    suite = parse_options(Suite, {"base": base, "datasets": ["ring"], "methods": ["gml"]})

    def plan(*, quick: bool) -> Plan:
        (run,) = configurations(suite, quick=quick)
        return prepare(run.config, ring, in_memory=True)

    try:
        full = plan(quick=False)
    except UsageError:
        assert min(map(int, grid["training.epochs"])) < 60, "what 20 epochs do not reach"
        return
    quick = plan(quick=True)
    assert 1 <= len(quick.points) <= len(full.points)
    assert {point.config.training.epochs for point in quick.points} <= {20, 30}


def test_the_grid_of_a_quick_run_varies_nothing_that_is_counted_in_epochs() -> None:
    values = {"strategy_options.exchange_warmup": [[50, 20], [10, 5]], "training.average_start": [15, 60], "training.learning_rate": [0.1]}
    base = {"training": {"average": "ema"}, "grid": {"training.epochs": [100, 200], **values}}
    (run,) = configurations(parse_options(Suite, {"base": base, "datasets": ["ring"], "methods": ["gml"]}), quick=True)
    assert run.config.grid == {"training.learning_rate": (0.1,)} and run.config.training.epochs == 30


def test_a_quick_search_has_no_more_splits_than_there_are_folds() -> None:
    values = {"datasets": [{"dataset": "MUTAG", "tuning": {"splits": 5}}, {"dataset": "ring", "tuning": {"splits": 2}}], "methods": ["gml"]}
    assert [run.tuning.splits for run in configurations(parse_options(Suite, values), quick=True)] == [3, 2]


@pytest.mark.skipif("DGL_MUTUAL_DATA" not in os.environ, reason="DGL_MUTUAL_DATA does not name a folder with ENZYMES")
def test_a_quick_run_has_labels_of_each_class(tmp_path: Path) -> None:
    name, suite = load_suite("few-labels")
    rarest = [one for one in suite.datasets if one.name == "ENZYMES 1 %"]
    plan = plan_suite(name, suite.model_copy(update={"datasets": tuple(rarest)}), out=tmp_path, quick=True, data=DataSource(offline=True))
    assert len(plan.entries) == 7 and not plan.missing


def test_a_wrong_run_is_named(small: Suite, tmp_path: Path) -> None:
    wrong = parse_options(Suite, {**SMALL, "methods": {"mine": {"strategy": "gml", "training": {"epoch": 3}}, "gml": None}})
    with pytest.raises(UsageError, match=r"mine on ring: Unknown option 'training.epoch'"):
        configurations(wrong)
    wrong = parse_options(Suite, {**SMALL, "methods": {"gml": {"strategy": "no"}}})
    with pytest.raises(UsageError, match="gml on ring: Unknown strategy 'no'"):
        plan_suite("x", wrong, out=tmp_path)
    wrong = parse_options(Suite, {**SMALL, "datasets": [{"dataset": "ring", "methods": ["gmm"]}]})
    with pytest.raises(UsageError, match=r"Unknown method 'gmm'.*'gml'"):
        configurations(wrong)


def test_a_suite_runs_once_and_its_folder_names_its_runs(small: Suite, tmp_path: Path) -> None:
    suite_plan = plan_suite("small", small, out=tmp_path)
    reports = run_suite(suite_plan, compute=Compute(jobs=1))
    assert [len(pd.read_csv(report.folder / "trials.csv")) for report in reports] == [6, 6, 6, 6]
    assert [(run.data, run.method, run.folder.name) for run in load_runs([tmp_path / "suite-small"])] == [
        (run.data, run.method, plan.name) for run, plan in suite_plan.entries
    ]
    assert status_of(tmp_path / "suite-small").is_complete
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/trials.csv")}
    run_suite(plan_suite("small", small, out=tmp_path), compute=Compute(jobs=1))
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/trials.csv")} == before


def test_two_names_of_one_run_share_its_folder(small: Suite, tmp_path: Path) -> None:
    twice = parse_options(Suite, {**SMALL, "methods": {"gml": None, "the same": {"strategy": "gml"}}})
    plan = plan_suite("twice", twice, out=tmp_path)
    assert len(plan.entries) == 3
    assert len(plan.plans) == 2
    run_suite(plan, compute=Compute(jobs=1))
    assert [run.method for run in load_runs([tmp_path / "suite-twice"]) if run.data == "ring"] == ["gml", "the same"]


def test_an_unavailable_dataset_is_recorded_and_the_others_run(small: Suite, tmp_path: Path) -> None:
    lacking = parse_options(Suite, {**SMALL, "datasets": ["gone", "ring"]})
    plan = plan_suite("lacking", lacking, out=tmp_path)
    assert {data: str(why) for data, why in plan.missing.items()} == {"gone": "The dataset gone is not here"}
    assert len(run_suite(plan, compute=Compute(jobs=1))) == 3
    status = status_of(plan.folder)
    assert status.not_begun == {"gone": "The dataset gone is not here"}
    assert not status.is_complete
    assert yaml.safe_load((plan.folder / "suite.yaml").read_text())["missing"] == status.not_begun


def test_a_dataset_with_fewer_samples_of_a_class_than_folds_is_recorded_and_the_others_run(small: Suite, tmp_path: Path) -> None:
    couples = {"dataset": "pairs", "task": "graph", "name": "couples", "folds": 900, "seeds": 1}
    plan = plan_suite("few", parse_options(Suite, {**SMALL, "datasets": [couples, "ring"]}), out=tmp_path)
    assert list(plan.missing) == ["couples"] and {run.data for run, _ in plan.entries} == {"ring"}
    assert re.search(
        r"on couples: Class .* of pairs has \d+ samples, but 900 are needed .* --protocol holdout", str(plan.missing["couples"])
    )
    assert len(run_suite(plan, compute=Compute(jobs=1))) == 3
    with pytest.raises(UsageError, match=r"gml on couples: Cross-validation needs at least 2 folds"):  # whatever the dataset
        plan_suite("one", parse_options(Suite, {**SMALL, "datasets": [{**couples, "folds": 1, "methods": ["gml"]}, "ring"]}), out=tmp_path)


@pytest.mark.parametrize("order", [("independent", "few"), ("few", "independent")])
def test_a_dataset_that_one_method_cannot_split_is_left_out_for_all_methods(order: tuple[str, str], small: Suite, tmp_path: Path) -> None:
    layers = {"independent": {}, "few": {"label_rate": 0.001}}
    couples = {
        "dataset": "pairs",
        "task": "graph",
        "name": "couples",
        "protocol": "holdout",
        "methods": {name: layers[name] for name in order},
    }
    values = {**SMALL, "datasets": [couples, {"dataset": "ring", "methods": ["independent"]}]}
    values["methods"] = {"independent": None, "few": {"strategy": "independent"}}
    plan = plan_suite("few", parse_options(Suite, values), out=tmp_path)
    assert [(run.data, run.method) for run, _ in plan.entries] == [("ring", "independent")]
    (why,) = plan.missing.values()
    assert isinstance(why, SplitError) and str(why).startswith("few on couples: A label rate of 0.001")
    assert why.__traceback__ is None and why.__context__ is None  # these would keep the data in memory


def test_a_suite_file_names_no_folder_of_the_machine(small: Suite, tmp_path: Path) -> None:
    plan = plan_suite("x", parse_options(Suite, {**SMALL, "datasets": ["gone", "ring"]}), out=tmp_path)
    plan.missing["gone"] = DataError("/home/me/data lacks x.csv")
    run_suite(plan, compute=Compute(jobs=1))
    assert yaml.safe_load((plan.folder / "suite.yaml").read_text())["missing"] == {"gone": ".../data lacks x.csv"}


def test_an_option_without_effect_in_any_run_is_named_once(ring: Dataset, tmp_path: Path) -> None:
    """Options of all runs may have an effect in some of them alone."""

    def named(*targets: str) -> list[str]:
        values = {
            "base": {"seeds": 1, "training": {"epochs": 2}, "strategy": "dml", "strategy_options": {"ema_decay": 0.5}},
            "datasets": ["ring"],
            "methods": {one: {"strategy_options": {"targets": one}} for one in targets},
        }
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            plan_suite("x", parse_options(Suite, values), out=tmp_path, data=DataSource(in_memory={"ring": ring}))
        return [str(one.message).partition(". ")[0] for one in shown]

    assert named("eval", "ema") == []
    assert named("eval", "best") == ["strategy_options.ema_decay = 0.5 has no effect, since targets = eval"]


def test_a_quick_suite_refuses_a_wrong_grid() -> None:
    base = {"strategy": "gml", "training": {"epochs": 4}, "grid": {"training.epochs": [3, 4]}}
    suite = parse_options(Suite, {**SMALL, "datasets": ["ring"], "methods": {"wide": {}}, "base": base})
    with pytest.raises(UsageError, match=r"training.epochs is set to 4, and the grid varies it"):
        configurations(suite, quick=True)


def test_the_folder_of_another_suite_is_refused(small: Suite, tmp_path: Path) -> None:
    run_suite(plan_suite("small", small, out=tmp_path), compute=Compute(jobs=1))
    before = (tmp_path / "suite-small" / "suite.yaml").read_text()
    run_suite(plan_suite("small", small.model_copy(update={"description": "edited"}), out=tmp_path), compute=Compute(jobs=1))
    other = parse_options(Suite, {**SMALL, "datasets": ["ring"], "methods": {"other": {"strategy": "dml"}}})
    with pytest.raises(UsageError, match=r"suite-small' is that of another suite, with \w+ on \w+ among others.*Give this suite another"):
        run_suite(plan_suite("small", other, out=tmp_path), compute=Compute(jobs=1))
    assert (tmp_path / "suite-small" / "suite.yaml").read_text() == before.replace("description: ''", "description: edited")
    run_suite(plan_suite("other", other, out=tmp_path), compute=Compute(jobs=1))
    renamed = parse_options(Suite, {**SMALL, "datasets": [{"dataset": "ring", "name": "round"}], "methods": {"mine": {"strategy": "gml"}}})
    run_suite(plan_suite("small", renamed, out=tmp_path), compute=Compute(jobs=1))
    run_suite(plan_suite("small", other, out=tmp_path), compute=Compute(jobs=1), resume=False)


def test_a_run_that_cannot_work_does_not_stop_the_others(tmp_path: Path, ring: Dataset) -> None:
    configs = [
        parse_config({"dataset": "digits", "students": names, "seeds": 1, "training": {"epochs": 1}}) for names in ("gcn", "gcn,sage")
    ]
    alone, works = execute([prepare(config, ring) for config in configs], out=tmp_path, compute=Compute(jobs=1))
    assert "at least 2 students" in alone.failed[0]
    assert works.failed == ()
    assert len(works.summary) > 0


@pytest.mark.usefixtures("datasets_are_here")
def test_the_estimate_is_of_epochs_that_exchange_and_of_every_point(tmp_path: Path, ring: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[RunConfig] = []

    def fit(_: object, config: RunConfig, *__: object, callbacks: list[Callable[[], None]], **___: object) -> None:
        measured.append(config)
        for _ in range(config.training.epochs):
            callbacks[0]()

    clock = itertools.count()
    monkeypatch.setattr("dgl_mutual.experiments.estimate.fit_resolved", fit)
    monkeypatch.setattr("dgl_mutual.experiments.estimate.EpochReports", lambda report: lambda: report(None))
    monkeypatch.setattr("time.perf_counter", lambda: 2.0 * next(clock))
    config = {"dataset": "ring", "strategy": "gml", "seeds": 1, "grid": {"training.epochs": [40, 80]}}
    plan = prepare(parse_config(config), ring)
    assert [point.config.strategy_options["exchange_warmup"] for point in plan.points] == [[10, 10], [20, 20]]
    assert seconds_per_trial(plan, tmp_path) == pytest.approx(2 * (40 + 80))
    assert all(point.strategy_options["exchange_warmup"] == [0, 0] for point in measured)


def test_the_estimate_grows_with_epochs_and_points_and_learns_from_finished_trials(tmp_path: Path, ring: Dataset) -> None:
    values = {"dataset": "digits", "students": "gcn,sage", "seeds": 2, "training": {"epochs": 1000}}
    plan = prepare(parse_config(values), ring)
    first = seconds_per_trial(plan, tmp_path)
    assert first > 0.1
    assert num_missing(plan, tmp_path) == 2
    short = prepare(parse_config({**values, "training": {"epochs": 2}, "grid": {"training.patience": [1, 2, 3]}}), ring)
    execute([short], out=tmp_path, compute=Compute(jobs=1))
    trials = pd.read_csv(tmp_path / short.name / "trials.csv").drop_duplicates("seed")
    assert num_missing(short, tmp_path) == 0
    assert seconds_per_trial(short, tmp_path) == pytest.approx(3 * trials["train_seconds"].mean())


def test_run_folders_stay_below_out_whatever_the_name_of_the_dataset(tmp_path: Path, ring: Dataset) -> None:
    for name in ("../../escaped", "/escaped", "..", "a/../../escaped"):
        run = prepare_named(ring, name)
        assert (tmp_path / run).parent == tmp_path
        assert len(Path(run).parts) == 1


def prepare_named(ring: Dataset, name: str) -> str:
    return run_name(resolve(parse_config({"dataset": name}), ring))


@pytest.mark.parametrize("seeds", [(2, 3), (3, 2)])
def test_a_run_with_two_names_has_the_larger_number_of_seeds(seeds: tuple[int, int], tmp_path: Path, ring: Dataset) -> None:
    methods = {f"gml {number}": {"strategy": "gml", "seeds": number} for number in seeds}
    suite = parse_options(Suite, {"datasets": ["ring"], "methods": methods})
    (plan,) = plan_suite("twice", suite, out=tmp_path, data=DataSource(in_memory={"ring": ring})).plans
    assert len(plan.trials) == 3


def test_tuned_options_apply_to_their_own_data_and_method_alone() -> None:
    tuned = {(data, "gml"): {"training": {"epochs": epochs}} for data, epochs in (("ring", 7), ("couples", 9))}
    runs = configurations(parse_options(Suite, SMALL), tuned=tuned)
    found = {(run.data, run.method): run.config.training.epochs for run in runs}
    assert (found["ring", "gml"], found["couples", "gml"]) == (7, 9) and found["ring", "independent"] not in (7, 9)
