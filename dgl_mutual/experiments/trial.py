"""One trial: one cohort, trained with one seed on one fold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.label_rate import without_labels
from dgl_mutual.data.noise import NoiseSpec, add_noise
from dgl_mutual.data.pool import without_pool
from dgl_mutual.data.values.split import Split
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.processes import freed_memory
from dgl_mutual.store.tables import Key
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.distributed.placement import ON_CPU, Placement
from dgl_mutual.training.method import Method
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.seeds import TrialSeed
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.trainer import fit_cohort
from dgl_mutual.training.trial_data import TrialData, make_trial_data
from dgl_mutual.utils.error_causes import memory_checked
from dgl_mutual.utils.wording import counted


def trial_name(seed: int, fold: int) -> str:
    """``seed-3-fold-0``: what files of a trial are called."""
    return f"seed-{seed}-fold-{fold}"


#: All that `trial_name` gives: no run has seeds or folds of more than nine digits.
TRIAL_NAME = re.compile(r"seed-(0|[1-9][0-9]{0,8})-fold-(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Trial:
    """What is to be trained: everything random in it follows from `seed` and `fold`, so trials may run in any order and anywhere.

    Attributes:
        run: how displays name the run that it belongs to, where several run together.
    """

    seed: int
    fold: int
    split: Split
    run: str = ""

    @property
    def key(self) -> Key:
        return self.seed, self.fold

    @property
    def trial_seed(self) -> TrialSeed:
        """What its random streams follow from."""
        return TrialSeed(self.seed, self.fold)

    @property
    def name(self) -> str:
        """``seed-3-fold-0``."""
        return trial_name(self.seed, self.fold)

    @property
    def title(self) -> str:
        """What a display calls it."""
        return f"{self.run}  {self.name}" if self.run else self.name


@dataclass(frozen=True)
class Outcome:
    """What a trial left behind, or why it failed.

    Attributes:
        rows, history, reliability, searched: rows for trials.csv, history.csv, reliability.csv and grid.csv; none where it failed.
        error: the message, if it failed.
        details: the traceback, where it says more than the message.
    """

    trial: Trial
    rows: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    error: str | None = None
    details: str = ""
    searched: list[dict[str, Any]] = field(default_factory=list)
    reliability: list[dict[str, Any]] = field(default_factory=list)


def trial_data(trial: Trial, config: RunConfig, dataset: Dataset) -> TrialData:
    """What a trial trains on: the dataset with its noise, without the labels that it must not see, and without nodes kept unseen."""
    if config.noise is not None:
        noise_seed = trial.trial_seed.derive("noise")
        dataset = add_noise(dataset, trial.split, NoiseSpec.parse(config.noise), seed=noise_seed)
    dataset = without_labels(dataset, trial.split.unlabelled)
    unseen = config.distill.unseen if config.distill is not None else 0.0
    return make_trial_data(dataset, trial.split, unseen, seed=trial.trial_seed.derive("unseen"))


def fit_resolved(
    trial: Trial,
    config: RunConfig,
    dataset: Dataset,
    *,
    callbacks: Sequence[Callback] = (),
    snapshots: Snapshots | None = None,
    placement: Placement = ON_CPU,
) -> FitResult:
    """`fit_cohort` with the options of a resolved configuration. A process of the command line's own keeps freed memory meanwhile.

    Args:
        dataset: what the training sees (see `trial_data`), of which `trial.split` is a split.

    Raises:
        TrainingError: see `fit_cohort`; or there is not enough memory for it.
    """
    with memory_checked(_memory_hint(config, dataset)), freed_memory() as kept:
        return fit_cohort(
            dataset,
            trial.split,
            method_of(config),
            seed=trial.trial_seed,
            callbacks=[*kept, *callbacks],
            snapshots=snapshots,
            placement=placement,
        )


def _memory_hint(config: RunConfig, dataset: Dataset) -> str:
    """What takes the memory of a training, and how to need less: wide students, or the logits of many classes."""
    widest = max(student.hidden for student in config.students)
    samples, outputs = config.training.batch_size or "all", dataset.target.num_outputs
    if outputs <= widest:
        return (
            f"The widest student has hidden = {widest}, and a step takes {samples} samples. Lower student.hidden or training.batch_size, "
            "or run fewer trials at a time."
        )
    gib = (config.training.batch_size or dataset.num_samples) * outputs * len(config.students) * 4 / 2**30
    return (
        f"The labels of {dataset.name} have {outputs} classes, and a step takes {samples} samples: the logits of "
        f"{counted(len(config.students), 'student')} are {gib:.1f} GiB, and a step keeps several such arrays. If the labels are "
        "identifiers, give the column of the classes; else lower training.batch_size, take fewer students, or run fewer trials at a time."
    )


def method_of(config: RunConfig) -> Method:
    """What a resolved configuration says of the cohort and its training."""
    return Method(config.students, config.strategy, config.strategy_options, config.training, config.task_weights or "equal")


def split_digest(dataset: Dataset, split: Split) -> str:
    """What trials.csv calls `split`."""
    compared = without_pool(without_labels(dataset, split.unlabelled))  # whether a method has a pool does not make it another split
    return fingerprint(compared, split.of_first(compared.num_samples), edge_features=False)
