from __future__ import annotations

import numpy as np
import pytest

from dgl_mutual.data.dataset import Split
from dgl_mutual.training.held_out import held_out_samples
from tests.strategies.cases import make_dataset


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.99])
def test_the_share_of_the_training_samples_and_nothing_else(kind, share):
    dataset = make_dataset("node", kind)
    split = Split(np.arange(5, 25), np.arange(5), np.arange(25, 30))
    mask = held_out_samples(dataset, split, share, seed=0).numpy()
    assert mask.sum() == round(share * 20)
    assert set(np.flatnonzero(mask)) <= set(split.train)


def test_classes_are_held_out_in_proportion_and_the_seed_chooses():
    dataset = make_dataset("node", "single-label")
    dataset.labels[:] = np.repeat([0, 1, 2], [15, 10, 5])
    split = Split(np.arange(30), np.arange(0), np.arange(0))
    masks = [held_out_samples(dataset, split, 0.4, seed=seed).numpy() for seed in (0, 0, 1)]
    assert np.bincount(dataset.labels[masks[0]]).tolist() == [6, 4, 2]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
