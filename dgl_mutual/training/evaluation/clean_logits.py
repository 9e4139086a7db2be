"""Clean logits: predictions of each member in evaluation mode, kept for validation and for targets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dgl_mutual.nn.csr import Rows


class CleanLogits:
    """The latest clean logits of all members on all samples, and the targets computed from them.

    Args:
        shape: (K, samples, C).
        keeps: whether targets also depend on earlier epochs.
        decay: decay of the moving average.

    Attributes:
        latest: (K, samples, C); rows of samples that were never evaluated are zero.
        targets: (K, samples, C): moving average (ema), logits of each member's best epoch so far (best), or the tensor `latest` itself.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype, *, keeps: bool, decay: float) -> None:
        members, samples, outputs = shape
        # Class by class in memory: softmax and sums over few classes are then ten times as fast on a CPU.
        self.latest = torch.zeros(members, outputs, samples, device=device, dtype=dtype).transpose(1, 2)
        self.targets = self.latest.clone() if keeps else self.latest
        self._decay = decay

    @property
    def device(self) -> torch.device:
        return self.latest.device

    @property
    def dtype(self) -> torch.dtype:
        return self.latest.dtype

    def smooth(self) -> None:
        """Update the moving average with the latest logits."""
        if self.targets is not self.latest:
            self.targets.lerp_(self.latest, 1.0 - self._decay)

    def keep(self, members: Sequence[int] | None = None) -> None:
        """Copy the latest logits of these members to their targets (default: all members)."""
        if self.targets is not self.latest:
            rows = slice(None) if members is None else list(members)
            self.targets[rows] = self.latest[rows]

    def of(self, index: Rows) -> Tensor:
        """Return the targets of these samples: (K, N, C)."""
        return self.targets[:, index]

    def state(self) -> list[Tensor]:
        """Return the tensors that change in training."""
        return [self.latest] if self.targets is self.latest else [self.latest, self.targets]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Restore from `state()`."""
        for tensor, saved in zip(self.state(), state, strict=True):
            tensor.copy_(saved)  # in place, since sums depend on the layout


def stack(logits: Sequence[Tensor]) -> Tensor:
    """Stack K tensors (N, C) to (K, N, C), class by class in memory as in `CleanLogits`."""
    return torch.stack([of_member.t() for of_member in logits]).transpose(1, 2)
