"""Reading of run folders. Nothing in this package imports torch or DGL, so that results can be viewed anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_mutual.errors import StoreError
from dgl_mutual.store.files import ENVIRONMENT_FILE, FAILURES_FILE, HISTORY_FILE
from dgl_mutual.store.tables import (
    FAILURE_COLUMNS,
    KEY,
    Key,
    keys_of,
    last_recorded,
    overall,
    read_environment,
    read_inference,
    read_reliability,
    read_table,
    read_trials,
)


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder. Its files are read at the first access, which raises a `StoreError` if the folder no longer exists.

    Attributes:
        config: resolved configuration as plain values; trials of further seeds are left out.
        method: name of the method in tables and plots.
        data: name of the data in tables and plots.
        tuned: number of trials of the search that chose its options, in a suite that tunes its methods; else 0.
        given: the options that were given.
    """

    folder: Path
    config: dict[str, Any]
    method: str = ""
    data: str = ""
    tuned: int = 0
    given: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """trials.csv; empty if no trial has finished."""
        return self._of_seeds(read_trials(self._existing_folder))

    @cached_property
    def overall(self) -> pd.DataFrame:
        """A row per trial and member: the mean over several tasks."""
        return overall(self.trials)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """failures.csv; empty if no trial failed."""
        return self._of_seeds(read_table(self._existing_folder / FAILURES_FILE, FAILURE_COLUMNS))

    @cached_property
    def history(self) -> pd.DataFrame:
        """history.csv; empty before the run has ended for the first time."""
        return self._of_seeds(read_table(self._existing_folder / HISTORY_FILE, [*KEY, "epoch"]))

    @cached_property
    def reliability(self) -> pd.DataFrame:
        """reliability.csv; empty if there is none."""
        return self._of_seeds(read_reliability(self._existing_folder))

    @cached_property
    def inference(self) -> pd.DataFrame:
        """inference.csv; empty if inference was not timed."""
        return read_inference(self._existing_folder)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """environment.json; empty if there is none."""
        return read_environment(self._existing_folder / ENVIRONMENT_FILE)

    @property
    def schema(self) -> dict[str, Any]:
        """The meaning of the columns and labels of its data (see `schema_of`); empty if it is not recorded."""
        return last_recorded(self.environment, "schema")

    @property
    def num_folds(self) -> int:
        """Number of folds per seed; 1 without cross-validation."""
        return int(self.config.get("folds") or 1)

    @property
    def num_planned(self) -> int:
        """Number of trials of the configuration."""
        return int(self.config["seeds"]) * self.num_folds

    @property
    def num_combinations(self) -> int:
        """Number of combinations of options from which each trial chooses on validation; 0 without a choice."""
        count = math.prod(map(len, (self.config.get("grid") or {}).values()))
        return count if count > 1 else 0

    @property
    def finished(self) -> set[Key]:
        """(seed, fold) of the trials that are in trials.csv."""
        return keys_of(self.trials)

    @property
    def num_students(self) -> int:
        """K."""
        return len(self.config["students"])

    @property
    def _existing_folder(self) -> Path:
        """The folder. A missing file in it means that there are no such rows.

        Raises:
            StoreError: the folder no longer exists.
        """
        if self.folder.is_dir():
            return self.folder
        raise StoreError(
            f"The run folder {str(self.folder)!r} is gone. It was moved or removed, or it was the temporary folder of an experiment "
            "without out, which is removed with the Experiment. Keep that object in a variable, save it with experiment.save(FOLDER), or "
            "pass out=FOLDER to dgl_mutual.experiment."
        )

    def _of_seeds(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the seeds in `config`."""
        return table[table["seed"] < self.config["seeds"]].reset_index(drop=True) if len(table) else table


def by_data(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Group runs by data, in their order."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.data, []).append(run)
    return groups
