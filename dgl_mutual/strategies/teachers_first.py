"""Bases of strategies whose students learn from teachers that train first, such as an earlier generation of themselves."""

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


class TeachersFirst(ImitationStrategy, ABC):
    """The members that the strategy adds are teachers, which train first, by the labels alone.

    Teachers end at their best epoch by validation; then they stand still, and the students learn from them.
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
        """t of each student: (K or 1, N, C), from the probabilities of all teachers (teachers, N, C)."""


class SecondGeneration(TeachersFirst, ABC):
    """Each student has a teacher with the same options and other initial weights, which is trained before it."""

    @classmethod
    def extra_members(cls, options: StrategyOptions, students: Sequence[StudentOptions]) -> tuple[tuple[str, StudentOptions], ...]:
        return tuple((f"teacher-{index}", student) for index, student in enumerate(students))
