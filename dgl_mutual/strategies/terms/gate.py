"""A gate on the exchange: students learn from their peers only on samples with reliable targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dgl_mutual.distributions import Distribution
from dgl_mutual.options import IdleWith
from dgl_mutual.strategies.base.options import ExchangeOptions
from dgl_mutual.strategies.base.step import Step

#: Default thresholds: FixMatch's for confidence, all peers for agreement.
_THRESHOLDS = {"confidence": 0.95, "agreement": 1.0}


class GateOptions(ExchangeOptions):
    """Options of the gate on the exchange."""

    idle_with: ClassVar[IdleWith] = {"gate": {"weight": (0.0,)}, "gate_threshold": {"gate": ("none",), "weight": (0.0,)}}
    gate: Literal["none", "confidence", "agreement"] = "none"
    """Samples on which students learn from others: all samples of the exchange (none), those whose target is confident (confidence), or
    those on which the peers agree (agreement; with two students each has one peer, so all samples pass)."""
    gate_threshold: float | None = Field(None, gt=0, le=1)
    """A sample passes if the probability of the target's likeliest class (confidence; default 0.95), or the share of peers that predict the
    same class (agreement; default 1), is at least this. With several labels or tasks, the mean over them is compared."""

    def without_effect(self, num_students: int) -> Mapping[str, str]:
        reasons = super().without_effect(num_students)
        if self.gate != "agreement" or num_students > 2:
            return reasons
        why = "since each of two students has one peer, which agrees with itself. Leave it out, or train more students."
        return {**reasons, "gate": why}


@torch.no_grad()
def gate_of(options: GateOptions, distribution: Distribution, step: Step, target: Tensor) -> Tensor:
    """1 where active student i learns from its target, else 0: (A, exchange samples).

    confidence: [max_c t_i,c(v) >= threshold] (Sohn et al., FixMatch, NeurIPS 2020, arXiv 2001.07685).
    agreement: [max_c 1/(K-1) sum_{j != i} [argmax z_j(v) = c] >= threshold].

    NOTE: as in FixMatch, rejected samples stay in the mean over the exchange samples.

    Args:
        target: t, probabilities, (A, exchange samples, C).
    """
    if options.gate == "agreement":
        votes = distribution.votes(step.targets[:, step.exchange])
        target = (votes.sum(0) - votes[list(step.active)]) / (len(votes) - 1)
    threshold = _THRESHOLDS[options.gate] if options.gate_threshold is None else options.gate_threshold
    gate = (distribution.max_probability(target) >= threshold - 1e-6).to(target.dtype)  # shares of votes have rounding errors
    if gate.numel():  # a mini-batch may have no exchange samples
        step.log["gate"] = gate.mean()
    return gate
