"""How far the members of a cohort are apart: in what they predict, and in what their hidden layers represent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from dgl_mutual.data.dataset import Split
from dgl_mutual.distributions import Distribution

#: Rows that are compared: enough for a steady CKA of layers up to some hundred wide, few enough to cost next to nothing.
NUM_ROWS = 512


def disagreement(decisions: Tensor) -> float:
    """Share of samples (or of a sample's labels) on which two members decide differently, averaged over all pairs: decisions (K, ...).

    NaN of one member.
    """
    pairs = list(combinations(range(len(decisions)), 2))
    if not pairs:
        return math.nan
    return float(torch.stack([(decisions[a] != decisions[b]).double().mean() for a, b in pairs]).mean())


def linear_cka(x: Tensor, y: Tensor) -> float:
    """|Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F) of centred X (rows, F_x) and Y (rows, F_y).

    It is 1 for the same up to rotation and scale, 0 for unrelated, NaN where one of them is constant.

    Source: Kornblith et al., ICML 2019, arXiv 1905.00414, eq. 5.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    return float((y.t() @ x).square().sum() / ((x.t() @ x).norm() * (y.t() @ y).norm()))


class DiversityProbe:
    """Keeps what the students' clean passes say about some validation samples, and compares it.

    Only features of validation samples are looked at, never their labels.
    """

    def __init__(
        self, names: Sequence[str], split: Split, num_samples: int, distribution: Distribution, *, generator: torch.Generator
    ) -> None:
        self.names = names
        self.distribution = distribution
        val = torch.as_tensor(split.val)
        rows = val[torch.randperm(len(val), generator=generator)[:NUM_ROWS]].sort().values
        self._slots = torch.full((num_samples,), -1)
        self._slots[rows] = torch.arange(len(rows))
        self._num_rows = len(rows)
        self._decisions: dict[int, Tensor] = {}
        self._embeddings: dict[int, Tensor] = {}

    def observe(self, member: int, samples: Tensor, logits: Tensor, embeddings: Tensor) -> None:
        """Take in one batch of a clean pass: samples (N,), logits (N, C), embeddings (N, width)."""
        if member >= len(self.names):
            return
        slots = self._slots.to(samples.device)[samples]
        seen = slots >= 0
        for kept, values in ((self._decisions, self.distribution.decisions(logits)), (self._embeddings, embeddings)):
            if member not in kept:
                kept[member] = values.new_zeros(self._num_rows, *values.shape[1:])
            kept[member][slots[seen]] = values[seen]

    def measure(self) -> dict[str, float]:
        """``diversity/disagreement`` and ``diversity/cka/<a>/<b>`` of the students that have been observed."""
        members = sorted(self._decisions)
        if len(members) < 2:
            return {}
        row = {"diversity/disagreement": disagreement(torch.stack([self._decisions[k] for k in members]))}
        for a, b in combinations(members, 2):
            row[f"diversity/cka/{self.names[a]}/{self.names[b]}"] = linear_cka(self._embeddings[a], self._embeddings[b])
        return row

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What it has observed, by member."""
        return {
            name: {str(member): values for member, values in kept.items()}
            for name, kept in (("decisions", self._decisions), ("embeddings", self._embeddings))
        }

    def restore(self, state: dict[str, dict[str, Tensor]], device: torch.device) -> None:
        """Have observed what `state` says."""
        self._decisions, self._embeddings = (
            {int(member): values.to(device) for member, values in state[name].items()} for name in ("decisions", "embeddings")
        )
