"""Scores of a trained cohort on the three parts of its split, and the time that a prediction takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.several_targets import parts_of
from dgl_mutual.data.split import Split
from dgl_mutual.distributions import Distribution
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import StudentModule
from dgl_mutual.strategies.exchange import ExchangeOn
from dgl_mutual.training.calibration import Calibration, calibrations, mean_over_tasks
from dgl_mutual.training.clock import now
from dgl_mutual.training.metrics import Scorer
from dgl_mutual.training.result import FitResult, MemberResult
from dgl_mutual.training.similarity import disagreement
from dgl_mutual.training.task_metrics import score

#: A pass that takes longer is timed once.
_LONG_SECONDS = 5.0


def assess(
    *,
    cohort: Cohort,
    dataset: Dataset,
    split: Split,
    logits: Tensor,
    labels: Tensor,
    scorer: Scorer,
    test_batches: Sequence[Batch],
    best_epochs: Sequence[int | None],
    history: list[dict[str, float]],
    train_seconds: float,
    seconds_per_epoch: float,
    exchange_on: ExchangeOn,
) -> FitResult:
    """Score every member on the three parts of the split. Nothing is chosen here: each stands at the epoch that validation chose."""
    names = (*cohort.names, "ensemble")
    rows, predictions = {}, {}
    for part, samples in (("train", split.train), ("val", split.val), ("test", split.test)):
        rows[part] = torch.as_tensor(samples, device=logits.device)
        own = logits[:, rows[part]]
        with torch.no_grad():
            predictions[part] = torch.cat([own, cohort.ensemble_logits(own, rows[part]).unsqueeze(0)])
    scores = {part: score(scorer, predictions[part], labels[rows[part]], names) for part in rows}
    train, val, test = (scores[part].overall for part in ("train", "val", "test"))
    measured = calibrations_by_metric(dataset, cohort.distribution, predictions["test"], labels[rows["test"]])
    nlls, eces = zip(*mean_over_tasks(measured), strict=True)
    milliseconds = [inference_ms(student, test_batches) for student in cohort.members]
    results = [
        MemberResult(
            member=name,
            architecture=student.options.architecture_name,
            train=train[k],
            val=val[k],
            test=test[k],
            best_epoch=best_epochs[k],
            inference_ms=milliseconds[k],
            parameters=_count(student),
            nll=nlls[k],
            ece=eces[k],
        )
        for k, (name, student) in enumerate(zip(cohort.names, cohort.members, strict=True))
    ]
    students = results[: cohort.num_students]
    mean = MemberResult(
        member="mean",
        architecture="-",
        train=fmean(student.train for student in students),
        val=fmean(student.val for student in students),
        test=fmean(student.test for student in students),
        best_epoch=None,
        inference_ms=fmean(student.inference_ms for student in students),
        parameters=round(fmean(student.parameters for student in students)),
        nll=fmean(student.nll for student in students),
        ece=fmean(student.ece for student in students),
    )
    best = replace(max(students, key=lambda student: student.val), member="best_by_val")
    ensemble = MemberResult(
        member="ensemble",
        architecture="-",
        train=train[-1],
        val=val[-1],
        test=test[-1],
        best_epoch=None,
        inference_ms=sum(student.inference_ms for student in students),
        parameters=sum(student.parameters for student in students) + _count(cohort.coordinator),
        nll=nlls[-1],
        ece=eces[-1],
    )
    members = (*results, mean, best, ensemble)
    return FitResult(
        members=members,
        history=history,
        epochs=len(history),
        train_seconds=train_seconds,
        seconds_per_epoch=seconds_per_epoch,
        disagreement=disagreement(cohort.distribution.predictions(logits[: cohort.num_students, torch.as_tensor(split.test)])),
        cohort=cohort,
        dataset=dataset,
        split=split,
        exchange_on=exchange_on,
        tasks={
            metric: _in_task(members, [*(one.by_task[metric] for one in scores.values()), *_figures(measured[metric])], len(students))
            for metric in scores["test"].by_task
        },
        reliability=reliability_rows(measured, names),
    )


def calibrations_by_metric(dataset: Dataset, distribution: Distribution, logits: Tensor, labels: Tensor) -> dict[str, list[Calibration]]:
    """The calibration of each member, by the metric's name of each task, which stands for the task in tables."""
    parts = parts_of(dataset.target) if dataset.target.parts else ()
    metrics = [part.metric for part in parts] or [dataset.target.metric]
    return {metric: calibrations(*task) for metric, task in zip(metrics, distribution.tasks(logits, labels), strict=True)}


def reliability_rows(measured: Mapping[str, Sequence[Calibration]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of reliability.csv, without the trial."""
    return [
        {"metric": metric, "member": name, **row}
        for metric, members in measured.items()
        for name, member in zip(names, members, strict=True)
        for row in member.rows()
    ]


def _figures(members: Sequence[Calibration]) -> list[list[float]]:
    nlls, eces = zip(*(member.figures for member in members), strict=True)
    return [list(nlls), list(eces)]


def _in_task(members: Sequence[MemberResult], scores: Sequence[Sequence[float]], num_students: int) -> tuple[MemberResult, ...]:
    """The same members, at the same epochs, scored in one of several tasks: `scores` holds train, val, test, nll and ece.

    The student called ``best_by_val`` is the one that is best over all tasks.
    """
    *everyone, mean, _, ensemble = members
    scored = [member.scoring(*figures) for member, figures in zip([*everyone, ensemble], zip(*scores, strict=True), strict=True)]
    means = [fmean(part[:num_students]) for part in scores]
    best = max(range(num_students), key=lambda k: everyone[k].val)
    return (*scored[:-1], mean.scoring(*means), replace(scored[best], member="best_by_val"), scored[-1])


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def inference_ms(student: StudentModule, batches: Sequence[Batch], repeats: int = 3) -> float:
    """Median milliseconds in which one student alone predicts the batches; of what takes seconds, one run's."""
    student.eval()
    device = next(student.parameters()).device
    timings = []
    for _ in range(repeats + 1):  # the first builds what the batches keep
        started = now(device)
        for batch in batches:
            student.forward_batch(batch)
        timings.append(now(device) - started)
        if timings[0] > _LONG_SECONDS:
            return 1000 * timings[0]
    return 1000 * median(timings[1:])
