"""Caching of method results in the object."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, TypeVar

Self_ = TypeVar("Self_")
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def cached_method(compute: Callable[[Self_, Key], Value]) -> Callable[[Self_, Key], Value]:
    """Compute a method of one argument once per object and argument, as a `functools.cached_property` with an argument.

    The results are stored in the object and have its lifetime.
    """
    name = f"_{compute.__name__}_by_argument"

    @wraps(compute)
    def cached(self: Self_, key: Key) -> Value:
        results: dict[Any, Value] = vars(self).setdefault(name, {})
        if key not in results:
            results[key] = compute(self, key)
        return results[key]

    return cached
