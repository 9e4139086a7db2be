"""Calibration: whether predicted probabilities agree with the share of correct decisions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dgl_mutual.distributions import Distribution
from dgl_mutual.store.columns import NUM_BINS


@dataclass(frozen=True)
class Calibration:
    """The calibration of one member on some samples.

    Attributes:
        nll: negative log-likelihood in nats, mean over the known labels; NaN if none is known.
        ece: expected calibration error, a fraction in [0, 1]; NaN if no label is known.
        counts: number of decisions in each bin, (15,); bin b holds confidences in (b / 15, (b + 1) / 15].
        accuracies, confidences: share of correct decisions and mean confidence in each bin, (15,); NaN in an empty bin.
    """

    nll: float
    ece: float
    counts: tuple[int, ...]
    accuracies: tuple[float, ...]
    confidences: tuple[float, ...]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each bin that is not empty, as in reliability.csv."""
        for index, (count, accuracy, confidence) in enumerate(zip(self.counts, self.accuracies, self.confidences, strict=True)):
            if count:
                yield {"bin": index, "count": count, "accuracy": accuracy, "confidence": confidence}


@torch.no_grad()
def calibrations(distribution: Distribution, logits: Tensor, labels: Tensor) -> list[Calibration]:
    """Compute the calibration of each member in one task.

    ECE = sum_b n_b / n |acc_b - conf_b| over 15 bins of equal width of the confidence. Source: Guo et al., On Calibration of Modern Neural
    Networks, ICML 2017, section 2.

    - Single-label: a sample is one decision. Its confidence is the largest probability of a class; it is correct if that is the label.
    - Multi-label and binary: each known label of each sample is a separate decision between yes and no, and all of them share the bins.
      Its confidence is max(p, 1 - p), at least one half; it is correct if the more probable answer is. The negative log-likelihood is also
      the mean over the known labels, not the sum over the labels of a sample.

    Unknown labels are left out. Several tasks are measured separately.

    Args:
        logits: (M, N, C) of M members.
        labels: (N,) or (N, C), in the form that `distribution` takes.
    """
    known = distribution.known(labels)
    return [_calibration(distribution, member, labels, known) for member in logits]


def _calibration(distribution: Distribution, logits: Tensor, labels: Tensor, known: Tensor) -> Calibration:
    total = int(known.sum())
    if not total:
        return Calibration(math.nan, math.nan, (0,) * NUM_BINS, (math.nan,) * NUM_BINS, (math.nan,) * NUM_BINS)
    nll = float(distribution.nll(logits, labels)[known].double().mean())
    # In single precision, 1/3 would lie above the bin edge that it belongs below.
    probabilities = distribution.probabilities(logits.double())
    confidence = (torch.maximum(probabilities, 1 - probabilities) if distribution.has_columns else probabilities.amax(-1))[known]
    right = (distribution.predictions(logits) == labels)[known].double()
    edges = torch.linspace(0, 1, NUM_BINS + 1, dtype=torch.float64, device=logits.device)[1:-1]
    bins = torch.bucketize(confidence, edges)
    counts, hits, sums = (torch.bincount(bins, weights, minlength=NUM_BINS) for weights in (None, right, confidence))
    return Calibration(
        nll,
        float((hits - sums).abs().sum() / total),
        tuple(counts.tolist()),
        tuple((hits / counts).tolist()),
        tuple((sums / counts).tolist()),
    )
