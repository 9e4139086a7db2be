"""Self-distillation: a second generation of each student learns from the first, which is of the same kind."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.imitation import SecondGeneration


class SelfDistillation(SecondGeneration):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(p'_i(v) || p_i(v)),

    p'_i the prediction of a student with the same options that was trained first, by CE alone. Students exchange nothing: a control for
    learning from a teacher of the same kind. It takes about twice the time of `independent`.

    NOTE[PAPER]: this is the first of the paper's generations, with labels; the paper trains further ones.
    """

    name = "self-distillation"
    min_students: ClassVar[int] = 1
    citation = Citation(
        title="Born-Again Neural Networks",
        authors="Furlanello, Lipton, Tschannen, Itti, Anandkumar",
        venue="ICML 2018",
        url="https://arxiv.org/abs/1805.04770",
        formula="CE + lambda T^2 KL(p'_i || p_i), p'_i a student of the same kind, trained first",
    )

    def target(self, teachers: Tensor) -> Tensor:
        return teachers
