"""YAML from outside as plain values: every fault is one kind of error, and a small file cannot unfold into gigabytes."""

from __future__ import annotations

from typing import Any

import yaml

#: Values that a document may hold once its aliases are unfolded: more than any configuration, and less than a second's work.
MAX_VALUES = 1_000_000


def read_yaml(text: str) -> Any:
    """The values of a document.

    Raises:
        yaml.YAMLError: it is no YAML, holds a value that does not exist (such as a 13th month), is nested too deeply, or refers to itself
            until it has more than `MAX_VALUES` values.
    """
    try:
        values = yaml.safe_load(text)
        if _count(values, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"its aliases unfold to more than {MAX_VALUES} values")
        return values
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # PyYAML lets these out of its constructors
        raise yaml.YAMLError(f"a value in it cannot be read ({error})") from None


def _count(value: Any, known: dict[int, int]) -> int:
    """How many values there are, each as often as it is referred to; a collection within itself has too many."""
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_VALUES + 1  # what a collection finds that is reached from itself
        below = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(entry, known) for entry in below)
    return known[id(value)]
