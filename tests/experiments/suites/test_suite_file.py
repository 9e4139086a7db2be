from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.suites.suite import configurations
from dgl_mutual.experiments.suites.suite_file import Suite, load_suite, suite_names
from dgl_mutual.options import parse_options
from tests.experiments.suites.conftest import SMALL


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


def test_layers_override_each_other_in_order(small: Suite) -> None:
    entries = {(entry.data, entry.method): entry.config for entry in configurations(small, overrides={"training": {"epochs": 7}})}
    assert set(entries) == {("ring", "independent"), ("ring", "gml"), ("ring", "gml, plain"), ("couples", "gml")}
    assert (entries["couples", "gml"].seeds, entries["ring", "gml"].seeds) == (1, 2)
    assert entries["ring", "gml, plain"].strategy_options == {"weighting": "uniform"}
    assert {config.training.epochs for config in entries.values()} == {7}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "dml"}, "strategy = 'dml' would appear in the tables as independent on ring"),
        ({"dataset": "pairs"}, "dataset = 'pairs' would appear in the tables as independent on ring"),
        ({"targets": ["a"]}, r"targets = .*'a'.* would appear in the tables as independent on ring"),
        ({"strategy_options": {"weighting": "uniform"}}, "make gml, plain on ring the same run as gml on ring"),
    ],
)
@pytest.mark.filterwarnings("ignore:Options of gml that dml does not take over")
def test_overrides_put_no_result_under_a_wrong_name(small: Suite, given: dict[str, Any], message: str) -> None:
    only_gml = {"methods": {name: layer for name, layer in SMALL["methods"].items() if name != "independent"}}
    suite = parse_options(Suite, {**SMALL, **only_gml, "datasets": ["ring"]}) if "strategy_options" in given else small
    with pytest.raises(UsageError, match=rf"{message}.*[Ll]eave .* out, or write a suite of your own"):
        configurations(suite, overrides=given)


@pytest.mark.parametrize("given", [{"label_rate": 0.5}, {"unlabelled": "pairs"}, {"noise": "label:0.2"}])
def test_label_rates_pools_and_noise_can_be_overridden_unless_the_suite_sets_them(given: dict[str, Any]) -> None:
    (key,) = given
    own = {"label_rate": 0.1, "unlabelled": "couples", "noise": "label:0.1"}[key]
    told = {"name": "pairs, told", "dataset": "pairs", key: own}
    datasets = [{"dataset": "pairs"}, told]
    with pytest.raises(UsageError, match=rf"{key} = .* would appear in the tables as independent on pairs.* Leave {key} out"):
        configurations(parse_options(Suite, {**SMALL, "datasets": datasets}), overrides=given)
    entries = configurations(parse_options(Suite, {**SMALL, "datasets": datasets[:1]}), overrides=given)
    assert {getattr(entry.config, key) for entry in entries} == {given[key]}


def test_runs_that_differ_in_seeds_alone_may_be_made_equal_by_overrides() -> None:
    datasets = ["ring", {"dataset": "ring", "name": "ring, more seeds", "seeds": 9}]
    suite = parse_options(Suite, {**SMALL, "datasets": datasets})
    assert {entry.config.seeds for entry in configurations(suite, overrides={"seeds": 1})} == {1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datasets": ["a", "a"]}, "'a' occurs several times"),
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
            "1500 methods on 1500 datasets make 2250000 runs, but a suite has at most 10000: split it",
        ),
    ],
)
def test_a_wrong_suite_is_refused_with_the_reason(change: dict[str, Any], message: str) -> None:
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


def test_options_that_a_method_does_not_take_over_from_a_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    origin = {"dataset": "Cora", "task": "node", "fingerprint": None, "strategy": "dml"}
    for given, told in (
        ({}, None),
        (
            {"metric": "macro-f1", "protocol": "holdout", "folds": None},
            r"best.yaml': metric=macro-f1, protocol=holdout\. These options belong to the data",
        ),
    ):
        file.write_text(yaml.safe_dump({**origin, **given}))
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            suite = parse_options(Suite, {**SMALL, "methods": {"tuned": str(file)}})
        assert suite.methods == {"tuned": {"strategy": "dml"}}
        assert len(shown) == (told is not None) and all(re.search(str(told), str(one.message)) for one in shown)


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
        UsageError, match=rf"^Option '{re.escape(idle)}\.strategy' = .* has no effect here: no run uses it, since every method"
    ):
        configurations(suite)


def test_an_overridden_strategy_of_a_file_is_refused_as_a_wrong_name(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"base": {"strategy": "gml"}, "datasets": ["digits"], "methods": {"wide": {}}}))
    with pytest.raises(UsageError, match=r"^strategy = 'kdcl' would appear in the tables as wide on digits"):
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
def test_errors_in_a_file_name_their_place(values: dict[str, Any], message: str, tmp_path: Path) -> None:
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
    with pytest.raises(UsageError, match=r"would use 'gml', but its name contains '(dml|mean-teacher|kd|okddip)'.*or 'strategy: gml'"):
        configurations(suite)


def test_methods_may_be_a_list_of_names() -> None:
    assert parse_options(Suite, {**SMALL, "methods": ["gml", "dml"]}).methods == {"gml": {"strategy": "gml"}, "dml": {"strategy": "dml"}}
