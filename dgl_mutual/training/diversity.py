"""Diversity of the predictions and of the hidden layers of a cohort during training."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from dgl_mutual.nn.module import StudentOutput
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.evaluation.similarity import disagreement, linear_cka
from dgl_mutual.training.state import TrainingState

#: Number of compared rows: enough for a steady CKA of layers up to some hundred wide, few enough to cost next to nothing.
NUM_ROWS = 512


class Diversity(Callback):
    """Adds ``diversity/disagreement`` and ``diversity/cka/<a>/<b>`` to the history, from the clean passes over some validation samples.

    It uses only the features of validation samples, never their labels.
    """

    def __init__(self) -> None:
        self._predictions: dict[int, Tensor] = {}
        self._embeddings: dict[int, Tensor] = {}

    def on_fit_begin(self, state: TrainingState) -> None:
        val = torch.as_tensor(state.split.val)
        rows = val[torch.randperm(len(val), generator=state.trial_seed.generator("diversity"))[:NUM_ROWS]].sort().values
        self._num_rows = len(rows)
        #: The row of each compared sample; -1 for all other samples.
        self._slots = torch.full((state.dataset.num_samples,), -1, device=state.clean.device)
        self._slots[rows.to(state.clean.device)] = torch.arange(len(rows), device=state.clean.device)

    def on_evaluation_batch(self, state: TrainingState, member: int, samples: Tensor, output: StudentOutput) -> None:
        if member >= state.cohort.num_students:
            return
        slots = self._slots[samples]
        is_compared = slots >= 0
        predictions = state.cohort.distribution.predictions(output.logits)
        for rows, values in ((self._predictions, predictions), (self._embeddings, output.embedding)):
            if member not in rows:
                rows[member] = values.new_zeros(self._num_rows, *values.shape[1:])
            rows[member][slots[is_compared]] = values[is_compared]

    def on_epoch_end(self, state: TrainingState) -> None:
        members = sorted(self._predictions)
        if state.validation is None or len(members) < 2:
            return
        row, names = state.history[-1], state.cohort.names
        row["diversity/disagreement"] = disagreement(torch.stack([self._predictions[k] for k in members]))
        for a, b in combinations(members, 2):
            row[f"diversity/cka/{names[a]}/{names[b]}"] = linear_cka(self._embeddings[a], self._embeddings[b])

    def state_dict(self) -> dict[str, Any]:
        return {
            name: {str(member): values for member, values in rows.items()}
            for name, rows in (("predictions", self._predictions), ("embeddings", self._embeddings))
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._predictions, self._embeddings = (
            {int(member): values.to(self._slots.device) for member, values in state[name].items()} for name in ("predictions", "embeddings")
        )
