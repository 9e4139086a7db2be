"""Runs every trial of a configuration and keeps what comes of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import pandas as pd
from joblib.externals.loky.process_executor import TerminatedWorkerError

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.load import load_dataset
from dgl_mutual.errors import DglMutualError, TrainingError
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.device import resolve_device
from dgl_mutual.experiments.environment import environment
from dgl_mutual.experiments.files import check_writable
from dgl_mutual.experiments.progress import Progress, Silence
from dgl_mutual.experiments.resolve import anchored, plain, resolve, run_name, splits_of
from dgl_mutual.experiments.store import RunStore, open_store
from dgl_mutual.experiments.summary import summarise
from dgl_mutual.experiments.trial import Outcome, Trial, run_trial


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
) -> RunReport:
    """Run what is missing of `config` below the folder `out`.

    Args:
        config: complete or not (see `resolve`).
        data_dir, offline: see `load_dataset`.
        device: cpu, cuda, or auto.
        jobs: trials at a time, each in a process of its own if there are several (default: one a core; on cuda one).
        threads: threads a trial computes with. Sums over other numbers of threads round otherwise, so the default does not depend on the
            machine, nor on `jobs`.
        resume: keep the trials that are finished.

    Raises:
        UsageError, DataError, StoreError: nothing was run.
        Interrupted: by Ctrl-C; finished trials are kept.
    """
    check_writable(out)
    device = resolve_device(device)
    dataset = load_dataset(config.dataset, config.task, data_dir=data_dir, offline=offline, progress=True)
    config = resolve(anchored(config), dataset)
    trials = plan(config, dataset)
    progress = progress or Silence()
    with open_store(out / run_name(config), plain(config), resume=resume) as store:
        finished = store.finished()
        missing = [trial for trial in trials if trial.key not in finished]
        jobs = min(jobs or (1 if device == "cuda" else joblib.cpu_count()), max(1, len(missing)))
        if missing:
            store.record_environment(environment(jobs=jobs, threads=threads, device=device))
        progress.start(missing, len(finished))
        try:
            _run_all(missing, config, dataset, store, jobs=jobs, threads=threads, device=device, progress=progress)
        except KeyboardInterrupt:
            kept = f"{len(store.finished())} of {len(trials)} trials are finished and kept in {store.folder}."
            raise Interrupted(f"Interrupted. {kept} The same command goes on from there.") from None
    rows = store.trials
    failed = tuple(f"seed {row.seed}, fold {row.fold}: {row.error}" for row in store.failures.itertuples())
    return RunReport(store.folder, summarise(rows) if len(rows) else rows, failed)


def plan(config: RunConfig, dataset: Dataset) -> list[Trial]:
    """Every trial of a resolved configuration. All splits are drawn here, so a wrong one ends the run before it starts."""
    assert config.seeds is not None
    return [Trial(seed, fold, split) for seed in range(config.seeds) for fold, split in enumerate(splits_of(config, dataset, seed))]


def _run_all(
    trials: Sequence[Trial],
    config: RunConfig,
    dataset: Dataset,
    store: RunStore,
    *,
    jobs: int,
    threads: int,
    device: str,
    progress: Progress,
) -> None:
    task = partial(run_trial, config=config, dataset=dataset, checkpoints=store.checkpoints, threads=threads, device=device)
    if jobs == 1:
        outcomes = (task(trial, on_epoch=progress.epoch) for trial in trials)
    else:
        outcomes = _in_processes(partial(task, on_epoch=progress.remote_epoch), trials, jobs, threads)
    with closing(outcomes):
        for outcome in outcomes:
            store.add(outcome)
            progress.end(outcome)


def _in_processes(task: partial[Outcome], trials: Sequence[Trial], jobs: int, threads: int) -> Generator[Outcome, None, None]:
    """Outcomes as they come."""
    with joblib.parallel_config(backend="loky", inner_max_num_threads=threads):
        # Without max_nbytes=None the workers would get the dataset's arrays as read-only maps, which torch warns of.
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", max_nbytes=None)
        try:
            yield from parallel(joblib.delayed(task)(trial) for trial in trials)
        except TerminatedWorkerError:
            raise TrainingError(
                "A process that trained was killed, probably for lack of memory. Finished trials are kept; "
                f"go on with fewer --jobs than {jobs}."
            ) from None
