"""The folder of one run. A trial is finished once it is in trials.csv; other files are written before it, or derived from it.

If a table is edited or damaged during the run, rows of further trials wait in the folder history/ until the table can be read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.experiments.run_folders.folder_lock import lock
from dgl_mutual.experiments.run_folders.trial_tables import HISTORY_COLUMNS, FinishedTrials, GatheredTable, History, TrialTable
from dgl_mutual.experiments.trial import TRIAL_NAME, Outcome, trial_name
from dgl_mutual.store.configuration import RESOLVED, identity, num_seeds, read_resolved
from dgl_mutual.store.files import CONFIG_FILE, ENVIRONMENT_FILE, FAILURES_FILE, GRID_FILE, INFERENCE_FILE, RELIABILITY_FILE, SUMMARY_FILE
from dgl_mutual.store.summary import summarise_trials
from dgl_mutual.store.tables import (
    FAILURE_COLUMNS,
    RELIABILITY_COLUMNS,
    TRIAL_COLUMNS,
    Key,
    keys_of,
    last_recorded,
    read_environment,
    read_table,
    read_text,
    read_trials,
    rows_of_others,
)
from dgl_mutual.training.checkpoints import remove_cohort
from dgl_mutual.utils.files import remove_files, removed, set_aside, sweep, unreadable, write_text
from dgl_mutual.utils.paths import refuse_links
from dgl_mutual.utils.plain_yaml import yaml_text
from dgl_mutual.utils.safe_text import csv_cell, plain_csv

#: Maximum length of an error or a traceback in failures.csv: with a quote before each line, it fits a cell of 131,072 characters.
_MAX_TEXT = 60_000


@dataclass(frozen=True, eq=False)
class Kept:
    """The finished trials that a run keeps when it goes on or starts over, with their environment.

    Attributes:
        folder: the run folder.
        trials: their rows in trials.csv.
        environment: content of environment.json; empty if there is none.
    """

    folder: Path
    trials: pd.DataFrame
    environment: dict[str, Any]

    @property
    def keys(self) -> set[Key]:
        """(seed, fold) of each trial."""
        return keys_of(self.trials)

    def recorded(self, name: str) -> dict[str, Any]:
        """The recorded code or schema of the trials (see `last_recorded`)."""
        return last_recorded(self.environment, name)

    def start_over(self, asked: set[tuple[int, int]]) -> str:
        """Advice on how to train them and the requested trials again, as the end of a sentence."""
        kept_seeds, seeds = (1 + max(seed for seed, _ in keys) for keys in (self.keys, asked))
        if kept_seeds <= seeds:
            return "start over with --no-resume (in Python: resume=False)"
        return (
            f"start over with all its {kept_seeds} seeds, since --no-resume keeps seeds that are not requested: --no-resume --seeds "
            f"{kept_seeds} (of a suite: --no-resume --set seeds={kept_seeds}; in Python: resume=False, seeds={kept_seeds})"
        )


class RunStore:
    """Reads and writes the folder of one run; see `locked_store` and `begun`.

    Attributes:
        folder: config.yaml, environment.json, trials.csv, history.csv, summary.csv, failures.csv (only if a trial failed),
            inference.csv (only if it was measured, and as long as its students are there),
            reliability.csv (how often predictions of each confidence are right on the test part), grid.csv (only with a grid: what
            validation said of each point), checkpoints/, snapshots/ (only of trials that are under way), history/ (only until the run ends:
            rows of trials that wait for their table).
    """

    def __init__(self, folder: Path, is_there: Callable[[], bool] | None = None) -> None:
        """`is_there` tells whether the folder is still the one that was locked."""
        self.folder, self.checkpoints, self.snapshots = folder, folder / "checkpoints", folder / "snapshots"
        self._config, self._environment = folder / CONFIG_FILE, folder / ENVIRONMENT_FILE
        self._is_there, self._is_watched = is_there, False
        self._trials, self._history = FinishedTrials(folder, self._write), History(folder, self._write)
        as_reliability, as_failures = (partial(read_table, columns=columns) for columns in (RELIABILITY_COLUMNS, FAILURE_COLUMNS))
        self._reliability = GatheredTable(folder, RELIABILITY_FILE, self._write, prefix="reliability-", reader=as_reliability)
        self._grid = GatheredTable(folder, GRID_FILE, self._write, prefix="grid-", reader=read_text)
        self._failures = GatheredTable(folder, FAILURES_FILE, self._write, prefix="failures-", reader=as_failures)
        self._inference = TrialTable(folder, INFERENCE_FILE, self._write)
        self._gathered = (self._history, self._reliability, self._trials, self._grid, self._failures)
        self._tables: tuple[TrialTable, ...] = (*self._gathered, self._inference)
        # Trials that are not in trials.csv run again. Trials are removed from it first, so that it never lists a trial without its files.
        self._trials_first = (self._trials, *(table for table in self._tables if table is not self._trials))

    @property
    def trials(self) -> pd.DataFrame:
        """trials.csv: one row per seed, fold and member, in this order."""
        return read_trials(self.folder)

    @property
    def failures(self) -> pd.DataFrame:
        """failures.csv: the trials that failed when they last ran."""
        return read_table(self._failures.file, FAILURE_COLUMNS)

    def finished(self) -> set[Key]:
        """(seed, fold) of the trials that need not run again."""
        return keys_of(self.trials)

    def kept(self, config: dict[str, Any], *, resume: bool, keys: set[Key]) -> Kept:
        """The earlier trials that remain once the run has begun (see `begun`). Nothing is removed yet.

        Raises:
            StoreError: with `resume`, the folder holds another run, or a table is damaged.
        """
        if resume:
            self.check_config(config)
            self.merge()
            return self.finished_trials()
        with suppress(StoreError):  # damaged files will be set aside
            self.merge()
        trials, environment = pd.DataFrame(columns=TRIAL_COLUMNS), {}
        with suppress(StoreError):
            trials = self.trials
        with suppress(StoreError):
            environment = read_environment(self._environment)
        return Kept(self.folder, rows_of_others(trials, keys), environment)

    def finished_trials(self) -> Kept:
        """All finished trials with their environment.

        Raises:
            StoreError: a table is damaged.
        """
        return Kept(self.folder, self.trials, read_environment(self._environment))

    def watch(self) -> None:
        """From now on refuse to go on if the folder or its config.yaml is removed, or trials.csv loses a trial.

        Raises:
            StoreError: trials.csv cannot be read.
        """
        self._is_watched = True
        self._trials.watch()

    def check_config(self, config: dict[str, Any]) -> None:
        """Check that config.yaml, if it exists, is of the same run.

        Raises:
            StoreError: it is of another run, or cannot be read.
        """
        file = self._config
        if not (file.exists() or file.is_symlink()) or self._is_same_run(config):
            return
        if not os.access(file, os.R_OK):
            raise StoreError(unreadable(file))
        raise StoreError(
            f"{str(file)!r} is not the configuration after which the folder was named: it was edited or damaged. "
            "Restore it, or start over with --no-resume (in Python: resume=False)."
        )

    def _is_same_run(self, config: dict[str, Any]) -> bool:
        before = read_resolved(self._config)
        return before is not None and identity(before) == identity(config[RESOLVED])

    def begin(self, config: dict[str, Any], *, start_over: bool = False) -> None:
        """Write config.yaml, or check that it is of the same run. A larger number of seeds replaces the former one.

        Args:
            config: see `dgl_mutual.store.configuration.file_values`.
            start_over: set the file aside if it is of another run.

        Raises:
            StoreError: the folder holds another run.
        """
        file = self._config
        if not start_over:
            self.check_config(config)
        elif (file.exists() or file.is_symlink()) and not self._is_same_run(config):
            set_aside(file)
        before = read_resolved(file)
        if before is None or num_seeds(config[RESOLVED]) > num_seeds(before):
            write_text(file, yaml_text(config))

    def check_links(self) -> None:
        """Check that no subfolder is a link, and remove half-written files of killed processes.

        Raises:
            StoreError: a subfolder is a link.
        """
        for subfolder in (self.folder / "history", self.checkpoints, self.snapshots):
            refuse_links(subfolder, self.folder)
            for entry in subfolder.iterdir() if subfolder.is_dir() else ():
                refuse_links(entry, self.folder)
                sweep(entry, seconds=0)
            sweep(subfolder, seconds=0)
        sweep(self.folder, seconds=0)

    def record_environment(self, environment: dict[str, Any]) -> None:
        """Write environment.json; when a run goes on, its new environment is appended to ``resumed``."""
        file = self._environment
        first = read_environment(file)
        if first:
            environment = {**first, "resumed": [*first.get("resumed", []), environment]}
        write_text(file, json.dumps(environment, indent=2) + "\n")

    def add(self, outcome: Outcome) -> None:
        """Store the outcome of a trial: its rows in trials.csv come last, then its snapshots are removed. A failed trial starts over.

        Raises:
            StoreError: the folder cannot be written, or is gone.
        """
        key = seed, fold = outcome.trial.key
        if outcome.error is not None:
            texts = [text[:_MAX_TEXT] for text in (outcome.error, outcome.details)]
            self._failures.keep(key, pd.DataFrame([[seed, fold, *texts]], columns=FAILURE_COLUMNS))
            self._drop_snapshots(outcome.trial.name)
            return
        epochs = [{"seed": seed, "fold": fold, **row} for row in outcome.history]
        columns = None if epochs else HISTORY_COLUMNS  # a strategy without training has no epochs
        self._history.write_part(key, pd.DataFrame(epochs, columns=columns).astype({"epoch": int}))
        if outcome.reliability:
            reliability = pd.DataFrame(outcome.reliability).assign(seed=seed, fold=fold)
            self._reliability.write_part(key, reliability[RELIABILITY_COLUMNS])
        if outcome.searched:
            self._grid.keep(key, pd.DataFrame(outcome.searched).assign(seed=seed, fold=fold))
        rows = pd.DataFrame(outcome.rows, columns=TRIAL_COLUMNS).astype({"best_epoch": "Int64"})
        self._trials.keep(key, rows)
        with suppress(StoreError):  # `finish` raises it after the other trials have ended
            self._failures.forget({key})
        with suppress(StoreError):  # raised where the table is read
            self._inference.forget({key})  # its students have been replaced
        self._drop_snapshots(outcome.trial.name)

    def merge(self) -> None:
        """Move the rows that wait in history/ into their tables.

        Raises:
            StoreError: a table cannot be read or written, or the rows do not fit it; they remain waiting.
        """
        for table in (self._trials, self._grid, self._failures):
            table.merge()

    def finish(self) -> None:
        """Bring all tables up to date with trials.csv.

        Raises:
            StoreError: a table cannot be read or written, or the folder or a finished trial is gone.
        """
        self.merge()
        trials, finished = self.trials, self.finished()
        if self._trials.expected:
            self._refuse_removal()
        self._trials.refuse_loss(finished)
        if trials.empty:
            return
        self._write(SUMMARY_FILE, summarise_trials(trials).map(csv_cell))
        for table in (self._history, self._reliability):
            if parts := [part for key, part in table.waiting().items() if key in finished and len(part)]:
                table.put(*parts)
        self._failures.forget(finished)
        self._drop_parts(TRIAL_NAME.pattern)
        self._drop_snapshots(*(trial_name(*key) for key in finished))

    def drop(self, keys: set[Key]) -> None:
        """Remove these trials, so that they run again; others remain. Files that cannot be read are set aside."""
        for table in self._tables:
            table.set_aside_if_damaged()
        try:
            read_environment(self._environment)
        except StoreError:
            set_aside(self._environment)
        names = [trial_name(*key) for key in keys]
        self._drop_parts("|".join(names))
        self.merge()
        if self.finished() <= keys:
            self.clear()
            return
        for table in self._trials_first:
            table.forget(keys)
        self._drop_students(*names)
        self._drop_snapshots(*names)

    def clear(self) -> None:
        """Remove all files of the run; other files in the folder remain."""
        others = (self.folder / SUMMARY_FILE, self._environment, self._config)
        for file in (*(table.file for table in self._trials_first), *others):
            set_aside(file) if file.is_dir() else file.unlink(missing_ok=True)
        self._drop_parts(TRIAL_NAME.pattern)
        for parent, drop in ((self.checkpoints, self._drop_students), (self.snapshots, self._drop_snapshots)):
            drop(*(folder.name for folder in parent.glob("*") if TRIAL_NAME.fullmatch(folder.name)))

    def _drop_parts(self, trials: str) -> None:
        """Remove the waiting rows of the trials whose names match a regular expression."""
        prefixes = "|".join(table.prefix for table in self._gathered)
        remove_files(self.folder / "history", rf"({prefixes})({trials})\.csv")

    def _drop_students(self, *names: str) -> None:
        for name in names:
            remove_cohort(self.checkpoints / name)
            remove_files(self.checkpoints / name)
        remove_files(self.checkpoints)

    def _drop_snapshots(self, *names: str) -> None:
        for name in names:
            remove_files(self.snapshots / name, r"[0-9]+\.safetensors")
        remove_files(self.snapshots)

    def _refuse_removal(self) -> None:
        """Check that the folder is still the one that was opened, and has its configuration."""
        if not self._is_watched:
            return
        if self._is_there is not None and not self._is_there():
            raise removed(self.folder)
        if not self._config.is_file():
            raise removed(self._config)

    def _write(self, name: str, table: pd.DataFrame) -> None:
        self._refuse_removal()
        write_text(self.folder / name, plain_csv(table), within=self.folder)


@contextmanager
def locked_store(folder: Path) -> Iterator[RunStore]:
    """Lock the folder of a run. If nothing begins in it, it is removed again.

    Raises:
        StoreError: the folder cannot be written, contains links, is locked by another process, or is removed meanwhile.
    """
    with lock(folder) as is_there:
        store = RunStore(folder, is_there)
        store.check_links()
        yield store


@contextmanager
def begun(store: RunStore, config: dict[str, Any], *, resume: bool, keys: set[Key] | None = None) -> Iterator[None]:
    """Begin a run in its locked folder. At the end, also after an error, history.csv and summary.csv fit trials.csv.

    A usage error before any trial has finished leaves no folder behind.

    Args:
        config: content of config.yaml.
        resume: keep finished trials. Otherwise those that start over are removed now: check before (see `RunStore.kept`).
        keys: (seed, fold) of the requested trials: only these start over (default: all).

    Raises:
        StoreError: the folder cannot be written, holds another run, or is removed meanwhile.
    """
    if not resume:
        store.clear() if keys is None else store.drop(keys)
    store.begin(config, start_over=not resume)
    store.merge()
    store.watch()
    try:
        yield
    except UsageError:
        store.merge()
        if store.trials.empty:
            store.clear()
        raise
    finally:
        store.finish()
