"""What of a group of options is tuned, and in which range: declared beside the options, as PyKEEN's ``hpo_default`` is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`, both included; on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[str | int | float | bool, ...]


#: Dotted key within a group of options -> from what its values come.
SearchSpace: TypeAlias = Mapping[str, "Real | Whole | Choice"]


def described(space: SearchSpace) -> dict[str, dict[str, Any]]:
    """A space as plain values."""
    return {
        key: {"kind": type(domain).__name__.lower(), **{name: list(v) if isinstance(v, tuple) else v for name, v in vars(domain).items()}}
        for key, domain in space.items()
    }
