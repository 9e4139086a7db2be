"""Base of strategies whose students learn from an earlier generation of themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.exchange import Exchange
from dgl_mutual.strategies.imitation import ImitationStrategy
from dgl_mutual.strategies.options import StrategyOptions
from dgl_mutual.strategies.step import Step


class SecondGeneration(ImitationStrategy, ABC):
    """For each student there is a teacher with the same options and weights of its own, which trains first, by the labels alone.

    Teachers end at their best epoch by validation; then they stand still, and the students, drawn anew, learn from them.
    """

    @classmethod
    def extra_members(cls, options: StrategyOptions, students: Sequence[StudentOptions]) -> tuple[tuple[str, StudentOptions], ...]:
        return tuple((f"teacher-{index}", student) for index, student in enumerate(students))

    def phases(self) -> tuple[tuple[int, ...], ...]:
        students = tuple(range(self.setting.num_students))
        return tuple(len(students) + k for k in students), students

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
        """t of each student: (K or 1, N, C), from the probabilities of all teachers (K, N, C)."""
