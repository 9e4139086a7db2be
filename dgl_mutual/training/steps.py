"""One training step of a cohort: perturbed views, the training pass, and the targets of the exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import StudentOutput
from dgl_mutual.nn.views import perturbed
from dgl_mutual.strategies.step import Step
from dgl_mutual.training.clean_logits import stack
from dgl_mutual.training.feeds import TrainingBatch
from dgl_mutual.training.seeds import generator
from dgl_mutual.training.state import TrainingState


@dataclass(frozen=True, eq=False)
class StepMaker:
    """Runs the active members on a batch.

    Attributes:
        labels: of all samples, for validation.
        train_labels: the same, unknown but for the labelled training samples: no strategy can learn from other labels.
        sampled: whether steps see samples of neighbourhoods.
        cleans_own: whether a step makes the clean logits of its targets itself, on its own samples.
        training: (samples,), true for training samples, labelled or not; None where all of these are labelled.
    """

    state: TrainingState
    labels: Tensor
    train_labels: Tensor
    sampled: bool
    cleans_own: bool
    training: Tensor | None

    def step(self, active: Sequence[int], share: TrainingBatch, batch: TrainingBatch, epoch: int) -> Step:
        """The step of an epoch within its phase, given this process's share of a batch, and all of it."""
        state = self.state
        ranks, exchange = state.ranks, state.exchange
        outputs = self._training_pass(share.batch, ranks.local(active))
        logits_here = ranks.gather_members(stack([output.logits for output in outputs]), active)
        logits = ranks.gather(logits_here, dim=1)
        if self.sampled:
            targets = ranks.gather(self._sampled_targets(share, logits_here.detach(), active), dim=1)
        else:
            targets = self._targets(share, batch, logits.detach(), active)
        training = batch.labelled if self.training is None else torch.nonzero(self.training[batch.index]).squeeze(1)
        seen = [] if ranks.divides == "students" else outputs  # no process has the states of all
        return Step(
            logits=logits,
            active=tuple(active),
            hidden=[output.hidden for output in seen],
            embeddings=[ranks.gather(output.embedding) for output in seen],
            targets=targets,
            labels=self.train_labels[batch.index],
            labelled=batch.labelled,
            training=training,
            exchange={"labelled": batch.labelled, "training": training}.get(exchange.on, slice(None)),
            samples=batch.samples,
            batch=batch.batch,
            ramp=exchange.ramp(epoch),
            epoch=epoch,
        )

    def _targets(self, share: TrainingBatch, batch: TrainingBatch, logits: Tensor, active: Sequence[int]) -> Tensor:
        """Targets of all members: (K, N, C). Of members that do not train here: their kept logits. Of the others: the logits that
        `Exchange.targets` names.

        Args:
            logits: of the active members, from the training pass, (A, N, C).
        """
        of_training_pass = self.state.exchange.targets == "train"
        if of_training_pass and len(active) == len(self.state.cohort):
            return logits
        kept = self.state.clean.of(batch.index)
        if self.cleans_own:
            return self._with_clean(kept, share, active)
        if not of_training_pass:
            return kept
        targets = kept.clone()
        targets[list(active)] = logits
        return targets

    def _training_pass(self, batch: Batch, members: Sequence[int]) -> list[StudentOutput]:
        """The outputs of members on a perturbed view of a batch, which is shared, or separate for each member."""
        cohort, streams = self.state.cohort, self.state.streams
        if not self.state.options.own_views:
            outputs: list[StudentOutput] = cohort(self._view(batch, streams.edges, streams.columns), members, streams.dropout)
            return outputs
        # One draw from each stream, whichever members train here: so processes that divide students draw the same numbers.
        drawn = [int(torch.randint(1 << 62, (1,), generator=one, device=one.device)) for one in (streams.edges, streams.columns)]
        found = []
        for k in members:
            edges, columns = (generator(seed, "view", k, device=streams.edges.device) for seed in drawn)
            found += cohort(self._view(batch, edges, columns), [k], streams.dropout)
        return found

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

    @torch.no_grad()
    def _with_clean(self, kept: Tensor, share: TrainingBatch, active: Sequence[int]) -> Tensor:
        """What is kept of the members, with clean logits of the active ones, made here on the samples of the step: (K, N, C)."""
        state, ranks = self.state, self.state.ranks
        state.cohort.eval()
        clean = stack(self._clean_logits(share.batch, ranks.local(active)))
        state.cohort.train()
        targets = kept.clone()
        targets[list(active)] = ranks.gather(ranks.gather_members(clean, active), dim=1)
        return targets

    def _clean_logits(self, batch: Batch, members: Sequence[int]) -> list[Tensor]:
        """Logits of members, which are in evaluation mode, by the weights that the strategy asks for."""
        kept = self.state.best_members or self.state.target_averages
        student = self.state.student if kept is None else kept.of
        return [student(k).forward_batch(batch).logits for k in members]

    @torch.no_grad()
    def _sampled_targets(self, batch: TrainingBatch, logits: Tensor, active: Sequence[int]) -> Tensor:
        """Targets of a sampled step: (K, N, C). Members whose targets are clean logits are run on the same sample in evaluation mode.

        A clean pass over the whole graph after each epoch would cost more on a large one, and be an epoch old.
        """
        state = self.state
        frozen = [k for k in range(len(state.cohort)) if k not in active]
        clean = list(state.ranks.local(active)) if state.exchange.uses_clean_logits else []
        state.cohort.eval()
        outputs = [*(output.logits for output in state.cohort(batch.batch, frozen)), *self._clean_logits(batch.batch, clean)]
        state.cohort.train()
        if clean:
            logits = state.ranks.gather_members(stack(outputs[len(frozen) :]), active)
        by_member = dict(zip([*frozen, *active], [*outputs[: len(frozen)], *logits], strict=True))
        return stack([by_member[k] for k in range(len(state.cohort))])
