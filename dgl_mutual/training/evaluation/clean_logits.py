"""Clean logits: what each member predicts in evaluation mode, kept for validation and for the targets of others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dgl_mutual.nn.csr import Rows


class CleanLogits:
    """The latest clean logits of all members on all samples, and what is made of them for targets: what `Exchange.targets` names.

    Args:
        shape: (K, samples, C).
        keeps: whether targets are of earlier epochs.
        decay: of their moving average.

    Attributes:
        latest: (K, samples, C); rows of samples that were never evaluated are zero.
        targets: (K, samples, C): their moving average (ema), those of each member's best epoch so far (best), or the same tensor.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype, *, keeps: bool, decay: float) -> None:
        members, samples, outputs = shape
        # Laid out class by class: softmax and sums over few classes are then ten times as fast on a CPU.
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
        """Move the targets, which are a moving average, towards the latest logits."""
        if self.targets is not self.latest:
            self.targets.lerp_(self.latest, 1.0 - self._decay)

    def keep(self, members: Sequence[int] | None = None) -> None:
        """Copy the latest logits of these members to their targets (default: of all members)."""
        if self.targets is not self.latest:
            rows = slice(None) if members is None else list(members)
            self.targets[rows] = self.latest[rows]

    def of(self, index: Rows) -> Tensor:
        """The targets of these samples: (K, N, C)."""
        return self.targets[:, index]

    def state(self) -> list[Tensor]:
        """What changes in training."""
        return [self.latest] if self.targets is self.latest else [self.latest, self.targets]

    def restore(self, found: Sequence[Tensor]) -> None:
        """Have the logits that `state` gave."""
        for tensor, kept in zip(self.state(), found, strict=True):
            tensor.copy_(kept)  # in place, since sums depend on the layout


def stack(logits: Sequence[Tensor]) -> Tensor:
    """(K, N, C) of K times (N, C), laid out class by class as in `CleanLogits`."""
    return torch.stack([one.t() for one in logits]).transpose(1, 2)
