"""Knowledge distillation from a teacher that is trained first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import MAX_TEMPERATURE, MIN_TEMPERATURE
from dgl_mutual.search_space import Categorical, SearchSpace
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.imitation import TeachersFirst
from dgl_mutual.strategies.base.options import ImitationOptions, StrategyOptions


class KDOptions(ImitationOptions):
    """Options of `kd`."""

    search_space: ClassVar[SearchSpace] = {**ImitationOptions.search_space, "teacher.hidden": Categorical((64, 128, 256))}
    #: Hinton et al. report 2.5 to 4 for small students and up to 20 for large ones.
    temperature: float = Field(2.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    teacher: StudentOptions = StudentOptions(hidden=256)
    """The teacher's options: architecture, depth, width and so on."""


class KnowledgeDistillation(TeachersFirst):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(p_teacher(v) || p_i(v)).

    The teacher trains first, by CE alone, to its best epoch on validation. Then it is frozen, and its clean logits are kept, so that all
    students share the cost of one teacher. Students exchange nothing.
    """

    name = "kd"
    Options = KDOptions
    options: KDOptions
    min_students: ClassVar[int] = 1
    citation = Citation(
        title="Distilling the Knowledge in a Neural Network",
        authors="Hinton, Vinyals, Dean",
        venue="NeurIPS Deep Learning Workshop 2014",
        url="https://arxiv.org/abs/1503.02531",
        formula="CE + lambda T^2 KL(p_teacher || p_i), teacher trained first",
    )

    @classmethod
    def extra_members(cls, options: StrategyOptions, students: Sequence[StudentOptions]) -> tuple[tuple[str, StudentOptions], ...]:
        assert isinstance(options, KDOptions)
        return (("teacher", options.teacher),)

    def target(self, teachers: Tensor) -> Tensor:
        return teachers
