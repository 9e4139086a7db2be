"""Measures of similarity between members."""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor


def disagreement(predictions: Tensor) -> float:
    """Share of samples (or of labels) of which two members predict different values, averaged over all pairs: predictions (K, ...).

    NaN for a single member.
    """
    pairs = list(combinations(range(len(predictions)), 2))
    if not pairs:
        return math.nan
    return float(torch.stack([(predictions[a] != predictions[b]).double().mean() for a, b in pairs]).mean())


def linear_cka(x: Tensor, y: Tensor) -> float:
    """|Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F) of centred X (rows, F_x) and Y (rows, F_y).

    It is 1 if they are equal up to rotation and scale, 0 if they are unrelated, NaN if one of them is constant.

    Source: Kornblith et al., ICML 2019, arXiv 1905.00414, section 3.
    """
    x, y = (values - values[:1] for values in (x, y))  # a mean of equal values may miss them by a bit
    x, y = x - x.mean(0), y - y.mean(0)
    return float((y.t() @ x).square().sum() / ((x.t() @ x).norm() * (y.t() @ y).norm()))
