"""The journal of a search: the file of its Optuna study. Optuna accepts any content, so we check that it belongs to this search."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from dgl_mutual.errors import StoreError
from dgl_mutual.search_space import SearchSpace
from dgl_mutual.store.files import TUNING_FILE
from dgl_mutual.utils.files import check_regular, removed, replacing, unwritable, watching

if TYPE_CHECKING:
    import optuna

#: Errors of Optuna for a journal that it has not written.
JOURNAL_ERRORS = (ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, RecursionError)


def break_hard_links(journal: Path) -> None:
    """Replace a journal with hard links, as made by ``cp -al``, by a copy, since it is written in place.

    Raises:
        StoreError: the journal is not a file, or the copy cannot be written.
    """
    try:
        if journal.exists() and journal.stat().st_nlink > 1:
            check_regular(journal)
            with _lock(journal), replacing(journal) as temporary:
                shutil.copyfile(journal, temporary)
    except OSError as error:
        raise unwritable(journal, error) from None


@contextmanager
def open_journal(journal: Path, study_name: str) -> Iterator[Any]:
    """Open Optuna's backend of the journal. If the file is removed or replaced, it raises an error; Optuna would begin a new file.

    The backend uses a `filelock`, which the system releases when a process is killed. Optuna's own locks are files that would remain, and
    one of them waits forever if it was created with a relative path.

    Raises:
        ValueError: the file does not begin as the journal of this study. It is not changed.
        StoreError: the file was removed or replaced, or cannot be written.
    """
    from optuna.storages.journal import JournalFileBackend

    lock = _lock(journal)

    class Journal(JournalFileBackend):
        def check(self) -> None:
            if not is_there():
                raise removed(journal)

        def read_logs(self, log_number_from: int) -> Any:
            self.check()
            return super().read_logs(log_number_from)

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            self.check()
            try:
                with lock:
                    _cut_half_entry(journal)
                    super().append_logs(logs)
            except OSError as error:
                raise unwritable(journal, error) from None

    with lock:
        if journal.exists():
            _check_beginning(journal, study_name)
            _cut_half_entry(journal)
        else:
            journal.touch()
    with watching(journal) as is_there:
        yield Journal(str(journal), lock)  # type: ignore[arg-type]  # Optuna only acquires and releases it


def _check_beginning(journal: Path, study_name: str) -> None:
    """Check that the first line of a journal, if any, begins this study."""
    with journal.open("rb") as file:
        first = file.readline()
    began = json.loads(first) if first else {"study_name": study_name}
    if not isinstance(began, dict) or began.get("study_name") != study_name:
        raise ValueError("line 1 does not begin this search")


def _lock(journal: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(journal.with_name(f".{journal.name}.lock"))


def _cut_half_entry(journal: Path) -> None:
    """Remove the rest of an entry after a full disk or a killed process, since the next entry would be appended to it."""
    with journal.open("rb+") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def check_study(study: optuna.Study, space: SearchSpace, num_ended: int) -> None:
    """Check that a study from the journal belongs to this search.

    Args:
        num_ended: number of ended trials in other files.

    Raises:
        ValueError: otherwise.
    """
    trials = study.get_trials(deepcopy=False)
    ended = sum(trial.state.is_finished() and "interrupted" not in trial.user_attrs for trial in trials)
    if ended < num_ended:
        raise ValueError(f"it has {ended} of the {num_ended} trials that {TUNING_FILE} says have ended")
    for trial in trials:
        drawn = {**trial.params, **trial.system_attrs.get("fixed_params", {})}  # the latter in a waiting trial
        for key in (*drawn, *trial.user_attrs.get("keys", ())):
            if key not in space or (key in drawn and not space[key].holds(drawn[key])):
                raise ValueError(f"trial {trial.number} has a value of {key!r:.80} that is not searched")
        if not all(-1e-9 <= value <= 1 + 1e-9 for value in trial.values or ()):  # rounding may raise an average above 1
            raise ValueError(f"trial {trial.number} has the metric {trial.values[0]:g}, which is not in [0, 1]")


def damaged(journal: Path, error: Exception) -> StoreError:
    """The error to raise for a journal that cannot be read."""
    return StoreError(
        f"{str(journal)!r} is not what a search writes ({type(error).__name__}: {str(error)[:100]}): it was damaged or edited. "
        "Restore it, or undo the change; if you do not need its trials, remove the folder to start over."
    )
