"""Timing on a device."""

from __future__ import annotations

import time

import torch


def now(device: torch.device) -> float:
    """Seconds on the clock of `time.perf_counter`, once the device has done what it was given: a GPU runs asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
