"""Checks of arguments, and upper limits of some of them."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from dgl_mutual.errors import UsageError
from dgl_mutual.utils.wording import kind_of

#: Threads of one process: more than machines have cores, and so few that the system can start them.
MAX_THREADS = 1024
#: Processes that train at a time, likewise.
MAX_JOBS = 1024
#: Decimals of a table.
MAX_PRECISION = 12


def whole_number(name: str, value: object, least: int = 0, most: int | None = None) -> int:
    """A whole number, of numpy too, as an int. Text and fractions are refused rather than silently converted.

    Raises:
        UsageError: it is not a whole number, less than `least`, or more than `most`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} = {value!r} is not a whole number from {least}. Give one, for example {name}={least}.")
    if most is not None and int(value) > most:
        raise UsageError(f"{name} = {value} is more than {most}, the most that is possible. Give a smaller number.")
    return int(value)


def names_in(name: str, given: object, example: str) -> list[Any]:
    """The names in an iterable; the names themselves are not checked. An empty iterable is refused: it could mean everything or nothing.

    Raises:
        UsageError: it is not iterable, or is empty.
    """
    if not isinstance(given, Iterable):
        raise UsageError(f"{name} = {given!r} is {kind_of(given)}. Give names, for example {name}={example}.")
    found = list(given)
    if not found:
        raise UsageError(f"{name} = {given!r} names nothing. Give names, for example {name}={example}; or leave it out for the default.")
    return found


def check_booleans(**values: object) -> None:
    """Refuse what is neither True nor False: texts such as ``"no"`` would count as true.

    Raises:
        UsageError: names the first such argument.
    """
    for name, value in values.items():
        if type(value).__name__ not in ("bool", "bool_"):  # the second is numpy's, which takes long to import
            raise UsageError(f"{name} = {value!r} is neither True nor False. Give one of them.")
