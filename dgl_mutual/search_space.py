"""Search spaces: the tuned options of a group and their ranges, declared beside the options as in PyKEEN's ``hpo_default``."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    import optuna

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class _Range(Generic[Number]):
    low: Number
    high: Number

    def __post_init__(self) -> None:
        for name in ("low", "high"):  # numbers of NumPy become numbers of Python
            if (number := _plain_number(getattr(self, name))) is not None:
                object.__setattr__(self, name, number)

    def value(self, stored: Number) -> Number:
        """The inverse of `stored`."""
        return stored

    @property
    def ends(self) -> tuple[Number, Number]:
        """The lowest and the highest value."""
        return self.low, self.high


@dataclass(frozen=True)
class Real(_Range[float]):
    """A number from `low` to `high`, both included; on a logarithmic scale if `log`."""

    log: bool = False

    def stored(self, value: Any) -> float | None:
        """A value as Optuna stores it; None if it is not in the range."""
        return float(value) if self.holds(value) else None

    def holds(self, drawn: Any) -> bool:
        """Whether a trial can have drawn this."""
        return _is_number(drawn) and self.low <= drawn <= self.high

    def suggest(self, trial: optuna.Trial, key: str) -> None:
        """Let a trial draw a value, by the name `key`."""
        trial.suggest_float(key, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Integer(_Range[int]):
    """An integer from `low` to `high`, both included."""

    def stored(self, value: Any) -> int | None:
        """A value as Optuna stores it; None if it is not in the range."""
        return value if self.holds(value) else None

    def holds(self, drawn: Any) -> bool:
        """Whether a trial can have drawn this."""
        return _is_number(drawn) and isinstance(drawn, int) and self.low <= drawn <= self.high

    def suggest(self, trial: optuna.Trial, key: str) -> None:
        """Let a trial draw a value, by the name `key`."""
        trial.suggest_int(key, self.low, self.high)


@dataclass(frozen=True)
class Categorical:
    """One of several values. A number of NumPy is drawn as a number of Python."""

    values: tuple[Any, ...]

    def category(self, index: int) -> Any:
        """A value as Optuna stores it: lists and None as YAML text, since a study has no lists, and tables show None as missing."""
        value = plain_value(self.values[index])
        return "null" if value is None else str(list(value)) if isinstance(value, tuple) else value

    @property
    def categories(self) -> list[Any]:
        """All values as Optuna stores them."""
        return [self.category(index) for index in range(len(self.values))]

    def holds(self, drawn: Any) -> bool:
        """Whether a trial can have drawn this."""
        return any(type(drawn) is type(category) and drawn == category for category in self.categories)

    def stored(self, value: Any) -> Any:
        """A value as Optuna stores it; None if it is not among the values."""
        return next((self.category(index) for index, own in enumerate(self.values) if _is_same(own, value)), None)

    def value(self, stored: Any) -> Any:
        """The inverse of `stored`: the value in a configuration."""
        for index, value in enumerate(map(plain_value, self.values)):
            if (value is None or isinstance(value, tuple)) and self.category(index) == stored:
                return None if value is None else list(value)
        return stored

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values, since they have no order."""
        return self.values

    def suggest(self, trial: optuna.Trial, key: str) -> None:
        """Let a trial draw a value, by the name `key`."""
        trial.suggest_categorical(key, self.categories)


#: Dotted key within a group of options -> its range or choices.
SearchSpace: TypeAlias = Mapping[str, "Real | Integer | Categorical"]


def fault_of_space(space: Any, fields: Mapping[str, Any]) -> str | None:
    """Return the fault of a search space, as the end of a sentence that starts with the class of options; else None.

    Args:
        fields: the options by name. Keys of nested groups are dotted, and only their first part is checked.
    """
    if not isinstance(space, Mapping):
        return f"has search_space = {space!r:.80}. It must be a mapping from names of options to Real, Integer or Categorical."
    for name, domain in space.items():
        if not isinstance(name, str) or name.partition(".")[0] not in fields:
            return f"has search_space[{name!r:.80}], which is none of its options ({', '.join(fields) or 'it has none'}). Correct the name."
        where = f"has search_space[{name!r}] = {domain!r:.120}"
        if not isinstance(domain, Real | Integer | Categorical):
            return f"{where}. It must be a Real, Integer or Categorical of dgl_mutual.search_space."
        if isinstance(domain, Categorical):
            if not domain.values:
                return f"{where}, a choice without values. Give some."
            for value in domain.values:
                try:
                    plain_value(value)
                except ValueError:  # of pydantic
                    kinds = "Give strings, numbers, booleans, None, or tuples of these."
                    return f"{where}, and a configuration cannot hold the value {value!r:.80}. {kinds}"
        elif not (domain.holds(domain.low) and domain.holds(domain.high)):
            return f"{where}. The ends must be {'numbers' if isinstance(domain, Real) else 'integers'}, the lower one first."
        elif isinstance(domain, Real) and (not math.isfinite(domain.high - domain.low) or (domain.log and domain.low <= 0)):
            return f"{where}. The ends must be finite, and above 0 on a logarithmic scale."
    return None


def described(space: SearchSpace) -> dict[str, dict[str, Any]]:
    """Return a search space as plain values."""
    return {
        key: {"kind": type(domain).__name__.lower(), **{name: _plain(value) for name, value in vars(domain).items()}}
        for key, domain in space.items()
    }


def plain_value(value: Any) -> Any:
    """Return the value of an option in the form that a configuration has; tuples stay tuples.

    A member of an Enum becomes its value, a path a string, a set a sorted tuple, and a number of NumPy a number of Python.

    Raises:
        ValueError: JSON cannot hold the value.
    """
    if isinstance(value, tuple):
        return tuple(map(plain_value, value))
    if isinstance(value, Set):
        return tuple(sorted(map(plain_value, value), key=repr))
    number = _plain_number(value)
    return to_jsonable_python(value) if number is None else number


def _plain_number(value: Any) -> int | float | None:
    """Return a number, also of NumPy, as a number of Python; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else None


def _is_same(own: Any, value: Any) -> bool:
    """Whether a value of a configuration equals `own`, a value of a choice."""
    if isinstance(value, list):
        value = tuple(sorted(value, key=repr)) if isinstance(own, Set) else tuple(value)
    first, second = plain_value(own), plain_value(value)
    return bool(first == second and isinstance(first, bool) == isinstance(second, bool))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    value = plain_value(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
