"""Differences between the supported releases of Python."""

from __future__ import annotations

from types import GenericAlias
from typing import Any, TypeGuard


def is_class(value: object) -> TypeGuard[type[Any]]:
    """Whether a value is a class. On Python 3.10, ``list[int]`` is an instance of `type`, but `issubclass` refuses it."""
    return isinstance(value, type) and not isinstance(value, GenericAlias)
