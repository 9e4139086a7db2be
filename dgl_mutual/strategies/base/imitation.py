"""Base classes of strategies whose members imitate predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.options import ExchangeOptions, ImitationOptions, StrategyOptions
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.utils.custom_code import is_custom


class ImitationStrategy(Strategy, ABC):
    """A strategy whose members imitate the predictions of others, with `ImitationOptions`.

    Targets are predictions with dropout off, unless the options or `exchange` select another pass.
    """

    Options: ClassVar[type[StrategyOptions]] = ImitationOptions
    options: ImitationOptions

    def imitation(self, step: Step, target: Tensor) -> Tensor:
        """lambda T^2 mean_v KL(t_i(v) || p_i(v)) over the exchange samples, for each active i: (A,).

        Args:
            target: t, probabilities, (A or 1, exchange samples, C).

        Raises:
            UsageError: the targets of a custom strategy are not probabilities.
        """
        if is_custom(self) and not bool(((target >= 0) & (target <= 1 + 1e-4)).all()):
            raise UsageError(
                f"The targets that the strategy {self.name!r} gives to imitation are not probabilities: they range from {target.min():g} "
                f"to {target.max():g}. For logits, give self.distribution.probabilities(logits, self.options.peers_temperature)."
            )
        own = step.logits[:, step.exchange]
        divergence = self.distribution.divergence(target, own, self.options.temperature).mean(-1)
        step.log["exchange"] = divergence.detach()
        return self.options.scale * step.ramp * divergence


class ExchangeStrategy(ImitationStrategy, ABC):
    """A strategy whose members train side by side and imitate each other, with `ExchangeOptions`."""

    Options: ClassVar[type[StrategyOptions]] = ExchangeOptions
    options: ExchangeOptions


class OwnPredictionsOptions(ImitationOptions):
    """Options of a strategy whose students imitate their own predictions. The exchange begins late, as in `gml`."""

    exchange_warmup: tuple[int, int] | None = None


class OwnPredictions(ImitationStrategy, ABC):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(t_i(v) || p_i(v)), t_i an earlier prediction of student i.

    Students exchange nothing: a control for the gain from unlabelled samples without peers.
    """

    Options = OwnPredictionsOptions
    options: OwnPredictionsOptions
    min_students: ClassVar[int] = 1

    @abstractmethod
    def exchange(self) -> Exchange:
        """Return the exchange, whose `Exchange.targets` select the prediction."""
        return super().exchange()

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        own = step.targets[list(step.active)][:, step.exchange]
        target = self.distribution.probabilities(own, self.options.peers_temperature)
        return {"supervised": self.supervised(step), "consistency": self.imitation(step, target)}


class TeachersFirst(ImitationStrategy, ABC):
    """A strategy that adds teachers, which train first, on labels alone.

    A teacher ends at its best epoch by validation. Then it is frozen, and the students learn from it.
    """

    def phases(self) -> tuple[tuple[int, ...], ...]:
        num_students = self.setting.num_students
        return tuple(range(num_students, len(self.setting.members))), tuple(range(num_students))

    def exchange(self) -> Exchange:
        return replace(super().exchange(), targets="frozen")

    def learns_from_others(self, active: Sequence[int]) -> bool:
        return 0 in active

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        terms = {"supervised": self.supervised(step)}
        if self.learns_from_others(step.active):
            teachers = step.targets[self.setting.num_students :, step.exchange]
            target = self.target(self.distribution.probabilities(teachers, self.options.peers_temperature))
            terms["distillation"] = self.imitation(step, target)
        return terms

    @abstractmethod
    def target(self, teachers: Tensor) -> Tensor:
        """Compute t of each student, (K or 1, N, C), from the probabilities of all teachers, (teachers, N, C)."""


class SecondGeneration(TeachersFirst, ABC):
    """A strategy in which each student has a teacher with the same options and other initial weights."""

    @classmethod
    def extra_members(cls, options: StrategyOptions, students: Sequence[StudentOptions]) -> tuple[tuple[str, StudentOptions], ...]:
        return tuple((f"teacher-{index}", student) for index, student in enumerate(students))
