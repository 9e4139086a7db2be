"""Completion of runs and suites."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import load_runs, read_suite, suite_runs
from dgl_mutual.store.files import SUITE_FILE
from dgl_mutual.store.tables import Key

#: Maximum number of missing trials of a run to name.
MAX_NAMED = 20


@dataclass(frozen=True)
class RunStatus:
    """The trials of one run.

    Attributes:
        name: method and data.
        failed: one line for each trial that failed when it last ran.
        num_missing: number of trials that neither finished nor failed.
        missing: names of the first `MAX_NAMED` of these.
    """

    name: str
    folder: Path
    num_done: int
    failed: tuple[str, ...]
    num_missing: int
    missing: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether no trial failed or is missing."""
        return not self.failed and not self.num_missing


@dataclass(frozen=True)
class Status:
    """The runs in a folder, and for a suite also its runs that have not begun and unavailable data (name -> reason)."""

    runs: tuple[RunStatus, ...]
    not_begun: dict[str, str]

    @property
    def is_complete(self) -> bool:
        """Whether everything is done."""
        return not self.not_begun and all(run.is_complete for run in self.runs)


def status_of(folder: Path) -> Status:
    """Return done, failed and missing trials.

    Args:
        folder: a run folder, a suite folder, or a folder of run folders.

    Raises:
        UsageError, StoreError: see `load_runs`.
    """
    if not (folder / SUITE_FILE).is_file():
        return Status(tuple(_run_status(run) for run in load_runs([folder])), {})
    suite, runs = read_suite(folder), suite_runs(folder)
    begun = {run.folder.name for run in runs}
    not_begun = {f"{run['method']} on {run['data']}": "not begun" for run in suite["runs"] if run["folder"] not in begun}
    not_begun |= {str(data): str(why) for data, why in (suite.get("missing") or {}).items()}
    return Status(tuple(_run_status(run) for run in runs), not_begun)


def _run_status(run: Run) -> RunStatus:
    # A small configuration may have very many trials, so they are counted rather than listed.
    finished = {key for key in run.finished if _is_planned(run, key)}
    errors = {(row["seed"], row["fold"]): str(row["error"]) for row in run.failures.to_dict("records")}
    ended = finished | {key for key in errors if _is_planned(run, key)}
    planned = ((seed, fold) for seed in range(run.config["seeds"]) for fold in range(run.num_folds))
    missing = (f"seed {seed}, fold {fold}" for seed, fold in planned if (seed, fold) not in ended)
    return RunStatus(
        name=f"{run.method} on {run.data}",
        folder=run.folder,
        num_done=len(finished),
        failed=tuple(f"seed {seed}, fold {fold}: {error}" for (seed, fold), error in sorted(errors.items())),
        num_missing=run.num_planned - len(ended),
        missing=tuple(islice(missing, MAX_NAMED)),
    )


def _is_planned(run: Run, key: Key) -> bool:
    seed, fold = key
    return 0 <= seed < run.config["seeds"] and 0 <= fold < run.num_folds
