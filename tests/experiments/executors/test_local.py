from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from torch import nn

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import StoreError, TrainingError, UsageError
from dgl_mutual.experiments import processes
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.executors import local
from dgl_mutual.experiments.executors.local import Local
from dgl_mutual.experiments.plan import Plan, prepare
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.run_folders.code_record import custom_code_digests
from dgl_mutual.experiments.trial import Outcome
from dgl_mutual.experiments.work import Work, do_work
from dgl_mutual.utils.python_processes import VARIABLE, surroundings
from tests import forked
from tests.closed import full_disk


@pytest.fixture
def large() -> Dataset:
    random = np.random.default_rng(0)
    edges = random.integers(2000, size=(2, 20_000))
    return Dataset.from_arrays(edges, random.random((2000, 50)), random.integers(3, size=2000))


def works_of(*plans: Plan) -> list[Work]:
    return [Work(index, trial, plan.config, plan.points, Path("c"), Path("s")) for index, plan in enumerate(plans) for trial in plan.trials]


def plan_of(dataset: Dataset, **values: Any) -> Plan:
    config = {"students": "gcn,sage", "seeds": 5, "protocol": "random", "training": {"epochs": 1}}
    return prepare(parse_config({**config, **values}), dataset, in_memory=True)


def looks(work: Work, dataset: Dataset, **options: Any) -> tuple[int, Outcome]:
    """In place of a training: a sum over the dataset."""
    details = f"{float(dataset.features.sum())}"
    return work.plan_index, Outcome(work.trial, details=details)


def test_what_is_sent_for_a_trial_does_not_grow_with_the_dataset(large: Dataset) -> None:
    (work, *_) = works = works_of(plan_of(large))
    assert len(works) == 5
    split = len(pickle.dumps(work.trial))
    assert len(pickle.dumps(work)) < split + 20_000 < len(pickle.dumps(large)) / 10


@pytest.mark.usefixtures("forked_workers")
def test_processes_get_the_datasets_of_their_trials(large: Dataset) -> None:
    other = Dataset.from_arrays(large.edges, large.features + 1, large.labels)
    found = list(Local(2).outcomes(looks, works_of(plan_of(large), plan_of(other)), [large, other], Progress()))
    assert len(found) == 10
    for place, outcome in found:
        assert float(outcome.details) == float((large, other)[place].features.sum())


def test_runs_share_one_dataset_also_without_its_edge_features(large: Dataset) -> None:
    edged = Dataset.from_arrays(large.edges, large.features, large.labels, edge_features=np.ones((large.edges.shape[1], 2)))
    datasets = [plan_of(edged, students="sgc,tag", strategy=strategy).dataset for strategy in ("gml", "dml")]
    assert datasets[0] is datasets[1] and datasets[0].edge_features is None
    with local.kept_datasets(datasets) as files:
        assert len([*files[id(datasets[0])].parent.iterdir()]) == 1


def test_a_process_reads_a_dataset_once(large: Dataset, tmp_path: Path) -> None:
    with local.kept_datasets([large]) as files:
        (file,) = files.values()
        assert local.read_kept(file) is local.read_kept(file)
    assert not file.parent.exists()


class Net(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, num_outputs)

    def forward(self, graph: Any, feat: Any) -> Any:
        return self.layer(feat)


def test_a_process_with_other_code_trains_nothing(large: Dataset, tmp_path: Path) -> None:
    (work, *_) = works_of(plan_of(large, students=["gcn", Net]))
    code = custom_code_digests(*work.configs)
    assert len(code) == 1
    work = replace(work, checkpoints=tmp_path / "run" / "checkpoints", snapshots=tmp_path / "run" / "snapshots")
    work.checkpoints.parent.mkdir()
    train = partial(do_work, dataset=large, compute=Compute(), usage_errors_fail_trial=True)
    assert not train(replace(work, code=code))[1].error
    with pytest.raises(UsageError, match=r"other code of .*test_local:Net than the process that started it"):
        train(replace(work, code=dict.fromkeys(code, "other")))


def test_a_full_disk_is_one_message(large: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.pickle, "dump", full_disk)
    with pytest.raises(StoreError, match=r"No space left on device.*TMPDIR"):
        list(Local(2).outcomes(partial(looks), works_of(plan_of(large)), [large], Progress()))


def test_without_shared_memory_the_mend_is_named(large: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(local.multiprocessing, "Lock", refused)
    with pytest.raises(StoreError, match=r"Read-only file system.*/dev/shm.*--jobs 1"):
        list(Local(2).outcomes(partial(looks), works_of(plan_of(large)), [large], Progress()))


@pytest.mark.skipif(os.name == "nt", reason="signals cannot be blocked there")
def test_processes_that_train_are_spared_from_interrupts(tmp_path: Path) -> None:
    """From their start on: a terminal sends Ctrl-C to all processes, and theirs would show tracebacks."""
    blocked = f"{{{signal.SIGINT!r}}}"
    assert said(print_what_is_blocked, tmp_path).startswith(f"[{blocked}, {blocked}] set()\n")


def print_what_is_blocked() -> None:
    calls = [partial(signal.pthread_sigmask, signal.SIG_BLOCK, [])] * 2
    print([*local.in_processes(calls, 2, 1)], signal.pthread_sigmask(signal.SIG_BLOCK, []))


def said(function: Callable[[], None], folder: Path) -> str:
    """What a function writes in a process of its own, whose processes are new ones."""
    process = forked.start(call_and_end, function, log=folder / "said.txt")
    assert forked.statuses([process]) == [0]
    return (folder / "said.txt").read_text()


def call_and_end(function: Callable[[], None]) -> None:
    function()
    local.take_kept(None)  # a forked process would wait for its own to end


@pytest.mark.skipif(os.name == "nt", reason="there is no such limit")
def test_processes_that_cannot_be_started_are_one_message(tmp_path: Path) -> None:
    told = said(print_why_they_cannot_be_started, tmp_path)
    assert "4 processes cannot be started: Too many open files. Do less at a time, with fewer runs or fewer --jobs. " in told
    assert "a process to 18 open files ('ulimit -Hn')" in told


def print_why_they_cannot_be_started() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (18, 18))
    try:
        print([*local.in_processes([partial(abs, 1)] * 4, 4, 1)])
    except StoreError as error:
        print(error)


@pytest.mark.skipif(os.name == "nt", reason="a process there has no signals")
def test_a_worker_shows_a_warning_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "end_with", lambda parent: None)
    monkeypatch.setattr(processes, "own_process", lambda: None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    processes.begin_work(1, surroundings())
    assert warnings.formatwarning("an odd name\x1b[2J", UserWarning, "package.py", 3, "    warn(") == "Warning: an odd name\\x1b[2J\n"


def test_processes_end_with_theirs_before_they_have_begun_to_train() -> None:
    code = """
import os, signal, time
from functools import partial
from dgl_mutual.experiments.executors.local import in_processes
def calls():
    for _ in range(2):  # they are taken in advance
        yield partial(time.sleep, 60)
    os.kill(os.getpid(), signal.SIGKILL)
[*in_processes(calls(), 2, 1)]
"""
    # It waits for all that have the pipe open: the processes, too.
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=45)
    assert ended.returncode == -signal.SIGKILL


def test_a_process_apart_ends_with_its_parent() -> None:
    code = """
import os, signal, time
from dgl_mutual.experiments.processes import process_apart
with process_apart() as pool:
    pool.submit(time.sleep, 0).result()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=45)  # as above
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="processes there do not tell how they ended")
@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            partial(os._exit, 3),
            "ended early: EXIT(3). Finished trials are kept. If it has printed a reason above, fix that; otherwise find out ",
        ),
        (
            partial(signal.raise_signal, signal.SIGKILL),
            "was killed, probably for lack of memory. Finished trials are kept; go on with fewer --jobs",
        ),
    ],
)
def test_a_process_that_ends_by_itself_was_not_killed_for_lack_of_memory(end: Callable[[], None], message: str, tmp_path: Path) -> None:
    assert message in said(partial(print_why_it_ended, end), tmp_path)


def print_why_it_ended(end: Callable[[], None]) -> None:
    try:
        [*local.in_processes([end] * 2, 2, 1)]
    except TrainingError as error:
        print(error)


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.skipif(os.name == "nt", reason="processes are not killed by a signal there")
def test_a_call_takes_over_the_processes_that_the_last_one_has_left_if_they_were_made_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def pid(**options: Any) -> int:
        (found,) = local.in_processes([os.getpid], 1, 1, **options)
        return found

    first = pid()
    assert pid() == first
    monkeypatch.setenv("ANY", "1")
    second = pid()
    fresh = pid(fresh=True)
    third = pid()
    os.kill(third, signal.SIGKILL)
    time.sleep(0.5)  # until it is noticed
    assert len({first, second, fresh, third, pid()}) == 5


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.skipif(os.name == "nt", reason="processes are not killed by a signal there")
def test_results_before_a_process_is_killed_are_kept() -> None:
    kill = partial(signal.raise_signal, signal.SIGKILL)
    results = local.in_processes([partial(abs, -1), partial(abs, -2), partial(abs, -3), kill, partial(abs, -4)], 2, 1)
    returned = [next(results)]
    time.sleep(2)  # the caller works on the first one meanwhile
    with pytest.raises(TrainingError, match="was killed"):
        returned.extend(results)  # type: ignore[arg-type]  # one by one
    assert {1, 2, 3} <= {*returned}


@pytest.mark.skipif(os.name == "nt", reason="there is no fork")
def test_a_process_of_multiprocessing_ends_after_such_calls() -> None:
    process = multiprocessing.get_context("fork").Process(target=_call_twice)
    process.start()
    process.join(60)
    status = process.exitcode
    process.kill()
    assert status == 0


def _call_twice() -> None:
    assert sorted(local.in_processes([partial(abs, -1), partial(abs, -2)], 2, 1)) == [1, 2]


@pytest.mark.usefixtures("forked_workers")
def test_processes_are_killed_where_not_all_results_are_asked_for() -> None:
    results = local.in_processes([partial(abs, -1), *[partial(time.sleep, 60)] * 2], 2, 1)
    assert next(results) == 1
    begun = time.monotonic()
    results.close()
    assert time.monotonic() - begun < 30


@pytest.mark.usefixtures("forked_workers")
def test_processes_end_where_not_all_of_them_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(local.ProcessPoolExecutor, "_start_executor_manager_thread", refused)  # which follows the processes
    others = multiprocessing.active_children()
    with pytest.raises(StoreError, match="2 processes cannot be started: Resource temporarily unavailable"):
        [*local.in_processes([partial(abs, -1)], 2, 1)]
    started = set(multiprocessing.active_children()) - set(others)
    for process in started:
        process.join(30)
    assert not any(process.is_alive() for process in started)


def test_a_daemonic_process_makes_the_calls_itself() -> None:
    assert forked.returned(results_of_two_calls) == [1, 2]


def results_of_two_calls() -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*local.in_processes([partial(abs, -1), partial(abs, -2)], 2, 1)]


@pytest.mark.parametrize("theirs", ["ours_in_fresh_processes", "joblibs_own"])
def test_threads_may_have_processes_at_the_same_time(theirs: str, tmp_path: Path) -> None:
    assert said(partial(print_results_of_threads, theirs), tmp_path).startswith("[0, 1, 2, 3, 4, 5] [0, 1, 2, 3, 4, 5]\n")


def print_results_of_threads(theirs: str) -> None:
    both = threading.Barrier(2, timeout=60)

    def calls() -> Iterator[Callable[[], int]]:
        """Of which some are made before others of the other thread, and some after them."""
        for number in range(6):
            both.wait()
            yield partial(abs, number)

    def ours_in_fresh_processes() -> list[int]:
        return sorted(local.in_processes(calls(), 2, 1, fresh=True))

    def joblibs_own() -> list[int]:
        parallel = joblib.Parallel(n_jobs=2)
        pids = parallel([joblib.delayed(os.getpid)()] * 4)
        results = sorted(parallel(joblib.delayed(call)() for call in calls()))
        for pid in pids:
            os.kill(pid, 0)  # it still runs
        get_reusable_executor().shutdown()
        return results

    with ThreadPoolExecutor() as threads:
        their_results = threads.submit(locals()[theirs])
        print(sorted(local.in_processes(calls(), 2, 1)), their_results.result())


def test_processes_that_replace_others_leave_the_working_folder_off_their_path_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert local._environment(2)[VARIABLE] == "1"
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert VARIABLE not in local._environment(2)
