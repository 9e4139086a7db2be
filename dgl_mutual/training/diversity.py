"""Diversity of a cohort during training: of predictions, and of hidden layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from dgl_mutual.data.split import Split
from dgl_mutual.distributions import Distribution
from dgl_mutual.nn.module import StudentOutput
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.similarity import disagreement, linear_cka
from dgl_mutual.training.state import TrainingState

#: Rows that are compared: enough for a steady CKA of layers up to some hundred wide, few enough to cost next to nothing.
NUM_ROWS = 512


class Diversity(Callback):
    """Adds ``diversity/disagreement`` and ``diversity/cka/<a>/<b>`` to the history, from the clean passes over some validation samples.

    Only features of validation samples are looked at, never their labels.
    """

    def __init__(
        self,
        names: Sequence[str],
        split: Split,
        num_samples: int,
        distribution: Distribution,
        *,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.names = names
        self.distribution = distribution
        val = torch.as_tensor(split.val)
        rows = val[torch.randperm(len(val), generator=generator)[:NUM_ROWS]].sort().values
        self._slots = torch.full((num_samples,), -1, device=device)
        self._slots[rows.to(device)] = torch.arange(len(rows), device=device)
        self._num_rows = len(rows)
        self._device = device
        self._predictions: dict[int, Tensor] = {}
        self._embeddings: dict[int, Tensor] = {}

    def on_evaluation_batch(self, state: TrainingState, member: int, samples: Tensor, output: StudentOutput) -> None:
        self.observe(member, samples, output.logits, output.embedding)

    def on_epoch_end(self, state: TrainingState) -> None:
        if state.validation is not None:
            state.history[-1].update(self.measure())

    def observe(self, member: int, samples: Tensor, logits: Tensor, embeddings: Tensor) -> None:
        """Take in one batch of a clean pass: samples (N,), logits (N, C), embeddings (N, width)."""
        if member >= len(self.names):
            return
        slots = self._slots[samples]
        seen = slots >= 0
        for kept, values in ((self._predictions, self.distribution.predictions(logits)), (self._embeddings, embeddings)):
            if member not in kept:
                kept[member] = values.new_zeros(self._num_rows, *values.shape[1:])
            kept[member][slots[seen]] = values[seen]

    def measure(self) -> dict[str, float]:
        """The columns of the students that have been observed."""
        members = sorted(self._predictions)
        if len(members) < 2:
            return {}
        row = {"diversity/disagreement": disagreement(torch.stack([self._predictions[k] for k in members]))}
        for a, b in combinations(members, 2):
            row[f"diversity/cka/{self.names[a]}/{self.names[b]}"] = linear_cka(self._embeddings[a], self._embeddings[b])
        return row

    def state_dict(self) -> dict[str, Any]:
        return {
            name: {str(member): values for member, values in kept.items()}
            for name, kept in (("predictions", self._predictions), ("embeddings", self._embeddings))
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._predictions, self._embeddings = (
            {int(member): values.to(self._device) for member, values in state[name].items()} for name in ("predictions", "embeddings")
        )
