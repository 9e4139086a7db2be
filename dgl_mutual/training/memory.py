"""Memory of this process: peaks, and release after a training."""

from __future__ import annotations

import ctypes
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import torch

from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.state import TrainingState


def peak(device: torch.device | str = "cpu") -> float | None:
    """Return the peak in MiB: of torch's memory on a CUDA device, otherwise of the memory of this process, libraries included.

    None if the system does not report it.
    """
    if _is_cuda(device):
        return torch.cuda.max_memory_allocated(device) / 2**20
    mark = process_memory("VmHWM")  # getrusage would start from the parent's mark on Linux
    if mark is not None or sys.platform == "win32":
        return mark
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def forget_peak(device: torch.device | str = "cpu") -> None:
    """Reset the peak, on CUDA and on Linux. Elsewhere, or without permission, it remains the peak since the start of the process."""
    if _is_cuda(device):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def process_memory(entry: str) -> float | None:
    """Return the MiB of an entry of /proc/self/status on Linux; None elsewhere."""
    return _entry(Path("/proc/self/status"), entry)


def available(root: Path = Path("/")) -> float | None:
    """Return the MiB that this process can still allocate, within the limit of its control group; None if Linux does not report it."""
    free, group = _entry(root / "proc/meminfo", "MemAvailable"), root / "sys/fs/cgroup"
    with suppress(OSError, ValueError):  # there is no such group, or its limit is "max"
        limit, used = (int((group / name).read_text()) / 2**20 for name in ("memory.max", "memory.current"))
        return limit - used if free is None else min(free, limit - used)
    return free


class FreedMemory(Callback):
    """Keeps freed memory in the process for its next arrays while memory is plentiful, and returns it at the end of the block.

    It changes settings of the C library for the whole process, whose former values glibc does not report. So it is only for processes of
    the command line (see `dgl_mutual.experiments.processes`).

    glibc returns an array of more than 32 MiB to the system as soon as it is freed. The next one consists of new pages, which the system
    clears one at a time. On a generated graph of 3 x 10^6 edges that was most of an epoch (7.8 s against 3.2).

    Kept pages become fragmented: up to 1.43 times the peak memory was measured. So they are kept only once the memory of an epoch is known
    and there is room for half as much again. With allocators other than glibc's, nothing is changed.
    """

    _GROWTH = 1.5
    #: Parameters of mallopt: the free memory at the end of the heap that is returned, the maximum number of arrays with their own mapping,
    #: and their minimum size. The usual values are those that glibc itself reaches as arrays are freed.
    _TRIM_THRESHOLD, _MMAP_MAX, _MMAP_THRESHOLD = -1, -4, -3
    _KEPT = ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0))
    _USUAL = ((_TRIM_THRESHOLD, 64 << 20), (_MMAP_MAX, 65536), (_MMAP_THRESHOLD, 32 << 20))

    def __init__(self) -> None:
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._libc = libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
        self.stays = False

    def __enter__(self) -> FreedMemory:
        return self

    def on_epoch_end(self, state: TrainingState) -> None:
        self.keep_if_plentiful()

    def keep_if_plentiful(self) -> None:
        """Keep freed memory from now on, if there is room. Call it after an epoch has been trained and evaluated."""
        if self._libc is None or self.stays:
            return
        highest, resident, free = peak(), process_memory("VmRSS"), available()
        if highest is not None and resident is not None and free is not None and self._GROWTH * highest <= resident + free:
            self._set(self._KEPT)
            self.stays = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._libc is not None and self.stays:
            self._set(self._USUAL)
            self._libc.malloc_trim(0)

    def _set(self, parameters: tuple[tuple[int, int], ...]) -> None:
        assert self._libc is not None
        for parameter, value in parameters:
            self._libc.mallopt(parameter, value)


def _entry(file: Path, entry: str) -> float | None:
    found = re.search(rf"{entry}:\s+(\d+) kB", file.read_text()) if file.exists() else None
    return int(found.group(1)) / 1024 if found else None


def _is_cuda(device: torch.device | str) -> bool:
    return torch.device(device).type == "cuda"
