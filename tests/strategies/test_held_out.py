from __future__ import annotations

import numpy as np
import pytest

from dgl_mutual.strategies.base.setting import TrainingSamples
from dgl_mutual.strategies.terms.held_out import held_out_samples, left_out_samples
from dgl_mutual.training.assembly import _classes


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.99])
def test_the_share_of_the_training_samples_and_nothing_else(kind, share):
    numbers = np.arange(5, 25)
    training = TrainingSamples(numbers, numbers % 3 if kind == "single-label" else None, 30)
    mask = held_out_samples(training, share, seed=0).numpy()
    kept_back = 3 if kind == "single-label" and share == 0.99 else 0  # one of each class
    assert mask.sum() == round(share * 20) - kept_back and len(mask) == 30
    assert set(np.flatnonzero(mask)) <= set(numbers)


def test_classes_are_held_out_in_proportion_and_the_seed_chooses():
    classes = np.repeat([0, 1, 2], [15, 10, 5])
    masks = [held_out_samples(TrainingSamples(np.arange(30), classes, 30), 0.4, seed=seed).numpy() for seed in (0, 0, 1)]
    assert np.bincount(classes[masks[0]]).tolist() == [6, 4, 2]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_students_learn_of_every_class(share):
    """With one label in a class, or two."""
    classes = np.array([0, 1, 1, 2, 3, 3, 3])
    training = TrainingSamples(np.arange(10, 17), classes, 20)
    for seed in range(20):
        held_out = held_out_samples(training, share, seed=seed).numpy()[10:17]
        assert set(classes[~held_out]) == {0, 1, 2, 3}
        plain = held_out_samples(TrainingSamples(training.numbers, None, 20), share, seed=seed)
        assert plain.sum() - 4 <= held_out.sum() <= plain.sum() == round(share * 7)
        assert held_out.any() or share == 0.2
        parts = left_out_samples(training, share, 3, seed=seed).numpy()[:, 10:17]
        for left_out in parts:
            assert set(classes[~left_out]) == {0, 1, 2, 3}
        assert not parts[:, [0, 3]].any() and parts[:, [1, 2]].any()


def test_one_binary_label_has_two_classes():
    """So that a rare one is held out in proportion."""
    assert _classes(np.array([[1.0], [0.0], [np.nan]], dtype=np.float32)).tolist() == [1, 0, -1]
    assert _classes(np.array([2, 0, 1])).tolist() == [2, 0, 1]
    assert _classes(np.zeros((3, 2), dtype=np.float32)) is None
