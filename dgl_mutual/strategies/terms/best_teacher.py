"""The best student as the only teacher (`direction: best` of `gml`)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from dgl_mutual.coordinator import Coordinator
from dgl_mutual.distributions import Distribution
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.terms.held_out import check_some_held_out, held_out_samples
from dgl_mutual.strategies.terms.label_use import LabelUse


class BestTeacher(LabelUse):
    """Select the best student on training labels that are held out from all students; it teaches the others and learns from none.

    Args:
        fraction: share of the training samples that is held out.
        decay: decay of each student's running loss on the held-out samples.
        exchange_on_labels: whether students exchange on labelled samples alone, and so not on the held-out ones.

    Raises:
        UsageError: no sample can be held out.
    """

    #: Running loss of each student on the held-out samples; infinite before the first of them: (K,).
    running_loss: Tensor
    #: True for training samples that no student learns from: (samples,).
    held_out: Tensor

    def __init__(self, setting: Setting, fraction: float, decay: float, *, exchange_on_labels: bool) -> None:
        super().__init__()
        assert setting.training_samples is not None
        mask = held_out_samples(setting.training_samples, fraction, seed=setting.seed)
        check_some_held_out(mask, "direction = best", "all")
        self.decay = decay
        self.exchange_on_labels = exchange_on_labels
        self.register_buffer("held_out", mask, persistent=False)
        self.register_buffer("running_loss", torch.full((setting.num_students,), math.inf))

    def reset_parameters(self) -> None:
        self.running_loss.fill_(math.inf)

    def observe(self, step: Step, distribution: Distribution) -> Step:
        """Update the running losses on the held-out samples, and return the step without their labels."""
        rows = torch.arange(len(step.samples), device=self.held_out.device)[step.labelled]
        is_held_out = self.held_out[step.samples[rows]]
        self._update(step, rows[is_held_out], distribution)
        learned = rows[~is_held_out]
        return replace(step, labelled=learned, exchange=learned if self.exchange_on_labels else step.exchange)

    @torch.no_grad()
    def _update(self, step: Step, held_out: Tensor, distribution: Distribution) -> None:
        if len(held_out):  # a mini-batch may hold none
            latest = distribution.supervised(step.targets[:, held_out], step.labels[held_out])
            known = self.running_loss.isfinite()
            self.running_loss = torch.where(known, latest + self.decay * (self.running_loss - latest), latest)

    def mean(self, divergences: Tensor, step: Step) -> Tensor:
        """As in the base class; the best student learns from none: 0."""
        return super().mean(divergences, step) * ~self.is_best

    def peer_weights(self, coordinator: Coordinator, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """Return weights that are 1 for the best student and 0 for all others, for each receiver: (K, K, 1, 1)."""
        num_students = len(self.running_loss)
        return self.is_best.to(logits.dtype).repeat(num_students, 1)[:, :, None, None]

    @property
    def is_best(self) -> Tensor:
        """One-hot mask of the student with the lowest running loss: (K,). A mask needs no synchronisation with a GPU; an index would."""
        return torch.arange(len(self.running_loss), device=self.running_loss.device) == self.running_loss.argmin()
