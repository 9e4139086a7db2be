"""Trials in this process, or in parallel in several processes of this machine."""

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
from dgl_mutual.utils.standard_streams import streams_opened

_T = TypeVar("_T")

# joblib replaces a worker whose memory has grown, as after a large graph, with an alarming warning. No trial is lost.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs")

#: The processes that the last call has left for reuse, after the settings they were made with; None while a call uses them.
_kept: tuple[tuple[Any, ...], ProcessPoolExecutor] | None = None
_turn = threading.Lock()  # for `_kept`


@dataclass(frozen=True)
class Local:
    """Processes of this machine.

    Attributes:
        num_jobs: number of parallel trials; with 1, trials run in this process.
        threads: number of threads per trial.
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
    """Run calls in `jobs` processes of this machine, and yield their results in the order in which they end.

    Args:
        fresh: use new processes, and do not leave them for reuse, since custom code and the environment that it reads may change.

    Raises:
        TrainingError: a process was killed.
        StoreError: the system refuses a lock that processes share, or further processes.
    """
    if multiprocessing.current_process().daemon:
        warnings.warn("A worker of multiprocessing cannot start processes, so nothing runs in parallel here", stacklevel=2)
        yield from (call() for call in calls)
        return
    make_room(OF_A_JOB * jobs + RESERVE)
    try:
        with same_path():
            multiprocessing.Lock()
    except OSError as error:
        fix = too_many_open(error) or "Make room in /dev/shm, and make it writable, or run with --jobs 1."
        raise StoreError(
            f"Several processes cannot be used here: the system refuses a lock that they share ({error.strerror or error}). {fix}"
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
    """Processes for the duration of a block: those of the last call, if they were made with the same settings, otherwise new ones.

    A call gets new ones while another thread uses those. If the block is left early, they are killed.
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
        for process in pool._processes.values():  # shutdown ends none if some could not be started
            process.terminate()
        raise
    if fresh:
        pool.shutdown()
        return
    with _turn:
        replaced, _kept = _kept, (made_for, pool)
    if replaced is not None:  # by a call in another thread
        replaced[1].shutdown()


def take_kept(made_for: tuple[Any, ...] | None) -> ProcessPoolExecutor | None:
    """Take the processes that the last call has left, if they were made with the same settings; otherwise end them."""
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
    """Environment variables of the processes beside those of this one, whose path they and their replacements share (see `same_path`)."""
    return {**dict.fromkeys(LokyBackend.MAX_NUM_THREADS_VARS, str(threads)), **safe_path()}


@contextmanager
def _starting(jobs: int) -> Iterator[None]:
    """A block in which processes may be started; errors at their start become a `StoreError`."""
    try:
        with same_path(), streams_opened(), spared_from_interrupts():
            yield
    except Exception as error:
        fix = too_many_open(error)  # joblib may raise another error in its handling
        if fix is None and not isinstance(error, OSError):
            raise
        why = "Too many open files" if fix else getattr(error, "strerror", None) or error
        raise StoreError(f"{jobs} processes cannot be started: {why}. {fix or f'Run fewer --jobs than {jobs}.'}") from None


def _why_ended(message: str, jobs: int) -> str:
    """The error for a process that ended early, from joblib's message with its status, for example ``EXIT(1)`` or ``SIGKILL(-9)``."""
    statuses = list(dict.fromkeys(re.findall(r"(?!UNKNOWN)\b[A-Z]+\(-?\d+\)", message)))
    if not statuses or "SIGKILL(-9)" in statuses:
        return (
            "A training process was killed, probably for lack of memory. Finished trials are kept; "
            f"go on with fewer --jobs (in Python: jobs) than {jobs}."
        )
    return (
        f"A training process ended early: {', '.join(statuses)}. Finished trials are kept. If it has printed a reason above, fix that; "
        "otherwise find out where it ends with --jobs 1 (in Python: jobs=1)."
    )


@contextmanager
def kept_datasets(datasets: Sequence[Dataset]) -> Iterator[dict[int, Path]]:
    """Write each dataset to a temporary file, by its id, for the duration of a block, so that processes read it once instead of per trial.

    Raises:
        StoreError: a dataset cannot be written.
    """
    with temporary_folder() as folder:
        files: dict[int, Path] = {}
        for dataset in {id(dataset): dataset for dataset in datasets}.values():  # runs of a suite share them
            files[id(dataset)] = file = Path(folder, str(len(files)))
            try:
                with file.open("wb") as stream:
                    pickle.dump(dataset, stream, protocol=pickle.HIGHEST_PROTOCOL)
            except OSError as error:
                fix = too_many_open(error) or "Make room, choose another folder with the environment variable TMPDIR, or run with --jobs 1."
                raise StoreError(
                    f"{dataset.name} cannot be written to {folder!r} for the training processes ({error.strerror or error}). {fix}"
                ) from None
        yield files


def _run_in_worker(do_work: DoWork, work: Work, file: Path) -> tuple[int, Outcome]:
    return do_work(work, read_kept(file))


@lru_cache(maxsize=1)  # trials come run by run, so those of one dataset are consecutive
def read_kept(file: Path) -> Dataset:
    """Read a dataset that the parent process has written with `kept_datasets`."""
    with file.open("rb") as stream:
        dataset: Dataset = pickle.load(stream)
    return dataset
