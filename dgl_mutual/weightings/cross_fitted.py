"""Weights by the odds that a peer is right, learned where it has not seen the label."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dgl_mutual.coordinator import CoordinatorRecipe, Weighting, WeightingOptions


class CrossFitted(Weighting):
    """a_ij(v) ~ exp(b_j + beta c_j(v)), the odds that peer j is right on v, given its confidence c_j(v). Inductive.

    What a student has fitted says nothing of its quality elsewhere, so each student leaves a part of the training labels out of its
    supervised term (`strategy_options.held_out`), and out of what it learns from others there. b_j and beta are fitted by logistic
    regression of "j is right" on j's own part. They start at zero, as uniform weights, and are pulled there
    (`strategy_options.uniform_kl_weight`).

    NOTE: of the students only j has not seen a label of j's part. So it is not a mix of all peers that is fitted there, as `attention` is,
    but each peer alone, and K + 1 numbers are all that is learned.
    """

    name = "cross-fitted"
    cross_fitted: ClassVar[bool] = True

    def __init__(self, options: WeightingOptions, recipe: CoordinatorRecipe) -> None:
        super().__init__(options, recipe)
        self.bias = nn.Parameter(torch.zeros(recipe.num_students))
        self.slope = nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.slope)

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        odds = self.bias.unsqueeze(1) + self.slope * confidence
        return odds.expand(len(logits), *odds.shape).unsqueeze(-1)
