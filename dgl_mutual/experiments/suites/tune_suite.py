"""Tuning of a suite: every method on each dataset with the same number of trials, before its runs are planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_mutual.errors import DataError, SplitError, TrainingError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.layers import unflatten
from dgl_mutual.experiments.configuration.without_effect import warn_of_options_without_effect
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.progress import Display, no_progress
from dgl_mutual.experiments.suites.suite import Layers, SuitePlan, SuiteRun, configurations, named, plan_suite, with_data
from dgl_mutual.experiments.suites.suite_file import Suite
from dgl_mutual.experiments.tuning.search import Tuning, plan_search, run_search, search_space
from dgl_mutual.experiments.tuning.study import SearchPlan
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
        layers: the chosen options, by (name of the data, name of the method).
        searches: the searches, by the same keys.
        missing: see `SuitePlan`.
    """

    layers: Layers
    searches: Mapping[tuple[str, str], Tuning]
    missing: Mapping[str, DataError]

    def write(self, folder: Path) -> Path | None:
        """Write all searches to tuning.csv in the suite's folder: ``data, method, search`` (its folder) and the columns of each tuning.csv.

        Returns None and writes nothing if there were no searches.
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
    leave_out: bool,
    tuned: int | None = None,
    display: Display = no_progress,
) -> tuple[SuitePlan, SuiteTuning | None]:
    """Run the searches of a suite, if requested, and plan its runs with the options that they have chosen.

    Args:
        out, quick, overrides, data: see `plan_suite`.
        leave_out: go on without missing datasets (see `SuitePlan`).
        tuned: number of trials of each search; None for no searches.
        compute, display: see `tune_suite`.

    Returns:
        The plan, and the searches, if there were any.

    Raises:
        UsageError, StoreError, TrainingError, Interrupted: see `tune_suite` and `plan_suite`.
        DataError: without `leave_out`, datasets are missing; raised before any search. A SplitError if all of them cannot be split.
    """
    tuning = None
    if tuned is not None:
        check_writable(out)
        runs = configurations(suite, quick=quick, overrides=overrides)
        tuning = tune_suite(runs, trials=tuned, out=out, data=data, compute=compute, leave_out=leave_out, display=display)
    layers = None if tuning is None else tuning.layers
    plan = plan_suite(name, suite, out=out, quick=quick, overrides=overrides, data=data, tuned=layers)
    if tuning is not None:
        plan = plan.without(tuning.missing)
    if not leave_out:
        _refuse_missing(plan.missing)
    return plan, tuning


def tune_suite(
    runs: Sequence[SuiteRun],
    *,
    trials: int,
    out: Path,
    data: DataSource,
    compute: Compute,
    leave_out: bool,
    display: Display = no_progress,
) -> SuiteTuning:
    """Tune every method of a suite on each of its datasets.

    A dataset may have fewer trials, or more trainings per configuration (`SuiteDataset.tuning`), which are the same for all methods. A
    dataset that is not available, or cannot be split for a search or run, is left out for all methods. Strategies that train nothing
    (label-propagation) are not tuned: they choose their options on validation in every run. Warnings name options that have no effect in
    any run, whatever the searches draw.

    Args:
        runs: runs of the suite (see `dgl_mutual.experiments.suites.suite.configurations`).
        trials: number of trials of each search.
        compute: with several jobs, trials of a search run in parallel (see `tune`).
        leave_out: see `prepare_suite`.
        display: opens a progress for each search.

    Raises:
        UsageError, StoreError, Interrupted: see `tune`; a usage error names the run.
        DataError: see `prepare_suite`.
        TrainingError: all trials of a search have failed, so that an untuned method would be compared with tuned ones.
    """
    trials = whole_number("trials", trials, 1, MAX_TRIALS)
    import_optuna()
    searched = [run for run in runs if resolve_strategy(run.config.strategy).trains]
    for run in searched:  # refuse runs that cannot be tuned before the first search
        with named(run.method, run.data):
            search_space(run.config)

    def planned(run: SuiteRun) -> tuple[SearchPlan | None, list[tuple[RunConfig, RunConfig]]]:
        dataset = data.load(run.config, run.data)
        in_memory = run.data in data.in_memory
        search = None
        if run in searched:
            label = f"tune {searched.index(run) + 1}/{len(searched)} {run.data} {run.method}"
            num_trials, splits = run.tuning.num_trials(trials), run.tuning.splits
            search = plan_search(run.config, dataset, trials=num_trials, splits=splits, out=out, label=label, in_memory=in_memory)
        plan = prepare(run.config, dataset, in_memory=in_memory)  # a dataset that cannot be split for a run is not searched
        return search, plan.asked_and_resolved

    planned_runs, missing = with_data(runs, planned)
    if not leave_out:
        _refuse_missing(missing)
    plans = [(run, search) for run, (search, _) in planned_runs if search is not None]
    points_and_spaces: list[tuple[tuple[RunConfig, RunConfig], SearchSpace]] = [
        ((plan.given, plan.resolved), plan.space) for _, plan in plans
    ]
    points_and_spaces += [(point, {}) for _, (search, points) in planned_runs if search is None for point in points]
    warn_of_options_without_effect([point for point, _ in points_and_spaces], [space for _, space in points_and_spaces])
    searches: dict[tuple[str, str], Tuning] = {}
    for run, plan in plans:
        with named(run.method, run.data), display() as progress:
            tuning = run_search(plan, data.load(run.config, run.data), compute=compute, progress=progress)
        if tuning.best is None:
            first = f" The first: {tuning.failed[0]}" if tuning.failed else ""
            raise TrainingError(f"{run.method} on {run.data}: every trial of its tuning has failed ({tuning.folder / TUNING_FILE}).{first}")
        searches[run.data, run.method] = tuning
    layers = {key: unflatten(tuning.chosen) for key, tuning in searches.items()}
    return SuiteTuning(layers, searches, missing)


def _refuse_missing(missing: Mapping[str, DataError]) -> None:
    """Raise the errors of all missing datasets as one."""
    if missing:
        error_class = SplitError if all(isinstance(why, SplitError) for why in missing.values()) else DataError
        raise error_class("\n".join(map(str, missing.values())))
