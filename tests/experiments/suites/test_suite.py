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
from dgl_mutual.experiments.suites.suite_file import Suite, load_suite, suite_names
from dgl_mutual.options import parse_options
from dgl_mutual.reporting.runs import load_runs
from dgl_mutual.reporting.status import status_of

Install = Callable[..., list[tuple[int, int]]]
SMALL: dict[str, Any] = {
    "base": {"seeds": 2},
    "datasets": ["ring", {"dataset": "pairs", "task": "graph", "name": "couples", "folds": 2, "seeds": 1, "methods": ["gml"]}],
    "methods": {"independent": None, "gml": None, "gml, plain": {"strategy": "gml", "strategy_options": {"weighting": "uniform"}}},
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, fake_training: Install, ring: Dataset, pairs: Dataset) -> Suite:
    """A suite whose datasets are here and whose training is not."""
    fake_training()

    def load(name: str, task: str | None, **_: Any) -> Dataset:
        if name == "gone":
            raise DataError("The dataset gone is not here")
        return pairs if name == "pairs" else ring

    monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", load)
    monkeypatch.setattr("dgl_mutual.experiments.plan.anchored", lambda config: config)
    return parse_options(Suite, SMALL)


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_of_the_package_is_well_formed(name: str) -> None:
    _, suite = load_suite(name)
    entries = configurations(suite)
    assert len({(entry.data, entry.method) for entry in entries}) == len(entries) >= 2
    assert suite.baseline in (None, *suite.methods)
    assert "independent" in suite.methods
    quick = configurations(suite, quick=True)
    assert all(entry.config.training.epochs <= 30 and (entry.config.seeds or 0) <= 2 for entry in quick)
    assert suite.description


def test_the_smoke_suite_needs_no_data(tmp_path: Path) -> None:
    plan = plan_suite(*load_suite("smoke"), out=tmp_path, data=DataSource(tmp_path, offline=True))
    assert plan.missing == {}
    assert len(plan.plans) == 6


def test_layers_override_each_other_in_order(small: Suite) -> None:
    entries = {(entry.data, entry.method): entry.config for entry in configurations(small, overrides={"training": {"epochs": 7}})}
    assert set(entries) == {("ring", "independent"), ("ring", "gml"), ("ring", "gml, plain"), ("couples", "gml")}
    assert (entries["couples", "gml"].seeds, entries["ring", "gml"].seeds) == (1, 2)
    assert entries["ring", "gml, plain"].strategy_options == {"weighting": "uniform"}
    assert {config.training.epochs for config in entries.values()} == {7}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "dml"}, "strategy = 'dml' would stand in the tables as independent on ring"),
        ({"dataset": "pairs"}, "dataset = 'pairs' would stand in the tables as independent on ring"),
        ({"targets": ["a"]}, r"targets = .*'a'.* would stand in the tables as independent on ring"),
        ({"strategy_options": {"weighting": "uniform"}}, "make gml, plain on ring the same run as gml on ring"),
    ],
)
@pytest.mark.filterwarnings("ignore:Options of gml that dml does not take over")
def test_what_is_given_puts_no_result_under_the_name_of_another(small: Suite, given: dict[str, Any], message: str) -> None:
    only_gml = {"methods": {name: layer for name, layer in SMALL["methods"].items() if name != "independent"}}
    suite = parse_options(Suite, {**SMALL, **only_gml, "datasets": ["ring"]}) if "strategy_options" in given else small
    with pytest.raises(UsageError, match=rf"{message}.*[Ll]eave .* out, or write a suite of your own"):
        configurations(suite, overrides=given)


@pytest.mark.parametrize("given", [{"label_rate": 0.5}, {"unlabelled": "pairs"}, {"noise": "label:0.2"}])
def test_label_rates_pools_and_noise_are_given_where_no_name_says_them(given: dict[str, Any]) -> None:
    (key,) = given
    own = {"label_rate": 0.1, "unlabelled": "couples", "noise": "label:0.1"}[key]
    told = {"name": "pairs, told", "dataset": "pairs", key: own}
    datasets = [{"dataset": "pairs"}, told]
    with pytest.raises(UsageError, match=rf"{key} = .* would stand in the tables as independent on pairs.* Leave {key} out"):
        configurations(parse_options(Suite, {**SMALL, "datasets": datasets}), overrides=given)
    entries = configurations(parse_options(Suite, {**SMALL, "datasets": datasets[:1]}), overrides=given)
    assert {getattr(entry.config, key) for entry in entries} == {given[key]}


def test_data_that_differ_in_their_seeds_alone_may_have_the_same_given() -> None:
    datasets = ["ring", {"dataset": "ring", "name": "ring, more seeds", "seeds": 9}]
    suite = parse_options(Suite, {**SMALL, "datasets": datasets})
    assert {entry.config.seeds for entry in configurations(suite, overrides={"seeds": 1})} == {1}


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
def test_what_resolves_in_full_resolves_quickly(
    values: dict[str, Any], varied: dict[str, Any], grid: dict[str, Any], ring: Dataset
) -> None:
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datasets": ["a", "a"]}, "'a' is there several times"),
        ({"datasets": [{"name": "a"}]}, "key 'dataset'"),
        ({"datasets": []}, "datasets"),
        ({"datasets": "Cora"}, r"a list is needed, for example \[Cora\]"),
        ({"methods": 3}, "names of strategies are needed"),
        ({"baseline": "dml"}, r"'dml' is not among the methods \(.*independent"),
        ({"datasets": [{"dataset": "ring", "tuning": {"splits": 10**17}}]}, "tuning.splits.*10000"),
        ({"datasets": [{"dataset": "ring", "tuning": {"trials": 10**17}}]}, "tuning.trials.*1000000"),
        ({"method": {}}, "Unknown option 'method'.*'methods'"),
        (
            {"datasets": [{"dataset": "ring", "name": f"d{n}"} for n in range(1500)], "methods": {f"m{n}": {} for n in range(1500)}},
            "1500 methods on 1500 datasets are 2250000 runs, and a suite has at most 10000: divide it",
        ),
    ],
)
def test_a_wrong_suite_says_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_options(Suite, {**SMALL, **change})


def test_a_suite_of_many_datasets_with_methods_of_their_own_is_not_too_large() -> None:
    datasets = [{"dataset": "ring", "name": f"d{n}", "methods": [f"m{n}"]} for n in range(150)]
    suite = parse_options(Suite, {"datasets": datasets, "methods": {f"m{n}": {"strategy": "gml"} for n in range(150)}})
    assert len(configurations(suite)) == 150


def test_a_wrong_entry_is_one_fault() -> None:
    with pytest.raises(UsageError, match="tuning") as caught:
        parse_options(Suite, {**SMALL, "datasets": [{"dataset": "ring", "tuning": 3}]})
    assert "at least 1" not in str(caught.value)


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


def test_a_dataset_gives_options_to_its_methods() -> None:
    own = {"gml": {"strategy_options": {"temperature": 3}}, "independent": None}
    runs = configurations(parse_options(Suite, {**SMALL, "datasets": ["ring", {"dataset": "ring", "name": "own", "methods": own}]}))
    options = {(run.data, run.method): dict(run.config.strategy_options) for run in runs}
    assert [key for key in options if key[0] == "own"] == [("own", "gml"), ("own", "independent")]
    assert options["own", "gml"] == {**options["ring", "gml"], "temperature": 3}
    assert options["own", "independent"] == options["ring", "independent"]


def test_options_of_a_dataset_come_after_those_of_the_method_and_before_those_given() -> None:
    own = {"gml, plain": {"strategy_options": {"weighting": "confidence", "weight": 2}}}
    suite = parse_options(Suite, {**SMALL, "datasets": [{"dataset": "ring", "methods": own}]})
    (run,) = configurations(suite, overrides={"strategy_options": {"weight": 3}})
    assert dict(run.config.strategy_options) == {"weighting": "confidence", "weight": 3}


@pytest.mark.parametrize("methods", ["gml", 3, [["gml"]], [], {}])
def test_methods_of_a_dataset_are_names_or_options(methods: Any) -> None:
    with pytest.raises(UsageError, match=r"names of methods are needed, or a mapping from their names to options"):
        parse_options(Suite, {**SMALL, "datasets": [{"dataset": "ring", "methods": methods}]})


def test_a_method_has_no_dataset_of_its_own() -> None:
    layer = {"gml": {"dataset": "digits"}}
    for change in ({"methods": {"independent": None, **layer}}, {"datasets": [{"dataset": "ring", "methods": layer}]}):
        with pytest.raises(UsageError, match=r"a method has no dataset of its own \('digits'\).*'datasets'"):
            parse_options(Suite, {**SMALL, **change})


def test_options_of_a_method_on_a_dataset_are_a_mapping_that_names_the_run() -> None:
    with pytest.raises(UsageError, match=r"methods\.gml"):
        parse_options(Suite, {**SMALL, "datasets": [{"dataset": "ring", "methods": {"gml": 3}}]})
    wrong = parse_options(Suite, {**SMALL, "datasets": [{"dataset": "ring", "methods": {"gml": {"strategy_option": {}}}}]})
    with pytest.raises(UsageError, match=r"gml on ring: Unknown option 'strategy_option'"):
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


def test_a_dataset_that_cannot_be_had_is_noted_and_the_rest_runs(small: Suite, tmp_path: Path) -> None:
    lacking = parse_options(Suite, {**SMALL, "datasets": ["gone", "ring"]})
    plan = plan_suite("lacking", lacking, out=tmp_path)
    assert {data: str(why) for data, why in plan.missing.items()} == {"gone": "The dataset gone is not here"}
    assert len(run_suite(plan, compute=Compute(jobs=1))) == 3
    status = status_of(plan.folder)
    assert status.not_begun == {"gone": "The dataset gone is not here"}
    assert not status.is_complete
    assert yaml.safe_load((plan.folder / "suite.yaml").read_text())["missing"] == status.not_begun


def test_a_dataset_with_fewer_samples_of_a_class_than_folds_is_noted_and_the_rest_runs(small: Suite, tmp_path: Path) -> None:
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


def test_what_a_method_does_not_take_over_from_a_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    origin = {"dataset": "Cora", "task": "node", "fingerprint": None, "strategy": "dml"}
    for given, told in (
        ({}, None),
        (
            {"metric": "macro-f1", "protocol": "holdout", "folds": None},
            r"best.yaml': metric=macro-f1, protocol=holdout\. It belongs to the data",
        ),
    ):
        file.write_text(yaml.safe_dump({**origin, **given}))
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            suite = parse_options(Suite, {**SMALL, "methods": {"tuned": str(file)}})
        assert suite.methods == {"tuned": {"strategy": "dml"}}
        assert len(shown) == (told is not None) and all(re.search(str(told), str(one.message)) for one in shown)


def test_what_has_no_effect_in_any_run_is_named_once(ring: Dataset, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("key", ["dataset", "fingerprint"])
def test_a_dataset_of_all_runs_has_no_effect_and_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match=rf"'base' = .*{key} = 'Cora' has no effect here: name it among the suite's 'datasets'"):
        parse_options(Suite, {**SMALL, "base": {key: "Cora"}})


#: A strategy that says whose its options are, and methods of which one has it.
KD = {"strategy": "kd", "strategy_options": {"peers_temperature": 2.5}}
KDS = {"gml": None, "kd": None, "kd-hot": {"strategy": "kd", "strategy_options": {"peers_temperature": 4.0}}}


@pytest.mark.filterwarnings("ignore:Options of kd")
@pytest.mark.parametrize(
    ("values", "idle"),
    [
        ({"base": {"strategy": "nosuch"}}, "base"),
        ({"base": {"strategy": [1, 2]}}, "base"),
        ({"base": {"strategy": "kd"}, "methods": {"wide": {"recipe": "cora-reference"}}}, "base"),
        ({"datasets": ["digits", {"dataset": "Cora", "strategy": "dml"}]}, "datasets.1"),
        ({"base": {"strategy": "kd"}, "datasets": [{"dataset": "Cora", "strategy": "dml"}], "methods": {"wide": {}}}, "base"),
        ({"datasets": [{"recipe": "cora-reference"}], "methods": ["gml"]}, None),
        ({"base": {"strategy": "kd"}, "methods": {"wide": {}, "gml": None}}, None),
        ({"datasets": [{"dataset": "Cora", "strategy": "dml"}], "methods": {"wide": {"recipe": "cora-small"}}}, None),
        ({"base": KD, "methods": KDS}, None),
        ({"base": {"strategy": "kd", "grid": {"strategy_options.weight": [0.5, 1.0]}}, "methods": KDS}, None),
        ({"base": KD}, "base"),
        ({"datasets": [{"dataset": "Cora", **KD}], "methods": KDS}, None),
        ({"datasets": [{"dataset": "digits", **KD, "methods": ["gml"]}, "Cora"], "methods": KDS}, "datasets.0"),
        ({"datasets": [{"dataset": "digits", "strategy": None}]}, None),
    ],
)
def test_a_strategy_that_no_run_has_is_refused(values: dict[str, Any], idle: str | None, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({"datasets": ["digits"], "methods": ["independent", "gml"], **values}))
    _, suite = load_suite(str(file))
    if idle is None:
        configurations(suite)
        return
    with pytest.raises(
        UsageError, match=rf"^Option '{re.escape(idle)}\.strategy' = .* has no effect here: no run has it, since every method"
    ):
        configurations(suite)


def test_a_strategy_from_outside_does_not_make_that_of_the_file_idle(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"base": {"strategy": "gml"}, "datasets": ["digits"], "methods": {"wide": {}}}))
    with pytest.raises(UsageError, match=r"^strategy = 'kdcl' would stand in the tables as wide on digits"):
        configurations(load_suite(str(tmp_path / "own.yaml"))[1], overrides={"strategy": "kdcl"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": {"mine": {"strategy": None}}}, r"mine on digits: The name of a strategy is empty \(null\)"),
        ({"methods": {"mine": {"recipe": "nope"}}}, "mine on digits: Unknown recipe 'nope'"),
        ({"methods": {"mine": {"recipe": ["cora-small"]}}}, "mine on digits: Unknown recipe .* Did you mean 'cora-small'"),
        ({"datasets": ["digits", {"recipe": "nope"}]}, r"datasets\.1: Unknown recipe 'nope'"),
        ({"datasets": [{"recipe": "cora-small", "student": 5}]}, r"datasets\.0: Option 'student' = 5: a mapping"),
        ({"datasets": [{"dataset": "digits", "student": 5}]}, "kd on digits: Option 'student' = 5: a mapping"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"base": {"strategy": "dml"}, "datasets": ["digits"], "methods": ["kd"], **values}))
    with pytest.raises(UsageError, match=f"^{message}"):
        configurations(load_suite(str(tmp_path / "own.yaml"))[1])


@pytest.mark.parametrize(
    ("name", "given", "strategy"),
    [
        ("dml", {}, "dml"),
        ("dml", {"base": {"strategy": "kd"}}, "dml"),
        ("wide", {"methods": {"wide": {"strategy": "kd"}}}, "kd"),
        ("wide", {"base": {"strategy": "kd"}}, "kd"),
        ("wide", {"base": {"strategy": "kd"}, "datasets": [{"dataset": "ring", "strategy": "dml"}]}, "dml"),
        ("wide", {"datasets": [{"dataset": "ring", "methods": {"wide": {"strategy": "dml"}}}]}, "dml"),
        ("wide", {"methods": {"wide": {"recipe": "mutag-small"}}}, "gml"),
        ("wide", {"methods": {"wide": {"recipe": "mutag-small"}}, "base": {"strategy": "kd"}}, "kd"),
        ("kd, wide", {"base": {"strategy": "kd"}}, "kd"),
        ("broad", {"base": {"strategy": "kd"}}, "kd"),
        *((name, {}, None) for name in ("wide", "gml, later", "DML", "own.code:Run")),
    ],
)
def test_a_method_has_the_strategy_that_is_named_or_that_of_its_name(name: str, given: dict[str, Any], strategy: str | None) -> None:
    suite = parse_options(Suite, {**SMALL, "datasets": ["ring"], "methods": {name: {"training": {"epochs": 3}}}, **given})
    if strategy is not None:
        assert [run.config.strategy for run in configurations(suite)] == [strategy]
        return
    with pytest.raises(
        UsageError, match=rf"{name} on ring: The method has no strategy.*for example 'strategy: gml'.*Choose from: .*, kd, "
    ):
        configurations(suite)


def test_a_dataset_with_another_strategy_than_its_recipe_does_not_have_the_options_of_the_former() -> None:
    with pytest.warns(UserWarning, match="Options of gml that dml does not take over"):
        suite = parse_options(Suite, {"datasets": [{"recipe": "cora-few-labels", "strategy": "dml"}], "methods": {"wide": {}}})
    assert [(run.config.strategy, run.config.strategy_options) for run in configurations(suite)] == [("dml", {})]


@pytest.mark.parametrize("name", ["dml (wide)", "mean_teacher", "KD, again", "okddip 2"])
def test_a_method_named_after_another_strategy_than_it_takes_over_is_refused(name: str) -> None:
    suite = parse_options(Suite, {**SMALL, "datasets": ["ring"], "methods": {name: {}}, "base": {"strategy": "gml"}})
    with pytest.raises(UsageError, match=r"would have 'gml', but its name has '(dml|mean-teacher|kd|okddip)' in it.*or 'strategy: gml'"):
        configurations(suite)


def test_a_quick_suite_refuses_what_its_grid_says_wrongly() -> None:
    base = {"strategy": "gml", "training": {"epochs": 4}, "grid": {"training.epochs": [3, 4]}}
    suite = parse_options(Suite, {**SMALL, "datasets": ["ring"], "methods": {"wide": {}}, "base": base})
    with pytest.raises(UsageError, match=r"training.epochs is 4 and varied by the grid"):
        configurations(suite, quick=True)


def test_the_folder_of_another_suite_is_refused(small: Suite, tmp_path: Path) -> None:
    run_suite(plan_suite("small", small, out=tmp_path), compute=Compute(jobs=1))
    before = (tmp_path / "suite-small" / "suite.yaml").read_text()
    run_suite(plan_suite("small", small.model_copy(update={"description": "edited"}), out=tmp_path), compute=Compute(jobs=1))
    other = parse_options(Suite, {**SMALL, "datasets": ["ring"], "methods": {"other": {"strategy": "dml"}}})
    with pytest.raises(UsageError, match=r"suite-small' is that of another suite, of \w+ on \w+ among others.*Give this suite another"):
        run_suite(plan_suite("small", other, out=tmp_path), compute=Compute(jobs=1))
    assert (tmp_path / "suite-small" / "suite.yaml").read_text() == before.replace("description: ''", "description: edited")
    run_suite(plan_suite("other", other, out=tmp_path), compute=Compute(jobs=1))
    renamed = parse_options(Suite, {**SMALL, "datasets": [{"dataset": "ring", "name": "round"}], "methods": {"mine": {"strategy": "gml"}}})
    run_suite(plan_suite("small", renamed, out=tmp_path), compute=Compute(jobs=1))
    run_suite(plan_suite("small", other, out=tmp_path), compute=Compute(jobs=1), resume=False)


def test_methods_may_be_a_list_of_names() -> None:
    assert parse_options(Suite, {**SMALL, "methods": ["gml", "dml"]}).methods == {"gml": {"strategy": "gml"}, "dml": {"strategy": "dml"}}


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


def test_no_name_leads_out_of_the_folder(tmp_path: Path, ring: Dataset) -> None:
    for name in ("../../escaped", "/escaped", "..", "a/../../escaped"):
        run = prepare_named(ring, name)
        assert (tmp_path / run).parent == tmp_path
        assert len(Path(run).parts) == 1


def prepare_named(ring: Dataset, name: str) -> str:
    return run_name(resolve(parse_config({"dataset": name}), ring))
