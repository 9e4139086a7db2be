"""Running the trials of a configuration and storing their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from dgl_mutual.data.schema import schema_of
from dgl_mutual.data.sources.partition import is_partition
from dgl_mutual.errors import Interrupted, StoreError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.without_effect import refuse_folds, warn_of_options_without_effect
from dgl_mutual.experiments.environment import environment
from dgl_mutual.experiments.estimate import seconds_left
from dgl_mutual.experiments.executors.base import Executor
from dgl_mutual.experiments.executors.local import Local
from dgl_mutual.experiments.executors.torchrun import Torchrun, check_torchrun_options, device_of_rank, follow, refuse_process_options
from dgl_mutual.experiments.loading import load_data
from dgl_mutual.experiments.plan import Plan, prepare
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.run_folders.code_record import check_code, custom_code_digests
from dgl_mutual.experiments.run_folders.run_store import RunStore, begun, locked_store
from dgl_mutual.experiments.same_data import check_data
from dgl_mutual.experiments.work import Work, do_work
from dgl_mutual.store.summary import summarise_trials
from dgl_mutual.store.tables import Key, rows_of
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.strategies.base.setting import Divided
from dgl_mutual.training.distributed.process_group import launched, leads, process_group
from dgl_mutual.training.trackers import TrackerLike, check_trackers
from dgl_mutual.training.trainer import check_gradients
from dgl_mutual.utils.files import check_writable
from dgl_mutual.utils.open_files import RESERVE, make_room

#: Number of open files of a run: its lock, and its folder, which is watched.
_OF_A_RUN = 2


@dataclass(frozen=True, eq=False)
class RunReport:
    """The outcome of a run.

    Attributes:
        folder: the run's folder.
        summary: means over the requested trials, as in summary.csv; empty if none finished.
        failed: one line for each requested trial that failed.
    """

    folder: Path
    summary: pd.DataFrame
    failed: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _OpenRun:
    """A plan with its open folder.

    Attributes:
        store: the open folder.
        finished: (seed, fold) of the plan's finished trials.
        code: see `custom_code_digests`.
    """

    plan: Plan
    store: RunStore
    finished: set[Key]
    code: dict[str, str]


def run(
    config: RunConfig,
    *,
    out: Path = Path("results"),
    data_dir: Path | None = None,
    offline: bool = False,
    compute: Compute | None = None,
    resume: bool = True,
    progress: Progress | None = None,
    servers: Path | None = None,
    divide: Divided = "samples",
    track: Sequence[TrackerLike] = (),
) -> RunReport:
    """Run the missing trials of `config`, in a run folder below `out`. Under torchrun, all processes train each cohort together.

    Args:
        config: complete or not (see `resolve`).
        data_dir, offline: see `load_dataset`.
        compute, resume: see `execute`.
        servers: servers file of a partitioned dataset (see `dgl_mutual.experiments.graph_store.store`).
        divide: how the processes of torchrun divide the work.
        track: trackers of each training (see `dgl_mutual.training.trackers`).

    Raises:
        UsageError, DataError, StoreError, GraphStoreError: nothing was run.
        Interrupted: by Ctrl-C; finished trials are kept.
    """
    if leads():
        check_writable(out)
    check_trackers(track)
    compute = compute or Compute()
    refuse_process_options(config, servers, divide)
    if launched():
        compute = replace(compute, device=device_of_rank(compute.device))
        check_torchrun_options(config, compute.jobs)
    with ExitStack() as stack:
        if is_partition(config.dataset):
            from dgl_mutual.experiments.graph_store.store import open_for

            dataset = stack.enter_context(open_for(config, servers, divide))
            compute = replace(compute, jobs=1)
        else:
            dataset = load_data(config, data_dir=data_dir, offline=offline)
        plans = [prepare(config, dataset)]
        refuse_folds(plans[0].given, plans[0].config)
        if leads():
            warn_of_options_without_effect(plans[0].asked_and_resolved)
        ranks = stack.enter_context(process_group(compute.device, divide))
        if ranks.rank:
            follow(partial(do_work, compute=compute, usage_errors_fail_trial=False), plans, ranks)
            return RunReport(out / plans[0].name, pd.DataFrame(), ())
        together = Torchrun(ranks) if ranks.size > 1 else None
        return execute(plans, out=out, compute=compute, resume=resume, progress=progress, executor=together, track=track)[0]


def execute(
    plans: Sequence[Plan],
    *,
    out: Path,
    compute: Compute | None = None,
    resume: bool = True,
    progress: Progress | None = None,
    executor: Executor | None = None,
    track: Sequence[TrackerLike] = (),
) -> list[RunReport]:
    """Run the missing trials of all `plans` side by side, each run in its folder below `out`.

    Args:
        plans: different runs.
        compute: compute resources of trials (default: ``Compute()``).
        resume: keep finished trials.
        executor: runs the trials (default: processes of this machine), and decides how many run in parallel.
        track: see `run`.

    Raises:
        UsageError: the cohort of the only plan cannot work. With several plans, its trials fail instead, and the others go on.
        StoreError: nothing was run.
        Interrupted: by Ctrl-C; finished trials are kept.
    """
    compute = compute or Compute()
    progress = progress or Progress()
    make_room(_OF_A_RUN * len(plans) + RESERVE)
    with ExitStack() as stack:
        runs = [_checked(plan, stack.enter_context(locked_store(out / plan.name)), resume=resume) for plan in plans]
        for opened in runs:  # only now, after all checks, are files changed
            stack.enter_context(begun(opened.store, opened.plan.file_values, resume=resume, keys=opened.plan.keys))
        works = [
            Work(
                plan_index,
                trial,
                config=opened.plan.config,
                points=opened.plan.points,
                checkpoints=opened.store.checkpoints,
                snapshots=opened.store.snapshots,
                code=opened.code,
            )
            for plan_index, opened in enumerate(runs)
            for trial in opened.plan.trials
            if trial.key not in opened.finished
        ]
        remaining = Counter(work.plan_index for work in works)
        executor = executor or Local(compute.num_jobs, compute.threads)
        jobs = min(executor.num_jobs, max(1, len(works)))
        for opened in (runs[plan_index] for plan_index in remaining):
            current = environment(
                jobs=jobs,
                threads=compute.threads,
                device=compute.device,
                processes=executor.num_processes,
                code=opened.code,
                schema=schema_of(opened.plan.dataset),
            )
            opened.store.record_environment(current)
        num_finished = sum(len(opened.finished) for opened in runs)
        progress.start(len(works), num_finished, seconds_left(plans, out, remaining, jobs))
        bound = partial(do_work, compute=compute, usage_errors_fail_trial=len(plans) > 1, track=tuple(track))
        try:
            with closing(executor.outcomes(bound, works, [plan.dataset for plan in plans], progress)) as outcomes:
                for plan_index, outcome in outcomes:
                    runs[plan_index].store.add(outcome)
                    progress.end(outcome.trial.title, outcome.error)
                    remaining[plan_index] -= 1
                    if not remaining[plan_index]:
                        with suppress(StoreError):  # `begun` raises it again after the trials of other runs have ended
                            runs[plan_index].store.finish()
        except KeyboardInterrupt:
            raise _interrupted(runs, out) from None
    return [_report(opened.store, opened.plan.keys) for opened in runs]


def _checked(plan: Plan, store: RunStore, *, resume: bool) -> _OpenRun:
    """Check that a run may begin: its kept trials must have been trained by the current code and on the current data.

    Raises:
        UsageError: there is something to train, but gradients are disabled.
        StoreError: code or data have changed, or the folder holds another run. Nothing was removed.
    """
    kept = store.kept(plan.file_values, resume=resume, keys=plan.keys)
    code = custom_code_digests(*plan.configs)
    check_code(kept, code, plan.keys)
    check_data(kept, plan)
    finished = kept.keys & plan.keys
    if finished != plan.keys:  # worker processes would enable gradients again
        check_gradients(resolve_strategy(plan.config.strategy))
    return _OpenRun(plan, store, finished, code)


def _interrupted(runs: Sequence[_OpenRun], out: Path) -> Interrupted:
    kept = sum(len(opened.store.finished() & opened.plan.keys) for opened in runs)
    where = runs[0].store.folder if len(runs) == 1 else out
    return Interrupted(kept, sum(len(opened.plan.trials) for opened in runs), where)


def _report(store: RunStore, keys: set[Key]) -> RunReport:
    """The outcome of the requested trials; the folder may hold more seeds."""
    rows, failures = rows_of(store.trials, keys), rows_of(store.failures, keys)
    failed = tuple(f"seed {row.seed}, fold {row.fold}: {row.error}" for row in failures.itertuples())
    return RunReport(store.folder, summarise_trials(rows) if len(rows) else rows, failed)
