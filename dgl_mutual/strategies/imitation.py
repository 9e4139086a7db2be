"""Base classes of strategies whose members imitate what others predict."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from torch import Tensor

from dgl_mutual.errors import UsageError
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.options import ExchangeOptions, ImitationOptions, StrategyOptions
from dgl_mutual.strategies.step import Step
from dgl_mutual.utils.custom_code import is_custom


class ImitationStrategy(Strategy, ABC):
    """A strategy whose members imitate what others predict, under `ImitationOptions`.

    Targets are predictions with dropout off, unless other options or `exchange` name another pass.
    """

    Options: ClassVar[type[StrategyOptions]] = ImitationOptions
    options: ImitationOptions

    def imitation(self, step: Step, target: Tensor) -> Tensor:
        """lambda T^2 mean_v KL(t_i(v) || p_i(v)) over the exchange samples, for each active i: (A,).

        Args:
            target: t, probabilities, (A or 1, exchange samples, C).

        Raises:
            UsageError: of a custom strategy: values that are no probabilities.
        """
        if is_custom(self) and not bool(((target >= 0) & (target <= 1 + 1e-4)).all()):
            raise UsageError(
                f"The targets that the strategy {self.name!r} gives to imitation are not probabilities: they go from {target.min():g} to "
                f"{target.max():g}. Of logits, give self.distribution.probabilities(logits, self.options.peers_temperature)."
            )
        own = step.logits[:, step.exchange]
        divergence = self.distribution.divergence(target, own, self.options.temperature).mean(-1)
        step.log["exchange"] = divergence.detach()
        return self.options.scale * step.ramp * divergence


class ExchangeStrategy(ImitationStrategy, ABC):
    """A strategy whose members train side by side and imitate each other, under `ExchangeOptions`."""

    Options: ClassVar[type[StrategyOptions]] = ExchangeOptions
    options: ExchangeOptions
