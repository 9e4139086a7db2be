from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import DataError
from dgl_mutual.experiments.suites.suite_file import Suite
from dgl_mutual.options import parse_options

Install = Callable[..., list[tuple[int, int]]]


SMALL: dict[str, Any] = {
    "base": {"seeds": 2},
    "datasets": ["ring", {"dataset": "pairs", "task": "graph", "name": "couples", "folds": 2, "seeds": 1, "methods": ["gml"]}],
    "methods": {"independent": None, "gml": None, "gml, plain": {"strategy": "gml", "strategy_options": {"weighting": "uniform"}}},
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, fake_training: Install, ring: Dataset, pairs: Dataset) -> Suite:
    """A suite whose datasets are here and whose training is not."""
    fake_training()

    def load(name: str, task: str | None, **_: Any) -> Dataset:
        if name == "gone":
            raise DataError("The dataset gone is not here")
        return pairs if name == "pairs" else ring

    monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", load)
    monkeypatch.setattr("dgl_mutual.experiments.plan.anchored", lambda config: config)
    return parse_options(Suite, SMALL)
