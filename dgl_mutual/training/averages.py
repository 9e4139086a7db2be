"""Moving averages of members' weights, whose predictions are the targets of `mean-teacher`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.student import AnyStudent


class WeightAverages:
    """w' <- a w' + (1 - a) w for each member, a = min(1 - 1 / (t + 1), decay) in step t, so that first weights do not stay in it for long.

    Buffers, running statistics of batch norm among them, are averaged as weights are. Source: Tarvainen and Valpola, NeurIPS 2017, and
    their code.
    """

    def __init__(self, members: Sequence[AnyStudent], decay: float) -> None:
        self._members = members
        self._decay = decay
        self._averaged: dict[int, AveragedModel] = {}

    def restart(self, members: Iterable[int]) -> None:
        """Begin anew, from the present weights of these members."""
        for k in members:
            self._averaged[k] = AveragedModel(self._members[k], multi_avg_fn=self._average, use_buffers=True).eval()

    def update(self, members: Iterable[int]) -> None:
        """Take in the weights of these members after a step."""
        for k in members:
            self._averaged[k].update_parameters(self._members[k])

    @torch.no_grad()
    def logits(self, member: int, batch: Batch) -> Tensor:
        """What the averaged weights of a member predict on a batch, in evaluation mode: (N, C)."""
        return cast("AnyStudent", self._averaged[member].module).forward_batch(batch).logits

    def state(self) -> dict[str, Any]:
        """What must be kept to resume."""
        return {str(k): averaged.state_dict() for k, averaged in self._averaged.items()}

    def restore(self, found: Mapping[str, Any]) -> None:
        """Take back what `state` gave, for the members that it has averages of."""
        self.restart(int(k) for k in found)
        for k, kept in found.items():
            self._averaged[int(k)].load_state_dict(kept)

    def _average(self, averaged: Any, current: Any, steps: Any) -> None:
        decay = min(1 - 1 / (int(steps) + 1), self._decay)
        get_ema_multi_avg_fn(decay)(averaged, current, steps)  # type: ignore[no-untyped-call]  # torch's own gap
