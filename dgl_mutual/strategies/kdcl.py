"""Online distillation via collaborative learning: one target for all members, better than any of them."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dgl_mutual.distributions import Distribution
from dgl_mutual.errors import UsageError
from dgl_mutual.options import MAX_TEMPERATURE, MIN_TEMPERATURE, IdleWith
from dgl_mutual.search_space import Categorical, SearchSpace
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.imitation import ExchangeStrategy
from dgl_mutual.strategies.base.options import ExchangeOptions
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step


class KDCLOptions(ExchangeOptions):
    """Options of `kdcl`."""

    search_space: ClassVar[SearchSpace] = {**ExchangeOptions.search_space, "target": Categorical(("minlogit", "naive", "mean"))}
    idle_with: ClassVar[IdleWith] = {"target": {"weight": (0.0,)}}
    temperature: float = Field(2.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    target: Literal["minlogit", "naive", "mean"] = "minlogit"
    """The target on labelled samples: per class the least logit relative to the true class's (minlogit), the logits of the member with the
    lowest CE (naive), or the mean logits (mean)."""


class CollaborativeLearning(ExchangeStrategy):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(t(v) || p_i(v)), one t for all members, t(v) = p(z(v) / T) with

    - minlogit: z_c(v) = min_k (z_k,c(v) - z_k,y(v)), y the true class of v;
    - naive: z(v) = z_k(v) of the member k with the lowest CE on v;
    - mean: z(v) = 1/K sum_k z_k(v).

    NOTE[PAPER]: minlogit and naive need v's label. The paper has labels everywhere; samples without one get the mean.
    NOTE[PAPER]: as in the paper, a member's own logits also enter its target, in all three forms, so the best member learns the least.
    NOTE[PAPER]: the paper's naive form takes the member that is best on the whole batch; ours takes the best per sample.
    MinLogit compares the logits of rival classes with that of the one true class, so it has no multi-label form and is refused there.
    With several tasks each has a target of its own; a sample whose label for a task is unknown gets the mean there.
    """

    name = "kdcl"
    Options = KDCLOptions
    options: KDCLOptions
    citation = Citation(
        title="Online Knowledge Distillation via Collaborative Learning",
        authors="Guo, Wang, Wu, Yu, Liang, Hu, Luo",
        venue="CVPR 2020",
        url="https://openaccess.thecvf.com/content_CVPR_2020/html/Guo_Online_Knowledge_Distillation_via_Collaborative_Learning_CVPR_2020_paper.html",
        formula="CE + lambda T^2 KL(t || p_i), t = p(min_k (z_k,c - z_k,y) / T)",
    )

    def __init__(self, options: KDCLOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        if options.target == "minlogit" and any(setting.distribution.multi_label):
            raise UsageError(
                "Strategy 'kdcl' with target 'minlogit' compares each class's logit with that of the one true class, and a multi-label "
                "sample has no such class. Choose --set strategy_options.target=naive or mean."
            )

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        target = self.distribution.probabilities(self._target_logits(step)[step.exchange], self.options.peers_temperature)
        return {"supervised": self.supervised(step), "mutual": self.imitation(step, target.unsqueeze(0))}

    def _target_logits(self, step: Step) -> Tensor:
        """z on all samples of the step: (N, C)."""
        target = step.targets.mean(0)
        if self.options.target != "mean":
            tasks = self.distribution.tasks(step.targets[:, step.labelled], step.labels[step.labelled])
            target[step.labelled] = torch.cat([self._task_target(*task) for task in tasks], dim=-1)
        return target

    def _task_target(self, distribution: Distribution, logits: Tensor, labels: Tensor) -> Tensor:
        """z of one task on the labelled samples: logits (K, N, C), labels in the form of the task's distribution, result (N, C)."""
        known = distribution.known(labels)
        if self.options.target == "minlogit":
            true = labels.clamp(min=0).expand(len(logits), -1).unsqueeze(-1)
            target = (logits - logits.gather(-1, true)).amin(0)
        else:
            nll = distribution.nll(logits, labels)
            best = nll.flatten(2).sum(-1).argmin(0) if nll.ndim == 3 else nll.argmin(0)
            target = logits[best, torch.arange(len(best), device=best.device)]
        return torch.where(known.reshape(len(known), -1).any(-1, keepdim=True), target, logits.mean(0))
