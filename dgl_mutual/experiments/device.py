"""Device selection."""

from __future__ import annotations

import re

import torch

from dgl_mutual.errors import UsageError, unknown

DEVICES = ("auto", "cpu", "cuda", "cuda:N (the N-th GPU, from 0)")


def resolve_device(name: str | torch.device) -> str:
    """``cpu``, ``cuda`` or ``cuda:N``; ``auto`` means cuda where torch has a GPU. A CUDA build of DGL is not needed.

    Raises:
        UsageError: an unknown device, or cuda where it cannot be used; the message says what is missing and how to repair it.
    """
    if isinstance(name, torch.device):
        name = name.type if name.type == "cpu" else str(name)
    if not isinstance(name, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        if isinstance(name, str) and name.lower().startswith("gpu"):
            raise UsageError(f"Unknown device {name!r}. Did you mean 'cuda'? Choose from: {', '.join(DEVICES)}.")
        raise unknown("device", name, DEVICES)
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
            f"torch {torch.__version__} sees no GPU. Look with 'nvidia-smi' whether there is one with a driver, and install a CUDA build "
            "of torch from https://pytorch.org if this is a CPU build."
        )
    count, number = torch.cuda.device_count(), torch.device(device).index
    if number is not None and number >= count:
        if count == 1:
            return "the only GPU here is cuda:0."
        return f"there are {count} GPUs here, cuda:0 ... cuda:{count - 1}. Choose one of them."
    return None
