"""A cohort and its training, as resolved options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dgl_mutual.joint import TaskWeights
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.base.options import StrategyOptions
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.options import TrainingOptions


@dataclass(frozen=True, eq=False)
class Method:
    """The options of a resolved configuration that describe a cohort and its training.

    See `dgl_mutual.experiments.configuration.resolve`.

    Attributes:
        students: options of the K students.
        strategy, options: how they teach each other.
        task_weights: how several tasks are weighted.
    """

    students: Sequence[StudentOptions]
    strategy: type[Strategy]
    options: StrategyOptions
    training: TrainingOptions
    task_weights: TaskWeights = "equal"
