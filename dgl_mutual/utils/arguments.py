"""Checks of arguments, and upper limits of some of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

from dgl_mutual.errors import UsageError
from dgl_mutual.utils.wording import kind_of

#: Maximum number of threads of one process: more than machines have cores, and few enough for the system to start.
MAX_THREADS = 1024
#: Maximum number of processes that train at a time, likewise.
MAX_JOBS = 1024
#: Decimals of a table.
MAX_PRECISION = 12


def whole_number(name: str, value: object, least: int = 0, most: int | None = None) -> int:
    """Return an integer, also of NumPy, as an int. Strings and fractions are refused rather than silently converted.

    Raises:
        UsageError: it is not an integer, less than `least`, or more than `most`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} = {value!r} is not an integer from {least}. Give one, for example {name}={least}.")
    if most is not None and int(value) > most:
        raise UsageError(f"{name} = {value} is more than the maximum {most}. Give a smaller number.")
    return int(value)


def fault_of_list(given: object) -> str | None:
    """Why a value is not a list, as the end of a sentence; None for any ordered collection of values."""
    if isinstance(given, set | frozenset):
        return f"{kind_of(given)}, which has no order"
    is_list = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping) and getattr(given, "ndim", 1) == 1
    return None if is_list else kind_of(given)


def one_or_several(name: str, given: Any) -> list[Any]:
    """Return a single value, or a list in the sense of `fault_of_list`, as a list; an empty one for None.

    Raises:
        UsageError: it is a set.
    """
    if isinstance(given, set | frozenset):
        raise UsageError(f"{name} = {given!r:.80} is {fault_of_list(given)}. Give a list.")
    return [] if given is None else [given] if fault_of_list(given) else list(given)


def names_in(name: str, given: Any, example: str) -> list[str]:
    """Return the names in a list, in the sense of `fault_of_list`. An empty list is refused: it could mean everything or nothing.

    Raises:
        UsageError: it is not a list, is empty, or holds anything but strings.
    """
    if fault := fault_of_list(given):
        raise UsageError(f"{name} = {given!r} is {fault}. Give names, for example {name}={example}.")
    names = list(given)
    if not names:
        raise UsageError(f"{name} = {given!r} names nothing. Give names, for example {name}={example}; or leave it out for the default.")
    if not all(isinstance(entry, str) for entry in names):
        raise UsageError(f"{name} = {given!r} are not names. Give a list of strings, for example {name}={example}.")
    return names


def is_boolean(value: object) -> bool:
    """Whether a value is True or False, also of NumPy, without importing NumPy."""
    return type(value).__name__ in ("bool", "bool_")


def check_booleans(**values: object) -> None:
    """Refuse values other than True and False: strings such as ``"no"`` would count as true.

    Raises:
        UsageError: names the first such argument.
    """
    for name, value in values.items():
        if not is_boolean(value):
            raise UsageError(f"{name} = {value!r} is neither True nor False. Give one of them.")
