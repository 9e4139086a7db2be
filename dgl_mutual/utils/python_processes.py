"""Python processes that this one starts, which import from where it does itself."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

#: The environment's variable that keeps the working folder off the path of a process, from Python 3.11 on.
VARIABLE = "PYTHONSAFEPATH"
#: What a process takes over from the one that has started it: its working folder, and its value of `VARIABLE`.
Surroundings: TypeAlias = tuple[str, str | None]

_turn = threading.RLock()  # the environment and the working folder are of the whole process


def safe_path() -> dict[str, str]:
    """Entries of the environment with which a process leaves the working folder off its path; none where this process has it there."""
    return {} if _imports_from_here() else {VARIABLE: "1"}


@contextmanager
def same_path() -> Iterator[None]:
    """Python processes that are started within do not import from the working folder first, unless this process does.

    Python puts that folder first on the path of a process that it starts with ``-c`` or ``-m``, and multiprocessing, joblib and what they
    import are imported before such a process gets the path of this one. Python 3.10, and one that ignores its environment, can only be
    started from another folder: such a process must take over the `surroundings`, which are asked for before.
    """
    with _turn:
        entries = safe_path()
        folder, before = surroundings()
        if entries and not _reads_environment():
            os.chdir(os.path.dirname(os.__file__))
        os.environ.update(entries)
        try:
            yield
        finally:
            take_over(folder, before)


def surroundings() -> Surroundings:
    """What `take_over` gives a process that is started in `same_path`, where it would be the same as here without it."""
    with _turn:
        return os.getcwd(), os.environ.get(VARIABLE)


def take_over(folder: str, variable: str | None) -> None:
    """Make `surroundings` those of this process."""
    if os.getcwd() != folder:
        os.chdir(folder)
    if variable is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = variable


def _reads_environment() -> bool:
    """Whether Python's processes heed `VARIABLE`."""
    return sys.version_info >= (3, 11) and not sys.flags.ignore_environment


def _imports_from_here() -> bool:
    """Whether this process imports from its working folder before Python's standard library."""
    here, library = os.path.realpath(os.getcwd()), os.path.dirname(os.__file__)
    return any(os.path.realpath(entry) == here for entry in itertools.takewhile(lambda entry: entry != library, sys.path))
