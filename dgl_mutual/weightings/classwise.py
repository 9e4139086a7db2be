"""One weight per class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_mutual.coordinator import CoordinatorConfig, HiddenOptions, Weighting


class Classwise(Weighting):
    """w_j(v) = sigmoid(MLP([z_j(v), c_j(v)])) in R^C, normalised over j: the weight of a peer differs from class to class. Inductive.

    Normalised sigmoids are a softmax of log-sigmoids. The last layer starts at zero: every weight is then equal.
    """

    name = "classwise"
    Options = HiddenOptions
    options: HiddenOptions

    def __init__(self, options: HiddenOptions, config: CoordinatorConfig) -> None:
        super().__init__(options, config)
        num_outputs, hidden = config.num_outputs, options.hidden
        self.first = nn.Linear(num_outputs + 1, hidden)
        self.last = nn.Linear(hidden, num_outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.first.reset_parameters()
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        evidence = torch.cat([logits, confidence.unsqueeze(-1)], dim=-1)
        scores = nn.functional.logsigmoid(self.last(torch.relu(self.first(evidence))))
        return scores.expand(len(logits), *scores.shape)
