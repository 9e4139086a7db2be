"""A run's config.yaml after a default has changed."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import dgl_mutual
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.configuration.recorded import config_of
from dgl_mutual.experiments.configuration.resolve import resolved_values
from dgl_mutual.experiments.configuration.trust import trusted_config
from dgl_mutual.experiments.plan import Plan, prepare
from dgl_mutual.experiments.tuning.search import plan_search
from tests.cli.conftest import Ended, command_line  # noqa: F401  # a fixture

#: What may have been defaults before, by dotted key.
FORMER: dict[str, Any] = {
    "strategy_options.weight": 0.7,
    "strategy_options.exchange_warmup": [3, 4],
    "strategy_options.class_prior_weight": 0.5,
    "training.patience": 17,
    "training.learning_rate": 0.02,
    "students.0.hidden": 48,
    "students.1.hidden": 48,
    "students.1.dropout": 0.1,
}


pytestmark = pytest.mark.usefixtures("datasets_are_here")


def parent_of(key: str, values: dict[str, Any]) -> tuple[Any, str]:
    """What holds a dotted key of `values`, and the last part of the key."""
    *above, last = key.split(".")
    parent: Any = values
    for part in above:
        parent = parent[int(part) if part.isdecimal() else part]
    return parent, last


def former_run(dataset: Dataset, changed: dict[str, Any], **given: Any) -> dict[str, Any]:
    """config.yaml of a run by a version that had other defaults."""
    values = copy.deepcopy(prepare(parse_config({"dataset": dataset.name, "students": "gcn,gat"} | given), dataset).file_values)
    for key, value in changed.items():
        parent, last = parent_of(key, values["resolved"])
        parent[last] = value
    return values


def planned(values: dict[str, Any], dataset: Dataset, above: dict[str, Any] | None = None) -> Plan:
    return prepare(config_of(values, above=above), dataset)


@pytest.mark.parametrize("key", FORMER)
def test_a_run_keeps_the_default_that_it_had(key: str, ring: Dataset) -> None:
    values = former_run(ring, {key: FORMER[key]})
    with pytest.warns(UserWarning, match=rf"Defaults have changed.*its own are kept: .*{key.rpartition('.')[2]}"):
        plan = planned(values, ring)
    assert resolved_values(plan.config) == values["resolved"]
    with warnings.catch_warnings():  # the new run's own file has it as given
        warnings.simplefilter("error")
        assert resolved_values(planned(plan.file_values, ring).config) == values["resolved"]


def test_all_of_them_together_and_overrides(ring: Dataset, pairs: Dataset) -> None:
    for dataset in (ring, pairs):
        values = former_run(dataset, FORMER, training={"epochs": 40})
        with pytest.warns(UserWarning, match="Defaults have changed"):
            assert resolved_values(planned(values, dataset).config) == values["resolved"]
        with pytest.warns(UserWarning, match="Defaults have changed"):
            found = resolved_values(planned(values, dataset, {"training": {"patience": 5}, "student": {"heads": 4}, "seeds": 3}).config)
        assert (found["training"]["patience"], found["seeds"], found["students"][1]["heads"]) == (5, 3, 4)
        assert (found["training"]["learning_rate"], found["training"]["epochs"], found["students"][0]["hidden"]) == (0.02, 40, 48)


def test_a_search_starts_from_the_defaults_that_the_run_had(ring: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgl_mutual.experiments.tuning.search.anchored", lambda config: config)
    values = former_run(ring, {"training.patience": 17})
    with pytest.warns(UserWarning, match="Defaults have changed"):
        plan = plan_search(config_of(values), ring, trials=1)
    assert (plan.given.training.patience, plan.resolved.training.patience) == (17, 17)


def test_derived_options_are_derived_again(ring: Dataset) -> None:
    values = former_run(ring, {"strategy_options.weight": 0.7})
    with pytest.warns(UserWarning, match="Defaults have changed"):
        found = planned(values, ring, {"training": {"epochs": 12}}).config
    expected = prepare(parse_config({"dataset": ring.name, "students": "gcn,gat", "training": {"epochs": 12}}), ring).config
    assert found.strategy_options == {**expected.strategy_options, "weight": 0.7}


def test_former_defaults_of_students_stand_beside_what_was_given_and_are_overridden(ring: Dataset) -> None:
    changed = {"students.0.dropout": 0.1, "students.1.dropout": 0.1, "students.0.heads": 4}
    values = former_run(ring, changed, students=["gcn", {"architecture": "gat", "hidden": 32}], student={"depth": 3})
    for above, dropout in (({"student": {"dropout": 0.2}}, 0.2), ({"grid": {"student.input_dropout": [0.3]}}, 0.1), ({}, 0.1)):
        with pytest.warns(UserWarning, match="Defaults have changed"):
            found = planned(values, ring, above).points[0].config.students
        assert [(one.dropout, one.heads, one.hidden, one.depth) for one in found] == [(dropout, 4, 64, 3), (dropout, 8, 32, 3)]


@pytest.mark.parametrize(
    "later", ["students.1.virtual_node", "training.positions", "strategy_options.gate", "strategy_options.entropy_weight"]
)
def test_a_new_option_that_is_off_is_no_change(later: str, ring: Dataset) -> None:
    values = former_run(ring, {})
    parent, last = parent_of(later, values["resolved"])
    del parent[last]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        planned(values, ring)


def test_a_default_that_follows_from_others_and_is_kept_with_them(ring: Dataset) -> None:
    values = former_run(ring, {"strategy_options.exchange_on": "all"}, label_rate=0.5)
    with pytest.warns(UserWarning, match="Defaults have changed"):
        assert resolved_values(planned(values, ring).config) == values["resolved"]


def test_options_of_the_strategy_do_not_go_over_to_another(ring: Dataset) -> None:
    values = former_run(ring, {"strategy_options.weight": 0.7, "training.patience": 17})
    with pytest.warns(UserWarning) as told:
        found = planned(values, ring, {"strategy": "dml"}).config
    assert any("dml does not take over: weight=0.7" in str(warning.message) for warning in told)
    assert (found.strategy_options["weight"], found.training.patience) == (1.0, 17)


def test_without_a_change_nothing_is_told_and_what_was_given_counts(ring: Dataset) -> None:
    values = former_run(ring, {}, training={"epochs": 40})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = planned(values, ring, {"training": {"patience": 5}})
    assert plan.given.training.model_fields_set == {"epochs", "patience"}


def test_a_file_without_a_fingerprint_fits_any_data(ring: Dataset) -> None:
    values = former_run(ring, {"fingerprint": "0123456789ab"})
    with pytest.raises(DataError, match="remove 'fingerprint' from the configuration"):
        planned(values, ring)
    del values["resolved"]["fingerprint"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert planned(values, ring).config.fingerprint


def test_on_other_data_the_defaults_are_those_of_this_version(ring: Dataset, pairs: Dataset) -> None:
    values = former_run(ring, {"strategy_options.weight": 0.7})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = planned(values, pairs, {"dataset": pairs.name, "task": None}).config
    assert found.strategy_options == prepare(parse_config({"dataset": pairs.name}), pairs).config.strategy_options


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("strategy_options.gone", r"cannot be repeated, so the defaults are those of this version: .*gone"),
        ("label_rate", r"cannot be repeated: this version does not have label_rate=1.0"),
    ],
)
@pytest.mark.filterwarnings("ignore:Defaults have changed")
def test_options_that_this_version_lacks_are_named(changed: str, told: str, ring: Dataset) -> None:
    values = former_run(ring, {changed: 1.0, "training.learning_rate": 0.02})
    with pytest.warns(UserWarning, match=told):
        planned(values, ring)


@pytest.mark.parametrize(
    ("key", "value"),
    [("students", None), ("students", ["gcn"]), ("strategy", None), ("training", []), ("strategy_options", 1), ("unlabelled", [])],
)
def test_a_damaged_part_of_a_run_is_not_silently_replaced_by_a_default(key: str, value: Any, ring: Dataset) -> None:
    values = former_run(ring, {"training.patience": 17, key: value}, strategy="independent")
    with pytest.warns(UserWarning, match=f"cannot be repeated.* has no valid {key}"):
        found = planned(values, ring).config
    assert (found.strategy, [student.architecture_name for student in found.students]) == ("independent", ["gcn", "gat"])


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"training": {"epochs": 8}}, "training.epochs"),
        ({"student": {"hidden": 8}}, "students.0.hidden, students.1.hidden, students.2.hidden"),
        ({"students": ["gcn", "gat", "gin", "sage"]}, "students.3.architecture, students.3.hidden"),
        ({"students": ["gcn", "gat"]}, "students.2.architecture"),
        ({"students": ["gin", {"architecture": "gat"}, "gin"]}, "students.0.architecture"),
        ({"strategy_options": {"exchange_warmup": [2, 3]}}, "strategy_options.exchange_warmup"),
    ],
)
def test_an_edit_is_not_mistaken_for_a_changed_default(edit: dict[str, Any], told: str, ring: Dataset) -> None:
    values = former_run(ring, {"training.patience": 17}, training={"epochs": 6}, student={"hidden": 16}, students="gcn,gat,gin")
    values["given"] |= edit
    with pytest.raises(UsageError, match=f"edited: its part 'given' has another value of {re.escape(told)} than the run had"):
        planned(values, ring)


def test_an_unknown_student_is_reported(ring: Dataset) -> None:
    with pytest.warns(UserWarning, match="cannot be repeated.*Unknown student ''"):
        planned(former_run(ring, {"students.1.architecture": ""}), ring)


def test_another_number_of_students_by_default(command_line: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811  # the fixture
    values = former_run(dgl_mutual.load("digits"), {}, strategy="independent", training={"epochs": 1}, seeds=1)
    del values["given"]["students"]  # the run had the two of its version by default
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    ended = command_line("run", "--config", tmp_path / "config.yaml", "--out", tmp_path / "out", "--jobs", 1, "--offline")
    assert (ended.status, "gat-1" in ended.out, "gat-3" in ended.out) == (0, True, False)


def test_in_fit_and_on_the_command_line(command_line: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811  # the fixture
    dataset = dgl_mutual.load("digits")
    given = {"strategy": "independent", "training": {"epochs": 2}, "seeds": 1}
    values = former_run(dataset, {"students.0.hidden": 8, "students.1.hidden": 8}, **given)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.warns(UserWarning, match=r"students.0.hidden=8"):
        result = dgl_mutual.fit(dataset, config=file)
    expected = dgl_mutual.fit(dataset, "gcn,gat", strategy="independent", student={"hidden": 8}, training={"epochs": 2})
    assert result.history == expected.history
    order = np.random.default_rng(0).permutation(dataset.num_samples)
    split = dgl_mutual.Split(order[:100], order[100:200], order[200:300])
    with pytest.warns(UserWarning, match=r"students.0.hidden=8"):
        assert dgl_mutual.fit(dataset, config=values, split=split).config["students"][0]["hidden"] == 8

    ended = command_line("run", "--config", file, "--out", tmp_path / "out", "--jobs", 1, "--offline")
    assert ended.status == 0
    folder = next((tmp_path / "out").iterdir())
    made = yaml.safe_load((folder / "config.yaml").read_text())
    assert made["resolved"] == values["resolved"]
    assert trusted_config(folder / "config.yaml", {}, trust=False).record is not None
