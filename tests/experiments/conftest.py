from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.training.result import MemberResult
from dgl_mutual.training.seeds import TrialSeed


@pytest.fixture
def ring() -> Dataset:
    """A node task: a ring of 24 nodes, three classes, with an official split."""
    nodes = np.arange(24)
    return Dataset.from_arrays(
        (nodes, (nodes + 1) % 24),
        np.eye(24, 5, dtype=np.float32),
        np.array(["a", "b", "c"])[nodes % 3],
        split=Split(nodes[:12], nodes[12:18], nodes[18:]),
        name="ring",
        symmetric=True,
        feature_names=tuple("vwxyz"),
    )


@pytest.fixture
def pairs() -> Dataset:
    """A graph task: 40 graphs of two nodes, two classes."""
    first = 2 * np.arange(40)
    return Dataset.from_arrays(
        (first, first + 1),
        np.tile(np.eye(2, dtype=np.float32), (40, 1)),
        np.tile(["even", "odd"], 20),
        node_offsets=2 * np.arange(41),
        name="pairs",
        symmetric=True,
    )


@pytest.fixture
def datasets_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of datasets are no paths: a configuration keeps them as they are given."""
    monkeypatch.setattr("dgl_mutual.experiments.plan.anchored", lambda config: config)


class FakeResult:
    """What `fit_cohort` would return, with figures that follow from seed and fold."""

    def __init__(self, seed: int, fold: int) -> None:
        test = 1 / (3 + seed + 10 * fold)
        self.members = tuple(
            MemberResult(name, architecture, 1.0, 0.5, test + index / 4, best, 0.25, 7)
            for index, (name, architecture, best) in enumerate([("gcn-0", "gcn", 1), ("gat-1", "gat", 0), ("mean", "-", None)])
        )
        self.history = [{"epoch": float(epoch), "loss/supervised/gcn-0": 0.1 + seed + fold + epoch} for epoch in range(2)]
        self.reliability = [{"metric": "accuracy", "member": "gcn-0", "bin": 14, "count": 3, "accuracy": test, "confidence": 0.96}]
        self.tasks: dict[str, tuple[MemberResult, ...]] = {}
        self.disagreement_by_task: dict[str, float] = {}
        self.cohort = SimpleNamespace(num_students=2)
        self.exchange_on = "labelled"
        self.epochs, self.train_seconds, self.seconds_per_epoch, self.disagreement = 2, 4.0, 2.0, 0.125

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for end in ("json", "safetensors"):
            (folder / f"gcn-0.{end}").write_text("trained")


@pytest.fixture
def fake_training(
    monkeypatch: pytest.MonkeyPatch, ring: Dataset, pairs: Dataset
) -> Callable[[Callable[[int, int], None]], list[tuple[int, int]]]:
    """Replace training and loading; returns the list of trials that ran. An argument is called with seed and fold before each."""

    def install(before: Callable[[int, int], None] = lambda seed, fold: None) -> list[tuple[int, int]]:
        ran: list[tuple[int, int]] = []

        def fit(*_: Any, seed: TrialSeed, **__: Any) -> FakeResult:
            before(seed.seed, seed.fold)
            ran.append((seed.seed, seed.fold))
            return FakeResult(seed.seed, seed.fold)

        monkeypatch.setattr("dgl_mutual.experiments.trial.fit_cohort", fit)
        monkeypatch.setattr("dgl_mutual.experiments.work.peak", lambda device: 512.0)
        return ran

    monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", lambda _, task, **__: pairs if task == "graph" else ring)
    return install
