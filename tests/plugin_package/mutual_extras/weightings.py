"""A weighting: peers weigh by the size of their largest logit."""

from pydantic import Field
from torch import Tensor

from dgl_mutual.coordinator import Weighting, WeightingOptions


class LoudestOptions(WeightingOptions):
    """Options of `Loudest`."""

    sharpness: float = Field(1.0, ge=0)
    """How much more a peer with a larger logit weighs."""


class Loudest(Weighting):
    """a_ij(v) = softmax_j(sharpness * max_c z_jc(v)). Nothing is learned."""

    name = "loudest"
    Options = LoudestOptions
    options: LoudestOptions

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        scores = self.options.sharpness * logits.max(-1).values
        return scores.expand(len(logits), *scores.shape).unsqueeze(-1)
