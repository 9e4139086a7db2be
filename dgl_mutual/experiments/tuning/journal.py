"""The journal of a search: what Optuna reads from it is checked, since it takes whatever the file holds."""

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

#: What Optuna raises for a journal that it has not written.
JOURNAL_ERRORS = (ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, RecursionError)
#: Entries of the journal that begin and delete a study.
_CREATE, _DELETE = 0, 1
#: How Optuna begins every entry.
_BEGINNING = b'{"op_code"'
#: Trials that run at a time, or that killed processes have left: more than any search has, and few enough to be released in seconds.
_MAX_RUNNING = 1000
#: How far rounding may take a metric out of 0 to 1.
_ROUNDING = 1e-9


def leave_copies(journal: Path) -> None:
    """Replace a journal that has further names (hard links, as a copy made by ``cp -al`` has them) by its copy: it is written in place.

    Raises:
        StoreError: it is no file, or the disk does not take the copy.
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
    """Optuna's backend of the journal. It refuses to go on where the file is removed or replaced: Optuna would begin another one.

    Its lock is one that the system frees when a process is killed: Optuna's own locks are files that stay, and one of them waits for ever
    where it was made by a relative path.

    Raises:
        ValueError: the file is not the journal of this study. It stays as it is.
        StoreError: it is removed or replaced, or cannot be written.
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
            _check_entries(journal, study_name)
        else:
            journal.touch()
    with watching(journal) as is_there:
        yield Journal(str(journal), lock)  # type: ignore[arg-type]  # Optuna only acquires and releases it


def _lock(journal: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(journal.with_name(f".{journal.name}.lock"))


def _cut_half_entry(journal: Path) -> None:
    """Remove what a full disk, or a killed process, left of an entry: the next one would be appended to it."""
    with journal.open("rb+") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def check_study(study: optuna.Study, space: SearchSpace, num_ended: int) -> None:
    """Make sure that a study from the journal is one of this search.

    Args:
        num_ended: trials that have ended, as far as it is known from elsewhere.

    Raises:
        ValueError: it is not.
    """
    if study.direction.name != "MAXIMIZE":
        raise ValueError(f"the direction is {study.direction.name}")
    trials = study.get_trials(deepcopy=False)
    running = sum(trial.state.name == "RUNNING" for trial in trials)
    if running > _MAX_RUNNING:
        raise ValueError(f"{running} trials are under way, and no search has more than {_MAX_RUNNING} at a time")
    ended = sum(trial.state.is_finished() and "interrupted" not in trial.user_attrs for trial in trials)
    if ended < num_ended:
        raise ValueError(f"it has {ended} of the {num_ended} trials that {TUNING_FILE} says have ended")
    drawn_from = {key: _as_text(domain.distribution()) for key, domain in space.items()}
    for trial in trials:
        _check_trial(trial, space)
        changed = [key for key, distribution in trial.distributions.items() if _as_text(distribution) != drawn_from[key]]
        if changed:
            raise ValueError(f"trial {trial.number} has drawn {changed[0]!r} from other values than are searched")


def _as_text(distribution: optuna.distributions.BaseDistribution) -> str:
    """As the journal has it."""
    from optuna.distributions import distribution_to_json

    return distribution_to_json(distribution)


def _check_trial(trial: optuna.trial.FrozenTrial, space: SearchSpace) -> None:
    values, reported = trial.values or [], trial.intermediate_values
    if len(values) > 1 or (trial.state.name == "COMPLETE" and not values):
        raise ValueError(f"trial {trial.number} has {len(values)} values")
    for value in (*values, *reported.values()):
        if not isinstance(value, float) or not -_ROUNDING <= value <= 1 + _ROUNDING:
            raise ValueError(f"trial {trial.number} has the value {value!r:.30}, and metrics are from 0 to 1")
    if not all(isinstance(step, int) for step in reported):
        raise ValueError(f"trial {trial.number} has a value of no step")
    strange = [key for key, drawn in trial.params.items() if key not in space or not space[key].holds(drawn)]
    if strange:
        raise ValueError(f"trial {trial.number} has a value of {str(strange[0])[:80]!r} that is not searched")
    keys, fixed = trial.user_attrs.get("keys", []), trial.system_attrs.get("fixed_params", {})
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in space for key in keys):
        raise ValueError(f"trial {trial.number} has options that are not searched")
    if not isinstance(fixed, dict) or not all(key in space and space[key].holds(value) for key, value in fixed.items()):
        raise ValueError(f"trial {trial.number} has given values of something that is not searched")
    known: dict[str, type] = {"defaults": bool, "interrupted": bool, "error": str}
    if not all(isinstance(value, known[key]) for key, value in trial.user_attrs.items() if key in known):
        raise ValueError(f"trial {trial.number} has attributes of another type")


def _check_entries(journal: Path, study_name: str) -> None:
    """Make sure that a file is the journal of a study, and end its last line, since the next entry would be appended to it.

    An incomplete last entry, as a killed process leaves it, is removed.

    Raises:
        ValueError: it is not, and stays as it is.
    """
    with journal.open("rb+") as file:
        content = file.read()
        *lines, last = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            _check_entry(number, line, study_name)
        if not last:
            return
        # A crash of the whole machine can leave zeros in the place of what was written last.
        is_cut_off = _entry(last) is None and _BEGINNING.startswith(last.rstrip(b"\0")[: len(_BEGINNING)])
        if lines and is_cut_off:
            file.truncate(len(content) - len(last))
        else:
            _check_entry(len(lines) + 1, last, study_name)
            file.write(b"\n")


def _check_entry(number: int, line: bytes, study_name: str) -> None:
    """Make sure that a line is an entry of the journal of a study, which begins with the study and never deletes it.

    Raises:
        ValueError: it is not.
    """
    entry = _entry(line)
    if entry is None:
        raise ValueError(f"line {number} is not an entry: {line[:30]!r}")
    if entry["op_code"] == _DELETE:
        raise ValueError(f"line {number} deletes the search")
    if (number == 1 or entry["op_code"] == _CREATE) and (entry["op_code"], entry.get("study_name")) != (_CREATE, study_name):
        raise ValueError(f"line {number} does not begin this search")
    if entry.get("study_id", 0) != 0:  # Optuna would pass over it
        raise ValueError(f"line {number} belongs to another search")


def _entry(line: bytes) -> dict[str, Any] | None:
    """The entry that a line holds; None where it holds none."""
    try:
        entry = json.loads(line.decode("utf-8-sig"))  # of bytes, json takes UTF-16, too
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and "op_code" in entry else None


def damaged(journal: Path, error: Exception) -> StoreError:
    """The error to raise for a journal that cannot be read."""
    return StoreError(
        f"{str(journal)!r} is not what a search writes ({type(error).__name__}: {str(error)[:100]}): it was damaged or edited. "
        "Restore it, or take back the change; if you can do without its trials, remove the folder to start over."
    )
