"""The folder of one run. A trial is finished once it stands in trials.csv; other files are written before that, or follow from it.

Where a table is edited or damaged while the run is under way, rows of trials wait in the folder history/ until it can be read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.experiments.folder_lock import lock
from dgl_mutual.experiments.trial import TRIAL_NAME, Outcome, trial_name
from dgl_mutual.store.configuration import identity, num_seeds, resolved_part
from dgl_mutual.store.files import INFERENCE_FILE
from dgl_mutual.store.summary import summarise_trials
from dgl_mutual.store.tables import (
    FAILURE_COLUMNS,
    KEY,
    MORE_COLUMNS,
    RELIABILITY_COLUMNS,
    RUN_COLUMNS,
    TRIAL_COLUMNS,
    as_text,
    read_environment,
    read_table,
    read_text,
    read_trial_rows,
    read_trials,
)
from dgl_mutual.training.checkpoints import remove_cohort
from dgl_mutual.utils.files import refuse_links, remove_files, removed, set_aside, sweep, unreadable, write_text
from dgl_mutual.utils.plain_yaml import read_yaml_file
from dgl_mutual.utils.safe_text import csv_cell, plain_csv
from dgl_mutual.utils.wording import counted

#: Characters of an error or a traceback in failures.csv: with a quote before each line they fit a cell, which has at most 131,072.
_MOST_TEXT = 60_000
#: Tables with a seed and a fold in each row. Rows of them may lie in the folder history/, a file a trial: what its name starts with.
_PARTS = {"history.csv": "", "reliability.csv": "reliability-", "trials.csv": "trials-", "grid.csv": "grid-", "failures.csv": "failures-"}

#: The columns of those tables that have the same ones in each run, and what may follow them.
_COLUMNS: dict[str, tuple[list[str], list[str]]] = {
    "trials.csv": (TRIAL_COLUMNS, MORE_COLUMNS),
    "reliability.csv": (RELIABILITY_COLUMNS, []),
    "failures.csv": (FAILURE_COLUMNS, []),
}


class RunStore:
    """Reads and writes the folder of one run; see `open_store`.

    Attributes:
        folder: config.yaml, environment.json, trials.csv, history.csv, summary.csv, failures.csv (only if a trial failed),
            inference.csv (only if it was measured, and as long as its students are there),
            reliability.csv (how often predictions of each confidence are right on the test part), grid.csv (only with a grid: what
            validation said of each point), checkpoints/, snapshots/ (only of trials that are under way).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._is_there: Callable[[], bool] | None = None
        self._had: set[tuple[int, int]] = set()

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def snapshots(self) -> Path:
        return self.folder / "snapshots"

    @property
    def trials(self) -> pd.DataFrame:
        """trials.csv: a row per seed, fold and member, sorted so."""
        return read_trials(self.folder)

    @property
    def failures(self) -> pd.DataFrame:
        """failures.csv: the trials that failed when they last ran."""
        return read_table(self.folder / "failures.csv", FAILURE_COLUMNS)

    def finished(self) -> set[tuple[int, int]]:
        """(seed, fold) of the trials that need not run again."""
        return {(int(seed), int(fold)) for seed, fold in self.trials[KEY].itertuples(index=False)}

    def watch(self, is_there: Callable[[], bool]) -> None:
        """From now on refuse to go on where the folder or its config.yaml goes, or trials.csv loses a trial.

        Args:
            is_there: whether the folder is still the one that was opened.

        Raises:
            StoreError: trials.csv cannot be read.
        """
        self._is_there, self._had = is_there, self.finished()

    def begin(self, config: dict[str, Any], *, anew: bool = False) -> None:
        """Write config.yaml, or check that the folder holds the same run. If more seeds are asked for than before, it says so from now on.

        Args:
            config: see `dgl_mutual.store.configuration.file_values`.
            anew: set the file aside if it is of another run.

        Raises:
            StoreError: it holds another run.
        """
        file, now = self.folder / "config.yaml", resolved_part(config)
        before = None
        if file.exists() or file.is_symlink():
            before = read_resolved(file)
            if before is None or identity(before) != identity(now):
                if not anew and not os.access(file, os.R_OK):
                    raise StoreError(unreadable(file))
                if not anew:
                    raise StoreError(
                        f"{str(file)!r} is not the configuration that gave the folder its name: it was edited, or damaged. "
                        "Restore it, or start over with --no-resume (in Python: resume=False)."
                    )
                set_aside(file)
                before = None
        if before is None or num_seeds(now) > num_seeds(before):
            write_text(file, yaml.safe_dump(config, sort_keys=False))

    def check_links(self) -> None:
        """Make sure that what a run writes here stays here, and remove what a killed process left half-written.

        Raises:
            StoreError: a folder of the run, or one within it, is a link.
        """
        for part in (self.folder / "history", self.checkpoints, self.snapshots):
            refuse_links(part, self.folder)
            for below in part.iterdir() if part.is_dir() else ():
                refuse_links(below, self.folder)
                sweep(below, seconds=0)
            sweep(part, seconds=0)
        sweep(self.folder, seconds=0)

    def record_environment(self, environment: dict[str, Any]) -> None:
        """Write environment.json; where a run goes on, what it goes on in is added under ``resumed``."""
        file = self.folder / "environment.json"
        first = read_environment(file)
        if first:
            environment = {**first, "resumed": [*first.get("resumed", []), environment]}
        write_text(file, json.dumps(environment, indent=2) + "\n")

    def code(self) -> dict[str, Any]:
        """Digests of code of a user's own that trials were trained by (see `dgl_mutual.experiments.own_code`)."""
        found = read_environment(self.folder / "environment.json").get("code", {})
        return found if isinstance(found, dict) else {}

    def add(self, outcome: Outcome) -> None:
        """Keep what a trial left behind. Its row in trials.csv is written last, and then its snapshots go; a failed trial starts over.

        Raises:
            StoreError: the folder cannot be written, or is gone.
        """
        key = seed, fold = outcome.trial.key
        if outcome.error is not None:
            told = [text[:_MOST_TEXT] for text in (outcome.error, outcome.details)]
            self._keep("failures.csv", key, pd.DataFrame([[seed, fold, *told]], columns=FAILURE_COLUMNS))
            self._drop_snapshots(outcome.trial.name)
            return
        columns = None if outcome.history else ["epoch"]  # a strategy without training has no epochs
        history = pd.DataFrame(outcome.history, columns=columns).assign(seed=seed, fold=fold).astype({"epoch": int})
        self._write(self._part("history.csv", key), history)
        if outcome.reliability:
            reliability = pd.DataFrame(outcome.reliability).assign(seed=seed, fold=fold)
            self._write(self._part("reliability.csv", key), reliability[RELIABILITY_COLUMNS])
        if outcome.searched:
            self._keep("grid.csv", key, pd.DataFrame(outcome.searched).assign(seed=seed, fold=fold))
        rows = pd.DataFrame(outcome.rows, columns=[*TRIAL_COLUMNS, *MORE_COLUMNS]).astype({"best_epoch": "Int64"})
        self._keep("trials.csv", key, rows)
        with suppress(StoreError):  # `finish` tells it, when the other trials have ended
            self._forget("failures.csv", {key})
        with suppress(StoreError):  # who reads it tells it
            self._forget(INFERENCE_FILE, {key})  # it is of students that are no longer there
        self._drop_snapshots(outcome.trial.name)

    def merge(self) -> None:
        """Put the rows that wait in history/ into their tables.

        Raises:
            StoreError: a table cannot be read or written, or what waits does not fit it; the rows wait on.
        """
        for table in ("trials.csv", "grid.csv", "failures.csv"):
            if not (waiting := self._read_parts(table)):
                continue
            if table == "trials.csv":
                self._refuse_foreign(*waiting)
            try:
                self._put(table, *waiting.values())
            except StoreError as error:
                raise StoreError(
                    f"{error} Rows of {len(waiting)} trials that ended since are kept in {str(self.folder / 'history')!r}: once {table} is "
                    "as it was, the same command adds them."
                ) from None
            for key in waiting:
                (self.folder / self._part(table, key)).unlink()

    def finish(self) -> None:
        """Bring all tables up to date with trials.csv.

        Raises:
            StoreError: a table cannot be read or written, or the folder or a finished trial is gone.
        """
        self.merge()
        trials, finished = self.trials, self.finished()
        if self._had:
            self._refuse_removal()
        self._refuse_loss(finished)
        if trials.empty:
            return
        self._write("summary.csv", summarise_trials(trials))
        for table in ("history.csv", "reliability.csv"):
            if parts := [part for key, part in self._read_parts(table).items() if key in finished and len(part)]:
                self._put(table, *parts)
        self._forget("failures.csv", finished)
        self._drop_parts(TRIAL_NAME.pattern)
        self._drop_snapshots(*(trial_name(*key) for key in finished))

    def drop(self, keys: set[tuple[int, int]]) -> None:
        """Forget these trials, so that they run again; those of other seeds stay. A file that cannot be read is set aside."""
        for name in (*_PARTS, INFERENCE_FILE, "environment.json"):
            if not self._is_readable(name):
                set_aside(self.folder / name)
        names = [trial_name(*key) for key in keys]
        self._drop_parts("|".join(names))
        self.merge()
        if self.finished() <= keys:
            self.clear()
            return
        for name in _PARTS:
            table = read_text(self.folder / name)
            if table is not None:
                self._write(name, table[~_keys(table).isin(_as_text(keys))])
        self._forget(INFERENCE_FILE, keys)
        self._drop_students(*names)
        self._drop_snapshots(*names)

    def clear(self) -> None:
        """Remove what a run has left here; anything else in the folder stays."""
        for name in (*_PARTS, INFERENCE_FILE, "summary.csv", "environment.json", "config.yaml"):
            file = self.folder / name
            set_aside(file) if file.is_dir() else file.unlink(missing_ok=True)
        self._drop_parts(TRIAL_NAME.pattern)
        for parent, drop in ((self.checkpoints, self._drop_students), (self.snapshots, self._drop_snapshots)):
            drop(*(folder.name for folder in parent.glob("*") if TRIAL_NAME.fullmatch(folder.name)))

    def _is_readable(self, name: str) -> bool:
        try:
            if name == "trials.csv":
                read_trials(self.folder)
            elif name == "environment.json":
                read_environment(self.folder / name)
            else:
                read_text(self.folder / name)
        except StoreError:
            return False
        return True

    def _put(self, name: str, *tables: pd.DataFrame) -> None:
        """Put the trials of `tables` into a table in the place of those with the same keys. Other rows stay as they are, to the letter.

        No text starts like a formula.
        """
        file = self.folder / name
        new = pd.concat([as_text(table) for table in tables]).map(csv_cell)
        old = read_text(file)
        if name == "trials.csv":
            self._refuse_loss(set() if old is None else set(old[KEY].astype(int).itertuples(index=False, name=None)))
        merged = new if old is None else pd.concat([old[~_keys(old).isin(_keys(new))], new])
        if name == "history.csv":
            first = [*KEY, "epoch"]
            # Trials of different length may have different columns, and their order must not depend on who came first.
            merged = merged[[*first, *sorted(set(merged.columns) - {*first})]]
        # Rows of a trial keep their order: a sort by several columns is stable.
        self._write(name, merged.sort_values(KEY, key=lambda column: column.astype(int)))
        if name == "trials.csv":
            self._had |= set(new[KEY].astype(int).itertuples(index=False, name=None))

    def _refuse_loss(self, there: set[tuple[int, int]]) -> None:
        """Make sure that the trials that trials.csv has had since the folder was opened are still there.

        Raises:
            StoreError: they are not.
        """
        lost = sorted(self._had - there)
        if lost:
            first, many = "seed {}, fold {}".format(*lost[0]), counted(len(lost), "finished trial")
            raise StoreError(
                f"{str(self.folder / 'trials.csv')!r} no longer has {many} ({first}{', ...' if len(lost) > 1 else ''}): it was removed or "
                "replaced while the run was under way. Restore it; without it, the same command trains again what is missing."
            )

    def _part(self, table: str, key: tuple[int, int]) -> str:
        """Where the rows of one trial lie until they stand in a table."""
        return f"history/{_PARTS[table]}{trial_name(*key)}.csv"

    def _read_parts(self, table: str) -> dict[tuple[int, int], pd.DataFrame]:
        """These rows of all trials. The name of each file says of which trial they are.

        Raises:
            StoreError: a file cannot be read, or has columns that the table has not.
        """
        parts = {}
        for file in (self.folder / "history").glob(f"{_PARTS[table]}seed-*.csv"):
            named = TRIAL_NAME.fullmatch(file.stem.removeprefix(_PARTS[table]))
            if named is not None and (part := read_text(file)) is not None:
                _check_columns(file, table, part)
                parts[int(named[1]), int(named[2])] = part.assign(seed=named[1], fold=named[2])
        return parts

    def _refuse_foreign(self, *keys: tuple[int, int]) -> None:
        """Make sure that the rows of these trials that wait for trials.csv are such as it takes, of the trial that the file names, and of
        this run: with others it could no longer be read.

        Raises:
            StoreError: they are not; says which file is wrong.
        """
        config = read_resolved(self.folder / "config.yaml") or {}
        known = {name: {config[name]} for name in ("task", "strategy") if isinstance(config.get(name), str)}
        with suppress(StoreError):  # whoever puts them there says why
            trials = self.trials
            known |= {name: set(trials[name]) for name in RUN_COLUMNS if len(trials)}
        for key in sorted(keys):
            file = self.folder / self._part("trials.csv", key)
            rows = read_trial_rows(file)
            there = {name: set(rows[name].map(csv_cell)) for name in RUN_COLUMNS}
            others = [name for name in RUN_COLUMNS if not there[name] <= known.setdefault(name, there[name])]
            if others or not (rows[KEY] == [*key]).all(axis=None):
                what = f"another {others[0]} than the trials of this run" if others else "rows of another trial than its name says"
                raise StoreError(f"{str(file)!r} has {what}. Move it away: the same command trains the trial again.")

    def _keep(self, table: str, key: tuple[int, int], rows: pd.DataFrame) -> None:
        """Put the rows of a trial into a table, or beside it until `merge` where it was edited or damaged meanwhile: other trials go on."""
        try:
            self._put(table, rows)
        except StoreError:
            self._write(self._part(table, key), rows)

    def _forget(self, name: str, keys: set[tuple[int, int]]) -> None:
        """Take these trials out of a table, which goes with the last of them."""
        table = read_text(self.folder / name)
        if table is None:
            return
        others = table[~_keys(table).isin(_as_text(keys))]
        if not len(others):
            (self.folder / name).unlink()
        elif len(others) < len(table):
            self._write(name, others)

    def _drop_parts(self, trials: str) -> None:
        """Remove what lies in history/ of the trials whose names this regular expression gives."""
        remove_files(self.folder / "history", rf"({'|'.join(_PARTS.values())})({trials})\.csv")

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
        """Make sure that the folder is still the one that was opened, and has its configuration.

        Raises:
            StoreError: it is not. What is written there would be no run folder.
        """
        if self._is_there is not None and not self._is_there():
            raise removed(self.folder)
        if self._is_there is not None and not (self.folder / "config.yaml").is_file():
            raise removed(self.folder / "config.yaml")

    def _write(self, name: str, table: pd.DataFrame) -> None:
        self._refuse_removal()
        write_text(self.folder / name, plain_csv(table), within=self.folder)


def _check_columns(file: Path, table: str, part: pd.DataFrame) -> None:
    """Raises StoreError where rows that wait for a table have other columns than it, if those are known."""
    if table not in _COLUMNS:
        return
    first, more = _COLUMNS[table]
    foreign = [str(name) for name in part if name not in (*first, *more)]
    if list(part)[: len(first)] != first or foreign:
        what = f"a column {foreign[0][:80]!r}" if foreign else "not the columns"
        raise StoreError(
            f"{str(file)!r} has {what} that {table} {'has not' if foreign else 'has'}: it was changed, or is no file of this run. Move it "
            "away: the same command does again what is missing."
        )


def _as_text(keys: set[tuple[int, int]]) -> list[tuple[str, str]]:
    return [(str(seed), str(fold)) for seed, fold in keys]


def _keys(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[KEY])


def read_resolved(file: Path) -> dict[str, Any] | None:
    """The resolved configuration in a config.yaml; None where it is damaged."""
    try:
        resolved = {"dataset": "", **resolved_part(read_yaml_file(file))}
        identity(resolved)
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError):  # no YAML, or values in the place of groups
        return None
    return resolved


def folder_of_run(out: Path, name: str, resolved: dict[str, Any]) -> Path:
    """Where below `out` a run has its folder: the one of its name, or one of an earlier version that holds the same run by another name.

    Args:
        name: the run's name, which ends in a hash.
        resolved: its resolved configuration as plain values.
    """
    if (out / name).exists():
        return out / name
    decisive, found = identity(resolved), {}
    for file in out.glob(f"{name[:-8]}{'[0-9a-f]' * 8}/config.yaml"):
        other = read_resolved(file)
        if other is not None and identity(other) == decisive:
            found[file.parent] = num_seeds(other)
    return max(sorted(found), key=found.__getitem__, default=out / name)


@contextmanager
def open_store(folder: Path, config: dict[str, Any], *, resume: bool, keys: set[tuple[int, int]] | None = None) -> Iterator[RunStore]:
    """Lock the folder of a run. At the end, however it comes, history.csv and summary.csv fit trials.csv.

    A usage error that shows before any trial has finished leaves no folder behind.

    Args:
        config: what its config.yaml holds.
        resume: keep the trials that are there.
        keys: (seed, fold) of the trials that are asked for: only they start over (default: all).

    Raises:
        StoreError: the folder cannot be written, holds another run, another process is at work in it, or it is removed meanwhile.
    """
    store = RunStore(folder)
    with lock(folder) as is_there:
        store.check_links()
        if not resume:
            store.clear() if keys is None else store.drop(keys)
        store.begin(config, anew=not resume)
        store.merge()
        store.watch(is_there)
        try:
            yield store
        except UsageError:
            store.merge()
            if store.trials.empty:
                store.clear()
            raise
        finally:
            store.finish()
