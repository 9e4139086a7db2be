"""Tuning of a suite: every method on each of its datasets, all with the same number of trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import DataError, TrainingError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.estimate import seconds_per_trial
from dgl_mutual.experiments.idle import warn_of_idle
from dgl_mutual.experiments.layers import unflatten
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.progress import Progress, no_progress
from dgl_mutual.experiments.suite import Layers, SuiteRun, configurations, named
from dgl_mutual.experiments.suite_file import Suite
from dgl_mutual.experiments.tuning.search import Tuning, checked_space, plan_search, run_search
from dgl_mutual.experiments.tuning.trials import import_optuna
from dgl_mutual.store.files import TUNING_FILE
from dgl_mutual.store.tables import MAX_TRIALS, NAME_COLUMNS
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.utils.arguments import whole_number
from dgl_mutual.utils.files import write_text
from dgl_mutual.utils.safe_text import csv_cell, plain_csv


@dataclass(frozen=True, eq=False)
class SuiteTuning:
    """The results of the searches of a suite.

    Attributes:
        layers: the chosen options, by the names of data and method.
        searches: the searches, likewise.
    """

    layers: Layers
    searches: Mapping[tuple[str, str], Tuning]

    def write(self, folder: Path) -> Path | None:
        """All searches as tuning.csv of the suite's folder: ``data, method, search`` (its folder) and the columns of each tuning.csv.

        None where there were no searches, and nothing is written.
        """
        if not self.searches:
            return None
        tables = [
            search.history.assign(**dict(zip(NAME_COLUMNS, (*key, search.folder.name), strict=True)))
            for key, search in self.searches.items()
        ]
        table = pd.concat([table.astype(object) for table in tables], ignore_index=True)
        table = table[[*NAME_COLUMNS, *(name for name in table if name not in NAME_COLUMNS)]]
        file = folder / TUNING_FILE
        write_text(file, plain_csv(table.map(csv_cell)))
        return file


def tune_suite(
    suite: Suite,
    *,
    trials: int,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
    out: Path,
    data: DataSource,
    compute: Compute,
    progress: Callable[[], AbstractContextManager[Progress]] = no_progress,
) -> SuiteTuning:
    """Tune every method of a suite on each of its datasets.

    A dataset may have fewer trials, and more trainings of each configuration (`SuiteDataset.tuning`); all methods have the same. A dataset
    that is not available is left out, as the suite leaves it out. So are strategies that train nothing (label-propagation): they choose
    their options on validation in every run.

    Args:
        trials: of each search.
        quick, overrides: see `dgl_mutual.experiments.suite.configurations`.
        compute: with several jobs, trials of a search run at a time (see `tune`).
        progress: makes a display for each search.

    Warnings name what has no effect in any run, whatever the searches draw.

    Raises:
        UsageError, StoreError, Interrupted: see `tune`; a usage error names the run.
        TrainingError: every trial of a search has failed. Without it, an untuned method would be compared with tuned ones.
    """
    trials = whole_number("trials", trials, 1, MAX_TRIALS)
    import_optuna()
    runs = _searched(suite, quick, overrides)
    plans = []
    for run, dataset in _with_data(runs, data):
        with named(run.method, run.data):
            plan = plan_search(
                run.config,
                dataset,
                trials=_trials(run, trials),
                splits=run.tuning.splits,
                out=out,
                label=f"tune {runs.index(run) + 1}/{len(runs)} {run.data} {run.method}",
                in_memory=run.data in data.in_memory,
            )
        plans.append((run, dataset, plan))
    asked = [((plan.given, plan.resolved), plan.space) for _, _, plan in plans]
    asked += [(point, {}) for point in _not_searched(suite, quick, overrides, data)]
    warn_of_idle([point for point, _ in asked], [space for _, space in asked])
    searches: dict[tuple[str, str], Tuning] = {}
    for run, dataset, plan in plans:
        with named(run.method, run.data), progress() as shown:
            tuning = run_search(plan, dataset, compute=compute, progress=shown)
        if tuning.best is None:
            first = f" The first: {tuning.failed[0]}" if tuning.failed else ""
            raise TrainingError(f"{run.method} on {run.data}: every trial of its tuning has failed ({tuning.folder / TUNING_FILE}).{first}")
        searches[run.data, run.method] = tuning
    layers = {key: unflatten(tuning.chosen) for key, tuning in searches.items()}
    return SuiteTuning(layers, searches)


@dataclass(frozen=True)
class SearchEstimate:
    """The estimated time of a search of a suite.

    Attributes:
        missing: number of trials that are still to be run.
        seconds: at most, of one trial with what is given and all other defaults.
    """

    data: str
    method: str
    trials: int
    splits: int
    missing: int
    seconds: float


def estimate_searches(
    suite: Suite,
    *,
    trials: int,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
    out: Path,
    data: DataSource,
) -> list[SearchEstimate]:
    """The searches that `tune_suite` would make, with their time. Nothing is written.

    Raises:
        UsageError: see `tune_suite`.
    """
    import_optuna()
    found = []
    for run, dataset in _with_data(_searched(suite, quick, overrides), data):
        asked, splits = _trials(run, trials), run.tuning.splits
        with named(run.method, run.data):
            plan = plan_search(run.config, dataset, trials=asked, splits=splits, out=out)
            missing, ended = plan.progress()
            seconds = 0.0
            if missing:
                seconds = ended if ended is not None else splits * seconds_per_trial(prepare(run.config, dataset), out)
        found.append(SearchEstimate(run.data, run.method, asked, splits, missing, seconds))
    return found


def _searched(suite: Suite, quick: bool, overrides: Mapping[str, Any] | None) -> list[SuiteRun]:
    """The runs that are tuned; one that cannot be is refused before the first search."""
    runs = [run for run in configurations(suite, quick=quick, overrides=overrides) if resolve_strategy(run.config.strategy).trains]
    for run in runs:
        with named(run.method, run.data):
            checked_space(run.config)
    return runs


def _not_searched(suite: Suite, quick: bool, overrides: Mapping[str, Any] | None, data: DataSource) -> list[tuple[RunConfig, RunConfig]]:
    """Each point of the runs that are not tuned as it was asked for, and resolved."""
    runs = [run for run in configurations(suite, quick=quick, overrides=overrides) if not resolve_strategy(run.config.strategy).trains]
    points = []
    for run, dataset in _with_data(runs, data):
        with named(run.method, run.data):
            points += prepare(run.config, dataset, in_memory=run.data in data.in_memory).asked_and_resolved
    return points


def _with_data(runs: Sequence[SuiteRun], data: DataSource) -> Iterator[tuple[SuiteRun, Dataset]]:
    """Runs with their datasets, without those whose dataset is not available."""
    for run in runs:
        try:
            with named(run.method, run.data):
                dataset = data.load(run.config, run.data)
        except DataError:
            continue
        yield run, dataset


def _trials(run: SuiteRun, trials: int) -> int:
    return min(trials, run.tuning.trials or trials)
