"""Mean teacher: every student follows a moving average of its own weights."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from dgl_mutual.search_space import Categorical, SearchSpace
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.imitation import OwnPredictions, OwnPredictionsOptions


class MeanTeacherOptions(OwnPredictionsOptions):
    """Options of `mean-teacher`."""

    search_space: ClassVar[SearchSpace] = {**OwnPredictionsOptions.search_space, "decay": Categorical((0.9, 0.99, 0.999))}
    decay: float = Field(0.99, ge=0, lt=1)
    """alpha: decay of the moving average of the weights."""


class MeanTeacher(OwnPredictions):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(p(z'_i(v) / T) || p(z_i(v) / T)),

    z'_i the logits of student i with the weights w'_i <- a w'_i + (1 - a) w_i, updated after every step, a = min(1 - 1 / (t + 1), alpha)
    in step t. Students exchange nothing: a control for the gain from unlabelled samples without peers.

    NOTE[PAPER]: the paper's consistency cost is the mean squared error of the probabilities; ours is the divergence of all strategies here.
    NOTE[PAPER]: the paper's teacher sees noise of its own. Ours predicts with dropout off, as targets do everywhere in this package.
    NOTE[PAPER]: as with all strategies, the student itself is evaluated; the average of its weights only with training.average.
    """

    name = "mean-teacher"
    Options = MeanTeacherOptions
    options: MeanTeacherOptions
    citation = Citation(
        title="Mean teachers are better role models",
        authors="Tarvainen, Valpola",
        venue="NeurIPS 2017",
        url="https://arxiv.org/abs/1703.01780",
        formula="CE + lambda T^2 KL(p'_i || p_i), p'_i of the moving average of the weights of student i",
    )

    def exchange(self) -> Exchange:
        return replace(super().exchange(), targets="average", decay=self.options.decay)
