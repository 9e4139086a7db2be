"""Tests of paired differences, and ranks over datasets. Plain arrays in, plain numbers out; the distributions are SciPy's.

For all functions, results of too few values, or of values that are not finite, are undefined: a test is then `NO_TEST`, and a number nan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

Array: TypeAlias = npt.NDArray[np.float64]

#: Maximum number of pairs for an exact signed-rank test; beyond, SciPy's normal approximation is as good.
_EXACT_UP_TO = 200
#: Decimals of differences: equal differences of fractions may differ in their last bits.
_DECIMALS = 12
#: Level of the tests of ranks and of equivalence.
_ALPHA = 0.05


@dataclass(frozen=True)
class PairedTest:
    """Result of a two-sided test of zero mean difference.

    Attributes:
        name: name of the test.
        p: nan if the test is impossible.
        smallest_p: the smallest possible p with this number of pairs; 0 without a bound.
        low, high: 95 % interval of the mean difference by Student's t, with the corrected standard error for the corrected test, and not
            adjusted for other tests; nan if there is none, for example if the differences do not vary.
    """

    name: str
    p: float
    smallest_p: float
    low: float
    high: float


#: Minimum number of pairs with which a signed-rank test can reject at 0.05: the smallest p is 2^(1 - n).
FEWEST_PAIRS = 6
#: Minimum number of folds, or seeds of ``holdout``, for a t-test: with two, the spread is estimated from a single difference.
FEWEST_FOLDS = 3
#: The name of the test for trials that share training samples.
CORRECTED_T = "corrected resampled t-test"
NO_TEST = PairedTest("none", math.nan, math.nan, math.nan, math.nan)


def held_out_ratio(protocol: str, folds: int, test_to_train: float = math.nan) -> float | None:
    """Return n_test / n_train of trials whose training samples overlap, for `corrected_resampled_t`; None if pairs count as independent.

    Two of k folds share most of their training samples, and so do two seeds of ``holdout``, each of which trains and validates on four
    fifths of all samples. Differences of such trials are correlated, and a test that assumes independence rejects too often.
    Seeds of an official split, and of ``random``, which trains on few samples of each class, count as independent. Several official
    splits (``splits``) overlap in an unknown way; they are treated as random splits with their own ratio.

    Args:
        protocol: as in trials.csv, possibly with a suffix: ``holdout-transductive``.
        folds: k; 1 without folds.
        test_to_train: the mean ratio of the trials themselves, used for ``splits``; nan if unknown.
    """
    if protocol.split("-")[0] == "splits":
        return test_to_train
    if folds > 1:
        return 1 / (folds - 1)
    return 1 / 4 if protocol.split("-")[0] == "holdout" else None


def corrected_resampled_t(differences: Sequence[float] | Array, test_to_train: float) -> PairedTest:
    """The corrected resampled t-test (Nadeau and Bengio, Machine Learning 52, 2003), for trials whose training samples overlap.

        t = mean(d) / sqrt((1/n + n_test/n_train) * var(d)), with n - 1 degrees of freedom

    For r times repeated k-fold cross-validation n = k r (Bouckaert and Frank, PAKDD 2004).

    Args:
        differences: shape (n,), one per fold or, with random hold-out splits, per seed.
        test_to_train: n_test / n_train, see `held_out_ratio`; the validation part counts as training, since it is also learned from.

    Raises:
        ValueError: the ratio is negative or not finite.
    """
    if not 0 <= test_to_train < math.inf:
        raise ValueError(f"test_to_train = {test_to_train} is not a ratio of numbers of samples. For k folds it is 1 / (k - 1).")
    d = rounded(differences)
    if not _is_enough(d):
        return NO_TEST
    mean, spread = float(d.mean()), math.sqrt(1 / len(d) + test_to_train) * _spread(d)
    if spread == 0:
        # Accuracies on small folds have few values, so equal differences do not prove a spread of zero.
        return PairedTest(CORRECTED_T, 1.0, 0.0, math.nan, math.nan) if mean == 0 else NO_TEST
    p = 2 * float(stats.t.sf(abs(mean) / spread, len(d) - 1))
    half = spread * float(stats.t.ppf(0.975, len(d) - 1))
    return PairedTest(CORRECTED_T, p, 0.0, mean - half, mean + half)


def signed_rank(differences: Sequence[float] | Array) -> PairedTest:
    """Wilcoxon's signed-rank test, for independent pairs such as seeds. Pairs without a difference are left out.

    It is exact, including ties, up to 200 pairs. The interval is that of Student's t-test, which covers 95 % for ten pairs; a bootstrap
    covers about 90 %. Test and interval can disagree near 0.05, since one uses ranks, the other the mean. With fewer than six nonzero
    differences, there is no interval: the test cannot reject at 0.05, and an interval without zero would contradict it.

    Args:
        differences: shape (n,), one per seed.
    """
    d = rounded(differences)
    if not _is_enough(d):
        return NO_TEST
    nonzero = d[d != 0]
    of_mean = corrected_resampled_t(d, 0.0) if len(nonzero) >= FEWEST_PAIRS else NO_TEST
    smallest = 2.0 ** (1 - len(d))
    if not len(nonzero):
        p = 1.0
    elif len(nonzero) <= _EXACT_UP_TO:
        p = _exact_signed_rank(nonzero)
    else:
        p = float(stats.wilcoxon(nonzero).pvalue)
    return PairedTest("Wilcoxon signed-rank test", p, smallest, of_mean.low, of_mean.high)


def _exact_signed_rank(nonzero: Array) -> float:
    """Share of the 2^n sign assignments whose rank sum is at least as far from its mean.

    SciPy only has the exact distribution without ties; with ties, it enumerates all 2^n. Twice a rank is an integer even with ties, so the
    distribution of the sum can be built up pair by pair.
    """
    ranks = np.rint(2 * stats.rankdata(abs(nonzero))).astype(np.int64)
    shares = np.zeros(ranks.sum() + 1)
    shares[0] = 1
    for rank in ranks:
        swapped = np.zeros_like(shares)
        swapped[rank:] = shares[:-rank]
        shares = (shares + swapped) / 2
    from_mean = abs(2 * np.arange(len(shares)) - ranks.sum())
    return float(shares[from_mean >= abs(2 * ranks[nonzero > 0].sum() - ranks.sum())].sum())


@dataclass(frozen=True)
class Paired:
    """Tests of difference and equivalence of n pairs.

    Attributes:
        mean, low, high: mean difference and its 95 % interval.
        p_difference: p of the two-sided paired t-test of "no difference".
        p_equivalence: p of the two one-sided t-tests of "at least `margin` apart".

    All but `mean` are nan if they are undefined: for a single pair, for equal differences, whose spread is unknown, and if one of them is
    not a number. An exception is `p_difference`, which is 1 if all differences are zero.
    """

    n: int
    mean: float
    low: float
    high: float
    p_difference: float
    p_equivalence: float
    margin: float

    @property
    def equivalent(self) -> bool | None:
        """Whether a difference of `margin` or more is ruled out at 5 %; None if undefined."""
        return None if math.isnan(self.p_equivalence) else self.p_equivalence < _ALPHA


def compare_pairs(differences: Sequence[float], margin: float, test_to_train: float = 0.0) -> Paired:
    """The paired t-test and two one-sided tests (Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987).

    Args:
        differences: one per seed or fold.
        margin: the smallest difference that matters.
        test_to_train: n_test / n_train, for folds and seeds of ``holdout``, whose training samples overlap; increases the standard error
            (Nadeau and Bengio, 2003).
    """
    d = np.asarray(differences, dtype=np.float64)
    mean, n = float(d.mean()), len(d)
    test = corrected_resampled_t(d, test_to_train)
    if math.isnan(test.low):
        return Paired(n, mean, math.nan, math.nan, test.p, math.nan, margin)
    error = math.sqrt((1 / n + test_to_train) * float(d.var(ddof=1)))
    p = float(stats.t.sf((margin - abs(mean)) / error, n - 1))
    return Paired(n, mean, test.low, test.high, test.p, p, margin)


def effect_size(differences: Sequence[float] | Array) -> float:
    """Cohen's d of paired samples: mean difference over its standard deviation (ddof = 1); nan for fewer than two pairs or no spread."""
    d = rounded(differences)
    spread = _spread(d) if _is_enough(d) else 0.0
    return float(d.mean()) / spread if spread > 0 else math.nan


def holm(p_values: Sequence[float] | Array) -> Array:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979): shape (m,), in the order given.

    Values that are not finite become nan, and do not count as comparisons.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate((len(order) - np.arange(len(order))) * p[order]))
    return adjusted


@dataclass(frozen=True)
class Ranking:
    """Methods ranked over datasets (Demsar, JMLR 7, 2006).

    Attributes:
        ranks: average rank of each method, 1 is best; equal scores share a rank. All are nan if a score is not finite, or there is none.
        num_datasets: N.
        p: p of Friedman's test of equal ranks; nan for fewer than three methods, or too few datasets (see `datasets_to_reject`).
        critical_difference: average ranks further apart differ by Nemenyi's test at 5 %; nan if p is.
    """

    ranks: dict[str, float]
    num_datasets: int
    p: float
    critical_difference: float

    @property
    def groups(self) -> list[list[str]]:
        """The maximal groups of methods, best first, within the critical difference; single methods are left out."""
        order = sorted(self.ranks, key=self.ranks.__getitem__)
        reach = [[b for b in order[index:] if self.ranks[b] - self.ranks[a] <= self.critical_difference] for index, a in enumerate(order)]
        return [group for index, group in enumerate(reach) if len(group) > 1 and not (index and set(group) <= set(reach[index - 1]))]


@cache
def datasets_to_reject(num_methods: int) -> int:
    """Return the smallest number of datasets with which both tests of `rank_methods` can reject.

    In the most extreme case, all datasets rank the k methods in the same order. Friedman's statistic is then N (k - 1), and its p, from
    chi^2 with k - 1 degrees of freedom, must be below 5 %. The average ranks of the first and the last method differ by k - 1, which
    must exceed Nemenyi's critical difference, which decreases with the square root of N.

    Raises:
        ValueError: fewer than two methods, whose ranks cannot differ.
    """
    k = num_methods
    if k < 2:
        raise ValueError(f"Ranks of {k} methods cannot differ with any number of datasets. Give two methods or more.")
    friedman = float(stats.chi2.isf(_ALPHA, k - 1)) / (k - 1)
    nemenyi = (_critical_difference(k, 1) / (k - 1)) ** 2
    return max(2, math.floor(friedman) + 1, math.floor(nemenyi) + 1)


@cache
def _critical_difference(num_methods: int, num_datasets: int) -> float:
    quantile = float(stats.studentized_range.ppf(1 - _ALPHA, num_methods, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(num_methods * (num_methods + 1) / (6 * num_datasets))


def rank_methods(scores: Array, methods: Sequence[str]) -> Ranking:
    """Friedman's test and Nemenyi's critical difference.

    Args:
        scores: shape (N datasets, k methods), higher is better.
        methods: the k names.

    Raises:
        ValueError: another shape.
    """
    num_datasets, num_methods = scores.shape
    is_defined = num_datasets > 0 and bool(np.isfinite(scores).all())
    ranks = stats.rankdata(-scores.round(_DECIMALS), axis=1).mean(axis=0) if is_defined else np.full(num_methods, math.nan)
    p = difference = math.nan
    if is_defined and num_methods >= 3 and num_datasets >= datasets_to_reject(num_methods):
        with np.errstate(invalid="ignore", divide="ignore"):
            p = float(stats.friedmanchisquare(*scores.round(_DECIMALS).T).pvalue)
        if math.isnan(p):  # every method scores the same on every dataset
            p = 1.0
        difference = _critical_difference(num_methods, num_datasets)
    return Ranking(dict(zip(methods, ranks.tolist(), strict=True)), num_datasets, p, difference)


def _is_enough(d: Array) -> bool:
    """Whether these differences suffice for a test or an interval."""
    return len(d) >= 2 and bool(np.isfinite(d).all())


def _spread(d: Array) -> float:
    """Standard deviation (ddof = 1), exactly zero for equal values, although NumPy's mean may differ from them in the last bit."""
    return float(d.std(ddof=1)) if np.ptp(d) > 0 else 0.0


def rounded(differences: Sequence[float] | Array) -> Array:
    """Round differences, so that equal ones are equal to the last bit, and none is a negative zero."""
    return np.asarray(differences, dtype=np.float64).round(_DECIMALS) + 0.0
