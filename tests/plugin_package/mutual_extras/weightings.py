"""A weighting: the student with the largest logits weighs most."""

from pydantic import Field
from torch import Tensor

from dgl_mutual import Weighting
from dgl_mutual.coordinator import WeightingOptions


class LoudestOptions(WeightingOptions):
    """Options of `Loudest`."""

    sharpness: float = Field(1.0, ge=0)
    """How much more; 0: all weigh the same."""


class Loudest(Weighting):
    """a_ij = softmax_j(s |z_j|)."""

    name = "loudest"
    Options = LoudestOptions
    options: LoudestOptions

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return (self.options.sharpness * logits.norm(dim=-1)).expand(len(logits), *logits.shape[:-1]).unsqueeze(-1)
