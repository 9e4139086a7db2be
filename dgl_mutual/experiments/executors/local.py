"""Trials in this process, or several at a time in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import LokyBackend

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import StoreError, TrainingError
from dgl_mutual.experiments.executors.base import DoWork
from dgl_mutual.experiments.processes import begin_work, spared_from_interrupts
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.run_folders.code_record import custom_code
from dgl_mutual.experiments.trial import Outcome
from dgl_mutual.experiments.work import Work
from dgl_mutual.utils.open_files import OF_A_JOB, RESERVE, make_room, too_many_open
from dgl_mutual.utils.python_processes import safe_path, same_path, surroundings
from dgl_mutual.utils.scratch import temporary_folder

_T = TypeVar("_T")

# joblib replaces a worker whose memory has grown, as after a large graph, and says so as if something were wrong. No trial is lost by it.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs")

#: The processes that the last call has left for the next one, after what they were made for; None while a call has them.
_kept: tuple[tuple[Any, ...], ProcessPoolExecutor] | None = None
_turn = threading.Lock()  # for `_kept`


@dataclass(frozen=True)
class Local:
    """Processes of this machine.

    Attributes:
        num_jobs: trials at a time; one runs in this very process.
        threads: threads a trial computes with.
    """

    num_jobs: int
    threads: int = 1
    num_processes: int = 1

    def outcomes(
        self, do_work: DoWork, works: Sequence[Work], datasets: Sequence[Dataset], progress: Progress
    ) -> Generator[tuple[int, Outcome], None, None]:
        """See `Executor`."""
        jobs = min(self.num_jobs, len(works))
        if jobs <= 1:
            yield from (do_work(work, datasets[work.plan_index], on_epoch=progress.epoch) for work in works)
            return
        do_work = partial(do_work, on_epoch=progress.epoch_elsewhere)
        of_plans = {work.plan_index: work for work in works}
        fresh = any(custom_code(config) for work in of_plans.values() for config in work.configs)
        with kept_datasets([datasets[index] for index in of_plans]) as files:
            calls = (partial(_run_in_worker, do_work, work, files[id(datasets[work.plan_index])]) for work in works)
            yield from in_processes(calls, jobs, self.threads, fresh=fresh)


def in_processes(calls: Iterable[Callable[[], _T]], jobs: int, threads: int, *, fresh: bool = False) -> Generator[_T, None, None]:
    """Make calls in `jobs` processes of this machine, and yield what they return, in the order in which they end.

    Args:
        fresh: in processes that neither an earlier call has left nor a later one takes over: custom code, and the environment that
            it reads, may be other by then.

    Raises:
        TrainingError: a process was killed.
        StoreError: there is no shared memory, or the system lets no more processes start.
    """
    if multiprocessing.current_process().daemon:
        warnings.warn("A worker of multiprocessing may start no processes, so nothing runs at the same time here", stacklevel=2)
        yield from (call() for call in calls)
        return
    make_room(OF_A_JOB * jobs + RESERVE)
    try:
        with same_path():
            multiprocessing.Lock()
    except OSError as error:
        fix = too_many_open(error) or "Make room in /dev/shm, and make it writable, or run with --jobs 1."
        raise StoreError(
            f"Processes cannot work together here: the system refuses what they share ({error.strerror or error}). {fix}"
        ) from None
    calls = iter(calls)
    pending: set[Future[_T]] = set()
    try:
        with _pool(jobs, threads, fresh=fresh) as pool:
            while True:
                for call in islice(calls, 2 * jobs - len(pending)):
                    with _starting(jobs):  # also later on, in place of processes that have ended
                        pending.add(pool.submit(call))
                if not pending:
                    return
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    pending.remove(future)
                    yield future.result()
    except Exception as error:
        yield from (future.result() for future in pending if _has_result(future))  # finished while the caller worked on the last one
        if isinstance(error, TerminatedWorkerError):
            raise TrainingError(_why_ended(str(error), jobs)) from None
        raise


def _has_result(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


@contextmanager
def _pool(jobs: int, threads: int, *, fresh: bool) -> Iterator[ProcessPoolExecutor]:
    """Processes for the length of a block: those that the last call has left, if they were made for the same, otherwise new ones.

    A call that begins while another has them, in another thread, gets its own. Where the block is left early, they are killed.
    """
    global _kept
    fresh = fresh or multiprocessing.parent_process() is not None  # a process of multiprocessing waits for its own before it ends
    here = surroundings()
    with _starting(jobs):
        made_for = (os.getpid(), jobs, threads, here, tuple(sys.path), dict(os.environ))
        pool = take_kept(None if fresh else made_for) or ProcessPoolExecutor(
            jobs, timeout=300, initializer=begin_work, initargs=(os.getpid(), here), env=_environment(threads)
        )
    try:
        yield pool
    except BaseException:
        pool.shutdown(kill_workers=True)
        for process in pool._processes.values():  # it ends none where not all of them could be started
            process.terminate()
        raise
    if fresh:
        pool.shutdown()
        return
    with _turn:
        left, _kept = _kept, (made_for, pool)
    if left is not None:  # by a call in another thread
        left[1].shutdown()


def take_kept(made_for: tuple[Any, ...] | None) -> ProcessPoolExecutor | None:
    """Take the processes that the last call has left, if they were made for the same; otherwise end them."""
    global _kept
    with _turn:
        kept, _kept = _kept, None
    if kept is None:
        return None
    before, pool = kept
    if before == made_for and not pool._flags.broken:
        return pool
    pool.shutdown()
    return None


def _environment(threads: int) -> dict[str, str]:
    """What the environment of processes has beside that of this one: they, and those that replace them, have its path (see `same_path`)."""
    return {**dict.fromkeys(LokyBackend.MAX_NUM_THREADS_VARS, str(threads)), **safe_path()}


@contextmanager
def _starting(jobs: int) -> Iterator[None]:
    """Processes may be started within."""
    try:
        with same_path(), spared_from_interrupts():
            yield
    except Exception as error:
        fix = too_many_open(error)  # joblib may raise another error in its handling
        if fix is None and not isinstance(error, OSError):
            raise
        why = "Too many open files" if fix else getattr(error, "strerror", None) or error
        raise StoreError(f"{jobs} processes cannot be started: {why}. {fix or f'Run fewer --jobs than {jobs}.'}") from None


def _why_ended(told: str, jobs: int) -> str:
    """What to say of a process that has ended before its work, from what joblib says of it, for example ``EXIT(1)`` or ``SIGKILL(-9)``."""
    statuses = list(dict.fromkeys(re.findall(r"(?!UNKNOWN)\b[A-Z]+\(-?\d+\)", told)))
    if not statuses or "SIGKILL(-9)" in statuses:
        return (
            "A process that trained was killed, probably for lack of memory. Finished trials are kept; "
            f"go on with fewer --jobs (in Python: jobs) than {jobs}."
        )
    return (
        f"A process that trains ended before its work: {', '.join(statuses)}. Finished trials are kept. If it has shown why, above, fix "
        "that; otherwise see where it ends with --jobs 1 (in Python: jobs=1)."
    )


@contextmanager
def kept_datasets(datasets: Sequence[Dataset]) -> Iterator[dict[int, Path]]:
    """Each dataset in a temporary file, by its id, for the length of a block: processes read it once, instead of with every trial.

    Raises:
        StoreError: the disk does not take it.
    """
    with temporary_folder() as folder:
        files: dict[int, Path] = {}
        for dataset in {id(dataset): dataset for dataset in datasets}.values():  # runs of a suite share them
            files[id(dataset)] = file = Path(folder, str(len(files)))
            try:
                with file.open("wb") as stream:
                    pickle.dump(dataset, stream, protocol=pickle.HIGHEST_PROTOCOL)
            except OSError as error:
                fix = too_many_open(error) or "Make room, name another folder with the environment's TMPDIR, or run with --jobs 1."
                raise StoreError(
                    f"{dataset.name} cannot be kept in {folder!r} for the processes that train ({error.strerror or error}). {fix}"
                ) from None
        yield files


def _run_in_worker(do_work: DoWork, work: Work, file: Path) -> tuple[int, Outcome]:
    return do_work(work, read_kept(file))


@lru_cache(maxsize=1)  # trials come run by run, so those of one dataset follow each other
def read_kept(file: Path) -> Dataset:
    """A dataset of `kept_datasets`, written by the process that has started this one."""
    with file.open("rb") as stream:
        dataset: Dataset = pickle.load(stream)
    return dataset
