"""Selection of the best epoch of each member by validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.early_stopping import EarlyStopping
from dgl_mutual.training.state import TrainingState
from dgl_mutual.utils.custom_code import errors_attributed_to


class Selection(Callback):
    """Keeps each member's weights at its best epoch by validation, and the coordinator's at the ensemble's; ends a phase by early stopping.

    With training.average, the average of a member's weights is kept.

    Attributes:
        stoppers: early stopping of each member in the last phase in which it trained.
    """

    def __init__(self, num_members: int, patience: int) -> None:
        self.stoppers = [EarlyStopping(patience) for _ in range(num_members)]
        self._ensemble = EarlyStopping(patience)
        self._patience = patience
        self._best: dict[str, dict[str, Tensor]] = {}

    def on_phase_begin(self, state: TrainingState) -> None:
        phase = state.current
        with errors_attributed_to(f"learns_from_others of the strategy {state.strategy.name!r}", state.strategy):
            learns = bool(state.strategy.learns_from_others(phase.active))
        exchange_start = state.exchange.warmup[0] if learns else 0
        for k in phase.active:
            start = phase.epoch_offset + max(exchange_start, state.averages.first_epoch(k))
            self.stoppers[k] = EarlyStopping(self._patience, start)  # a member that trains again is selected again
        self._ensemble = EarlyStopping(self._patience, max(self.stoppers[k].start for k in phase.active))
        self._best = {}

    @torch.no_grad()
    def on_epoch_end(self, state: TrainingState) -> None:
        if state.validation is None:
            return
        phase, validation, epoch = state.current, state.validation, state.epoch
        trained_here = state.ranks.local(phase.active)
        for k, metric, loss in zip(phase.active, validation.metrics, validation.losses, strict=False):
            if self.stoppers[k].update(epoch, val_metric=metric, val_loss=loss) and k in trained_here:
                self._best[str(k)] = weights_of(state.evaluated_member(k))
        if phase.is_last and self._ensemble.update(epoch, val_metric=validation.metrics[-1], val_loss=validation.losses[-1]):
            self._best["coordinator"] = weights_of(state.cohort.coordinator)
        if all(self.stoppers[k].stopped for k in phase.active):
            state.stop()

    def on_phase_end(self, state: TrainingState) -> None:
        active = state.current.active
        for k in state.ranks.local(active):
            best = self._best.get(str(k))
            state.cohort.members[k].load_state_dict(weights_of(state.evaluated_member(k)) if best is None else best)
        state.ranks.broadcast_weights(state.cohort.members, active)
        if "coordinator" in self._best:
            state.cohort.coordinator.load_state_dict(self._best["coordinator"])

    def at_best(self, members: Sequence[int], epoch: int) -> list[int]:
        """Return the members whose best epoch so far is this one, or that were never validated in this phase."""
        return [k for k in members if self.stoppers[k].best_epoch in (None, epoch)]

    def state_dict(self) -> dict[str, Any]:
        return {"stoppers": [asdict(stopper) for stopper in (*self.stoppers, self._ensemble)], "best": self._best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        *self.stoppers, self._ensemble = (EarlyStopping(**stopper) for stopper in state["stoppers"])
        self._best = dict(state["best"])


def weights_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state of a module."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
