"""Which process runs which trial of a search, where several share its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from dgl_mutual.experiments.tuning.proposals import Proposals
from dgl_mutual.experiments.tuning.records import begun_trials, counted_trials

if TYPE_CHECKING:
    import optuna


def claims_lock(folder: Path) -> filelock.BaseFileLock:
    """The lock that a process holds while it claims a trial, or writes files of the search."""
    return filelock.FileLock(folder / ".claims.lock")


class Claims:
    """Claims trials for this process.

    Each trial under way is held by a lock file of its own, which the system frees when its process ends, however it ends: then the trial
    is abandoned, and another one repeats it.
    """

    def __init__(self, folder: Path, lock: filelock.BaseFileLock, backend: Any, proposals: Proposals) -> None:
        """Claim trials of the search in a folder.

        Args:
            folder: of the search.
            lock: see `claims_lock`.
            backend: of the journal (see `dgl_mutual.experiments.tuning.journal.open_journal`).
            proposals: of the same study.
        """
        self.folder, self.lock, self.backend, self.proposals = folder, lock, backend, proposals
        self.study: optuna.Study = proposals.study

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from claiming trials and writing files.

        Raises:
            StoreError: the journal is gone. The lock would make a folder in the place of one that is gone.
        """
        self.backend.check()
        with self.lock:
            yield

    def num_counted(self) -> int:
        """Trials that are finished, or that a living process runs."""
        with self.alone():
            self.release_abandoned()
            return len(counted_trials(self.study))

    def claim(self, most: int) -> AbstractContextManager[optuna.Trial] | None:
        """A new trial as a context that holds it against other processes, its options drawn; None where there are `most` of them."""
        with self.alone():
            if (number := self.num_counted()) >= most:
                return None
            trial = self.proposals.next_trial(number)
            held = filelock.FileLock(self._lock_of(trial.number))
            held.acquire(timeout=0)
        return _holding(trial, held)

    def release_abandoned(self) -> None:
        """Let trials of processes that have ended run again. To be called `alone`."""
        for trial in begun_trials(self.study):
            if trial.state.name == "RUNNING" and not _is_held(self._lock_of(trial.number)):
                self.proposals.repeat(trial)

    def remove_free_locks(self) -> None:
        """Remove the lock files of trials that no process runs.

        Raises:
            StoreError: the journal is gone.
        """
        with self.alone():
            for file in self.folder.glob(".trial-*.lock"):
                if not _is_held(file):
                    file.unlink(missing_ok=True)

    def _lock_of(self, number: int) -> Path:
        return self.folder / f".trial-{number}.lock"


def _is_held(file: Path) -> bool:
    """Whether a process, this one too, holds a lock."""
    if not file.exists():
        return False
    try:
        with filelock.FileLock(file, timeout=0):
            return False
    except filelock.Timeout:
        return True


@contextmanager
def _holding(trial: optuna.Trial, held: filelock.BaseFileLock) -> Iterator[optuna.Trial]:
    try:
        yield trial
    finally:
        held.release()
