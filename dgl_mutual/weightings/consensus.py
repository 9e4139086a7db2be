"""Weights by how often a peer agrees with the consensus of the others."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from dgl_mutual.coordinator import CoordinatorRecipe, Weighting, WeightingOptions


class ConsensusOptions(WeightingOptions):
    """Options of `consensus`."""

    power: float = Field(2.0, gt=0, le=10)
    """Power of the odds: the larger, the more the most precise peer weighs."""
    rounds: int = Field(3, ge=1, le=100)
    """Rounds of estimation in a step: each weighs the votes of the consensus by the precisions of the round before."""
    prior: float = Field(10.0, gt=0)
    """Strength of the prior, in samples: with less evidence than this, a peer's precision for a class is its precision for all classes."""
    memory: int = Field(5000, ge=1)
    """How many samples the counts remember. A step of N samples lets those before it count by 1 - N / memory, or not at all."""


class Consensus(Weighting):
    """a_ij(v) ~ (r_j / (1 - r_j))^power, with r_j the precision of peer j for the class that it predicts on v. No label is used.

    The precision r_j(c) is the share of the samples on which j predicts c whose consensus is c, too. The consensus is the class with the
    largest sum of the students' probabilities, student j left out, each weighted as above. The first round weighs all students alike.

    With multi-label targets each label is a problem of two classes, with weights of its own. Inductive: the counts are kept, so that
    unseen samples are weighed by what the training samples have shown.

    Source: Dawid and Skene, Applied Statistics 28 (1979), who estimate the error rates of observers without knowing the truth.

    NOTE: theirs is a full EM over confusion matrices, in which an observer votes on its own truth. Leaving j out keeps a peer from agreeing
    with itself, and the diagonal of the matrix is all that a weight needs.
    """

    name = "consensus"
    Options = ConsensusOptions
    options: ConsensusOptions

    #: (K, problems, classes): on how many samples each student predicted a class, and on how many of these the consensus was the same.
    predicted: Tensor
    agreed: Tensor

    def __init__(self, options: ConsensusOptions, recipe: CoordinatorRecipe) -> None:
        super().__init__(options, recipe)
        self.multi_label = recipe.multi_label == (True,)
        shape = (recipe.num_students, recipe.num_outputs, 2) if self.multi_label else (recipe.num_students, 1, recipe.num_outputs)
        self.register_buffer("predicted", torch.zeros(shape))
        self.register_buffer("agreed", torch.zeros(shape))

    def reset_parameters(self) -> None:
        self.predicted.zero_()
        self.agreed.zero_()

    @torch.no_grad()
    def observe(self, logits: Tensor, samples: Tensor) -> None:
        num_students, num_samples, _ = logits.shape
        if num_students == 1 or num_samples == 0:
            return
        kept = max(0.0, 1 - num_samples / self.options.memory)
        probabilities, choices = self._probabilities(logits), self._choices(logits)
        others = 1 - torch.eye(num_students, dtype=logits.dtype, device=logits.device)
        predicted = (kept * self.predicted).scatter_add_(2, choices, torch.ones_like(choices, dtype=logits.dtype))
        agreed = self.agreed
        log_weights = torch.zeros_like(self.predicted)
        for _ in range(self.options.rounds):
            weighed = probabilities * log_weights.gather(2, choices).softmax(0).unsqueeze(2)
            # Without j by a product, not as the sum less j's share: where j weighs nearly everything, that would be rounding errors.
            without = (others @ weighed.flatten(1)).view_as(weighed)
            # Whether the choice has the largest sum takes a tenth of the time of which class has.
            same = without.gather(2, choices.unsqueeze(2)).squeeze(2) >= without.amax(2)
            agreed = (kept * self.agreed).scatter_add_(2, choices, same.to(logits.dtype))
            log_weights = self._log_weights(predicted, agreed)
        self.predicted.copy_(predicted)
        self.agreed.copy_(agreed)

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        scores = self._log_weights(self.predicted, self.agreed).gather(2, self._choices(logits)).transpose(1, 2)
        return scores.expand(len(logits), *scores.shape)

    def precision(self) -> Tensor:
        """r: (K, problems, classes), one problem unless the target is multi-label, whose classes are then no and yes."""
        return torch.sigmoid(self._log_weights(self.predicted, self.agreed) / self.options.power)

    def _log_weights(self, predicted: Tensor, agreed: Tensor) -> Tensor:
        """power * log(r / (1 - r)): (K, problems, classes)."""
        prior = self.options.prior
        overall = (agreed.sum(-1, keepdim=True) + 1) / (predicted.sum(-1, keepdim=True) + 2)
        right, wrong = agreed + prior * overall, predicted - agreed + prior * (1 - overall)
        return self.options.power * (right.log() - wrong.log())

    def _probabilities(self, logits: Tensor) -> Tensor:
        """(K, problems, classes, N); samples are innermost, where sums over few classes are fast."""
        by_class = logits.transpose(1, 2)
        if not self.multi_label:
            return torch.softmax(by_class, dim=1).unsqueeze(1)
        p = torch.sigmoid(by_class)
        return torch.stack([1 - p, p], dim=2)

    def _choices(self, logits: Tensor) -> Tensor:
        """The class that each student predicts: (K, problems, N)."""
        by_class = logits.transpose(1, 2)
        return (by_class > 0).long() if self.multi_label else by_class.max(1).indices.unsqueeze(1)
