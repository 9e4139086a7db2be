"""Compute resources of trials: device, processes and threads."""

from __future__ import annotations

import re
from dataclasses import dataclass

import joblib
import torch

from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.utils.arguments import MAX_JOBS, MAX_THREADS, whole_number

_DEVICES = ("auto", "cpu", "cuda", "cuda:N (the N-th GPU, from 0)")


@dataclass(frozen=True, init=False)
class Compute:
    """Compute resources of trials, checked and resolved on creation.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:N``; also given as ``auto`` (cuda if torch has a GPU) or as a `torch.device`.
        jobs: number of trials to run in parallel, of all runs together; several run in a process each (default: one per CPU core; 1 on a
            GPU).
        threads: number of threads per trial. Another number rounds sums differently, so the default depends neither on the machine nor on
            `jobs`.

    Raises:
        UsageError: see `resolve_device`; or `jobs` or `threads` is not a positive integer, or too large.
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
        """Number of parallel trials: `jobs`, or its default."""
        if self.jobs is not None:
            return self.jobs
        return 1 if is_cuda(self.device) else int(joblib.cpu_count())


def resolve_device(name: str | torch.device) -> str:
    """Return ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` means cuda if torch has a GPU. A CUDA build of DGL is not needed.

    Raises:
        UsageError: the device is unknown, or cannot be used; the message says what is missing and how to repair it.
    """
    if isinstance(name, torch.device):
        name = name.type if name.type == "cpu" else str(name)
    if not isinstance(name, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        if isinstance(name, str) and name.lower().startswith("gpu"):
            raise UsageError(f"Unknown device {name!r}. Did you mean 'cuda'? Choose from: {', '.join(_DEVICES)}.")
        raise unknown("device", name, _DEVICES)
    if name == "cpu":
        return name
    wanted = "cuda" if name == "auto" else name
    obstacle = _obstacle(wanted)
    if obstacle is None:
        return wanted
    if name == "auto":
        return "cpu"
    raise UsageError(f"Device {name!r} cannot be used: {obstacle} Or train with --device cpu.")


def is_cuda(device: str) -> bool:
    return device.startswith("cuda")


def _obstacle(device: str) -> str | None:
    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} sees no GPU. Check with 'nvidia-smi' that there is one with a driver, and install a CUDA build of "
            "torch from https://pytorch.org if this is a CPU build."
        )
    count, number = torch.cuda.device_count(), torch.device(device).index
    if number is not None and number >= count:
        if count == 1:
            return "the only GPU here is cuda:0."
        return f"there are {count} GPUs here, cuda:0 ... cuda:{count - 1}. Choose one of them."
    return None
