"""One weight per sample, as in the paper."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dgl_mutual.coordinator import CoordinatorConfig, HiddenOptions, Weighting
from dgl_mutual.errors import UsageError


class Transductive(Weighting):
    """w_j = normalise_j((c_j * chi_j) phi_j) with chi_j in R^{N x h}, phi_j in R^{h x C}: the paper's form, one row per sample.

    NOTE[PAPER]: we normalise by a softmax over j, so that weights are positive, sum to one and start uniform (phi = 0).
    """

    name = "transductive"
    Options = HiddenOptions
    options: HiddenOptions
    inductive = False

    def __init__(self, options: HiddenOptions, config: CoordinatorConfig) -> None:
        super().__init__(options, config)
        if config.num_samples is None:
            raise UsageError(
                "Weighting 'transductive' keeps one row of weights per sample, so it needs a full-batch node task; "
                "this task sees new samples. Choose 'attention' or 'classwise', which are inductive."
            )
        self.chi = nn.Parameter(torch.empty(config.num_students, config.num_samples, options.hidden))
        self.phi = nn.Parameter(torch.empty(config.num_students, options.hidden, config.num_outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.chi, std=1 / math.sqrt(self.chi.shape[-1]))
        nn.init.zeros_(self.phi)

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        scores = (confidence.unsqueeze(-1) * self.chi[:, samples]) @ self.phi
        return scores.expand(len(logits), *scores.shape)
