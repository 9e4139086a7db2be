"""Prediction targets: the kind of label, its classes and its metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.values.arrays import FloatArray, IntArray, as_exact_array, as_integers
from dgl_mutual.data.values.labels import encode_labels
from dgl_mutual.data.values.names import check_text
from dgl_mutual.errors import DataError, UsageError, listed, unknown
from dgl_mutual.utils.wording import counted

TaskName: TypeAlias = Literal["node", "graph"]
TargetKind: TypeAlias = Literal["single-label", "multi-label", "joint"]
#: Metrics of a single target.
ChosenMetric: TypeAlias = Literal["accuracy", "balanced-accuracy", "macro-f1", "micro-f1", "rocauc", "ap"]
MetricName: TypeAlias = ChosenMetric | Literal["mean"]

#: The metrics that fit each kind of target; `rocauc` fits two classes, too.
_FITTING: dict[TargetKind, tuple[ChosenMetric, ...]] = {
    "single-label": ("accuracy", "balanced-accuracy", "macro-f1"),
    "multi-label": ("micro-f1", "macro-f1", "rocauc", "ap"),
    "joint": (),
}


def check_task(task: object) -> None:
    """Raise `UsageError` for a task that is neither a string nor None. Whether a dataset has the task is not checked here."""
    if not isinstance(task, str | None):
        raise unknown("task", task, get_args(TaskName))


@dataclass(frozen=True)
class Target:
    """What is predicted for each sample.

    Attributes:
        kind: ``single-label`` (softmax over classes), ``multi-label`` (one Bernoulli per label; binary is one label), or ``joint`` (several
            targets at once, see `dgl_mutual.data.several_targets`).
        names: class names, or label names, one for each logit.
        metric: how predictions are scored; ``mean`` of the parts' metrics for a joint target.
        name: its name in a dataset of several targets.
        parts: the parts of a joint target.
        default_metric: the usual metric of such labels, if another was chosen (see `with_metric`); else None.
    """

    kind: TargetKind
    names: tuple[str, ...]
    metric: MetricName
    name: str | None = None
    parts: tuple[Target, ...] | None = None
    default_metric: MetricName | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # for reading it from a file

    def __post_init__(self) -> None:
        check_text(self.names, "a class or label")
        check_text([] if self.name is None else [self.name], "a target")
        if (self.kind == "joint") != bool(self.parts):
            raise ValueError("a joint target has parts, and no other target has")
        if self.parts and not all(part.name and part.kind != "joint" for part in self.parts):
            raise ValueError("the parts of a joint target are single ones, with names")
        if self.parts and sum(part.num_outputs for part in self.parts) != self.num_outputs:
            raise ValueError("a joint target has the outputs of all its parts")

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    @property
    def num_columns(self) -> int:
        """Number of its label columns in a joint target: one of class indices, or one for each label."""
        if self.parts:
            return sum(part.num_columns for part in self.parts)
        return 1 if self.kind == "single-label" else self.num_outputs

    @property
    def unknown(self) -> float:
        """The value of an unknown label: -1 for class indices, NaN in columns."""
        return -1 if self.kind == "single-label" else math.nan

    def with_metric(self, metric: str) -> Target:
        """The target, scored by this metric.

        Raises:
            UsageError: an unknown metric, one that does not fit the labels, or several targets.
        """
        if self.parts:
            names = listed([part.name for part in self.parts])
            raise UsageError(
                f"metric = {metric!r} is for one target, and there are several ({names}): each has its usual metric, and their mean "
                "decides. Leave the metric out, or choose one target (--targets)."
            )
        fitting = _FITTING[self.kind]
        if self.kind == "single-label" and self.num_outputs == 2:
            fitting = (*fitting, "rocauc")
        if not isinstance(metric, str) or metric not in get_args(ChosenMetric):
            raise unknown("metric", metric, fitting)
        usual = self.default_metric or self.metric
        if metric == usual:  # `default_metric` stays set
            return replace(self, metric=usual)
        if metric in fitting:
            return replace(self, metric=metric, default_metric=usual)
        labels = counted(self.num_outputs, "class", "classes") if self.kind == "single-label" else counted(self.num_outputs, "binary label")
        raise UsageError(f"metric = {metric!r} does not fit a target of {labels}. Choose from: {', '.join(fitting)}.")


@dataclass(frozen=True)
class SubTarget:
    """One target of a joint one.

    Attributes:
        outputs: the slice of its logits.
        columns: the slice of its label columns.
    """

    target: Target
    outputs: slice
    columns: slice

    @property
    def name(self) -> str:
        assert self.target.name is not None
        return self.target.name

    @property
    def metric(self) -> str:
        """The name of its metric beside those of other targets, for example ``accuracy(digit)``."""
        return f"{self.target.metric}({self.name})"

    def labels_of(self, labels: IntArray | FloatArray) -> IntArray | FloatArray:
        """Its labels, in the form of a single target, from the joint labels (samples, columns)."""
        block = labels[:, self.columns]
        if self.target.kind != "single-label":
            return block
        return np.where(np.isnan(block), self.target.unknown, block)[:, 0].astype(np.int64)


def parts_of(target: Target) -> tuple[SubTarget, ...]:
    """The parts of a joint target, in order; empty for a single target."""
    parts: list[SubTarget] = []
    output = column = 0
    for part in target.parts or ():
        parts.append(SubTarget(part, slice(output, output + part.num_outputs), slice(column, column + part.num_columns)))
        output, column = output + part.num_outputs, column + part.num_columns
    return tuple(parts)


def unknown_labels(num_samples: int) -> tuple[IntArray, Target]:
    """Unknown labels for all samples, and a target without classes."""
    return np.full(num_samples, -1, dtype=np.int64), Target("single-label", (), "accuracy")


def as_labels(labels: Any, target: Target, num_samples: int) -> IntArray | FloatArray:
    """Labels in the form of `Dataset`: class indices (int64, -1 where unknown), or columns (float32, NaN where unknown).

    Raises:
        DataError: another number of labels than of samples or targets, or a label that the target does not have.
    """
    if target.kind == "single-label":
        classes = as_integers(labels, "labels")
        _check_number(len(classes), num_samples)
        wrong = (classes < -1) | (classes >= target.num_outputs)
        _refuse_wrong(classes, wrong, f"a class 0 to {target.num_outputs - 1}, or -1 where unknown")
        return classes
    array = as_exact_array(labels, "labels")
    if array.ndim != 2 or array.shape[1] != target.num_columns:
        raise DataError(f"The labels have the shape {array.shape}; expected (samples, {target.num_columns}), a column for each label.")
    _check_number(len(array), num_samples)
    values = array.astype(np.float32, copy=False)
    for part in parts_of(target) or (SubTarget(target, slice(None), slice(None)),):
        block = values[:, part.columns]
        has_classes = part.target.kind == "single-label"
        highest = part.target.num_outputs - 1 if has_classes else 1
        wrong = ~np.isnan(block) & ~((block >= 0) & (block <= highest) & (block == np.round(block)))
        _refuse_wrong(block, wrong, (f"a class 0 to {highest}" if has_classes else "0 or 1") + ", or NaN where unknown")
    return values


def join_targets(targets: Sequence[Target], labels: Sequence[IntArray | FloatArray]) -> tuple[FloatArray, Target]:
    """Join named targets and their labels: a student has a head for each target, and logits and label columns are in this order.

    The logits are named ``digit=3`` (a class), ``even`` (a lone label) or ``ink: top left`` (one of several labels). If two of them would
    have the same name, the names of targets and classes are quoted: ``'a'='b=c'`` and ``'a=b'='c'``.

    Raises:
        UsageError: a target has another metric than the usual one.
    """
    chosen = next((target for target in targets if target.default_metric not in (None, target.metric)), None)
    if chosen is not None:
        raise UsageError(
            f"The dataset was made with metric = {chosen.metric!r}, which is for one target, but several were requested: each has its "
            "usual metric, and their mean decides. Make the dataset without a metric, or choose one target (--targets)."
        )
    blocks = [_as_columns(target, block) for target, block in zip(targets, labels, strict=True)]
    names = [name for target in targets for name in _output_names(target, str)]
    if len(set(names)) < len(names):
        names = [name for target in targets for name in _output_names(target, repr)]
    return np.concatenate(blocks, axis=1), Target("joint", tuple(names), "mean", parts=tuple(targets))


def _check_number(found: int, num_samples: int) -> None:
    if found != num_samples:
        raise DataError(
            f"Found {counted(found, 'label')} for {counted(num_samples, 'sample')}. Give one for each (unknown: -1, or NaN in columns)."
        )


def _refuse_wrong(labels: npt.NDArray[Any], wrong: npt.NDArray[np.bool_], expected: str) -> None:
    if wrong.any():
        sample = int(np.argwhere(wrong)[0][0])
        raise DataError(f"Sample {sample} has the label {labels[wrong][0]}; expected {expected}.")


def _output_names(target: Target, shown: Callable[[object], str]) -> list[str]:
    if target.kind != "single-label" and target.num_outputs == 1:
        return [shown(target.name)]
    between = "=" if target.kind == "single-label" else ": "
    return [f"{shown(target.name)}{between}{shown(name)}" for name in target.names]


def _as_columns(target: Target, labels: IntArray | FloatArray) -> FloatArray:
    if target.kind == "single-label":
        return np.where(labels >= 0, labels, np.nan).astype(np.float32)[:, None]
    return np.asarray(labels, dtype=np.float32)


def encode_targets(labels: Any, num_samples: int, task: TaskName) -> tuple[IntArray | FloatArray, Target]:
    """Encode a user's labels as numbers, and describe their target.

    Args:
        labels: as in `Dataset.from_arrays`: None where all are unknown, a mapping for several targets by name.

    Raises:
        DataError: a target without a name, a wrong number of labels, or labels that `encode_labels` refuses.
    """
    if labels is None:
        return unknown_labels(num_samples)
    if not isinstance(labels, Mapping):
        return _encoded_target(labels, task, "labels")
    if not labels or not all(isinstance(name, str) and name.strip() for name in labels):
        raise DataError(f"labels is a mapping with the keys {list(labels)!r:.200}. Give each target a name, for example {{'colour': ...}}.")
    encoded = [_encoded_target(values, task, f"labels[{name!r}]") for name, values in labels.items()]
    for name, (block, _) in zip(labels, encoded, strict=True):
        if len(block) != num_samples:
            raise DataError(f"labels[{name!r}] has {counted(len(block), 'label')} for {counted(num_samples, 'sample')}. Give one for each.")
    targets = [replace(target, name=name) for name, (_, target) in zip(labels, encoded, strict=True)]
    if len(targets) == 1:
        return encoded[0][0], targets[0]
    return join_targets(targets, [block for block, _ in encoded])


def _encoded_target(labels: Any, task: TaskName, where: str) -> tuple[IntArray | FloatArray, Target]:
    encoding = encode_labels(labels, where, unknown=-1)
    metric: MetricName = "accuracy" if encoding.kind == "single-label" else "micro-f1" if task == "node" else "rocauc"
    return encoding.labels, Target(encoding.kind, encoding.names, metric)
