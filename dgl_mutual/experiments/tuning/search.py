"""Tuning: a search over the options of a method by Optuna, on validation alone.

Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, KDD 2019. All methods have the same number of trials, and
share the search spaces of students and training.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.protocols import FOLDED_PROTOCOLS, OFFICIAL_PROTOCOLS
from dgl_mutual.data.schema import schema_of
from dgl_mutual.errors import Interrupted, UsageError, unknown
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import MAX_SEEDS, RunConfig
from dgl_mutual.experiments.configuration.given import given_values
from dgl_mutual.experiments.configuration.layers import value_at
from dgl_mutual.experiments.configuration.recorded import with_recorded_defaults
from dgl_mutual.experiments.configuration.resolve import anchored, resolve, resolved_values, run_name
from dgl_mutual.experiments.configuration.without_effect import refuse_folds, warn_of_options_without_effect, without_effect_in_search
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.trial import split_digest
from dgl_mutual.experiments.tuning.records import best_trial, default_value, seconds_left
from dgl_mutual.experiments.tuning.study import Search, SearchPlan
from dgl_mutual.experiments.tuning.trials import import_optuna, run_trials
from dgl_mutual.nn.options import GRAPH_TASK_OPTIONS, StudentOptions
from dgl_mutual.options import Options
from dgl_mutual.search_space import SearchSpace, described
from dgl_mutual.store.configuration import identity
from dgl_mutual.store.tables import MAX_TRIALS
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.strategies.base.options import ENSEMBLE_ALONE
from dgl_mutual.training.trainer import check_gradients
from dgl_mutual.utils.arguments import whole_number


@dataclass(frozen=True, eq=False)
class Tuning:
    """The outcome of a search.

    Attributes:
        folder: ``best.yaml`` (the best configuration, as it would be given), ``tuning.csv`` (all trials), ``tuning.yaml`` (settings of the
            search), ``journal.log`` (Optuna's journal).
        protocol: protocol of the splits.
        history: tuning.csv: ``trial, state, value, best, seconds, error`` and one column per option. ``state`` is complete, pruned, failed,
            running or interrupted; an interrupted trial is repeated under another number, and does not count. ``value`` is the students'
            mean validation metric, for a pruned trial the last reported one; ``best`` is the best of complete trials so far.
        best: layer of configuration of the best of the requested trials, as in best.yaml unless the folder has more trials; None if no
            trial is complete.
        chosen: the best values of searched options by dotted key; empty if the defaults are best, or no trial is complete.
        best_trial, best_value: number and validation metric of this trial; None and NaN if no trial is complete.
        written_trial: number of the trial in best.yaml, the best of all in the folder, which differs from `best_trial` if the folder has
            more trials than requested; None if no trial is complete.
        default_value: validation metric of the trial with the given options and all other defaults; NaN if it is not complete.
    """

    folder: Path
    protocol: str
    history: pd.DataFrame
    best: dict[str, Any] | None
    chosen: dict[str, Any]
    best_trial: int | None
    written_trial: int | None
    best_value: float
    default_value: float

    @property
    def shared(self) -> str:
        """A note on test samples that the search has seen as training samples; empty if there are none."""
        if self.protocol in ("public", "scaffold"):
            return ""
        splits = "folds" if self.protocol in FOLDED_PROTOCOLS else "seeds"
        return (
            f"Under the protocol {self.protocol} the {splits} have different test samples. The search does not see the labels of its own "
            f"test part, but it trains and validates on test samples of other {splits}. This holds for every method."
        )

    @property
    def failed(self) -> tuple[str, ...]:
        """One line for each trial that failed."""
        rows = self.history[self.history["state"] == "failed"]
        return tuple(f"trial {number}: {error}" for number, error in rows[["trial", "error"]].itertuples(index=False))


def search_space(config: RunConfig, search: Collection[str] = ()) -> SearchSpace:
    """The search space of a given configuration by dotted key: the declared spaces of its options, without given ones.

    Args:
        search: keys of given options to search as well, or of options that are only searched if they are named.

    Raises:
        UsageError: the configuration cannot be tuned, nothing is left to search, or `search` names an option that cannot be searched.
    """
    _refuse_untunable(config)
    declared, usual = _declared(config)
    given, impossible = given_values(config), _impossible(config)
    # With given options of its own, a choice only fits one of its values.
    possible = {key: domain for key, domain in declared.items() if key not in impossible and value_at(given, f"{key}_options") is None}
    search = (search,) if isinstance(search, str) else search
    for key in search:
        if key not in declared:
            raise unknown("option to search", key, possible)
        if key not in possible:
            name = key.rpartition(".")[2]
            raise UsageError(
                f"{key} cannot be searched: every student has its own {name}, or another option has to fit it (training.fanout, "
                f"training.sampler, {key}_options). Leave that out."
            )
    space = {key: domain for key, domain in possible.items() if key in search or (key in usual and value_at(given, key) is None)}
    if not space:
        raise UsageError(
            "All options that could be searched are given, so there is nothing to tune. Leave out some of them, or name them in 'search' "
            "(--search KEY)."
        )
    return space


def _refuse_untunable(config: RunConfig) -> None:
    if config.grid:
        values = " ".join(f"{key}={choices[0]}" for key, choices in config.grid.items())
        raise UsageError(
            "The configuration has a grid, which is a search of its own. Remove it with --set grid=null, so that all options that are not "
            f"given are tuned, or give each of its keys a value, for example {values}."
        )
    strategy_class = resolve_strategy(config.strategy)
    if not strategy_class.trains:
        raise UsageError(f"Strategy {strategy_class.name!r} cannot be tuned: it chooses its options on validation in every run. Use 'run'.")
    if config.distill is not None:
        raise UsageError("A search tunes the cohort, but the configuration also distills an MLP from it. Leave out 'distill'.")


def _declared(config: RunConfig) -> tuple[SearchSpace, SearchSpace]:
    """The declared search spaces of a configuration by dotted key: all of them, and those that are searched without being named."""
    groups: dict[str, type[Options]] = {
        "training": type(config.training),
        "student": StudentOptions,
        "strategy_options": resolve_strategy(config.strategy).Options,
    }
    usual = {f"{group}.{key}": domain for group, options in groups.items() for key, domain in options.search_space.items()}
    by_name = {f"{group}.{key}": domain for group, options in groups.items() for key, domain in options.searched_by_name.items()}
    return usual | by_name, usual


def _impossible(config: RunConfig) -> set[str]:
    """Dotted keys of options that cannot be searched with the given ones."""
    keys = {
        f"student.{key}"
        for key in StudentOptions.search_space
        if all(student.is_custom or key in student.model_fields_set for student in config.students)  # each has its own
    }
    if config.training.fanout is not None:
        keys.add("student.depth")  # a fan-out has an entry for each convolution
    if config.training.sampler is not None:
        keys.add("training.edge_drop")  # has no sampled form
    return keys


def tune(
    config: RunConfig,
    dataset: Dataset,
    *,
    trials: int = 20,
    splits: int = 1,
    timeout: float | None = None,
    search: Collection[str] = (),
    out: Path = Path("results"),
    compute: Compute | None = None,
    progress: Progress | None = None,
    in_memory: bool = False,
) -> Tuning:
    """Tune the open options of `config` (see `search_space`) for the best validation metric, by TPE with median pruning.

    The first trial is the given configuration with all other defaults, so that the best trial is never worse on validation. After it, every
    second trial changes a third of the options of the best trial so far, and the others change all options. The labels of all test parts
    are removed before anything is trained. The same call continues a search, and processes that make it at the same time share the trials.

    NOTE: under ``public`` and ``scaffold`` all seeds have the same test part, and the search sees none of its labels. Under ``nested``,
    ``random`` and ``holdout`` seeds and folds have different test parts: the search does not see the labels of its own, but it trains and
    validates on test samples of other seeds and folds. `RunConfig.grid` chooses within each fold.

    Args:
        config: a given configuration, not a resolved one. Its number of seeds is ignored.
        trials: number of trials of the whole search, including pruned and failed ones.
        splits: number of trainings per configuration, whose metric is averaged: on the first folds, or with as many seeds.
        timeout: seconds after which no further trial is started.
        search: dotted keys of given options to search as well, for example those of a recipe, or of options that are only searched if they
            are named (``Options.searched_by_name``). The first trial has the given values.
        compute: compute resources of trials (default: ``Compute(jobs=1)``). With one job, and the same number of threads, a search is
            reproducible. With several, the options that a trial draws depend on which others have ended.
        out: parent folder of the search's folder.
        in_memory: the dataset's name does not refer to files.

    Raises:
        UsageError: optuna is not installed, nothing is left to search, `search` names an option that cannot be searched, or the
            configuration does not work.
        StoreError: the folder cannot be written, or holds files that no search writes.
        Interrupted: by Ctrl-C; finished trials are kept.
    """
    trials, splits = whole_number("trials", trials, 1, MAX_TRIALS), whole_number("splits", splits, 1, MAX_SEEDS)
    if timeout is not None and not timeout > 0:
        raise UsageError(f"timeout = {timeout!r} leaves no time. Give seconds above 0, or leave it out.")
    import_optuna()
    dataset = dataset.with_metric(config.metric)
    plan = plan_search(config, dataset, trials=trials, splits=splits, search=search, out=out, in_memory=in_memory)
    refuse_folds(plan.given, plan.resolved)
    warn_of_options_without_effect([(plan.given, plan.resolved)], [plan.space])
    if timeout is not None:
        plan = replace(plan, deadline=time.monotonic() + timeout)
    return run_search(plan, dataset, compute=compute, progress=progress)


def run_search(plan: SearchPlan, dataset: Dataset, *, compute: Compute | None = None, progress: Progress | None = None) -> Tuning:
    """Run the missing trials of a search.

    Args:
        plan: a plan of `plan_search`.
        dataset: dataset with the metric of the search (see `Dataset.with_metric`).
        compute, progress: see `tune`.

    Raises:
        UsageError, StoreError, Interrupted: see `tune`.
    """
    check_gradients(resolve_strategy(plan.resolved.strategy))
    compute = compute or Compute(jobs=1)
    running, progress = Search(plan), progress or Progress()
    with running.opened():
        done = running.num_counted()
        missing = max(0, plan.trials - done)
        progress.start(missing, min(done, plan.trials), seconds_left(running.study, missing, compute.num_jobs))
        try:
            with closing(run_trials(running, dataset, compute=compute, missing=missing, progress=progress)) as outcomes:
                for title, error in outcomes:
                    progress.end(title, error)
        except KeyboardInterrupt:
            history = running.write()
            finished = int(history["state"].isin(["complete", "pruned", "failed"]).sum())
            raise Interrupted(finished, plan.trials, plan.folder) from None
        return _tuning(running)


def _tuning(running: Search) -> Tuning:
    """Update the files of a search, and return its outcome."""
    plan, history = running.plan, running.write()
    best, written = best_trial(running.study, plan.trials), best_trial(running.study)
    return Tuning(
        folder=plan.folder,
        protocol=str(plan.resolved.protocol),
        history=history,
        best=None if best is None else running.layer(best),
        chosen={} if best is None else running.drawn(best),
        best_trial=None if best is None else best.number,
        written_trial=None if written is None else written.number,
        best_value=math.nan if best is None or best.value is None else best.value,
        default_value=default_value(running.study),
    )


def plan_search(
    config: RunConfig,
    dataset: Dataset,
    *,
    trials: int,
    splits: int = 1,
    search: Collection[str] = (),
    out: Path = Path("results"),
    label: str = "tune",
    in_memory: bool = False,
) -> SearchPlan:
    """Plan a search, without writing anything. See `tune`.

    Raises:
        UsageError: nothing is left to search, `search` names an option that cannot be searched, or the configuration does not work or
            cannot be split.
    """
    config = with_recorded_defaults(config, dataset)
    given = config if in_memory else anchored(config)
    resolved = resolve(given, dataset)
    space = search_space(given, search)
    unusable = [f"student.{key}" for key in GRAPH_TASK_OPTIONS if resolved.task == "node" and f"student.{key}" in space]
    if unusable:
        raise UsageError(f"{unusable[0]} is an option of graph tasks, and this is a node task. Leave it out of the search.")
    unused = without_effect_in_search(resolved, space)
    futile = [key for key in ((search,) if isinstance(search, str) else search) if key in unused] or [
        key for key in unused if len(unused) == len(space)
    ]
    if futile:
        raise UsageError(f"A search of {futile[0]} finds nothing, {unused[futile[0]].removeprefix(ENSEMBLE_ALONE)}")
    takes_edges = any(student.edge_features for student in resolved.students)
    schema = schema_of(dataset if takes_edges else dataset.without_edge_features())
    plan = SearchPlan(out / _name(resolved, space, splits), given, resolved, space, splits, trials, schema, label)
    parts = plan.parts(dataset)  # refuses data that cannot be split
    if resolved.protocol not in OFFICIAL_PROTOCOLS:
        return plan
    return replace(plan, official=tuple(split_digest(dataset, part.split) for part in parts))


def _name(resolved: RunConfig, space: SearchSpace, splits: int) -> str:
    """``tune-<task>-<dataset>-<strategy>-<hash>``: the same for any number of trials."""
    decisive = [identity(resolved_values(resolved)), splits, described(space)]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return re.sub(r"[0-9a-f]{8}$", digest[:8], f"tune-{run_name(resolved)}")
