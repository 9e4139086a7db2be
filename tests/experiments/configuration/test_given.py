from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.pool import with_pool
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import parse_config, read_config
from dgl_mutual.experiments.configuration.given import given_values, layer_of_file
from dgl_mutual.experiments.configuration.resolve import resolved_values
from dgl_mutual.experiments.plan import Plan, prepare

pytestmark = pytest.mark.usefixtures("datasets_are_here")


def planned(dataset: Dataset, *layers: dict[str, Any]) -> Plan:
    return prepare(parse_config({"dataset": dataset.name}, *layers), dataset)


def kept(plan: Plan, folder: Path) -> dict[str, Any]:
    """What its config.yaml is read as."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(plan.file_values))
    return read_config(file)


def test_given_values_are_the_given_options_alone() -> None:
    for values in (
        {},
        {"students": ["gcn", {"architecture": "gat", "hidden": 32}], "student": {"depth": 1}},
        {"training": {"epochs": 200}, "strategy": "dml", "strategy_options": {"weight": 2}, "protocol": None, "distill": {}},
        {"grid": {"training.learning_rate": [0.1, 0.2]}, "seeds": 3},
    ):
        assert given_values(parse_config(values)) == values
        assert given_values(parse_config(values, {"fingerprint": "0123456789ab"})) == values


def test_a_kept_configuration_is_the_same_run(ring: Dataset, pairs: Dataset, tmp_path: Path) -> None:
    for dataset in (ring, pairs):
        for values in (
            {},
            {"students": "gcn,gat", "student": {"hidden": 16}, "strategy_options": {"weight": 2}},
            {"students": ["gcn", {"architecture": "gin", "hidden": 8}], "strategy": "dml", "training": {"epochs": 3}},
            {"grid": {"student.hidden": [8, 16]}, "training": {"scale_inputs": True}, "folds": 4, "seeds": 2},
            {"label_rate": 0.5},
            {"label_rate": 0.5, "strategy_options": {"entropy_weight": 0.0, "weight": 0.3}},
            {"label_rate": 0.5, "strategy_options": {"exchange_on": "all"}},
            {"label_rate": 2, "strategy_options": {"class_prior_weight": 2.0}},
            {"strategy_options": {"exchange_on": "training"}},
        ):
            plan = planned(dataset, values)
            again = planned(dataset, kept(plan, tmp_path))
            assert resolved_values(again.config) == resolved_values(plan.config)
            assert [resolved_values(point) for _, point in again.points] == [resolved_values(point) for _, point in plan.points]


def test_an_override_of_a_kept_configuration_is_the_run_that_was_asked_for(ring: Dataset, tmp_path: Path) -> None:
    given = {"training": {"epochs": 3}, "students": "gcn,gat"}
    for override in (
        {"student": {"hidden": 16}},
        {"training": {"epochs": 7}},
        {"students": "gin,sage"},
        {"strategy": "independent"},
        {"strategy": "kd"},
        {"grid": {"training.learning_rate": [0.1]}},
    ):
        first = kept(planned(ring, given), tmp_path)
        assert resolved_values(planned(ring, first, override).config) == resolved_values(planned(ring, given, override).config)


def test_options_of_a_strategy_do_not_go_over_to_another_and_that_is_told(ring: Dataset, tmp_path: Path) -> None:
    first = kept(planned(ring, {"strategy_options": {"entropy_weight": 0.1}}), tmp_path)
    with pytest.warns(UserWarning, match=r"Options of gml that independent does not take over: entropy_weight=0\.1"):
        assert planned(ring, first, {"strategy": "independent"}).config.strategy_options == {}
    with pytest.warns(UserWarning, match="grid over weight"):
        varied = parse_config({"strategy": "gml", "grid": {"strategy_options.weight": [1, 2]}}, {"strategy": "dml"})
    assert varied.grid is None


def test_options_given_for_any_strategy_go_to_the_one_that_is_chosen() -> None:
    config = parse_config({"strategy_options": {"weight": 2}}, {"strategy": "dml"})
    assert config.strategy_options == {"weight": 2}


def test_options_that_only_the_default_strategy_has_do_not_go_over_to_another() -> None:
    given = {"strategy_options": {"weight": 2, "weighting": "uniform"}}
    with pytest.warns(UserWarning, match=r"Options of gml that dml does not take over: weighting=uniform\.$"):
        assert parse_config(given, {"strategy": "dml"}).strategy_options == {"weight": 2}
    assert parse_config(given, {"strategy": "gml"}).strategy_options == given["strategy_options"]
    unknown = parse_config({"strategy_options": {"wieght": 2}}, {"strategy": "dml"})
    assert unknown.strategy_options == {"wieght": 2}  # a mistake, which is refused as one


def test_options_of_a_weighting_do_not_go_over_to_another_and_that_is_told() -> None:
    given = {"strategy_options": {"weight": 2, "weighting": "attention", "weighting_options": {"hidden": 8}}}
    with pytest.warns(UserWarning, match=r"Options of the weighting attention that uniform does not take over: hidden=8\.$"):
        found = parse_config(given, {"strategy_options": {"weighting": "uniform"}})
    assert found.strategy_options == {"weight": 2, "weighting": "uniform"}
    layers = ({"strategy_options": {"weighting_options": {"hidden": 8}}}, {"strategy_options": {"weighting": "attention"}})
    assert parse_config(*layers).strategy_options == {"weighting": "attention", "weighting_options": {"hidden": 8}}


def test_other_data_remove_the_fingerprint(ring: Dataset, pairs: Dataset, tmp_path: Path) -> None:
    first = kept(planned(ring, {}), tmp_path)
    assert first["fingerprint"]
    assert prepare(parse_config(first, {"dataset": pairs.name}), pairs).config.task == "graph"
    assert parse_config(first, {"dataset": "ring"}).fingerprint == first["fingerprint"]


@pytest.mark.parametrize("later", [None, "q"])
def test_another_pool_or_no_pool_removes_the_fingerprint(pairs: Dataset, tmp_path: Path, later: str | None) -> None:
    pools = {name: replace(pairs, name=name, features=np.asarray(pairs.features) + shift) for name, shift in (("p", 10.0), ("q", 20.0))}
    joined = {name: with_pool(pairs, pool)[0] for name, pool in pools.items()} | {None: pairs}
    for before in ("p", None):
        first = kept(planned(joined[before], {"unlabelled": before}), tmp_path)
        again = {"unlabelled": before}
        assert parse_config(first, again).fingerprint == first["fingerprint"]
        assert planned(joined[later], first, {"unlabelled": later}).config.unlabelled == later


@pytest.mark.parametrize(
    "values",
    [
        {"students": [{"architecture": "gcn", "hidden": 32}], "student": {"hidden": 16}},
        {"students": [{"architecture": "gcn", "hidden": 16}, {"architecture": "gat", "hidden": 32}], "student": {"hidden": 16}},
        {"student": {"architecture": "gat"}},
    ],
)
def test_an_option_of_all_students_that_none_takes_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"student\.(hidden|architecture) = .* has no effect, since every student has its own"):
        parse_config(values)


def test_all_of_a_resolved_configuration_counts_as_given(ring: Dataset) -> None:
    values = resolved_values(planned(ring, {"label_rate": 0.5, "students": "gcn,gat", "training": {"epochs": 40}}).config)
    assert layer_of_file(values) == values
    assert resolved_values(planned(ring, values, {"training": {"epochs": 80}}).config) == {
        **values,
        "training": {**values["training"], "epochs": 80},
    }
