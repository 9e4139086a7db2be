from __future__ import annotations

import numpy as np
import pytest

from dgl_mutual.strategies.held_out import held_out_samples
from dgl_mutual.strategies.setting import TrainingSamples


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.99])
def test_the_share_of_the_training_samples_and_nothing_else(kind, share):
    numbers = np.arange(5, 25)
    training = TrainingSamples(numbers, numbers % 3 if kind == "single-label" else None, 30)
    mask = held_out_samples(training, share, seed=0).numpy()
    assert mask.sum() == round(share * 20) and len(mask) == 30
    assert set(np.flatnonzero(mask)) <= set(numbers)


def test_classes_are_held_out_in_proportion_and_the_seed_chooses():
    classes = np.repeat([0, 1, 2], [15, 10, 5])
    masks = [held_out_samples(TrainingSamples(np.arange(30), classes, 30), 0.4, seed=seed).numpy() for seed in (0, 0, 1)]
    assert np.bincount(classes[masks[0]]).tolist() == [6, 4, 2]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
