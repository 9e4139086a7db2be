"""The best student as the only teacher (`direction: best` of `gml`)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from dgl_mutual.distributions import Distribution
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.terms.held_out import check_some_held_out, held_out_samples


class BestTeacher(nn.Module):
    """Select the best student on training labels that are held out from all students; it teaches the others and learns from none.

    Args:
        fraction: share of the training samples that is held out.
        decay: decay of each student's running loss on the held-out samples.

    Raises:
        UsageError: no sample can be held out.
    """

    #: Running loss of each student on the held-out samples; infinite before the first of them: (K,).
    running_loss: Tensor
    #: True for training samples that no student learns from: (samples,).
    held_out: Tensor

    def __init__(self, setting: Setting, fraction: float, decay: float) -> None:
        super().__init__()
        assert setting.training_samples is not None
        mask = held_out_samples(setting.training_samples, fraction, seed=setting.seed)
        check_some_held_out(mask, "direction = best", "all")
        self.decay = decay
        self.register_buffer("held_out", mask, persistent=False)
        self.register_buffer("running_loss", torch.full((setting.num_students,), math.inf))

    def reset_parameters(self) -> None:
        self.running_loss.fill_(math.inf)

    def observe(self, step: Step, distribution: Distribution) -> Step:
        """Update the running losses on the held-out samples, and return the step without these in `Step.labelled`."""
        rows = torch.arange(len(step.samples), device=self.held_out.device)[step.labelled]
        is_held_out = self.held_out[step.samples[rows]]
        self._update(step, rows[is_held_out], distribution)
        return replace(step, labelled=rows[~is_held_out])

    @torch.no_grad()
    def _update(self, step: Step, held_out: Tensor, distribution: Distribution) -> None:
        if len(held_out):  # a mini-batch may hold none
            latest = distribution.supervised(step.targets[:, held_out], step.labels[held_out])
            known = self.running_loss.isfinite()
            self.running_loss = torch.where(known, latest + self.decay * (self.running_loss - latest), latest)

    def weights(self, dtype: torch.dtype) -> Tensor:
        """Peer weights that are 1 for the best student and 0 for all others, for each receiver: (K, K, 1, 1)."""
        num_students = len(self.running_loss)
        return self.is_best.to(dtype).repeat(num_students, 1)[:, :, None, None]

    @property
    def is_best(self) -> Tensor:
        """One-hot mask of the student with the lowest running loss: (K,). A mask needs no synchronisation with a GPU; an index would."""
        return torch.arange(len(self.running_loss), device=self.running_loss.device) == self.running_loss.argmin()
