"""Errors that users may see. Each message states what happened, the offending value, the likely cause, and how to correct it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["DataError", "DglMutualError", "Interrupted", "SplitError", "StoreError", "TaskMismatchError", "TrainingError", "UsageError"]

#: Maximum length of a name from a file in a message, and maximum number of choices.
SHOWN, _MOST_CHOICES = 60, 100


class DglMutualError(Exception):
    """An error that the user can correct. The command line prints the message alone and exits with `exit_code`."""

    exit_code = 1


class UsageError(DglMutualError):
    """A wrong name, value or combination of options."""

    exit_code = 2


class TaskMismatchError(UsageError):
    """A dataset does not support the requested task."""


class DataError(DglMutualError):
    """A dataset is missing, incomplete or breaks a rule of its format."""


class SplitError(UsageError, DataError):
    """The labels of a dataset do not allow the requested split. Other datasets of a suite may allow it."""


class TrainingError(DglMutualError):
    """A training cannot go on, for example because the loss is not finite."""


class StoreError(DglMutualError):
    """A run folder cannot be written, or does not hold this run."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended several trials; the message says which are kept. Not an `Exception`, so that no handler of errors goes on after it.

    Attributes:
        finished, planned: number of finished trials, and of all requested trials.
    """

    def __init__(
        self, finished: int, planned: int, folder: Path, *, go_on: str = "The same command (in Python: the same call) goes on from there."
    ) -> None:
        """`folder` holds the finished trials, and the sentence `go_on` tells how to run the others."""
        self.finished, self.planned = finished, planned
        super().__init__(f"Interrupted. {finished} of {planned} trials are finished and kept in {folder}. {go_on}")


def task_mismatch(name: str, tasks: Sequence[str], asked: object) -> TaskMismatchError:
    """The error for a dataset that supports only `tasks`, not the requested one."""
    has, ask = " and the ".join(tasks), " or ".join(map(repr, tasks))
    return TaskMismatchError(f"{name} is a dataset for the {has} task, not for {asked!r}. Ask for task {ask}.")


def shortened(quoted: object, most: int = 300) -> str:
    """The first `most` characters of a quotation in a message, from a file or from the error of a library."""
    text = str(quoted)
    return text if len(text) <= most else f"{text[:most]}..."


def listed(names: Sequence[object], most: int = 20) -> str:
    """Names from a file, shortened to fit a message: ``a, b and 3 more``."""
    shown = ", ".join(shortened(name, SHOWN) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def unknown(kind: str, value: object, choices: Iterable[str]) -> UsageError:
    """The error for an unknown name, with the nearest name and all choices."""
    of_type = "" if isinstance(value, str) else f" of type {type(value).__name__}"
    return UsageError(f"Unknown {kind} {shortened(value)!r}{of_type}. {advice(value, choices)}.")


def advice(value: object, choices: Iterable[str]) -> str:
    """The hint for an unknown name, without the final period: ``Did you mean 'gcn'? Choose from: gcn, gat``."""
    names = list(choices)
    typed = shortened(value).lower()
    # The last part of a dotted name may have been typed alone.
    nearest = [name.lower() for name in names if name.lower().rpartition(".")[2] == typed]
    nearest = nearest or difflib.get_close_matches(typed, [name.lower() for name in names], n=3, cutoff=0.6)
    if not nearest and typed:
        nearest = [name.lower() for name in names if name.lower().startswith(typed)][:1]
    # Among equally near names, prefer one that starts with the same letters.
    nearest.sort(key=lambda name: (difflib.SequenceMatcher(None, name, typed).ratio(), name[:2] == typed[:2]))
    hint = next((f"Did you mean {shortened(name)!r}? " for name in names if nearest and name.lower() == nearest[-1]), "")
    return f"{hint}Choose from: {listed(names, _MOST_CHOICES)}"
