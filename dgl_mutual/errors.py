"""Errors that users may see. Each message states what happened, the offending value, the likely cause, and how to correct it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral

#: Threads of one process: more than machines have cores, and so few that the system can start them.
MAX_THREADS = 1024
#: Processes that train at a time, likewise.
MAX_JOBS = 1024
#: Decimals of a table.
MAX_PRECISION = 12


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


class TrainingError(DglMutualError):
    """A training run cannot go on (for example a loss that is not finite)."""


class StoreError(DglMutualError):
    """A run folder cannot be written, or holds something else than this run."""


def whole_number(name: str, value: object, least: int = 0, most: int | None = None) -> int:
    """A whole number, of numpy too, as an int. Text and fractions are refused: they would be another number in silence.

    Raises:
        UsageError: it is none, less than `least`, or more than `most`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} = {value!r} is not a whole number from {least}. Give one, for example {name}={least}.")
    if most is not None and int(value) > most:
        raise UsageError(f"{name} = {value} is more than {most}, the most that is possible. Give a smaller number.")
    return int(value)


def check_truth_values(**values: object) -> None:
    """Refuse what is neither True nor False: texts such as ``"no"`` would count as true.

    Raises:
        UsageError: names the first such argument.
    """
    for name, value in values.items():
        if type(value).__name__ not in ("bool", "bool_"):  # the second is numpy's, which takes long to import
            raise UsageError(f"{name} = {value!r} is neither True nor False. Give one of them.")


def number_of_threads(value: object) -> int:
    """The number of threads that a process is to use: 1 to `MAX_THREADS`.

    Raises:
        UsageError: it is none.
    """
    return whole_number("threads", value, 1, MAX_THREADS)


def number_of_jobs(value: object) -> int:
    """The number of trials at a time, each in a process of its own: 1 to `MAX_JOBS`.

    Raises:
        UsageError: it is none.
    """
    return whole_number("jobs", value, 1, MAX_JOBS)


def unknown(kind: str, value: object, choices: Iterable[str]) -> UsageError:
    """The error for a name that no registry knows: it shows the nearest name and lists the choices."""
    return UsageError(f"Unknown {kind} {str(value)!r}. {advice(value, choices)}.")


def advice(value: object, choices: Iterable[str]) -> str:
    """What to give in place of an unknown name, without the point at its end: ``Did you mean 'gcn'? Choose from: gcn, gat``."""
    names = list(choices)
    typed = str(value).lower()
    nearest = difflib.get_close_matches(typed, [name.lower() for name in names], n=3, cutoff=0.6)
    if not nearest and typed:
        nearest = [name.lower() for name in names if name.lower().startswith(typed)][:1]
    # Of names that are equally near, one that starts with the same letters.
    nearest.sort(key=lambda name: (difflib.SequenceMatcher(None, name, typed).ratio(), name[:2] == typed[:2]))
    hint = next((f"Did you mean {name!r}? " for name in names if nearest and name.lower() == nearest[-1]), "")
    return f"{hint}Choose from: {', '.join(names)}"
