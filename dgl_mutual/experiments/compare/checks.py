"""Parity checks: quantities of both sides, their difference, and the tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.trial import Trial

PRECISIONS = {"float64": torch.float64, "float32": torch.float32}
#: Maximum difference at given weights.
BOUNDS = {"float64": 1e-10, "float32": 1e-4}
#: Maximum difference along a trajectory. Rounding errors of float32 grow during training, so its difference is only reported.
TRAJECTORY_BOUNDS = {"float64": 1e-6, "float32": math.inf}
#: Maximum number of training and validation graphs of a parity check: enough for several batches per epoch.
_MAX_GRAPHS = (128, 64)


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


def shortened(config: RunConfig, epochs: int) -> RunConfig:
    """The same configuration with this number of epochs; full exchange and averages of weights begin in the middle at the latest."""
    options, quarter = dict(config.strategy_options), epochs // 4
    if "exchange_warmup" in options:
        options["exchange_warmup"] = [min(part, quarter) for part in options["exchange_warmup"] or (quarter, quarter)]
    start = config.training.average_start
    training = {"epochs": epochs, "average_start": None if start is None else min(start, epochs // 2)}
    return config.model_copy(update={"strategy_options": options, "training": config.training.model_copy(update=training)})


def without_dropout(config: RunConfig, epochs: int) -> RunConfig:
    """The same configuration without dropout and early stopping, with this number of epochs."""
    short = shortened(config, epochs)
    return short.model_copy(
        update={
            "students": tuple(student.model_copy(update={"dropout": 0.0}) for student in config.students),
            "training": short.training.model_copy(update={"patience": epochs, "eval_every": 1}),
        }
    )


def parity_trial(trial: Trial, dataset: Dataset) -> Trial:
    """The trial of the parity check. On a graph task, it has only some of the graphs, so that the check is cheap on any dataset."""
    if dataset.task == "node":
        return trial
    parts = (trial.split.train, trial.split.val)
    labels = dataset.labels
    if dataset.target.kind == "single-label" and dataset.target.metric == "rocauc":
        labels = np.where(labels < 0, np.nan, labels)[:, None]
    train, val = (_some(part, labels, most) for part, most in zip(parts, _MAX_GRAPHS, strict=True))
    return replace(trial, split=replace(trial.split, train=train, val=val))


def _some(part: IntArray, labels: npt.NDArray[Any], most: int) -> IntArray:
    """At most `most` of the samples, evenly spaced. With several labels, up to half of them with and up to half without the label that is
    easiest to balance.

    A metric such as ROC-AUC is undefined without positives and negatives.
    """
    if len(part) <= most:
        return part
    if labels.ndim == 1:
        return _evenly(part, most)
    positive, negative = labels[part] == 1, labels[part] == 0  # NaN, unknown, is neither
    balanced = np.minimum(positive.sum(axis=0), negative.sum(axis=0)).argmax()
    return np.sort(np.concatenate([_evenly(part[of_kind[:, balanced]], most // 2) for of_kind in (positive, negative)]))


def _evenly(part: IntArray, most: int) -> IntArray:
    return part[:: max(1, math.ceil(len(part) / most))]


def difference(a: Tensor, b: Tensor) -> float:
    """max |a - b| in units of max(1, max |b|); infinite if either is not finite or the shapes differ."""
    if a.shape != b.shape:
        return math.inf
    apart = ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()
    return apart if math.isfinite(apart) else math.inf


def gradients_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """max |a - b| over all of a member's gradients, in units of the largest; infinite as for `difference`."""
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return math.inf
    # torch's maximum, unlike Python's, lets no NaN slip through.
    unit = torch.stack([gradient.abs().max() for gradient in theirs.values()]).max()
    apart = torch.stack([(ours[name] - theirs[name]).abs().max() for name in ours]).max()
    relative = (apart / unit if unit > 0 else apart).item()
    return relative if math.isfinite(relative) else math.inf


def terms_difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Difference of each named term; infinite if one side lacks it."""
    names = dict.fromkeys([*ours, *theirs])
    sides = [[torch.tensor(terms.get(name, math.nan), dtype=torch.float64) for name in names] for terms in (ours, theirs)]
    return dict(zip(names, map(difference, *sides), strict=True))
