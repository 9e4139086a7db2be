"""One trial: one cohort, trained with one seed on one fold."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.label_rate import without_labels
from dgl_mutual.data.noise import NoiseSpec, add_noise
from dgl_mutual.data.pool import without_pool
from dgl_mutual.data.split import Split
from dgl_mutual.errors import DglMutualError, StoreError, UsageError
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.grid import search
from dgl_mutual.experiments.processes import freed_memory
from dgl_mutual.experiments.resolve import resolved_values
from dgl_mutual.store.tables import Key
from dgl_mutual.training.callbacks import Callback, EpochReports
from dgl_mutual.training.distill import distill
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.memory import forget_peak, peak
from dgl_mutual.training.method import Method
from dgl_mutual.training.options import DistillOptions
from dgl_mutual.training.placement import ON_CPU, Placement
from dgl_mutual.training.ranks import SINGLE_PROCESS, Ranks
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.seeds import TrialSeed
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.trackers import TrackedRun, Tracker, make_tracker
from dgl_mutual.training.trainer import fit_cohort
from dgl_mutual.training.trial_data import TrialData, make_trial_data
from dgl_mutual.utils.causes import is_interrupt
from dgl_mutual.utils.custom_code import described, is_out_of_memory, memory_checked, not_enough_memory
from dgl_mutual.utils.files import removed, replacing
from dgl_mutual.utils.wording import counted

OnEpoch: TypeAlias = Callable[["Trial", EpochReport], None]


def trial_name(seed: int, fold: int) -> str:
    """``seed-3-fold-0``: what files of a trial are called."""
    return f"seed-{seed}-fold-{fold}"


#: All that `trial_name` gives.
TRIAL_NAME = re.compile(r"seed-(0|[1-9][0-9]*)-fold-(0|[1-9][0-9]*)")


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
    rows: list[dict[str, Any]]
    history: list[dict[str, float]]
    error: str | None = None
    details: str = ""
    searched: list[dict[str, Any]] = field(default_factory=list)
    reliability: list[dict[str, Any]] = field(default_factory=list)


def run_trial(
    trial: Trial,
    config: RunConfig,
    points: Sequence[tuple[dict[str, Any], RunConfig]],
    dataset: Dataset,
    checkpoints: Path,
    snapshots: Path,
    *,
    threads: int,
    device: str,
    on_epoch: OnEpoch | None = None,
    track: Sequence[str] = (),
    ranks: Ranks = SINGLE_PROCESS,
) -> Outcome:
    """Train the cohort of a resolved configuration and save its students under `checkpoints`.

    With ``training.checkpoint_every`` each training is kept under `snapshots` while it lasts, and goes on from there.

    What goes wrong in this trial becomes a failed outcome, so that the other trials go on.

    Args:
        points: configurations to choose from on validation, each with the options that it gives (see `search`).
        threads: that torch computes with.
        on_epoch: called with the trial and a report at the end of each epoch.
        track: trackers, by name, that follow each training.
        ranks: the processes that run the same trial and train the cohort together.

    Raises:
        UsageError: the configuration cannot work, in this trial or any other.
        StoreError: the disk does not take the students, nor will it take those of another trial, or the folder above `checkpoints` is gone.
    """
    if not checkpoints.parent.is_dir():
        raise removed(checkpoints.parent)
    torch.set_num_threads(threads)
    forget_peak(device)
    trackers: list[Tracker] = []
    try:
        data = trial_data(trial, config, dataset)
        epochs = [point.training.epochs for _, point in points]

        def fit(number: int, point: RunConfig) -> FitResult:
            file, every = snapshots / trial.name / f"{number}.safetensors", point.training.checkpoint_every
            reports = [] if on_epoch is None else [_epoch_reports(trial, epochs, number, on_epoch)]
            here: list[Tracker] = []
            if track and ranks.rank == 0:
                name = trial.name if len(points) <= 1 else f"{trial.name}-grid-{number}"
                here = _trackers(track, name, trial, point, checkpoints.parent)
                trackers.extend(here)
            return fit_resolved(
                point,
                data.seen,
                data.seen_split,
                seed=trial.seed,
                fold=trial.fold,
                callbacks=[*reports, *here],
                snapshots=None if every is None else Snapshots(file, every, within=snapshots.parent),
                placement=Placement(torch.device(device), ranks=ranks),
            )

        result, searched = search(points, fit)
        if config.distill is not None:
            result = _distilled(trial, config, config.distill, data, result)
        if result.cohort.num_students:
            with replacing(checkpoints / trial.name, within=checkpoints.parent) as folder:
                result.save(folder)
        rows = _rows(trial, config, data, result, peak(device))
        return Outcome(trial, rows, result.history, searched=searched, reliability=result.reliability)
    except (UsageError, StoreError):
        raise
    except Exception as error:  # a fault of ours in one trial must not cost the others
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        return _failed(trial, error)
    finally:
        for tracker in trackers:
            tracker.end(failed=True)  # of a training that ended well this has been done


def trial_data(trial: Trial, config: RunConfig, dataset: Dataset) -> TrialData:
    """What a trial trains on: the dataset with its noise, without the labels that it must not see, and without nodes kept unseen."""
    if config.noise is not None:
        noise_seed = trial.trial_seed.derive("noise")
        dataset = add_noise(dataset, trial.split, NoiseSpec.parse(config.noise), seed=noise_seed)
    dataset = without_labels(dataset, trial.split.unlabelled)
    unseen = config.distill.unseen if config.distill is not None else 0.0
    return make_trial_data(dataset, trial.split, unseen, seed=trial.trial_seed.derive("unseen"))


def _distilled(trial: Trial, config: RunConfig, options: DistillOptions, data: TrialData, result: FitResult) -> FitResult:
    """The result with an MLP that has learned from the trained cohort.

    Raises:
        TrainingError: there is not enough memory for it.
    """
    hint = f"The MLP has distill.hidden = {options.hidden}. Lower distill.hidden or training.batch_size, or run fewer --jobs."
    with memory_checked(hint):
        return distill(
            result,
            data,
            options,
            seed=trial.trial_seed,
            batch_size=config.training.batch_size,
            scale_inputs=bool(config.training.scale_inputs),
            unlabelled_ratio=config.training.unlabelled_ratio,
        )


def _failed(trial: Trial, error: Exception) -> Outcome:
    """The outcome of a trial that ended by `error`, which is being handled. failures.csv keeps the traceback where it may say more."""
    if isinstance(error, DglMutualError):
        return Outcome(trial, [], [], str(error), traceback.format_exc() if error.__cause__ is not None else "")
    message = not_enough_memory(error) if is_out_of_memory(error) else described(error)
    return Outcome(trial, [], [], message, traceback.format_exc())


def _epoch_reports(trial: Trial, epochs: Sequence[int], number: int, on_epoch: OnEpoch) -> EpochReports:
    """The reports of one point of a grid. They count the epochs of all points: of each point in turn, those of one phase.

    Args:
        epochs: of each point.
        number: which of the points, from 0.
    """

    def report_epoch(report: EpochReport) -> None:
        phases = report.epochs // epochs[number]
        on_epoch(trial, replace(report, epoch=phases * sum(epochs[:number]) + report.epoch, epochs=phases * sum(epochs)))

    return EpochReports(report_epoch)


def _trackers(track: Sequence[str], name: str, trial: Trial, point: RunConfig, folder: Path) -> list[Tracker]:
    """New trackers of one training.

    Args:
        name: of the training.
        folder: of the run.
    """
    values = {**resolved_values(point), "seed": trial.seed, "fold": trial.fold}
    return [make_tracker(tracker, TrackedRun(folder.name, name, folder, values)) for tracker in track]


def fit_resolved(
    config: RunConfig,
    dataset: Dataset,
    split: Split,
    *,
    seed: int,
    fold: int = 0,
    callbacks: Sequence[Callback] = (),
    snapshots: Snapshots | None = None,
    placement: Placement = ON_CPU,
) -> FitResult:
    """`fit_cohort` with the options of a resolved configuration. A process of the command line's own keeps freed memory meanwhile.

    Raises:
        TrainingError: see `fit_cohort`; or there is not enough memory for it.
    """
    with memory_checked(_memory_hint(config, dataset)), freed_memory() as kept:
        return fit_cohort(
            dataset,
            split,
            method_of(config),
            seed=TrialSeed(seed, fold),
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
    return Method(config.students, config.strategy, config.strategy_options, config.training, config.task_weights)


def split_digest(dataset: Dataset, split: Split) -> str:
    """What trials.csv calls `split`."""
    compared = without_pool(without_labels(dataset, split.unlabelled))  # whether a method has a pool does not make it another split
    return fingerprint(compared, split.of_first(compared.num_samples), edge_features=False)


def _rows(trial: Trial, config: RunConfig, data: TrialData, result: FitResult, peak_mib: float | None) -> list[dict[str, Any]]:
    """Rows for trials.csv: one for each metric and member. Of several targets each has rows, and so has their mean."""
    dataset = data.dataset
    digest = split_digest(dataset, data.split)
    split = data.split.of_first(dataset.num_samples - dataset.num_pool)
    metrics = {dataset.target.metric: result.members, **result.tasks}
    return [
        {
            "task": config.task,
            "dataset": dataset.name,
            "fingerprint": config.fingerprint,
            "strategy": config.strategy,
            "protocol": _protocol(config, data, result),
            "seed": trial.seed,
            "fold": trial.fold,
            "metric": metric,
            "epochs": result.epochs,
            "seconds_per_epoch": result.seconds_per_epoch,
            "train_seconds": result.train_seconds,
            "disagreement": result.disagreement,
            "peak_mib": peak_mib,
            "split": digest,
            "test_to_train": split.test_to_train,
            **vars(member),
        }
        for metric, members in metrics.items()
        for member in members
    ]


def _protocol(config: RunConfig, data: TrialData, result: FitResult) -> str:
    """The protocol, and what sets it apart: test samples that training has seen without labels, or that it has not seen as usual."""
    seen = "-transductive" if result.exchange_on == "transductive" else ""
    return f"{config.protocol}{seen if data.nodes is None else '-inductive'}"
