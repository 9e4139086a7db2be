"""Trials in this process, or several at a time in processes of this machine."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from dgl_mutual.errors import TrainingError
from dgl_mutual.experiments.device import is_cuda
from dgl_mutual.experiments.executors.base import Task
from dgl_mutual.experiments.processes import spared_from_interrupts
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.trial import Outcome
from dgl_mutual.experiments.work import Work

# joblib replaces a worker whose memory has grown, as after a large graph, and says so as if something were wrong. No trial is lost by it.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs")


def default_jobs(device: str) -> int:
    """One a core; on CUDA one."""
    return 1 if is_cuda(device) else int(joblib.cpu_count())


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

    def outcomes(self, task: Task, works: Sequence[Work], progress: Progress) -> Generator[tuple[int, Outcome], None, None]:
        """See `Executor`."""
        jobs = min(self.num_jobs, len(works))
        if jobs <= 1:
            yield from (task(work, on_epoch=progress.epoch) for work in works)
            return
        task = partial(task, on_epoch=progress.remote_epoch, parent=os.getpid())
        with joblib.parallel_config(backend="loky", inner_max_num_threads=self.threads):
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
