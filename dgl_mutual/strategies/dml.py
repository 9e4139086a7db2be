"""Deep mutual learning."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.imitation import ExchangeStrategy
from dgl_mutual.strategies.base.step import Step


class DeepMutualLearning(ExchangeStrategy):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 / (K - 1) sum_{j != i} mean_v KL(p_j(v) || p_i(v)).

    Each peer is a target of its own; there is no mix. The defaults are the literature's: noisy targets of the same training pass, T = 1.
    """

    name = "dml"
    citation = Citation(
        title="Deep Mutual Learning",
        authors="Zhang, Xiang, Hospedales, Lu",
        venue="CVPR 2018",
        url="https://arxiv.org/abs/1706.00384",
        formula="CE + lambda T^2 / (K - 1) sum_j KL(p_j || p_i)",
    )

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        options = self.options
        peers = self.distribution.probabilities(step.targets[:, step.exchange], options.peers_temperature)
        own = step.logits[:, step.exchange]
        pairwise = self.distribution.divergence(peers.unsqueeze(0), own.unsqueeze(1), options.temperature).mean(-1)
        others = torch.ones_like(pairwise)
        others[torch.arange(len(step.active)), list(step.active)] = 0.0
        mutual = (pairwise * others).sum(1) / (self.setting.num_students - 1)
        step.log["exchange"] = mutual.detach()
        return {"supervised": self.supervised(step), "mutual": options.scale * step.ramp * mutual}
