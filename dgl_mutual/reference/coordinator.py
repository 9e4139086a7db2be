"""The coordinator once more, pair by pair: the weight of peer j in the target of student i on each sample."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dgl_mutual.errors import unknown


class ReferenceCoordinator(torch.nn.Module, ABC):
    """Shapes: logits, a list of K (N, C); confidences, a list of K (N,); samples (N,); a weight (N, 1 or C)."""

    @abstractmethod
    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        """Logarithm of j's weight for i, before normalisation."""

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
    """Everyone the same."""

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
    """log sigmoid(MLP([z_j, c_j])): a weight a class."""

    def __init__(self, num_outputs: int, hidden: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(num_outputs + 1, hidden)
        self.last = torch.nn.Linear(hidden, num_outputs)

    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        inner = self.first(torch.cat([logits[j], confidences[j].unsqueeze(-1)], dim=-1)).relu()
        return torch.sigmoid(self.last(inner)).log()


class Transductive(ReferenceCoordinator):
    """(c_j * chi_j) phi_j: a row of chi a sample."""

    def __init__(self, num_students: int, num_samples: int, num_outputs: int, hidden: int) -> None:
        super().__init__()
        self.chi = torch.nn.Parameter(torch.empty(num_students, num_samples, hidden).normal_())
        self.phi = torch.nn.Parameter(torch.zeros(num_students, hidden, num_outputs))

    def score(self, i: int, j: int, logits: Sequence[Tensor], confidences: Sequence[Tensor], samples: Tensor) -> Tensor:
        return confidences[j].unsqueeze(-1) * self.chi[j, samples] @ self.phi[j]


def make_coordinator(
    weighting: str, *, num_students: int, num_samples: int, num_outputs: int, hidden: int = 16, temperature: float = 0.05
) -> ReferenceCoordinator:
    """The coordinator of a name, with that weighting's option."""
    choices: dict[str, Callable[[], ReferenceCoordinator]] = {
        "attention": lambda: Attention(num_outputs, hidden),
        "classwise": lambda: Classwise(num_outputs, hidden),
        "transductive": lambda: Transductive(num_students, num_samples, num_outputs, hidden),
        "confidence": lambda: Confidence(temperature),
        "uniform": Uniform,
    }
    if weighting not in choices:
        raise unknown("weighting", weighting, choices)
    return choices[weighting]()
