"""config.yaml as plain values: what each key is about, the given configuration, the resolved one, and what decides the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any

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
#: Options of training that runs of earlier versions do not have.
_LATER_TRAINING = (
    "sampler",
    "fanout",
    "scale_inputs",
    "positions",
    "unlabelled_ratio",
    "average",
    "average_decay",
    "average_start",
    "node_drop",
    "own_views",
)
_OFF = (None, False, 0, "none")
#: The same of students.
_LATER_STUDENT = (
    "edge_features",
    "input_dropout",
    "activation",
    "residual",
    "virtual_node",
    "input_readout",
    "feature_noise",
    "starts_after",
)

#: The same of students among the options of a strategy, such as the teacher of `kd`.
_LATER_MEMBER = ("input_readout",)

#: Options of strategies that runs of earlier versions do not have, with the value that stands for their absence.
_LATER_STRATEGY = {
    "entropy_schedule": "constant",
    "entropy_on": "exchange",
    "class_prior_weight": None,
    "gate": "none",
    "gate_threshold": None,
}


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
    """Whether a file shows both parts; files of earlier versions hold the resolved configuration alone."""
    return set(values) == {GIVEN, RESOLVED} and all(isinstance(part, Mapping) for part in values.values())


def resolved_part(values: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved configuration in config.yaml, of this version or an earlier one."""
    return dict(values[RESOLVED] if has_both(values) else values)


def given_part(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, as config.yaml says; empty in files of earlier versions."""
    return dict(values[GIVEN]) if has_both(values) else {}


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What of a resolved configuration decides the results of a trial: two runs are one where this is equal.

    Where the dataset's folder lies does not, nor how many seeds there are, nor how often a training is kept. What is off counts as absent:
    a later version may know more that can be on.
    """
    decisive = {**resolved, "dataset": Path(resolved["dataset"]).name}
    if resolved.get("unlabelled") is not None:
        decisive["unlabelled"] = Path(resolved["unlabelled"]).name
    if "training" in resolved:
        decisive["training"] = {
            key: value
            for key, value in resolved["training"].items()
            if key != "checkpoint_every" and not (key in _LATER_TRAINING and value in _OFF)
        }
    if "strategy_options" in resolved:
        decisive["strategy_options"] = {
            key: _without_later(value, _LATER_MEMBER) if isinstance(value, Mapping) and "architecture" in value else value
            for key, value in resolved["strategy_options"].items()
            if not (key in _LATER_STRATEGY and value == _LATER_STRATEGY[key])
        }
    if "students" in resolved:
        decisive["students"] = [_without_later(student, _LATER_STUDENT) for student in resolved["students"]]
    return {key: value for key, value in decisive.items() if value is not None and key not in _INDECISIVE}


def _without_later(student: Mapping[str, Any], later: Sequence[str]) -> dict[str, Any]:
    """The options of a student without those of these names that are off."""
    return {key: value for key, value in student.items() if not (key in later and (value is None or value is False))}
