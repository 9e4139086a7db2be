"""The reference's side of a comparison. Nothing here needs DGL, so that what the reference costs is not measured with it."""

from __future__ import annotations

import torch

from dgl_mutual.data.dataset import Dataset, Split
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.reference.trainer import ReferenceTrainer
from dgl_mutual.training import seeds


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
