"""What trials compute with: a device, processes and threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import joblib

from dgl_mutual.experiments.device import is_cuda, resolve_device
from dgl_mutual.utils.arguments import MAX_JOBS, MAX_THREADS, whole_number

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, init=False)
class Compute:
    """What trials compute with, checked and resolved when it is made.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:N``; given as one of these, as ``auto`` (cuda where torch has a GPU), or as a `torch.device`.
        jobs: trials at a time, of whatever run, each in a process of its own if there are several (default: one a core; on cuda one).
        threads: threads a trial computes with. Sums over another number of threads are rounded differently, so the default depends
            neither on the machine nor on `jobs`.

    Raises:
        UsageError: see `resolve_device`; or `jobs` or `threads` is no whole number from 1, or too large.
    """

    device: str
    jobs: int | None
    threads: int

    def __init__(self, *, device: str | torch.device = "auto", jobs: int | None = None, threads: int = 1) -> None:
        object.__setattr__(self, "jobs", None if jobs is None else whole_number("jobs", jobs, 1, MAX_JOBS))
        object.__setattr__(self, "threads", whole_number("threads", threads, 1, MAX_THREADS))
        object.__setattr__(self, "device", resolve_device(device))

    @property
    def num_jobs(self) -> int:
        """Trials at a time: `jobs`, or its default."""
        if self.jobs is not None:
            return self.jobs
        return 1 if is_cuda(self.device) else int(joblib.cpu_count())
