"""Base of strategies whose students learn from their own earlier predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from dgl_mutual.strategies.exchange import Exchange
from dgl_mutual.strategies.imitation import ImitationStrategy
from dgl_mutual.strategies.options import ImitationOptions
from dgl_mutual.strategies.step import Step


class OwnPredictionsOptions(ImitationOptions):
    """Options of a strategy whose students imitate themselves: they begin late, as those of `gml` do."""

    exchange_warmup: tuple[int, int] | None = None


class OwnPredictions(ImitationStrategy, ABC):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(t_i(v) || p_i(v)), t_i what student i predicted before.

    Students do not exchange anything: a control of what unlabelled samples give without peers.
    """

    Options = OwnPredictionsOptions
    options: OwnPredictionsOptions
    min_students: ClassVar[int] = 1

    @abstractmethod
    def exchange(self) -> Exchange:
        """The exchange with the `Exchange.targets` that name the prediction."""
        return super().exchange()

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        own = step.targets[list(step.active)][:, step.exchange]
        target = self.distribution.probabilities(own, self.options.peers_temperature)
        return {"supervised": self.supervised(step), "consistency": self.imitation(step, target)}
