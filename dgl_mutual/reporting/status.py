"""Completion of runs and suites."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import load_runs, read_suite, suite_runs
from dgl_mutual.store.files import SUITE_FILE


@dataclass(frozen=True)
class RunStatus:
    """The trials of one run.

    Attributes:
        name: method and data.
        failed: one line for each trial that failed when it last ran.
        missing: one name for each trial that was never finished, failed ones left out.
    """

    name: str
    folder: Path
    done: int
    failed: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Nothing failed or is missing."""
        return not self.failed and not self.missing


@dataclass(frozen=True)
class Status:
    """The runs in a folder, and of a suite also what has not begun or is not available (name -> why)."""

    runs: tuple[RunStatus, ...]
    not_begun: dict[str, str]

    @property
    def is_complete(self) -> bool:
        """Everything is done."""
        return not self.not_begun and all(run.is_complete for run in self.runs)


def status_of(folder: Path) -> Status:
    """Done, failed and missing trials.

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
    finished = run.finished
    errors = {(row["seed"], row["fold"]): str(row["error"]) for row in run.failures.to_dict("records")}
    return RunStatus(
        f"{run.method} on {run.data}",
        run.folder,
        len(finished & set(run.planned)),
        tuple(f"seed {seed}, fold {fold}: {error}" for (seed, fold), error in sorted(errors.items())),
        tuple(f"seed {seed}, fold {fold}" for seed, fold in run.planned if (seed, fold) not in finished and (seed, fold) not in errors),
    )
