"""The metric of each task, and their mean over several tasks, by which epochs and members are selected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import parts_of
from dgl_mutual.errors import TrainingError
from dgl_mutual.joint import Head
from dgl_mutual.training.evaluation.metrics import MetricFn, make_metric, refuse_non_finite_logits
from dgl_mutual.utils.wording import counted


@dataclass(frozen=True)
class Scores:
    """Scores of members on some samples.

    Attributes:
        overall: one value for each member; with several tasks, the mean.
        by_task: with several tasks, the values in each, by metric: ``accuracy(digit)``; empty for one task.
    """

    overall: list[float]
    by_task: Mapping[str, list[float]]


@dataclass(frozen=True)
class Scorer:
    """Scores predictions. With several tasks, the score is the unweighted mean of their metrics, NaN if one of them is not defined.

    Attributes:
        tasks: the head and the metric of each of several tasks, by the metric's name; or ``""`` and a metric without a head.
    """

    tasks: Mapping[str, tuple[Head | None, MetricFn]]

    def scores(self, logits: Tensor, labels: Tensor, names: Sequence[str]) -> Scores:
        """Score M members, given logits (M, N, C), labels in the form of the target's distribution, and the members' names.

        Raises:
            TrainingError: a logit that is not finite, or a metric that is not defined on these samples.
        """
        refuse_non_finite_logits(logits, names)
        figures = {name: _figures(head, metric, logits, labels) for name, (head, metric) in self.tasks.items()}
        return Scores([fmean(of_member) for of_member in zip(*figures.values(), strict=True)], figures if "" not in figures else {})


def _figures(head: Head | None, metric: MetricFn, logits: Tensor, labels: Tensor) -> list[float]:
    if head is None:
        return metric(logits, labels)
    try:
        return metric(head.logits(logits), head.labels(labels))
    except TrainingError as error:
        raise TrainingError(f"Target {head.part.name!r}: {error}") from None


def scorer_of(dataset: Dataset, *, official: bool = True) -> Scorer:
    """Return the scorer of predictions for a dataset.

    Args:
        official: score OGB sets by OGB's evaluator, as for all reported metrics. Otherwise use our own form of the metric, as in every
            epoch: it is equal up to rounding, with ROC-AUC in a fraction of the time.
    """
    if dataset.target.parts is None:
        return Scorer({"": (None, make_metric(dataset.target.metric, dataset.official_evaluator if official else None))})
    return Scorer({part.metric: (Head.of(part), make_metric(part.target.metric)) for part in parts_of(dataset.target)})


def refuse_undefined(
    scorer: Scorer, labels: Tensor, split: Split, num_outputs: int, parts: Sequence[str] = ("training", "validation", "test")
) -> None:
    """Refuse a split on which the metric is undefined, before training.

    A test part without any known label is allowed if the metric is NaN there.

    Raises:
        TrainingError: the metric, or that of one of several targets, is not defined on a part of the split.
    """
    for part in parts:
        undefined = undefined_metrics(scorer, labels, split, num_outputs, part)
        if undefined and part != "test":
            metric = undefined[0] or "The metric"
            raise TrainingError(
                f"{metric} is not defined on the {part} part of the split: none of its {counted(len(_part(split, part)), 'sample')} has a "
                "known label. Choose another split or protocol."
            )


def undefined_metrics(scorer: Scorer, labels: Tensor, split: Split, num_outputs: int, part: str = "test") -> list[str]:
    """Return the metrics that are NaN on a part of a split because no label is known; ``""`` is the metric of the only task.

    Raises:
        TrainingError: a metric is not defined for another reason.
    """
    known = labels[torch.as_tensor(_part(split, part), device=labels.device)]
    try:
        scores = scorer.scores(torch.zeros(1, len(known), num_outputs, device=labels.device), known, ())
    except TrainingError as error:
        raise TrainingError(f"On the {part} part of the split: {error}") from None
    return [metric for metric, (value,) in (scores.by_task or {"": scores.overall}).items() if math.isnan(value)]


def _part(split: Split, part: str) -> npt.NDArray[np.int64]:
    return {"training": split.train, "validation": split.val, "test": split.test}[part]


def history_columns(scores: Scores, part: str, names: Sequence[str]) -> dict[str, float]:
    """Return a column ``val/gcn-0`` for each member, and with several tasks ``accuracy(digit)/val/gcn-0``."""
    row = {f"{part}/{name}": value for name, value in zip(names, scores.overall, strict=True)}
    for metric, values in scores.by_task.items():
        row.update({f"{metric}/{part}/{name}": value for name, value in zip(names, values, strict=True)})
    return row
