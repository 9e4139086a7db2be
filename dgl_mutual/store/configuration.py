"""config.yaml as plain values: what each key is about, the given configuration, the resolved one, and what decides the results."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any

import yaml

from dgl_mutual.utils.plain_yaml import read_yaml_file

GIVEN, RESOLVED = "given", "resolved"


class Role(Enum):
    """What a key of a configuration is about."""

    DATA = auto()
    """Which graphs and labels."""
    POOL = auto()
    """Which further graphs, without labels."""
    SAMPLES = auto()
    """What of these is hidden or changed."""
    SPLIT = auto()
    """Which samples train, validate and test."""
    METRIC = auto()
    """How predictions are scored."""
    COUNT = auto()
    """How often the same is repeated."""
    METHOD = auto()
    """Students, strategy and training."""


#: Every field of `RunConfig` is here, in its order.
ROLES: Mapping[str, Role] = {
    "task": Role.DATA,
    "dataset": Role.DATA,
    "targets": Role.DATA,
    "metric": Role.METRIC,
    "fingerprint": Role.DATA,
    "protocol": Role.SPLIT,
    "seeds": Role.COUNT,
    "folds": Role.SPLIT,
    "students": Role.METHOD,
    "student": Role.METHOD,
    "strategy": Role.METHOD,
    "strategy_options": Role.METHOD,
    "training": Role.METHOD,
    "task_weights": Role.METHOD,
    "label_rate": Role.SAMPLES,
    "unlabelled": Role.POOL,
    "noise": Role.SAMPLES,
    "distill": Role.METHOD,
    "grid": Role.METHOD,
}
#: They change nothing in a trial. The number of folds does: the folds are others.
_INDECISIVE = ("seeds",)


def keys_of(*roles: Role) -> tuple[str, ...]:
    """The keys of a configuration that are about one of these, in its order."""
    return tuple(key for key, role in ROLES.items() if role in roles)


def num_seeds(resolved: Mapping[str, Any]) -> int:
    """How many seeds a configuration asks for; 0 where it does not say."""
    seeds = resolved.get("seeds")
    return seeds if isinstance(seeds, int) else 0


def file_values(given: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What config.yaml holds."""
    return {GIVEN: dict(given), RESOLVED: dict(resolved)}


def has_both(values: Mapping[str, Any]) -> bool:
    """Whether these are the two parts that the config.yaml of a run has; a file of the user's own has neither."""
    return set(values) == {GIVEN, RESOLVED} and all(isinstance(part, Mapping) for part in values.values())


def read_resolved(file: Path) -> dict[str, Any] | None:
    """The resolved configuration in a config.yaml; None where there is none that can be read."""
    try:
        values = read_yaml_file(file)
        if not has_both(values):
            return None
        resolved = {"dataset": "", **values[RESOLVED]}
        identity(resolved)
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError):  # no YAML, or values in the place of groups
        return None
    return resolved


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What of a resolved configuration decides the results of a trial: two runs are one where this is equal.

    Where the dataset's folder lies does not, nor how many seeds there are, nor how often a training is kept. What is off counts as
    absent: a later version may know more that can be on. In training and of students this is null, false and none, but not zero, which
    may differ from null. Among options of a strategy, with those of its teacher or leader, it is null alone, which may differ from false.
    """
    decisive = {**resolved, "dataset": Path(resolved["dataset"]).name}
    if resolved.get("unlabelled") is not None:
        decisive["unlabelled"] = Path(resolved["unlabelled"]).name
    if "training" in resolved:
        decisive["training"] = _without_off({**resolved["training"], "checkpoint_every": None})
    if "strategy_options" in resolved:
        decisive["strategy_options"] = {
            key: _without_null(value) if isinstance(value, Mapping) and "architecture" in value else value  # a teacher or leader
            for key, value in _without_null(resolved["strategy_options"]).items()
        }
    if "students" in resolved:
        decisive["students"] = [_without_off(student) for student in resolved["students"]]
    return {key: value for key, value in _without_null(decisive).items() if key not in _INDECISIVE}


def _without_null(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _without_off(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _without_null(options).items() if value is not False and value != "none"}
