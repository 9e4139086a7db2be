"""Weights by confidence."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from dgl_mutual.coordinator import Weighting, WeightingOptions


class ConfidenceOptions(WeightingOptions):
    """Options of `confidence`."""

    temperature: float = Field(0.05, gt=0)
    """T in nats: a smaller T gives more weight to the most confident peer."""


class Confidence(Weighting):
    """a_ij = softmax_j(c_j / T): confident peers weigh more. Nothing is learned."""

    name = "confidence"
    Options = ConfidenceOptions
    options: ConfidenceOptions

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return (confidence / self.options.temperature).expand(len(logits), *confidence.shape).unsqueeze(-1)
