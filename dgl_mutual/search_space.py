"""Search spaces: which options of a group are tuned, and in which range. Declared beside the options, as PyKEEN's ``hpo_default`` is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`, both included; on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False

    def stored(self, value: Any) -> float | None:
        """A value as Optuna stores it; None if it is not in the range."""
        return float(value) if self.holds(value) else None

    def holds(self, drawn: Any) -> bool:
        """Whether a trial can have drawn this."""
        return _is_number(drawn) and self.low <= drawn <= self.high


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    def stored(self, value: Any) -> int | None:
        """A value as Optuna stores it; None if it is not in the range."""
        return value if self.holds(value) else None

    def holds(self, drawn: Any) -> bool:
        """Whether a trial can have drawn this."""
        return _is_number(drawn) and isinstance(drawn, int) and self.low <= drawn <= self.high


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[str | int | float | bool | tuple[int, ...] | None, ...]

    def category(self, place: int) -> str | int | float | bool:
        """A value as Optuna stores it: lists and None as text in YAML, since a study has no lists, and tables show None as missing."""
        value = self.values[place]
        return "null" if value is None else str(list(value)) if isinstance(value, tuple) else value

    def holds(self, drawn: Any) -> bool:
        """Whether a trial can have drawn this."""
        categories = [self.category(index) for index in range(len(self.values))]
        return any(type(drawn) is type(category) and drawn == category for category in categories)

    def stored(self, value: Any) -> str | int | float | bool | None:
        """A value as Optuna stores it; None if it is not among the values."""
        alike = tuple(value) if isinstance(value, list) else value
        places = (place for place, own in enumerate(self.values) if own == alike and isinstance(own, bool) == isinstance(alike, bool))
        return next((self.category(place) for place in places), None)

    def value(self, category: Any) -> Any:
        """The inverse of `category`: the value in a configuration."""
        for index, value in enumerate(self.values):
            if (value is None or isinstance(value, tuple)) and self.category(index) == category:
                return None if value is None else list(value)
        return category


#: Dotted key within a group of options -> from what its values come.
SearchSpace: TypeAlias = Mapping[str, "Real | Whole | Choice"]


def fault_of_space(space: Any, fields: Mapping[str, Any]) -> str | None:
    """What is wrong with the search space of a group of options, as the end of a sentence that starts with a class; None if nothing is.

    Args:
        fields: of the options, by name. Keys of groups within them are dotted, and only their first part is looked at.
    """
    if not isinstance(space, Mapping):
        return f"has search_space = {space!r:.80}. It must be a mapping from names of options to Real, Whole or Choice."
    for name, domain in space.items():
        if not isinstance(name, str) or name.partition(".")[0] not in fields:
            return f"has a search_space of {name!r:.80}, which is no option of it ({', '.join(fields) or 'it has none'}). Correct the name."
        where = f"has search_space[{name!r}] = {domain!r:.120}"
        if not isinstance(domain, Real | Whole | Choice):
            return f"{where}. It must be a Real, Whole or Choice of dgl_mutual.search_space."
        if isinstance(domain, Choice):
            if not domain.values:
                return f"{where}, a choice without values. Give some."
        elif not (domain.holds(domain.low) and domain.holds(domain.high)):
            return f"{where}. The ends must be {'numbers' if isinstance(domain, Real) else 'whole numbers'}, the lower one first."
        elif isinstance(domain, Real) and (not math.isfinite(domain.high - domain.low) or (domain.log and domain.low <= 0)):
            return f"{where}. The ends must be finite, and above 0 on a logarithmic scale."
    return None


def described(space: SearchSpace) -> dict[str, dict[str, Any]]:
    """A space as plain values."""
    return {
        key: {"kind": type(domain).__name__.lower(), **{name: _plain(value) for name, value in vars(domain).items()}}
        for key, domain in space.items()
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
