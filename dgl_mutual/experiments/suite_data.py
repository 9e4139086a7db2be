"""The datasets of a suite, each loaded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.load import load_dataset
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.loading import joined_with_pool, load_pool, takes_edge_features


@dataclass(frozen=True, eq=False)
class SuiteData:
    """Where the datasets of a suite come from. It keeps what it has loaded, so hold it no longer than runs are planned.

    Attributes:
        data_dir, offline: see `load_dataset`.
        in_memory: datasets that need not be loaded, by the names that the suite's tables use.
        pool: a pool of unlabelled graphs that need not be loaded either, for datasets in memory; configurations name it as `unlabelled`.
    """

    data_dir: Path | None = None
    offline: bool = False
    in_memory: Mapping[str, Dataset] = field(default_factory=dict)
    pool: Dataset | None = None
    _made: dict[Hashable, Dataset] = field(default_factory=dict, init=False, repr=False)

    def load(self, name: str, config: RunConfig) -> Dataset:
        """The dataset of a run, with its pool of unlabelled graphs and its metric. Runs that ask for the same share it.

        Args:
            name: what the suite's tables call it.
            config: of the run.

        Raises:
            UsageError, DataError: see `load_dataset`, `load_pool` and `Dataset.with_metric`.
        """
        if name in self.in_memory:
            dataset = self.in_memory[name]
        else:
            dataset = self._once((config.dataset, config.task, config.targets), lambda: self._loaded(config))
        edge_features = takes_edge_features(config.cohort)
        pooled = self._once((dataset, config.unlabelled, edge_features), lambda: self._pooled(dataset, config.unlabelled, edge_features))
        return self._once((pooled, config.metric), lambda: pooled.with_metric(config.metric))

    def _once(self, key: Hashable, make: Callable[[], Dataset]) -> Dataset:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _loaded(self, config: RunConfig) -> Dataset:
        return load_dataset(
            config.dataset, config.task, data_dir=self.data_dir, offline=self.offline, progress=True, targets=config.targets
        )

    def _pooled(self, dataset: Dataset, unlabelled: str | None, edge_features: bool) -> Dataset:
        if self.pool is not None and unlabelled == self.pool.name:
            return joined_with_pool(dataset, self.pool, edge_features=edge_features)
        return load_pool(dataset, unlabelled, edge_features=edge_features, data_dir=self.data_dir, offline=self.offline)
