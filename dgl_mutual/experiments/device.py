"""Where to train."""

from __future__ import annotations

import dgl
import torch

from dgl_mutual.errors import UsageError, unknown

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` means cuda where both torch and DGL can use it.

    Raises:
        UsageError: an unknown device, or cuda where it cannot be used.
    """
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    if name == "cpu":
        return name
    obstacle = _cuda_obstacle()
    if obstacle is None:
        return "cuda"
    if name == "auto":
        return "cpu"
    raise UsageError(f"Device 'cuda' cannot be used: {obstacle} Use --device cpu.")


def _cuda_obstacle() -> str | None:
    if not torch.cuda.is_available():
        return "torch sees no GPU."
    try:
        dgl.graph(([0], [0])).to("cuda")
    except Exception as error:  # DGL raises errors of many kinds here, according to its version
        lines = str(error).strip().splitlines()
        return f"this build of DGL has no CUDA support ({lines[-1] if lines else type(error).__name__})."
    return None
