"""Errors that users may see. Each message states what happened, the offending value, the likely cause, and how to correct it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["DataError", "DglMutualError", "Interrupted", "SplitError", "StoreError", "TaskMismatchError", "TrainingError", "UsageError"]

#: Characters that a message shows of a name from a file, and how many choices it lists.
SHOWN, _MOST_CHOICES = 60, 100


class DglMutualError(Exception):
    """An error that the user can correct. The command line prints the message alone and exits with `exit_code`."""

    exit_code = 1


class UsageError(DglMutualError):
    """A wrong name, value or combination was asked for."""

    exit_code = 2


class TaskMismatchError(UsageError):
    """A dataset is not for the task that was asked for."""


class DataError(DglMutualError):
    """A dataset is missing, incomplete or breaks a rule of its format."""


class SplitError(UsageError, DataError):
    """The labels of a dataset do not allow the split that was asked for. Another dataset of a suite may have it."""


class TrainingError(DglMutualError):
    """A training run cannot go on (for example a loss that is not finite)."""


class StoreError(DglMutualError):
    """A run folder cannot be written, or holds something else than this run."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended several trials, and the message says what is kept of them. It is no `Exception`, so that nothing goes on after it.

    Attributes:
        finished, planned: number of trials that are finished, and that were asked for.
    """

    def __init__(
        self, finished: int, planned: int, folder: Path, *, go_on: str = "The same command (in Python: the same call) goes on from there."
    ) -> None:
        """`folder` is where the finished trials are, and `go_on` a sentence that says how the others are run."""
        self.finished, self.planned = finished, planned
        super().__init__(f"Interrupted. {finished} of {planned} trials are finished and kept in {folder}. {go_on}")


def task_mismatch(name: str, tasks: Sequence[str], asked: object) -> TaskMismatchError:
    """The error for a dataset that is for these tasks, and not for the one that was asked for."""
    has, ask = " and the ".join(tasks), " or ".join(map(repr, tasks))
    return TaskMismatchError(f"{name} is a dataset for the {has} task, not for {asked!r}. Ask for task {ask}.")


def shortened(quoted: object, most: int = 300) -> str:
    """What a message quotes of a file, or of the error of a library that quotes it: the first `most` characters."""
    text = str(quoted)
    return text if len(text) <= most else f"{text[:most]}..."


def listed(names: Sequence[object], most: int = 20) -> str:
    """Names from a file, as many and as much of each as a message can show: ``a, b and 3 more``."""
    shown = ", ".join(shortened(name, SHOWN) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def unknown(kind: str, value: object, choices: Iterable[str]) -> UsageError:
    """The error for a name that no registry knows: it shows the nearest name and lists the choices."""
    of_type = "" if isinstance(value, str) else f" of type {type(value).__name__}"
    return UsageError(f"Unknown {kind} {shortened(value)!r}{of_type}. {advice(value, choices)}.")


def advice(value: object, choices: Iterable[str]) -> str:
    """What to give in place of an unknown name, without the final period: ``Did you mean 'gcn'? Choose from: gcn, gat``."""
    names = list(choices)
    typed = shortened(value).lower()
    # Of dotted names the last part may be what was typed.
    nearest = [name.lower() for name in names if name.lower().rpartition(".")[2] == typed]
    nearest = nearest or difflib.get_close_matches(typed, [name.lower() for name in names], n=3, cutoff=0.6)
    if not nearest and typed:
        nearest = [name.lower() for name in names if name.lower().startswith(typed)][:1]
    # Of names that are equally near, one that starts with the same letters.
    nearest.sort(key=lambda name: (difflib.SequenceMatcher(None, name, typed).ratio(), name[:2] == typed[:2]))
    hint = next((f"Did you mean {shortened(name)!r}? " for name in names if nearest and name.lower() == nearest[-1]), "")
    return f"{hint}Choose from: {listed(names, _MOST_CHOICES)}"
