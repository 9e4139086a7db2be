"""The folder of one run. A trial is finished once it stands in trials.csv; other files are written before that, or follow from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import yaml

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.experiments.files import replacing, unwritable, write_text
from dgl_mutual.experiments.resolve import identity
from dgl_mutual.experiments.schema import FAILURE_COLUMNS, KEY, TRIAL_COLUMNS, read_table
from dgl_mutual.experiments.summary import summarise
from dgl_mutual.experiments.trial import Outcome


class RunStore:
    """Reads and writes the folder of one run; see `open_store`.

    Attributes:
        folder: config.yaml, environment.json, trials.csv, history.csv, summary.csv, failures.csv (only if a trial failed), checkpoints/.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def trials(self) -> pd.DataFrame:
        """trials.csv: a row per seed, fold and member, sorted so."""
        return self._read("trials.csv", TRIAL_COLUMNS)

    @property
    def failures(self) -> pd.DataFrame:
        """failures.csv: the trials that failed when they last ran."""
        return self._read("failures.csv", FAILURE_COLUMNS)

    def finished(self) -> set[tuple[int, int]]:
        """(seed, fold) of the trials that need not run again."""
        return {(int(seed), int(fold)) for seed, fold in self.trials[KEY].itertuples(index=False)}

    def begin(self, config: dict[str, Any]) -> None:
        """Write config.yaml, or check that the folder holds the same run.

        Raises:
            StoreError: it holds another one.
        """
        file = self.folder / "config.yaml"
        if not file.exists():
            write_text(file, yaml.safe_dump(config, sort_keys=False))
            return
        try:
            found = yaml.safe_load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError:
            found = None
        if not isinstance(found, dict) or identity({"dataset": "", **found}) != identity(config):
            raise StoreError(
                f"{str(file)!r} is not the configuration that gave the folder its name: it was edited, or damaged. "
                "Restore it, or start over with --no-resume."
            )

    def record_environment(self, environment: dict[str, Any]) -> None:
        """Write environment.json; where a run goes on, what it goes on in is added under ``resumed``."""
        file = self.folder / "environment.json"
        if file.exists():
            first = json.loads(file.read_text(encoding="utf-8"))
            environment = {**first, "resumed": [*first.get("resumed", []), environment]}
        write_text(file, json.dumps(environment, indent=2) + "\n")

    def add(self, outcome: Outcome) -> None:
        """Keep what a trial left behind. Its row in trials.csv is written last."""
        failures = self.failures
        failures = failures[~(failures[KEY] == outcome.trial.key).all(axis=1)]
        if outcome.error is not None:
            row = dict(zip(FAILURE_COLUMNS, (*outcome.trial.key, outcome.error, outcome.details), strict=True))
            self._write("failures.csv", pd.DataFrame([*failures.to_dict("records"), row], columns=FAILURE_COLUMNS).sort_values(KEY))
            return
        part = pd.DataFrame(outcome.history)
        part.insert(0, "seed", outcome.trial.seed)
        part.insert(1, "fold", outcome.trial.fold)
        part["epoch"] = part["epoch"].astype(int)
        self._write(f"history/{outcome.trial.name}.csv", part)
        rows = pd.DataFrame(outcome.rows, columns=TRIAL_COLUMNS).astype({"best_epoch": "Int64"})
        # A stable sort keeps the members of a trial in their order.
        trials = self.trials
        self._write("trials.csv", pd.concat([trials, rows]).sort_values(KEY, kind="stable") if len(trials) else rows)
        if len(failures):
            self._write("failures.csv", failures)
        else:
            (self.folder / "failures.csv").unlink(missing_ok=True)

    def finish(self) -> None:
        """Bring history.csv and summary.csv up to date with trials.csv."""
        trials = self.trials
        if trials.empty:
            return
        self._write("summary.csv", summarise(trials))
        finished, parts = self.finished(), self.folder / "history"
        found = [pd.read_csv(file, float_precision="round_trip") for file in sorted(parts.glob("seed-*.csv"))]
        found = [part for part in found if tuple(part[KEY].iloc[0]) in finished]
        if found:
            renewed = {tuple(part[KEY].iloc[0]) for part in found}
            old = self._read("history.csv", [*KEY, "epoch"])
            kept = old[[key not in renewed for key in old[KEY].itertuples(index=False, name=None)]]
            history = pd.concat([*([kept] if len(kept) else []), *found]).sort_values([*KEY, "epoch"])
            self._write("history.csv", history)
        shutil.rmtree(parts, ignore_errors=True)

    def clear(self) -> None:
        """Remove what a run has left here; anything else in the folder stays."""
        for name in ("trials.csv", "history.csv", "summary.csv", "failures.csv", "environment.json", "config.yaml"):
            (self.folder / name).unlink(missing_ok=True)
        for name in ("history", "checkpoints"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _read(self, name: str, columns: list[str]) -> pd.DataFrame:
        return read_table(self.folder / name, columns)

    def _write(self, name: str, table: pd.DataFrame) -> None:
        with replacing(self.folder / name) as temporary:
            table.to_csv(temporary, index=False)


@contextmanager
def open_store(folder: Path, config: dict[str, Any], *, resume: bool) -> Iterator[RunStore]:
    """Have the folder of a run for oneself. At the end, however it comes, history.csv and summary.csv fit trials.csv.

    A usage error that shows before any trial has finished leaves no folder behind.

    Args:
        config: the resolved configuration as plain values.
        resume: keep the trials that are there.

    Raises:
        StoreError: the folder cannot be written, holds another run, or another process is at work in it.
    """
    store = RunStore(folder)
    with _lock(folder):
        if not resume:
            store.clear()
        store.begin(config)
        try:
            yield store
        except UsageError:
            if store.trials.empty:
                store.clear()
            raise
        finally:
            store.finish()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    file = folder / ".lock"
    lock = filelock.FileLock(file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StoreError(
            f"Another process is at work in {str(folder)!r}. Wait for it to end, or choose another folder with --out."
        ) from None
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        yield
    finally:
        lock.release()
        if [*folder.iterdir()] in ([], [file]):
            shutil.rmtree(folder)
