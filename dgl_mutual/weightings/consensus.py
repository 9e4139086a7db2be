"""Weights from how often a peer agrees with the consensus of the others."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from dgl_mutual.coordinator import CoordinatorConfig, Weighting, WeightingOptions

#: Largest logarithm of the ratio of two weights; float32 can hold its exponential and that of its negative.
_MAX_LOG_RATIO = 60.0


class ConsensusOptions(WeightingOptions):
    """Options of `consensus`."""

    power: float = Field(2.0, gt=0, le=10)
    """Power of the odds. A larger power gives more weight to the most precise peers."""
    rounds: int = Field(3, ge=1, le=100)
    """Rounds of estimation in a step. Each round weighs the votes by the precisions of the round before."""
    prior: float = Field(10.0, ge=1e-6, le=1e6)
    """Strength of the prior, as a number of samples: a class that a peer predicts less often gets about its precision over all classes."""
    # Counts are float32, which holds each integer up to 2^24 only: beyond, adding 1 would change nothing.
    memory: int = Field(5000, ge=1, le=10**7)
    """Number of samples after which counts are forgotten. A step of N samples multiplies the earlier counts by max(0, 1 - N / memory)."""


class Consensus(Weighting):
    """a_ij(v) ~ (r_j / (1 - r_j))^power, where r_j is the precision of peer j for the class that it predicts on v. No label is used.

    r_j(c) = (a_jc + prior r_j) / (n_jc + prior): on n_jc exchange samples j predicts c, and on a_jc of these the consensus is also c;
    r_j = (a_j + 1) / (n_j + 2) is the same over all classes. The consensus is the class with the largest weighted sum of probabilities, at
    temperature 1, of all students other than j. In the first round all students weigh the same.

    With multi-label targets each label is a problem of two classes, with its own weights. Inductive: weights on unseen samples
    are computed from the stored counts.

    Source: Dawid and Skene, Applied Statistics 28 (1979), who estimate the error rates of observers without knowing the truth.

    NOTE: Dawid and Skene run EM over full confusion matrices, and each observer also votes on the consensus that it is compared with. Here
    student j is left out, so that it cannot agree with itself, and only the diagonal of the matrix is estimated.
    """

    name = "consensus"
    Options = ConsensusOptions
    options: ConsensusOptions

    #: (K, problems, classes): the number of samples on which each student predicted a class, and of those on which the consensus agreed.
    predicted: Tensor
    agreed: Tensor

    def __init__(self, options: ConsensusOptions, config: CoordinatorConfig) -> None:
        super().__init__(options, config)
        self.multi_label = config.multi_label == (True,)
        shape = (config.num_students, config.num_outputs, 2) if self.multi_label else (config.num_students, 1, config.num_outputs)
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
        decay = max(0.0, 1 - num_samples / self.options.memory)
        probabilities, choices = self._probabilities(logits), self._choices(logits)
        others = 1 - torch.eye(num_students, dtype=logits.dtype, device=logits.device)
        predicted = (decay * self.predicted).scatter_add_(2, choices, torch.ones_like(choices, dtype=logits.dtype))
        agreed = self.agreed
        log_weights = torch.zeros_like(self.predicted)
        for _ in range(self.options.rounds):
            votes = log_weights.gather(2, choices)
            # Other votes must not vanish beside a dominant one: the student that casts it is compared with their consensus.
            votes = votes.maximum(votes.amax(0) - _MAX_LOG_RATIO)
            weighed = probabilities * votes.softmax(0).unsqueeze(2)
            # The product leaves j out. The sum of all minus j's share would be rounding errors where j has nearly all of the weight.
            other_votes = (others @ weighed.flatten(1)).view_as(weighed)
            # Comparing with the maximum takes a tenth of the time of an argmax.
            same = other_votes.gather(2, choices.unsqueeze(2)).squeeze(2) >= other_votes.amax(2)
            agreed = (decay * self.agreed).scatter_add_(2, choices, same.to(logits.dtype))
            log_weights = self._log_weights(predicted, agreed)
        self.predicted.copy_(predicted)
        self.agreed.copy_(agreed)

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        scores = self._log_weights(self.predicted, self.agreed).gather(2, self._choices(logits)).transpose(1, 2)
        return scores.expand(len(logits), *scores.shape)

    def precision(self) -> Tensor:
        """r: (K, problems, classes). There is one problem unless the target is multi-label; classes are then no and yes."""
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
