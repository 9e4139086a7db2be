"""The journal of a search: what Optuna reads from it is checked, since it takes whatever the file holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from dgl_mutual.errors import StoreError
from dgl_mutual.search_space import SearchSpace
from dgl_mutual.utils.files import unwritable

if TYPE_CHECKING:
    import optuna

#: What Optuna raises for a journal that it has not written.
JOURNAL_ERRORS = (ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, RecursionError)


def open_journal(journal: Path, optuna: Any) -> Any:
    """Optuna's backend of the journal.

    Its lock is one that the system frees when a process is killed: Optuna's own locks are files that stay, and one of them waits for ever
    where it was made by a relative path.
    """
    lock = filelock.FileLock(journal.with_name(f".{journal.name}.lock"))

    class Journal(optuna.storages.journal.JournalFileBackend):  # type: ignore[misc]  # Optuna is imported where it is needed
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            try:
                super().append_logs(logs)
            except OSError as error:
                raise unwritable(journal, error) from None

    with lock:
        _end_last_line(journal)
    return Journal(str(journal), lock)


def check_study(study: optuna.Study, space: SearchSpace) -> None:
    """Make sure that a study from the journal is one of this search.

    Raises:
        ValueError: it is not.
    """
    if study.direction.name != "MAXIMIZE":
        raise ValueError(f"the direction is {study.direction.name}")
    for trial in study.get_trials(deepcopy=False):
        _check_trial(trial, space)


def _check_trial(trial: optuna.trial.FrozenTrial, space: SearchSpace) -> None:
    values, reported = trial.values or [], trial.intermediate_values
    if len(values) > 1 or (trial.state.name == "COMPLETE" and not values):
        raise ValueError(f"trial {trial.number} has {len(values)} values")
    if not all(isinstance(value, float) and math.isfinite(value) for value in (*values, *reported.values())):
        raise ValueError(f"trial {trial.number} has a value that is not a finite number")
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


def _end_last_line(journal: Path) -> None:
    """Remove an incomplete last entry, as a killed process leaves it: the next entry would be appended to it."""
    if journal.exists():
        with journal.open("rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)


def damaged(journal: Path, error: Exception) -> StoreError:
    """The error to raise for a journal that cannot be read."""
    return StoreError(
        f"{str(journal)!r} is not what a search writes ({type(error).__name__}: {str(error)[:100]}): it was damaged or edited. "
        "Restore it, or remove the folder to start over."
    )
