"""Plans: resolved runs with loaded and split data, before anything is trained or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.noise import NoiseSpec
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import MAX_TRIALS_OF_RUN, RunConfig
from dgl_mutual.experiments.configuration.given import given_values
from dgl_mutual.experiments.configuration.grid import GridPoint, grid_points
from dgl_mutual.experiments.configuration.recorded import with_recorded_defaults
from dgl_mutual.experiments.configuration.resolve import anchored, resolve, resolved_values, run_name
from dgl_mutual.experiments.configuration.splits import splits_of
from dgl_mutual.experiments.trial import Trial
from dgl_mutual.store.configuration import file_values
from dgl_mutual.store.tables import Key
from dgl_mutual.training.feeds import num_drawn


@dataclass(frozen=True, eq=False)
class Plan:
    """A run that is ready to start: its configuration, its dataset, and all trials.

    Attributes:
        given: the configuration as given.
        config: the resolved configuration.
        points: the resolved points of the grid, from which each trial chooses on validation; without a grid, `config` alone.
    """

    given: RunConfig
    config: RunConfig
    points: tuple[GridPoint, ...]
    dataset: Dataset
    trials: tuple[Trial, ...]

    @property
    def configs(self) -> list[RunConfig]:
        """`config`, and those of its points."""
        return [self.config, *(point.config for point in self.points)]

    @property
    def asked_and_resolved(self) -> list[tuple[RunConfig, RunConfig]]:
        """Each point as given, and resolved."""
        return [(asked.config, resolved.config) for asked, resolved in zip(grid_points(self.given), self.points, strict=True)]

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return run_name(self.config)

    @property
    def keys(self) -> set[Key]:
        """(seed, fold) of its trials."""
        return {trial.key for trial in self.trials}

    @property
    def file_values(self) -> dict[str, Any]:
        """Content of config.yaml."""
        return file_values(given_values(self.given), resolved_values(self.config))


def prepare(config: RunConfig, dataset: Dataset, label: str = "", *, in_memory: bool = False) -> Plan:
    """Resolve a configuration on its dataset. All splits are drawn here, so an impossible one is refused before the run starts.

    Args:
        label: name of the run in displays, if several run together.
        in_memory: the dataset's name does not refer to files.

    Raises:
        UsageError, DataError: the configuration does not work on this dataset.
    """
    config = with_recorded_defaults(config, dataset)
    dataset = dataset.with_metric(config.metric)
    given = config if in_memory else anchored(config)
    config = resolve(given, dataset)
    points = [GridPoint({}, config)]
    if given.grid:
        points = [point._replace(config=resolve(point.config, dataset)) for point in grid_points(given)]
    has_edge_noise = config.noise is not None and NoiseSpec.parse(config.noise).changes_edges
    if not has_edge_noise and not any(student.edge_features for point in points for student in point.config.students):
        dataset = dataset.without_edge_features()  # the same object for all runs on a dataset, so that it is sent to processes once
    assert config.seeds is not None
    trials = config.seeds * (config.folds or 1)
    if trials > MAX_TRIALS_OF_RUN:
        raise UsageError(
            f"seeds = {config.seeds} and folds = {config.folds} make {trials} trials, whose splits are all drawn before the first. A run "
            f"has at most {MAX_TRIALS_OF_RUN}: give fewer seeds or folds."
        )
    splits = [(seed, fold, split) for seed in range(config.seeds) for fold, split in enumerate(splits_of(config, dataset, seed))]
    for point in points:
        _check_ratio(point.config, dataset, [split for _, _, split in splits])
    return Plan(given, config, tuple(points), dataset, tuple(Trial(seed, fold, split, label) for seed, fold, split in splits))


def _check_ratio(config: RunConfig, dataset: Dataset, splits: Sequence[Split]) -> None:
    """Refuse a ratio of unlabelled graphs that is too high for the split with the fewest of them, before anything is trained."""
    shares = [(len(split.unlabelled), len(split.train)) for split in splits if len(split.unlabelled)]
    if dataset.task == "graph" and config.strategy_options.get("exchange_on") in ("all", "training") and shares:
        num_drawn(config.training.unlabelled_ratio, *min(shares, key=lambda share: share[0] / share[1]))
