"""K students that do not learn from each other: the control for every claim, with the same compute."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy


class Independent(Strategy):
    """loss_i = CE(z_i[L], y[L]).

    NOTE: with several targets and ``task_weights: uncertainty`` the students share the learned weights of the targets (see `Joint`), so
    they depend on each other slightly. With the default, equal weights, each student is the same as if trained alone.
    """

    name = "independent"
    min_students: ClassVar[int] = 1
    citation = Citation(
        title="Students trained apart (control)",
        authors="-",
        venue="-",
        url="-",
        formula="CE(z_i[L], y[L])",
    )

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        return {"supervised": self.supervised(step)}
