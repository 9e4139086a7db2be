"""Checks of modules that users bring: that their weights and buffers can be kept, saved and loaded again."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def fault_of_state(module: nn.Module) -> str | None:
    """What in the state of a module cannot be kept, as the end of a sentence that starts with its name; None if all can."""
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            return f"keeps state that is not a tensor ({name}). Keep it in buffers."
        if value.layout != torch.strided:
            return f"has a sparse tensor {name}, which cannot be saved. Keep it dense, or register it with persistent=False."
        if any(stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape, strict=True)):
            return f"has a tensor {name} several values of which share memory, as expand() makes them. Make a copy: {name}.clone()."
    return None


def share_weights(first: nn.Module, second: nn.Module) -> bool:
    """Whether two modules have a trainable parameter in common."""
    trained = {id(parameter) for parameter in first.parameters() if parameter.requires_grad}
    return any(id(parameter) in trained for parameter in second.parameters())


def versions(*tensors: Tensor) -> list[int]:
    """How often each tensor was changed in place; 0 under `torch.inference_mode`, where that is not counted."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]
