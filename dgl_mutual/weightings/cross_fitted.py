"""Weights from the odds that a peer is right, fitted on labels that it has not learned from."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dgl_mutual.coordinator import CoordinatorConfig, Weighting, WeightingOptions


class CrossFitted(Weighting):
    """a_ij(v) ~ exp(b_j + beta c_j(v)), the odds that peer j is right on v, given its confidence c_j(v). Inductive.

    The training labels that a student has fitted do not show how good it is on other samples. So each student leaves out a part of them
    (`strategy_options.held_out`), both in its supervised term and in the exchange. b_j and beta are fitted there, by logistic regression
    of "j is right" on j's own part. They start at zero, which gives uniform weights, and are regularised towards them
    (`strategy_options.uniform_kl_weight`).

    NOTE: the other students have learned from the labels of j's part. So each peer is fitted by itself there, not as part of a mix
    of all peers as in `attention`. K + 1 numbers are learned in total.
    """

    name = "cross-fitted"
    cross_fitted: ClassVar[bool] = True

    def __init__(self, options: WeightingOptions, config: CoordinatorConfig) -> None:
        super().__init__(options, config)
        self.bias = nn.Parameter(torch.zeros(config.num_students))
        self.slope = nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.slope)

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        log_odds = self.bias.unsqueeze(1) + self.slope * confidence
        return log_odds.expand(len(logits), *log_odds.shape).unsqueeze(-1)
