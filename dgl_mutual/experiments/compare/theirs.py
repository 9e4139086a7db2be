"""The reference's side of a comparison. Does not import DGL, whose cost would be measured with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.reference.trainer import ReferenceResult, ReferenceTrainer
from dgl_mutual.training import seeds


def make_reference(
    config: RunConfig,
    dataset: Dataset,
    split: Split,
    *,
    seed: int,
    fold: int,
    dtype: torch.dtype = torch.float32,
    weights: Sequence[Mapping[str, Tensor]] | None = None,
) -> ReferenceTrainer:
    """Make the reference of a resolved configuration, with our order of the training graphs.

    Args:
        weights: weights of each student in the reference's layout, then of the coordinator (default: the reference's own).
    """
    reference = ReferenceTrainer(
        dataset,
        split,
        students=config.students,
        strategy=str(config.strategy),
        strategy_options=config.strategy_options,
        training=config.training,
        order=seeds.generator(seed, "order", fold),
        dtype=dtype,
    )
    if weights is not None:
        *students, coordinator = weights
        reference.load(students, coordinator)
    return reference


#: The reference of this process, once `start` has made it.
_trainer: ReferenceTrainer | None = None


def start(
    weights: Sequence[Mapping[str, NDArray[np.floating]]],
    config: RunConfig,
    dataset: Dataset,
    split: Split,
    seed: int,
    fold: int,
    threads: int,
) -> None:
    """Make the reference of this process, with these starting weights of the students and the coordinator."""
    global _trainer
    torch.set_num_threads(threads)
    tensors = [{name: torch.as_tensor(value) for name, value in group.items()} for group in weights]
    _trainer = make_reference(config, dataset, split, seed=seed, fold=fold, weights=tensors)
    torch.manual_seed(seeds.derive(seed, "reference", fold))


def train(epochs: int, clock: Callable[[], float]) -> tuple[list[float], bool]:
    """Train up to `epochs` epochs, and return the seconds of each with its evaluation, and whether training has stopped."""
    assert _trainer is not None
    seconds: list[float] = []
    while len(seconds) < epochs and not _trainer.stopped:
        started = clock()
        _trainer.train_epoch()
        _trainer.evaluate()
        seconds.append(clock() - started)
    return seconds, _trainer.stopped


def results() -> list[ReferenceResult]:
    """The results of this process's reference."""
    assert _trainer is not None
    return _trainer.results()
