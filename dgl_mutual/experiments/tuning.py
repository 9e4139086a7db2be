"""Tuning: a search over the options of a method by Optuna, on validation alone.

Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, KDD 2019. Every method has the same number of trials, and
shares what is searched of students and training.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dgl_mutual.data.dataset import Dataset, Split, TaskName
from dgl_mutual.data.load import load_dataset
from dgl_mutual.errors import DataError, TrainingError, UsageError
from dgl_mutual.experiments.config import RunConfig, merged, nest
from dgl_mutual.experiments.device import resolve_device
from dgl_mutual.experiments.given import given_values
from dgl_mutual.experiments.grid import value_at
from dgl_mutual.experiments.progress import Progress, Silence
from dgl_mutual.experiments.resolve import anchored, plain, resolve, run_name, splits_of
from dgl_mutual.experiments.runner import Interrupted
from dgl_mutual.experiments.study import FIRST_SEED, HISTORY_FILE, Search
from dgl_mutual.experiments.suite import Suite, configurations
from dgl_mutual.experiments.trial import Outcome, Trial
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.search_space import SearchSpace, described
from dgl_mutual.store.configuration import identity
from dgl_mutual.strategies import resolve_strategy

#: Protocols whose validation part a configuration may be chosen on.
PROTOCOLS = ("public", "scaffold", "nested")


@dataclass(frozen=True, eq=False)
class Tuning:
    """How a search ended.

    Attributes:
        folder: ``best.yaml`` (the best configuration, as it would be given), ``tuning.csv`` (every trial), ``tuning.yaml`` (what was
            searched, and how), ``journal.log`` (Optuna's journal).
        history: tuning.csv: ``trial, state, value, best, seconds, error`` and a column an option. ``state`` is complete, pruned, failed,
            running or interrupted; an interrupted trial is repeated under another number, and does not count. ``value`` is the mean
            student's metric on validation, of a pruned trial the last that was reported; ``best`` is the best of complete trials so far.
        best: the layer of configuration of the best of the trials that were asked for, as in best.yaml unless the folder has more trials;
            None if none is complete.
        chosen: of what was searched, the best values by dotted key; empty where all defaults are best, or none is complete.
    """

    folder: Path
    history: pd.DataFrame
    best: dict[str, Any] | None
    chosen: dict[str, Any]

    @property
    def failed(self) -> tuple[str, ...]:
        """One line for each trial that failed."""
        rows = self.history[self.history["state"] == "failed"]
        return tuple(f"trial {number}: {error}" for number, error in rows[["trial", "error"]].itertuples(index=False))


@dataclass(frozen=True)
class _TuningTrial(Trial):
    """A trial of a search, as a display names it; its seed is its number."""

    @property
    def name(self) -> str:
        return f"trial-{self.seed}"


def search_space(config: RunConfig) -> SearchSpace:
    """What is searched of a given configuration, by dotted key: what its options declare, without what is given.

    Raises:
        UsageError: an unknown strategy.
    """
    given = given_values(config)
    groups: dict[str, SearchSpace] = {
        "training": type(config.training).search_space,
        "student": StudentOptions.search_space,
        "strategy_options": resolve_strategy(config.strategy).Options.search_space,
    }
    idle = {key for key in StudentOptions.search_space if all(one.is_own or key in one.model_fields_set for one in config.students)}
    if config.training.fanout is not None:
        idle.add("depth")  # a fan-out has an entry for each convolution
    return {
        f"{group}.{key}": domain
        for group, space in groups.items()
        for key, domain in space.items()
        if value_at(given, f"{group}.{key}") is None and not (group == "student" and key in idle)
    }


def tune(
    config: RunConfig,
    dataset: Dataset,
    *,
    trials: int = 20,
    splits: int = 1,
    timeout: float | None = None,
    out: Path = Path("results"),
    device: str = "auto",
    threads: int = 1,
    progress: Progress | None = None,
    label: str = "",
    in_memory: bool = False,
) -> Tuning:
    """Search the options that `config` leaves open (see `search_space`), by TPE with median pruning, for the best metric on validation.

    The first trial is the given configuration with all defaults, so that the best is never worse on validation than that. The labels of the
    test part of each split are unknown to the search: they are removed before it trains anything. The same call goes on with what is
    there, and several processes that make it at a time share the trials.

    NOTE: where there are folds, the samples that one fold tests are validation or training samples of others. The labels of each test part
    are hidden from its own fold alone; a choice within each fold is made by `RunConfig.grid`.

    Args:
        config: given, not resolved. Its number of seeds has no meaning here.
        trials: of the whole search; pruned and failed ones count.
        splits: trainings of each configuration, whose metric is averaged: the first folds, where there are folds, else seeds.
        timeout: seconds after which no further trial is started.
        out: the folder in which the search has its folder.
        label: how displays name it.
        in_memory: the dataset has no files that its name stands for.

    Raises:
        UsageError: optuna is not installed, nothing is left to be searched, the protocol cannot be tuned on, or the configuration cannot
            work.
        StoreError: the folder cannot be written, or holds what no search writes.
        Interrupted: by Ctrl-C; finished trials are kept.
    """
    _check(trials=trials, splits=splits, timeout=timeout)
    optuna = _optuna()
    given = config if in_memory else anchored(config)
    resolved = resolve(given, dataset)
    _refuse(given, resolved)
    space = search_space(given)
    if not space:
        raise UsageError("Every option that could be searched is given, so there is nothing to tune. Leave out some of them.")
    parts = _parts(resolved, dataset, splits)
    folder = out / _name(resolved, space, splits)
    search = Search(folder, given, resolved, space, optuna)
    device = resolve_device(device)
    torch.set_num_threads(threads)
    progress = progress or Silence()
    started = time.monotonic()
    with search.opened(splits):
        done = search.num_counted()
        progress.start([_TuningTrial(number, 0, parts[0][2], label or "tune") for number in range(done, trials)], min(done, trials))
        try:
            while (timeout is None or time.monotonic() - started < timeout) and (claimed := search.claim(trials)) is not None:
                with claimed as trial:
                    shown = _TuningTrial(trial.number, 0, parts[0][2], label or "tune")
                    progress.end(Outcome(shown, [], [], search.run(trial, parts, dataset, device, shown, progress)))
        except KeyboardInterrupt:
            history = search.write()
            kept = int(history["state"].isin(["complete", "pruned", "failed"]).sum())
            raise Interrupted(
                f"Interrupted. {kept} of {trials} trials are finished and kept in {folder}. The same command goes on from there."
            ) from None
        history = search.write()
        return Tuning(folder, history, search.best(trials), search.chosen(trials) or {})


def tune_suite(
    suite: Suite,
    *,
    trials: int,
    splits: int = 1,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
    out: Path = Path("results"),
    data_dir: Path | None = None,
    offline: bool = False,
    device: str = "auto",
    threads: int = 1,
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(Silence()),
) -> dict[tuple[str, str], dict[str, Any]]:
    """Tune every method of a suite on each of its datasets, all with the same number of trials.

    A dataset that cannot be had is left out, as the suite leaves it out.

    Args:
        quick, overrides: see `dgl_mutual.experiments.suite.configurations`.
        progress: makes a display for each search.

    Returns:
        By the names of data and method, the layer of what tuning has chosen.

    Raises:
        UsageError, StoreError, Interrupted: see `tune`; a usage error says of which run.
        TrainingError: every trial of a search has failed: an untuned method among tuned ones would be a comparison that is not fair.
    """

    @cache
    def load(dataset: str, task: TaskName | None, targets: tuple[str, ...] | None) -> Dataset | None:
        try:
            return load_dataset(dataset, task, data_dir=data_dir, offline=offline, progress=True, targets=targets)
        except DataError:
            return None

    layers: dict[tuple[str, str], dict[str, Any]] = {}
    for run in configurations(suite, quick=quick, overrides=overrides):
        dataset = load(run.config.dataset, run.config.task, run.config.targets)
        if dataset is None:
            continue
        label = f"tune {run.data} {run.method}"
        try:
            with progress() as shown:
                tuning = tune(
                    run.config,
                    dataset,
                    trials=trials,
                    splits=splits,
                    out=out,
                    device=device,
                    threads=threads,
                    progress=shown,
                    label=label,
                )
        except UsageError as error:
            raise UsageError(f"{run.method} on {run.data}: {error}") from None
        if tuning.best is None:
            first = f" The first: {tuning.failed[0]}" if tuning.failed else ""
            raise TrainingError(
                f"{run.method} on {run.data}: every trial of its tuning has failed ({tuning.folder / HISTORY_FILE}).{first}"
            )
        layers[run.data, run.method] = merged(*(nest(key, value) for key, value in tuning.chosen.items()))
    return layers


def _parts(resolved: RunConfig, dataset: Dataset, splits: int) -> list[tuple[int, int, Split]]:
    """Seed, fold and split of each training of a configuration."""
    if resolved.folds is None:
        return [(FIRST_SEED + place, 0, splits_of(resolved, dataset, FIRST_SEED + place)[0]) for place in range(splits)]
    if splits > resolved.folds:
        raise UsageError(f"There are {resolved.folds} folds, so each configuration can be trained on no more than that, not on {splits}.")
    return [(FIRST_SEED, fold, split) for fold, split in enumerate(splits_of(resolved, dataset, FIRST_SEED)[:splits])]


def _name(resolved: RunConfig, space: SearchSpace, splits: int) -> str:
    """``tune-<task>-<dataset>-<strategy>-<hash>``: the same for any number of trials."""
    decisive = [identity(plain(resolved)), splits, described(space)]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return re.sub(r"[0-9a-f]{8}$", digest[:8], f"tune-{run_name(resolved)}")


def _refuse(given: RunConfig, resolved: RunConfig) -> None:
    if given.grid:
        raise UsageError("The configuration has a grid, which is a search of its own. Leave out the grid, or do without tuning.")
    if given.distill is not None:
        raise UsageError("What is tuned is the cohort, and the configuration also distills an MLP from it. Leave out 'distill'.")
    if resolved.protocol not in PROTOCOLS:
        raise UsageError(
            f"Under the protocol {resolved.protocol!r} every seed draws other test samples, and those of one are validation samples of "
            f"another: a configuration chosen on them has seen their labels. Tune under one of: {', '.join(PROTOCOLS)}."
        )


def _check(*, trials: int, splits: int, timeout: float | None) -> None:
    for name, number in (("trials", trials), ("splits", splits)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise UsageError(f"{name} = {number!r} is not a whole number from 1 on. Correct it.")
    if timeout is not None and not timeout > 0:
        raise UsageError(f"timeout = {timeout!r} leaves no time. Give seconds above 0, or leave it out.")


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise UsageError("Tuning needs optuna, which is not installed. Install it: pip install 'dgl-mutual[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna
