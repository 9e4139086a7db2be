"""A part of the training samples that is kept from the students, for strategies that must judge them without touching validation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.strategies.setting import TrainingSamples


def held_out_samples(training: TrainingSamples, share: float, *, seed: int) -> Tensor:
    """Which samples are held out: a boolean mask over all samples, true for round(share * training samples) of the training samples.

    Classes are represented in proportion: the samples are drawn at even steps from a random order that is sorted by class.
    """
    mask = np.zeros(training.num_all, dtype=np.bool_)
    order = np.random.default_rng(seed).permutation(len(training.numbers))
    if training.classes is not None:
        order = order[np.argsort(training.classes[order], kind="stable")]
    count = round(share * len(order))
    mask[training.numbers[order[((np.arange(count) + 0.5) * len(order) / max(count, 1)).astype(np.int64)]]] = True
    return torch.as_tensor(mask)


def left_out_samples(training: TrainingSamples, share: float, num_students: int, *, seed: int) -> Tensor:
    """Which samples each student leaves out: a boolean mask (students, samples), true for the student's part of the training samples.

    There are round(1 / share) parts, at least two, all of nearly the same size and with the classes in proportion. Student k leaves out
    part k; where there are more students than parts, several leave out the same one.
    """
    num_parts = max(2, round(1 / share))
    order = np.random.default_rng(seed).permutation(len(training.numbers))
    if training.classes is not None:
        order = order[np.argsort(training.classes[order], kind="stable")]
    part = np.full(training.num_all, -1)
    part[training.numbers[order]] = np.arange(len(order)) % num_parts
    return torch.as_tensor(part == np.arange(num_students)[:, None] % num_parts)
