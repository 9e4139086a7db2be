"""config.yaml as plain values: the role of each key, the given and the resolved configuration, and what identifies a run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any

import yaml

from dgl_mutual.utils.plain_yaml import read_yaml_file

GIVEN, RESOLVED = "given", "resolved"


class Role(Enum):
    """The role of a key of a configuration."""

    DATA = auto()
    """Graphs and labels."""
    POOL = auto()
    """Further graphs without labels."""
    SAMPLES = auto()
    """Hidden labels and noise."""
    SPLIT = auto()
    """Training, validation and test samples."""
    METRIC = auto()
    """Scoring of predictions."""
    COUNT = auto()
    """Number of repetitions."""
    METHOD = auto()
    """Students, strategy and training."""


#: Field of `RunConfig` -> its role, for all fields in their order.
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
#: Keys without effect on a trial. The number of folds has one, since it changes the folds.
_INDECISIVE = ("seeds",)


def keys_of(*roles: Role) -> tuple[str, ...]:
    """The keys of a configuration with one of these roles, in their order."""
    return tuple(key for key, role in ROLES.items() if role in roles)


def num_seeds(resolved: Mapping[str, Any]) -> int:
    """Number of seeds in a configuration; 0 if it has none."""
    seeds = resolved.get("seeds")
    return seeds if isinstance(seeds, int) else 0


def file_values(given: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Content of config.yaml."""
    return {GIVEN: dict(given), RESOLVED: dict(resolved)}


def has_both(values: Mapping[str, Any]) -> bool:
    """Whether values have the two parts of a run's config.yaml, which a user's own file does not have."""
    return set(values) == {GIVEN, RESOLVED} and all(isinstance(part, Mapping) for part in values.values())


def read_resolved(file: Path) -> dict[str, Any] | None:
    """Read the resolved configuration of a config.yaml; None if it is missing or cannot be read."""
    try:
        values = read_yaml_file(file)
        if not has_both(values):
            return None
        resolved = {"dataset": "", **values[RESOLVED]}
        identity(resolved)
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError):  # not YAML, or values instead of groups
        return None
    return resolved


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that determines the results of a trial: runs are the same if it is equal.

    The location of the dataset's folder, the number of seeds and the interval of snapshots do not count. Options that are off count as
    absent, since a later version may have more options. Off means null, false or none in training and students, but not zero, which may
    differ from null. In options of a strategy, including its teacher or leader, it only means null, which may differ from false.
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
