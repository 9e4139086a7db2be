"""Trials on the machines of a Dask cluster.

Workers return whole trials, including the files of students, to the one process that writes run folders, so machines need not share a
disk. If a worker dies, the scheduler reassigns its trial; returned trials are already in the run folder.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import DglMutualError, StoreError, TrainingError, UsageError
from dgl_mutual.experiments.environment import versions
from dgl_mutual.experiments.executors.base import DoWork
from dgl_mutual.experiments.processes import spared_from_interrupts
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.trial import Outcome
from dgl_mutual.experiments.work import Work
from dgl_mutual.utils.arguments import MAX_JOBS, whole_number
from dgl_mutual.utils.files import replacing
from dgl_mutual.utils.python_processes import safe_path, same_path, surroundings, take_over
from dgl_mutual.utils.scratch import temporary_folder

#: Timeout in seconds for the answer of a scheduler, and then for its first worker.
TIMEOUT_SECONDS = 10
#: Trials take turns in a worker with several threads, since the random streams of torch and DGL belong to the process.
_TURN = threading.Lock()
#: Maximum number of times that a trial is sent again after the cluster has lost its dataset.
_MAX_LOSSES = 3


class ClusterError(DglMutualError):
    """A cluster cannot be reached, or cannot be used for training."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """A connected cluster.

    Attributes:
        client: its `distributed.Client`.
        num_jobs: number of its worker processes.
        here: whether the workers run on this machine. Displays only show the epochs of such workers.
    """

    client: Any
    num_jobs: int
    here: bool = False
    num_processes: int = 1

    def outcomes(
        self, do_work: DoWork, works: Sequence[Work], datasets: Sequence[Dataset], progress: Progress
    ) -> Generator[tuple[int, Outcome], None, None]:
        """See `Executor`. The files of a trial are written before its outcome is returned.

        Raises:
            TrainingError: the cluster is gone, or several workers died on the same trial.
        """
        if self.here:
            do_work = partial(do_work, on_epoch=progress.epoch_elsewhere)
        distributed = _dask()
        places: dict[Any, int] = {}
        sent: dict[int, Any] = {}
        lost: Counter[int] = Counter()

        def submit(place: int) -> Any:
            dataset = datasets[works[place].plan_index]
            if id(dataset) not in sent or sent[id(dataset)].status != "finished":
                sent[id(dataset)] = self.client.scatter([dataset], broadcast=True, hash=False)[0]  # once to each worker
            # Not with joblib, which runs everything in this process if the cluster has a single worker.
            future = self.client.submit(_run_in_worker, do_work, _sent(works[place]), sent[id(dataset)], pure=False)
            places[future] = place
            return future

        try:
            completed = distributed.as_completed([submit(place) for place in range(len(works))], loop=self.client.loop)
            for future in completed:
                place = places[future]
                try:
                    result, files = future.result()
                except distributed.CancelledError:
                    # Dask keeps few copies of a dataset: the last one may have gone with a worker.
                    lost[place] += 1
                    if self.client.status != "running" or lost[place] > _MAX_LOSSES:
                        raise
                    completed.add(submit(place))
                    continue
                future.release()
                _put(files, works[place].checkpoints / works[place].trial.name)
                yield result
        except distributed.KilledWorker as error:
            raise TrainingError(
                "Workers of the cluster died one after another on the same trial, probably for lack of memory "
                f"(the last at {error.last_worker.address}). Finished trials are kept."
            ) from None
        except (distributed.CancelledError, OSError) as error:
            raise TrainingError(
                f"The cluster was lost ({type(error).__name__}: {error}). Finished trials are kept; the same command goes on from there."
            ) from None
        finally:
            with suppress(Exception):  # the cluster may be gone
                self.client.cancel([future for future in places if not future.done()])


@contextmanager
def connected(cluster: str) -> Iterator[Cluster]:
    """Connect to a cluster for the duration of a block.

    Args:
        cluster: ``tcp://HOST:PORT``, the address of a Dask scheduler, or ``local:N``, N processes of this machine.

    Raises:
        UsageError: `cluster` has neither form.
        ClusterError: Dask is not installed, the scheduler or a worker does not answer, or a worker has other versions than this process.
    """
    local = re.fullmatch(r"local:([1-9]\d{0,8})", cluster)
    if local is None and not re.fullmatch(r"(tcp|tls)://[^/\s]+:\d+", cluster):
        raise UsageError(
            f"{cluster!r} is not the address of a Dask cluster. Give a scheduler's address, tcp://HOST:PORT, or local:N for N processes."
        )
    if local is not None:
        whole_number("jobs", int(local[1]), 1, MAX_JOBS)
    distributed = _dask()
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # our errors replace its tracebacks
    with ExitStack() as stack:
        address = cluster
        if local is not None:
            of_parent = surroundings()
            with same_path(), spared_from_interrupts(), _settings():
                here = distributed.LocalCluster(
                    n_workers=int(local[1]), threads_per_worker=1, dashboard_address=None, silence_logs="ERROR", memory_limit=0
                )
            address = stack.enter_context(here).scheduler_address
        try:
            client = stack.enter_context(distributed.Client(address, timeout=TIMEOUT_SECONDS, set_as_default=False))
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"No Dask scheduler answers at {cluster} ({error}). Start one with 'dask scheduler' there, or correct the address."
            ) from None
        num_workers = _count_compatible_workers(client, cluster)
        if local is not None:
            client.run(take_over, *of_parent)
        yield Cluster(client, num_workers, here=local is not None)


def _settings() -> AbstractContextManager[Any]:
    """Settings of workers on this machine, including later replacements.

    The profiler is off: it inspects the frames of all threads, which can stop a process in some releases (CPython gh-106883). The path is
    that of this process (see `same_path`).
    """
    settings: dict[str, object] = {"distributed.worker.profile.enabled": False}
    settings |= {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in safe_path().items()}
    context: AbstractContextManager[Any] = importlib.import_module("dask").config.set(settings)
    return context


def _dask() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ClusterError(f"A cluster needs Dask ({error}). Install it with: pip install 'dgl-mutual[cluster]'") from None


def _count_compatible_workers(client: Any, cluster: str) -> int:
    """Count the workers, and check that all have the same versions as this process, since others would give other rows."""
    try:
        client.wait_for_workers(1, timeout=TIMEOUT_SECONDS)
    except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
        raise ClusterError(f"The cluster {cluster} has no worker. Start some with 'dask worker {cluster} --nthreads 1'.") from None
    try:
        by_worker = client.run(versions)
    except ModuleNotFoundError as error:
        raise ClusterError(f"Workers of the cluster {cluster} have no {error.name}. Install dgl-mutual for their Python.") from None
    here = _relevant(versions())
    for address, there in by_worker.items():
        other = [f"{name} {there.get(name)} (here {here.get(name)})" for name in here if there.get(name) != here.get(name)]
        if other:
            raise ClusterError(f"The worker at {address} has {', '.join(other)}, and other versions give other rows. Install the same.")
    return len(by_worker)


def _relevant(installed: dict[str, str]) -> dict[str, str]:
    """The versions that determine results; machines and their patch levels may differ."""
    return {name: installed[name] for name in ("dgl_mutual", "torch", "dgl", "numpy", "scipy", "scikit-learn") if name in installed}


def _sent(work: Work) -> Work:
    """The work with an absolute folder of snapshots, since workers have other working folders."""
    return replace(work, snapshots=work.snapshots.absolute())


def _run_in_worker(do_work: DoWork, work: Work, dataset: Dataset) -> tuple[tuple[int, Outcome], dict[str, bytes]]:
    """Run a trial in a worker, and return its outcome and files."""
    with _TURN, temporary_folder() as folder:
        if work.config.training.checkpoint_every is not None and not work.snapshots.parent.is_dir():
            raise StoreError(
                f"A worker does not see the folder {str(work.snapshots.parent)!r}, in which --checkpoint-every keeps trainings. "
                "Put it on a disk that all machines share, or leave the option out."
            )
        result = do_work(replace(work, checkpoints=Path(folder)), dataset)
        made = Path(folder, work.trial.name)
        return result, {str(file.relative_to(made)): file.read_bytes() for file in made.rglob("*") if file.is_file()}


def _put(files: dict[str, bytes], folder: Path) -> None:
    if not files:  # the trial failed
        return
    with replacing(folder, within=folder.parents[1]) as temporary:
        for name, content in files.items():
            file = temporary / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
