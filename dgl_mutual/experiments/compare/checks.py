"""What parity is: quantities on both sides, how far they are apart, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.trial import Trial

PRECISIONS = {"float64": torch.float64, "float32": torch.float32}
#: Largest difference allowed at given weights.
BOUNDS = {"float64": 1e-10, "float32": 1e-4}
#: Largest difference allowed along a trajectory. Rounding errors of float32 grow as training goes on, so there it is only reported.
TRAJECTORY_BOUNDS = {"float64": 1e-6, "float32": math.inf}
#: Training and validation graphs that parity is shown on: enough for several batches an epoch.
_MOST_GRAPHS = (128, 64)


@dataclass(frozen=True)
class Check:
    """One quantity on both sides.

    Attributes:
        difference: the largest difference of an entry, in units of max(1, largest entry); of gradients in units of the member's largest.
    """

    member: str
    quantity: str
    precision: str
    difference: float
    bound: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.bound


def without_dropout(config: RunConfig, epochs: int) -> RunConfig:
    """The same configuration with dropout off, for exactly so many epochs."""
    return config.model_copy(
        update={
            "students": tuple(student.model_copy(update={"dropout": 0.0}) for student in config.students),
            "training": config.training.model_copy(update={"epochs": epochs, "patience": epochs, "eval_every": 1}),
        }
    )


def parity_trial(trial: Trial, config: RunConfig) -> Trial:
    """The trial on which parity is shown: on a graph task some of its graphs, evenly taken, so that it costs little on any dataset."""
    if config.task == "node":
        return trial
    train, val = (part[:: -(-len(part) // most)] for part, most in zip((trial.split.train, trial.split.val), _MOST_GRAPHS, strict=True))
    return replace(trial, split=replace(trial.split, train=train, val=val))


def difference(a: Tensor, b: Tensor) -> float:
    """max |a - b| in units of max(1, max |b|); infinite where either is not finite or the shapes differ."""
    if a.shape != b.shape:
        return math.inf
    apart = ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()
    return apart if math.isfinite(apart) else math.inf


def gradients_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return math.inf
    unit = max(gradient.abs().max().item() for gradient in theirs.values())
    apart = max((ours[name] - theirs[name]).abs().max().item() for name in ours)
    if unit == 0.0:
        return apart
    return apart / unit if math.isfinite(apart / unit) else math.inf


def terms_difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Per named term; infinite where one side lacks it."""
    apart = {}
    for name in dict.fromkeys([*ours, *theirs]):
        both = name in ours and name in theirs
        apart[name] = (
            difference(torch.tensor(ours[name], dtype=torch.float64), torch.tensor(theirs[name], dtype=torch.float64)) if both else math.inf
        )
    return apart
