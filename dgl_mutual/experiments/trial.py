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
from dgl_mutual.experiments.configuration.resolve import strategy_options_of
from dgl_mutual.experiments.processes import freed_memory
from dgl_mutual.store.tables import Key
from dgl_mutual.strategies import resolve_strategy
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
    """Name of a trial in file names, for example ``seed-3-fold-0``."""
    return f"seed-{seed}-fold-{fold}"


#: Matches every `trial_name`: no run has seeds or folds of more than nine digits.
TRIAL_NAME = re.compile(r"seed-(0|[1-9][0-9]{0,8})-fold-(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Trial:
    """One training of a run. All its randomness follows from `seed` and `fold`, so trials may run in any order and in any process.

    Attributes:
        run: name of its run in displays, if several run together.
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
        """Seed of its random streams."""
        return TrialSeed(self.seed, self.fold)

    @property
    def name(self) -> str:
        """``seed-3-fold-0``."""
        return trial_name(self.seed, self.fold)

    @property
    def title(self) -> str:
        """Its name in displays."""
        return f"{self.run}  {self.name}" if self.run else self.name


@dataclass(frozen=True)
class Outcome:
    """The results of a trial, or the reason why it failed.

    Attributes:
        rows, history, reliability, searched: rows of trials.csv, history.csv, reliability.csv and grid.csv; empty if it failed.
        error: the message, if it failed.
        details: the traceback, if it says more than the message.
    """

    trial: Trial
    rows: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    error: str | None = None
    details: str = ""
    searched: list[dict[str, Any]] = field(default_factory=list)
    reliability: list[dict[str, Any]] = field(default_factory=list)


def trial_data(trial: Trial, config: RunConfig, dataset: Dataset) -> TrialData:
    """The data of a trial: the dataset with noise, without hidden labels, and without unseen nodes."""
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
    """Call `fit_cohort` with the options of a resolved configuration. The command line's own processes keep freed memory meanwhile.

    Args:
        dataset: the data that the training sees (see `trial_data`), which `trial.split` splits.

    Raises:
        TrainingError: see `fit_cohort`; or there is not enough memory.
    """
    with memory_checked(_memory_hint(config, dataset)), freed_memory() as memory_callbacks:
        return fit_cohort(
            dataset,
            trial.split,
            method_of(config),
            seed=trial.trial_seed,
            callbacks=[*memory_callbacks, *callbacks],
            snapshots=snapshots,
            placement=placement,
        )


def _memory_hint(config: RunConfig, dataset: Dataset) -> str:
    """The likely cause of a lack of memory, wide students or many classes, with advice."""
    widest = max(student.hidden for student in config.students)
    samples, outputs = config.training.batch_size or "all", dataset.target.num_outputs
    if outputs <= widest:
        return (
            f"The widest student has hidden = {widest}, and a step takes {samples} samples. Lower student.hidden or training.batch_size, "
            "or run fewer trials in parallel."
        )
    gib = (config.training.batch_size or dataset.num_samples) * outputs * len(config.students) * 4 / 2**30
    return (
        f"The labels of {dataset.name} have {outputs} classes, and a step takes {samples} samples: the logits of "
        f"{counted(len(config.students), 'student')} are {gib:.1f} GiB, and a step keeps several such arrays. If the labels are "
        "identifiers, give the column of the classes; else lower training.batch_size, use fewer students, or run fewer trials in parallel."
    )


def method_of(config: RunConfig) -> Method:
    """The cohort and its training options of a resolved configuration."""
    strategy = resolve_strategy(config.strategy)
    return Method(config.students, strategy, strategy_options_of(config), config.training, config.task_weights or "equal")


def split_digest(dataset: Dataset, split: Split) -> str:
    """The column `split` of trials.csv."""
    compared = without_pool(without_labels(dataset, split.unlabelled))  # a pool does not change the split
    return fingerprint(compared, split.of_first(compared.num_samples), edge_features=False)
