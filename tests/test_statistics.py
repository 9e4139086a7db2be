"""Comparison with published worked examples and independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC
from statsmodels.stats.multitest import multipletests

from dgl_mutual.statistics import (
    NO_TEST,
    Ranking,
    compare_pairs,
    corrected_resampled_t,
    datasets_to_reject,
    effect_size,
    held_out_ratio,
    holm,
    rank_methods,
    signed_rank,
)

#: Demsar, JMLR 7, 2006, table 6: AUC of C4.5, with m, with cf, with both, on 14 datasets. In the last but one the paper ranks the third
#: before the fourth, which its three digits do not show: a fourth digit does here.
DEMSAR = np.array(
    [
        *([0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967], [0.628, 0.661, 0.654, 0.657]),
        *([0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931], [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625]),
        *([0.775, 0.838, 0.866, 0.875], [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669]),
        *([0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970]),
    ]
)
DEMSAR_METHODS = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
#: Darwin's maize: heights of crossed less self-fertilised plants, the textbook example of the signed-rank test.
MAIZE = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]
few = settings(max_examples=20, deadline=None)
differences = st.lists(st.integers(-6, 6).map(lambda value: value / 100), min_size=2, max_size=9)


def test_the_corrected_t_test_gives_what_scikit_learn_publishes() -> None:
    # Its example "Statistical comparison of models using grid search": 10 x 10 folds, one-sided p = 0.227, uncorrected 0.005.
    features, labels = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (
        cross_val_score(SVC(kernel=kernel, random_state=0), features, labels, scoring="roc_auc", cv=folds) for kernel in ("rbf", "linear")
    )
    assert corrected_resampled_t(rbf - linear, 10 / 90).p / 2 == pytest.approx(0.227, abs=5e-4)
    assert corrected_resampled_t(rbf - linear, 0.0).p / 2 == pytest.approx(0.005, abs=5e-4)


def test_only_trials_that_share_most_training_samples_are_corrected() -> None:
    assert held_out_ratio("nested", 10) == held_out_ratio("nested-inductive", 10) == 1 / 9
    assert held_out_ratio("holdout", 1) == held_out_ratio("holdout-inductive", 1) == 1 / 4
    assert held_out_ratio("splits", 5, 0.4) == held_out_ratio("splits-transductive", 5, 0.4) == 0.4 and math.isnan(
        held_out_ratio("splits", 5)
    )
    assert {held_out_ratio(protocol, 1) for protocol in ("public", "scaffold", "random", "given", "random-transductive")} == {None}


def test_the_corrected_t_test_by_hand() -> None:
    # mean 0.02, variance 0.00025 (ddof = 1), five folds: t = 0.02 / sqrt((1/5 + 1/4) * 0.00025) = 1.88562, 4 degrees of freedom.
    test = corrected_resampled_t([0.0, 0.01, 0.02, 0.03, 0.04], 1 / 4)
    assert test.p == pytest.approx(2 * stats.t.sf(1.885618, 4), abs=1e-6)
    assert (test.low, test.high) == pytest.approx((0.02 - 2.776445 * 0.0106066, 0.02 + 2.776445 * 0.0106066), abs=1e-6)
    assert test.smallest_p == 0


@few
@given(differences.filter(lambda values: np.ptp(values) > 0))
def test_without_overlap_the_corrected_t_test_is_students(values: list[float]) -> None:
    ours, theirs = corrected_resampled_t(values, 0.0), stats.ttest_1samp(values, 0.0)
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()), abs=1e-9)


@few
@given(differences.filter(lambda values: np.ptp(np.round(values, 12)) > 0), st.floats(0.01, 1))
def test_overlap_never_makes_a_difference_more_significant(values: list[float], test_to_train: float) -> None:
    assert corrected_resampled_t(values, test_to_train).p >= corrected_resampled_t(values, 0.0).p - 1e-12


def test_equal_differences_say_nothing_of_their_spread() -> None:
    assert corrected_resampled_t([0.1] * 4, 1 / 3) == NO_TEST
    # 0.3 - 0.2 and 0.2 - 0.1 differ in their last bits.
    assert corrected_resampled_t([0.3 - 0.2, 0.2 - 0.1, 0.1], 1 / 2) == NO_TEST
    for none in (corrected_resampled_t([0.0] * 6, 1 / 5), signed_rank([0.0] * 6)):
        assert none.p == 1 and math.isnan(none.low) and math.isnan(none.high)
    assert math.isnan(signed_rank([0.1] * 6).low)


@pytest.mark.parametrize("values", [[], [0.1]])
def test_fewer_than_two_pairs_are_no_test(values: list[float]) -> None:
    for test in (corrected_resampled_t(values, 0.1), signed_rank(values)):
        assert test.name == "none"
        assert math.isnan(test.p)
    assert math.isnan(effect_size(values))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize(
    "others", [[0.1, 0.2, 0.3], [0.1] * 3, [0.0] * 3, np.linspace(0.1, 0.2, 6).tolist(), np.linspace(-0.1, 0.2, 20).tolist()]
)
def test_results_of_values_that_are_not_finite_are_undefined(wrong: float, place: int, others: list[float]) -> None:
    values = [*others[:place], wrong, *others[place:]]
    assert signed_rank(values) == corrected_resampled_t(values, 0.1) == NO_TEST
    assert math.isnan(effect_size(values))
    scores = np.random.default_rng(0).random((6, 3))
    scores[place, 1] = wrong
    ranking = rank_methods(scores, ["a", "b", "c"])
    assert all(map(math.isnan, (*ranking.ranks.values(), ranking.p, ranking.critical_difference))) and ranking.groups == []
    assert holm([wrong, 0.03, 0.01]) == pytest.approx([math.nan, 0.03, 0.02], nan_ok=True)


@pytest.mark.parametrize("ratio", [-0.5, math.nan, math.inf])
def test_an_impossible_ratio_of_test_to_training_samples_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"not a ratio of numbers of samples\. For k folds it is 1 / \(k - 1\)"):
        corrected_resampled_t([0.1, 0.2, 0.3], ratio)


def test_the_signed_rank_test_on_darwins_maize() -> None:
    # W = 96 of 120: p = 0.0413 two-sided (Wilcoxon's table).
    assert signed_rank(MAIZE).p == pytest.approx(0.041259765625)


@few
@given(differences.filter(lambda values: sum(map(bool, values)) > 1))
def test_the_signed_rank_test_is_exact_with_ties_and_zeros(values: list[float]) -> None:
    nonzero = [round(value, 12) for value in values if value]
    exact = stats.PermutationMethod(n_resamples=2 ** len(nonzero))
    assert signed_rank(values).p == pytest.approx(stats.wilcoxon(nonzero, method=exact).pvalue)


def test_the_signed_rank_test_is_exact_with_many_ties() -> None:
    # All ranks are 7.5, so as many pairs agree as 14 throws of a coin: 3 or fewer, or 11 or more.
    assert signed_rank([0.001] * 11 + [-0.001] * 3).p == pytest.approx(stats.binomtest(3, 14).pvalue)
    assert signed_rank([0.001] * 70 + [-0.001] * 110).p == pytest.approx(stats.binomtest(70, 180).pvalue)
    values = [0.01, 0.01, -0.01, 0.02, 0.02, -0.02, 0.02, 0.03, 0.03, 0.03, -0.04, 0.05, 0.05, 0.06]
    assert signed_rank(values).p == pytest.approx(stats.wilcoxon(values, method=stats.PermutationMethod(n_resamples=2**14)).pvalue)


@pytest.mark.parametrize("n", [14, 50, 120])
def test_the_signed_rank_test_without_ties_is_scipys(n: int) -> None:
    values = np.random.default_rng(n).normal(0.02, 0.1, n)
    assert signed_rank(values).p == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


@pytest.mark.parametrize("n", [2, 5, 10, 13, 20])
def test_the_smallest_p_is_what_pairs_that_all_agree_give(n: int) -> None:
    test = signed_rank(np.linspace(0.1, 0.2, n))
    assert test.p == test.smallest_p == 2 / 2**n
    assert signed_rank(-np.linspace(0.1, 0.2, n)).p == test.p
    assert signed_rank([0.0, *np.linspace(0.1, 0.2, n)]).smallest_p == 2 / 2 ** (n + 1)


def test_fewer_pairs_than_can_reject_have_no_interval() -> None:
    few, enough = [0.01, 0.02, 0.03, 0.02, 0.01], [0.01, 0.02, 0.03, 0.02, 0.01, 0.02]
    assert math.isnan(signed_rank(few).low) and math.isnan(signed_rank(few).high) and signed_rank(few).smallest_p > 0.05
    assert signed_rank(enough).low > 0 and signed_rank(enough).smallest_p < 0.05
    assert math.isnan(signed_rank([*few, 0.0, 0.0]).low), "pairs without a difference say nothing"


def test_the_interval_over_seeds_is_students() -> None:
    values = np.random.default_rng(3).normal(0.02, 0.05, 10)
    test = signed_rank(values)
    assert (test.low, test.high) == pytest.approx(stats.t.interval(0.95, 9, values.mean(), stats.sem(values)))


def test_95_percent_of_the_intervals_of_ten_seeds_cover_the_mean() -> None:
    tests = [signed_rank(values) for values in np.random.default_rng(0).normal(1, 1, (1000, 10))]
    assert np.mean([test.low <= 1 <= test.high for test in tests]) == pytest.approx(0.95, abs=0.02)


def test_the_effect_size_by_hand() -> None:
    assert effect_size([1.0, 2.0, 3.0]) == pytest.approx(2.0)
    assert effect_size([-1.0, -2.0, -3.0]) == pytest.approx(-2.0)
    assert math.isnan(effect_size([0.1] * 3))  # whose mean is not 0.1 in floating point


@few
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(values: list[float]) -> None:
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])


def test_holm_on_demsars_example() -> None:
    # Section 3.2.2: three variants against C4.5, p = .016, .019, .607; the first two are rejected at .05, the third is not.
    assert holm([0.016, 0.019, 0.607]) == pytest.approx([0.048, 0.048, 0.607])


def test_undefined_p_values_do_not_count_as_comparisons() -> None:
    assert holm([math.nan, 0.03, math.nan, 0.01]) == pytest.approx([math.nan, 0.03, math.nan, 0.02], nan_ok=True)
    assert len(holm([])) == 0


def test_ranks_and_critical_difference_on_demsars_example() -> None:
    ranking = rank_methods(DEMSAR, DEMSAR_METHODS)
    assert [round(rank, 3) for rank in ranking.ranks.values()] == [3.143, 2.0, 2.893, 1.964]
    assert ranking.num_datasets == 14
    assert ranking.critical_difference == pytest.approx(1.25, abs=0.005)
    # At 5 % even the best and the worst are not told apart (figure 1a is drawn at 10 %).
    assert ranking.groups == [["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]]


def test_friedmans_statistic_on_demsars_example() -> None:
    # Demsar gives chi2 = 9.28 and F = 3.69 without regard to ties; the test here divides by Friedman's correction for them.
    ranking = rank_methods(DEMSAR, DEMSAR_METHODS)
    sizes = [np.unique(row, return_counts=True)[1] for row in DEMSAR]
    ties = 1 - sum(int((size**3 - size).sum()) for size in sizes) / (14 * 4 * (4**2 - 1))
    chi2 = float(stats.chi2.isf(ranking.p, 3)) * ties
    assert chi2 == pytest.approx(9.28, abs=0.005)
    assert 13 * chi2 / (14 * 3 - chi2) == pytest.approx(3.69, abs=0.005)


@pytest.mark.parametrize(("methods", "quantile"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_differences_follow_demsars_table(methods: int, quantile: float) -> None:
    scores = np.random.default_rng(0).random((6, methods))
    expected = quantile * math.sqrt(methods * (methods + 1) / 36)
    assert rank_methods(scores, [str(index) for index in range(methods)]).critical_difference == pytest.approx(expected, rel=5e-4)


def test_groups_are_the_largest_within_the_critical_difference() -> None:
    ranking = Ranking({"d": 4.0, "a": 1.0, "c": 2.4, "b": 1.8}, 10, 0.01, 1.5)
    assert ranking.groups == [["a", "b", "c"]]
    assert Ranking(ranking.ranks, 10, 0.01, 1.7).groups == [["a", "b", "c"], ["c", "d"]]
    assert Ranking(ranking.ranks, 10, 0.01, 0.1).groups == []


def test_two_methods_or_one_dataset_are_ranked_and_not_tested() -> None:
    for scores in (np.array([[0.1, 0.2], [0.2, 0.3]]), np.array([[0.1, 0.3, 0.2]])):
        ranking = rank_methods(scores, ["a", "b", "c"][: scores.shape[1]])
        assert ranking.ranks["a"] == scores.shape[1]
        assert math.isnan(ranking.p)
        assert math.isnan(ranking.critical_difference)


def test_without_datasets_or_with_one_method_there_is_nothing_to_rank() -> None:
    none = rank_methods(np.empty((0, 3)), ["a", "b", "c"])
    assert list(none.ranks) == ["a", "b", "c"] and none.groups == [] and math.isnan(none.ranks["a"]) and math.isnan(none.p)
    alone = rank_methods(np.array([[0.5], [0.7]]), ["a"])
    assert alone.ranks == {"a": 1} and math.isnan(alone.p) and alone.groups == []


@pytest.mark.parametrize("methods", [-1, 0, 1])
def test_fewer_than_two_methods_cannot_differ(methods: int) -> None:
    with pytest.raises(ValueError, match=f"Ranks of {methods} methods cannot differ"):
        datasets_to_reject(methods)


def test_two_methods_need_four_datasets() -> None:
    # Friedman's statistic is at most N, of chi^2 with one degree of freedom: 3.84. Nemenyi's difference is 1.96 / sqrt(N), less than 1.
    assert datasets_to_reject(2) == 4


@pytest.mark.parametrize("methods", range(3, 17))
def test_ranks_can_differ_from_three_datasets_on(methods: int) -> None:
    """With maximal agreement of the scores: every dataset ranks the methods in the same order."""
    needed = datasets_to_reject(methods)
    names = [str(index) for index in range(methods)]
    for number in (needed - 1, needed):
        scores = np.tile(np.arange(methods, dtype=float), (number, 1))
        p = stats.friedmanchisquare(*scores.T).pvalue
        width = stats.studentized_range.ppf(0.95, methods, np.inf) * math.sqrt(methods * (methods + 1) / (12 * number))
        ranking = rank_methods(scores, names)
        if number < needed:
            assert p >= 0.05 or width >= methods - 1
            assert math.isnan(ranking.p) and math.isnan(ranking.critical_difference)
        else:
            assert ranking.p == pytest.approx(p) and p < 0.05
            assert ranking.critical_difference == pytest.approx(width) and width < methods - 1


def test_methods_that_never_differ_share_their_rank() -> None:
    ranking = rank_methods(np.ones((4, 3)), ["a", "b", "c"])
    assert ranking.ranks == {"a": 2, "b": 2, "c": 2}
    assert ranking.p == 1


OURS = np.array([0.81, 0.82, 0.80, 0.83, 0.815, 0.79])
THEIRS = np.array([0.812, 0.818, 0.803, 0.829, 0.817, 0.793])


def test_two_one_sided_tests_equal_scipy() -> None:
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


def test_one_pair_says_nothing_of_equivalence() -> None:
    paired = compare_pairs([0.01], 0.05)
    assert (paired.n, paired.mean, paired.equivalent) == (1, 0.01, None)
    assert math.isnan(paired.p_difference) and math.isnan(paired.low)


@pytest.mark.parametrize("differences", [[0.009, 0.009], [0.0] * 4, [-0.02] * 10, [0.3 - 0.2, 0.2 - 0.1, 0.1]])
def test_equal_differences_show_no_equivalence(differences: list[float]) -> None:
    paired = compare_pairs(differences, 0.2)
    assert paired.equivalent is None and math.isnan(paired.p_equivalence) and math.isnan(paired.low)
    assert paired.p_difference == 1 if paired.mean == 0 else math.isnan(paired.p_difference)


@pytest.mark.parametrize("differences", [[math.nan] * 3, [0.001, math.nan, 0.002]])
def test_a_difference_that_is_not_a_number_shows_no_equivalence(differences: list[float]) -> None:
    assert compare_pairs(differences, 0.01).equivalent is None


def test_scores_that_differ_in_their_last_bit_are_equal() -> None:
    found = rank_methods(np.array([[0.3, 0.1 + 0.2, 0.3]] * 5), ["a", "b", "c"])
    assert found.ranks == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert found.p == pytest.approx(1.0)


def test_methods_at_the_critical_difference_do_not_differ() -> None:
    assert Ranking({"a": 1.0, "b": 1.5}, 10, 0.01, 0.5).groups == [["a", "b"]]
