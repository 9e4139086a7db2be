"""A part of the training samples that is kept from the students, for strategies that must judge them without touching validation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.errors import UsageError
from dgl_mutual.strategies.setting import TrainingSamples


def held_out_samples(training: TrainingSamples, fraction: float, *, seed: int) -> Tensor:
    """Which samples are held out: a boolean mask over all samples, true for round(fraction * training samples) of the training samples.

    Classes are represented in proportion: the samples are drawn at even steps from a random order that is sorted by class. At least
    one sample of each class is not held out.
    """
    mask = np.zeros(training.num_all, dtype=np.bool_)
    order = _by_class(training, seed)
    count = round(fraction * len(order))
    held_out = order[((np.arange(count) + 0.5) * len(order) / max(count, 1)).astype(np.int64)]
    if training.classes is not None:
        _, last_of_class, class_of = np.unique(training.classes[order[::-1]], return_index=True, return_inverse=True)
        is_whole = np.bincount(class_of) == np.bincount(class_of[np.isin(order[::-1], held_out)], minlength=len(last_of_class))
        held_out = np.setdiff1d(held_out, order[::-1][last_of_class[is_whole]])
    mask[training.numbers[held_out]] = True
    return torch.as_tensor(mask)


def left_out_samples(training: TrainingSamples, fraction: float, num_students: int, *, seed: int) -> Tensor:
    """Which samples each student leaves out: a boolean mask (students, samples), true for the student's part of the training samples.

    There are round(1 / fraction) parts, at least two, all of nearly the same size and with the classes in proportion. Student k leaves out
    part k; where there are more students than parts, several leave out the same one. The only sample of a class is in no part.
    """
    num_parts = max(2, round(1 / fraction))
    order = _by_class(training, seed)
    part = np.full(training.num_all, -1)
    part[training.numbers[order]] = np.arange(len(order)) % num_parts
    if training.classes is not None:
        _, first, count = np.unique(training.classes, return_index=True, return_counts=True)
        part[training.numbers[first[count == 1]]] = -1
    return torch.as_tensor(part == np.arange(num_students)[:, None] % num_parts)


def refuse_nothing(mask: Tensor, option: str, other: str) -> None:
    """Refuse an option that judges students on labels that they do not learn from, where there are none.

    Args:
        other: a value of the option that needs no such labels.

    Raises:
        UsageError: nothing is held out.
    """
    if not mask.any():
        raise UsageError(
            f"strategy_options.{option} judges students on training labels that are kept from them, and none can be kept: no class has two "
            f"labels, or strategy_options.held_out is too small. Give more labels, or {option.partition(' = ')[0]} = {other}."
        )


def _by_class(training: TrainingSamples, seed: int) -> IntArray:
    """The places of the training samples in a random order that is sorted by class."""
    order: IntArray = np.random.default_rng(seed).permutation(len(training.numbers))
    return order if training.classes is None else order[np.argsort(training.classes[order], kind="stable")]
