"""Online adversarial distillation: peers' mean prediction, and hidden features that a discriminator cannot tell from a neighbour's."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.convolutions import GCNConvolution, LayerSpec
from dgl_mutual.options import MAX_TEMPERATURE, MAX_WEIGHT, MIN_TEMPERATURE
from dgl_mutual.search_space import Real, SearchSpace
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.imitation import ExchangeStrategy
from dgl_mutual.strategies.base.options import ExchangeOptions
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step


class OADOptions(ExchangeOptions):
    """Options of `oad`."""

    search_space: ClassVar[SearchSpace] = {**ExchangeOptions.search_space, "adversarial_weight": Real(0.01, 10.0, log=True)}
    #: As in the paper.
    temperature: float = Field(3.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    #: NOTE[PAPER]: the paper warms up for 100 of 200 epochs; here, as in gml, lambda reaches its full value after half of the epochs.
    exchange_warmup: tuple[int, int] | None = None
    adversarial_weight: float = Field(1.0, ge=0, le=MAX_WEIGHT)
    """mu: weight of the adversarial term. The warm-up also applies to it."""
    discriminator_hidden: int = Field(16, ge=1)
    """Width of the discriminators."""


class Discriminator(nn.Module):
    """A small GNN that classifies whether the hidden features come from the neighbour in the cycle: one logit per node."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.convolution = GCNConvolution(LayerSpec(in_features, hidden))
        self.last = nn.Linear(hidden, 1)

    def reset_parameters(self) -> None:
        self.convolution.reset_parameters()
        self.last.reset_parameters()

    def forward(self, graph: Adjacency, states: Tensor) -> Tensor:
        """Shapes: states (sources, in_features), result (destinations,)."""
        scores: Tensor = self.last(torch.relu(self.convolution(graph, states, None)))
        return scores.squeeze(-1)


class OnlineAdversarial(ExchangeStrategy):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(1/(K-1) sum_{j != i} p_j(v) || p_i(v)) - mu mean_v log D_i(h_i(v)),

    and the discriminator of student i, which tells the last hidden features h of its neighbour in the cycle from the student's own,
    minimises loss_D_i = - mean_v log D_i(h_{i-1}(v)) - mean_v log(1 - D_i(h_i(v))).

    One backward pass serves both: the discriminators' term sees detached features, the students' term detached discriminators.

    NOTE[PAPER]: the student's term is the non-saturating form (raise log D instead of lowering log(1 - D)), which does not vanish early on.
    NOTE[PAPER]: D is a one-layer GCN and a linear read-out per node; it classifies nodes on graph tasks, too.
    NOTE: where neighbours are sampled, it classifies the step's own nodes from the neighbours in the last convolution.
    """

    name = "oad"
    needs_all_states = True
    Options = OADOptions
    options: OADOptions
    citation = Citation(
        title="Online Adversarial Knowledge Distillation for Graph Neural Networks",
        authors="Wang, Wang, Chen, Zhou, Feng, Chen",
        venue="Expert Systems with Applications 2024",
        url="https://arxiv.org/abs/2112.13966",
        formula="CE + lambda T^2 KL(mean_j p_j || p_i) - mu log D_i(h_i); D_i tells h_(i-1) from h_i",
    )

    def __init__(self, options: OADOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        widths = [setting.last_hidden_width(k) for k in range(setting.num_students)]
        if len(set(widths)) > 1:
            raise UsageError(
                "Strategy 'oad' matches the last hidden features of one student with another's, so all must have the same width; the "
                f"widths are {', '.join(map(str, widths))}. Give all students the same 'hidden', and on a node task more than one layer."
            )
        if setting.sampled and any(member.depth == 1 or member.readout == "jumping" for member in setting.members):
            raise UsageError(
                "Strategy 'oad' classifies a node from the last hidden features of its neighbours. Where neighbours are sampled, only "
                "features before the last convolution have some. Give all students two layers or more and readout 'last'."
            )
        self.discriminators = nn.ModuleList(Discriminator(width, options.discriminator_hidden) for width in widths)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for discriminator in self.discriminators:
            discriminator.reset_parameters()  # type: ignore[operator]  # a ModuleList has no element type

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        states = [hidden[-1] if len(hidden) else logits for hidden, logits in zip(step.hidden, step.logits, strict=True)]
        predictions = self.distribution.probabilities(step.targets[:, step.exchange], self.options.peers_temperature)
        others = (predictions.sum(0) - predictions) / (self.setting.num_students - 1)
        (graph,) = step.batch.adjacencies(1)
        adversarial = [self._adversarial_loss(graph, i, states[i]) for i in step.active]
        discriminator = [self._discriminator_loss(graph, i, own=states[i].detach(), neighbour=states[i - 1].detach()) for i in step.active]
        return {
            "supervised": self.supervised(step),
            "mutual": self.imitation(step, others),
            "adversarial": self.options.adversarial_weight * step.ramp * torch.stack(adversarial),
            "discriminator": torch.stack(discriminator).sum(),
        }

    def _adversarial_loss(self, graph: Adjacency, i: int, own: Tensor) -> Tensor:
        """-mean_v log D_i(h_i(v)), with a gradient for the student alone: a scalar."""
        discriminator = self.discriminators[i]
        frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        return F.softplus(-torch.func.functional_call(discriminator, frozen, (graph, own))).mean()

    def _discriminator_loss(self, graph: Adjacency, i: int, *, own: Tensor, neighbour: Tensor) -> Tensor:
        """-mean_v log D_i(h_{i-1}(v)) - mean_v log(1 - D_i(h_i(v))): a scalar."""
        discriminator = self.discriminators[i]
        return F.softplus(-discriminator(graph, neighbour)).mean() + F.softplus(discriminator(graph, own)).mean()
