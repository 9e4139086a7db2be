"""Equivalence within a margin: two one-sided tests on paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dgl_mutual.statistics import corrected_resampled_t

#: Level of every test and, as 1 - LEVEL, of every interval.
LEVEL = 0.05


@dataclass(frozen=True)
class Paired:
    """What n paired differences say.

    Attributes:
        mean, low, high: mean difference and its 95 % interval.
        p_difference: of the two-sided paired t-test of "no difference".
        p_equivalence: of the two one-sided t-tests of "at least `margin` apart".

    All but `mean` are nan where nothing can be said: of a single pair, of differences that are all equal, whose spread is unknown then,
    and where one of them is not a number. `p_difference` alone is 1 where all differences are zero.
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
        """Whether a difference of `margin` or more is ruled out at 5 %; None where nothing can be said."""
        return None if math.isnan(self.p_equivalence) else self.p_equivalence < LEVEL


def compare_pairs(differences: Sequence[float], margin: float, test_to_train: float = 0.0) -> Paired:
    """The paired t-test and two one-sided tests (Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987).

    Args:
        differences: one a seed or fold.
        margin: the smallest difference that would matter.
        test_to_train: for folds, and seeds of ``holdout``, whose training samples overlap, n_test / n_train widens the standard error
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
