"""Runs every trial of a configuration and keeps what comes of it."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import pandas as pd
from joblib.externals.loky.process_executor import TerminatedWorkerError

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.load import load_dataset
from dgl_mutual.data.partition import is_partition
from dgl_mutual.errors import DglMutualError, TrainingError, UsageError
from dgl_mutual.experiments.cluster import Cluster
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.device import is_cuda, resolve_device
from dgl_mutual.experiments.environment import environment
from dgl_mutual.experiments.files import check_writable
from dgl_mutual.experiments.progress import Progress, Silence
from dgl_mutual.experiments.resolve import anchored, plain, resolve, run_name, splits_of
from dgl_mutual.experiments.store import RunStore, open_store
from dgl_mutual.experiments.summary import summarise
from dgl_mutual.experiments.together import device_of_rank, follow, lead, refuse_alone
from dgl_mutual.experiments.trial import Outcome, Trial, run_trial
from dgl_mutual.experiments.workers import end_with, spared_from_interrupts
from dgl_mutual.strategies.base import Divided
from dgl_mutual.training.distributed import ALONE, Ranks, joined, launched, leads
from dgl_mutual.training.history import EpochReport

# joblib replaces a worker whose memory has grown, as after a large graph, and says so as if something were wrong. No trial is lost by it.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs")

OnEpoch = Callable[[Trial, EpochReport], None] | None


@dataclass(frozen=True, eq=False)
class RunReport:
    """How a run ended.

    Attributes:
        folder: the run's folder.
        summary: its summary.csv; empty if no trial finished.
        failed: one line a failed trial.
    """

    folder: Path
    summary: pd.DataFrame
    failed: tuple[str, ...]


class Interrupted(DglMutualError):
    """A run was interrupted from the keyboard. The message says what is kept and how it goes on."""

    exit_code = 130


@dataclass(frozen=True, eq=False)
class Plan:
    """A run that is ready to start: its resolved configuration, its dataset, and every trial."""

    config: RunConfig
    dataset: Dataset
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return run_name(self.config)


def run(
    config: RunConfig,
    *,
    out: Path = Path("results"),
    data_dir: Path | None = None,
    offline: bool = False,
    device: str = "auto",
    jobs: int | None = None,
    threads: int = 1,
    resume: bool = True,
    progress: Progress | None = None,
    servers: Path | None = None,
    divide: Divided = "samples",
) -> RunReport:
    """Run what is missing of `config` below the folder `out`. Where torchrun has started several processes, all of them train each cohort.

    Args:
        config: complete or not (see `resolve`).
        data_dir, offline: see `load_dataset`.
        device, jobs, threads, resume: see `execute`.
        servers: where the parts of the dataset are served, if it is a partition (see `dgl_mutual.experiments.graph_store`).
        divide: what the processes of torchrun divide, if there are several.

    Raises:
        UsageError, DataError, StoreError, GraphStoreError: nothing was run.
        Interrupted: by Ctrl-C; finished trials are kept.
    """
    if leads():
        check_writable(out)
    device = resolve_device(device)
    if launched():
        device = device_of_rank(device)
        refuse_alone(config, jobs)
    with ExitStack() as stack:
        if is_partition(config.dataset):
            from dgl_mutual.experiments.graph_store import open_for

            dataset, jobs = stack.enter_context(open_for(config, servers, divide)), 1
        else:
            dataset = load_dataset(config.dataset, config.task, data_dir=data_dir, offline=offline, progress=True, targets=config.targets)
        plans = [prepare(config, dataset)]
        ranks = stack.enter_context(joined(device, divide))
        if ranks.rank:
            follow(partial(_do, threads=threads, device=device, forgiving=False), plans, ranks, Work)
            return RunReport(out / plans[0].name, pd.DataFrame(), ())
        return execute(plans, out=out, device=device, jobs=jobs, threads=threads, resume=resume, progress=progress, ranks=ranks)[0]


def prepare(config: RunConfig, dataset: Dataset, label: str = "") -> Plan:
    """Resolve a configuration on its dataset. All splits are drawn here, so a wrong one ends the run before it starts.

    Args:
        label: how displays name the run, where several run together.

    Raises:
        UsageError, DataError: the run cannot be made.
    """
    config = resolve(anchored(config), dataset)
    assert config.seeds is not None
    splits = ((seed, enumerate(splits_of(config, dataset, seed))) for seed in range(config.seeds))
    return Plan(config, dataset, tuple(Trial(seed, fold, split, label) for seed, folds in splits for fold, split in folds))


def execute(
    plans: Sequence[Plan],
    *,
    out: Path,
    device: str = "auto",
    jobs: int | None = None,
    threads: int = 1,
    resume: bool = True,
    progress: Progress | None = None,
    cluster: Cluster | None = None,
    ranks: Ranks = ALONE,
) -> list[RunReport]:
    """Run what is missing of all `plans` side by side, each in its folder below `out`.

    Args:
        plans: different runs.
        device: cpu, cuda, cuda:N, or auto.
        jobs: trials at a time, of whatever run, each in a process of its own if there are several (default: one a core; on cuda one).
        threads: threads a trial computes with. Sums over other numbers of threads round otherwise, so the default does not depend on the
            machine, nor on `jobs`.
        resume: keep the trials that are finished.
        cluster: where to run trials instead of in processes of this one ; it says how many at a time.
        ranks: the other processes that train each cohort with this one; they `follow`.

    Raises:
        UsageError: the cohort of the only plan cannot work. Among several plans this is a failed trial, and the others go on.
        StoreError: nothing was run.
        Interrupted: by Ctrl-C; finished trials are kept.
    """
    device = resolve_device(device)
    progress = progress or Silence()
    with ExitStack() as stack:
        stores = [stack.enter_context(open_store(out / plan.name, plain(plan.config), resume=resume)) for plan in plans]
        finished = [store.finished() for store in stores]
        works = [
            Work(place, trial, plan, store.checkpoints, store.snapshots)
            for place, (plan, store) in enumerate(zip(plans, stores, strict=True))
            for trial in plan.trials
            if trial.key not in finished[place]
        ]
        left = Counter(work.place for work in works)
        most = 1 if is_cuda(device) or ranks.size > 1 else joblib.cpu_count()
        jobs = cluster.num_workers if cluster is not None else jobs or most
        jobs = min(jobs, max(1, len(works)))
        for place in left:
            stores[place].record_environment(environment(jobs=jobs, threads=threads, device=device, processes=ranks.size))
        progress.start([work.trial for work in works], sum(map(len, finished)))
        task = partial(_do, threads=threads, device=device, forgiving=len(plans) > 1)
        try:
            if cluster is not None:
                coming = cluster.outcomes(task, works)
            elif ranks.size > 1:
                coming = lead(task, works, ranks, progress)
            else:
                coming = _outcomes(task, works, jobs, threads, progress)
            with closing(coming) as outcomes:
                for place, outcome in outcomes:
                    stores[place].add(outcome)
                    progress.end(outcome)
                    left[place] -= 1
                    if not left[place]:
                        stores[place].finish()
        except KeyboardInterrupt:
            kept = sum(len(store.finished()) for store in stores)
            where = stores[0].folder if len(stores) == 1 else out
            raise Interrupted(
                f"Interrupted. {kept} of {sum(len(plan.trials) for plan in plans)} trials are finished and kept in {where}. "
                "The same command goes on from there."
            ) from None
    return [_report(store) for store in stores]


@dataclass(frozen=True, eq=False)
class Work:
    """A trial, with all that a process needs to do it."""

    place: int
    trial: Trial
    plan: Plan
    checkpoints: Path
    snapshots: Path


def _do(
    work: Work,
    *,
    threads: int,
    device: str,
    forgiving: bool,
    on_epoch: OnEpoch = None,
    parent: int | None = None,
    ranks: Ranks = ALONE,
) -> tuple[int, Outcome]:
    """Run a trial, in this process or (with `parent`) in one that works for another."""
    if parent is not None:
        end_with(parent)
    try:
        outcome = run_trial(
            work.trial,
            work.plan.config,
            work.plan.dataset,
            work.checkpoints,
            work.snapshots,
            threads=threads,
            device=device,
            on_epoch=on_epoch,
            ranks=ranks,
        )
    except UsageError as error:
        if not forgiving:
            raise
        outcome = Outcome(work.trial, [], [], str(error))
    return work.place, outcome


def _outcomes(
    task: partial[tuple[int, Outcome]], works: Sequence[Work], jobs: int, threads: int, progress: Progress
) -> Generator[tuple[int, Outcome], None, None]:
    """Each trial's run and outcome, as they come."""
    if jobs == 1:
        yield from (task(work, on_epoch=progress.epoch) for work in works)
        return
    task = partial(task, on_epoch=progress.remote_epoch, parent=os.getpid())
    with joblib.parallel_config(backend="loky", inner_max_num_threads=threads):
        # Without max_nbytes=None the workers would get the dataset's arrays as read-only maps, which torch warns of.
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", max_nbytes=None)
        try:
            with spared_from_interrupts():
                outcomes = parallel(joblib.delayed(task)(work) for work in works)
            yield from outcomes
        except TerminatedWorkerError:
            raise TrainingError(
                "A process that trained was killed, probably for lack of memory. Finished trials are kept; "
                f"go on with fewer --jobs than {jobs}."
            ) from None


def _report(store: RunStore) -> RunReport:
    rows = store.trials
    failed = tuple(f"seed {row.seed}, fold {row.fold}: {row.error}" for row in store.failures.itertuples())
    return RunReport(store.folder, summarise(rows) if len(rows) else rows, failed)
