"""Running the trials of a search, one after another in this process, or in parallel in several processes of this machine."""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.executors.local import in_processes, kept_datasets, read_kept
from dgl_mutual.experiments.progress import OnEpoch, Progress
from dgl_mutual.experiments.run_folders.code_record import check_process, custom_code, custom_code_digests
from dgl_mutual.experiments.tuning.objective import evaluate, mean_metric
from dgl_mutual.experiments.tuning.study import Search, SearchPlan
from dgl_mutual.utils.torch_settings import threads_kept

#: The title of an ended trial, and the error if it failed.
Ended: TypeAlias = tuple[str, str | None]


def run_trials(search: Search, dataset: Dataset, *, compute: Compute, missing: int, progress: Progress) -> Generator[Ended, None, None]:
    """Run trials until the requested number is reached.

    Args:
        search: an open search.
        compute: with one job, trials run in this process, and each depends only on earlier ones.
        missing: number of trials to run.

    Raises:
        TrainingError: a process was killed; ended trials are kept.
    """
    jobs = min(compute.num_jobs, missing)
    if jobs <= 1:
        while (outcome := _run_next(search, dataset, compute, progress.epoch)) is not None:
            yield outcome
        return
    with kept_datasets([dataset]) as files:
        resolved = search.plan.resolved
        arguments = search.plan, files[id(dataset)], compute, progress.epoch_elsewhere, custom_code_digests(resolved)
        calls = (partial(_run_in_worker, *arguments) for _ in range(missing))
        with closing(in_processes(calls, jobs, compute.threads, fresh=bool(custom_code(resolved)))) as outcomes:
            yield from (outcome for outcome in outcomes if outcome is not None)


@threads_kept()
def _run_next(search: Search, dataset: Dataset, compute: Compute, on_epoch: OnEpoch | None) -> Ended | None:
    """Run the next trial; None if no trial is left."""
    plan = search.plan
    if plan.deadline is not None and time.monotonic() >= plan.deadline:
        return None
    claimed = search.claim(plan.trials)
    if claimed is None:
        return None
    torch.set_num_threads(compute.threads)
    with warnings.catch_warnings():  # they were shown when the search was planned
        warnings.simplefilter("ignore")
        parts = plan.parts(dataset)
    with claimed as trial:
        title = f"{plan.label}  trial-{trial.number}"
        reports = None if on_epoch is None else partial(on_epoch, title)
        return title, evaluate(search, trial, partial(mean_metric, search, trial, parts, dataset, compute.device, reports))


def _run_in_worker(plan: SearchPlan, file: Path, compute: Compute, on_epoch: OnEpoch | None, code: Mapping[str, str]) -> Ended | None:
    """Run a trial in a worker process; None if no trial is left."""
    check_process([plan.resolved], code)
    import_optuna()
    search = Search(plan)
    with search.opened(begun=True):
        return _run_next(search, read_kept(file), compute, on_epoch)


def import_optuna() -> None:
    """Import Optuna for this process, without its messages.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise UsageError("Tuning needs optuna, which is not installed. Install it: pip install 'dgl-mutual[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
