"""The most memory that something takes: of a CUDA device what torch has there, else what this process has, libraries included."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

import torch

from dgl_mutual.experiments.device import is_cuda


def peak(device: str = "cpu") -> float | None:
    """High-water mark in MiB; None where the system does not tell."""
    if is_cuda(device):
        return torch.cuda.max_memory_allocated(device) / 2**20
    mark = status("VmHWM")  # getrusage would start from the parent's mark on Linux
    if mark is not None or sys.platform == "win32":
        return mark
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def forget_peak(device: str = "cpu") -> None:
    """Start the high-water mark anew: on CUDA, and on Linux; elsewhere, and where that is not allowed, it stays that of the process."""
    if is_cuda(device):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def status(entry: str) -> float | None:
    """MiB of an entry of Linux' account of this process."""
    file = Path("/proc/self/status")
    found = re.search(rf"{entry}:\s+(\d+) kB", file.read_text()) if file.exists() else None
    return int(found.group(1)) / 1024 if found else None
