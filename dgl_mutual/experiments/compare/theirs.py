"""The reference's side of a comparison. Nothing here needs DGL, so that what the reference costs is not measured with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dgl_mutual.data.dataset import Dataset, Split
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.reference.trainer import ReferenceTrainer
from dgl_mutual.training import seeds

if TYPE_CHECKING:
    from dgl_mutual.experiments.compare.ours import StartingPoint
    from dgl_mutual.experiments.trial import Trial


def make_reference(
    config: RunConfig, dataset: Dataset, split: Split, *, seed: int, fold: int, dtype: torch.dtype = torch.float32
) -> ReferenceTrainer:
    """The reference of a resolved configuration, with weights of its own and our order of the training graphs."""
    return ReferenceTrainer(
        dataset,
        split,
        students=config.students,
        strategy=config.strategy,
        strategy_options=config.strategy_options,
        training=config.training,
        order=seeds.generator(seed, "order", fold),
        dtype=dtype,
    )


def reference_from(
    start: StartingPoint, trial: Trial, config: RunConfig, dataset: Dataset, dtype: torch.dtype = torch.float32
) -> ReferenceTrainer:
    """The reference at the weights that ours starts from."""
    reference = make_reference(config, dataset, trial.split, seed=trial.seed, fold=trial.fold, dtype=dtype)
    *students, coordinator = start.by_owner(start.values)
    reference.load(students, coordinator)
    return reference
