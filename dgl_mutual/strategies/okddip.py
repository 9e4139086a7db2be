"""Online distillation with diverse peers: every member attends to the others in its own way, and a leader learns from all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from dgl_mutual.coordinator import mask_self, mix
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import MAX_TEMPERATURE, MIN_TEMPERATURE, IdleWith
from dgl_mutual.search_space import Categorical, SearchSpace
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.imitation import ExchangeStrategy
from dgl_mutual.strategies.base.options import ExchangeOptions, StrategyOptions
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step


class OKDDipOptions(ExchangeOptions):
    """Options of `okddip`."""

    search_space: ClassVar[SearchSpace] = {**ExchangeOptions.search_space, "attention_hidden": Categorical((8, 16, 32))}
    idle_with: ClassVar[IdleWith] = {"attention_hidden": {"weight": (0.0,)}}
    #: As in the paper.
    temperature: float = Field(3.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    leader: StudentOptions = StudentOptions()
    """Options of the leader, an additional member from which no student learns."""
    attention_hidden: int = Field(16, ge=1)
    """Width of the space in which members are compared."""

    def without_effect(self, num_students: int) -> Mapping[str, str]:
        reasons = super().without_effect(num_students)
        if num_students > 2:
            return reasons
        why = "since each of two students has one peer, and there is no attention to learn. Leave it out, or train more students."
        return {**reasons, "attention_hidden": why}


class DiversePeers(ExchangeStrategy):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(t_i(v) || p_i(v)),

    t_i(v) = sum_{j != i} alpha_ij(v) p_j(v), alpha_i(v) = softmax_{j != i} <W_L h_i(v), W_E h_j(v)> over the other students (first
    level); the leader's target is the plain mean, t(v) = 1/K sum_j p_j(v) (second level). h: embeddings. W_L differs from W_E, so the
    weights are not symmetric. Of two students each has the other as its target, and there is no attention to learn.

    NOTE[PAPER]: a student does not attend to itself. The abstract derives its target "from predictions of other auxiliary peers"; the
    authors' code (github.com/DefangChen/OKDDip) keeps j = i in the softmax and lets the gradient pass into the targets. With detached
    targets that loss is least at alpha_ii = 1: on Cora it rose from 0.25 to 0.98 within 120 epochs, and nothing was exchanged any more.
    The attention can still prefer the peers nearest to a student; the history shows the remaining divergence (``exchange``).
    NOTE[PAPER]: the paper's members have one architecture and share W_L and W_E; ours may differ, so each has its own pair.
    NOTE[PAPER]: p_j and h are detached, as everywhere in this package; the attention learns through alpha, by the same loss.
    """

    name = "okddip"
    needs_embeddings = True
    Options = OKDDipOptions
    options: OKDDipOptions
    citation = Citation(
        title="Online Knowledge Distillation with Diverse Peers",
        authors="Chen, Mei, Wang, Feng, Chen",
        venue="AAAI 2020",
        url="https://arxiv.org/abs/1912.00350",
        formula="CE + lambda T^2 KL(sum_(j != i) a_ij p_j || p_i), a_i = softmax_(j != i) <W_L h_i, W_E h_j>; leader: KL(mean_j p_j || p)",
    )

    def __init__(self, options: OKDDipOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        widths = [setting.embedding_width(k) for k in range(setting.num_students)]
        self.receive = nn.ModuleList(nn.Linear(width, options.attention_hidden, bias=False) for width in widths)  # W_L
        self.send = nn.ModuleList(nn.Linear(width, options.attention_hidden, bias=False) for width in widths)  # W_E

    @classmethod
    def extra_members(cls, options: StrategyOptions, students: Sequence[StudentOptions]) -> tuple[tuple[str, StudentOptions], ...]:
        assert isinstance(options, OKDDipOptions)
        return (("leader", options.leader),)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for projection in (*self.receive, *self.send):
            projection.reset_parameters()

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        logits = step.targets[: self.setting.num_students, step.exchange]
        predictions = self.distribution.probabilities(logits, self.options.peers_temperature)
        attention = self._attention(step)
        step.log["weights"] = attention.detach().mean(2)
        target = torch.cat([mix(attention.unsqueeze(-1), predictions), predictions.mean(0, keepdim=True)])
        return {"supervised": self.supervised(step), "mutual": self.imitation(step, target)}

    def _attention(self, step: Step) -> Tensor:
        """alpha on the exchange samples: (receivers K, senders K, samples), zero on the diagonal."""
        states = [step.embeddings[k].detach()[step.exchange] for k in range(self.setting.num_students)]
        received, sent = (_project(maps, states) for maps in (self.receive, self.send))
        scores = torch.einsum("anh,bnh->abn", received, sent)
        return torch.softmax(mask_self(scores.unsqueeze(-1)), dim=1).squeeze(-1)


def _project(maps: Any, states: list[Tensor]) -> Tensor:
    return torch.stack([project(state) for project, state in zip(maps, states, strict=True)])
