"""Recipes are sound, keep what their names promise, and stand below configuration files and flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dgl_mutual
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.configuration.layers import parse_assignment
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.configuration.trust import import_paths, trusted_config
from dgl_mutual.experiments.recipes import read_recipe, recipe_text, recipes
from dgl_mutual.experiments.suites.suite import configurations
from dgl_mutual.experiments.suites.suite_file import Suite, load_suite
from dgl_mutual.nn.module import EdgeInput
from dgl_mutual.nn.student import make_student, resolve_student
from dgl_mutual.options import parse_options
from dgl_mutual.training.options import TrainingOptions

#: Node features, edge features and outputs of each dataset.
WIDTHS = {
    "Cora": (1433, 0, 7),
    "CiteSeer": (3703, 0, 6),
    "Coauthor-CS": (6805, 0, 15),
    "Amazon-Computers": (767, 0, 10),
    "MUTAG": (7, 4, 2),
    "PROTEINS": (4, 0, 2),
    "NCI1": (37, 0, 2),
    "ENZYMES": (21, 0, 6),
    "IMDB-BINARY": (136, 0, 2),
    "ogbg-molbace": (187, 13, 1),
    "ogbg-molbbbp": (187, 13, 1),
    "ogbg-molhiv": (187, 13, 1),
    "ogbg-molsider": (187, 13, 27),
    "ogbg-molclintox": (187, 13, 2),
    "ogbg-moltox21": (187, 13, 12),
}


def parameters(name: str) -> list[int]:
    """Of each student of a recipe."""
    config = parse_config(read_recipe(name))
    features, edges, outputs = WIDTHS[config.dataset]
    task = config.task or "node"
    found = []
    for options in config.cohort:
        resolved = resolve_student(options, task, has_edge_features=edges > 0)
        student = make_student(resolved, task, features, outputs, edges=EdgeInput(edges) if edges else None)
        found.append(sum(parameter.numel() for parameter in student.parameters()))
    return found


@pytest.mark.parametrize("dataset", ["Cora", "CiteSeer"])
def test_recipes_for_few_labels_are_those_of_the_suite(dataset: str) -> None:
    (run,) = [
        run
        for run in configurations(load_suite("few-labels")[1])
        if (run.data, run.method) == (f"{dataset} 10 %", "gml, class prior, all nodes")
    ]
    assert parse_config(read_recipe(f"{dataset.lower()}-few-labels"), {"seeds": 10}).model_dump(
        exclude={"protocol"}
    ) == run.config.model_dump(exclude={"protocol"})
    assert run.config.protocol in (None, "public")


def test_each_known_dataset_has_a_small_and_a_reference_recipe() -> None:
    for dataset in WIDTHS:
        for kind in ("small", "reference"):
            config = parse_config(read_recipe(f"{dataset.lower()}-{kind}"))
            assert config.dataset == dataset
            assert config.task == (
                "graph" if dataset in ("MUTAG", "PROTEINS", "NCI1", "ENZYMES", "IMDB-BINARY") or "ogbg" in dataset else None
            )
    assert {parse_config(read_recipe(name)).dataset for name in recipes()} == set(WIDTHS)


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_says_where_it_comes_from_and_names_no_code(name: str) -> None:
    lines = recipe_text(name).splitlines()
    assert lines[0].startswith("# ") and all(len(line) <= 140 for line in lines)
    assert recipes()[name] and not list(import_paths(read_recipe(name)))
    config = parse_config(read_recipe(name))
    assert config.protocol is not None and (config.grid or config.training != TrainingOptions())
    assert "searched" in " ".join(lines)


@pytest.mark.parametrize("name", [name for name in recipes() if name.endswith("-small")])
def test_a_small_recipe_is_small(name: str) -> None:
    config = parse_config(read_recipe(name))
    assert len(config.students) == 4 and "strategy" not in read_recipe(name)
    assert all((student.depth or 3) <= 3 for student in config.cohort)
    assert max(parameters(name)) <= 100_000


def test_reference_recipes_are_as_large_as_their_sources_say() -> None:
    (plain,), (virtual,) = parameters("ogbg-molhiv-reference"), parameters("ogbg-molhiv-reference-virtual")
    assert virtual > plain > 5 * 2 * 300 * 300  # an MLP of two layers in each of five convolutions
    # 1433 x 512 + 512, 512 x 512 + 512, 512 x 7 + 7
    assert parameters("cora-reference") == [1433 * 512 + 512 + 512 * 512 + 512 + 512 * 7 + 7]


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_takes_students_that_use_no_edges(name: str) -> None:
    """The suite `students` trains them with the recipes of datasets that have edge features."""
    for kind in ("mlp", "bag") if read_recipe(name).get("task") == "graph" else ("mlp",):
        config = parse_config({**read_recipe(name), "students": [kind]})
        (options,) = config.cohort
        student = resolve_student(options, config.task or "node", has_edge_features=WIDTHS[config.dataset][1] > 0)
        assert not student.edge_features


def test_given_options_override_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("training: {epochs: 7, learning_rate: 0.5}\n")
    config = trusted_config(file, {"training": {"learning_rate": 0.25}}, trust=False, recipe="cora-small")
    assert (config.dataset, config.training.epochs, config.training.learning_rate) == ("Cora", 7, 0.25)
    assert config.training.weight_decay == 0.0005
    assert trusted_config(None, {}, trust=False, recipe="cora-reference").strategy == "independent"
    assert trusted_config(None, {"strategy": "kd"}, trust=False, recipe="cora-reference").strategy == "kd"
    with pytest.raises(UsageError, match=r"cora-smal.*cora-small"):
        trusted_config(None, {}, trust=False, recipe="cora-smal")


def test_a_suite_takes_a_recipe_as_a_dataset() -> None:
    values: dict[str, Any] = {
        "base": {"training": {"epochs": 9}},
        "datasets": [{"recipe": "cora-reference", "seeds": 3}, {"recipe": "citeseer-small", "name": "mine", "dataset": "Cora"}],
        "methods": ["gml"],
    }
    first, second = configurations(parse_options(Suite, values))
    assert (first.data, first.config.dataset, first.config.seeds, first.config.strategy) == ("Cora", "Cora", 3, "gml")
    assert first.config.student.hidden == 512 and first.config.training.epochs == 500  # a dataset's layer stands above the base
    assert (second.data, second.config.dataset, second.config.student.hidden) == ("mine", "Cora", 24)
    own = {**values, "datasets": [{"dataset": "Cora", "methods": {"gml": {"recipe": "cora-few-labels", "label_rate": 5}}}]}
    (third,) = configurations(parse_options(Suite, own))
    assert (third.config.label_rate, third.config.training.epochs, third.config.protocol) == (5, 9, None)
    assert third.config.strategy_options["class_prior_weight"] == 3.0
    with pytest.raises(UsageError, match="recipe = 'cora-small' is not an option of a configuration: give it as --recipe"):
        configurations(parse_options(Suite, {**values, "base": {"recipe": "cora-small"}}))
    with pytest.raises(UsageError, match="nothing-small"):
        parse_options(Suite, {"datasets": [{"recipe": "nothing-small"}], "methods": ["gml"]})


def test_fit_takes_a_recipe(ring: Dataset) -> None:
    options: dict[str, Any] = {"strategy": "independent", "training": {"epochs": 2}, "students": "gcn,sage"}
    result = dgl_mutual.fit(ring, recipe="citeseer-small", **options)
    assert result.config["training"]["weight_decay"] == 0.0005
    assert [student["hidden"] for student in result.config["students"]] == [24, 24]
    again = dgl_mutual.fit(ring, config=read_recipe("citeseer-small"), **options)
    np.testing.assert_array_equal(result.predict(), again.predict())


def test_a_recipe_says_nothing_of_another_datasets_splits() -> None:
    own, other = (trusted_config(None, typed, trust=False, recipe="mutag-small") for typed in ({"folds": 3}, {"dataset": "ogbg-molbace"}))
    assert (own.dataset, own.task, own.protocol, own.folds) == ("MUTAG", "graph", "nested", 3)
    assert (other.dataset, other.task, other.protocol, other.folds) == ("ogbg-molbace", None, None, None)
    assert other.student == own.student
    folder = trusted_config(None, {"dataset": "somewhere/MUTAG"}, trust=False, recipe="mutag-small")
    assert (folder.task, folder.protocol) == ("graph", "nested")


@pytest.mark.parametrize("name", [name for name in recipes() if read_recipe(name).get("task") == "graph"])
def test_a_recipe_for_graphs_leaves_out_what_has_no_meaning_for_nodes(name: str, ring: Dataset) -> None:
    options: dict[str, Any] = {"students": ["gcn", "sage"], "student": {"hidden": 4, "depth": 2}, "training": {"epochs": 1}}
    with pytest.warns(UserWarning, match=rf"recipe {name} that the node task of {ring.name} does not take over: training\.batch_size="):
        result = dgl_mutual.fit(ring, recipe=name, **options)
    assert result.config["training"]["batch_size"] is None
    with pytest.warns(UserWarning, match=rf"recipe {name} that the node task of Cora does not take over"):
        assert trusted_config(None, {"dataset": "Cora"}, trust=False, recipe=name).training.batch_size is None
    own = trusted_config(None, {"dataset": "tu/AIDS"}, trust=False, recipe=name)
    assert own.training.batch_size == read_recipe(name)["training"]["batch_size"]


def test_an_option_of_a_recipe_can_be_taken_back(ring: Dataset) -> None:
    """Of a folder the task is not known before it is loaded."""
    config = trusted_config(None, {"dataset": "./ring"}, trust=False, recipe="mutag-small")
    with pytest.raises(UsageError, match=r"a batch size of 32 has no effect.*\(training\.batch_size=null, if it comes from a recipe"):
        resolve(config, ring)
    typed = parse_assignment("training.batch_size=null")
    assert resolve(trusted_config(None, {"dataset": "./ring", **typed}, trust=False, recipe="mutag-small"), ring).task == "node"


def test_an_option_that_is_set_is_not_varied_by_a_recipes_grid(ring: Dataset) -> None:
    key = "training.learning_rate"
    assert key in (read_recipe("cora-few-labels")["grid"])
    given: dict[str, Any] = {"training": {"learning_rate": 0.02}}
    config = trusted_config(None, given, trust=False, recipe="cora-few-labels")
    assert config.training.learning_rate == 0.02 and not config.grid
    with pytest.raises(UsageError, match=rf"{key} is one of 0\.003, 0\.01.* for example training={{'learning_rate': 0\.003}}, or"):
        dgl_mutual.fit(ring, recipe="cora-few-labels")
    training = {"learning_rate": 0.02, "epochs": 2}
    with pytest.warns(UserWarning, match="Options of gml that independent does not take over"):
        result = dgl_mutual.fit(ring, "gcn,sage", "independent", recipe="cora-few-labels", training=training, label_rate=1)
    assert result.config["training"]["learning_rate"] == 0.02


def test_a_recipe_that_was_printed_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(recipe_text("cora-small"))
    assert trusted_config(file, {}, trust=False) == trusted_config(None, {}, trust=False, recipe="cora-small")
    with pytest.raises(UsageError, match=r"give --config \./own\.yaml"):
        trusted_config(None, {}, trust=False, recipe="./own.yaml")
