"""Scores of trained members on the three parts of their split, and the time that a prediction takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.split import Split
from dgl_mutual.data.target import parts_of
from dgl_mutual.joint import make_distribution
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import StudentModule
from dgl_mutual.store.members import BEST, ENSEMBLE, MEAN
from dgl_mutual.strategies.exchange import ExchangeOn
from dgl_mutual.training.calibration import calibrations
from dgl_mutual.training.clock import median_ms
from dgl_mutual.training.result import FitResult, MemberResult, best_on_validation
from dgl_mutual.training.similarity import disagreement
from dgl_mutual.training.task_metrics import score, scorer_of


@dataclass(frozen=True)
class Figures:
    """What one member scores on the three parts of a split, and its calibration on the test part. Attributes as in `MemberResult`."""

    train: float
    val: float
    test: float
    nll: float
    ece: float


@dataclass(frozen=True)
class Assessment:
    """The figures of several members.

    Attributes:
        figures: of each member; of several tasks, the means.
        by_task: the same in each of several tasks, by metric; empty where there is one task.
        reliability: rows of reliability.csv, without the trial.
    """

    figures: Sequence[Figures]
    by_task: Mapping[str, Sequence[Figures]]
    reliability: list[dict[str, Any]]


def unscored(name: str, architecture: str, best_epoch: int | None, inference_ms: float, parameters: int) -> MemberResult:
    """The row of a member, whose figures are still NaN: ``replace(row, **vars(figures))`` fills them in."""
    return MemberResult(name, architecture, math.nan, math.nan, math.nan, best_epoch, inference_ms, parameters)


@torch.no_grad()
def score_members(
    names: Sequence[str],
    logits: Tensor,
    dataset: Dataset,
    split: Split,
    ensemble: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Assessment:
    """Score members on the three parts of a split, and measure their calibration on the test part.

    Args:
        names: one a member, and a last one for the ensemble if there is one.
        logits: (M, N, C) of the members on all samples.
        ensemble: gives the ensemble's logits (n, C), given the members' (M, n, C) on n samples and the samples' numbers (n,).

    Raises:
        TrainingError: a logit that is not finite, or a metric that is not defined on a part of the split.
    """
    scorer, distribution = scorer_of(dataset), make_distribution(dataset.target)
    labels = torch.as_tensor(dataset.labels, device=logits.device)
    parts = [torch.as_tensor(part, device=logits.device) for part in (split.train, split.val, split.test)]
    predictions = [logits[:, part] for part in parts]
    if ensemble is not None:
        predictions = [torch.cat([own, ensemble(own, part).unsqueeze(0)]) for own, part in zip(predictions, parts, strict=True)]
    train, val, test = (score(scorer, own, labels[part], names) for own, part in zip(predictions, parts, strict=True))
    metrics = [part.metric for part in parts_of(dataset.target)] or [dataset.target.metric]
    in_test = distribution.tasks(predictions[-1], labels[parts[-1]])
    calibrated = {metric: calibrations(*task) for metric, task in zip(metrics, in_test, strict=True)}
    members = range(len(names))

    def in_task(metric: str, k: int) -> Figures:
        own = calibrated[metric][k]
        return Figures(train.by_task[metric][k], val.by_task[metric][k], test.by_task[metric][k], own.nll, own.ece)

    def over_tasks(k: int) -> Figures:
        own = [of_members[k] for of_members in calibrated.values()]
        nll, ece = sum(one.nll for one in own) / len(own), sum(one.ece for one in own) / len(own)
        return Figures(train.overall[k], val.overall[k], test.overall[k], nll, ece)

    return Assessment(
        figures=[over_tasks(k) for k in members],
        by_task={metric: [in_task(metric, k) for k in members] for metric in test.by_task},
        reliability=[
            {"metric": metric, "member": name, **row}
            for metric, of_members in calibrated.items()
            for name, member in zip(names, of_members, strict=True)
            for row in member.rows()
        ],
    )


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
    trained = [
        unscored(name, student.options.architecture_name, epoch, inference_ms(student, test_batches), count(student))
        for name, student, epoch in zip(cohort.names, cohort.members, best_epochs, strict=True)
    ]
    num_students, students = cohort.num_students, trained[: cohort.num_students]
    milliseconds, parameters = sum(one.inference_ms for one in students), sum(one.parameters for one in students)
    trained.append(unscored(ENSEMBLE, "-", None, milliseconds, parameters + count(cohort.coordinator)))
    found = score_members([one.member for one in trained], logits, dataset, split, cohort.ensemble_logits)
    # In each of several tasks the one that is best over all of them.
    best = best_on_validation([figures.val for figures in found.figures[:num_students]])
    decisions = cohort.distribution.predictions(logits[:num_students, torch.as_tensor(split.test)])
    by_task = zip(found.by_task, cohort.distribution.by_task(decisions), strict=True) if found.by_task else ()

    def rows(figures: Sequence[Figures]) -> tuple[MemberResult, ...]:
        return _with_summaries([replace(one, **vars(own)) for one, own in zip(trained, figures, strict=True)], num_students, best)

    return FitResult(
        members=rows(found.figures),
        history=history,
        epochs=len(history),
        train_seconds=train_seconds,
        seconds_per_epoch=seconds_per_epoch,
        disagreement=disagreement(decisions),
        cohort=cohort,
        dataset=dataset,
        split=split,
        exchange_on=exchange_on,
        tasks={metric: rows(figures) for metric, figures in found.by_task.items()},
        disagreement_by_task={metric: disagreement(own) for metric, own in by_task},
        reliability=found.reliability,
    )


def _with_summaries(members: Sequence[MemberResult], num_students: int, best: int) -> tuple[MemberResult, ...]:
    """The members, then ``mean`` of the students, ``best_by_val``, which is the student `best`, and the ensemble, which comes last."""
    *own, ensemble = members
    students = own[:num_students]
    means = {name: fmean(getattr(student, name) for student in students) for name in ("train", "val", "test", "inference_ms", "nll", "ece")}
    parameters = round(fmean(student.parameters for student in students))
    mean = MemberResult(member=MEAN, architecture="-", best_epoch=None, parameters=parameters, **means)
    return (*own, mean, replace(students[best], member=BEST), ensemble)


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def inference_ms(student: StudentModule, batches: Sequence[Batch]) -> float:
    """Milliseconds in which one student alone predicts the batches (see `median_ms`)."""
    student.eval()
    return median_ms(lambda: [student.forward_batch(batch) for batch in batches], next(student.parameters()).device)
