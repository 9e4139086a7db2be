"""What a search varies: what options declare, without what is given."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import parse_config, read_config
from dgl_mutual.experiments.configuration.given import given_values
from dgl_mutual.experiments.configuration.grid import point_of
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.tuning.search import search_space
from dgl_mutual.nn.options import GRAPH_TASK_OPTIONS, StudentOptions
from dgl_mutual.search_space import Categorical, Real, SearchSpace
from dgl_mutual.store.files import BEST_FILE
from dgl_mutual.strategies import STRATEGY_REGISTRY, ExchangeOptions, ExchangeStrategy
from dgl_mutual.training.options import TrainingOptions
from tests.experiments.tuning.searches import QUICK, faking, quick

pytest.importorskip("optuna")

STRATEGIES = (
    *("gml", "dml", "kd", "kdcl", "okddip", "oad", "alignahead", "bgnn", "independent"),
    *("mean-teacher", "pseudo-label", "self-distillation", "snapshot-distillation", "ensemble-distillation"),
)


def test_given_options_are_searched_if_asked_for_and_come_first(ring: Dataset, tmp_path: Path) -> None:
    config = {"training": {"epochs": 12, "learning_rate": 0.02, "weight_decay": 0.0}, "student": {"hidden": 8, "norm": "layer"}}
    tuning = quick(ring, tmp_path, trials=6, config=config, search=("training.learning_rate", "student.norm"))
    drawn = tuning.history[["training.learning_rate", "student.norm"]]
    assert drawn.loc[0].tolist() == [0.02, "layer"] and drawn["training.learning_rate"].nunique() > 2
    assert not {"training.weight_decay", "student.hidden"} & set(tuning.history.columns)
    best = tuning.history["value"].idxmax()
    assert tuning.best is not None and parse_config(tuning.best).training.learning_rate == drawn.loc[best, "training.learning_rate"]
    assert read_config(tuning.folder / BEST_FILE)["student"]["hidden"] == 8
    assert tuning.folder != quick(ring, tmp_path, trials=1, config=config).folder


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("training.learnig_rate", "Unknown option to search 'training.learnig_rate'. Did you mean 'training.learning_rate'?"),
        ("learning_rate", r"Unknown option to search 'learning_rate'. Did you mean 'training.learning_rate'\?"),
        ("temperature", r"Did you mean 'strategy_options.temperature'\?"),
        ("training.epochs", "Unknown option to search 'training.epochs'"),
        ("student.hidden", "student.hidden cannot be searched: every student has its own hidden"),
        ("training.edge_drop", "training.edge_drop cannot be searched: .*training.sampler"),
    ],
)
def test_options_that_cannot_be_searched_are_refused(search: str, message: str) -> None:
    students = [{"architecture": "gcn", "hidden": 8}, {"architecture": "sage", "hidden": 4}]
    config = parse_config({"students": students, "training": {"sampler": "neighbor"}})
    with pytest.raises(UsageError, match=message):
        search_space(config, [search])


class Kind(enum.Enum):
    A = "a"
    B = "b"


class Searched(ExchangeStrategy):
    class Options(ExchangeOptions):
        search_space: ClassVar[SearchSpace] = {
            "kind": Categorical((Kind.A, Kind.B)),
            "file": Categorical((Path("x"), Path("y"))),
            "places": Categorical((frozenset({3, 1}), frozenset({2}))),
            "count": Categorical((np.int64(1), np.int64(2))),
            "rate": Real(np.float32(0.5), np.float32(2)),
            "idle": Real(0.1, 1.0),
        }
        idle_with: ClassVar[dict[str, dict[str, tuple[Any, ...]]]] = {"idle": {"kind": (Kind.A,)}}
        kind: Kind = Kind.A
        file: Path = Path("x")
        places: frozenset[int] = frozenset({3, 1})
        count: int = 2
        rate: float = 1.0
        idle: float = 0.5

    def loss_terms(self, step: Any) -> Any: ...


def test_options_of_a_custom_strategy_are_searched_whatever_their_type(
    ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    faking(monkeypatch, lambda trial, config, *_, **__: drawn.append(config.strategy_options) or 0.5)
    tuning = quick(ring, tmp_path, trials=8, config={"strategy": Searched})
    history = tuning.history.rename(columns=lambda name: name.removeprefix("strategy_options."))
    assert history[["kind", "file", "places", "count", "rate"]].loc[0].tolist() == ["a", "x", "[1, 3]", 2, 1.0]
    assert set(history["kind"]) == {"a", "b"} and set(history["places"]) == {"[1, 3]", "[2]"}
    assert [one["places"] for one in drawn[1:]] == [{"[2]": [2]}.get(text, [1, 3]) for text in history["places"][1:]]
    assert history["idle"][1:].isna().tolist() == (history["kind"][1:] == "a").tolist()
    assert quick(ring, tmp_path, trials=8, config={"strategy": Searched}).folder == tuning.folder


def test_options_of_a_custom_strategy_inherit_idle_with() -> None:
    assert set(Searched.Options.all_idle_with()) == {"idle", "ema_decay", "scale_by_temperature", "temperature", "target_temperature"}
    options = Searched.Options(kind=Kind.B, ema_decay=0.5)
    assert "since targets = train" in options.without_effect(3)["ema_decay"] and "idle" not in options.without_effect(3)

    class Narrower(Searched.Options):
        idle_with: ClassVar[dict[str, dict[str, tuple[Any, ...]]]] = {"ema_decay": {"targets": ("eval",)}}

    assert "ema_decay" not in Narrower(ema_decay=0.5).without_effect(3) and "idle" in Narrower().without_effect(3)


def test_an_option_without_effect_is_not_drawn(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda trial, config, *_, **__: 0.5)
    pull, weighting = "strategy_options.uniform_kl_weight", "strategy_options.weighting"
    three = {"students": "gcn,sage,gin"}
    history = quick(ring, tmp_path, trials=20, config=three).history
    learned = history[weighting] == "attention"
    assert learned.any() and history[pull][learned].notna().all()
    assert not learned.all() and history[pull][~learned].isna().all()
    given = quick(ring, tmp_path, trials=6, config={**three, "strategy_options": {"weighting": "classwise"}}).history
    assert given[pull].notna().any()
    given = quick(ring, tmp_path, trials=6, config={**three, "strategy_options": {"weighting": "uniform"}}).history
    assert pull not in given


class Weighed(Searched):
    class Options(ExchangeOptions):
        search_space: ClassVar[SearchSpace] = {"weight": Categorical((0.0, 1.0)), "temperature": Real(0.5, 5.0)}


def test_options_of_the_exchange_are_drawn_only_with_an_exchange(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda trial, config, *_, **__: 0.5)
    drawn = quick(ring, tmp_path, trials=12, config={"strategy": Weighed}).history[1:]
    assert set(drawn["strategy_options.weight"]) == {0.0, 1.0}
    assert drawn["strategy_options.temperature"].isna().tolist() == (drawn["strategy_options.weight"] == 0.0).tolist()


def test_options_without_effect_on_two_students_are_not_drawn(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faking(monkeypatch, lambda trial, config, *_, **__: 0.5)
    idle = {f"strategy_options.{name}" for name in ("weighting", "mix", "uniform_kl_weight")}
    assert idle < search_space(parse_config(QUICK)).keys()
    with monkeypatch.context() as earlier:  # a version that drew them
        earlier.setattr("dgl_mutual.experiments.tuning.proposals.without_effect_in_search", lambda *_: {})
        begun = quick(ring, tmp_path, trials=3)
    assert idle < set(begun.history)
    gone_on = quick(ring, tmp_path, trials=6)
    assert gone_on.folder == begun.folder and len(gone_on.history) == 6
    assert gone_on.history.loc[3:, list(idle)].isna().all(axis=None)
    anew = quick(ring, tmp_path / "anew", trials=6)
    assert not idle & set(anew.history) and not idle & read_config(anew.folder / "tuning.yaml")["space"].keys()
    with pytest.raises(UsageError, match=r"A search of strategy_options\.mix finds nothing, since each of two students has one peer"):
        quick(ring, tmp_path, search=["strategy_options.mix"])
    with pytest.raises(UsageError, match=r"A search of strategy_options\.weighting finds nothing, since each of two students has one peer"):
        quick(ring, tmp_path, search=["strategy_options.weighting"])


def searched_by_name() -> list[str]:
    options = {"training": TrainingOptions, "student": StudentOptions}
    return sorted(f"{group}.{key}" for group, kind in options.items() for key in kind.searched_by_name)


def test_some_options_are_searched_only_where_they_are_named(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = searched_by_name()
    views = ["training.edge_drop", "training.feature_mask", "training.node_drop"]
    students = ["student.input_readout", "student.pooling", "student.readout", "student.virtual_node"]
    assert named == [*students, *views, "training.positions"]
    config = parse_config(QUICK)
    assert not set(named) & search_space(config).keys()
    assert search_space(config, named).keys() == search_space(config).keys() | set(named)
    given = parse_config({**QUICK, "training": {**QUICK["training"], "edge_drop": 0.3}})
    assert "training.edge_drop" in search_space(given, named)

    drawn = []
    faking(monkeypatch, lambda trial, config, *_, **__: drawn.append(config.training.edge_drop) or 0.5)
    history = quick(ring, tmp_path, trials=4, search=["training.edge_drop"]).history
    assert history["training.edge_drop"].tolist() == drawn
    assert drawn[0] == 0.0 and 0.0 < max(drawn) <= 0.6


def test_search_spaces_are_declared_and_both_ends_are_options(ring: Dataset) -> None:
    shared = {f"training.{key}" for key in TrainingOptions.search_space} | {f"student.{key}" for key in StudentOptions.search_space}
    named = set(searched_by_name()) - {f"student.{key}" for key in GRAPH_TASK_OPTIONS}
    shared |= named
    for name in STRATEGIES:
        assert STRATEGY_REGISTRY.resolve(name).Options.search_space or name == "independent"
        config = parse_config({**QUICK, "strategy": name})
        space = search_space(config, named)
        assert shared <= set(space) and {key for key in space if key.startswith("strategy_options.")} == set(space) - shared
        for key, domain in space.items():
            for value in domain.values if isinstance(domain, Categorical) else (domain.low, domain.high):
                resolve(point_of(given_values(config), {key: value}), ring)


def test_options_of_graph_tasks_are_searched_there_alone(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in GRAPH_TASK_OPTIONS:
        with pytest.raises(UsageError, match=rf"student\.{key} is an option of graph tasks, and this is a node task"):
            quick(ring, tmp_path, search=[f"student.{key}"])
    assert not any(tmp_path.iterdir())

    drawn = []
    faking(monkeypatch, lambda trial, config, *_, **__: drawn.append(config.students[0]) or 0.5)
    config = {"task": "graph", "dataset": "digits", "protocol": "nested"}
    quick(load_dataset("digits", "graph"), tmp_path, trials=6, search=["student.pooling", "student.virtual_node"], config=config)
    assert len({one.pooling for one in drawn}) > 1 and {one.virtual_node for one in drawn} == {False, True}


def test_a_choice_whose_options_are_given_is_not_searched() -> None:
    options = {"weighting_options": {"power": 1}}
    assert "strategy_options.weighting" in search_space(parse_config({**QUICK, "strategy": "gml"}))
    assert "strategy_options.weighting" not in search_space(parse_config({**QUICK, "strategy": "gml", "strategy_options": options}))


def test_options_given_for_each_student_and_custom_students_are_not_searched() -> None:
    students = [{"architecture": "gcn", "hidden": 8}, {"architecture": "gat", "hidden": 16}]
    assert "student.hidden" not in search_space(parse_config({**QUICK, "students": students}))
    assert "student.dropout" in search_space(parse_config({**QUICK, "students": students}))
    own = search_space(parse_config({**QUICK, "students": [lambda width, outputs: None]}))
    assert not [key for key in own if key.startswith("student.")]
    sampled = {"sampler": "neighbor", "fanout": [5, 5]}
    assert "student.depth" not in search_space(parse_config({**QUICK, "training": sampled}))
