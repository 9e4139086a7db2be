"""Training on a partitioned graph: two machines, each with a server and a trainer, played by processes with own mount namespaces."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import filelock
import pandas as pd
import pytest

from tests import forked

CommandLine = Callable[..., tuple[int, str, str]]
RUN = (
    "run --sampler neighbor --fanout -1,-1 --batch-size 70 --seeds 1 --epochs 2 --students gcn,sage --set student.hidden=8 "
    "--set student.dropout=0 --metric macro-f1"
)


@pytest.fixture
def mount_namespaces() -> None:
    try:
        subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs two machines, or the right to make mount namespaces (unshare -m)")


def knock(port: int) -> None:
    """Send what is no message, as soon as the server listens."""
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"\xff" * 100)
            return
        time.sleep(0.1)


@pytest.mark.usefixtures("mount_namespaces")
def test_two_servers_and_two_trainers_give_the_losses_of_one_process(command_line: CommandLine, tmp_path: Path) -> None:
    assert command_line("partition", "digits", "--parts", "2", "--out", tmp_path / "parts")[0] == 0
    first, second, port = forked.free_ports(3)
    (tmp_path / "servers").write_text(f"127.0.0.1 {first}\n127.0.0.1 {second}\n")
    machines, said = [], [tmp_path / f"said-{part}.txt" for part in range(2)]
    for part, environment in enumerate(forked.ranks(2, port, local=False)):
        served = ("serve", "parts", "--part", part, "--servers", "servers", "--trainers", 2)
        trained = (*RUN.split(), "--dataset", "./parts", "--servers", "servers", "--out", "two")
        machines.append(forked.start(forked.on_a_machine_of_its_own, (served, {}), (trained, environment), log=said[part], folder=tmp_path))
    assert forked.statuses(machines, seconds=150) == [0, 0]
    for log in said:
        assert log.read_text().endswith("ended with 0 0\n"), log.read_text()
    alike = ["--set", "training.scale_inputs=false"]  # as on parts
    assert command_line(*RUN.split(), "--dataset", "digits", "--jobs", "1", "--out", tmp_path / "one", *alike)[0] == 0
    (together,), (single,) = ((tmp_path / out).glob("*/history.csv") for out in ("two", "one"))
    pd.testing.assert_frame_equal(pd.read_csv(together), pd.read_csv(single), rtol=1e-6, atol=1e-6)
    assert {*pd.read_csv(together.with_name("trials.csv"))["metric"]} == {"macro-f1"}


@pytest.mark.usefixtures("mount_namespaces")
def test_strangers_do_not_disturb_a_server_and_a_wrong_run_ends_it(command_line: CommandLine, tmp_path: Path) -> None:
    command_line("partition", "digits", "--parts", "1", "--out", tmp_path / "parts")
    (port,) = forked.free_ports(1)
    (tmp_path / "servers").write_text(f"127.0.0.1 {port}\n")
    served = ("serve", "parts", "--part", 0, "--servers", "servers", "--trainers", 1)
    run = "run --sampler neighbor --students gcn --dataset ./parts --servers servers --out out"
    log = tmp_path / "said.txt"
    machine = forked.start(forked.on_a_machine_of_its_own, (served, {}), (run.split(), {}), log=log, folder=tmp_path)
    knock(port)
    assert forked.statuses([machine]) == [0]
    said = log.read_text()
    assert said.endswith("ended with 0 2\n"), said
    assert "Strategy 'gml' needs at least 2 students" in said
    assert "A connection from 127.0.0.1 was closed: it ended, or took too long, before it had proved that it is a trainer" in said
    assert "Traceback" not in said


def test_a_graph_in_parts_asks_for_servers(command_line: CommandLine, tmp_path: Path) -> None:
    assert command_line("partition", "digits", "--parts", "2", "--out", tmp_path / "parts")[1] == f"Written to {tmp_path / 'parts'}\n"
    run = ["run", "--dataset", tmp_path / "parts", "--out", tmp_path / "out"]
    status, _, err = command_line(*run, "--sampler", "neighbor")
    assert status == 2
    assert "Give their addresses with --servers FILE" in err
    status, _, err = command_line("distill", *run[1:], "--sampler", "neighbor")
    assert status == 2
    assert "no MLP can be distilled" in err and "--servers" not in err
    (tmp_path / "servers").write_text("127.0.0.1 1\n")
    status, _, err = command_line(*run, "--servers", tmp_path / "servers")
    assert status == 2
    assert "Add --sampler neighbor, and leave out" in err
    status, _, err = command_line(*run, "--sampler", "neighbor", "--servers", tmp_path / "servers")
    assert status == 2
    assert "has 1 servers, but there are 2 parts" in err
    status, _, err = command_line(*run, "--sampler", "neighbor", "--servers", tmp_path / "servers", "--divide", "students")
    assert status == 2
    assert "train on different samples. Leave out --divide students" in err


def test_a_machine_serves_one_part(command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgl_mutual.experiments.graph_store.store._SHARED_MEMORY", tmp_path)
    command_line("partition", "digits", "--parts", "2", "--out", tmp_path / "parts")
    (tmp_path / "servers").write_text("127.0.0.1 1\n127.0.0.1 2\n")
    serve = ["serve", tmp_path / "parts", "--servers", tmp_path / "servers", "--trainers", "1", "--part"]
    with filelock.FileLock(tmp_path / "dgl-mutual-serve.lock"):
        status, _, err = command_line(*serve, "1")
    assert status == 1
    assert "already serves a part" in err
    assert "There is no part 2" in command_line(*serve, "2")[2]


def test_graphs_of_a_graph_task_are_not_divided(command_line: CommandLine, data_dir: Path, tmp_path: Path) -> None:
    status, _, err = command_line("partition", "MUTAG", "--parts", "2", "--out", tmp_path / "parts", "--data-dir", data_dir, "--offline")
    assert status == 2 and "MUTAG is a dataset for the graph task. Only the graph of a node task can be divided" in err


@pytest.mark.parametrize("out", [".", "..", "link"])
def test_the_dataset_itself_is_not_replaced(command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    dataset = tmp_path / "above" / "graph"
    dataset.mkdir(parents=True)
    (dataset / "link").symlink_to(dataset)
    monkeypatch.chdir(dataset)
    status, _, err = command_line("partition", dataset, "--parts", "2", "--out", out)
    assert status == 2
    assert "is the dataset's own folder, or contains it" in err
    assert sorted(tmp_path.rglob("*")) == [dataset.parent, dataset, dataset / "link"]


def test_a_folder_that_exists_is_refused_before_the_dataset_is_read(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "parts" / "part0").mkdir(parents=True)
    status, _, err = command_line("partition", tmp_path / "missing", "--parts", "2", "--out", tmp_path / "parts")
    assert status == 2 and "exists, and nothing is overwritten. Remove it, or choose another folder with --out" in " ".join(err.split())
