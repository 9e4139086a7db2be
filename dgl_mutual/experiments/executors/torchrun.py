"""Trials that the processes of torchrun train together, one trial after another. The first process saves the results."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.sources.partition import is_partition
from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.experiments.compute import is_cuda, resolve_device
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.executors.base import DoWork
from dgl_mutual.experiments.plan import Plan
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.trial import Outcome
from dgl_mutual.experiments.work import Work
from dgl_mutual.store.tables import Key
from dgl_mutual.strategies.base.setting import Divided
from dgl_mutual.training.distributed.process_group import launched, number_from_torchrun
from dgl_mutual.training.distributed.ranks import Ranks
from dgl_mutual.utils.scratch import temporary_folder


def device_of_rank(device: str) -> str:
    """The device of this process; on CUDA, each process of a machine has a GPU of its own.

    Raises:
        UsageError: `device` names a specific GPU, or there are more processes than GPUs.
    """
    if not is_cuda(device):
        return device
    if ":" in device:
        raise UsageError(f"Under torchrun each process uses its own GPU, so --device {device} cannot be used. Give --device cuda.")
    return resolve_device(f"cuda:{number_from_torchrun('LOCAL_RANK')}")


def check_torchrun_options(config: RunConfig, jobs: int | None) -> None:
    """Raise `UsageError` for options that do not work with several processes."""
    if jobs is not None and jobs > 1:
        raise UsageError(f"Under torchrun all processes train one trial, so --jobs {jobs} cannot be used. Leave it out.")
    if config.training.checkpoint_every is not None:
        raise UsageError("--checkpoint-every does not work under torchrun. Leave it out; finished trials are kept.")


def refuse_process_options(config: RunConfig, servers: Path | None, divide: Divided) -> None:
    """Raise `UsageError` for ``--servers`` without a partitioned graph, and for ``--divide students`` with a single process."""
    if servers is not None and not is_partition(config.dataset):
        raise UsageError(
            f"--servers {servers} lists the servers of a partitioned graph, but {config.dataset!r} is not a partition. "
            "Leave it out, or give --dataset a folder written by 'dgl-mutual partition'."
        )
    if divide == "students" and not launched() and not is_partition(config.dataset):
        raise UsageError(
            "--divide students needs several processes. Start them with torchrun --nproc-per-node 2 -m dgl_mutual run ..., or leave it out."
        )


@dataclass(frozen=True, eq=False)
class Torchrun:
    """The first of the processes that train each cohort together; the others `follow`.

    Attributes:
        ranks: all processes.
    """

    ranks: Ranks
    num_jobs: int = 1

    @property
    def num_processes(self) -> int:
        return self.ranks.size

    def outcomes(
        self, do_work: DoWork, works: Sequence[Work], datasets: Sequence[Dataset], progress: Progress
    ) -> Generator[tuple[int, Outcome], None, None]:
        """See `Executor`. All processes get the list of the trials.

        Raises:
            TrainingError: another process has ended, or the trial failed in this process alone.
        """
        self.ranks.broadcast([(work.plan_index, work.trial.key) for work in works])
        for work in works:
            yield _checked_outcome(do_work(work, datasets[work.plan_index], on_epoch=progress.epoch, ranks=self.ranks))


def follow(do_work: DoWork, plans: Sequence[Plan], ranks: Ranks) -> None:
    """Train the same trials in one of the other processes, which saves nothing.

    Raises:
        TrainingError: see `Torchrun.outcomes`.
    """
    trials = {(plan_index, trial.key): trial for plan_index, plan in enumerate(plans) for trial in plan.trials}
    nothing: list[tuple[int, Key]] = []
    for plan_index, key in ranks.broadcast(nothing):
        with temporary_folder() as folder:
            plan = plans[plan_index]
            work = Work(plan_index, trials[plan_index, key], plan.config, plan.points, Path(folder), Path(folder))
            _checked_outcome(do_work(work, plan.dataset, ranks=ranks))


def _checked_outcome(result: tuple[int, Outcome]) -> tuple[int, Outcome]:
    """The result itself, unless this process alone may have failed, so that the others would wait for it.

    Errors of options and metrics occur in all processes alike, and have no details.

    Raises:
        TrainingError: any other failure.
    """
    _, outcome = result
    if outcome.details:
        raise TrainingError(
            f"{outcome.trial.title} could not be trained to its end: {outcome.error}. If a connection was closed, another process has "
            "ended, and says why above or below. Finished trials are kept."
        )
    return result
