"""Short searches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.configuration.config import RunConfig, parse_config
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.tuning import objective
from dgl_mutual.experiments.tuning.search import Tuning, search_space, tune
from dgl_mutual.experiments.tuning.study import Search, SearchPlan
from dgl_mutual.experiments.tuning.trials import import_optuna
from dgl_mutual.search_space import SearchSpace

QUICK = {"students": "gcn,sage", "strategy": "gml", "training": {"epochs": 12}, "dataset": "ring"}


def quick(dataset: Dataset, out: Path, trials: int = 3, **options: Any) -> Tuning:
    values = {**QUICK, **options.pop("config", {})}
    return tune(parse_config(values), dataset, trials=trials, out=out, in_memory=True, **options)


def search_in(folder: Path, dataset: Dataset, config: RunConfig, space: SearchSpace | None = None, *, splits: int = 1) -> Search:
    """The search of a configuration in a folder, to be opened."""
    found = search_space(config) if space is None else space
    import_optuna()
    return Search(SearchPlan(folder, config, resolve(config, dataset), found, splits, trials=3, schema={}, label="tune"))


def faking(monkeypatch: pytest.MonkeyPatch, fit: Callable[..., float]) -> None:
    """Replace training; the function is given what `fit_resolved` is, and returns the metric on validation."""
    monkeypatch.setattr(objective, "fit_resolved", lambda *given, **more: {"mean": SimpleNamespace(val=fit(*given, **more))})
