"""Scores of trained members on the three parts of their split, and the time of a prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import parts_of
from dgl_mutual.joint import make_distribution
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import StudentModule
from dgl_mutual.store.members import BEST, ENSEMBLE, MEAN
from dgl_mutual.training.evaluation.calibration import Calibration, calibrations
from dgl_mutual.training.evaluation.similarity import disagreement
from dgl_mutual.training.evaluation.task_metrics import scorer_of
from dgl_mutual.training.result import MemberResult, best_on_validation
from dgl_mutual.training.timing import median_ms


@dataclass(frozen=True)
class MemberFacts:
    """The facts about a member that do not depend on its scores. Attributes as in `MemberResult`."""

    member: str
    architecture: str
    best_epoch: int | None
    inference_ms: float
    parameters: int


@dataclass(frozen=True)
class MemberScores:
    """Scores of several members on the three parts of a split, and their calibration on the test part. Attributes as in `FitResult`."""

    members: tuple[MemberResult, ...]
    tasks: Mapping[str, tuple[MemberResult, ...]]
    reliability: list[dict[str, Any]]


@dataclass(frozen=True)
class Assessment(MemberScores):
    """Scores of a cohort, and the disagreement of its students. Attributes as in `FitResult`."""

    disagreement: float
    disagreement_by_task: Mapping[str, float]


@torch.no_grad()
def score_members(
    members: Sequence[MemberFacts],
    logits: Tensor,
    dataset: Dataset,
    split: Split,
    ensemble: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> MemberScores:
    """Score members on the three parts of a split, and measure their calibration on the test part.

    Args:
        members: the M members, followed by the ensemble if there is one.
        logits: (M, N, C), logits of the members on all samples.
        ensemble: returns the ensemble's logits (n, C), given the members' (M, n, C) on n samples and the samples' numbers (n,).

    Raises:
        TrainingError: a logit that is not finite, or a metric that is not defined on a part of the split.
    """
    scorer, distribution = scorer_of(dataset), make_distribution(dataset.target)
    labels = torch.as_tensor(dataset.labels, device=logits.device)
    parts = [torch.as_tensor(part, device=logits.device) for part in (split.train, split.val, split.test)]
    predictions = [logits[:, part] for part in parts]
    if ensemble is not None:
        predictions = [torch.cat([of_part, ensemble(of_part, part).unsqueeze(0)]) for of_part, part in zip(predictions, parts, strict=True)]
    names = [facts.member for facts in members]
    train, val, test = (scorer.scores(of_part, labels[part], names) for of_part, part in zip(predictions, parts, strict=True))
    metrics = [part.metric for part in parts_of(dataset.target)] or [dataset.target.metric]
    test_tasks = distribution.tasks(predictions[-1], labels[parts[-1]])
    calibrated = {metric: calibrations(*task) for metric, task in zip(metrics, test_tasks, strict=True)}

    def results_of(scores: Sequence[Sequence[float]], by_task: Sequence[Sequence[Calibration]]) -> tuple[MemberResult, ...]:
        """Return the results of the members, given their metrics on the three parts and their calibrations in each task, to be averaged."""
        results = []
        for facts, in_train, in_val, in_test, *tasks in zip(members, *scores, *by_task, strict=True):
            nll, ece = sum(task.nll for task in tasks) / len(tasks), sum(task.ece for task in tasks) / len(tasks)
            results.append(MemberResult(**vars(facts), train=in_train, val=in_val, test=in_test, nll=nll, ece=ece))
        return tuple(results)

    return MemberScores(
        members=results_of([part.overall for part in (train, val, test)], list(calibrated.values())),
        tasks={metric: results_of([part.by_task[metric] for part in (train, val, test)], [calibrated[metric]]) for metric in test.by_task},
        reliability=[
            {"metric": metric, "member": name, **row}
            for metric, of_members in calibrated.items()
            for name, member in zip(names, of_members, strict=True)
            for row in member.rows()
        ],
    )


def assess(
    cohort: Cohort, dataset: Dataset, split: Split, logits: Tensor, test_batches: Sequence[Batch], best_epochs: Sequence[int | None]
) -> Assessment:
    """Score every member on the three parts of the split. Nothing is selected here: each member has the weights that validation selected.

    Args:
        logits: (K, N, C), logits of the members on all samples.
        test_batches: the batches of the test samples, to measure the time of a prediction.
        best_epochs: the best epoch of each member.
    """
    facts = [
        MemberFacts(name, member.options.architecture_name, epoch, inference_ms(member, test_batches), num_parameters(member))
        for name, member, epoch in zip(cohort.names, cohort.members, best_epochs, strict=True)
    ]
    num_students = cohort.num_students
    milliseconds = sum(student.inference_ms for student in facts[:num_students])
    parameters = sum(student.parameters for student in facts[:num_students]) + num_parameters(cohort.coordinator)
    facts.append(MemberFacts(ENSEMBLE, "-", best_epoch=None, inference_ms=milliseconds, parameters=parameters))
    scores = score_members(facts, logits, dataset, split, cohort.ensemble_logits)
    # Each of several tasks has the same best student, by the mean over all tasks.
    best = best_on_validation([student.val for student in scores.members[:num_students]])
    decisions = cohort.distribution.predictions(logits[:num_students, torch.as_tensor(split.test)])
    by_task = zip(scores.tasks, cohort.distribution.by_task(decisions), strict=True) if scores.tasks else ()
    return Assessment(
        members=_with_summaries(scores.members, num_students, best),
        tasks={metric: _with_summaries(members, num_students, best) for metric, members in scores.tasks.items()},
        reliability=scores.reliability,
        disagreement=disagreement(decisions),
        disagreement_by_task={metric: disagreement(in_task) for metric, in_task in by_task},
    )


def _with_summaries(members: Sequence[MemberResult], num_students: int, best: int) -> tuple[MemberResult, ...]:
    """Return the members, ``mean`` of the students, ``best_by_val`` (the student `best`), and the ensemble, which is last in `members`."""
    *others, ensemble = members
    students = others[:num_students]
    means = {name: fmean(getattr(student, name) for student in students) for name in ("train", "val", "test", "inference_ms", "nll", "ece")}
    parameters = round(fmean(student.parameters for student in students))
    mean = MemberResult(member=MEAN, architecture="-", best_epoch=None, parameters=parameters, **means)
    return (*others, mean, replace(students[best], member=BEST), ensemble)


def num_parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def inference_ms(student: StudentModule, batches: Sequence[Batch]) -> float:
    """Measure the milliseconds in which one student predicts the batches (see `median_ms`)."""
    student.eval()
    return median_ms(lambda: [student.forward_batch(batch) for batch in batches], next(student.parameters()).device)
