"""Training of a cohort from options of which some are left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.trial import method_of
from dgl_mutual.joint import TaskWeights
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.distributed.ranks import SINGLE_PROCESS, Ranks
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.seeds import TrialSeed
from dgl_mutual.training.trainer import fit_cohort


def train_cohort(
    dataset: Dataset,
    split: Split,
    *,
    students: Sequence[StudentOptions],
    strategy: str | type[Strategy] = "gml",
    strategy_options: Mapping[str, Any] | None = None,
    training: TrainingOptions | None = None,
    task_weights: TaskWeights | None = None,
    seed: int = 0,
    fold: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    ranks: Ranks = SINGLE_PROCESS,
    **how: Any,
) -> FitResult:
    """`fit_cohort` with the defaults that `dgl_mutual.fit` has on this split.

    A batch size has no effect where a step sees the only graph.

    Args:
        how: the other arguments of `fit_cohort`.
    """
    training = training or TrainingOptions()
    if dataset.task == "node" and dataset.num_graphs == 1 and training.sampler is None:
        training = training.model_copy(update={"batch_size": None})
    given = RunConfig(
        dataset=dataset.name,
        protocol="given",
        students=tuple(students),
        strategy=strategy,
        strategy_options=dict(strategy_options or {}),
        training=training,
        task_weights=task_weights,
    )
    config = resolve(given, dataset, split)
    placement = Placement(torch.device(device), dtype, ranks)
    return fit_cohort(dataset, split, method_of(config), seed=TrialSeed(seed, fold), placement=placement, **how)
