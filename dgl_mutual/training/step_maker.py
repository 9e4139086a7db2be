"""The input of a strategy in one step: perturbed views, the training pass and targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import StudentOutput
from dgl_mutual.nn.views import perturbed
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.training.evaluation.clean_logits import stack
from dgl_mutual.training.feeds import TrainingBatch
from dgl_mutual.training.seeds import generator
from dgl_mutual.training.state import TrainingState


@dataclass(frozen=True, eq=False)
class StepMaker:
    """Runs the active members on a batch.

    Attributes:
        train_labels: labels of all samples, unknown except for the labelled training samples: no strategy can learn from other labels.
        is_training: (samples,), true for training samples, labelled or not; None if all training samples are labelled.
    """

    state: TrainingState
    train_labels: Tensor
    is_training: Tensor | None

    @classmethod
    def of(cls, state: TrainingState) -> StepMaker:
        """Create the step maker of a training."""
        split, device = state.split, state.clean.device
        labels = torch.as_tensor(state.dataset.labels, device=device)
        train = torch.as_tensor(split.train, device=device)
        train_labels = torch.full_like(labels, math.nan if labels.is_floating_point() else -1)
        train_labels[train] = labels[train]
        if not len(split.unlabelled):
            return cls(state, train_labels, is_training=None)
        is_training = torch.zeros(state.dataset.num_samples, dtype=torch.bool, device=device)
        is_training[torch.as_tensor(split.seen, device=device)] = True
        return cls(state, train_labels, is_training)

    def step(self, active: Sequence[int], batch: TrainingBatch, epoch: int) -> Step:
        """Return the step of the active members on a batch.

        Args:
            batch: the input of this process, with the samples of all processes (see `TrainingBatch.gathered`).
            epoch: number of the epoch in its phase, from 0.
        """
        state = self.state
        ranks, exchange = state.ranks, state.exchange
        outputs = self._training_pass(batch.batch, ranks.local(active))
        here = ranks.gather_members(stack([output.logits for output in outputs]), active)
        logits = ranks.gather(here, dim=1)
        training = batch.labelled if self.is_training is None else torch.nonzero(self.is_training[batch.index]).squeeze(1)
        seen = [] if ranks.divides == "students" else outputs  # no process has the hidden states of all members
        return Step(
            logits=logits,
            active=tuple(active),
            hidden=[output.hidden for output in seen],
            embeddings=[ranks.gather(output.embedding) for output in seen],
            targets=state.targets.of_step(batch, active, here=here.detach(), logits=logits.detach()),
            labels=self.train_labels[batch.index],
            labelled=batch.labelled,
            training=training,
            exchange={"labelled": batch.labelled, "training": training}.get(exchange.on, slice(None)),
            samples=batch.samples,
            batch=batch.batch,
            ramp=exchange.ramp(epoch),
            epoch=epoch,
        )

    def _training_pass(self, batch: Batch, members: Sequence[int]) -> list[StudentOutput]:
        """Run members on a perturbed view of a batch: one view for all of them, or one for each."""
        cohort, streams = self.state.cohort, self.state.streams
        if not (self.state.options.own_views and self.state.options.has_views):
            return cast("list[StudentOutput]", cohort(self._view(batch, streams.edges, streams.columns), members, streams.dropout))
        # One draw from each stream, whichever members train here: so processes that divide students draw the same numbers.
        seeds = [int(torch.randint(1 << 62, (1,), generator=stream, device=stream.device)) for stream in (streams.edges, streams.columns)]
        outputs: list[StudentOutput] = []
        for k in members:
            edges, columns = (generator(seed, "view", k, device=streams.edges.device) for seed in seeds)
            outputs += cohort(self._view(batch, edges, columns), [k], streams.dropout)
        return outputs

    def _view(self, batch: Batch, edges: torch.Generator, columns: torch.Generator) -> Batch:
        options = self.state.options
        return perturbed(
            batch,
            edge_drop=options.edge_drop,
            feature_mask=options.feature_mask,
            node_drop=options.node_drop,
            keeps_nodes=self.state.dataset.task == "node",
            edges=edges,
            columns=columns,
        )
