"""The settings of torch that hold for the whole process. Custom code may change them, and built-in students compute under them, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

#: What reads each setting, and what sets it to what was read.
_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda found: torch.use_deterministic_algorithms(found[0], warn_only=found[1]),
    ),
)


@contextmanager
def settings_kept() -> Iterator[None]:
    """What is changed within the block is changed back afterwards: the default dtype, gradients, threads, precision and determinism."""
    before = [read() for read, _ in _SETTINGS]
    try:
        yield
    finally:
        for (read, put), value in zip(_SETTINGS, before, strict=True):
            if read() != value:
                put(value)


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Within the block new tensors are float32 where nothing else is said, whatever a user has set; afterwards all settings are as before.

    Results do not depend on what a script did before it trains.
    """
    with settings_kept():
        torch.set_default_dtype(torch.float32)
        yield
