"""Averages of a student's weights over training (`training.average`), in plain torch."""

from __future__ import annotations

import copy

import torch
from torch import nn

from dgl_mutual.training.averages import AverageKind


class WeightAverage:
    """An average w' of the weights w of a student, which is evaluated in the student's place.

    The update is written out. The package uses torch's `AveragedModel`, and parity shows that it does so correctly.

    ema: w' <- a w' + (1 - a) w after step t, a = min(1 - 1 / (t + 1), decay); likewise the running statistics of batch norm (Tarvainen and
    Valpola, NeurIPS 2017). swa: the mean of w after each epoch (Izmailov et al., UAI 2018); running statistics must be recomputed.

    Args:
        kind: ema or swa.
        decay: decay rate of ema.
        start: the first epoch whose weights are averaged.
    """

    def __init__(self, student: nn.Module, kind: AverageKind, decay: float, start: int) -> None:
        self.student, self.kind, self.decay, self.start = student, kind, decay, start
        self.averaged = copy.deepcopy(student)
        self.count = 0

    @property
    def served(self) -> nn.Module:
        """The evaluated module: the average, or the student until there is one; ema from epoch 0 has one at once."""
        return self.averaged if self.count or (self.kind == "ema" and self.start == 0) else self.student

    def after_step(self, epoch: int) -> None:
        """Update with the weights after a step of an epoch."""
        if self.kind == "ema" and epoch >= self.start:
            self._update(min(1 - 1 / (self.count + 1), self.decay))

    def after_epoch(self, epoch: int) -> None:
        """Update with the weights after an epoch."""
        if self.kind == "swa" and epoch >= self.start:
            self._update(1 - 1 / (self.count + 1))

    @torch.no_grad()
    def _update(self, decay: float) -> None:
        latest = self.student.state_dict()
        for name, value in self.averaged.state_dict().items():
            value.copy_(decay * value + (1 - decay) * latest[name] if value.is_floating_point() else latest[name])
        self.count += 1
