"""The optimizer of a cohort."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import unwrap

import torch
from torch import nn

from dgl_mutual.training.options import TrainingOptions


class Adam(torch.optim.Adam):
    """torch's Adam without the wrappers that keep ``torch.compile`` out of its methods.

    At their first call these wrappers import the compiler, some 800 modules: 1.5 s before the first step of a process, as long as 60 epochs
    on Cora.
    """

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
    zero_grad = unwrap(torch.optim.Adam.zero_grad)


def make_optimizer(
    students: Iterable[nn.Module], strategy: nn.Module, options: TrainingOptions, device: torch.device
) -> torch.optim.Optimizer:
    """Create Adam for students, with weight decay, and for the strategy's own parameters, without."""
    parameters = [parameter for student in students for parameter in student.parameters()]
    groups = [{"params": parameters, "weight_decay": options.weight_decay}]
    of_strategy = list(strategy.parameters())
    if of_strategy:
        groups.append({"params": of_strategy, "weight_decay": 0.0})
    return Adam(groups, lr=options.learning_rate, fused=_fused_adam_works(device))


def _fused_adam_works(device: torch.device) -> bool:
    """Whether torch has a fused Adam: for CPU tensors since 2.4, in a third of the time; for CUDA in every supported version."""
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    return device.type == "cuda" or (major, minor) >= (2, 4)
