"""A run that is ready to start: everything is resolved, loaded and drawn, and nothing is trained or written yet."""

from __future__ import annotations

from dataclasses import dataclass

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.resolve import anchored, resolve, run_name, splits_of
from dgl_mutual.experiments.trial import Trial


@dataclass(frozen=True, eq=False)
class Plan:
    """A run that is ready to start: its resolved configuration, its dataset, and every trial."""

    config: RunConfig
    dataset: Dataset
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return run_name(self.config)


def prepare(config: RunConfig, dataset: Dataset, label: str = "") -> Plan:
    """Resolve a configuration on its dataset. All splits are drawn here, so a wrong one ends the run before it starts.

    Args:
        label: how displays name the run, where several run together.

    Raises:
        UsageError, DataError: the run cannot be made.
    """
    config = resolve(anchored(config), dataset)
    assert config.seeds is not None
    splits = ((seed, enumerate(splits_of(config, dataset, seed))) for seed in range(config.seeds))
    return Plan(config, dataset, tuple(Trial(seed, fold, split, label) for seed, folds in splits for fold, split in folds))
