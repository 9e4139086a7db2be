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
    """A trial with all that a process needs to run it, except for the dataset, so that it is small enough to be sent for each trial.

    Attributes:
        plan_index: index of its plan.
        config, points: see `Plan`.
        checkpoints, snapshots: folders for its trained students, and for snapshots of the running training.
        code: expected digests of custom code (see `custom_code_digests`).
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
    """Train the cohort of a trial at each point of the grid, and save the students of the best one under `work.checkpoints`.

    With ``training.checkpoint_every``, a training writes snapshots under `work.snapshots`, and resumes from there.

    Errors of this trial become a failed outcome, so that other trials go on.

    Args:
        dataset: the plan's dataset.
        compute: the device, and the number of threads of torch.
        usage_errors_fail_trial: a cohort that cannot work is a failed trial instead of an error.
        on_epoch: called with the trial's title and a report at the end of each epoch.
        track: trackers of each training.
        ranks: the processes that train the cohort of this trial together.

    Returns:
        The index of the plan, and the outcome.

    Raises:
        UsageError: the cohort cannot work in any trial, and `usage_errors_fail_trial` is not set; or this process has other code than
            `work.code`.
        StoreError: the students cannot be written to disk, as those of any trial, or the folder above `work.checkpoints` is gone.
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

        def fit(number: int, point_config: RunConfig) -> FitResult:
            file = work.snapshots / trial.name / f"{number}.safetensors"
            every = point_config.training.checkpoint_every
            reports = [] if on_epoch is None else [_epoch_reports(trial.title, epochs, number, on_epoch)]
            point_trackers: list[Tracker] = []
            if track and ranks.rank == 0:
                name = trial.name if len(work.points) <= 1 else f"{trial.name}-grid-{number}"
                point_trackers = _trackers(track, name, trial, point_config, folder=run_folder)
                trackers.extend(point_trackers)
            return fit_resolved(
                replace(trial, split=data.seen_split),
                point_config,
                data.seen,
                callbacks=[*reports, *point_trackers],
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
        outcome = Outcome(trial, error=str(error))  # no details, since all processes of torchrun have this error
    except Exception as error:  # a fault of ours in one trial must not cost the others
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        outcome = _failed(trial, error)
    finally:
        for tracker in trackers:
            tracker.end(failed=True)  # no effect after a training that ended well
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
    """The outcome of a trial that raised `error`, which is being handled. The traceback is kept if it may say more than the message."""
    if isinstance(error, DglMutualError):
        return Outcome(trial, error=str(error), details=traceback.format_exc() if error.__cause__ is not None else "")
    message = not_enough_memory(error) if is_out_of_memory(error) else described(error)
    return Outcome(trial, error=message, details=traceback.format_exc())


def _epoch_reports(title: str, epochs: Sequence[int], number: int, on_epoch: OnEpoch) -> EpochReports:
    """Reports of one point of a grid that count the epochs of all points, for each phase of the strategy.

    Args:
        epochs: number of epochs of each point.
        number: index of the point.
    """

    def report_epoch(report: EpochReport) -> None:
        phases = report.epochs // epochs[number]
        on_epoch(title, replace(report, epoch=phases * sum(epochs[:number]) + report.epoch, epochs=phases * sum(epochs)))

    return EpochReports(report_epoch)


def _trackers(track: Sequence[TrackerLike], name: str, trial: Trial, config: RunConfig, *, folder: Path) -> list[Tracker]:
    """New trackers of the training `name`, in the run folder `folder`."""
    values = {**resolved_values(config), "seed": trial.seed, "fold": trial.fold}
    return [make_tracker(tracker, TrackedRun(folder.name, name, folder, values)) for tracker in track]


def _rows(trial: Trial, config: RunConfig, data: TrialData, result: FitResult, peak_mib: float | None) -> list[dict[str, Any]]:
    """Rows of trials.csv, one per metric and member. With several targets, each has its own rows, and so has their mean."""
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
    """The protocol, with ``-transductive`` if that is the exchange's (`exchange_on`), or ``-inductive`` if some test nodes were unseen."""
    seen = "-transductive" if result.exchange_on == "transductive" else ""
    return f"{config.protocol}{seen if data.nodes is None else '-inductive'}"
