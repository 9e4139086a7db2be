from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml

from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import RunConfig, parse_config, read_config
from dgl_mutual.experiments.configuration.layers import merge, parse_assignment
from dgl_mutual.nn.options import StudentOptions


def test_a_later_layer_overrides_an_earlier_one_key_by_key() -> None:
    file = {"dataset": "Cora", "seeds": 3, "training": {"epochs": 7, "patience": 5}}
    flags = {"seeds": 4, "training": {"epochs": 8}}
    assigned = parse_assignment("training.epochs=9")
    config = parse_config(file, flags, assigned)
    assert (config.dataset, config.seeds, config.training.epochs, config.training.patience) == ("Cora", 4, 9, 5)


@pytest.mark.parametrize("key", ["student", "strategy_options", "training", "distill", "grid"])
@pytest.mark.parametrize("wrong", [3, 0, "yes please", "", ["a"], []])
def test_a_group_of_options_that_is_no_mapping_is_refused_in_every_layer(key: str, wrong: object) -> None:
    """A later layer would replace it, and nobody would hear of it."""
    for layers in (({key: wrong},), ({key: wrong}, {key: {"a": 1}}), ({}, {key: wrong}, {key: None})):
        with pytest.raises(UsageError, match=rf"Option '{key}' = .*: a mapping from names to values is needed, for example {{") as error:
            parse_config(*layers)
    example = yaml.safe_load(str(error.value).partition("for example ")[2].partition("}")[0] + "}")
    assert isinstance(parse_config({key: example}), RunConfig)


def test_merging_changes_neither_layer() -> None:
    first, second = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(first, second) == {"a": {"b": 1, "c": 2}}
    assert (first, second) == ({"a": {"b": 1}}, {"a": {"c": 2}})


@pytest.mark.parametrize("students", ["gcn, gat,gcn", ["gcn", "gat", {"architecture": "gcn"}], ("gcn", "gat", "gcn")])
def test_students_come_in_several_forms(students: object) -> None:
    assert [student.architecture for student in parse_config({"students": students}).cohort] == ["gcn", "gat", "gcn"]


def test_default_cohort_has_the_four_architectures() -> None:
    assert [student.architecture for student in RunConfig().cohort] == ["gcn", "gat", "gin", "sage"]


def test_shared_student_options_yield_to_those_of_one_student() -> None:
    config = parse_config({"students": ["gcn", {"architecture": "gat", "hidden": 16}], "student": {"hidden": 32, "depth": 1}})
    assert [(student.hidden, student.depth) for student in config.cohort] == [(32, 1), (16, 1)]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"datset": "Cora"}, ["'datset'", "Did you mean 'dataset'?", "students"]),
        ({"training": {"epoch": 5}}, ["'training.epoch'", "Did you mean 'epochs'?"]),
        ({"students": [{"architecture": "gcn", "hiden": 5}]}, ["'students.0.hiden'", "Did you mean 'hidden'?", "dropout"]),
        ({"students": "gcn,gnn"}, ["'gnn'", "gcn, gat, gin, sage"]),
        ({"students": ""}, ["students = ''", "gcn,gat"]),
        ({"students": ","}, ["students = ','", "gcn,gat"]),
        ({"epoch": 5}, ["'epoch'", "Did you mean 'training.epochs' or 'distill.epochs'?"]),
        ({"strategy": "dml", "weight": 0.5}, ["'weight'", "Did you mean 'strategy_options.weight'?"]),
        ({"temperature": 2}, ["'temperature'", "Did you mean 'strategy_options.temperature'?"]),
        ({"strategy": "evil_code:Run", "weight": 0.5}, ["Unknown option 'weight'"]),
        ({"strategy": {"temperature": 2}}, ["it must be a name", "strategy_options.temperature=2", "strategy=gml."]),
        ({"strategy": {"name": "kd", "weight": 0.5}}, ["strategy_options.weight=0.5", "strategy=kd."]),
        ({"strategy": {"dml": {"temperature": 2}}}, ["strategy_options.temperature=2", "strategy=dml."]),
        ({"strategy": {"type": "dml"}}, ["strategy_options.weight=1", "strategy=dml."]),
        ({"seeds": True}, ["'seeds' = True", "not a number"]),
        ({"seeds": np.True_}, ["'seeds' = ", "not a number"]),
        ({"targets": {"a", "b"}}, ["'targets' = {", "a set has no order: give a list"]),
        ({"grid": {"training.epochs": {1, 2}}}, ["'grid.training.epochs' = {1, 2}", "a set has no order: give a list"]),
        ({"training": {"fanout": frozenset([5, 10])}}, ["'training.fanout' = ", "a set has no order"]),
        ({"students": ["gcn", {}]}, ["students.1 = {}", "empty mapping"]),
        ({"student": {"dropout": True}}, ["'student.dropout' = True", "not a number"]),
        ({"students": []}, ["'students'", "at least 1"]),
        ({"students": ["gcn"] * 200_000}, ["'students' = ['gcn'", "at most 1000 students", "leave some out"]),
        ({"students": ",".join(["gcn"] * 200_000)}, ["'students' = 'gcn", "at most 1000 students"]),
        ({"students": itertools.repeat("gcn")}, ["at most 1000 students"]),
        ({"training": {"learning_rate": float("inf")}}, ["'training.learning_rate' = inf", "finite"]),
        ({"students": 5}, ["'students' = 5"]),
        ({"student": {"dropout": 1.5}}, ["'student.dropout' = 1.5", "less than 1"]),
        ({"task": "edge"}, ["'task' = 'edge'", "no such value. Choose from: node, graph."]),
        ({"seeds": 0}, ["'seeds' = 0"]),
        ({"folds": 0}, ["'folds' = 0", "at least 1"]),
    ],
)
def test_unknown_names_are_refused_with_the_choices(values: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(values)
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("training.epochs=50", {"training": {"epochs": 50}}),
        ("strategy_options.exchange_warmup=[5, 10]", {"strategy_options": {"exchange_warmup": [5, 10]}}),
        ("dataset=a=b", {"dataset": "a=b"}),
        ("protocol=", {"protocol": None}),
    ],
)
def test_assignment(text: str, values: dict[str, object]) -> None:
    assert parse_assignment(text) == values


@pytest.mark.parametrize("text", ["training.epochs", "=3", "training..epochs=3", "students=[gcn"])
def test_malformed_assignment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Cannot set"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: there is no such file. Correct the path"),
        ("a: [", "is not YAML"),
        ("- a", r"holds a list. A mapping from names to values is needed, for example {dataset: Cora}"),
        ("word", r"holds 'word'. A mapping from names to values is needed"),
        ("", r"is empty. Write a mapping from names to values into it, for example {dataset: Cora}"),
        ("!!python/name:os.system", "is not YAML"),
    ],
)
def test_unreadable_file_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_config(file)
    assert str(file) in str(caught.value)


def test_edge_features_alone_are_shared_with_custom_students() -> None:
    students = ["mypkg.nets:Net", "gcn"]
    config = parse_config({"students": students, "student": {"edge_features": True, "hidden": 16}})
    assert [student.edge_features for student in config.cohort] == [True, True]
    assert [student.hidden for student in config.cohort] == [StudentOptions().hidden, 16]
    assert parse_config({"students": students[:1], "student": {"edge_features": True}}).cohort[0].edge_features
    with pytest.raises(UsageError, match="students of your own have options of their own"):
        parse_config({"students": students[:1], "student": {"hidden": 16}})


def test_options_of_custom_students_are_given_beside_each_and_the_message_spells_it() -> None:
    own = "tests.small_graph:Net"
    student = {"options": {"hidden": 4}, "hidden": 8}
    students = ["gcn", {"architecture": "gat", "heads": 2}, own, {"architecture": own, "options": {"deep": True}}]
    with pytest.raises(UsageError, match=r"student\.options has no effect.* --set 'students=\[.*\]'\.$") as caught:
        parse_config({"students": students, "student": student})
    spelled = str(caught.value).partition("students=")[2].removesuffix("'.")
    config = parse_config({"students": yaml.safe_load(spelled)})
    assert [one.options for one in config.students] == [{}, {}, {"hidden": 4}, {"hidden": 4, "deep": True}]
    assert config.students[1].heads == 2
    with pytest.raises(UsageError, match=r"student\.options has no effect: options are for students of your own, and there is none"):
        parse_config({"students": "gcn", "student": student})


def test_a_grid_has_dotted_keys_in_assignments_too() -> None:
    assert parse_assignment("grid.student.hidden=[8, 16]") == {"grid": {"student.hidden": [8, 16]}}
    assert parse_assignment("grid=null") == {"grid": None}
    assert merge(*map(parse_assignment, ("grid.student.hidden=[8]", "grid.training.learning_rate=[0.1, 1]"))) == {
        "grid": {"student.hidden": [8], "training.learning_rate": [0.1, 1]}
    }
