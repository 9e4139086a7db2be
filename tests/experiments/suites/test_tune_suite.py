"""Tuning of a suite: its data, its warnings."""

from __future__ import annotations

import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.errors import SplitError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.suites import tune_suite
from dgl_mutual.experiments.suites.suite_file import Suite
from dgl_mutual.experiments.suites.tune_suite import prepare_suite
from dgl_mutual.options import parse_options
from dgl_mutual.store.files import SETTINGS_FILE
from tests.experiments.tuning.searches import faking


def test_searches_and_runs_share_a_dataset_which_searches_leave_as_it_was(
    tmp_path: Path, ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    loaded: list[Dataset] = []

    def load(*_: Any, **__: Any) -> Dataset:
        loaded.append(deepcopy(ring))
        return loaded[-1]

    monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", load)
    for module in ("plan", "tuning.search"):
        monkeypatch.setattr(f"dgl_mutual.experiments.{module}.anchored", lambda config: config)
    values = {
        "base": {"students": "gcn,sage", "training": {"epochs": 2}, "noise": "feature:0.2", "label_rate": 2, "seeds": 1},
        "datasets": ["ring"],
        "methods": {"independent": {}, "gml": {}},
    }
    suite = parse_options(Suite, values)
    plan, tuning = prepare_suite("small", suite, out=tmp_path, data=DataSource(), compute=Compute(jobs=1), leave_out=True, tuned=2)
    (dataset,) = loaded
    assert tuning is not None and len(tuning.searches) == 2
    assert len({id(one.dataset) for one in plan.plans}) == 1
    assert fingerprint(dataset) == fingerprint(ring)


def test_a_tuned_suite_names_options_without_effect_in_any_draw_once(
    tmp_path: Path, ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    faking(monkeypatch, lambda *_, **__: 0.5)
    of_dml = {"strategy_options": {"scale_by_temperature": False, "ema_decay": 0.5}}  # a search draws the temperature
    values = {
        "base": {"students": "gcn,sage", "training": {"epochs": 2, "fanout": [3, 3]}, "student": {"pooling": "max"}, "seeds": 1},
        "datasets": ["ring"],
        "methods": {"independent": {}, "dml": of_dml, "label-propagation": {}},
    }
    suite, data = parse_options(Suite, values), DataSource(in_memory={"ring": ring})
    for trials in (1, 2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            prepare_suite("small", suite, out=tmp_path, data=data, compute=Compute(jobs=1), leave_out=True, tuned=trials)
        told = [str(one.message).partition(" has no effect")[0] for one in caught]
        assert told == ["student.pooling = max", "training.fanout = (3, 3)", "strategy_options.ema_decay = 0.5"]


@pytest.mark.parametrize("failing", ["plan_search", "prepare"])
def test_a_dataset_that_a_search_or_a_run_cannot_split_is_left_out_for_all_methods_before_any_search(
    failing: str, tmp_path: Path, ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    faking(monkeypatch, lambda *_, **__: 0.5)
    before = getattr(tune_suite, failing)

    def refusing(config: RunConfig, *given: Any, **more: Any) -> Any:
        if config.label_rate == 3:
            raise SplitError("no such split")
        return before(config, *given, **more)

    monkeypatch.setattr(tune_suite, failing, refusing)
    values = {
        "base": {"students": "gcn,sage", "training": {"epochs": 2}, "seeds": 1},
        "datasets": ["ring", {"dataset": "ring", "name": "rare", "methods": {"dml": {}, "independent": {"label_rate": 3}}}],
        "methods": {"dml": {}, "independent": {}, "label-propagation": {}},
    }
    suite, data = parse_options(Suite, values), DataSource(in_memory={"ring": ring, "rare": ring})
    with pytest.raises(SplitError, match=r"^independent on rare: no such split$"):
        prepare_suite("small", suite, out=tmp_path / "all", data=data, compute=Compute(jobs=1), leave_out=False, tuned=1)
    assert not [*(tmp_path / "all").glob("*")]
    plan, tuning = prepare_suite("small", suite, out=tmp_path, data=data, compute=Compute(jobs=1), leave_out=True, tuned=1)
    assert tuning is not None and [*tuning.searches] == [("ring", "dml"), ("ring", "independent")]
    assert {run.data for run, _ in plan.entries} == {"ring"} and len(plan.entries) == 3
    assert {name: str(why) for name, why in plan.missing.items()} == {"rare": "independent on rare: no such split"}


def test_a_search_averages_over_the_splits_that_its_dataset_asks_for(
    tmp_path: Path, ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    faking(monkeypatch, lambda *_, **__: 0.5)
    values = {
        "base": {"students": "gcn,sage", "training": {"epochs": 2}, "seeds": 1},
        "datasets": [{"dataset": "ring", "tuning": {"trials": 1, "splits": 3}}],
        "methods": {"independent": {}, "gml": {}},
    }
    data = DataSource(in_memory={"ring": ring})
    _, tuning = prepare_suite(
        "small", parse_options(Suite, values), out=tmp_path, data=data, compute=Compute(jobs=1), leave_out=True, tuned=2
    )
    assert tuning is not None
    for search in tuning.searches.values():
        assert len(search.history) == 1 and yaml.safe_load((search.folder / SETTINGS_FILE).read_text())["splits"] == 3
