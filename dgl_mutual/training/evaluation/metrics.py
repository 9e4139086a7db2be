"""How predictions are scored: OGB's `Evaluator` for OGB sets, scikit-learn, and batched forms of accuracies, F1 and ROC-AUC."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_mutual.data.values.target import MetricName
from dgl_mutual.errors import TrainingError, unknown

if TYPE_CHECKING:
    Array = npt.NDArray[Any]

#: A function of logits (M, N, C) and labels (N,) or (N, C) that gives one value for each of the M members.
MetricFn = Callable[[Tensor, Tensor], list[float]]
#: Means that are equal, as over several targets, classes or splits, differ in their last bits by the order in which they are summed.
_DECIMALS = 12


def as_compared(metric: float) -> float:
    """A metric on validation as it is compared with others, of epochs, members or trials: rounded, so that equal ones are equal."""
    return round(metric, _DECIMALS)


def refuse_non_finite_logits(logits: Tensor, names: Sequence[str]) -> None:
    """Refuse logits that are NaN or infinite.

    Every comparison with NaN is false, so a metric would take one for some decision or other, and maybe for a right one.

    Args:
        logits: (M, N, C).
        names: of the M members, for the message.

    Raises:
        TrainingError: one that is NaN or infinite; says whose, and for how many samples.
    """
    if torch.isfinite(logits).all():
        return
    broken = (~torch.isfinite(logits)).any(-1).sum(-1).tolist()
    found = ", ".join(f"{name} ({count} of {logits.shape[1]} samples)" for name, count in zip(names, broken, strict=True) if count)
    raise TrainingError(
        f"Logits are not finite, so they predict nothing: {found}. Likely causes are features of extreme size in some nodes and a learning "
        "rate that is too large; rescale the former or lower the latter (training.learning_rate)."
    )


def make_metric(metric: MetricName, evaluator: str | None = None) -> MetricFn:
    """The function of a metric, whose values are in [0, 1].

    The logits must be finite (see `refuse_non_finite_logits`). The function raises `TrainingError` where the metric is not defined.

    Args:
        evaluator: an OGB set's name; its `Evaluator` then does the scoring.

    Raises:
        UsageError: no single target has such a metric.
    """
    if evaluator is None:
        if metric not in _BATCHED:
            raise unknown("metric", metric, _BATCHED)
        return _BATCHED[metric]
    from dgl_mutual.data.sources.ogb_package import make_evaluator

    return partial(_ogb_accuracy if metric == "accuracy" else _ogb_score, make_evaluator(evaluator))


def accuracy(logits: Tensor, labels: Tensor) -> list[float]:
    """Share of right classes of each member, over samples with a known label; NaN where there is none.

    Equals `sklearn.metrics.accuracy_score` member by member; scoring all members at once, every epoch, in one call costs a tenth of it.
    """
    known = labels >= 0
    right = ((logits.argmax(-1) == labels) & known).sum(-1)
    return (right.double() / known.sum()).tolist()


def balanced_accuracy(logits: Tensor, labels: Tensor) -> list[float]:
    """The share of right predictions in each class, averaged over the classes that have a known label; NaN where there is none.

    Equals `sklearn.metrics.balanced_accuracy_score` member by member, in a twentieth of the time (1,000 samples, ten classes).
    """
    counts = _confusions(logits, labels)
    recalls = counts.diagonal(dim1=1, dim2=2) / counts.sum(2)  # of an absent class 0 / 0
    return recalls.nanmean(1).tolist()


def macro_f1(logits: Tensor, labels: Tensor) -> list[float]:
    """The F1 of each class, or of each label, averaged; NaN where no label is known.

    Equals `sklearn.metrics.f1_score` with ``average="macro"`` and ``zero_division=0``, in less than a thirtieth of the time (as above). A
    class counts where it occurs or is predicted, a label where one of it is known; a label without positives, true or predicted, counts as
    0.
    """
    if labels.ndim == 1:
        counts = _confusions(logits, labels)
        scores = 2 * counts.diagonal(dim1=1, dim2=2) / (counts.sum(1) + counts.sum(2))  # 0 / 0 of one that neither occurs nor is predicted
        return scores.nanmean(1).tolist()
    known, true = ~labels.isnan(), labels == 1
    found = (logits > 0) & known
    total = found.sum(1) + true.sum(0)
    scores = torch.where(total > 0, 2 * (found & true).sum(1).double() / total, 0.0)
    return scores[:, known.any(0)].mean(1).tolist()


def _confusions(logits: Tensor, labels: Tensor) -> Tensor:
    """How many samples of each known class are predicted as each: float64, (M, C, C), rows true and columns predicted."""
    members, _, classes = logits.shape
    known = labels >= 0
    cells = labels[known] * classes + logits[:, known].argmax(-1)
    cells = cells + classes**2 * torch.arange(members, device=cells.device)[:, None]
    return torch.bincount(cells.flatten(), minlength=members * classes**2).view(members, classes, classes).double()


def micro_f1(logits: Tensor, labels: Tensor) -> list[float]:
    """2 TP / (2 TP + FP + FN) of each member over all known labels; 0 where nothing is positive, NaN where no label is known.

    Equals `sklearn.metrics.f1_score` of the known labels in one row; that sorts them all anew for each member.
    """
    known = ~labels.isnan()
    true = labels == 1
    found = (logits > 0) & known
    hits = (found & true).flatten(1).sum(1).double()
    total = found.flatten(1).sum(1) + true.sum()
    scores = torch.where(total > 0, 2 * hits / total, 0.0)
    return scores.tolist() if known.any() else [math.nan] * len(logits)


def rocauc(logits: Tensor, labels: Tensor) -> list[float]:
    """Area under the ROC curve of each member: the mean over labels with both classes, NaN where no label is known.

    It is the U statistic of Mann and Whitney over the number of pairs of a positive and a negative sample. Equals
    `sklearn.metrics.roc_auc_score` label by label and member by member, which takes a third of the time of an epoch on ogbg-molsider with
    its 27 labels; this takes a seventh of that for three members.

    Of two classes the second is positive, by the difference of its logit to that of the first.
    """
    from scipy.stats import mannwhitneyu

    if labels.ndim == 1:
        logits, labels = logits.double().diff(dim=-1), torch.where(labels < 0, math.nan, labels.double())[:, None]
    scores = logits.detach().cpu().double().numpy()

    def areas(known: Array, column: int, truth: Array) -> Array:
        found = scores[:, known, column]
        positive, negative = found[:, truth == 1], found[:, truth == 0]
        area: Array = mannwhitneyu(positive, negative, axis=1, method="asymptotic").statistic / (positive.shape[1] * negative.shape[1])
        return area

    return _mean_over_labels(areas, labels.detach().cpu().numpy(), len(scores))


def _mean_over_labels(function: Callable[[Array, int, Array], Array], truth: Array, num_members: int) -> list[float]:
    """Of each member the mean over labels that have both classes among their known samples, as OGB does it; NaN where no label is known.

    Args:
        function: (M,) values of one label: takes which samples it is known of (N,), its column, and these samples' labels.
        truth: labels (N, C), NaN where they are unknown.
    """
    if _is_unknown(truth):
        return [math.nan] * num_members
    figures = []
    for column in _labels_with_both_classes(truth):
        known = ~np.isnan(truth[:, column])
        figures.append(function(known, column, truth[known, column]))
    means: list[float] = np.mean(figures, axis=0).tolist()
    return means


def _is_unknown(truth: Array) -> bool:
    return len(truth) > 0 and bool(np.isnan(truth).all())


def _labels_with_both_classes(truth: Array) -> list[int]:
    """The columns that have a positive and a negative sample; a `TrainingError` if there are none."""
    columns = [column for column, values in enumerate(truth.T) if {0, 1} <= set(np.unique(values))]
    if not columns:
        raise TrainingError(
            f"The metric is not defined on these {len(truth)} samples: no label has both a positive and a negative among them. "
            "The part of the split is too small or holds one class only; choose another split or protocol."
        )
    return columns


def _average_precision(logits: Tensor, labels: Tensor) -> list[float]:
    from sklearn.metrics import average_precision_score

    scores = logits.detach().cpu().numpy()

    def precisions(known: Array, column: int, truth: Array) -> Array:
        return np.array([average_precision_score(truth, member[known, column]) for member in scores])

    return _mean_over_labels(precisions, labels.detach().cpu().numpy(), len(scores))


_BATCHED: dict[str, MetricFn] = {
    "accuracy": accuracy,
    "balanced-accuracy": balanced_accuracy,
    "macro-f1": macro_f1,
    "micro-f1": micro_f1,
    "rocauc": rocauc,
    "ap": _average_precision,
}


def _ogb_accuracy(judge: Any, logits: Tensor, labels: Tensor) -> list[float]:
    known = labels >= 0
    if not known.any():
        return [math.nan] * len(logits)
    truth, decisions = labels[known].cpu().numpy(), logits[:, known].argmax(-1).cpu().numpy()
    return [float(judge.eval({"y_true": truth[:, None], "y_pred": decided[:, None]})["acc"]) for decided in decisions]


def _ogb_score(judge: Any, logits: Tensor, labels: Tensor) -> list[float]:
    truth, scores = labels.detach().cpu().numpy(), logits.detach().cpu().numpy()
    if _is_unknown(truth):
        return [math.nan] * len(scores)
    _labels_with_both_classes(truth)  # where there are none, OGB's error does not say what is wrong
    return [float(judge.eval({"y_true": truth, "y_pred": member})[judge.eval_metric]) for member in scores]
