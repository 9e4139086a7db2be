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
