"""The training loop: phases, epochs and validation. A strategy gives named loss terms; everything else is a callback."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Batch
from dgl_mutual.store.members import ENSEMBLE
from dgl_mutual.strategies.step import Step
from dgl_mutual.training.callbacks import CallbackList
from dgl_mutual.training.evaluation.clean_logits import stack
from dgl_mutual.training.evaluation.task_metrics import Scorer, history_columns
from dgl_mutual.training.feeds import Feed
from dgl_mutual.training.history import HistoryRow, columns_of
from dgl_mutual.training.optimizer import make_optimizer
from dgl_mutual.training.selection import Selection
from dgl_mutual.training.state import Phase, TrainingState, Validation
from dgl_mutual.training.steps import StepMaker
from dgl_mutual.training.strategy_steps import StrategySteps, titled

#: Columns of the history that are terms of the loss begin with it.
_LOSS = "loss/"


@dataclass(frozen=True, eq=False)
class Loop:
    """Trains the cohort of a state.

    Attributes:
        labels: of all samples, for validation.
    """

    state: TrainingState
    feed: Feed
    step_maker: StepMaker
    strategy_steps: StrategySteps
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
            own = [state.cohort.members[k] for k in state.ranks.local(active)]
            optimizer = make_optimizer(own, state.strategy, state.options, state.clean.device)
            state.phase = Phase(number, active, optimizer, first=len(state.history), is_last=number == len(state.phases) - 1)
            self._run_phase(state.phase)

    def _run_phase(self, phase: Phase) -> None:
        state, active = self.state, phase.active
        for averages in state.all_averages:
            averages.restart(state.ranks.local(active))
        self.callbacks("on_phase_begin", state)  # where an interrupted phase is resumed
        if phase.stopped and phase.epoch == 0:
            raise UsageError(
                "A callback calls state.stop in on_phase_begin, before there is an epoch to choose the students from. Call it in "
                "on_epoch_begin or later."
            )
        while not state.is_phase_over:
            self._run_epoch(phase)
        self.callbacks("on_phase_end", state)
        for averages in state.all_averages:  # members now have their best weights
            averages.restart(())
        if not phase.is_last:  # later phases see these members by their best weights
            state.targets.after_phase(active, self.clean_pass)

    def _run_epoch(self, phase: Phase) -> None:
        state, active, targets = self.state, phase.active, self.state.targets
        targets.before_epoch(
            active,
            self.clean_pass,
            first=phase.epoch == 0,
            best=self.selection.at_best(active, phase.first + phase.epoch - 1),
            validated=state.validation is not None,
        )
        state.epoch = phase.first + phase.epoch
        self.callbacks("on_epoch_begin", state)
        row: HistoryRow = {"epoch": float(state.epoch), **self._train_epoch(phase)}
        validates = (phase.epoch + 1) % state.options.eval_every == 0 or phase.epoch + 1 == state.options.epochs
        if state.evaluation_averages is not None:
            state.evaluation_averages.after_epoch(phase.epoch)
            if validates or targets.are_clean:
                state.evaluation_averages.renew_statistics(self._statistics_batches)
        targets.after_epoch(active, self.clean_pass, validates=validates)
        state.validation = None
        if validates:
            row.update(self._validate(phase))
        state.history.append(row)
        phase.epoch += 1
        self.callbacks("on_epoch_end", state)

    def _train_epoch(self, phase: Phase) -> HistoryRow:
        state, active = self.state, phase.active
        state.cohort.train()
        values: defaultdict[str, list[Tensor]] = defaultdict(list)
        seen: list[tuple[Tensor, Tensor]] = []
        for share in self.feed.training_batches():
            batch = share.gathered(state.ranks)
            step = self.step_maker.step(active, share, batch, phase.epoch)
            terms = self.strategy_steps.loss_terms(step)
            seen.append((step.logits[:, batch.labelled].detach(), step.labels[batch.labelled]))
            phase.optimizer.zero_grad(set_to_none=True)
            self.strategy_steps.backward(terms, step)
            losses = {f"{_LOSS}{term}": value for term, value in terms.items()}
            for name, value in {**losses, **self.strategy_steps.logged(step)}.items():
                values[name].append(value.detach().clone())  # it may be a parameter or buffer, which changes in place
            self._update(phase, step)
            if self.callbacks.wants("on_step_end"):
                state.step, state.terms = step, terms
                self.callbacks("on_step_end", state)
                state.step, state.terms = None, {}
        # A term that is missing in a step adds nothing to its loss; a value that was not logged is not zero.
        counts = {name: len(seen if name.startswith(_LOSS) else logged) for name, logged in values.items()}
        means = {name: (sum(logged[1:], logged[0]) / counts[name]).tolist() for name, logged in values.items()}
        row = columns_of(means, state.cohort.names, active, state.strategy.name)
        names = self._names(active)
        means_of_terms = {titled(name.removeprefix(_LOSS)): mean for name, mean in means.items() if name.startswith(_LOSS)}
        self.strategy_steps.refuse_non_finite(means_of_terms, names)
        logits, labels = zip(*seen, strict=True)
        scores = self.scorer.scores(torch.cat(logits, dim=1), torch.cat(labels), names)
        return {**row, **history_columns(scores, "train", names)}

    def _update(self, phase: Phase, step: Step) -> None:
        """One step of the optimizer by the gradients."""
        state = self.state
        trained = [state.cohort.members[k] for k in phase.active]
        self._leave_waiting(phase)
        state.ranks.sum_gradients(trained, state.strategy)
        self.strategy_steps.update(phase.optimizer, step)
        state.ranks.share_buffers(student.custom_module for student in trained if student.custom_module is not None)
        for averages in state.all_averages:
            averages.after_step(phase.epoch)

    def _names(self, members: Sequence[int]) -> list[str]:
        return [self.state.cohort.names[k] for k in members]

    def _leave_waiting(self, phase: Phase) -> None:
        """Remove the gradients of members that do not learn yet: otherwise weight decay would change their weights."""
        for student in (self.state.cohort.members[k] for k in phase.active):
            if phase.epoch < student.options.first_epoch(self.state.options.epochs):
                student.zero_grad(set_to_none=True)

    def _statistics_batches(self) -> Iterator[Batch]:
        """Batches of the training samples that steps see."""
        split = self.state.split
        return self.feed.statistics_batches(split.train if self.state.exchange.on == "labelled" else split.seen)

    @torch.no_grad()
    def clean_pass(self, members: Sequence[int], samples: IntArray) -> None:
        """Renew the clean logits of these members on at least these samples."""
        state = self.state
        state.cohort.eval()
        own = state.ranks.local(members)
        students = {k: state.student(k) for k in own}
        watched = self.callbacks.wants("on_evaluation_batch")
        latest = state.clean.latest
        for batch, numbers in self.feed.evaluation_batches(samples):
            for k in own:  # one after another: what one keeps of its hidden layers is gone before the next begins
                output = students[k].forward_batch(batch)
                latest[k, numbers] = output.logits
                if watched:
                    self.callbacks("on_evaluation_batch", state, k, numbers, output)
            if len(own) < len(members):
                gathered = state.ranks.gather_members(stack([latest[k, numbers] for k in own]), members)
                for k, logits in zip(members, gathered, strict=True):
                    latest[k, numbers] = logits

    @torch.no_grad()
    def _validate(self, phase: Phase) -> HistoryRow:
        """Score the active members, and in the last phase the ensemble, on validation."""
        state, active = self.state, phase.active
        val = torch.as_tensor(state.split.val, device=state.clean.device)
        labels = self.labels[val]
        candidates = state.clean.latest[list(active)][:, val]
        names = tuple(self._names(active))
        if phase.is_last:
            ensemble = state.cohort.ensemble_logits(state.clean.latest[:, val], val)
            candidates, names = torch.cat([candidates, ensemble.unsqueeze(0)]), (*names, ENSEMBLE)
        losses: list[float] = state.cohort.distribution.supervised(candidates, labels).tolist()
        self.strategy_steps.refuse_non_finite({"the validation loss": losses}, names)
        scores = self.scorer.scores(candidates, labels, names)
        state.validation = Validation(names, scores.overall, losses)
        return history_columns(scores, "val", names)
