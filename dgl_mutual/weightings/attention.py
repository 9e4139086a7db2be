"""Dot-product attention over logits and confidence."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dgl_mutual.coordinator import CoordinatorConfig, HiddenOptions, Weighting


class Attention(Weighting):
    """a_ij(v) = softmax_j(<W_q [z_i(v), c_i(v)], W_k [z_j(v), c_j(v)]> / sqrt(h)). Inductive: it works on unseen samples.

    NOTE[PAPER]: the unit's closing expression is not public; scaled dot-product attention over logits and confidence is our choice.
    W_q starts at zero, so the first weights are uniform and W_q still has a gradient.
    """

    name = "attention"
    Options = HiddenOptions
    options: HiddenOptions

    def __init__(self, options: HiddenOptions, config: CoordinatorConfig) -> None:
        super().__init__(options, config)
        num_outputs, hidden = config.num_outputs, options.hidden
        self.query = nn.Linear(num_outputs + 1, hidden, bias=False)
        self.key = nn.Linear(num_outputs + 1, hidden, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.query.weight)
        self.key.reset_parameters()

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        # Samples are innermost, where sums over the few logits are fast.
        evidence = torch.cat([logits.transpose(1, 2), confidence.unsqueeze(1)], dim=1)
        # <W_q x, W_k y> = <x, (W_q^T W_k) y>: the product of the two small matrices first saves the K x K x N x h intermediate.
        bilinear = self.query.weight.t() @ self.key.weight / math.sqrt(self.key.out_features)
        queries = bilinear.t() @ evidence
        return (queries.unsqueeze(1) * evidence.unsqueeze(0)).sum(2).unsqueeze(-1)
