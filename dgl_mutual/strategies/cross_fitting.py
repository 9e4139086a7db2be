"""Each student leaves out a part of the training labels, on which a weighting can then be fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_mutual.distributions import Distribution
from dgl_mutual.strategies.held_out import left_out_samples, refuse_nothing
from dgl_mutual.strategies.setting import Setting
from dgl_mutual.strategies.step import Step


class CrossFitting(nn.Module):
    """The part of the training labels that each student leaves out, and the loss terms without it.

    Args:
        fraction: that of the training samples that each student leaves out.
    """

    #: (K, samples), true for the training samples that a student leaves out.
    left_out: Tensor

    def __init__(self, setting: Setting, fraction: float) -> None:
        super().__init__()
        assert setting.training_samples is not None
        mask = left_out_samples(setting.training_samples, fraction, setting.num_students, seed=setting.seed)
        refuse_nothing(mask, "weighting = cross-fitted", "uniform")
        self.register_buffer("left_out", mask, persistent=False)

    def supervised(self, step: Step, supervised: Callable[[Step], Tensor]) -> Tensor:
        """The supervised term of each active member without its part: (A,)."""
        rows = torch.arange(len(step.samples), device=self.left_out.device)[step.labelled]
        numbers = step.samples[rows]
        each = []
        for index, k in enumerate(step.active):
            own = replace(step, logits=step.logits[index : index + 1], active=(k,), labelled=rows[~self.left_out[k, numbers]])
            each.append(supervised(own))
        return torch.cat(each)

    def mean_of_learned(self, values: Tensor, step: Step) -> Tensor:
        """The mean over the exchange samples, without each member's part: there its peers would pass on the labels. (A, N) -> (A,)."""
        learned = ~self.left_out[list(step.active)][:, step.samples[step.exchange]]
        return (values * learned).sum(-1) / learned.sum(-1).clamp(min=1)

    def loss(self, scores: Tensor, logits: Tensor, labels: Tensor, samples: Tensor, distribution: Distribution) -> Tensor:
        """Cross-entropy of the log-odds that a student is right, on its own part: the mean of each task, summed over tasks.

        Args:
            scores: (K, N, 1 or C).
        """
        left_out = self.left_out[:, samples]
        total = []
        tasks = zip(distribution.tasks(scores.expand_as(logits), labels), distribution.tasks(logits, labels), strict=True)
        for (own, log_odds, _), (_, z, y) in tasks:
            right = own.predictions(z) == y
            known = own.known(y) & (left_out if right.ndim == 2 else left_out.unsqueeze(-1))
            log_odds = log_odds if right.ndim == 3 else log_odds[..., 0]
            losses = F.binary_cross_entropy_with_logits(log_odds, right.to(log_odds.dtype), reduction="none")
            total.append((losses * known).sum() / known.sum().clamp(min=1))
        return torch.stack(total).sum()
