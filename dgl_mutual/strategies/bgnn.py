"""BGNN: students become teachers one after another; samples on which the teachers err weigh more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from dgl_mutual.options import IdleWith
from dgl_mutual.search_space import Categorical, SearchSpace
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.exchange import Exchange, ExchangeOn
from dgl_mutual.strategies.base.options import TeachingOptions
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1.0, 4.0


class BGNNOptions(TeachingOptions):
    """Options of `bgnn`. The temperature is learned, so it is none of them."""

    search_space: ClassVar[SearchSpace] = {**TeachingOptions.search_space, "boost": Categorical((True, False))}
    idle_with: ClassVar[IdleWith] = {"temperature_hidden": {"weight": (0.0,)}}
    exchange_on: ExchangeOn = "all"
    """Imitate the teacher on all samples of a step, on training samples, labelled or not (training), on the labelled ones
    only, or also on samples outside the training part (transductive)."""
    boost: bool = True
    """Weigh the samples of the supervised term by the teachers' errors."""
    temperature_hidden: int = Field(16, ge=1)
    """Hidden width of the network that computes the temperatures."""


class AdaptiveTemperature(nn.Module):
    """T(v) = 1 + 3 sigmoid(MLP([z(v), H(p(v))])), from a teacher's logits and their entropy."""

    def __init__(self, num_outputs: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_outputs + 1, hidden)
        self.last = nn.Linear(hidden, 1)

    def reset_parameters(self) -> None:
        self.first.reset_parameters()
        self.last.reset_parameters()

    def forward(self, logits: Tensor, entropy: Tensor) -> Tensor:
        """Shapes: logits (N, C), entropy (N,), result (N, 1)."""
        hidden = torch.relu(self.first(torch.cat([logits, entropy.unsqueeze(-1)], dim=-1)))
        return LOWEST_TEMPERATURE + (HIGHEST_TEMPERATURE - LOWEST_TEMPERATURE) * torch.sigmoid(self.last(hidden))


class BoostedGNN(Strategy):
    """Student 0 trains by CE alone. Student k learns from student k - 1, its teacher, which no longer changes:

    loss_k = sum_{v in L} w(v) CE(z_k(v), y(v)) / sum_{v in L} w(v) + lambda mean_v KL(p(z_{k-1}(v) / T(v)) || p(z_k(v) / T(v))),
    w(v) = prod_{j < k} p_j(y(v))^{-(m - 1) / m}, m classes; T(v) in [1, 4] from an MLP that learns by the same loss.

    With several labels each label of a sample has its own weight, with m = 2. With several tasks each label has its own m, and T(v) is
    shared by all tasks.

    NOTE[PAPER]: w is SAMME.R's update, exp(-(m - 1)/m y^T log p), with y one-hot (Zhu et al. code the wrong classes as -1/(m - 1)).
    NOTE[PAPER]: the divergence has no factor T^2: T is learned, and such a factor would be one more reason to lower it.
    NOTE[PAPER]: T learns by the loss that it divides, and a higher T lowers that loss whatever the student does: on Cora it goes from 2.6
    to 3.9 within 30 epochs of each phase. The bound of 4 keeps the exchange alive; the history shows both (``temperature``, ``exchange``).
    NOTE[PAPER]: weights are normalised over the labelled samples of a step, not of the whole dataset.
    """

    name = "bgnn"
    Options = BGNNOptions
    options: BGNNOptions
    citation = Citation(
        title="Boosting Graph Neural Networks via Adaptive Knowledge Distillation",
        authors="Guo, Zhang, Fan, Tian, Zhang, Chawla",
        venue="AAAI 2023",
        url="https://arxiv.org/abs/2210.05920",
        formula="w CE + lambda KL(p_(k-1) || p_k) at T(v) in [1, 4], students one after another, w = prod_j p_j(y)^(-(m-1)/m)",
    )

    def __init__(self, options: BGNNOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        self.temperatures = nn.ModuleList(
            AdaptiveTemperature(setting.num_outputs, options.temperature_hidden) for _ in range(setting.num_students - 1)
        )

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for temperature in self.temperatures:
            temperature.reset_parameters()  # type: ignore[operator]  # a ModuleList has no element type

    def phases(self) -> tuple[tuple[int, ...], ...]:
        return tuple((k,) for k in range(self.setting.num_students))

    def exchange(self) -> Exchange:
        return replace(super().exchange(), targets="frozen")

    def learns_from_others(self, active: Sequence[int]) -> bool:
        return 0 not in active

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        (student,) = step.active
        if student == 0:
            return {"supervised": self.supervised(step)}
        labels = step.labels[step.labelled]
        weights = self._weights(step.targets[:student, step.labelled], labels) if self.options.boost else None
        return {"supervised": self.supervised(step, weights), "distillation": self._distillation(step, student)}

    def _weights(self, teachers: Tensor, labels: Tensor) -> Tensor:
        """w, scaled to a maximum of 1 per task, in the shape of `labels`, from the logits of all teachers: (k, labelled samples, C)."""
        num_classes = self.distribution.choices(teachers)
        nll = self.distribution.nll(teachers, labels).sum(0)
        exponent = (num_classes - 1) / num_classes * nll
        for of_task in self.distribution.by_task(exponent):
            of_task -= of_task.amax()  # against underflow; the weighted mean of each task stays the same
        return exponent.exp_()

    def _distillation(self, step: Step, student: int) -> Tensor:
        teacher = step.targets[student - 1, step.exchange]
        temperature: Tensor = self.temperatures[student - 1](teacher, self.distribution.entropy(teacher))
        step.log["temperature"] = temperature.detach().mean()
        target = self.distribution.probabilities(teacher, temperature)
        divergence = self.distribution.divergence(target, step.logits[:, step.exchange], temperature).mean(-1)
        step.log["exchange"] = divergence.detach()
        return self.options.weight * step.ramp * divergence
