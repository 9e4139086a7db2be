"""Results of methods that each object computes once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, TypeVar

Self_ = TypeVar("Self_")
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def cached_method(compute: Callable[[Self_, Key], Value]) -> Callable[[Self_, Key], Value]:
    """A method of one argument that is computed once for each object and value of it: `functools.cached_property` with an argument.

    The results are kept in the object, and go with it.
    """
    name = f"_{compute.__name__}_by_argument"

    @wraps(compute)
    def cached(self: Self_, key: Key) -> Value:
        kept: dict[Any, Value] = vars(self).setdefault(name, {})
        if key not in kept:
            kept[key] = compute(self, key)
        return kept[key]

    return cached
