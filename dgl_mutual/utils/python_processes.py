"""Import path of the Python processes that this process starts."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

#: Environment variable that keeps the working folder off the import path of a process, from Python 3.11 on.
VARIABLE = "PYTHONSAFEPATH"
#: Working folder and value of `VARIABLE` that a process takes over from the process that started it.
Surroundings: TypeAlias = tuple[str, str | None]

_turn = threading.RLock()  # the environment and the working folder are shared by all threads


def safe_path() -> dict[str, str]:
    """Environment entries that keep the working folder off the import path of a process; empty if it is on the path of this one."""
    return {} if _imports_from_here() else {VARIABLE: "1"}


@contextmanager
def same_path() -> Iterator[None]:
    """Within the block, started Python processes do not import from the working folder first, unless this process does.

    With ``-c`` or ``-m``, Python puts that folder first on the path, and a process imports multiprocessing, joblib and their
    dependencies before it gets the path of this one. Python 3.10, and Python that ignores its environment, must therefore be
    started from another folder: such a process must take over the `surroundings` from before the block.
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
    """The arguments of `take_over` in a process that is started in `same_path`, to be read before that block."""
    with _turn:
        return os.getcwd(), os.environ.get(VARIABLE)


def take_over(folder: str, variable: str | None) -> None:
    """Set the `surroundings` of this process."""
    if os.getcwd() != folder:
        os.chdir(folder)
    if variable is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = variable


def _reads_environment() -> bool:
    """Whether started Python processes respect `VARIABLE`."""
    return sys.version_info >= (3, 11) and not sys.flags.ignore_environment


def _imports_from_here() -> bool:
    """Whether this process imports from its working folder before Python's standard library."""
    here, library = os.path.realpath(os.getcwd()), os.path.dirname(os.__file__)
    return any(os.path.realpath(entry) == here for entry in itertools.takewhile(lambda entry: entry != library, sys.path))
