"""What is told of calibration, as plain numbers: without torch, so that tables and plots can read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Bins of equal width over the confidence, as in Guo et al. (see `dgl_mutual.training.calibration`).
NUM_BINS = 15


@dataclass(frozen=True)
class Calibration:
    """How well one member is calibrated on some samples.

    Attributes:
        nll: negative log-likelihood in nats, mean over the known labels; NaN where none is known.
        ece: expected calibration error, a fraction in [0, 1]; NaN where no label is known.
        counts: decisions in each of the bins; bin b holds those of confidence in (b / 15, (b + 1) / 15].
        accuracies, confidences: of the decisions in each bin, the share that is right, and the mean confidence; NaN in an empty bin.
    """

    nll: float
    ece: float
    counts: tuple[int, ...]
    accuracies: tuple[float, ...]
    confidences: tuple[float, ...]

    @property
    def figures(self) -> tuple[float, float]:
        """nll, ece."""
        return self.nll, self.ece

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each bin that is not empty, as in reliability.csv."""
        for index, (count, accuracy, confidence) in enumerate(zip(self.counts, self.accuracies, self.confidences, strict=True)):
            if count:
                yield {"bin": index, "count": count, "accuracy": accuracy, "confidence": confidence}
