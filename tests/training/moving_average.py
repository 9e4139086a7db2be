"""Two small students, and a moving average of one's weights in a plain loop with torch's `AveragedModel`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dgl_mutual.nn.options import StudentOptions

GIN = StudentOptions(architecture="gin", hidden=8, norm="batch")
GCN = StudentOptions(architecture="gcn", hidden=8)


def moving_average(student: nn.Module, decay: float) -> AveragedModel:
    def update(averaged: Any, current: Any, steps: Any) -> Any:
        if not current[0].is_floating_point():
            return torch._foreach_copy_(averaged, current)
        return get_ema_multi_avg_fn(min(1 - 1 / (int(steps) + 1), decay))(averaged, current, steps)  # type: ignore[no-untyped-call]  # torch's own gap

    return AveragedModel(student, multi_avg_fn=update, use_buffers=True)
