"""Training samples that students do not learn from, so that a strategy can judge students without validation labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.errors import UsageError
from dgl_mutual.strategies.base.setting import TrainingSamples


def held_out_samples(training: TrainingSamples, fraction: float, *, seed: int) -> Tensor:
    """Hold out round(fraction * n) of the n training samples. Return a boolean mask over all samples, (samples,).

    Classes are held out in proportion: samples are taken at even steps from a random order that is sorted by class. At least one sample of
    each class is kept for training, so that fewer samples are held out where classes are small.
    """
    order = _by_class(training, seed)
    count = round(fraction * len(order))
    held_out = order[((np.arange(count) + 0.5) * len(order) / max(count, 1)).astype(np.int64)]
    if training.classes is not None:
        for label in np.unique(training.classes):
            of_class = order[training.classes[order] == label]
            if np.isin(of_class, held_out).all():
                held_out = np.setdiff1d(held_out, of_class[-1:])
    mask = np.zeros(training.num_all, dtype=np.bool_)
    mask[training.numbers[held_out]] = True
    return torch.as_tensor(mask)


def left_out_samples(training: TrainingSamples, fraction: float, num_students: int, *, seed: int) -> Tensor:
    """Choose the training samples that each student leaves out. Return a boolean mask, (students, samples).

    The training samples are divided into max(2, round(1 / fraction)) parts of nearly equal size, with the classes in proportion. Student k
    leaves out part k modulo the number of parts. The only sample of a class is in no part.
    """
    num_parts = max(2, round(1 / fraction))
    order = _by_class(training, seed)
    part = np.full(training.num_all, -1)
    part[training.numbers[order]] = np.arange(len(order)) % num_parts
    if training.classes is not None:
        _, first, count = np.unique(training.classes, return_index=True, return_counts=True)
        part[training.numbers[first[count == 1]]] = -1
    return torch.as_tensor(part == np.arange(num_students)[:, None] % num_parts)


def check_some_held_out(mask: Tensor, option: str, other: str) -> None:
    """Check that some sample is held out, for an option that judges students on held-out labels.

    Args:
        option: the option and its value, as ``direction = best``.
        other: a value of the option that needs no held-out labels.

    Raises:
        UsageError: no sample is held out.
    """
    if not mask.any():
        raise UsageError(
            f"strategy_options.{option} judges students on training labels that are held out, and none can be: no class has two labels, or "
            f"strategy_options.held_out is too small. Give more labels, or {option.partition(' = ')[0]} = {other}."
        )


def _by_class(training: TrainingSamples, seed: int) -> IntArray:
    """Return the positions of the training samples in random order within each class, one class after another: (n,)."""
    order: IntArray = np.random.default_rng(seed).permutation(len(training.numbers))
    return order if training.classes is None else order[np.argsort(training.classes[order], kind="stable")]
