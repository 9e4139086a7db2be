"""Distillation of the trained ensemble into an MLP, which needs no graph (GLNN; Zhang et al., ICLR 2022, arXiv 2110.08727)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.positions import with_positions
from dgl_mutual.data.scaling import ScaleArray, column_scales, with_scaled_columns
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.joint import make_distribution
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.mlp import MLP
from dgl_mutual.nn.module import StudentModule
from dgl_mutual.store.members import ENSEMBLE, MLP_MEMBER
from dgl_mutual.training.assessment import MemberFacts, assess, inference_ms, num_parameters, score_members
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.early_stopping import EarlyStopping
from dgl_mutual.training.evaluation.inference import Predictor
from dgl_mutual.training.evaluation.task_metrics import scorer_of
from dgl_mutual.training.feeds import Feed, make_feed
from dgl_mutual.training.optimizer import Adam
from dgl_mutual.training.options import DistillOptions
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.seeds import TrialSeed
from dgl_mutual.training.selection import weights_of
from dgl_mutual.training.trial_data import TrialData
from dgl_mutual.utils.torch_settings import torch_defaults


@torch_defaults()
def distill(
    result: FitResult,
    data: TrialData,
    options: DistillOptions,
    *,
    seed: TrialSeed,
    batch_size: int | None = None,
    scale_inputs: bool = False,
    unlabelled_ratio: float | None = None,
) -> FitResult:
    """Train an MLP from the ensemble of a cohort that was trained on ``data.seen``.

    loss = lambda CE(z[L], y[L]) + (1 - lambda) mean_v KL(p_ensemble(v) || p(v)), v over all seen nodes, or over the training graphs, with
    hidden labels or without.

    Args:
        batch_size: graphs in a batch of a graph task.
        scale_inputs: train on scaled feature columns, as ``training.scale_inputs``; the trained MLP takes unscaled features.
        unlabelled_ratio: unlabelled graphs that an epoch sees for each labelled one, as ``training.unlabelled_ratio``.

    Returns:
        The same result with one more member, ``mlp``. If nodes were held out of training, the test metric of every member is measured on
        them, in the whole graph, and its training and validation metrics in the graph that training saw.

    Raises:
        UsageError: nodes were held out of training, and the coordinator has weights for the training nodes only.
    """
    if data.nodes is not None and not result.cohort.coordinator.inductive:
        raise UsageError(
            "The weighting of this cohort has weights only for the nodes that it was trained on, so distill.unseen must be 0. Choose "
            "another weighting, or leave out --unseen."
        )
    parameter = next(result.cohort.parameters())
    seen, whole = (with_positions(dataset.without_edge_features(), options.positions) for dataset in (data.seen, data.dataset))
    split = data.seen_split
    scales = _input_scales(seen, split, scale_inputs)
    inputs = seen if scales is None else with_scaled_columns(seen, scales)
    order = seed.generator("distill", "order")
    feed = make_feed(inputs, split, batch_size=batch_size, order=order, placement=Placement(parameter.device, parameter.dtype))
    if len(split.unlabelled):
        feed.add_unlabelled(split.unlabelled, unlabelled_ratio)
    with seed.seeded_globally("distill", "initialisation"):
        shape = {"hidden": options.hidden, "depth": options.depth, "positions": options.positions}
        mlp = MLP(seen.task, seen.num_features, seen.target.num_outputs, rate=options.dropout, **shape)
        mlp.to(parameter.device, parameter.dtype)
    teacher = torch.as_tensor(Predictor(result.cohort, ENSEMBLE)(data.seen), device=parameter.device, dtype=parameter.dtype)
    dropout = seed.generator("distill", "dropout", device=parameter.device)
    best_epoch = _train(mlp, inputs, split, feed, teacher, options, dropout)
    if scales is not None:
        mlp.fold_input_scaling(torch.as_tensor(scales, device=parameter.device))
    assessed = result if data.nodes is None else _assess(result, data)
    logits, test_batches = _predicted([mlp], seen, whole, data)
    facts = MemberFacts(MLP_MEMBER, "mlp", best_epoch, inference_ms(mlp, test_batches), num_parameters(mlp))
    scores = score_members([facts], logits, whole, data.split)
    return replace(
        assessed,
        members=(*assessed.members, *scores.members),
        tasks={metric: (*others, *scores.tasks[metric]) for metric, others in assessed.tasks.items()},
        mlp=mlp,
        reliability=[*assessed.reliability, *scores.reliability],
    )


def _train(mlp: MLP, dataset: Dataset, split: Split, feed: Feed, teacher: Tensor, options: DistillOptions, dropout: torch.Generator) -> int:
    """Train the MLP to its best epoch by validation, and return that epoch.

    Args:
        teacher: probabilities (N, C).
    """
    distribution, scorer = make_distribution(dataset.target), scorer_of(dataset, official=False)
    labels, val = (torch.as_tensor(values, device=teacher.device) for values in (dataset.labels, split.val))
    stopper = EarlyStopping(options.patience)
    optimizer = Adam(mlp.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    best: dict[str, Tensor] = {}
    for epoch in range(options.epochs):
        for batch in feed.training_batches():
            logits = mlp.forward_batch(batch.batch, dropout).logits
            loss = (1 - options.supervised_weight) * distribution.divergence(teacher[batch.index], logits).mean()
            if options.supervised_weight > 0:
                known = labels[batch.index][batch.labelled]
                loss = loss + options.supervised_weight * distribution.supervised(logits[batch.labelled], known)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
            optimizer.step()
        logits = _logits([mlp], feed, split.val, len(labels))[:, val]
        (metric,) = scorer.scores(logits, labels[val], [MLP_MEMBER]).overall
        if stopper.update(epoch, val_metric=metric, val_loss=float(distribution.supervised(logits[0], labels[val]))):
            best = weights_of(mlp)
        if stopper.stopped:
            break
    mlp.load_state_dict(best)
    assert stopper.best_epoch is not None
    return stopper.best_epoch


def _input_scales(dataset: Dataset, split: Split, scale_inputs: bool) -> ScaleArray | None:
    """Return the factors (F,) of the MLP's inputs: zero for sums of edge features (``edge-sum``), which the student `mlp` ignores, too."""
    of_edges = np.array([kind == "edge-sum" for kind in dataset.feature_kinds], dtype=np.bool_)
    if not scale_inputs and not of_edges.any():
        return None
    scales = column_scales(dataset, split) if scale_inputs else np.ones(dataset.num_features, dtype=np.float32)
    return np.where(of_edges, np.float32(0), scales)


@torch.no_grad()
def _logits(students: Sequence[StudentModule], feed: Feed, samples: IntArray, num_samples: int) -> Tensor:
    """Return the logits of each student, (M, num_samples, C), which are right only in the rows of these samples."""
    logits = next(students[0].parameters()).new_zeros(len(students), num_samples, students[0].num_outputs)
    for batch, numbers in feed.evaluation_batches(samples):
        for rows, student in zip(logits, students, strict=True):
            rows[numbers] = student.forward_batch(batch).logits
    return logits


def _predicted(students: Sequence[StudentModule], seen: Dataset, whole: Dataset, data: TrialData) -> tuple[Tensor, list[Batch]]:
    """Return the logits of each student on all samples of the whole graph (M, N, C), and the batches of the test samples.

    Nodes that training saw are predicted in the graph that it saw: selection by validation must not depend on other nodes.

    Args:
        seen, whole: the inputs of the students, in the two graphs.
    """
    logits, test_batches = _logits_in(students, whole, data.split)
    if data.nodes is not None:
        logits[:, torch.as_tensor(data.nodes, device=logits.device)] = _logits_in(students, seen, data.seen_split)[0]
    return logits, test_batches


def _logits_in(students: Sequence[StudentModule], dataset: Dataset, split: Split) -> tuple[Tensor, list[Batch]]:
    """Return the logits of each student on all samples (M, N, C), and the batches of the test samples."""
    parameter = next(students[0].parameters())
    feed = make_feed(dataset, split, batch_size=None, order=torch.Generator(), placement=Placement(parameter.device, parameter.dtype))
    logits = _logits(students, feed, np.arange(dataset.num_samples), dataset.num_samples)
    return logits, [batch for batch, _ in feed.evaluation_batches(split.test)]


def _assess(result: FitResult, data: TrialData) -> FitResult:
    """Return the result of a cohort trained in a part of the graph, with test metrics in the whole graph."""
    cohort, dataset = result.cohort, data.dataset
    takes_edges = any(student.edge_features for student in cohort.members)
    seen, whole = (with_positions(d if takes_edges else d.without_edge_features(), cohort.positions) for d in (data.seen, dataset))
    cohort.eval()
    logits, test_batches = _predicted(cohort.members, seen, whole, data)
    best_epochs = [result[name].best_epoch for name in cohort.names]
    assessment = assess(cohort, dataset, data.split, logits, test_batches, best_epochs)
    return replace(result, dataset=dataset, split=data.split, **vars(assessment))
