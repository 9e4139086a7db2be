"""Short trainings on small datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pytest

from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.result import FitResult
from tests.cohorts import train_cohort
from tests.training.small_data import Data, graphs, multi_label_graphs, nodes

Fit: TypeAlias = Callable[..., FitResult]


@pytest.fixture
def node_data() -> Data:
    return nodes()


@pytest.fixture
def graph_data() -> Data:
    return graphs()


@pytest.fixture
def multi_label_data() -> Data:
    return multi_label_graphs()


@pytest.fixture
def fit() -> Fit:
    def run(data: Data, students: Sequence[str | StudentOptions] = ("gcn", "sage"), epochs: int = 4, **changed: Any) -> FitResult:
        """`fit_cohort` with narrow students, few epochs, and an exchange from the first epoch on."""
        options = [s if isinstance(s, StudentOptions) else StudentOptions(architecture=s, hidden=8, heads=2) for s in students]  # type: ignore[arg-type]  # a name out of a literal
        training = TrainingOptions(epochs=epochs, **changed.pop("training", {}))
        if changed.get("strategy", "gml") == "gml":
            changed["strategy_options"] = {"exchange_warmup": (0, 0), **changed.get("strategy_options", {})}
        return train_cohort(*data, students=options, training=training, **changed)

    return run


@pytest.fixture
def data_of(node_data: Data, graph_data: Data, multi_label_data: Data) -> Callable[[str], Data]:
    return {"node": node_data, "graph": graph_data, "multi-label": multi_label_data}.__getitem__
