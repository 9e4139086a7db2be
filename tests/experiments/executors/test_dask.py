from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments import runner
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.environment import versions
from dgl_mutual.experiments.executors.dask import Cluster, ClusterError, _count_compatible_workers, _settings, connected
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.progress import Lines, Progress
from dgl_mutual.experiments.progress_estimate import ProgressFiles
from dgl_mutual.experiments.runner import execute
from dgl_mutual.experiments.trial import Outcome
from dgl_mutual.experiments.work import Work
from tests import forked

TIMES = ["train_seconds", "seconds_per_epoch", "inference_ms", "peak_mib"]
CONFIG: dict[str, Any] = {"dataset": "ring", "students": "gcn,sage", "seeds": 4, "student": {"hidden": 4}, "training": {"epochs": 3}}


@contextmanager
def in_this_process() -> Iterator[Cluster]:
    """A cluster whose only worker is a thread of this process: another would import torch and DGL first."""
    distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'dgl-mutual[cluster]'")
    with (
        _settings(),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as one,
        distributed.Client(one, set_as_default=False) as client,
    ):
        yield Cluster(client, 1)


@pytest.fixture
def forked_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this machine are forked from a process that has imported torch and DGL."""
    pytest.importorskip("distributed", reason="needs Dask: pip install 'dgl-mutual[cluster]'")
    forked.start_server()
    for module in ("nanny", "process"):
        monkeypatch.setattr(f"distributed.{module}.get_mp_context", lambda: forked.CONTEXT)


@pytest.mark.usefixtures("datasets_are_here", "forked_cluster")
def test_a_worker_that_dies_changes_no_result(tmp_path: Path, ring: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare(parse_config(CONFIG), ring)
    (here,) = execute([plan], out=tmp_path / "here", compute=Compute(jobs=1))
    died = tmp_path / "died"

    def dies_once(work: Work, dataset: Dataset, **options: Any) -> tuple[int, Outcome]:
        """Goes to the worker as it is; what it calls is found there."""
        if work.trial.seed == 1 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return do(work, dataset, **options)

    do = runner.do_work
    monkeypatch.setattr(runner, "do_work", dies_once)
    with connected("local:2") as cluster:
        assert cluster.num_jobs == 2
        (tmp_path / "files").mkdir()
        files = ProgressFiles(tmp_path / "files")
        (there,) = execute([plan], out=tmp_path / "there", executor=cluster, progress=Lines(files))
    assert set(files.read().values()) == {(3, 3)}  # a display sees epochs of processes of this machine
    assert died.exists()
    assert here.failed == there.failed == ()
    rows = [pd.read_csv(report.folder / "trials.csv").drop(columns=TIMES) for report in (here, there)]
    pd.testing.assert_frame_equal(*rows, check_exact=True)
    files = {file.relative_to(here.folder) for file in here.folder.glob("checkpoints/**/*") if file.is_file()}
    assert len(files) >= 4 * 2
    assert files == {file.relative_to(there.folder) for file in there.folder.glob("checkpoints/**/*") if file.is_file()}
    assert all((there.folder / file).read_bytes() == (here.folder / file).read_bytes() for file in files if file.suffix == ".safetensors")


@pytest.mark.usefixtures("datasets_are_here")
def test_a_dataset_that_the_cluster_has_lost_is_sent_again(tmp_path: Path, ring: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare(parse_config(CONFIG), ring)
    lost: list[Any] = []
    with in_this_process() as cluster:
        submit = cluster.client.submit

        def submit_and_lose(function: Any, task: Any, work: Any, data: Any, *others: Any, **options: Any) -> Any:
            future = submit(function, task, work, data, *others, **options)
            if not lost:
                lost.append(data)
                cluster.client.cancel([data], force=True)
            return future

        monkeypatch.setattr(cluster.client, "submit", submit_and_lose)
        (report,) = execute([plan], out=tmp_path, executor=cluster)
    assert lost and report.failed == ()
    assert pd.read_csv(report.folder / "trials.csv")["seed"].nunique() == len(plan.trials)


@pytest.mark.usefixtures("datasets_are_here")
def test_a_single_worker_trains_all(tmp_path: Path, ring: Dataset) -> None:
    plan = prepare(parse_config({**CONFIG, "seeds": 2}), ring)
    works = [Work(0, trial, plan.config, plan.points, tmp_path / "checkpoints", tmp_path / "snapshots") for trial in plan.trials]

    def where(work: Work, dataset: Dataset) -> tuple[Any, Any]:
        return work.trial.key, (threading.get_ident(), dataset.name)

    with in_this_process() as cluster:
        found: dict[Any, Any] = dict(cluster.outcomes(where, works, [plan.dataset], Progress()))
    assert set(found) == {(0, 0), (1, 0)}
    assert {name for _, name in found.values()} == {ring.name}
    assert threading.get_ident() not in [thread for thread, _ in found.values()]


def test_a_scheduler_that_does_not_answer_is_one_message_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs Dask: pip install 'dgl-mutual[cluster]'")
    monkeypatch.setattr("dgl_mutual.experiments.executors.dask.TIMEOUT_SECONDS", 1)
    started = time.monotonic()
    with pytest.raises(ClusterError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9 "), connected("tcp://127.0.0.1:9"):
        pass
    assert time.monotonic() - started < 10


def test_a_scheduler_without_workers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'dgl-mutual[cluster]'")
    monkeypatch.setattr("dgl_mutual.experiments.executors.dask.TIMEOUT_SECONDS", 1)
    with distributed.LocalCluster(n_workers=0, processes=False, protocol="tcp://", dashboard_address=None) as lonely:
        lone = connected(lonely.scheduler_address)
        with pytest.raises(ClusterError, match=r"has no worker\. Start some with 'dask worker"):
            lone.__enter__()


def test_more_processes_than_machines_have_cores_are_refused() -> None:
    with pytest.raises(UsageError, match="jobs = 100000 is more than the maximum 1024"), connected("local:100000"):
        pass


@pytest.mark.parametrize("cluster", ["local", "local:0", "local:x", "10.0.0.7:8786", "tcp://host", "http://host:80"])
def test_a_wrong_address_of_a_cluster_is_refused(cluster: str) -> None:
    message = r"is not the address of a Dask cluster\. Give a scheduler's address, tcp://HOST:PORT, or local:N"
    with pytest.raises(UsageError, match=message), connected(cluster):
        pass


def test_without_dask_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"needs Dask .*pip install 'dgl-mutual\[cluster\]'"), connected("local:1"):
        pass


class Workers:
    """A client whose one worker has these versions, or cannot be asked."""

    def __init__(self, found: dict[str, str] | Exception) -> None:
        self.found = found

    def wait_for_workers(self, *_: object, **__: object) -> None: ...

    def run(self, _: object) -> dict[str, dict[str, str]]:
        if isinstance(self.found, Exception):
            raise self.found
        return {"tcp://10.0.0.7:1": self.found}


def test_workers_must_have_the_same_versions() -> None:
    assert _count_compatible_workers(Workers({**versions(), "platform": "another"}), "tcp://a:1") == 1
    with pytest.raises(ClusterError, match=r"at tcp://10\.0\.0\.7:1 has torch 1\.0 \(here .*Install the same"):
        _count_compatible_workers(Workers({**versions(), "torch": "1.0"}), "tcp://a:1")
    with pytest.raises(ClusterError, match=r"have no dgl_mutual\. Install dgl-mutual for their Python"):
        _count_compatible_workers(Workers(ModuleNotFoundError(name="dgl_mutual")), "tcp://a:1")


def test_workers_of_a_local_cluster_are_not_profiled() -> None:
    pytest.importorskip("distributed", reason="needs Dask: pip install 'dgl-mutual[cluster]'")
    with connected("local:1") as cluster:
        import dask

        asked = cluster.client.run(lambda: __import__("dask").config.get("distributed.worker.profile.enabled"))
        assert set(asked.values()) == {False} and dask.config.get("distributed.worker.profile.enabled")
