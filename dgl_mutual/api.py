"""What `import dgl_mutual` offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dgl_mutual.data.dataset import Dataset, TaskName
from dgl_mutual.data.load import as_dataset, load_dataset
from dgl_mutual.data.targets import select_targets
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.config import parse_config
from dgl_mutual.experiments.device import resolve_device
from dgl_mutual.experiments.resolve import refuse_idle, resolve, splits_of
from dgl_mutual.experiments.trial import fit_resolved
from dgl_mutual.joint import TaskWeights
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.seeds import check_whole

__all__ = ["fit", "load", "load_student"]


def load(
    name: str | Path | Any,
    task: TaskName | None = None,
    *,
    targets: Sequence[str] | None = None,
    data_dir: str | Path | None = None,
    offline: bool = False,
) -> Dataset:
    """Load a dataset by name, from a folder that holds one, or from a graph in memory.

    Args:
        name: a name, a folder, or whatever `Dataset.from_dgl` or `Dataset.from_pyg` takes.
        task: ``node`` or ``graph``, where the dataset is for both.
        targets: which of several targets, or in a folder in CSV form the label columns (default: all; in CSV form the column ``label``).
        data_dir: the data folder; default: the environment's DGL_MUTUAL_DATA, else ``./data``.
        offline: never try to download.

    Raises:
        UsageError: an unknown name or target, or a task that the dataset is not for.
        DataError: files are missing and cannot be downloaded, or break a rule of their format.
    """
    if not isinstance(name, str | Path):
        dataset = as_dataset(name, task)
        return dataset if targets is None else select_targets(dataset, targets)
    return load_dataset(name, task, data_dir=None if data_dir is None else Path(data_dir), offline=offline, targets=targets)


def fit(
    dataset: Dataset | Any,
    students: str | Sequence[str | Mapping[str, Any]] = "gcn,gat,gin,sage",
    strategy: str | type[Strategy] = "gml",
    *,
    seed: int = 0,
    protocol: str | None = None,
    fold: int = 0,
    folds: int | None = None,
    student: Mapping[str, Any] | None = None,
    strategy_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    task_weights: TaskWeights | None = None,
    device: str = "cpu",
) -> FitResult:
    """Train one cohort: what ``dgl-mutual run`` does for one seed and fold, with the same result.

    Args:
        dataset: a dataset, or a DGL or PyG graph, as `load` takes it.
        students: the cohort, by names of architectures or with options of their own (see `StudentOptions`).
        student: options of all students.
        strategy, strategy_options: how they teach each other: a name, an import path ``package.module:Class``, or a subclass of
            `Strategy`, and its options.
        training: see `TrainingOptions`.
        task_weights: how several targets are weighed against each other: equal, or by learned uncertainty.
        protocol, fold, folds: how the samples are split, and which of the splits to take.
        device: cpu, cuda, cuda:N (the N-th GPU), or auto.

    Raises:
        UsageError: an unknown name, key or value, or options that do not fit together.
        TrainingError: a loss that is not finite, or a metric that is not defined on a part of the split.
    """
    dataset = as_dataset(dataset)
    given = {
        "dataset": dataset.name,
        "students": students,
        "strategy": strategy,
        "protocol": protocol,
        "folds": folds,
        "student": student or {},
        "strategy_options": strategy_options or {},
        "training": training or {},
        "task_weights": task_weights,
    }
    asked = parse_config(given)
    config = resolve(asked, dataset)
    refuse_idle(asked, config)
    splits = splits_of(config, dataset, seed)
    check_whole("fold", fold)
    if not 0 <= fold < len(splits):
        raise UsageError(f"There is no fold {fold}: protocol {config.protocol!r} has the folds 0 to {len(splits) - 1} here.")
    return fit_resolved(config, dataset, splits[fold], seed=seed, fold=fold, device=resolve_device(device))
