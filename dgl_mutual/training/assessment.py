"""Scores of trained members on the three parts of their split, and the time that a prediction takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.several_targets import parts_of
from dgl_mutual.data.split import Split
from dgl_mutual.joint import make_distribution
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import StudentModule
from dgl_mutual.strategies.exchange import ExchangeOn
from dgl_mutual.training.calibration import calibrations, mean_over_tasks
from dgl_mutual.training.clock import median_ms
from dgl_mutual.training.result import FitResult, MemberResult
from dgl_mutual.training.similarity import disagreement
from dgl_mutual.training.task_metrics import score, scorer_of


def unscored(member: str, architecture: str, best_epoch: int | None, inference_ms: float, parameters: int) -> MemberResult:
    """A row of a result before its scores are known."""
    return MemberResult(member, architecture, math.nan, math.nan, math.nan, best_epoch, inference_ms, parameters)


@torch.no_grad()
def scored(
    rows: Sequence[MemberResult],
    logits: Tensor,
    dataset: Dataset,
    split: Split,
    ensemble: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[list[MemberResult], dict[str, list[MemberResult]], list[dict[str, Any]]]:
    """Score members on the three parts of a split, and measure their calibration on the test part.

    Args:
        rows: one a member, and a last one for the ensemble if there is one; their scores are not looked at.
        logits: (M, N, C) of the members on all samples.
        ensemble: gives the ensemble's logits (n, C), given the members' (M, n, C) on n samples and the samples' numbers (n,).

    Returns:
        The rows with their figures; the rows in each of several tasks, by metric; and rows of reliability.csv, without the trial.

    Raises:
        TrainingError: a logit that is not finite, or a metric that is not defined on a part of the split.
    """
    names = [row.member for row in rows]
    scorer, distribution = scorer_of(dataset), make_distribution(dataset.target)
    labels = torch.as_tensor(dataset.labels, device=logits.device)
    parts = [torch.as_tensor(part, device=logits.device) for part in (split.train, split.val, split.test)]
    predictions = [logits[:, part] for part in parts]
    if ensemble is not None:
        predictions = [torch.cat([own, ensemble(own, part).unsqueeze(0)]) for own, part in zip(predictions, parts, strict=True)]
    scores = [score(scorer, own, labels[part], names) for own, part in zip(predictions, parts, strict=True)]
    metrics = [part.metric for part in parts_of(dataset.target)] or [dataset.target.metric]
    in_test = distribution.tasks(predictions[-1], labels[parts[-1]])
    measured = {metric: calibrations(*task) for metric, task in zip(metrics, in_test, strict=True)}

    def with_figures(columns: Iterable[Sequence[float]]) -> list[MemberResult]:
        return [row.scoring(*figures) for row, figures in zip(rows, zip(*columns, strict=True), strict=True)]

    members = with_figures([*(part.overall for part in scores), *zip(*mean_over_tasks(measured), strict=True)])
    tasks = {
        metric: with_figures([*(part.by_task[metric] for part in scores), *zip(*(one.figures for one in measured[metric]), strict=True)])
        for metric in scores[-1].by_task
    }
    reliability = [
        {"metric": metric, "member": name, **row}
        for metric, calibrated in measured.items()
        for name, member in zip(names, calibrated, strict=True)
        for row in member.rows()
    ]
    return members, tasks, reliability


def assess(
    *,
    cohort: Cohort,
    dataset: Dataset,
    split: Split,
    logits: Tensor,
    test_batches: Sequence[Batch],
    best_epochs: Sequence[int | None],
    history: list[dict[str, float]],
    train_seconds: float,
    seconds_per_epoch: float,
    exchange_on: ExchangeOn,
) -> FitResult:
    """Score every member on the three parts of the split. Nothing is chosen here: each stands at the epoch that validation chose.

    Args:
        logits: (K, N, C) of the members on all samples.
    """
    rows = [
        unscored(name, student.options.architecture_name, epoch, inference_ms(student, test_batches), count(student))
        for name, student, epoch in zip(cohort.names, cohort.members, best_epochs, strict=True)
    ]
    students = rows[: cohort.num_students]
    milliseconds, parameters = sum(row.inference_ms for row in students), sum(row.parameters for row in students)
    rows.append(unscored("ensemble", "-", None, milliseconds, parameters + count(cohort.coordinator)))
    members, tasks, reliability = scored(rows, logits, dataset, split, cohort.ensemble_logits)
    best = max(range(len(students)), key=lambda k: members[k].val)  # in each of several tasks the one that is best over all of them
    return FitResult(
        members=_with_summaries(members, len(students), best),
        history=history,
        epochs=len(history),
        train_seconds=train_seconds,
        seconds_per_epoch=seconds_per_epoch,
        disagreement=disagreement(cohort.distribution.predictions(logits[: len(students), torch.as_tensor(split.test)])),
        cohort=cohort,
        dataset=dataset,
        split=split,
        exchange_on=exchange_on,
        tasks={metric: _with_summaries(members, len(students), best) for metric, members in tasks.items()},
        reliability=reliability,
    )


def _with_summaries(members: Sequence[MemberResult], num_students: int, best: int) -> tuple[MemberResult, ...]:
    """The members, then ``mean`` of the students, ``best_by_val``, which is the student `best`, and the ensemble, which comes last."""
    *own, ensemble = members
    students = own[:num_students]
    means = {name: fmean(getattr(student, name) for student in students) for name in ("train", "val", "test", "inference_ms", "nll", "ece")}
    parameters = round(fmean(student.parameters for student in students))
    mean = MemberResult(member="mean", architecture="-", best_epoch=None, parameters=parameters, **means)
    return (*own, mean, replace(students[best], member="best_by_val"), ensemble)


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def inference_ms(student: StudentModule, batches: Sequence[Batch]) -> float:
    """Milliseconds in which one student alone predicts the batches (see `median_ms`)."""
    student.eval()
    return median_ms(lambda: [student.forward_batch(batch) for batch in batches], next(student.parameters()).device)
