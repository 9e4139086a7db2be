"""Training of the reference: torch_geometric's `DataLoader` for graphs, the whole graph for nodes, Adam, selection on validation."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import starmap
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.scaling import column_scales, edge_column_scales, with_scaled_columns, with_scaled_edge_columns
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import TrainingError, unknown
from dgl_mutual.nn.module import EdgeInput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.reference.averages import WeightAverage
from dgl_mutual.reference.coordinator import make_coordinator, weighted_sum
from dgl_mutual.reference.graphs import to_graphs
from dgl_mutual.reference.losses import LOSSES, ReferenceStep, class_prior, entropy, supervised
from dgl_mutual.reference.students import ReferenceStudent
from dgl_mutual.store.members import BEST, ENSEMBLE, MEAN
from dgl_mutual.training.evaluation.metrics import as_compared, refuse_non_finite_logits
from dgl_mutual.training.evaluation.task_metrics import scorer_of
from dgl_mutual.training.history import refuse_non_finite
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.timing import median_ms

#: Number of graphs in an evaluation batch.
EVALUATION_BATCH = 256


class ShuffledBatches(torch.utils.data.Sampler[list[int]]):
    """Batches of nearly equal size in a new order every epoch: batch norm cannot work on a last batch of one node."""

    def __init__(self, num_graphs: int, batch_size: int, generator: torch.Generator) -> None:
        self.num_graphs = num_graphs
        self.num_batches = math.ceil(num_graphs / batch_size)
        self.generator = generator

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.num_graphs, generator=self.generator)
        return iter([part.tolist() for part in order.tensor_split(self.num_batches)])


@dataclass
class Best:
    """The best epoch of a student or of the ensemble so far: by validation metric, then by validation loss."""

    metric: float = -math.inf
    loss: float = math.inf
    epoch: int = -1
    state: dict[str, Tensor] = field(default_factory=dict)
    stopped: bool = False

    def update(self, epoch: int, metric: float, loss: float, module: torch.nn.Module, patience: int, start: int) -> None:
        """Record an evaluation; epochs before `start` do not use up patience.

        Raises:
            TrainingError: a metric or loss that is not finite.
        """
        if not (math.isfinite(metric) and math.isfinite(loss)):
            raise TrainingError(f"Validation of the reference is not finite in epoch {epoch} (metric {metric}, loss {loss}).")
        if self.stopped:
            return
        gain = as_compared(metric) - as_compared(self.metric)
        if self.epoch < 0 or gain > 0 or (gain == 0 and loss < self.loss):
            self.metric, self.loss, self.epoch = metric, loss, epoch
            self.state = copy.deepcopy(module.state_dict())
        else:
            self.stopped = epoch - max(self.epoch, start - 1) >= patience


@dataclass(frozen=True)
class ReferenceResult:
    """A member's metrics at its best epoch by validation (see `dgl_mutual.training.result.MemberResult`)."""

    member: str
    train: float
    val: float
    test: float
    inference_ms: float
    parameters: int


class ReferenceTrainer:
    """K students of the reference and their coordinator, on one split.

    Args:
        students: resolved options, as are `strategy_options` (plain values) and `training`.
        strategy: independent, dml or gml.
        order: random stream for the order of the training graphs.

    Raises:
        UsageError: a strategy that the reference does not know.
        DataError: features that do not fit into memory once they are dense.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        *,
        students: Sequence[StudentOptions],
        strategy: str,
        strategy_options: Mapping[str, Any],
        training: TrainingOptions,
        order: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if strategy not in LOSSES:
            raise unknown("strategy of the reference", strategy, LOSSES)
        if training.scale_inputs:
            edge_scales = edge_column_scales(dataset, split)
            dataset = with_scaled_edge_columns(with_scaled_columns(dataset, column_scales(dataset, split)), edge_scales)
        self.names = [f"{options.architecture}-{index}" for index, options in enumerate(students)]
        self.dataset, self.split = dataset, split
        self.loss, self.options, self.training = LOSSES[strategy], strategy_options, training
        num_outputs = dataset.target.num_outputs
        edges = EdgeInput.of(dataset.num_edge_features, dataset.feature_kinds)
        self.students = torch.nn.ModuleList(
            ReferenceStudent(options, dataset.task, dataset.num_features, num_outputs, edges) for options in students
        ).to(dtype)
        self.coordinator = make_coordinator(
            strategy_options.get("weighting", "uniform"),
            num_students=len(students),
            num_samples=dataset.num_samples,
            num_outputs=num_outputs,
            multi_label=dataset.target.kind == "multi-label",
            **strategy_options.get("weighting_options", {}),
        ).to(dtype)
        groups: list[dict[str, Any]] = [{"params": list(self.students.parameters()), "weight_decay": training.weight_decay}]
        if list(self.coordinator.parameters()):
            groups.append({"params": list(self.coordinator.parameters()), "weight_decay": 0.0})
        self.optimizer = torch.optim.Adam(groups, lr=training.learning_rate)
        self.graphs = to_graphs(dataset, dtype)
        self.labels = torch.as_tensor(dataset.labels)
        self.prior = class_prior(self.labels[torch.as_tensor(split.train)], num_outputs).to(dtype)
        self.scorer = scorer_of(dataset, official=False)
        self.train_loader = self._train_loader(order)
        self.clean = torch.zeros(len(students), dataset.num_samples, num_outputs, dtype=dtype)
        self.average = self.clean.clone()
        self.weight_averages: list[WeightAverage] = []
        self.best = {name: Best() for name in (*self.names, ENSEMBLE)}
        self.epoch = 0

    def load(self, students: Sequence[Mapping[str, Tensor]], coordinator: Mapping[str, Tensor]) -> None:
        """Load weights by the reference's names; those that are not given (running statistics) stay."""
        for student, state in zip(self.students, students, strict=True):
            student.load_state_dict(state, strict=False)
        self.coordinator.load_state_dict({**dict(self.coordinator.named_buffers()), **coordinator})

    @property
    def stopped(self) -> bool:
        """Whether every student has stopped looking for a better epoch, or epochs have run out."""
        return self.epoch == self.training.epochs or all(self.best[name].stopped for name in self.names)

    def forward(self, data: Data) -> list[Tensor]:
        """Logits of each student, in its current mode."""
        return [self._logits(student, data) for student in self.students]

    def _logits(self, student: torch.nn.Module, data: Data) -> Tensor:
        num_graphs = data.num_graphs if self.dataset.task == "graph" else None
        logits: Tensor = student(data.x, data.edge_index, data.batch, num_graphs, data.edge_attr)
        return logits

    def loss_terms(self, data: Data, logits: Sequence[Tensor]) -> dict[str, Tensor]:
        """The named loss terms of a training batch: ``<term>/<student>``, or ``<term>`` where the students share it."""
        rows = torch.arange(len(data.sample))
        labelled = torch.as_tensor(self.split.train) if self.dataset.task == "node" else rows
        source = self.options.get("targets", "train")
        targets = (
            [z.detach() for z in logits] if source == "train" else list((self.average if source == "ema" else self.clean)[:, data.sample])
        )
        step = ReferenceStep(
            logits=logits,
            targets=targets,
            labels=data.y,
            samples=data.sample,
            labelled=labelled,
            exchange=rows if self.options.get("exchange_on") == "all" else labelled,
            ramp=self._ramp(),
            prior=self.prior,
        )
        terms: dict[str, Tensor] = {}
        for term, values in self.loss(step, self.options, self.coordinator).items():
            shared = len(values) != len(self.names)
            terms.update(zip([term] if shared else [f"{term}/{name}" for name in self.names], values, strict=True))
        return terms

    def train_epoch(self) -> dict[str, float]:
        """One epoch over the training samples; the loss terms, averaged over its steps.

        Raises:
            TrainingError: a loss that is not finite.
        """
        if self.epoch == 0:
            self._start_averages()
            self.renew_targets(decay=0.0)
        self.students.train()
        sums: dict[str, float] = defaultdict(float)
        steps = 0
        for data in self.train_loader:
            self.optimizer.zero_grad()
            logits = self.forward(data)
            try:
                terms = self.loss_terms(data, logits)
            except (ValueError, RuntimeError):  # torch raises these for probabilities that are NaN
                refuse_non_finite_logits(torch.stack(logits), self.names)
                raise
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch's own gap
            self.optimizer.step()
            for average in self.weight_averages:
                average.after_step(self.epoch)
            for name, value in terms.items():
                sums[name] += value.item()
            steps += 1
        for average in self.weight_averages:
            average.after_epoch(self.epoch)
        self.epoch += 1
        refuse_non_finite({f"the term {name}": total for name, total in sums.items()}, (), self.epoch - 1, self.training.learning_rate)
        return {name: total / steps for name, total in sums.items()}

    def evaluate(self) -> None:
        """Close an epoch: renew the clean logits, score every member on validation, keep the best weights."""
        validates = self.epoch % self.training.eval_every == 0 or self.epoch == self.training.epochs
        if validates or self.options.get("targets", "train") != "train":
            self._renew_statistics()
            self.renew_targets(decay=self.options.get("ema_decay", 0.0))
        if not validates:
            return
        start = max([self.options.get("exchange_warmup", (0, 0))[0], *(average.start for average in self.weight_averages)])
        val = torch.as_tensor(self.split.val)
        refuse_non_finite_logits(self.clean[:, val], self.names)
        logits = torch.cat([self.clean[:, val], self.ensemble_logits(val).unsqueeze(0)])
        metrics = self.scorer.scores(logits, self.labels[val], (*self.names, ENSEMBLE)).overall
        members = dict(zip(self.names, self._served(), strict=True))
        for name, z, metric in zip(self.best, logits, metrics, strict=True):
            loss = supervised(z, self.labels[val].to(z.dtype) if self.labels.is_floating_point() else self.labels[val]).item()
            self.best[name].update(self.epoch - 1, metric, loss, members.get(name, self.coordinator), self.training.patience, start)

    def renew_targets(self, decay: float) -> None:
        """Recompute the clean logits that the targets of the next epoch and the validation need."""
        train, val = self.split.train, self.split.val
        self._clean_pass(val if self.options.get("targets", "train") == "train" else np.concatenate([train, val]))
        if self.options.get("targets") == "ema":
            self.average = decay * self.average + (1 - decay) * self.clean

    @torch.no_grad()
    def ensemble_logits(self, samples: Tensor) -> Tensor:
        """The coordinator's mix of all students' clean logits: (samples, C)."""
        logits = list(self.clean[:, samples])
        confidences = [-entropy(z, self.labels.is_floating_point()) for z in logits]
        return weighted_sum(self.coordinator.ensemble_weights(logits, confidences, samples), logits)

    def results(self) -> list[ReferenceResult]:
        """Put every member at its best weights and score it: the students, their mean, the best by validation, the ensemble."""
        self.weight_averages = []
        for name, module in zip(self.best, (*self.students, self.coordinator), strict=True):
            module.load_state_dict(self.best[name].state)
        everyone = np.arange(self.dataset.num_samples)
        self._clean_pass(everyone)
        refuse_non_finite_logits(self.clean, self.names)
        logits = torch.cat([self.clean, self.ensemble_logits(torch.as_tensor(everyone)).unsqueeze(0)])
        parts = [torch.as_tensor(part) for part in (self.split.train, self.split.val, self.split.test)]
        scorer = scorer_of(self.dataset)
        train, val, test = (scorer.scores(logits[:, part], self.labels[part], (*self.names, ENSEMBLE)).overall for part in parts)
        batches = list(self._batches(self.split.test))
        speeds = [self._inference_ms(student, batches) for student in self.students]
        sizes = [_num_parameters(student) for student in self.students]
        all_speeds, all_sizes = (*speeds, sum(speeds)), (*sizes, sum(sizes) + _num_parameters(self.coordinator))
        rows = zip((*self.names, ENSEMBLE), train, val, test, all_speeds, all_sizes, strict=True)
        *students, ensemble = starmap(ReferenceResult, rows)
        mean = ReferenceResult(
            MEAN, fmean(train[:-1]), fmean(val[:-1]), fmean(test[:-1]), inference_ms=fmean(speeds), parameters=round(fmean(sizes))
        )
        best = max(students, key=lambda result: as_compared(result.val))
        return [*students, mean, replace(best, member=BEST), ensemble]

    def _train_loader(self, order: torch.Generator) -> Iterable[Data]:
        if self.dataset.task == "node":
            return self.graphs
        train = [self.graphs[number] for number in self.split.train]
        loader: Iterable[Data] = DataLoader(train, batch_sampler=ShuffledBatches(len(train), self.training.batch_size or 32, order))
        return loader

    def _batches(self, samples: IntArray) -> Iterable[Data]:
        """Batches that cover at least these samples."""
        if self.dataset.task == "node":
            return self.graphs
        loader: Iterable[Data] = DataLoader([self.graphs[number] for number in samples], batch_size=EVALUATION_BATCH)
        return loader

    @torch.no_grad()
    def _clean_pass(self, samples: IntArray) -> None:
        served = self._served()
        for student in served:
            student.eval()
        for data in self._batches(samples):
            self.clean[:, data.sample] = torch.stack([self._logits(student, data) for student in served])

    @torch.no_grad()
    def _inference_ms(self, student: torch.nn.Module, batches: Sequence[Data]) -> float:
        """Milliseconds in which one student alone, in evaluation mode, predicts the batches."""
        return median_ms(lambda: [self._logits(student, data) for data in batches], next(student.parameters()).device)

    def _served(self) -> list[torch.nn.Module]:
        """The evaluated students: with averaged weights if averaging is on."""
        return [average.served for average in self.weight_averages] or list(self.students)

    def _start_averages(self) -> None:
        training = self.training
        if training.average != "none":
            decay, start = training.average_decay or 0.0, training.average_start or 0
            self.weight_averages = [WeightAverage(student, training.average, decay, start) for student in self.students]

    @torch.no_grad()
    def _renew_statistics(self) -> None:
        """Recompute the running statistics of batch norm on the training samples, for weights averaged over epochs.

        They are the mean over as many batches as an epoch has steps; on node tasks they are those of the graph.
        """
        averaged = [average.averaged.eval() for average in self.weight_averages if average.kind == "swa" and average.count]
        norms = [part for student in averaged for part in student.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches
            norm.train()
        for data in self._statistics_batches() if norms else ():
            for student in averaged:
                self._logits(student, data)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()

    def _statistics_batches(self) -> Iterable[Data]:
        if self.dataset.task == "node":
            return self.graphs
        samples = np.random.default_rng(0).permutation(self.split.train)
        steps = math.ceil(len(samples) / (self.training.batch_size or 32))
        parts = np.array_split(samples, max(1, min(steps, len(samples) // 2)))
        return (Batch.from_data_list([self.graphs[number] for number in part]) for part in parts)

    def _ramp(self) -> float:
        """Factor of the exchange in the coming epoch."""
        start, length = self.options.get("exchange_warmup", (0, 0))
        if self.epoch < start:
            return 0.0
        return min(1.0, (self.epoch - start + 1) / length) if length else 1.0


def _num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
