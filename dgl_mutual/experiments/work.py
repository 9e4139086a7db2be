"""Trials as units of work that any process can run."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import DglMutualError, StoreError, UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.grid import GridPoint, search
from dgl_mutual.experiments.configuration.resolve import resolved_values
from dgl_mutual.experiments.progress import OnEpoch
from dgl_mutual.experiments.run_folders.code_record import check_process
from dgl_mutual.experiments.trial import Outcome, Trial, fit_resolved, split_digest, trial_data
from dgl_mutual.training.callbacks import EpochReports
from dgl_mutual.training.distill import distill
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.distributed.ranks import SINGLE_PROCESS, Ranks
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.memory import forget_peak, peak
from dgl_mutual.training.options import DistillOptions
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.trackers import TrackedRun, Tracker, TrackerLike, make_tracker
from dgl_mutual.training.trial_data import TrialData
from dgl_mutual.utils.custom_code import described
from dgl_mutual.utils.error_causes import is_interrupt, is_out_of_memory, memory_checked, not_enough_memory
from dgl_mutual.utils.files import removed, replacing
from dgl_mutual.utils.torch_settings import threads_kept


@dataclass(frozen=True, eq=False)
class Work:
    """A trial, with all that a process needs to do it but the dataset, so that it is small enough to be sent for every trial.

    Attributes:
        plan_index: which of the plans it belongs to.
        config, points: of the plan.
        checkpoints, snapshots: folders for its students, and for its training while it lasts.
        code: digests of the custom code that is to train (see `custom_code_digests`).
    """

    plan_index: int
    trial: Trial
    config: RunConfig
    points: Sequence[GridPoint]
    checkpoints: Path
    snapshots: Path
    code: Mapping[str, str] = field(default_factory=dict)

    @property
    def configs(self) -> list[RunConfig]:
        """`config`, and those of its points."""
        return [self.config, *(point.config for point in self.points)]


@threads_kept()
def do_work(
    work: Work,
    dataset: Dataset,
    *,
    compute: Compute,
    usage_errors_fail_trial: bool,
    on_epoch: OnEpoch | None = None,
    track: Sequence[TrackerLike] = (),
    ranks: Ranks = SINGLE_PROCESS,
) -> tuple[int, Outcome]:
    """Train the cohort of a trial, with each configuration to choose from, and save its students under `work.checkpoints`.

    With ``training.checkpoint_every`` each training is kept under `work.snapshots` while it lasts, and goes on from there.

    What goes wrong in this trial becomes a failed outcome, so that the other trials go on.

    Args:
        dataset: of the plan.
        compute: the device, and the threads that torch computes with.
        usage_errors_fail_trial: a cohort that cannot work is a failed trial, and raises nothing.
        on_epoch: called with the trial's title and a report at the end of each epoch.
        track: trackers that follow each training.
        ranks: the processes that run the same trial and train the cohort together.

    Returns:
        The index of its plan, and its outcome.

    Raises:
        UsageError: the cohort cannot work, in this trial or any other, and `usage_errors_fail_trial` is not set; or this process has other
            code than `work.code`.
        StoreError: the disk does not take the students, nor will it take those of another trial, or the folder above `work.checkpoints`
            is gone.
    """
    trial, config, run_folder = work.trial, work.config, work.checkpoints.parent
    if not run_folder.is_dir():
        raise removed(run_folder)
    check_process(work.configs, work.code)
    torch.set_num_threads(compute.threads)
    forget_peak(compute.device)
    trackers: list[Tracker] = []
    try:
        data = trial_data(trial, config, dataset)
        epochs = [point.config.training.epochs for point in work.points]

        def fit(number: int, point: RunConfig) -> FitResult:
            file, every = work.snapshots / trial.name / f"{number}.safetensors", point.training.checkpoint_every
            reports = [] if on_epoch is None else [_epoch_reports(trial.title, epochs, number, on_epoch)]
            here: list[Tracker] = []
            if track and ranks.rank == 0:
                name = trial.name if len(work.points) <= 1 else f"{trial.name}-grid-{number}"
                here = _trackers(track, name, trial, point, run_folder)
                trackers.extend(here)
            return fit_resolved(
                replace(trial, split=data.seen_split),
                point,
                data.seen,
                callbacks=[*reports, *here],
                snapshots=None if every is None else Snapshots(file, every, within=work.snapshots.parent),
                placement=Placement(torch.device(compute.device), ranks=ranks),
            )

        result, searched = search(work.points, fit)
        if config.distill is not None:
            result = _distilled(trial, config, config.distill, data, result)
        if result.cohort.num_students:
            with replacing(work.checkpoints / trial.name, within=run_folder) as folder:
                result.save(folder)
        rows = _rows(trial, config, data, result, peak(compute.device))
        outcome = Outcome(trial, rows, result.history, searched=searched, reliability=result.reliability)
    except StoreError:
        raise
    except UsageError as error:
        if not usage_errors_fail_trial:
            raise
        outcome = Outcome(trial, error=str(error))  # no details: all processes of torchrun have this error alike
    except Exception as error:  # a fault of ours in one trial must not cost the others
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        outcome = _failed(trial, error)
    finally:
        for tracker in trackers:
            tracker.end(failed=True)  # of a training that ended well this has been done
    return work.plan_index, outcome


def _distilled(trial: Trial, config: RunConfig, options: DistillOptions, data: TrialData, result: FitResult) -> FitResult:
    """The result with an MLP that has learned from the trained cohort."""
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
        return Outcome(trial, error=str(error), details=traceback.format_exc() if error.__cause__ is not None else "")
    message = not_enough_memory(error) if is_out_of_memory(error) else described(error)
    return Outcome(trial, error=message, details=traceback.format_exc())


def _epoch_reports(title: str, epochs: Sequence[int], number: int, on_epoch: OnEpoch) -> EpochReports:
    """The reports of one point of a grid. They count the epochs of all points: of each point in turn, those of one phase.

    Args:
        epochs: of each point.
        number: which of the points, from 0.
    """

    def report_epoch(report: EpochReport) -> None:
        phases = report.epochs // epochs[number]
        on_epoch(title, replace(report, epoch=phases * sum(epochs[:number]) + report.epoch, epochs=phases * sum(epochs)))

    return EpochReports(report_epoch)


def _trackers(track: Sequence[TrackerLike], name: str, trial: Trial, point: RunConfig, folder: Path) -> list[Tracker]:
    """New trackers of one training.

    Args:
        name: of the training.
        folder: of the run.
    """
    values = {**resolved_values(point), "seed": trial.seed, "fold": trial.fold}
    return [make_tracker(tracker, TrackedRun(folder.name, name, folder, values)) for tracker in track]


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
            "disagreement": result.disagreement_by_task.get(metric, result.disagreement),
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
