"""Averages of a student's weights over training (`training.average`), in plain torch."""

from __future__ import annotations

import copy

import torch
from torch import nn

from dgl_mutual.training.averages import AverageKind


class WeightAverage:
    """An average w' of the weights w of a student, which is assessed in the student's place.

    Written out: the package uses torch's `AveragedModel`, and parity shows that it uses it rightly.

    ema: w' <- a w' + (1 - a) w after step t, a = min(1 - 1 / (t + 1), decay); so are the running statistics of batch norm (Tarvainen and
    Valpola, NeurIPS 2017). swa: the mean of w after each epoch (Izmailov et al., UAI 2018); the running statistics are to be recomputed.

    Args:
        kind: ema or swa.
        decay: of ema.
        start: the first epoch whose weights are averaged.
    """

    def __init__(self, student: nn.Module, kind: AverageKind, decay: float, start: int) -> None:
        self.student, self.kind, self.decay, self.start = student, kind, decay, start
        self.averaged = copy.deepcopy(student)
        self.count = 0

    @property
    def served(self) -> nn.Module:
        """What is assessed: the student itself before there is an average, which ema from epoch 0 has at once."""
        return self.averaged if self.count or (self.kind == "ema" and self.start == 0) else self.student

    def after_step(self, epoch: int) -> None:
        """Take in the weights after a step of an epoch."""
        if self.kind == "ema" and epoch >= self.start:
            self._update(min(1 - 1 / (self.count + 1), self.decay))

    def after_epoch(self, epoch: int) -> None:
        """Take in the weights after an epoch."""
        if self.kind == "swa" and epoch >= self.start:
            self._update(1 - 1 / (self.count + 1))

    @torch.no_grad()
    def _update(self, kept: float) -> None:
        latest = self.student.state_dict()
        for name, value in self.averaged.state_dict().items():
            value.copy_(kept * value + (1 - kept) * latest[name] if value.is_floating_point() else latest[name])
        self.count += 1
