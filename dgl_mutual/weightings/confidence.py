"""Weights by confidence."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from dgl_mutual.coordinator import Weighting, WeightingOptions
from dgl_mutual.options import MAX_TEMPERATURE, MIN_TEMPERATURE


class ConfidenceOptions(WeightingOptions):
    """Options of `confidence`."""

    temperature: float = Field(0.05, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    """T in nats: a smaller T gives more weight to the most confident peer."""


class Confidence(Weighting):
    """a_ij = softmax_j(c_j / T): confident peers weigh more. Nothing is learned."""

    name = "confidence"
    Options = ConfidenceOptions
    options: ConfidenceOptions

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return (confidence / self.options.temperature).expand(len(logits), *confidence.shape).unsqueeze(-1)
