"""Tuning of a suite, every method on each of its datasets, all with the same number of trials, before its runs are planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import DataError, TrainingError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.idle import warn_of_idle
from dgl_mutual.experiments.configuration.layers import unflatten
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.progress import Display, no_progress
from dgl_mutual.experiments.suites.suite import Layers, SuitePlan, SuiteRun, configurations, named, plan_suite
from dgl_mutual.experiments.suites.suite_file import Suite
from dgl_mutual.experiments.tuning.search import Tuning, checked_space, plan_search, run_search
from dgl_mutual.experiments.tuning.trials import import_optuna
from dgl_mutual.search_space import SearchSpace
from dgl_mutual.store.files import TUNING_FILE
from dgl_mutual.store.tables import MAX_TRIALS, NAME_COLUMNS
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.utils.arguments import whole_number
from dgl_mutual.utils.files import check_writable, write_text
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


def prepare_suite(
    name: str,
    suite: Suite,
    *,
    out: Path,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
    data: DataSource,
    compute: Compute,
    tuned: int | None = None,
    display: Display = no_progress,
) -> tuple[SuitePlan, SuiteTuning | None]:
    """Make the searches of a suite, if they are asked for, and plan its runs with what they have chosen.

    Args:
        out, quick, overrides, data: see `plan_suite`.
        tuned: trials of each search; None: nothing is searched.
        compute, display: of the searches, see `tune_suite`.

    Returns:
        The plan, and the searches, if there were any.

    Raises:
        UsageError, StoreError, TrainingError, Interrupted: see `tune_suite` and `plan_suite`.
    """
    tuning = None
    if tuned is not None:
        check_writable(out)
        runs = configurations(suite, quick=quick, overrides=overrides)
        tuning = tune_suite(runs, trials=tuned, out=out, data=data, compute=compute, display=display)
    layers = None if tuning is None else tuning.layers
    return plan_suite(name, suite, out=out, quick=quick, overrides=overrides, data=data, tuned=layers), tuning


def tune_suite(
    runs: Sequence[SuiteRun],
    *,
    trials: int,
    out: Path,
    data: DataSource,
    compute: Compute,
    display: Display = no_progress,
) -> SuiteTuning:
    """Tune every method of a suite on each of its datasets.

    A dataset may have fewer trials, and more trainings of each configuration (`SuiteDataset.tuning`); all methods have the same. A dataset
    that is not available is left out, as the suite leaves it out. So are strategies that train nothing (label-propagation): they choose
    their options on validation in every run. Warnings name what has no effect in any run, whatever the searches draw.

    Args:
        runs: of the suite, see `dgl_mutual.experiments.suites.suite.configurations`.
        trials: of each search.
        compute: with several jobs, trials of a search run at a time (see `tune`).
        display: makes a progress for each search.

    Raises:
        UsageError, StoreError, Interrupted: see `tune`; a usage error names the run.
        TrainingError: every trial of a search has failed. Without it, an untuned method would be compared with tuned ones.
    """
    trials = whole_number("trials", trials, 1, MAX_TRIALS)
    import_optuna()
    searched = [run for run in runs if resolve_strategy(run.config.strategy).trains]
    others = [run for run in runs if not resolve_strategy(run.config.strategy).trains]
    for run in searched:  # one that cannot be tuned is refused before the first search
        with named(run.method, run.data):
            checked_space(run.config)
    plans = []
    for run, dataset in _with_data(searched, data):
        with named(run.method, run.data):
            plan = plan_search(
                run.config,
                dataset,
                trials=run.tuning.num_trials(trials),
                splits=run.tuning.splits,
                out=out,
                label=f"tune {searched.index(run) + 1}/{len(searched)} {run.data} {run.method}",
                in_memory=run.data in data.in_memory,
            )
        plans.append((run, dataset, plan))
    asked: list[tuple[tuple[RunConfig, RunConfig], SearchSpace]] = [((plan.given, plan.resolved), plan.space) for _, _, plan in plans]
    for run, dataset in _with_data(others, data):
        with named(run.method, run.data):
            points = prepare(run.config, dataset, in_memory=run.data in data.in_memory).asked_and_resolved
        asked += [(point, {}) for point in points]
    warn_of_idle([point for point, _ in asked], [space for _, space in asked])
    searches: dict[tuple[str, str], Tuning] = {}
    for run, dataset, plan in plans:
        with named(run.method, run.data), display("trials") as progress:
            tuning = run_search(plan, dataset, compute=compute, progress=progress)
        if tuning.best is None:
            first = f" The first: {tuning.failed[0]}" if tuning.failed else ""
            raise TrainingError(f"{run.method} on {run.data}: every trial of its tuning has failed ({tuning.folder / TUNING_FILE}).{first}")
        searches[run.data, run.method] = tuning
    layers = {key: unflatten(tuning.chosen) for key, tuning in searches.items()}
    return SuiteTuning(layers, searches)


def _with_data(runs: Sequence[SuiteRun], data: DataSource) -> Iterator[tuple[SuiteRun, Dataset]]:
    """Runs with their datasets, without those whose dataset is not available."""
    for run in runs:
        try:
            with named(run.method, run.data):
                dataset = data.load(run.config, run.data)
        except DataError:
            continue
        yield run, dataset
