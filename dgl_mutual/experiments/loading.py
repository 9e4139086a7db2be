"""Loading the data of a configuration: the dataset, and its pool of unlabelled graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.load import load_dataset
from dgl_mutual.data.pool import with_pool
from dgl_mutual.errors import TaskMismatchError, UsageError
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.nn.architectures import ARCHITECTURES
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.utils.warning import warn
from dgl_mutual.utils.wording import counted


def load_data(config: RunConfig, *, data_dir: Path | None = None, offline: bool = False) -> Dataset:
    """Load what a configuration names; see `load_dataset` and `load_pool`.

    Raises:
        UsageError, DataError: as there.
    """
    dataset = load_dataset(config.dataset, config.task, data_dir=data_dir, offline=offline, progress=True, targets=config.targets)
    return load_pool(dataset, config.unlabelled, edge_features=takes_edge_features(config.cohort), data_dir=data_dir, offline=offline)


def load_pool(
    dataset: Dataset, unlabelled: str | None, *, edge_features: bool = True, data_dir: Path | None = None, offline: bool = False
) -> Dataset:
    """The dataset with the pool of this name, or in this folder; itself where there is none. For `edge_features` see `joined_with_pool`.

    Raises:
        UsageError, DataError: see `load_dataset` and `with_pool`.
    """
    if unlabelled is None:
        return dataset
    return joined_with_pool(dataset, read_pool(unlabelled, data_dir=data_dir, offline=offline), edge_features=edge_features)


def read_pool(unlabelled: str, *, data_dir: Path | None = None, offline: bool = False) -> Dataset:
    """The graphs of this name, or in this folder, with labels or without.

    Raises:
        UsageError, DataError: see `load_dataset`.
    """
    try:
        return load_dataset(unlabelled, "graph", data_dir=data_dir, offline=offline, progress=True, require_labels=False)
    except TaskMismatchError:
        raise UsageError(
            f"A pool of unlabelled graphs is for graph tasks, and {unlabelled} is a dataset for the node task. Leave the pool out."
        ) from None


def takes_edge_features(students: Sequence[StudentOptions]) -> bool:
    """Whether a student takes edge features, if the dataset has them."""
    return any(
        student.edge_features
        if student.is_custom
        else student.edge_features is not False and ARCHITECTURES[student.architecture_name].takes_edge_features
        for student in students
    )


def joined_with_pool(dataset: Dataset, pool: Dataset, *, edge_features: bool = True) -> Dataset:
    """The dataset with a pool, and a warning that counts the graphs that were left out, if there are some.

    Args:
        edge_features: whether a student takes them. If not, the pool may have others, and both go without; graphs that differ in these
            alone are the same.
    """
    if pool.edge_feature_names != dataset.edge_feature_names and not edge_features:
        dataset, pool = dataset.without_edge_features(), pool.without_edge_features()
    joined, dropped = with_pool(dataset, pool, edge_features=edge_features)
    if dropped:
        warn(
            f"Of the pool {pool.name!r}, {dropped} of {counted(pool.num_graphs, 'graph')} are in {dataset.name!r}, too, and are left out, "
            f"since some of those are for validation or test; {joined.num_pool} are left."
        )
    return joined
