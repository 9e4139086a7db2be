"""What a training run leaves behind."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset, Split
from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import StudentModule
from dgl_mutual.training.diversity import disagreement
from dgl_mutual.training.metrics import Scorer
from dgl_mutual.training.task_metrics import score

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from dgl_mutual.dgl_compat import dgl
    from dgl_mutual.training.distill import DistilledMLP


#: A pass that takes longer is timed once.
_LONG_SECONDS = 5.0


@dataclass(frozen=True)
class MemberResult:
    """One member's figures at its best epoch by validation.

    Attributes:
        member: ``gcn-0`` ..., ``mean`` (of the students), ``best_by_val`` (the student best on validation), ``ensemble``.
        train, val, test: the metric, a fraction in [0, 1].
        best_epoch: from 0; None where no single epoch is meant. The ensemble has none: its students stand at their own best epochs each,
            as they are saved, and its coordinator at the epoch in which the ensemble was best on validation.
        inference_ms: milliseconds to predict the test samples.
    """

    member: str
    architecture: str
    train: float
    val: float
    test: float
    best_epoch: int | None
    inference_ms: float
    parameters: int

    def scoring(self, train: float, val: float, test: float) -> MemberResult:
        """The same member with these figures."""
        return replace(self, train=train, val=val, test=test)


@dataclass(frozen=True, eq=False, repr=False)
class FitResult:
    """A trained cohort with its figures.

    Attributes:
        members: the students in order (then what the strategy added), ``mean``, ``best_by_val``, ``ensemble``.
        history: one dict an epoch: ``epoch``, ``loss/<term>/<member>``, ``train/<member>`` (training pass, dropout on), ``val/<member>``,
            ``weights/<member>/<peer>`` (the diagonal included), ``exchange/<member>`` (mean KL from its target to its own prediction on the
            exchange samples, nats, before any weight; see `dgl_mutual.strategies.base.Step`).
        disagreement: share of the test samples (or of their labels) on which two students decide differently, averaged over all pairs;
            NaN of a single student.
        cohort: the modules, each student at its best weights.
        dataset, split: what it was trained on.
        config: how it was trained, nothing left open, as in a run's config.yaml; empty where `fit_cohort` was called directly.
        mlp: what was trained from the cohort, if anything was.
        tasks: where there are several tasks, the members' figures in each, by metric, for example ``accuracy(digit)``; those in `members`
            are the means over all tasks.
    """

    members: tuple[MemberResult, ...]
    history: list[dict[str, float]]
    epochs: int
    train_seconds: float
    seconds_per_epoch: float
    disagreement: float
    cohort: Cohort
    dataset: Dataset
    split: Split
    config: Mapping[str, Any] = field(default_factory=dict)
    mlp: DistilledMLP | None = None
    tasks: Mapping[str, tuple[MemberResult, ...]] = field(default_factory=dict)

    def __getitem__(self, member: str) -> MemberResult:
        """The figures of one member."""
        for result in self.members:
            if result.member == member:
                return result
        raise unknown("member", member, [result.member for result in self.members])

    def __repr__(self) -> str:
        """A few readable lines: what was trained on what, and the members' figures."""
        strategy = f" by {self.config['strategy']}" if "strategy" in self.config else ""
        head = (
            f"{self.cohort.num_students} students on {self.dataset.name}{strategy} ({self.dataset.task} task, "
            f"{self.dataset.target.metric}), {self.epochs} epochs in {self.train_seconds:.1f} s"
        )
        shown = self.table().drop(columns=["architecture", "inference_ms"]).convert_dtypes()
        return f"{head}\n{shown.to_string(index=False, float_format='{:.4f}'.format, na_rep='-')}"

    def table(self) -> pd.DataFrame:
        """One row a member; with several tasks, one a member and metric, the mean over tasks first."""
        import pandas as pd

        tables = {self.dataset.target.metric: self.members, **self.tasks}
        rows = [{"metric": metric, **vars(result)} for metric, members in tables.items() for result in members]
        # Where a terminal is narrow, pandas leaves out columns in the middle: not the figures.
        columns = ["member", *(["metric"] if self.tasks else []), "best_epoch", "architecture", "parameters", "inference_ms"]
        return pd.DataFrame(rows)[[*columns, "train", "val", "test"]]

    def plot(self) -> Figure:
        """A figure of the learning curves: the metric on the validation part by epoch, a line a student.

        Raises:
            UsageError: matplotlib is not installed.
        """
        import pandas as pd

        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError:
            raise UsageError("Plots need matplotlib, which is not installed. Install it: pip install 'dgl-mutual[plot]'") from None
        history = pd.DataFrame(self.history)
        figure = Figure(figsize=(5.0, 3.2), layout="constrained")
        axes = figure.subplots()
        for name in history.columns:
            if name.startswith("val/"):
                curve = history[["epoch", name]].dropna()
                axes.plot(curve["epoch"], curve[name], label=name.removeprefix("val/"))
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{self.dataset.target.metric} on validation")
        axes.legend()
        return figure

    def predict(self, data: Dataset | dgl.DGLGraph | None = None, member: str = "ensemble") -> npt.NDArray[Any]:
        """Probabilities (samples, C) of one student or of the ensemble.

        Args:
            data: a dataset, or a DGLGraph with node features ``feat``; by default what the cohort was trained on.
            member: a student's name, ``best_by_val`` or ``ensemble``.
        """
        from dgl_mutual.training.inference import predict

        if member == "best_by_val":
            member = self.best_student
        return predict(self.cohort, self.dataset if data is None else data, member)

    def embeddings(self, member: str = "best_by_val", data: Dataset | dgl.DGLGraph | None = None) -> npt.NDArray[Any]:
        """Last hidden states (samples, width) of one student.

        Args:
            member, data: as in `predict`; the ensemble has no hidden states.
        """
        from dgl_mutual.training.inference import embeddings

        return embeddings(self.cohort, self.dataset if data is None else data, self.best_student if member == "best_by_val" else member)

    @property
    def best_student(self) -> str:
        """Name of the student that is best on validation."""
        return max(self.members[: self.cohort.num_students], key=lambda result: result.val).member

    def save(self, path: str | Path) -> None:
        """Write each student, the coordinator and the MLP as safetensors with a JSON description each into the folder `path`."""
        from dgl_mutual.training.checkpoints import save_cohort

        save_cohort(self.cohort, self.dataset, Path(path), self.mlp)


def summarise(
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
) -> FitResult:
    """Score every member on the three parts of the split. Nothing is chosen here: each stands at the epoch that validation chose."""
    found = []
    for part in (split.train, split.val, split.test):
        rows = torch.as_tensor(part, device=logits.device)
        with torch.no_grad():
            predictions = torch.cat([logits[:, rows], cohort.ensemble_logits(logits[:, rows], rows).unsqueeze(0)])
        found.append(score(scorer, predictions, labels[rows], (*cohort.names, "ensemble")))
    scores = [one.overall for one in found]
    milliseconds = [inference_ms(student, test_batches) for student in cohort.students]
    results = [
        MemberResult(
            member=name,
            architecture=student.options.architecture_name,
            train=scores[0][k],
            val=scores[1][k],
            test=scores[2][k],
            best_epoch=best_epochs[k],
            inference_ms=milliseconds[k],
            parameters=_count(student),
        )
        for k, (name, student) in enumerate(zip(cohort.names, cohort.students, strict=True))
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
    )
    best = replace(max(students, key=lambda student: student.val), member="best_by_val")
    ensemble = MemberResult(
        member="ensemble",
        architecture="-",
        train=scores[0][-1],
        val=scores[1][-1],
        test=scores[2][-1],
        best_epoch=None,
        inference_ms=sum(student.inference_ms for student in students),
        parameters=sum(student.parameters for student in students) + _count(cohort.coordinator),
    )
    members = (*results, mean, best, ensemble)
    return FitResult(
        members=members,
        history=history,
        epochs=len(history),
        train_seconds=train_seconds,
        seconds_per_epoch=train_seconds / len(history),
        disagreement=disagreement(cohort.distribution.decisions(logits[: cohort.num_students, torch.as_tensor(split.test)])),
        cohort=cohort,
        dataset=dataset,
        split=split,
        tasks={metric: _in_task(members, [one.by_task[metric] for one in found], len(students)) for metric in found[0].by_task},
    )


def _in_task(members: Sequence[MemberResult], scores: Sequence[Sequence[float]], num_students: int) -> tuple[MemberResult, ...]:
    """The same members, at the same epochs, scored in one of several tasks: `scores` holds those of train, val and test.

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
    timings = []
    for _ in range(repeats + 1):  # the first builds what the batches keep
        started = time.perf_counter()
        for batch in batches:
            student.forward_batch(batch)
        timings.append(time.perf_counter() - started)
        if timings[0] > _LONG_SECONDS:
            return 1000 * timings[0]
    return 1000 * median(timings[1:])
