"""Cross-fitting: each student leaves out a part of the training labels, and the weighting is fitted on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_mutual.coordinator import Coordinator
from dgl_mutual.distributions import Distribution
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.terms.held_out import check_some_held_out, left_out_samples
from dgl_mutual.strategies.terms.label_use import LabelUse


class CrossFitting(LabelUse):
    """The loss terms of students that each leave out a part of the training labels.

    Args:
        fraction: share of the training samples that each student leaves out.

    Raises:
        UsageError: no sample can be left out.
    """

    coordinator_takes_targets: ClassVar[bool] = True
    #: True for the training samples that a student leaves out: (K, samples).
    left_out: Tensor

    def __init__(self, setting: Setting, fraction: float) -> None:
        super().__init__()
        assert setting.training_samples is not None
        mask = left_out_samples(setting.training_samples, fraction, setting.num_students, seed=setting.seed)
        check_some_held_out(mask, "weighting = cross-fitted", "uniform")
        self.register_buffer("left_out", mask, persistent=False)

    def supervised(self, step: Step, objective: Callable[[Step], Tensor]) -> Tensor:
        """CE(z_i[L_i], y[L_i]) of each active i, L_i the labelled samples without those that i leaves out: (A,)."""
        rows = torch.arange(len(step.samples), device=self.left_out.device)[step.labelled]
        numbers = step.samples[rows]
        losses = []
        for index, k in enumerate(step.active):
            own = replace(step, logits=step.logits[index : index + 1], active=(k,), labelled=rows[~self.left_out[k, numbers]])
            losses.append(objective(own))
        return torch.cat(losses)

    def mean(self, divergences: Tensor, step: Step) -> Tensor:
        """Average over the exchange samples, except those that a student leaves out: peers would pass on their labels. (A, N) -> (A,)."""
        learned = ~self.left_out[list(step.active)][:, step.samples[step.exchange]]
        return (divergences * learned).sum(-1) / learned.sum(-1).clamp(min=1)

    def coordinator_loss(
        self, coordinator: Coordinator, evidence: tuple[Tensor, Tensor, Tensor], labels: Tensor, distribution: Distribution
    ) -> tuple[Tensor, Tensor]:
        """As in the base class; the loss is that of predicting which student is right (see `loss`)."""
        scores, (logits, _, samples) = coordinator.checked_scores(*evidence)[0], evidence
        return self.loss(scores, logits, labels, samples, distribution), coordinator.all_weights(*evidence)

    def loss(self, scores: Tensor, logits: Tensor, labels: Tensor, samples: Tensor, distribution: Distribution) -> Tensor:
        """Binary cross-entropy of "student j is right", averaged over the labels that the students leave out, summed over tasks: a scalar.

        Args:
            scores: log-odds that a student is right, (K, N, 1 or C).
        """
        left_out = self.left_out[:, samples]
        means = []
        tasks = zip(distribution.tasks(scores.expand_as(logits), labels), distribution.tasks(logits, labels), strict=True)
        for (task, log_odds, _), (_, z, y) in tasks:
            right = task.predictions(z) == y
            known = task.known(y) & (left_out if right.ndim == 2 else left_out.unsqueeze(-1))
            log_odds = log_odds if right.ndim == 3 else log_odds[..., 0]
            losses = F.binary_cross_entropy_with_logits(log_odds, right.to(log_odds.dtype), reduction="none")
            means.append((losses * known).sum() / known.sum().clamp(min=1))
        return torch.stack(means).sum()
