"""The training loop: phases, epochs and validation. A strategy returns named loss terms; everything else is a callback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Batch
from dgl_mutual.store.members import ENSEMBLE
from dgl_mutual.training.callbacks import CallbackList
from dgl_mutual.training.checked_strategy import CheckedStrategy
from dgl_mutual.training.epoch_record import EpochRecord, columns_of
from dgl_mutual.training.evaluation.clean_logits import stack
from dgl_mutual.training.evaluation.task_metrics import Scorer, history_columns
from dgl_mutual.training.feeds import Feed
from dgl_mutual.training.gradients import backward, optimizer_step, refuse_non_finite_losses, titled
from dgl_mutual.training.history import HistoryRow
from dgl_mutual.training.optimizer import make_optimizer
from dgl_mutual.training.selection import Selection
from dgl_mutual.training.state import Phase, TrainingState, Validation
from dgl_mutual.training.step_maker import StepMaker


@dataclass(frozen=True, eq=False)
class Loop:
    """Trains the cohort of a state.

    Attributes:
        labels: labels of all samples, for validation.
    """

    state: TrainingState
    feed: Feed
    step_maker: StepMaker
    strategy: CheckedStrategy
    labels: Tensor
    scorer: Scorer
    selection: Selection
    callbacks: CallbackList

    def run(self) -> None:
        """Train phase after phase; each member ends at its best epoch by validation."""
        state = self.state
        self.callbacks("on_fit_begin", state)
        for number in range(state.phases_over, len(state.phases)):
            active = state.phases[number]
            trained_here = [state.cohort.members[k] for k in state.ranks.local(active)]
            optimizer = make_optimizer(trained_here, state.strategy, state.options, state.clean.device)
            state.phase = Phase(number, active, optimizer, epoch_offset=len(state.history), is_last=number == len(state.phases) - 1)
            self._run_phase(state.phase)

    def _run_phase(self, phase: Phase) -> None:
        state, active = self.state, phase.active
        state.averages.restart(state.ranks.local(active))
        self.callbacks("on_phase_begin", state)  # resumes an interrupted phase
        if phase.stopped and phase.epochs_done == 0:
            raise UsageError(
                "A callback calls state.stop in on_phase_begin, before there is an epoch to choose the students from. Call it in "
                "on_epoch_begin or later."
            )
        while not state.is_phase_over:
            self._run_epoch(phase)
        self.callbacks("on_phase_end", state)
        state.averages.restart(())  # members now have their best weights
        if not phase.is_last:
            state.targets.after_phase(active, self.clean_pass)

    def _run_epoch(self, phase: Phase) -> None:
        state, active, targets = self.state, phase.active, self.state.targets
        targets.before_epoch(
            active,
            self.clean_pass,
            first=phase.epochs_done == 0,
            best=self.selection.at_best(active, phase.epoch_offset + phase.epochs_done - 1),
            validated=state.validation is not None,
        )
        state.epoch = phase.epoch_offset + phase.epochs_done
        self.callbacks("on_epoch_begin", state)
        row: HistoryRow = {"epoch": float(state.epoch), **self._train_epoch(phase)}
        validates = (phase.epochs_done + 1) % state.options.eval_every == 0 or phase.epochs_done + 1 == state.options.epochs
        state.averages.after_epoch(phase.epochs_done)
        if validates or targets.are_clean:
            state.averages.update_bn_statistics(self._statistics_batches)
        targets.after_epoch(active, self.clean_pass, validates=validates)
        state.validation = None
        if validates:
            row.update(self._validate(phase))
        state.history.append(row)
        phase.epochs_done += 1
        self.callbacks("on_epoch_end", state)

    def _train_epoch(self, phase: Phase) -> HistoryRow:
        """Train the active members on each batch once, and return the columns of training for the history."""
        state, active = self.state, phase.active
        state.cohort.train()
        record = EpochRecord()
        for batch in self.feed.training_batches():
            step = self.step_maker.step(active, batch.gathered(state.ranks), phase.epochs_done)
            terms = self.strategy.loss_terms(step)
            phase.optimizer.zero_grad(set_to_none=True)
            backward(state, terms, step)
            record.add(step, terms, self.strategy.logged(step))
            self._update(phase)
            if self.callbacks.wants("on_step_end"):
                state.step, state.terms = step, terms
                self.callbacks("on_step_end", state)
                state.step, state.terms = None, {}
        return self._training_columns(record, active)

    def _training_columns(self, record: EpochRecord, active: Sequence[int]) -> HistoryRow:
        """Return the means of losses and logged values, and the metric of the training passes on labelled samples."""
        state, names, terms = self.state, self._names(active), record.mean_terms()
        means = {**{f"loss/{term}": mean for term, mean in terms.items()}, **record.mean_logged()}
        row = columns_of(means, state.cohort.names, active, state.strategy.name)
        refuse_non_finite_losses(state, {titled(term): mean for term, mean in terms.items()}, names)
        scores = self.scorer.scores(*record.predictions(), names)
        return {**row, **history_columns(scores, "train", names)}

    def _update(self, phase: Phase) -> None:
        """Update weights, buffers and averages after the backward pass of a step."""
        state = self.state
        trained = [state.cohort.members[k] for k in phase.active]
        self._drop_gradients_of_late_starters(phase)
        state.ranks.sum_gradients(trained, state.strategy)
        optimizer_step(state)
        state.ranks.share_buffers(member.custom_module for member in trained if member.custom_module is not None)
        state.averages.after_step(phase.epochs_done)

    def _names(self, members: Sequence[int]) -> list[str]:
        return [self.state.cohort.names[k] for k in members]

    def _drop_gradients_of_late_starters(self, phase: Phase) -> None:
        """Remove the gradients of members that do not learn yet: otherwise weight decay would change their weights."""
        for member in (self.state.cohort.members[k] for k in phase.active):
            if phase.epochs_done < member.options.first_epoch(self.state.options.epochs):
                member.zero_grad(set_to_none=True)

    def _statistics_batches(self) -> Iterator[Batch]:
        """Return batches of the training samples that steps see."""
        split = self.state.split
        return self.feed.statistics_batches(split.seen if self.state.exchange.uses_unlabelled else split.train)

    @torch.no_grad()
    def clean_pass(self, members: Sequence[int], samples: IntArray) -> None:
        """Compute the clean logits of these members anew, on at least these samples."""
        state = self.state
        state.cohort.eval()
        run_here = state.ranks.local(members)
        modules = {k: state.evaluated_member(k) for k in run_here}
        watched = self.callbacks.wants("on_evaluation_batch")
        latest = state.clean.latest
        for batch, numbers in self.feed.evaluation_batches(samples):
            for k in run_here:  # one after another: hidden states of one are freed before the next runs
                output = modules[k].forward_batch(batch)
                latest[k, numbers] = output.logits
                if watched:
                    self.callbacks("on_evaluation_batch", state, k, numbers, output)
            if len(run_here) < len(members):
                gathered = state.ranks.gather_members(stack([latest[k, numbers] for k in run_here]), members)
                for k, logits in zip(members, gathered, strict=True):
                    latest[k, numbers] = logits

    @torch.no_grad()
    def _validate(self, phase: Phase) -> HistoryRow:
        """Score the active members, and in the last phase the ensemble, on the validation samples."""
        state, active = self.state, phase.active
        val = torch.as_tensor(state.split.val, device=state.clean.device)
        labels = self.labels[val]
        candidates = state.clean.latest[list(active)][:, val]
        names = tuple(self._names(active))
        if phase.is_last:
            ensemble = state.cohort.ensemble_logits(state.clean.latest[:, val], val)
            candidates, names = torch.cat([candidates, ensemble.unsqueeze(0)]), (*names, ENSEMBLE)
        losses: list[float] = state.cohort.distribution.supervised(candidates, labels).tolist()
        refuse_non_finite_losses(state, {"the validation loss": losses}, names)
        scores = self.scorer.scores(candidates, labels, names)
        state.validation = Validation(names, scores.overall, losses)
        return history_columns(scores, "val", names)
