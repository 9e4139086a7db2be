"""The reference coordinator, pair by pair: the weight of peer j in the target of student i on each sample."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from dgl_mutual.errors import unknown


class ReferenceCoordinator(torch.nn.Module, ABC):
    """Shapes: logits, a list of K (N, C); confidences, a list of K (N,); samples (N,); a weight (N, 1 or C)."""

    @abstractmethod
    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        """The logarithm of j's weight for i, before normalisation."""

    def observe(self, logits: Sequence[Tensor]) -> None:
        """Learn from predictions on exchange samples. Most coordinators do not."""
        return

    def peer_weights(self, i: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> dict[int, Tensor]:
        """Weights of the peers of i; over the peers they sum to one."""
        peers = [j for j in range(len(logits)) if j != i]
        scores = torch.stack([self.score(i, j, logits, confidences, samples) for j in peers])
        return dict(zip(peers, scores.softmax(dim=0), strict=True))

    def ensemble_weights(self, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> dict[int, Tensor]:
        """Weights of all students for the ensemble, from the mean of their scores."""
        everyone = range(len(logits))
        scores = [torch.stack([self.score(i, j, logits, confidences, samples) for i in everyone]).mean(dim=0) for j in everyone]
        return dict(zip(everyone, torch.stack(scores).softmax(dim=0), strict=True))


def weighted_sum(weights: dict[int, Tensor], values: Sequence[Tensor]) -> Tensor:
    """sum_j w_j * values[j]: (N, C)."""
    return torch.stack([weight * values[j] for j, weight in weights.items()]).sum(dim=0)


class Uniform(ReferenceCoordinator):
    """Equal weights."""

    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        return torch.zeros_like(confidences[j]).unsqueeze(-1)


class Confidence(ReferenceCoordinator):
    """c_j / T."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        return confidences[j].unsqueeze(-1) / self.temperature


class Attention(ReferenceCoordinator):
    """<W_q [z_i, c_i], W_k [z_j, c_j]> / sqrt(h)."""

    def __init__(self, num_outputs: int, hidden: int) -> None:
        super().__init__()
        self.query = torch.nn.Linear(num_outputs + 1, hidden, bias=False)
        self.key = torch.nn.Linear(num_outputs + 1, hidden, bias=False)

    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        query = self.query(torch.cat([logits[i], confidences[i].unsqueeze(-1)], dim=-1))
        key = self.key(torch.cat([logits[j], confidences[j].unsqueeze(-1)], dim=-1))
        product: Tensor = (query * key).sum(dim=-1, keepdim=True)
        return product / math.sqrt(self.key.out_features)


class Classwise(ReferenceCoordinator):
    """log sigmoid(MLP([z_j, c_j])): one weight per class."""

    def __init__(self, num_outputs: int, hidden: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(num_outputs + 1, hidden)
        self.last = torch.nn.Linear(hidden, num_outputs)

    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        inner = self.first(torch.cat([logits[j], confidences[j].unsqueeze(-1)], dim=-1)).relu()
        return torch.sigmoid(self.last(inner)).log()


class Transductive(ReferenceCoordinator):
    """(c_j * chi_j) phi_j: one row of chi per sample."""

    def __init__(self, num_students: int, num_samples: int, num_outputs: int, hidden: int) -> None:
        super().__init__()
        self.chi = torch.nn.Parameter(torch.empty(num_students, num_samples, hidden).normal_())
        self.phi = torch.nn.Parameter(torch.zeros(num_students, hidden, num_outputs))

    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        return confidences[j].unsqueeze(-1) * self.chi[j, samples] @ self.phi[j]


class Consensus(ReferenceCoordinator):
    """power * log(r / (1 - r)), r the precision of j for its predicted class, against the vote of the others. Each label is a problem."""

    predicted: Tensor
    agreed: Tensor

    def __init__(self, num_students: int, num_outputs: int, multi_label: bool, options: Mapping[str, float]) -> None:
        super().__init__()
        self.multi_label = multi_label
        self.options = {"power": 2.0, "rounds": 3, "prior": 10.0, "memory": 5000, **options}
        shape = (num_students, num_outputs, 2) if multi_label else (num_students, 1, num_outputs)
        self.register_buffer("predicted", torch.zeros(shape))
        self.register_buffer("agreed", torch.zeros(shape))

    @torch.no_grad()
    def observe(self, logits: Sequence[Tensor]) -> None:
        decay = max(0.0, 1 - len(logits[0]) / self.options["memory"])
        probabilities = [self._probabilities(z) for z in logits]
        choices = [p.argmax(dim=-1) for p in probabilities]
        log_odds = torch.zeros_like(self.predicted)
        for _ in range(int(self.options["rounds"])):
            predicted, agreed = decay * self.predicted, decay * self.agreed
            weights = torch.stack([log_odds[k].gather(1, choices[k]) for k in range(len(logits))])
            weights = (weights - weights.amax(dim=0)).exp()  # divided by the largest, so that no power of the odds overflows
            for j in range(len(logits)):
                votes = sum(weights[k].unsqueeze(-1) * probabilities[k] for k in range(len(logits)) if k != j)
                assert isinstance(votes, Tensor)
                same = votes.argmax(dim=-1) == choices[j]
                chosen = torch.nn.functional.one_hot(choices[j], self.predicted.shape[-1])
                predicted[j] += chosen.sum(dim=1)
                agreed[j] += (chosen * same.unsqueeze(-1)).sum(dim=1)
            log_odds = self._log_odds(predicted, agreed)
        self.predicted, self.agreed = predicted, agreed

    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        choices = self._probabilities(logits[j]).argmax(dim=-1)
        return self._log_odds(self.predicted, self.agreed)[j].gather(1, choices).t()

    def _probabilities(self, z: Tensor) -> Tensor:
        """(problems, N, classes)."""
        if not self.multi_label:
            return z.softmax(dim=-1).unsqueeze(0)
        p = z.sigmoid().t()
        return torch.stack([1 - p, p], dim=-1)

    def _log_odds(self, predicted: Tensor, agreed: Tensor) -> Tensor:
        overall = (agreed.sum(dim=2, keepdim=True) + 1) / (predicted.sum(dim=2, keepdim=True) + 2)
        precision = (agreed + self.options["prior"] * overall) / (predicted + self.options["prior"])
        return self.options["power"] * torch.logit(precision)


def make_coordinator(
    weighting: str,
    *,
    num_students: int,
    num_samples: int,
    num_outputs: int,
    multi_label: bool = False,
    hidden: int = 16,
    temperature: float = 0.05,
    **options: float,
) -> ReferenceCoordinator:
    """Make the coordinator of a weighting by name, with its options."""
    choices: dict[str, Callable[[], ReferenceCoordinator]] = {
        "attention": lambda: Attention(num_outputs, hidden),
        "classwise": lambda: Classwise(num_outputs, hidden),
        "transductive": lambda: Transductive(num_students, num_samples, num_outputs, hidden),
        "confidence": lambda: Confidence(temperature),
        "consensus": lambda: Consensus(num_students, num_outputs, multi_label, options),
        "uniform": Uniform,
    }
    if weighting not in choices:
        raise unknown("weighting", weighting, choices)
    return choices[weighting]()
