"""Result of a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from dgl_mutual.cohort import Cohort, no_such_member
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.pool import without_pool
from dgl_mutual.data.schema import align_to
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.store.members import BEST, ENSEMBLE
from dgl_mutual.strategies.base.exchange import ExchangeOn
from dgl_mutual.training.checkpoints import save_cohort
from dgl_mutual.training.evaluation.inference import Predictor, embeddings, graph_or_dataset, peer_weights
from dgl_mutual.training.evaluation.metrics import as_compared
from dgl_mutual.utils.paths import user_path
from dgl_mutual.utils.plotting import import_matplotlib
from dgl_mutual.utils.wording import counted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from dgl_mutual.dgl_compat import dgl
    from dgl_mutual.nn.mlp import MLP


@dataclass(frozen=True)
class MemberResult:
    """One member's metrics at its best epoch by validation.

    Attributes:
        member: ``gcn-0`` ..., ``mean`` (of the students), ``best_by_val`` (ties go to the first student), ``ensemble``.
        train, val, test: the metric, a fraction in [0, 1].
        best_epoch: from 0; None if there is no single epoch. The ensemble has none: each student has the weights of its own best epoch, as
            saved, and the coordinator those of the epoch in which the ensemble was best on validation.
        inference_ms: milliseconds to predict the test samples.
        nll, ece: negative log-likelihood in nats and expected calibration error on the test part (see
            `dgl_mutual.training.evaluation.calibration.calibrations`); of several tasks, the mean over them; of ``mean``, the mean over
            students.
    """

    member: str
    architecture: str
    train: float
    val: float
    test: float
    best_epoch: int | None
    inference_ms: float
    parameters: int
    nll: float = math.nan
    ece: float = math.nan


def best_on_validation(metrics: Sequence[float]) -> int:
    """Return the index of the best of these validation metrics; ties (see `as_compared`) go to the first."""
    return max(range(len(metrics)), key=lambda index: as_compared(metrics[index]))


@dataclass(frozen=True, eq=False, repr=False)
class FitResult:
    """A trained cohort with its metrics.

    ``result["ensemble"]`` is the `MemberResult` of a member, ``"gcn-0" in result`` tests whether it exists, ``list(result)`` lists the
    names of all members, and ``len(result)`` is their number.

    Attributes:
        members: the students in order, members that the strategy added, ``mean``, ``best_by_val``, ``ensemble``.
        history: one dict per epoch: ``epoch``, ``loss/<term>/<member>``, ``train/<member>`` (training pass, dropout on), ``val/<member>``,
            ``weights/<member>/<peer>`` (the diagonal included), ``exchange/<member>`` (mean KL from its target to its own prediction on the
            exchange samples, nats, before any weight; see `dgl_mutual.strategies.base.step.Step`).
        epochs: number of trained epochs, over all phases.
        train_seconds: seconds of the whole training, with validation.
        seconds_per_epoch: mean seconds of an epoch of the whole cohort, without the first epoch, which also fills caches.
        disagreement: share of the test samples (or of their labels) on which two students decide differently, averaged over all pairs;
            NaN for a single student.
        disagreement_by_task: with several tasks, the disagreement in each, by metric.
        cohort: the modules, each student with its best weights.
        dataset, split: the data of the training.
        exchange_on: the samples on which students learned from others (see `Exchange`); ``transductive``: test samples were among them.
        config: the resolved configuration, as in a run's config.yaml.
        mlp: the MLP distilled from the cohort, if any.
        tasks: with several tasks, the members' metrics in each, by metric, for example ``accuracy(digit)``; metrics in `members` are the
            means over all tasks.
        reliability: the data of a reliability diagram, as in reliability.csv: one dict for each metric, member and non-empty bin of
            confidence, with ``metric, member, bin, count, accuracy, confidence`` on the test part (see
            `dgl_mutual.training.evaluation.calibration`).
        kept: probabilities (samples, C) by member, if the strategy computed them from training labels and the edges of this dataset, so
            that a student alone cannot predict them.
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
    exchange_on: ExchangeOn = "labelled"
    config: Mapping[str, Any] = field(default_factory=dict)
    mlp: MLP | None = None
    tasks: Mapping[str, tuple[MemberResult, ...]] = field(default_factory=dict)
    disagreement_by_task: Mapping[str, float] = field(default_factory=dict)
    reliability: list[dict[str, Any]] = field(default_factory=list)
    kept: Mapping[str, npt.NDArray[Any]] | None = None

    def __getitem__(self, member: str) -> MemberResult:
        """Return the metrics of one member."""
        for result in self.members:
            if result.member == member:
                return result
        raise unknown("member", member, list(self))

    def __iter__(self) -> Iterator[str]:
        """The names of the members, in their order."""
        return (result.member for result in self.members)

    def __contains__(self, member: object) -> bool:
        """Whether there is a member of this name."""
        return member in list(self)

    def __len__(self) -> int:
        """The number of members, with ``mean``, ``best_by_val`` and ``ensemble``."""
        return len(self.members)

    def __repr__(self) -> str:
        """Summarise the training and the members' metrics in a few lines."""
        strategy = f" by {self.config['strategy']}" if "strategy" in self.config else ""
        head = (
            f"{counted(self.cohort.num_students, 'student')} on {self.dataset.name}{strategy} ({self.dataset.task} task, "
            f"{self.dataset.target.metric}), {counted(self.epochs, 'epoch')} in {self.train_seconds:.1f} s"
        )
        shown = self.table().drop(columns=["architecture", "inference_ms"]).convert_dtypes()
        return f"{head}\n{shown.to_string(index=False, float_format='{:.4f}'.format, na_rep='-')}"

    def table(self) -> pd.DataFrame:
        """Return one row for each member; with several tasks, one for each member and metric, the mean over tasks first."""
        import pandas as pd

        tables = {self.dataset.target.metric: self.members, **self.tasks}
        rows = [{"metric": metric, **vars(result)} for metric, members in tables.items() for result in members]
        # In a narrow terminal, pandas leaves out columns in the middle, which should not be the metrics.
        columns = ["member", *(["metric"] if self.tasks else []), "best_epoch", "architecture", "parameters", "inference_ms", "nll", "ece"]
        return pd.DataFrame(rows)[[*columns, "train", "val", "test"]]

    def plot(self) -> Figure:
        """Plot the learning curves: the validation metric by epoch, one line for each student.

        Raises:
            UsageError: matplotlib is not installed, or nothing was trained.
        """
        import pandas as pd

        if not self.history:
            raise UsageError(f"{self.members[0].member} trains nothing, so there are no learning curves. Use result.table().")
        import_matplotlib()
        from matplotlib.figure import Figure

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

    def predict(self, data: Dataset | dgl.DGLGraph | None = None, member: str = ENSEMBLE) -> npt.NDArray[Any]:
        """Predict probabilities (samples, C) with one student or the ensemble, a column for each of `classes`.

        Args:
            data: a dataset, or a graph or list of graphs of DGL (with node features ``feat``) or PyG; default: the training dataset, all
                parts of its split, without the graphs of a pool.
            member: a student's name, ``best_by_val`` or ``ensemble``; not ``mean``, which is the average of the students' metrics.

        The columns of a dataset are matched by name; missing indicator columns are filled with zeros, with a warning unless they are named
        like a value of a one-hot encoding (``colour=red``). Columns of graphs have no names, and are used in their order; labels and masks
        of graphs are not read. For logits above about 37 the probability is 1, so a ROC-AUC of probabilities can differ slightly from the
        reported one, which is computed from logits.

        Raises:
            UsageError: no such member, data of another kind or with another number of features, or other data if predictions exist only
                for this dataset (see `kept`).
            DataError: features or logits that are not finite, or columns of a dataset that differ from those of the training data.
        """
        self._check_order("predict", data, member, self.kept or (BEST, ENSEMBLE, *self.cohort.names))
        if member == BEST:
            member = self.best_student
        if self.kept is not None:
            return self._kept(data, member)
        return Predictor(self.cohort, member)(self._in_columns(data))

    def _check_order(self, method: str, data: object, member: object, choices: Iterable[str]) -> None:
        """Raise `UsageError` if the member is in the position of the data, or is not a string."""
        if isinstance(data, str) and data in [result.member for result in self.members]:
            others = "" if isinstance(member, str) else "data, "
            raise UsageError(
                f"{method}({data!r}) has a member in the position of the data. The data come first, and may be left out: write "
                f"{method}({others}member={data!r})."
            )
        if not isinstance(member, str):
            raise unknown("member", member, choices)

    def _in_columns(self, data: Dataset | dgl.DGLGraph | None) -> Dataset | dgl.DGLGraph:
        """Return a dataset with the columns of the training dataset. Columns of graphs have no names; only their number is checked."""
        if not isinstance(data, Dataset):
            return graph_or_dataset(without_pool(self.dataset) if data is None else data, self.dataset.task)
        return align_to(data, self.dataset, edge_features=any(student.edge_features for student in self.cohort.members))

    def _kept(self, data: Dataset | dgl.DGLGraph | None, member: str) -> npt.NDArray[Any]:
        assert self.kept is not None
        if member not in self.kept:
            raise no_such_member(member, self.kept)
        if data is not None and data is not self.dataset:
            raise UsageError(
                f"Predictions of {member!r} are computed from training labels and edges of {self.dataset.name}, so there are none for "
                "other data. Leave out the data. To predict other data, save the students, if there are any, and load one of them."
            )
        return self.kept[member].copy()

    def embeddings(self, data: Dataset | dgl.DGLGraph | None = None, member: str = BEST) -> npt.NDArray[Any]:
        """Return the last hidden states (samples, width) of one student.

        Args:
            data, member: as in `predict`; the ensemble has no hidden states.

        Raises:
            UsageError, DataError: as in `predict`; also if there are no students.
        """
        self._check_order("embeddings", data, member, (BEST, *self.cohort.names))
        if not self.cohort.num_students:
            raise UsageError(f"{self.members[0].member} has no students, so there are no hidden states. Use result.predict().")
        return embeddings(self.cohort, self._in_columns(data), self.best_student if member == BEST else member)

    def peer_weights(self, data: Dataset | dgl.DGLGraph | None = None) -> npt.NDArray[Any]:
        """Return the coordinator's weights of peers: ``weights[v, i, j]`` is the weight of peer j for student i on sample v.

        The shape is (samples, K, K, 1), or (samples, K, K, C) with several targets or a weighting with a weight for each class or label.
        The weight of a student for itself is 0, and the weights of its peers sum to 1. Students predict in evaluation mode, each with the
        weights of its best epoch; the coordinator is that of the ensemble's best epoch. The mean weights in training are in `history`. With
        ``direction: best`` only one student teaches in training; the coordinator's weights are then for the ensemble only.

        Args:
            data: as in `predict`.

        Raises:
            UsageError: no students, a coordinator that weighs all peers equally, as in most strategies, or as in `predict`.
            DataError: as in `predict`.
        """
        if not self.cohort.num_students:
            raise UsageError(f"{self.members[0].member} has no students, so there are no weights. Use result.predict().")
        return peer_weights(self.cohort, self._in_columns(data))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes or labels, in the order of the columns of `predict` (see `Dataset.classes`)."""
        return self.dataset.classes

    @property
    def best_student(self) -> str:
        """The name of the best student on validation, or of the only member if there are no students."""
        students = self.members[: max(self.cohort.num_students, 1)]
        return students[best_on_validation([student.val for student in students])].member

    def save(self, path: str | Path) -> None:
        """Write each student, the coordinator and the MLP to the folder `path`, as a safetensors file with a JSON description each.

        A cohort that was saved there before is replaced as a whole; other files are kept.

        Raises:
            UsageError: no students, not a path, or a student whose class another process cannot import.
            StoreError: a file of that name exists, or the folder cannot be written.
        """
        if not self.cohort.num_students:
            raise UsageError(f"{self.members[0].member} has no students to save. Use result.predict().")
        save_cohort(self.cohort, self.dataset, user_path(path), self.mlp, best=self.best_student)
