"""Common parts of the benchmarks: the measured cohort, and the output of tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pandas as pd
import torch

from dgl_mutual.data import load_dataset
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import FeatureKind
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.configuration.splits import splits_of
from dgl_mutual.experiments.trial import Trial
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.state import TrainingState

ARCHITECTURES = ("gcn", "gat", "gin", "sage")


def prepare(
    name: str,
    *,
    epochs: int,
    batch_size: int | None = None,
    strategy: str = "gml",
    architectures: Sequence[str] = ARCHITECTURES,
    edge_labels: int = 0,
) -> tuple[RunConfig, Dataset, Trial]:
    """The measured run on a dataset: students with the package's default options, and the exchange from epoch 0 on.

    Args:
        edge_labels: number of random edge labels for a dataset without edge features, the same in both directions; 0 for none.
    """
    dataset = load_dataset(name)
    if edge_labels and dataset.edge_features is None:
        dataset = with_edge_labels(dataset, edge_labels)
    config = RunConfig(
        dataset=name,
        task=dataset.task,
        students=tuple(StudentOptions(architecture=architecture) for architecture in architectures),
        strategy=strategy,
        strategy_options={"exchange_warmup": [0, 0]} if strategy == "gml" else {},
        seeds=1,
        training=TrainingOptions(epochs=epochs, patience=epochs, batch_size=batch_size),
    )
    resolved = resolve(config, dataset)
    return resolved, dataset, Trial(0, 0, splits_of(resolved, dataset, 0)[0])


def with_edge_labels(dataset: Dataset, count: int) -> Dataset:
    """The dataset with random edge labels, one-hot as in TU datasets."""
    source, destination = dataset.edges
    pairs = np.stack([np.minimum(source, destination), np.maximum(source, destination)])
    _, number = np.unique(pairs, axis=1, return_inverse=True)
    labels = np.random.default_rng(0).integers(count, size=number.max() + 1)[number]
    names = tuple(f"label {label}" for label in range(count))
    kinds: tuple[FeatureKind, ...] = ("indicator",) * count
    return dataset.replaced(edge_features=np.eye(count, dtype=np.float32)[labels], edge_feature_names=names, edge_feature_kinds=kinds)


def milliseconds(function: Callable[[], object], repeats: int = 30) -> float:
    """Median milliseconds of a call, after three warm-up calls."""
    for _ in range(3):
        function()
    timings = []
    for _ in range(repeats):
        started = perf_counter()
        function()
        timings.append(perf_counter() - started)
    return 1000 * median(timings)


class Clock(Callback):
    """Measures the milliseconds of each epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._mark = perf_counter()

    def on_epoch_end(self, state: TrainingState) -> None:
        now = perf_counter()
        self.times.append(1000 * (now - self._mark))
        self._mark = now


def write(table: pd.DataFrame, out: Path, name: str, title: str) -> None:
    """Write the table as CSV, and as Markdown with a description of the machine, and print it."""
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{name}.csv", index=False)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
    rows = [table.columns, ["---"] * len(table.columns), *table.astype(str).itertuples(index=False)]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    (out / f"{name}.md").write_text(f"{title}\n\nMeasured on: {machine}.\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    print(table.to_string(index=False), flush=True)
