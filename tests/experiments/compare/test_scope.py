from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.compare.scope import STRATEGIES, check_scope
from dgl_mutual.experiments.configuration.layers import merge, parse_assignment
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.configuration.trust import trusted_config
from dgl_mutual.experiments.recipes import read_recipe, recipes
from tests.experiments.compare.cases import make_case


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("task", ["node", "graph"])
def test_the_method_is_covered(task: str, strategy: str) -> None:
    _, config, dataset = make_case(task, strategy=strategy)
    check_scope(config, dataset)


def test_edges_in_one_direction_are_covered_without_gcn() -> None:
    _, config, dataset = make_case("node", strategy="dml")
    directed = dataset.replaced(edges=dataset.edges[:, dataset.edges[0] < dataset.edges[1]])
    assert any(student.architecture == "gcn" for student in config.students)
    with pytest.raises(UsageError, match=r"Some edges of .* have one direction only\..*Compare without gcn"):
        check_scope(config, directed)
    check_scope(config, dataset)
    without = [student for student in config.students if student.architecture != "gcn"]
    check_scope(config.model_copy(update={"students": tuple(without)}), directed)


def test_everything_that_is_not_covered_is_named_at_once() -> None:
    _, config, dataset = make_case("node", options={"direction": "best"}, training={"feature_mask": 0.1}, noise="label:0.2")
    with pytest.raises(UsageError, match=r"training\.feature_mask=0\.1; strategy_options\.direction=best; noise"):
        check_scope(config, dataset)


def test_a_weighting_that_the_reference_lacks() -> None:
    _, config, dataset = make_case("node", options={"weighting": "cross-fitted"})
    with pytest.raises(UsageError, match=r"strategy_options.weighting=cross-fitted \(it has attention, .*consensus"):
        check_scope(config, dataset)


def test_targets_that_the_reference_lacks() -> None:
    _, config, dataset = make_case("node", options={"targets": "best"})
    with pytest.raises(UsageError, match=r"strategy_options.targets=best \(it has train, eval, ema\)"):
        check_scope(config, dataset)


def test_another_kind_of_target_is_ours_alone() -> None:
    _, config, dataset = make_case("node")
    with pytest.raises(DataError, match="its target is ordinal"):
        check_scope(config, SimpleNamespace(**{**vars(dataset), "target": replace(dataset.target, kind="ordinal")}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("residual", True),
        ("norm", "layer"),
        ("input_dropout", 0.1),
        ("activation", "gelu"),
        ("virtual_node", True),
        ("input_readout", True),
    ],
)
def test_parts_of_the_skeleton_are_covered(name: str, value: object) -> None:
    _, config, dataset = make_case("graph")
    students = tuple(student.model_copy(update={name: value}) for student in config.students)
    check_scope(config.model_copy(update={"students": students}), dataset)


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_averages_of_weights_are_covered(average: str) -> None:
    _, config, dataset = make_case("graph", training={"average": average})
    assert config.training.average == average
    check_scope(config, dataset)


@pytest.mark.parametrize(("name", "value"), [("feature_noise", 0.5), ("starts_after", 0.5)])
def test_options_of_students_that_the_reference_lacks(name: str, value: object) -> None:
    _, config, dataset = make_case("graph")
    students = tuple(student.model_copy(update={name: value}) for student in config.students)
    with pytest.raises(UsageError, match=f"does not support student.{name}={value}"):
        check_scope(config.model_copy(update={"students": students}), dataset)


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_can_be_compared_when_what_the_message_names_is_taken_back(name: str, ring: Dataset, pairs: Dataset) -> None:
    dataset = pairs if read_recipe(name).get("task") == "graph" else ring
    options = {"protocol": None, "student": {"edge_features": False}}

    def check(*assignments: str) -> None:
        typed = merge(options, *map(parse_assignment, assignments))
        check_scope(resolve(trusted_config(None, typed, trust=False, recipe=name), dataset), dataset)

    if not (name.endswith("-few-labels") or read_recipe(name)["training"].get("positions")):
        check()
        return
    with pytest.raises(UsageError, match="Leave this out, or set it to its default: --set ") as caught:
        check()
    check(*str(caught.value).partition("set it to its default: --set ")[2].split(" --set "))
