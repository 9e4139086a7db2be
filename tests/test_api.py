from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dgl_mutual
import dgl_mutual.data
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.runner import run
from dgl_mutual.training.callbacks import ProgressBar
from dgl_mutual.utils.exact_numbers import EXACT_NUMBERS

SMALL = {"students": "gcn,sage", "student": {"hidden": 8}, "training": {"epochs": 4}}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return dgl_mutual.load("digits")


def test_fit_does_what_run_does(digits: Dataset, tmp_path: Path) -> None:
    folder = run(parse_config({**SMALL, "seeds": 2}), out=tmp_path, compute=Compute(jobs=1)).folder
    rows = pd.read_csv(folder / "trials.csv", **EXACT_NUMBERS)
    result = dgl_mutual.fit(digits, seed=1, **SMALL)
    columns = ["member", "architecture", "train", "val", "test", "best_epoch", "parameters"]
    expected = rows[rows["seed"] == 1][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(result.table()[columns], expected, check_dtype=False, check_exact=True)


def test_a_saved_student_predicts_the_same(digits: Dataset, tmp_path: Path) -> None:
    result = dgl_mutual.fit(digits, **SMALL)
    result.save(tmp_path / "cohort")
    student = dgl_mutual.load_student(tmp_path / "cohort" / "sage-1.safetensors")
    with pytest.raises(UsageError, match=r"Unknown member .*Did you mean 'sage-1'\? Choose from: best_by_val, ensemble, gcn-0, sage-1"):
        dgl_mutual.load_student(tmp_path / "cohort", ["sage-1"])  # type: ignore[arg-type]  # what a user may give
    with pytest.raises(UsageError, match=r"Unknown member .* Choose from: sage-1\.$"):
        dgl_mutual.load_student(tmp_path / "cohort" / "sage-1.safetensors", ["sage-1"])  # type: ignore[arg-type]
    np.testing.assert_array_equal(student.predict(digits), result.predict(digits, member="sage-1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"students": "gcn,gnn"}, "Unknown student 'gnn'"),
        ({"students": 4}, r"'students' = 4: a list of names is needed, for example \[gcn, gat\]"),
        ({"students": np.array("gcn")}, r"'students' = array\(.*: a list of names is needed, .* this is an ndarray"),
        ({"students": {}}, r"students\.0 = \{\} is an empty mapping\. Name its architecture, for example 'gcn'"),
        ({"callbacks": np.array(1)}, r"A callback must be an instance .*, found array\(1\)"),
        ({"recipe": np.array(["cora-small"])}, r"Unknown recipe .*Choose from: .*cora-small"),
        ({"recipe": pd.Series(["cora-small", "x"])}, r"(?s)Unknown recipe .*Choose from: .*cora-small"),
        ({"strategy": "gmll"}, "Unknown strategy 'gmll'"),
        ({"training": {"epoch": 1}}, "Did you mean 'epochs'"),
        ({"callbacks": {ProgressBar()}}, r"callbacks = {.*} is a set, which has no order\. Give a list"),
        ({"training": {"epochs": 2, "checkpoint_every": 1}}, "checkpoint_every = 1 has no effect in fit"),
        ({"fold": 1}, "There is no fold 1: protocol 'random' has the folds 0 to 0"),
        ({"protocol": "nested"}, "'nested'"),
    ],
)
def test_mistakes_are_usage_errors(digits: Dataset, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dgl_mutual.fit(digits, **{**SMALL, **arguments})


def _with_edge_features_and_unknown_labels() -> Dataset:
    random = np.random.default_rng(0)
    labels = np.where(np.arange(60) % 5 == 4, np.nan, np.arange(60) % 5 > 0)  # two classes, the second larger
    edges = random.integers(0, 60, (2, 150))
    split = dgl_mutual.Split(range(30), range(30, 45), range(45, 60))
    features, of_edges = random.normal(size=(60, 4)), random.normal(size=(150, 2))
    return Dataset.from_arrays(edges, features, labels, edge_features=of_edges, split=split, name="made")


@pytest.mark.filterwarnings("ignore:Edges are repeated")
@pytest.mark.parametrize(
    "options",
    [
        {"student": {"edge_features": False}},
        {"strategy": "dml", "strategy_options": {"exchange_on": "all"}},
        {"strategy_options": {"exchange_on": "all"}, "students": ["gcn", {"architecture": "gat", "edge_features": False}]},
        {"protocol": "holdout", "label_rate": 3, "strategy_options": {"class_prior_weight": 3.0}},
    ],
)
def test_the_configuration_of_a_result_gives_it_again(options: dict[str, Any]) -> None:
    """Also where an option is what it would be by default on other data."""
    dataset = _with_edge_features_and_unknown_labels()
    first = dgl_mutual.fit(dataset, **{"students": "gcn,sage", "training": {"epochs": 2}, **options})
    again = dgl_mutual.fit(dataset, config=first.config)
    assert again.config == first.config and again.history == first.history
    longer = dgl_mutual.fit(dataset, config=first.config, training={"epochs": 3})
    assert longer.config == {**first.config, "training": {**first.config["training"], "epochs": 3}}


def test_one_of_a_kind_is_printed_in_the_singular(digits: Dataset, tmp_path: Path) -> None:
    result = dgl_mutual.fit(digits, "gcn", "independent", training={"epochs": 1})
    assert repr(result).startswith("1 student on digits by independent") and ", 1 epoch in " in repr(result)
    result.save(tmp_path / "run" / "trial")
    with pytest.raises(UsageError, match=r"holds the students of 1 trial\. Give the folder of one, for example") as caught:
        dgl_mutual.load_student(tmp_path / "run", "gcn-0")
    assert str(tmp_path / "run" / "trial") in str(caught.value)
    assert dgl_mutual.load_student(tmp_path / "run" / "trial", "gcn-0").feature_names == digits.feature_names


def test_public_names_are_there_and_no_others() -> None:
    assert dir(dgl_mutual) == sorted(dgl_mutual.__all__)  # what a shell completes
    assert {"fit", "load", "load_student", "__version__"} <= set(dir(dgl_mutual))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dgl_mutual.nonsense  # noqa: B018  # the access itself is the test


def truth_values() -> Iterator[tuple[Callable[..., object], str]]:
    """Public functions, each with the name of an argument that is True or False."""
    modules = (dgl_mutual, dgl_mutual.data)
    functions = {getattr(module, name) for module in modules for name in module.__all__ if inspect.isfunction(getattr(module, name))}
    for function in (*functions, Dataset.from_arrays, Dataset.from_dgl, Dataset.from_pyg):
        yield from ((function, name) for name, one in inspect.signature(function).parameters.items() if one.annotation == "bool")


def test_a_truth_value_is_true_or_false() -> None:
    assert len(set(truth_values())) >= 14
    for function, argument in truth_values():
        needed = [name for name, one in inspect.signature(function).parameters.items() if one.default is inspect.Parameter.empty]
        with pytest.raises(UsageError, match=f"{argument} = 'no' is neither True nor False"):
            function(**{**dict.fromkeys(needed, "x"), argument: "no"})


def test_targets_are_names_in_a_list_or_in_a_text() -> None:
    text, several = (dgl_mutual.load("digits-multi", targets=targets) for targets in ("digit, even", ["digit", "even"]))
    assert repr(text) == repr(several)
    assert repr(dgl_mutual.load(dgl_mutual.load("digits-multi"), targets="digit,even")) == repr(several)
    with pytest.raises(UsageError, match="Unknown target 'evn'"):
        dgl_mutual.load("digits-multi", targets="digit,evn")


def test_a_student_that_no_memory_holds_is_a_training_error(digits: Dataset) -> None:
    with pytest.raises(
        TrainingError, match=r"not enough memory for this \(.* GiB at once\)\. The widest student has hidden = 1099511627776"
    ):
        dgl_mutual.fit(digits, **{**SMALL, "student": {"hidden": 2**40}})


def test_memory_that_many_classes_take_is_told_as_that(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("dgl_mutual.experiments.trial.fit_cohort", fails)
    many = dgl_mutual.Dataset.from_arrays(digits.edges, digits.features, np.arange(digits.num_samples) % 40, name="many")
    with pytest.raises(TrainingError, match=r"The labels of many have 40 classes, and a step takes all samples: the logits of 2 students"):
        dgl_mutual.fit(many, **{**SMALL, "student": {"hidden": 8}})


@pytest.mark.parametrize("seed", [1.5, "0", -1, True, None, float("nan")])
def test_a_seed_is_a_whole_number(seed: object) -> None:
    with pytest.raises(UsageError, match="integer from 0"):
        dgl_mutual.fit(dgl_mutual.load("digits"), "gcn,sage", seed=seed)


def test_options_of_runs_alone_are_refused_with_the_command_that_has_them() -> None:
    with pytest.raises(
        UsageError, match=r"asks for noise, which 'fit' does not support\. .* use dgl_mutual\.experiment or 'dgl-mutual run'"
    ):
        dgl_mutual.fit("digits", "gcn,gat", config={"noise": "label:0.2"})
