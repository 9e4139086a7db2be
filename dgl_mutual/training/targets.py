"""Clean logits: what each member predicts in evaluation mode, kept for validation and for the targets of others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dgl_mutual.nn.csr import Rows


class CleanLogits:
    """The latest clean logits of all members on all samples, and their moving average where a strategy asks for it.

    Attributes:
        latest: (K, samples, C); rows of samples that were never evaluated are zero.
        average: the moving average of them; the same tensor where there is no decay.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype, decay: float | None = None) -> None:
        members, samples, outputs = shape
        # Laid out class by class: softmax and sums over few classes are then ten times as fast on a CPU.
        self.latest = torch.zeros(members, outputs, samples, device=device, dtype=dtype).transpose(1, 2)
        self.average = self.latest if decay is None else self.latest.clone()
        self._decay = decay

    @property
    def device(self) -> torch.device:
        return self.latest.device

    @property
    def dtype(self) -> torch.dtype:
        return self.latest.dtype

    def smooth(self, *, anew: bool = False) -> None:
        """Move the average towards the latest logits, or start it anew from them."""
        if self._decay is not None:
            self.average.lerp_(self.latest, 1.0 if anew else 1.0 - self._decay)

    def of(self, columns: Rows) -> Tensor:
        """The targets of these samples: (K, N, C)."""
        return self.average[:, columns]

    def state(self) -> list[Tensor]:
        """What changes in training."""
        return [self.latest, self.average]

    def restore(self, found: Sequence[Tensor]) -> None:
        """Have the logits that `state` gave.

        Raises:
            ValueError: they are of another shape.
        """
        for tensor, kept in zip(self.state(), found, strict=True):
            if tensor.shape != kept.shape:
                raise ValueError(f"logits of the shape {tuple(kept.shape)}")
            tensor.copy_(kept)  # in place, since sums depend on the layout


def stack(logits: Sequence[Tensor]) -> Tensor:
    """(K, N, C) of K times (N, C), laid out class by class as in `CleanLogits`."""
    return torch.stack([one.t() for one in logits]).transpose(1, 2)
