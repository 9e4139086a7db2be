"""The training loop. It knows steps, optimizers and stopping; what is learned comes as named terms from the strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.cohort import Cohort, student_names
from dgl_mutual.data.dataset import Dataset, IntArray, Split
from dgl_mutual.data.scaling import column_scales, with_scaled_columns
from dgl_mutual.data.splits import unlabelled_samples
from dgl_mutual.errors import UsageError
from dgl_mutual.joint import TaskWeights, make_distribution
from dgl_mutual.nn.adjacency import Rows
from dgl_mutual.nn.architectures import num_blocks
from dgl_mutual.nn.module import StudentOutput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import make_student, resolve_student
from dgl_mutual.nn.views import perturbed
from dgl_mutual.options import parse_options
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.strategies.base import Setting, Step, Strategy
from dgl_mutual.training import seeds
from dgl_mutual.training.distributed import ALONE, Ranks, share_batch_norm
from dgl_mutual.training.diversity import DiversityProbe
from dgl_mutual.training.early_stopping import EarlyStopping
from dgl_mutual.training.feeds import Feed, TrainingBatch, make_feed
from dgl_mutual.training.held_out import held_out_samples
from dgl_mutual.training.history import EpochReport, HistoryRow, columns_of, refuse_non_finite
from dgl_mutual.training.memory import FreedMemory
from dgl_mutual.training.metrics import Scorer, refuse_undefined
from dgl_mutual.training.optimizer import make_optimizer
from dgl_mutual.training.options import TrainingOptions, resolve_training
from dgl_mutual.training.result import FitResult, summarise
from dgl_mutual.training.sampling import resolve_fanout
from dgl_mutual.training.snapshots import Keeper, Phase, Snapshots, identity_of, weights_of
from dgl_mutual.training.task_metrics import history_columns, score, scorer_of


def fit_cohort(
    dataset: Dataset,
    split: Split,
    *,
    students: Sequence[StudentOptions],
    strategy: str | type[Strategy] = "gml",
    strategy_options: Mapping[str, Any] | None = None,
    training: TrainingOptions | None = None,
    task_weights: TaskWeights | None = None,
    seed: int = 0,
    fold: int = 0,
    on_epoch: Callable[[EpochReport], None] | None = None,
    snapshots: Snapshots | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    ranks: Ranks = ALONE,
) -> FitResult:
    """Train one cohort on one split.

    Args:
        students: options of the K students, resolved or not.
        strategy: name or class; `strategy_options` are its options as plain values.
        task_weights: how several tasks are weighed against each other (default: equal).
        seed, fold: name the random streams; the same pair gives the same result whatever ran before.
        on_epoch: called after every epoch.
        snapshots: where the training is kept while it lasts, and goes on from if it was interrupted; the result is the same.
        ranks: the processes that train this cohort together, each of which calls this with the same arguments and gets the same result.

    Returns:
        Each member's metrics at its best epoch by validation, the history, and the trained cohort.

    Raises:
        UsageError: options that do not fit together, or that several processes cannot train with.
        TrainingError: a loss that is not finite, or a metric that is not defined on a part of the split.
        StoreError, DataError: a snapshot cannot be written, or used.
    """
    training = resolve_training(training or TrainingOptions(), dataset)
    scales = column_scales(dataset, split) if training.scale_inputs else None
    seen = dataset if scales is None else with_scaled_columns(dataset, scales)
    task_weights = task_weights or "equal"
    trial = _Trial.prepare(
        seen,
        split,
        students=students,
        strategy=resolve_strategy(strategy),
        strategy_options=strategy_options or {},
        training=training,
        task_weights=task_weights,
        stream=(seed, fold),
        device=torch.device(device),
        dtype=dtype,
        ranks=ranks,
    )
    refuse_undefined(trial.scorer, trial.labels, split, dataset.target.num_outputs)
    identity = identity_of(trial, training, dataset, split, stream=(seed, fold), task_weights=task_weights) if snapshots is not None else {}
    keeper = Keeper(snapshots, identity)
    phases = trial.strategy.phases()
    with FreedMemory() as freed:
        for number, active in enumerate(phases):
            if not keeper.is_past(number):
                own = [trial.cohort.students[k] for k in ranks.own(active)]
                optimizer = make_optimizer(own, trial.strategy, trial.training, trial.clean.device)
                phase = Phase(number, active, optimizer, first=len(trial.history))
                trial.run_phase(phase, keeper, freed, last=number == len(phases) - 1, on_epoch=on_epoch)
    result = summarise(
        cohort=trial.cohort,
        dataset=dataset,
        split=split,
        logits=trial.logits_of(np.arange(dataset.num_samples)),
        labels=trial.labels,
        scorer=trial.scorer,
        test_batches=[batch for batch, _ in trial.feed.evaluation_batches(split.test)],
        best_epochs=[stopper.best_epoch for stopper in trial.stoppers],
        history=trial.history,
        train_seconds=keeper.seconds,
    )
    if scales is not None:
        for student in trial.cohort.students:
            student.fold_input_scaling(torch.as_tensor(scales, device=device))
    return result


@dataclass
class _Trial:
    """The state of one training run."""

    cohort: Cohort
    strategy: Strategy
    feed: Feed
    split: Split
    training: TrainingOptions
    labels: Tensor
    scorer: Scorer
    generators: list[torch.Generator]
    view_generators: dict[str, torch.Generator]  # edges, and columns: all processes mask the same ones
    order: torch.Generator
    clean: Tensor  # (K, samples, C): latest logits of the evaluation pass
    average: Tensor  # its moving average (targets: ema)
    stoppers: list[EarlyStopping]
    ensemble_stopper: EarlyStopping
    ranks: Ranks
    held_out: Tensor  # (samples,): training samples that no student learns from, where the strategy wants some
    diversity: DiversityProbe | None
    history: list[HistoryRow]

    @classmethod
    def prepare(
        cls,
        dataset: Dataset,
        split: Split,
        *,
        students: Sequence[StudentOptions],
        strategy: type[Strategy],
        strategy_options: Mapping[str, Any],
        training: TrainingOptions,
        task_weights: TaskWeights,
        stream: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype,
        ranks: Ranks,
    ) -> _Trial:
        seed, fold = stream
        ranks.check_students(len(students))
        if ranks.divides == "students" and training.diversity:
            raise UsageError(
                "Processes that divide students have no two of them to compare (training.diversity). Leave out --divide students."
            )
        options = parse_options(strategy.Options, strategy_options, "strategy_options").resolved(training.epochs, dataset.task)
        extras = strategy.extra_members(options)
        members = tuple(resolve_student(member, dataset.task) for member in (*students, *(extra for _, extra in extras)))
        names = (*student_names(members[: len(students)]), *(name for name, _ in extras))
        order = seeds.generator(seed, "order", fold)
        feed = make_feed(
            dataset,
            split,
            batch_size=training.batch_size,
            order=order,
            device=device,
            dtype=dtype,
            fanout=resolve_fanout(training.fanout, [num_blocks(member) for member in members]) if training.sampler else None,
            ranks=ranks,
        )
        distribution = make_distribution(dataset.target, task_weights)
        num_outputs = dataset.target.num_outputs
        setting = Setting(
            task=dataset.task,
            members=members,
            num_students=len(students),
            num_outputs=num_outputs,
            num_samples=feed.num_transductive_samples,
            distribution=distribution,
            sampled=feed.sampled,
            divided=ranks.divides,
            seed=seeds.derive(seed, "strategy", fold),
        )
        modules = []
        for place, member in enumerate(members):
            with seeds.initialisation(seed, "initialisation", fold, place):
                modules.append(make_student(member, dataset.task, dataset.num_features, num_outputs, names[place]).to(device, dtype))
                share_batch_norm(modules[-1], ranks)
        with seeds.initialisation(seed, "initialisation", fold, "strategy"):
            teaching = strategy(options, setting).to(device, dtype)
        if teaching.exchange_on == "transductive" or (feed.sampled and teaching.exchange_on == "all"):
            feed.bring_along(unlabelled_samples(dataset, split, transductive=teaching.exchange_on == "transductive"))
        path = ("rank", ranks.stream) if ranks.stream else ()
        logits = torch.zeros(len(members), num_outputs, dataset.num_samples, device=device, dtype=dtype).transpose(1, 2)
        return cls(
            cohort=Cohort(modules, teaching.coordinator, distribution, names, len(students)),
            strategy=teaching,
            feed=feed,
            split=split,
            training=training,
            labels=torch.as_tensor(dataset.labels, device=device),
            scorer=scorer_of(dataset),
            generators=[seeds.generator(seed, "dropout", fold, place, *path, device=device) for place in range(len(members))],
            view_generators={
                "edges": seeds.generator(seed, "view", fold, *path, device=device),
                "columns": seeds.generator(seed, "view", "columns", fold, device=device),
            },
            order=order,
            clean=logits,
            average=logits.clone() if teaching.target_pass == "ema" else logits,
            stoppers=[EarlyStopping(training.patience) for _ in members],
            ensemble_stopper=EarlyStopping(training.patience),
            ranks=ranks,
            held_out=held_out_samples(dataset, split, teaching.held_out_share, seed=seeds.derive(seed, "held-out", fold)).to(device),
            diversity=DiversityProbe(
                names[: len(students)],
                split,
                dataset.num_samples,
                distribution,
                generator=seeds.generator(seed, "diversity", fold),
            )
            if training.diversity
            else None,
            history=[],
        )

    @property
    def streams(self) -> list[torch.Generator]:
        """All that is drawn from while training."""
        return [*self.generators, *self.view_generators.values(), self.order]

    def run_phase(
        self, phase: Phase, keeper: Keeper, freed: FreedMemory, *, last: bool, on_epoch: Callable[[EpochReport], None] | None
    ) -> None:
        """Train the active members until all have stopped, then leave each at its best weights."""
        active = phase.active
        if not keeper.resume(self, phase):
            start = phase.first + self.strategy.exchange_start(active)
            for k in active:
                self.stoppers[k] = EarlyStopping(self.training.patience, start)  # a member that trains again is chosen again
            self.ensemble_stopper = EarlyStopping(self.training.patience, start)
            if self._learns_from_clean_logits:
                self._renew(active, self._clean_samples, smooth=False)
        best = phase.best
        while not self._is_over(phase):
            epoch = phase.epoch
            row: HistoryRow = {"epoch": float(phase.first + epoch)}
            row.update(self._train_epoch(active, phase.optimizer, epoch))
            validates = (epoch + 1) % self.training.eval_every == 0 or epoch + 1 == self.training.epochs
            if self._learns_from_clean_logits:
                self._renew(active, self._clean_samples, smooth=True)
            elif validates:
                self._renew(active, self.split.val, smooth=True)
            if validates:
                row.update(self._select(active, phase.first + epoch, best, last))
                if self.diversity is not None:
                    row.update(self.diversity.measure())
            self.history.append(row)
            phase.epoch += 1
            freed.keep_if_plentiful()
            keeper.keep(self, phase, over=self._is_over(phase))
            if on_epoch is not None:
                val = {name[4:]: value for name, value in row.items() if name.startswith("val/")}
                on_epoch(EpochReport(epoch, self.training.epochs, sum(v for k, v in row.items() if k.startswith("loss/")), val))
        for k in self.ranks.own(active):
            self.cohort.students[k].load_state_dict(best[str(k)])
        self.ranks.spread_weights(self.cohort.students, active)
        if "coordinator" in best:
            self.cohort.coordinator.load_state_dict(best["coordinator"])
        if not last:  # later phases see these members by their best weights
            self._renew(active, self.split.val if self.feed.sampled else self._clean_samples, smooth=False)

    def _is_over(self, phase: Phase) -> bool:
        return phase.epoch == self.training.epochs or all(self.stoppers[k].stopped for k in phase.active)

    def logits_of(self, samples: IntArray) -> Tensor:
        """Clean logits (K, all samples, C) in which the rows of these samples are up to date."""
        self._clean_pass(range(len(self.cohort)), samples)
        return self.clean

    def _train_epoch(self, active: Sequence[int], optimizer: torch.optim.Optimizer, epoch: int) -> HistoryRow:
        self.cohort.train()
        sums: dict[str, Tensor] = {}
        seen: list[tuple[Tensor, Tensor]] = []
        steps = 0
        for share in self.feed.training_batches():
            batch = share.gathered(self.ranks)
            step = self._step(active, share, batch, epoch)
            terms = self.strategy.loss_terms(step)
            optimizer.zero_grad(set_to_none=True)
            torch.stack([term.sum() for term in terms.values()]).sum().backward()  # type: ignore[no-untyped-call]  # torch's own gap
            self.ranks.sum_gradients([self.cohort.students[k] for k in active], self.strategy)
            optimizer.step()
            seen.append((step.logits[:, batch.labelled].detach(), step.labels[batch.labelled]))
            for name, value in (*((f"loss/{term}", value.detach()) for term, value in terms.items()), *step.log.items()):
                sums[name] = sums[name] + value if name in sums else value
            steps += 1
        means = {name: (value / steps).tolist() for name, value in sums.items()}
        row = columns_of(means, self.cohort.names, active)
        refuse_non_finite(row, epoch, self.training.learning_rate)
        logits, labels = zip(*seen, strict=True)
        names = [self.cohort.names[k] for k in active]
        scores = score(self.scorer, torch.cat(logits, dim=1), torch.cat(labels), names)
        return {**row, **history_columns(scores, "train", names)}

    def _step(self, active: Sequence[int], share: TrainingBatch, batch: TrainingBatch, epoch: int) -> Step:
        view = perturbed(share.batch, edge_drop=self.training.edge_drop, feature_mask=self.training.feature_mask, **self.view_generators)
        outputs: list[StudentOutput] = self.cohort(view, self.ranks.own(active), self.generators)
        said_here = self.ranks.gather_members(_stack([output.logits for output in outputs]), active)
        logits = self.ranks.gather(said_here, dim=1)
        if self.feed.sampled:
            targets = self.ranks.gather(self._targets_here(share, said_here.detach(), active), dim=1)
        elif self.strategy.target_pass != "train":
            targets = (self.average if self.strategy.target_pass == "ema" else self.clean)[:, batch.columns]
        elif len(active) == len(self.cohort):
            targets = logits.detach()
        else:
            targets = self.clean[:, batch.columns].clone()
            targets[list(active)] = logits.detach()
        labelled, held_out = self._divide(batch)
        seen = [] if self.ranks.divides == "students" else outputs  # no process has the states of all
        return Step(
            logits=logits,
            active=tuple(active),
            hidden=[output.hidden for output in seen],
            embeddings=[self.ranks.gather(output.embedding) for output in seen],
            targets=targets,
            labels=self.labels[batch.columns],
            labelled=labelled,
            exchange=labelled if self.strategy.exchange_on == "labelled" else slice(None),
            samples=batch.samples,
            batch=batch.batch,
            ramp=self.strategy.ramp(epoch),
            epoch=epoch,
            held_out=held_out,
        )

    @torch.no_grad()
    def _targets_here(self, batch: TrainingBatch, logits: Tensor, active: Sequence[int]) -> Tensor:
        """What all members say on a sampled step: (K, N, C). Who does not speak by the training pass makes a clean one on the same sample.

        A clean pass over the whole graph after each epoch would cost more on a large one, and be an epoch old.
        """
        standing = [k for k in range(len(self.cohort)) if k not in active]
        silent = list(self.ranks.own(active)) if self.strategy.target_pass in ("eval", "ema") else []
        self.cohort.eval()
        outputs = [output.logits for output in self.cohort(batch.batch, [*standing, *silent])]
        self.cohort.train()
        if silent:
            logits = self.ranks.gather_members(_stack(outputs[len(standing) :]), active)
        said = dict(zip([*standing, *active], [*outputs[: len(standing)], *logits], strict=True))
        return _stack([said[k] for k in range(len(self.cohort))])

    def _divide(self, batch: TrainingBatch) -> tuple[Rows, Tensor]:
        """The rows whose labels students learn from, and those that are held out from all of them."""
        nobody = torch.empty(0, dtype=torch.int64, device=self.clean.device)
        if self.strategy.held_out_share == 0.0:
            return batch.labelled, nobody
        rows = torch.arange(len(batch.samples), device=self.clean.device)[batch.labelled]
        aside = self.held_out[batch.samples[rows]]
        return rows[~aside], rows[aside]

    @property
    def _learns_from_clean_logits(self) -> bool:
        """Whether the next epoch's targets are clean logits of members that train in it. Sampled steps make those on their own samples."""
        return not self.feed.sampled and self.strategy.target_pass in ("eval", "ema")

    @property
    def _clean_samples(self) -> IntArray:
        """Samples whose clean logits validation and targets need."""
        if self.strategy.exchange_on == "transductive":
            return np.arange(len(self.labels))
        return np.concatenate([self.split.train, self.split.val])

    def _renew(self, active: Sequence[int], samples: IntArray, *, smooth: bool) -> None:
        """Renew the active members' clean logits of these samples, and the moving average of them, unless that is to start anew."""
        self._clean_pass(active, samples)
        if self.strategy.target_pass == "ema":
            decay = self.strategy.target_decay if smooth else 0.0
            self.average.lerp_(self.clean, 1.0 - decay)

    @torch.no_grad()
    def _clean_pass(self, members: Sequence[int], samples: IntArray) -> None:
        self.cohort.eval()
        own = self.ranks.own(members)
        for batch, numbers in self.feed.evaluation_batches(samples):
            for k in own:  # one after another: what one keeps of its hidden layers is gone before the next begins
                (output,) = self.cohort(batch, [k])
                self.clean[k, numbers] = output.logits
                if self.diversity is not None:
                    self.diversity.observe(k, numbers, output.logits, output.embedding)
            if len(own) < len(members):
                said = self.ranks.gather_members(_stack([self.clean[k, numbers] for k in own]), members)
                for k, logits in zip(members, said, strict=True):
                    self.clean[k, numbers] = logits

    @torch.no_grad()
    def _select(self, active: Sequence[int], epoch: int, best: dict[str, dict[str, Tensor]], last: bool) -> HistoryRow:
        """Score the active members, and in the last phase the ensemble, on validation; remember the best weights."""
        val = torch.as_tensor(self.split.val, device=self.clean.device)
        labels = self.labels[val]
        logits = self.clean[list(active)][:, val]
        ensemble = self.cohort.ensemble_logits(self.clean[:, val], val) if last else logits[0]
        candidates = torch.cat([logits, ensemble.unsqueeze(0)])
        losses: list[float] = self.cohort.distribution.supervised(candidates, labels).tolist()
        names = (*(self.cohort.names[k] for k in active), "ensemble")
        validation = {f"loss/validation/{name}": loss for name, loss in zip(names, losses, strict=True)}
        refuse_non_finite(validation, epoch, self.training.learning_rate)
        scores = score(self.scorer, candidates, labels, names)
        metrics = scores.overall
        for k, metric, loss in zip(active, metrics, losses, strict=False):
            if self.stoppers[k].update(epoch, val_metric=metric, val_loss=loss) and k in self.ranks.own(active):
                best[str(k)] = weights_of(self.cohort.students[k])
        if last and self.ensemble_stopper.update(epoch, val_metric=metrics[-1], val_loss=losses[-1]):
            best["coordinator"] = weights_of(self.cohort.coordinator)
        return history_columns(scores, "val", names if last else names[:-1])


def _stack(logits: Sequence[Tensor]) -> Tensor:
    """(K, N, C) of K times (N, C), laid out class by class: softmax and sums over few classes are then ten times as fast on a CPU."""
    return torch.stack([one.t() for one in logits]).transpose(1, 2)
