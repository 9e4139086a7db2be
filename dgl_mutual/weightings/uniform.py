"""Equal weights."""

from __future__ import annotations

from torch import Tensor

from dgl_mutual.coordinator import Weighting


class Uniform(Weighting):
    """a_ij = 1 / (K - 1): the plain mean of the peers. Nothing is learned."""

    name = "uniform"

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        num_students = logits.shape[0]
        return logits.new_zeros(num_students, num_students, 1, 1)
