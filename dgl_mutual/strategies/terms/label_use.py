"""Which training labels the students and the coordinator of `gml` learn from: all of them, in the base class."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from dgl_mutual.coordinator import Coordinator, mix
from dgl_mutual.distributions import Distribution
from dgl_mutual.strategies.base.step import Step


class LabelUse(nn.Module):
    """All students and the coordinator learn from all training labels. Subclasses hold out some of them, to judge students.

    Attributes:
        coordinator_takes_targets: whether the coordinator always learns from the targets' pass.
    """

    coordinator_takes_targets: ClassVar[bool] = False

    def reset_parameters(self) -> None:
        """Forget what was observed."""

    def observe(self, step: Step, distribution: Distribution) -> Step:
        """Judge students on labels of a step that none of them learns from, and return the step without these in `Step.labelled`."""
        return step

    def supervised(self, step: Step, objective: Callable[[Step], Tensor]) -> Tensor:
        """Return the objective of each active student on the labels of the step that it learns from: (A,)."""
        return objective(step)

    def mean(self, divergences: Tensor, step: Step) -> Tensor:
        """Average the divergences of each active student over the exchange samples that it learns from: (A, N) -> (A,)."""
        return divergences.sum(-1) / max(divergences.shape[1], 1)

    def peer_weights(self, coordinator: Coordinator, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """Return the weight of peer j for student i on each sample: (K, K, N or 1, 1 or C)."""
        return coordinator.peer_weights(logits, confidence, samples)

    def coordinator_loss(
        self, coordinator: Coordinator, evidence: tuple[Tensor, Tensor, Tensor], labels: Tensor, distribution: Distribution
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of the coordinator on labelled samples, a scalar, and the weights of all receivers, (K + 1, K, N, 1 or C).

        Args:
            evidence: logits (K, N, C), confidence (K, N) and numbers of the samples (N,), as the coordinator takes them.
        """
        weights = coordinator.all_weights(*evidence)
        return distribution.supervised(mix(weights, evidence[0]), labels).mean(), weights
