"""`torch.autograd.Function.apply` with a return type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """Call `function.apply`, which torch leaves untyped, for a function with one result."""
    typed: Callable[..., Tensor] = function.apply
    return typed(*arguments)
