"""Timing on a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

#: What takes longer is timed once.
_LONG_MS = 5000.0
_REPEATS = 3


def now(device: torch.device) -> float:
    """Seconds on the clock of `time.perf_counter`, once the device has done what it was given: a GPU runs asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Milliseconds that a call takes."""
    started = now(device)
    run()
    return 1000 * (now(device) - started)


def median_ms(run: Callable[[], object], device: torch.device) -> float:
    """Median milliseconds of three calls, after one that builds what later ones keep. That one alone where it takes over five seconds."""
    first = milliseconds(run, device)
    return first if first > _LONG_MS else median(milliseconds(run, device) for _ in range(_REPEATS))
