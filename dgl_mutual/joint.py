"""Joint distribution of several tasks. The logits of all tasks are concatenated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from dgl_mutual.data.values.target import SubTarget, Target, parts_of
from dgl_mutual.distributions import Distribution, distribution_of

#: How the losses of several tasks are weighted.
TaskWeights: TypeAlias = Literal["equal", "uncertainty"]


@dataclass(frozen=True)
class Head:
    """One task: its columns among the logits and labels of all tasks, and its distribution."""

    part: SubTarget
    distribution: Distribution

    @classmethod
    def of(cls, part: SubTarget) -> Head:
        """The head of one part of a joint target."""
        return cls(part, distribution_of(part.target.kind))

    @property
    def num_columns(self) -> int:
        return int(self.part.columns.stop - self.part.columns.start)

    def logits(self, logits: Tensor) -> Tensor:
        """Select the task's columns from all logits, or from other values per logit: (..., N, C)."""
        return logits[..., self.part.outputs]

    def labels(self, labels: Tensor) -> Tensor:
        """Select the task's labels from all label columns (N, columns), in the form that its distribution takes."""
        columns = labels[:, self.part.columns]
        return columns if self.distribution.has_columns else columns[:, 0].nan_to_num(nan=-1.0).long()

    def as_columns(self, values: Tensor) -> Tensor:
        """Reshape values per label to columns: (..., N, columns)."""
        return values if self.distribution.has_columns else values.unsqueeze(-1)


class Joint(nn.Module, Distribution):
    """Tasks that are independent given the sample, p(y_1, ..., y_T) = prod_t p_t(y_t). Quantities are evaluated per task, then summed:

        supervised = sum_t CE_t;    KL = sum_t w_t KL_t;    H = sum_t w_t H_t.

    ``equal``: w_t = 1. ``uncertainty``: w_t = exp(-s_t) with learned log-variances s_t = log sigma_t^2, and students minimise
    sum_t (exp(-s_t) CE_t + s_t / 2). Source: Kendall, Gal and Cipolla, CVPR 2018, arXiv 1705.07115, eq. 10, its form for classification.

    NOTE: s_t is learned from labels alone and by all students together, since it is a property of the task. The exchange on a task has the
    same weight as its labels. Validation weighs all tasks equally, so that losses of different epochs can be compared.

    Labels: float, shape (N, columns), NaN where unknown: one column of class indices for a categorical task, one per label for others.
    """

    has_columns = True

    def __init__(self, heads: Sequence[Head], task_weights: TaskWeights = "equal") -> None:
        super().__init__()
        self.heads = tuple(heads)
        self.log_variances = nn.Parameter(torch.zeros(len(self.heads))) if task_weights == "uncertainty" else None

    def reset_parameters(self) -> None:
        if self.log_variances is not None:
            nn.init.zeros_(self.log_variances)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(int(head.part.outputs.stop - head.part.outputs.start) for head in self.heads)

    @property
    def multi_label(self) -> tuple[bool, ...]:
        return tuple(head.distribution.has_columns for head in self.heads)

    def logged(self) -> dict[str, Tensor]:
        if self.log_variances is None:
            return {}
        weights = torch.exp(-self.log_variances.detach())
        return {f"task_weight/{head.part.name}": weight for head, weight in zip(self.heads, weights, strict=True)}

    def tasks(self, logits: Tensor, labels: Tensor) -> Iterator[tuple[Distribution, Tensor, Tensor]]:
        for head in self.heads:
            yield head.distribution, head.logits(logits), head.labels(labels)

    def by_task(self, values: Tensor) -> list[Tensor]:
        return [values[..., head.part.columns] for head in self.heads]

    def known(self, labels: Tensor) -> Tensor:
        return ~labels.isnan()

    def choices(self, logits: Tensor) -> Tensor:
        numbers = [number for head in self.heads for number in [head.distribution.choices(head.logits(logits))] * head.num_columns]
        return torch.tensor(numbers, device=logits.device)

    def predictions(self, logits: Tensor) -> Tensor:
        return torch.cat([head.as_columns(head.distribution.predictions(head.logits(logits)).long()) for head in self.heads], dim=-1)

    def nll(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = [head.as_columns(head.distribution.nll(head.logits(logits), head.labels(labels))) for head in self.heads]
        return torch.cat(losses, dim=-1)

    def supervised(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return self._supervised(logits, labels, weights).sum(0)

    def objective(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        if self.log_variances is None:
            return self.supervised(logits, labels, weights)
        # The variance of a task is not updated in a step without a known label of it.
        seen = torch.stack([distribution.known(y).any() for distribution, _, y in self.tasks(logits, labels)])
        losses = self._supervised(logits, labels, weights).movedim(0, -1)
        return (torch.exp(-self.log_variances) * losses + 0.5 * self.log_variances * seen).sum(-1)

    def votes(self, logits: Tensor) -> Tensor:
        return torch.cat([head.distribution.votes(head.logits(logits)) for head in self.heads], dim=-1)

    def probabilities(self, logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        return torch.cat([head.distribution.probabilities(head.logits(logits), temperature) for head in self.heads], dim=-1)

    def normalised(self, values: Tensor) -> Tensor:
        return torch.cat([head.distribution.normalised(head.logits(values)) for head in self.heads], dim=-1)

    def divergence(self, target: Tensor, logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        return self.over_tasks([head.distribution.divergence(head.logits(target), head.logits(logits), temperature) for head in self.heads])

    def entropy(self, logits: Tensor) -> Tensor:
        return self.over_tasks([head.distribution.entropy(head.logits(logits)) for head in self.heads])

    def marginal(self, labels: Tensor, num_outputs: int) -> Tensor:
        heads = zip(self.heads, self.widths, strict=True)
        return torch.cat([head.distribution.marginal(head.labels(labels), width) for head, width in heads])

    def mean_divergence(self, logits: Tensor, marginal: Tensor) -> Tensor:
        return self.over_tasks([head.distribution.mean_divergence(head.logits(logits), head.logits(marginal)) for head in self.heads])

    def max_probability(self, probabilities: Tensor) -> Tensor:
        """The mean over tasks."""
        return torch.stack([head.distribution.max_probability(head.logits(probabilities)) for head in self.heads]).mean(0)

    def confidence(self, logits: Tensor) -> Tensor:
        """The confidence in each of T tasks, for its coordinator: shape (..., N, T)."""
        return torch.stack([head.distribution.confidence(head.logits(logits)) for head in self.heads], dim=-1)

    def _supervised(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        """The supervised term of each task, 0 if none of its labels is known: (T, ...)."""
        losses = []
        for head, (distribution, z, y) in zip(self.heads, self.tasks(logits, labels), strict=True):
            shares = None if weights is None else weights[..., head.part.columns].reshape(*weights.shape[:-2], *y.shape)
            losses.append(distribution.supervised(z, y, shares))
        return torch.stack(losses)

    def over_tasks(self, values: list[Tensor]) -> Tensor:
        if self.log_variances is not None:
            values = [weight * value for weight, value in zip(torch.exp(-self.log_variances.detach()), values, strict=True)]
        return torch.stack(values).sum(0)


def make_distribution(target: Target, task_weights: TaskWeights = "equal") -> Distribution:
    """Make the predictive distribution of a target.

    Args:
        task_weights: how the losses of several tasks are weighted.
    """
    return distribution_of(target.kind) if target.parts is None else Joint([Head.of(part) for part in parts_of(target)], task_weights)
