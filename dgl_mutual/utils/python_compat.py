"""Differences between the supported releases of Python."""

from __future__ import annotations

from types import GenericAlias
from typing import Any, TypeGuard


def is_class(value: object) -> TypeGuard[type[Any]]:
    """Whether it is a class. On Python 3.10 ``list[int]`` passes for one, too, until `issubclass` refuses it."""
    return isinstance(value, type) and not isinstance(value, GenericAlias)
