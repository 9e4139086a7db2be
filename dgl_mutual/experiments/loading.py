"""The data of a configuration: its dataset, and the pool of unlabelled graphs, if there is one."""

from __future__ import annotations

import warnings
from pathlib import Path

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.load import load_dataset
from dgl_mutual.data.pool import with_pool
from dgl_mutual.experiments.config import RunConfig


def load_data(config: RunConfig, *, data_dir: Path | None = None, offline: bool = False) -> Dataset:
    """Load what a configuration names; see `load_dataset` and `load_pool`.

    Raises:
        UsageError, DataError: as there.
    """
    dataset = load_dataset(config.dataset, config.task, data_dir=data_dir, offline=offline, progress=True, targets=config.targets)
    return load_pool(dataset, config.unlabelled, data_dir=data_dir, offline=offline)


def load_pool(dataset: Dataset, unlabelled: str | None, *, data_dir: Path | None = None, offline: bool = False) -> Dataset:
    """The dataset with the pool of this name, or in this folder; itself where there is none.

    Raises:
        UsageError, DataError: see `load_dataset` and `with_pool`.
    """
    if unlabelled is None:
        return dataset
    return joined_with_pool(dataset, load_dataset(unlabelled, data_dir=data_dir, offline=offline, progress=True, require_labels=False))


def joined_with_pool(dataset: Dataset, pool: Dataset) -> Dataset:
    """The dataset with a pool, and a warning that counts the graphs that were left out, if there are some."""
    joined, dropped = with_pool(dataset, pool)
    if dropped:
        warnings.warn(
            f"{dropped} of the {pool.num_graphs} graphs of the pool {pool.name} are graphs of {dataset.name} and are left out, since some "
            f"of those are for validation or test; {joined.num_pool} are left.",
            stacklevel=3,
        )
    return joined
