"""Alignahead: each layer learns a peer's view of the neighbourhoods one layer ahead."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.functional import edge_distance, edge_softmax
from dgl_mutual.options import IdleWith
from dgl_mutual.search_space import Real, SearchSpace
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.options import TeachingOptions
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy


class AlignaheadOptions(TeachingOptions):
    """Options of `alignahead`."""

    search_space: ClassVar[SearchSpace] = {**TeachingOptions.search_space, "bandwidth": Real(1.0, 1000.0, log=True)}
    idle_with: ClassVar[IdleWith] = {"bandwidth": {"weight": (0.0,)}}
    bandwidth: float = Field(100.0, ge=1e-3, le=1e6)
    """Distance at which the similarity of two neighbours is 1/e."""


class Alignahead(Strategy):
    """loss_i = CE(z_i[L], y[L]) + lambda / (K - 1) sum_{j != i} 1/L_j sum_l KL(S_j^l || S_i^{l+1}),

    S^l(v, u) = softmax_u exp(-|h^l_v - h^l_u|_1 / 100): the local structure of layer l, a distribution over the neighbours u of node v. The
    last layer teaches the first; where students differ in depth, l + 1 is taken modulo the number of layers of student i. KL is averaged
    over the nodes that have neighbours. The term needs no labels, so it is the same for every kind of target.

    NOTE[PAPER]: the paper updates its students in turns; here one step updates all of them, from their previous states.
    NOTE[PAPER]: where neighbours are much nearer than the bandwidth (100 in the paper), S is nearly uniform and there is little to learn:
    on Cora the history shows an ``exchange`` of 0.003 nats. Smaller states lower it, too.
    NOTE[PAPER]: layers are all convolutions, so on a node task with a plain read-out the last one's states are the logits.
    """

    name = "alignahead"
    needs_all_edges = True
    needs_all_states = True
    Options = AlignaheadOptions
    options: AlignaheadOptions
    citation = Citation(
        title="Alignahead: Online Cross-Layer Knowledge Extraction on Graph Neural Networks",
        authors="Guo, Chen, Wang",
        venue="IJCNN 2022",
        url="https://arxiv.org/abs/2205.02468",
        formula="CE + lambda mean_(j, l) KL(S_j^l || S_i^(l+1)), S^l(v, .) = softmax_u exp(-|h^l_v - h^l_u|_1 / 100)",
    )

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        structures = [self._local_structures(step, i) for i in step.active]
        assert isinstance(step.batch, GraphBatch)
        num_seen = step.batch.in_degrees.count_nonzero().clamp(min=1)
        alignment = []
        for i, own in enumerate(structures):
            divergences = [
                _divergence(structure.detach(), own[(layer + 1) % len(own)]) / (num_seen * len(theirs))
                for j, theirs in enumerate(structures)
                if j != i
                for layer, structure in enumerate(theirs)
            ]
            alignment.append(torch.stack(divergences).sum() / (len(structures) - 1))
        divergence = torch.stack(alignment)
        step.log["exchange"] = divergence.detach()
        return {"supervised": self.supervised(step), "alignment": self.options.weight * step.ramp * divergence}

    def _local_structures(self, step: Step, index: int) -> list[Tensor]:
        """S of each layer of the `index`-th active member: one probability per edge, (|E|,)."""
        (graph,) = step.batch.adjacencies(1)
        states = list(step.hidden[index])
        if len(states) < len(self.setting.state_widths(step.active[index])):  # the last convolution computes the logits
            states.append(step.logits[index])
        distances = (edge_distance(graph.pattern, own) for own in states)
        return [edge_softmax(graph.pattern, torch.exp(-distance / self.options.bandwidth)) for distance in distances]


def _divergence(target: Tensor, own: Tensor) -> Tensor:
    """Sum over nodes of KL between their distributions over edges. No probability is near zero: similarities lie in (0, 1]."""
    return (target * (target.log() - own.log())).sum()
