"""A part of the training samples that is kept from the students, for strategies that must judge them without touching validation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset, Split


def held_out_samples(dataset: Dataset, split: Split, share: float, *, seed: int) -> Tensor:
    """Which samples are held out: a boolean mask (samples,), true for round(share * training samples) of the training samples.

    Single-label classes are represented in proportion: the samples are drawn at even steps from a random order that is sorted by class.
    """
    mask = np.zeros(dataset.num_samples, dtype=np.bool_)
    order = np.random.default_rng(seed).permutation(split.train)
    if dataset.target.kind == "single-label":
        order = order[np.argsort(dataset.labels[order], kind="stable")]
    count = round(share * len(order))
    mask[order[((np.arange(count) + 0.5) * len(order) / max(count, 1)).astype(np.int64)]] = True
    return torch.as_tensor(mask)
