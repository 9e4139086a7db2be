"""Base classes of strategies whose members imitate what others predict."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.exchange import Exchange
from dgl_mutual.strategies.options import ExchangeOptions, ImitationOptions, StrategyOptions
from dgl_mutual.strategies.step import Step


class ImitationStrategy(Strategy, ABC):
    """A strategy whose members imitate what others predict, under `ImitationOptions`. Targets are predictions with dropout off."""

    Options: ClassVar[type[StrategyOptions]] = ImitationOptions
    options: ImitationOptions

    def exchange(self) -> Exchange:
        return Exchange("eval", on=self.options.exchange_on, warmup=self.options.warmup())

    def imitation(self, step: Step, target: Tensor) -> Tensor:
        """lambda T^2 mean_v KL(t_i(v) || p_i(v)) over the exchange samples, for each active i: (A,).

        Args:
            target: t, probabilities, (A or 1, exchange samples, C).
        """
        own = step.logits[:, step.exchange]
        divergence = self.distribution.divergence(target, own, self.options.temperature).mean(-1)
        step.log["exchange"] = divergence.detach()
        return self.options.scale * step.ramp * divergence


class ExchangeStrategy(ImitationStrategy, ABC):
    """A strategy whose members train side by side and imitate each other, under `ExchangeOptions`."""

    Options: ClassVar[type[StrategyOptions]] = ExchangeOptions
    options: ExchangeOptions

    def exchange(self) -> Exchange:
        return replace(super().exchange(), targets=self.options.targets, decay=self.options.ema_decay)
