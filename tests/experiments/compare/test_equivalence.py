from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dgl_mutual.experiments.compare.equivalence import compare_pairs

OURS = np.array([0.81, 0.82, 0.80, 0.83, 0.815, 0.79])
THEIRS = np.array([0.812, 0.818, 0.803, 0.829, 0.817, 0.793])


def test_it_equals_scipy() -> None:
    paired = compare_pairs(list(OURS - THEIRS), margin=0.005)
    test = stats.ttest_rel(OURS, THEIRS)
    interval = test.confidence_interval(0.95)
    assert paired.p_difference == pytest.approx(test.pvalue)
    assert (paired.low, paired.high) == pytest.approx((interval.low, interval.high))
    sides = [stats.ttest_1samp(OURS - THEIRS, bound, alternative=way).pvalue for bound, way in ((-0.005, "greater"), (0.005, "less"))]
    assert paired.p_equivalence == pytest.approx(max(sides))
    assert paired.equivalent is True


def test_a_narrow_margin_or_a_large_difference_is_not_equivalent() -> None:
    assert compare_pairs(list(OURS - THEIRS), margin=0.0005).equivalent is False
    assert compare_pairs(list(OURS - THEIRS + 0.1), margin=0.005).equivalent is False


def test_overlapping_folds_widen_everything() -> None:
    plain, folds = (compare_pairs(list(OURS - THEIRS), 0.005, ratio) for ratio in (0.0, 1 / 9))
    assert folds.p_equivalence > plain.p_equivalence and folds.p_difference > plain.p_difference
    assert folds.high - folds.low == pytest.approx((plain.high - plain.low) * math.sqrt(1 + 6 / 9))


def test_one_pair_says_nothing() -> None:
    paired = compare_pairs([0.01], 0.05)
    assert (paired.n, paired.mean, paired.equivalent) == (1, 0.01, None)
    assert math.isnan(paired.p_difference) and math.isnan(paired.low)


@pytest.mark.parametrize("differences", [[0.009, 0.009], [0.0] * 4, [-0.02] * 10, [0.3 - 0.2, 0.2 - 0.1, 0.1]])
def test_equal_differences_say_nothing_of_their_spread(differences: list[float]) -> None:
    paired = compare_pairs(differences, 0.2)
    assert paired.equivalent is None and math.isnan(paired.p_equivalence) and math.isnan(paired.low)
    assert paired.p_difference == 1 if paired.mean == 0 else math.isnan(paired.p_difference)


@pytest.mark.parametrize("differences", [[math.nan] * 3, [0.001, math.nan, 0.002]])
def test_a_difference_that_is_not_a_number_shows_no_equivalence(differences: list[float]) -> None:
    assert compare_pairs(differences, 0.01).equivalent is None
