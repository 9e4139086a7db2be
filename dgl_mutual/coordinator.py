"""The ensemble coordinator: it weighs the peers' logits per sample (the adaptive logit weighting unit of arXiv 2510.19223).

Needs torch alone. Every weighting is one softmax over the students of a score that a subclass computes; a student's own column is left out
when the mix is to teach that student, and kept when it is the ensemble's prediction.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from dgl_mutual.errors import UsageError, unknown


class Coordinator(nn.Module, ABC):
    """Weights over students.

    Shapes: logits (K, N, C), confidence (K, N), samples (N,) sample numbers; weights (R, K, N, 1 or C) for R receivers.
    """

    recipe: CoordinatorRecipe
    #: Works on samples that it was not trained with.
    inductive: bool = True

    @abstractmethod
    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """Log-weights before normalisation, broadcastable to (receivers K, peers K, N, C)."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Start again as the uniform mean."""

    def peer_weights(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """How much receiver i listens to peer j on each sample: (K, K, N, 1 or C); zero for j = i, sums to 1 over j."""
        return torch.softmax(without_own(self.scores(logits, confidence, samples)), dim=1)

    def ensemble_weights(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """How much the ensemble listens to student j on each sample: (1, K, N, 1 or C); sums to 1 over j.

        NOTE[PAPER]: the ensemble has no query of its own; it asks with the mean of the students' scores.
        """
        return torch.softmax(self.scores(logits, confidence, samples).mean(0, keepdim=True), dim=1)

    def all_weights(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """`peer_weights` and, as the last receiver, `ensemble_weights`, from one evaluation: (K + 1, K, N, 1 or C)."""
        scores = self.scores(logits, confidence, samples)
        return torch.softmax(torch.cat([without_own(scores), scores.mean(0, keepdim=True)]), dim=1)


def without_own(scores: Tensor) -> Tensor:
    """Scores (K, K, N, 1 or C) in which no student attends to itself: minus infinity where receiver and peer are the same."""
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)[:, :, None, None]
    return scores.masked_fill(own, -math.inf)


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """sum_j weights[r, j] * values[j]: weights (R, K, N, 1 or C), values (K, N, C), result (R, N, C)."""
    terms = zip(weights.unbind(1), values.unbind(0), strict=True)
    mixed = torch.mul(*next(terms))
    for weight, value in terms:  # one product after another: the (R, K, N, C) intermediate would cost three times as long
        mixed = torch.addcmul(mixed, weight, value)
    return mixed


class Uniform(Coordinator):
    """a_ij = 1 / (K - 1): the plain mean of the peers. Nothing is learned."""

    def reset_parameters(self) -> None:
        """There is nothing to reset."""

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        num_students = logits.shape[0]
        return logits.new_zeros(num_students, num_students, 1, 1)


class Confidence(Coordinator):
    """a_ij = softmax_j(c_j / sharpness): listen to whoever is sure. Nothing is learned."""

    def __init__(self, sharpness: float = 0.05) -> None:
        super().__init__()
        self.sharpness = sharpness

    def reset_parameters(self) -> None:
        """There is nothing to reset."""

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return (confidence / self.sharpness).expand(len(logits), *confidence.shape).unsqueeze(-1)


class Attention(Coordinator):
    """a_ij(v) = softmax_j(<W_q [z_i(v), c_i(v)], W_k [z_j(v), c_j(v)]> / sqrt(h)). Inductive: it works on unseen samples.

    NOTE[PAPER]: the unit's closing expression is not public; scaled dot-product attention over logits and confidence is our choice.
    W_q starts at zero, so the first weights are uniform and W_q still has a gradient.
    """

    def __init__(self, num_outputs: int, hidden: int = 16) -> None:
        super().__init__()
        self.query = nn.Linear(num_outputs + 1, hidden, bias=False)
        self.key = nn.Linear(num_outputs + 1, hidden, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.query.weight)
        self.key.reset_parameters()

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        # Laid out with the samples innermost, where sums over the few logits are fast.
        evidence = torch.cat([logits.transpose(1, 2), confidence.unsqueeze(1)], dim=1)
        # <W_q x, W_k y> = <x, (W_q^T W_k) y>: the product of the two small matrices first saves the K x K x N x h intermediate.
        bilinear = self.query.weight.t() @ self.key.weight / math.sqrt(self.key.out_features)
        asked = bilinear.t() @ evidence
        return (asked.unsqueeze(1) * evidence.unsqueeze(0)).sum(2).unsqueeze(-1)


class Classwise(Coordinator):
    """w_j(v) = sigmoid(MLP([z_j(v), c_j(v)])) in R^C, normalised over j: the weight of a peer differs from class to class. Inductive.

    Normalised sigmoids are a softmax of log-sigmoids. The last layer starts at zero: every weight is then equal.
    """

    def __init__(self, num_outputs: int, hidden: int = 16) -> None:
        super().__init__()
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


class Transductive(Coordinator):
    """w_j = normalise_j((c_j * chi_j) phi_j) with chi_j in R^{N x h}, phi_j in R^{h x C}: the paper's form, one row per sample.

    NOTE[PAPER]: we normalise by a softmax over j, so that weights are positive, sum to one and start uniform (phi = 0).
    """

    inductive = False

    def __init__(self, num_students: int, num_samples: int, num_outputs: int, hidden: int = 16) -> None:
        super().__init__()
        self.chi = nn.Parameter(torch.empty(num_students, num_samples, hidden))
        self.phi = nn.Parameter(torch.empty(num_students, hidden, num_outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.chi, std=1 / math.sqrt(self.chi.shape[-1]))
        nn.init.zeros_(self.phi)

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        scores = (confidence.unsqueeze(-1) * self.chi[:, samples]) @ self.phi
        return scores.expand(len(logits), *scores.shape)


class PerTask(Coordinator):
    """Several tasks at once: each has a coordinator of its own, which sees the logits of that task and the confidence in it.

    Shapes: confidence (K, N, T); the others as in `Coordinator`, C being the logits of all tasks side by side.
    """

    def __init__(self, coordinators: Sequence[Coordinator], widths: Sequence[int]) -> None:
        super().__init__()
        self.coordinators = nn.ModuleList(coordinators)
        self.widths = list(widths)
        self.inductive = all(coordinator.inductive for coordinator in coordinators)

    def reset_parameters(self) -> None:
        for coordinator in self._each():
            coordinator.reset_parameters()

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        scores = [
            coordinator.scores(block, confidence[..., task], samples).expand(len(block), *block.shape)
            for task, (coordinator, block) in enumerate(zip(self._each(), torch.split(logits, self.widths, dim=-1), strict=True))
        ]
        return torch.cat(scores, dim=-1)

    def _each(self) -> Sequence[Coordinator]:
        return cast("Sequence[Coordinator]", self.coordinators)


WEIGHTINGS = ("attention", "classwise", "transductive", "confidence", "uniform")


@dataclass(frozen=True)
class CoordinatorRecipe:
    """All that is needed to make a coordinator, and to make it again from a file.

    Attributes:
        weighting: a name in `WEIGHTINGS`.
        num_samples: N of a full-batch node task; None where samples come and go (then `transductive` is refused).
        hidden: h, the width inside.
        tasks: how many of the outputs each of several tasks has; None where there is one task.
    """

    weighting: str
    num_students: int
    num_outputs: int
    num_samples: int | None = None
    hidden: int = 16
    tasks: tuple[int, ...] | None = None


def make_coordinator(recipe: CoordinatorRecipe) -> Coordinator:
    """The coordinator of a recipe, with fresh weights.

    Raises:
        UsageError: an unknown weighting, or `transductive` outside a full-batch node task.
    """
    if recipe.weighting not in WEIGHTINGS:
        raise unknown("weighting", recipe.weighting, WEIGHTINGS)
    coordinator: Coordinator
    if recipe.tasks is not None:
        coordinator = PerTask([make_coordinator(replace(recipe, num_outputs=width, tasks=None)) for width in recipe.tasks], recipe.tasks)
    elif recipe.weighting == "attention":
        coordinator = Attention(recipe.num_outputs, recipe.hidden)
    elif recipe.weighting == "classwise":
        coordinator = Classwise(recipe.num_outputs, recipe.hidden)
    elif recipe.weighting == "confidence":
        coordinator = Confidence()
    elif recipe.weighting == "uniform":
        coordinator = Uniform()
    elif recipe.num_samples is None:
        raise UsageError(
            "Weighting 'transductive' keeps one row of weights per sample, so it needs a full-batch node task; "
            "this task sees new samples. Choose 'attention' or 'classwise', which are inductive."
        )
    else:
        coordinator = Transductive(recipe.num_students, recipe.num_samples, recipe.num_outputs, recipe.hidden)
    coordinator.recipe = recipe
    return coordinator
