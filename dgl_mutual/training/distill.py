"""Distillation of the trained ensemble into an MLP, which needs no graph (GLNN; Zhang et al., ICLR 2022, arXiv 2110.08727)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.arrays import IntArray
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.positions import with_positions
from dgl_mutual.data.scaling import ScaleArray, column_scales, with_scaled_columns
from dgl_mutual.data.split import Split
from dgl_mutual.distributions import Distribution
from dgl_mutual.errors import UsageError
from dgl_mutual.joint import make_distribution
from dgl_mutual.nn.mlp import MLP
from dgl_mutual.training import seeds
from dgl_mutual.training.assessment import assess, calibrations_by_metric, inference_ms, reliability_rows
from dgl_mutual.training.calibration import mean_over_tasks
from dgl_mutual.training.distilled import DistilledMLP
from dgl_mutual.training.early_stopping import EarlyStopping
from dgl_mutual.training.feeds import Feed, make_feed, num_drawn
from dgl_mutual.training.inductive_split import InductiveSplit
from dgl_mutual.training.inference import predict
from dgl_mutual.training.metrics import Scorer
from dgl_mutual.training.options import DistillOptions
from dgl_mutual.training.result import FitResult, MemberResult
from dgl_mutual.training.task_metrics import score, scorer_of


def distill(
    result: FitResult,
    inductive: InductiveSplit,
    options: DistillOptions,
    *,
    seed: int,
    fold: int = 0,
    batch_size: int | None = None,
    scale_inputs: bool = False,
    unlabelled_ratio: float | None = None,
) -> FitResult:
    """Train an MLP from the ensemble of a cohort that was trained on ``inductive.seen``.

    loss = lambda CE(z[L], y[L]) + (1 - lambda) mean_v KL(p_ensemble(v) || p(v)), v over all nodes that are seen, or the
    training graphs, with hidden labels or without.

    Args:
        batch_size: of a graph task.
        scale_inputs: learn from feature columns of one size, as ``training.scale_inputs``; the MLP takes them as they are.
        unlabelled_ratio: how many graphs without labels an epoch sees, as ``training.unlabelled_ratio``.

    Returns:
        The same result with a member ``mlp`` more. Where nodes were kept from training, every member is assessed on them, in the whole
        graph.

    Raises:
        UsageError: a coordinator that knows the nodes of training alone, and nodes that were kept from training.
    """
    if inductive.nodes is not None and not result.cohort.coordinator.inductive:
        raise UsageError("The weighting of this cohort knows the nodes of training alone, so distill.unseen must be 0. Choose another one.")
    parameter = next(result.cohort.parameters())
    seen, whole = (with_positions(data.without_edge_features(), options.positions) for data in (inductive.seen, inductive.dataset))
    mlp_data = replace(inductive, seen=seen, dataset=whole)
    scales = _input_scales(mlp_data, scale_inputs)
    dataset = mlp_data.seen if scales is None else with_scaled_columns(mlp_data.seen, scales)
    feed = _feed(dataset, inductive.seen_split, seeds.generator(seed, "distill", "order", fold), batch_size, parameter)
    unlabelled = inductive.seen_split.unlabelled
    if len(unlabelled):
        drawn = num_drawn(unlabelled_ratio, len(unlabelled), len(inductive.seen_split.train)) if dataset.task == "graph" else None
        feed.add_unlabelled(unlabelled, drawn)
    with seeds.initialisation(seed, "distill", "initialisation", fold):
        mlp = MLP(
            dataset.task,
            dataset.num_features,
            dataset.target.num_outputs,
            hidden=options.hidden,
            depth=options.depth,
            rate=options.dropout,
        ).to(parameter.device, parameter.dtype)
    distillation = _Distillation(
        mlp=mlp,
        feed=feed,
        split=inductive.seen_split,
        labels=torch.as_tensor(dataset.labels, device=parameter.device),
        teacher=torch.as_tensor(predict(result.cohort, inductive.seen, "ensemble"), device=parameter.device, dtype=parameter.dtype),
        distribution=make_distribution(dataset.target),
        scorer=scorer_of(dataset, official=False),
    )
    best_epoch = distillation.train(options, seeds.generator(seed, "distill", "dropout", fold, device=parameter.device))
    if scales is not None:
        mlp.fold_input_scaling(torch.as_tensor(scales, device=parameter.device))
    assessed = result if inductive.nodes is None else _assess(result, inductive)
    member, in_tasks, reliability = _member(mlp, mlp_data, distillation, best_epoch, parameter)
    tasks = {metric: (*members, in_tasks[metric]) for metric, members in assessed.tasks.items()}
    return replace(
        assessed,
        members=(*assessed.members, member),
        tasks=tasks,
        mlp=DistilledMLP(mlp, options),
        reliability=[*assessed.reliability, *reliability],
    )


@dataclass
class _Distillation:
    mlp: MLP
    feed: Feed
    split: Split
    labels: Tensor
    teacher: Tensor  # (samples, C) probabilities
    distribution: Distribution
    scorer: Scorer

    def train(self, options: DistillOptions, dropout: torch.Generator) -> int:
        """Train to the best epoch by validation, and return it."""
        stopper = EarlyStopping(options.patience)
        optimizer = torch.optim.Adam(self.mlp.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        best: dict[str, Tensor] = {}
        for epoch in range(options.epochs):
            for batch in self.feed.training_batches():
                logits = self.mlp.forward_batch(batch.batch, dropout).logits
                loss = (1 - options.supervised_weight) * self.distribution.divergence(self.teacher[batch.index], logits).mean()
                if options.supervised_weight > 0:
                    labels = self.labels[batch.index][batch.labelled]
                    loss = loss + options.supervised_weight * self.distribution.supervised(logits[batch.labelled], labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
                optimizer.step()
            metric, val_loss = self._validate()
            if stopper.update(epoch, val_metric=metric, val_loss=val_loss):
                best = {name: value.detach().clone() for name, value in self.mlp.state_dict().items()}
            if stopper.stopped:
                break
        self.mlp.load_state_dict(best)
        assert stopper.best_epoch is not None
        return stopper.best_epoch

    def _validate(self) -> tuple[float, float]:
        val = torch.as_tensor(self.split.val, device=self.labels.device)
        logits = _logits(self.mlp, self.feed, self.split.val, self.labels.shape[0])[val]
        scores = score(self.scorer, logits.unsqueeze(0), self.labels[val], ["mlp"])
        return scores.overall[0], float(self.distribution.supervised(logits, self.labels[val]))


def _input_scales(inductive: InductiveSplit, scale_inputs: bool) -> ScaleArray | None:
    """What to multiply the MLP's inputs by, (F,): sums of edge features (``edge-sum``) by zero, as the student `mlp` leaves them out."""
    dataset = inductive.seen
    of_edges = np.array([kind == "edge-sum" for kind in dataset.feature_kinds], dtype=np.bool_)
    if not scale_inputs and not of_edges.any():
        return None
    scales = column_scales(dataset, inductive.seen_split) if scale_inputs else np.ones(dataset.num_features, dtype=np.float32)
    return np.where(of_edges, np.float32(0), scales)


@torch.no_grad()
def _logits(mlp: MLP, feed: Feed, samples: IntArray, num_samples: int) -> Tensor:
    """Logits of all samples, right in the rows of these: (samples, C)."""
    parts = [(numbers, mlp.forward_batch(batch).logits) for batch, numbers in feed.evaluation_batches(samples)]
    logits: Tensor = parts[0][1].new_zeros(num_samples, parts[0][1].shape[1])
    for numbers, part in parts:
        logits[numbers] = part
    return logits


def _member(
    mlp: MLP, inductive: InductiveSplit, distillation: _Distillation, best_epoch: int, parameter: Tensor
) -> tuple[MemberResult, dict[str, MemberResult], list[dict[str, Any]]]:
    """The MLP's figures, those in each of several tasks, and its rows of reliability.csv."""
    dataset, split = inductive.dataset, inductive.split
    feed = _feed(dataset, split, torch.Generator(), None, parameter)
    logits = _logits(mlp, feed, np.arange(dataset.num_samples), dataset.num_samples)
    labels = torch.as_tensor(dataset.labels, device=parameter.device)
    scorer = scorer_of(dataset)
    scores = [score(scorer, logits[None, part], labels[part], ["mlp"]) for part in (split.train, split.val, split.test)]
    measured = calibrations_by_metric(dataset, distillation.distribution, logits[None, split.test], labels[split.test])
    ((nll, ece),) = mean_over_tasks(measured)
    member = MemberResult(
        member="mlp",
        architecture="mlp",
        train=scores[0].overall[0],
        val=scores[1].overall[0],
        test=scores[2].overall[0],
        best_epoch=best_epoch,
        inference_ms=inference_ms(mlp, [batch for batch, _ in feed.evaluation_batches(split.test)]),
        parameters=sum(weight.numel() for weight in mlp.parameters()),
        nll=nll,
        ece=ece,
    )
    in_tasks = {
        metric: member.scoring(*[*(part.by_task[metric][0] for part in scores), *measured[metric][0].figures])
        for metric in scores[0].by_task
    }
    return member, in_tasks, reliability_rows(measured, ["mlp"])


def _assess(result: FitResult, inductive: InductiveSplit) -> FitResult:
    """The figures of a cohort in the whole graph, after it was trained in a part of it."""
    cohort, dataset = result.cohort, inductive.dataset
    parameter = next(cohort.parameters())
    takes_edges = any(student.edge_features for student in cohort.members)
    inputs = with_positions(dataset if takes_edges else dataset.without_edge_features(), cohort.positions)
    feed = _feed(inputs, inductive.split, torch.Generator(), None, parameter)
    (batch, _) = next(iter(feed.evaluation_batches(inductive.split.test)))
    cohort.eval()
    with torch.no_grad():
        logits = torch.stack([output.logits for output in cohort(batch)])
    epochs = {member.member: member.best_epoch for member in result.members}
    return assess(
        cohort=cohort,
        dataset=dataset,
        split=inductive.split,
        logits=logits,
        labels=torch.as_tensor(dataset.labels, device=parameter.device),
        scorer=scorer_of(dataset),
        test_batches=[batch],
        best_epochs=[epochs[name] for name in cohort.names],
        history=result.history,
        train_seconds=result.train_seconds,
        seconds_per_epoch=result.seconds_per_epoch,
        exchange_on=result.exchange_on,
    )


def _feed(dataset: Dataset, split: Split, order: torch.Generator, batch_size: int | None, parameter: Tensor) -> Feed:
    return make_feed(dataset, split, batch_size=batch_size, order=order, device=parameter.device, dtype=parameter.dtype)
