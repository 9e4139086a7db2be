"""One training step of a cohort: perturbed views, the training pass, and the targets of the exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgl_mutual.nn.csr import Rows
from dgl_mutual.nn.module import StudentOutput
from dgl_mutual.nn.views import perturbed
from dgl_mutual.strategies.base import Step
from dgl_mutual.training.feeds import TrainingBatch
from dgl_mutual.training.state import TrainingState
from dgl_mutual.training.targets import stack


@dataclass(frozen=True, eq=False)
class StepMaker:
    """Runs the active members on a batch.

    Attributes:
        labels: of all samples.
        held_out: (samples,), true for training samples that no student learns from, where the strategy wants some.
        sampled: whether steps see samples of neighbourhoods.
    """

    state: TrainingState
    labels: Tensor
    held_out: Tensor
    sampled: bool

    def step(self, active: Sequence[int], share: TrainingBatch, batch: TrainingBatch, epoch: int) -> Step:
        """The step of an epoch within its phase, given this process's share of a batch, and all of it."""
        state = self.state
        ranks, strategy, options = state.ranks, state.strategy, state.options
        view = perturbed(
            share.batch,
            edge_drop=options.edge_drop,
            feature_mask=options.feature_mask,
            edges=state.streams.edges,
            columns=state.streams.columns,
        )
        outputs: list[StudentOutput] = state.cohort(view, ranks.own(active), state.streams.dropout)
        logits_here = ranks.gather_members(stack([output.logits for output in outputs]), active)
        logits = ranks.gather(logits_here, dim=1)
        if self.sampled:
            targets = ranks.gather(self._sampled_targets(share, logits_here.detach(), active), dim=1)
        elif strategy.target_pass != "train":
            targets = state.clean.of(batch.columns)
        elif len(active) == len(state.cohort):
            targets = logits.detach()
        else:
            targets = state.clean.of(batch.columns).clone()
            targets[list(active)] = logits.detach()
        labelled, held_out = self._divide(batch)
        seen = [] if ranks.divides == "students" else outputs  # no process has the states of all
        return Step(
            logits=logits,
            active=tuple(active),
            hidden=[output.hidden for output in seen],
            embeddings=[ranks.gather(output.embedding) for output in seen],
            targets=targets,
            labels=self.labels[batch.columns],
            labelled=labelled,
            exchange=labelled if strategy.exchange_on == "labelled" else slice(None),
            samples=batch.samples,
            batch=batch.batch,
            ramp=strategy.ramp(epoch),
            epoch=epoch,
            held_out=held_out,
        )

    @torch.no_grad()
    def _sampled_targets(self, batch: TrainingBatch, logits: Tensor, active: Sequence[int]) -> Tensor:
        """Targets of a sampled step: (K, N, C). Members whose targets are clean logits are run on the same sample in evaluation mode.

        A clean pass over the whole graph after each epoch would cost more on a large one, and be an epoch old.
        """
        state = self.state
        standing = [k for k in range(len(state.cohort)) if k not in active]
        clean = list(state.ranks.own(active)) if state.strategy.target_pass in ("eval", "ema") else []
        state.cohort.eval()
        outputs = [output.logits for output in state.cohort(batch.batch, [*standing, *clean])]
        state.cohort.train()
        if clean:
            logits = state.ranks.gather_members(stack(outputs[len(standing) :]), active)
        by_member = dict(zip([*standing, *active], [*outputs[: len(standing)], *logits], strict=True))
        return stack([by_member[k] for k in range(len(state.cohort))])

    def _divide(self, batch: TrainingBatch) -> tuple[Rows, Tensor]:
        """The rows whose labels students learn from, and those that are held out from all of them."""
        if self.state.strategy.held_out_share == 0.0:
            return batch.labelled, torch.empty(0, dtype=torch.int64, device=self.labels.device)
        rows = torch.arange(len(batch.samples), device=self.labels.device)[batch.labelled]
        aside = self.held_out[batch.samples[rows]]
        return rows[~aside], rows[aside]
