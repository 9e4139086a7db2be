"""Loading of datasets with their pools of unlabelled graphs, each only once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.pool import with_pool
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.errors import TaskMismatchError, UsageError
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.nn.architectures import ARCHITECTURES
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted


class DataSource:
    """Source of the datasets of runs. It caches loaded datasets, so drop it once the runs are planned.

    Attributes:
        data_dir, offline: see `load_dataset`.
        in_memory: datasets in memory, by their names in the tables of a suite.
        pool: a pool of unlabelled graphs in memory, for datasets in memory; configurations name it as `unlabelled`.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        offline: bool = False,
        in_memory: Mapping[str, Dataset] | None = None,
        pool: Dataset | None = None,
    ) -> None:
        self.data_dir, self.offline, self.in_memory, self.pool = data_dir, offline, in_memory or {}, pool
        self._cache: dict[Hashable, Dataset] = {}

    def load(self, config: RunConfig, name: str = "") -> Dataset:
        """Load the dataset of a run, with its pool of unlabelled graphs and its metric. Equal datasets are shared by runs.

        Args:
            name: its name in the tables of a suite.

        Raises:
            UsageError, DataError: see `load_dataset`, `with_pool` and `Dataset.with_metric`.
        """
        dataset = self.in_memory.get(name)
        if dataset is None:
            dataset = self._once((config.dataset, config.task, config.targets), self._loaded, config)
        edge_features = takes_edge_features(config.cohort)
        pooled = self._once((dataset, config.unlabelled, edge_features), self._pooled, dataset, config.unlabelled, edge_features)
        return self._once((pooled, config.metric), pooled.with_metric, config.metric)

    def _once(self, key: Hashable, make: Callable[..., Dataset], *arguments: Any) -> Dataset:
        if key not in self._cache:
            self._cache[key] = make(*arguments)
        return self._cache[key]

    def _loaded(self, config: RunConfig) -> Dataset:
        return load_dataset(
            config.dataset, config.task, data_dir=self.data_dir, offline=self.offline, progress=True, targets=config.targets
        )

    def _pooled(self, dataset: Dataset, unlabelled: str | None, edge_features: bool) -> Dataset:
        if unlabelled is None:
            return dataset
        pool = self.pool
        if pool is None or pool.name != unlabelled:
            pool = read_pool(unlabelled, data_dir=self.data_dir, offline=self.offline)
        return joined_with_pool(dataset, pool, edge_features=edge_features)


def load_data(config: RunConfig, *, data_dir: Path | None = None, offline: bool = False) -> Dataset:
    """Load the dataset of a configuration; see `DataSource.load`.

    Raises:
        UsageError, DataError: as there.
    """
    return DataSource(data_dir, offline).load(config)


def read_pool(unlabelled: str, *, data_dir: Path | None = None, offline: bool = False) -> Dataset:
    """Load a pool of unlabelled graphs by the name or folder of a dataset, with or without labels.

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
    """Whether any student takes edge features, if the dataset has them."""
    return any(
        student.edge_features
        if student.is_custom
        else student.edge_features is not False and ARCHITECTURES[student.architecture_name].takes_edge_features
        for student in students
    )


def joined_with_pool(dataset: Dataset, pool: Dataset, *, edge_features: bool = True) -> Dataset:
    """Join a dataset with a pool. A warning counts the graphs of the pool that are left out, if any.

    Args:
        edge_features: whether a student takes edge features. If not, those of dataset and pool may differ: they are removed from both, and
            not compared.
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
