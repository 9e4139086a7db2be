"""Predictive distributions: a softmax over classes, or one Bernoulli per label. Every loss of the package is written in these terms.

Pure functions of tensors: torch is the only package that this module needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_mutual.errors import unknown


def log_softmax(logits: Tensor) -> Tensor:
    """log softmax over the last axis. torch's CPU kernel takes twenty times as long over a short last axis as over an inner one."""
    return F.log_softmax(logits.transpose(-1, -2).contiguous(), dim=-2).transpose(-1, -2)


def softmax(logits: Tensor) -> Tensor:
    """Softmax over the last axis, computed as in `log_softmax`."""
    return F.softmax(logits.transpose(-1, -2).contiguous(), dim=-2).transpose(-1, -2)


def _at(logits: Tensor, temperature: float | Tensor) -> Tensor:
    return logits if isinstance(temperature, float) and temperature == 1.0 else logits / temperature


def _p_log_p(p: Tensor) -> Tensor:
    """p log p with 0 log 0 = 0; `torch.xlogy` is not vectorised on CPU."""
    return p * p.clamp(min=torch.finfo(p.dtype).tiny).log()


def _mean_over_samples(p: Tensor) -> Tensor:
    """(..., N, C) to (..., C); zeros where there are no samples."""
    return p.sum(-2) / max(p.shape[-2], 1)


class Distribution(ABC):
    """The predictive distribution of one sample. Leading dimensions (students) pass through every method.

    Shapes: logits (..., N, C); labels (N,) or (N, C); per-sample results (..., N). Several tasks: see `dgl_mutual.joint`.

    Class attributes:
        has_columns: whether a sample has a row of labels rather than one.
    """

    has_columns: ClassVar[bool]

    @abstractmethod
    def known(self, labels: Tensor) -> Tensor:
        """A mask of the known labels, in the labels' shape."""

    @abstractmethod
    def nll(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Negative log-likelihood of each label in nats: (..., N) or (..., N, C); 0 for unknown labels."""

    def supervised(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Negative log-likelihood in nats, averaged over the known labels, weighted if weights are given: shape (...).

        Args:
            weights: in the labels' shape, or with the leading dimensions of `logits`, if each student has weights of its own.
        """
        known, nll = self.known(labels), self.nll(logits, labels)
        if weights is None:
            return nll.flatten(-labels.ndim).sum(-1) / known.sum().clamp(min=1)
        shares = known * weights
        total = shares.flatten(-labels.ndim).sum(-1)
        total = torch.where(total > 0, total, 1)  # not a tiny number: zero gradients are divided by it, too
        return (nll * shares).flatten(-labels.ndim).sum(-1) / total

    def objective(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of students: `supervised`, unless weights of several tasks are learned, too."""
        return self.supervised(logits, labels, weights)

    @abstractmethod
    def choices(self, logits: Tensor) -> int | Tensor:
        """m, the number of values that a label can take; (columns,) if it differs by label."""

    @abstractmethod
    def predictions(self, logits: Tensor) -> Tensor:
        """The likeliest value of each label, in the labels' shape."""

    @abstractmethod
    def votes(self, logits: Tensor) -> Tensor:
        """`predictions` as probabilities, each 0 or 1: shape (..., N, C)."""

    @abstractmethod
    def probabilities(self, logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        """p(z / T): shape (..., N, C); T may differ from sample to sample: shape (..., N, 1)."""

    @abstractmethod
    def normalised(self, values: Tensor) -> Tensor:
        """Convert positive numbers (..., N, C) to probabilities: for classes divided by their sum, for binary labels unchanged."""

    @abstractmethod
    def divergence(self, target: Tensor, logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        """KL(target || p(z / T)) in nats per sample: shape (..., N). `target` holds probabilities; T as in `probabilities`."""

    @abstractmethod
    def entropy(self, logits: Tensor) -> Tensor:
        """H(p(z)) in nats per sample: shape (..., N)."""

    @abstractmethod
    def marginal(self, labels: Tensor, num_outputs: int) -> Tensor:
        """The class prior p(y): (C,) probabilities in float64, estimated from the known labels.

        Each value of a label counts once more than it occurs (Laplace's rule of succession), so that none has probability 0.
        """

    @abstractmethod
    def mean_divergence(self, logits: Tensor, marginal: Tensor) -> Tensor:
        """KL(mean_v p(z_v) || p(y)) in nats, of the mean prediction: shape (...); 0 if there are no samples.

        Args:
            marginal: p(y), as `marginal` estimates it.
        """

    @abstractmethod
    def max_probability(self, probabilities: Tensor) -> Tensor:
        """The probability of the likeliest value of each label, averaged over labels: shape (..., N)."""

    def confidence(self, logits: Tensor) -> Tensor:
        """c = -H(p(z)), the confidence that the coordinator sees: shape (..., N). Source: arXiv 2510.19223, its logit weighting unit."""
        return -self.entropy(logits)

    @property
    def widths(self) -> tuple[int, ...] | None:
        """Number of logits of each of several tasks; None for one task."""
        return None

    @property
    def multi_label(self) -> tuple[bool, ...]:
        """For each task, whether its outputs are independent binary labels rather than classes."""
        return (self.has_columns,)

    def tasks(self, logits: Tensor, labels: Tensor) -> Iterator[tuple[Distribution, Tensor, Tensor]]:
        """Each task's own distribution, logits (a view) and labels."""
        yield self, logits, labels

    def by_task(self, values: Tensor) -> list[Tensor]:
        """Split per-label values, (..., N) or (..., N, columns), into those of each task (views)."""
        return [values]

    def over_tasks(self, values: list[Tensor]) -> Tensor:
        """sum_t w_t values_t, with the weights w_t of the tasks. Gradients do not reach the weights."""
        return torch.stack(values).sum(0)

    def logged(self) -> dict[str, Tensor]:
        """Quantities to record in the history, by name."""
        return {}

    def reset_parameters(self) -> None:
        """Reset the learned weights of several tasks, if any."""
        return


class Categorical(Distribution):
    """Single-label classification: p = softmax(z). Labels: int64, shape (N,), -1 where unknown."""

    has_columns = False

    def known(self, labels: Tensor) -> Tensor:
        return labels >= 0

    def choices(self, logits: Tensor) -> int:
        return logits.shape[-1]

    def predictions(self, logits: Tensor) -> Tensor:
        return logits.argmax(-1)

    def votes(self, logits: Tensor) -> Tensor:
        return F.one_hot(self.predictions(logits), logits.shape[-1]).to(logits.dtype)

    def nll(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = F.log_softmax(logits.transpose(-1, -2).contiguous(), dim=-2)
        students = log_p.view(logits.shape[:-2].numel(), *log_p.shape[-2:])
        nll = F.nll_loss(students, labels.expand(len(students), -1), ignore_index=-1, reduction="none")
        return nll.view(logits.shape[:-1])

    def probabilities(self, logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        return softmax(_at(logits, temperature))

    def normalised(self, values: Tensor) -> Tensor:
        return values / values.sum(-1, keepdim=True)

    def divergence(self, target: Tensor, logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        log_p = log_softmax(_at(logits, temperature))
        return (_p_log_p(target) - target * log_p).sum(-1)

    def entropy(self, logits: Tensor) -> Tensor:
        log_p = log_softmax(logits)
        return -(log_p.exp() * log_p).sum(-1)

    def marginal(self, labels: Tensor, num_outputs: int) -> Tensor:
        known = labels[self.known(labels)]
        counts = torch.bincount(known, minlength=num_outputs) + 1
        return counts.double() / counts.sum()

    def mean_divergence(self, logits: Tensor, marginal: Tensor) -> Tensor:
        p = _mean_over_samples(softmax(logits))
        return (_p_log_p(p) - p * marginal.log()).sum(-1)

    def max_probability(self, probabilities: Tensor) -> Tensor:
        return probabilities.amax(-1)


class Bernoulli(Distribution):
    """Multi-label and binary classification: p = sigmoid(z) per label, averaged over the labels.

    Labels: float, shape (N, C), NaN where unknown; an unknown label is left out of the supervised term.
    """

    has_columns = True

    def known(self, labels: Tensor) -> Tensor:
        return ~labels.isnan()

    def choices(self, logits: Tensor) -> int:
        return 2

    def predictions(self, logits: Tensor) -> Tensor:
        return logits > 0

    def votes(self, logits: Tensor) -> Tensor:
        return self.predictions(logits).to(logits.dtype)

    def nll(self, logits: Tensor, labels: Tensor) -> Tensor:
        truth = labels.nan_to_num(0.0).to(logits.dtype).expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * self.known(labels)

    def probabilities(self, logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        return torch.sigmoid(_at(logits, temperature))

    def normalised(self, values: Tensor) -> Tensor:
        return values

    def divergence(self, target: Tensor, logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        scaled = _at(logits, temperature)
        cross = -target * F.logsigmoid(scaled) - (1 - target) * F.logsigmoid(-scaled)
        negative_entropy = _p_log_p(target) + _p_log_p(1 - target)
        return (negative_entropy + cross).mean(-1)

    def entropy(self, logits: Tensor) -> Tensor:
        p = torch.sigmoid(logits)
        return -(p * F.logsigmoid(logits) + (1 - p) * F.logsigmoid(-logits)).mean(-1)

    def marginal(self, labels: Tensor, num_outputs: int) -> Tensor:
        return (labels.nan_to_num(0.0).double().sum(0) + 1) / (self.known(labels).sum(0) + 2)

    def mean_divergence(self, logits: Tensor, marginal: Tensor) -> Tensor:
        # The mean of 1 - p is computed from -z: in 1 - mean(p) small probabilities would be rounded away.
        outcomes = ((_mean_over_samples(torch.sigmoid(z)), q) for z, q in ((logits, marginal), (-logits, 1 - marginal)))
        return torch.stack([(_p_log_p(p) - p * q.log()).mean(-1) for p, q in outcomes]).sum(0)

    def max_probability(self, probabilities: Tensor) -> Tensor:
        return torch.maximum(probabilities, 1 - probabilities).mean(-1)


def distribution_of(kind: str) -> Distribution:
    """Make the distribution of a `Target.kind`.

    Raises:
        UsageError: neither ``single-label`` nor ``multi-label``.
    """
    kinds: dict[str, type[Distribution]] = {"single-label": Categorical, "multi-label": Bernoulli}
    if kind not in kinds:
        raise unknown("kind of target", kind, kinds)
    return kinds[kind]()
