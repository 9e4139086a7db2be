"""Training on a graph in parts: two machines, each with a server and a trainer, played by mount namespaces of this one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import filelock
import pandas as pd
import pytest

CommandLine = Callable[..., tuple[int, str, str]]
RUN = "run --sampler neighbor --fanout -1,-1 --batch-size 70 --seeds 1 --epochs 2 --students gcn,sage --set student.dropout=0"
#: DGL's servers share memory by name, so each machine gets a /dev/shm of its own.
MACHINE = """
mount -t tmpfs tmpfs /dev/shm
timeout 100 {python} -m dgl_mutual serve parts --part {part} --servers servers --trainers 2 &
timeout 100 {python} -m torch.distributed.run --nnodes 2 --node-rank {part} --nproc-per-node 1 --master-addr 127.0.0.1 \\
    --master-port {port} -m dgl_mutual {run} --dataset ./parts --servers servers --out two && wait
"""


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def mount_namespaces() -> None:
    try:
        subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs two machines, or the right to make mount namespaces (unshare -m)")


def statuses(machines: list[subprocess.Popen[bytes]], *, seconds: float) -> list[int | None]:
    """How both ended. One that fails ends the other, which torchrun would let wait for it for five minutes."""
    latest = time.monotonic() + seconds
    while time.monotonic() < latest and None in (found := [machine.poll() for machine in machines]) and not any(found):
        time.sleep(0.1)
    found = [machine.poll() for machine in machines]
    for machine in machines:
        with suppress(ProcessLookupError):
            os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()
    return found


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
    first, second, port = free_ports(3)
    (tmp_path / "servers").write_text(f"127.0.0.1 {first}\n127.0.0.1 {second}\n")
    said = [tmp_path / f"said-{part}.txt" for part in range(2)]
    machines = []
    for part in range(2):
        script = MACHINE.format(python=sys.executable, part=part, port=port, run=RUN)
        with said[part].open("w") as log:
            machines.append(
                subprocess.Popen(["unshare", "-m", "sh", "-c", script], cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
            )
    assert statuses(machines, seconds=150) == [0, 0], "".join(log.read_text() for log in said)
    alike = ["--set", "training.scale_inputs=false"]  # as on parts
    assert command_line(*RUN.split(), "--dataset", "digits", "--jobs", "1", "--out", tmp_path / "one", *alike)[0] == 0
    (together,), (single,) = ((tmp_path / out).glob("*/history.csv") for out in ("two", "one"))
    pd.testing.assert_frame_equal(pd.read_csv(together), pd.read_csv(single), rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("mount_namespaces")
def test_strangers_do_not_disturb_a_server_and_a_wrong_run_ends_it(command_line: CommandLine, tmp_path: Path) -> None:
    command_line("partition", "digits", "--parts", "1", "--out", tmp_path / "parts")
    (port,) = free_ports(1)
    (tmp_path / "servers").write_text(f"127.0.0.1 {port}\n")
    served = "serve parts --part 0 --servers servers --trainers 1"
    run = "run --sampler neighbor --batch-size 100000 --students gcn --dataset ./parts --servers servers --out out"
    ours = f"timeout 100 {sys.executable} -m dgl_mutual"
    script = f"mount -t tmpfs tmpfs /dev/shm; {ours} {served} & {ours} {run}; echo $?; wait $!; echo $?"
    machine = subprocess.Popen(
        ["unshare", "-m", "bash", "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    knock(port)
    out, errors = machine.communicate(timeout=150)
    statuses = [int(line) for line in out.splitlines() if line.isdigit()]
    assert statuses == [2, 0], errors
    assert "A batch of 100000 nodes is larger than the training part" in errors
    assert "A connection from 127.0.0.1 was closed: it ended, or took too long, before it had proved that it is a trainer" in errors
    assert "Traceback" not in errors


def test_a_graph_in_parts_asks_for_servers(command_line: CommandLine, tmp_path: Path) -> None:
    assert command_line("partition", "digits", "--parts", "2", "--out", tmp_path / "parts")[1] == f"Written to {tmp_path / 'parts'}\n"
    run = ["run", "--dataset", tmp_path / "parts", "--out", tmp_path / "out"]
    status, _, err = command_line(*run, "--sampler", "neighbor")
    assert status == 2
    assert "Say where they are with --servers FILE" in err
    (tmp_path / "servers").write_text("127.0.0.1 1\n")
    status, _, err = command_line(*run, "--servers", tmp_path / "servers")
    assert status == 2
    assert "Add --sampler neighbor, and leave out" in err
    status, _, err = command_line(*run, "--sampler", "neighbor", "--servers", tmp_path / "servers")
    assert status == 2
    assert "has 1 servers, and there are 2 parts" in err
    status, _, err = command_line(*run, "--sampler", "neighbor", "--servers", tmp_path / "servers", "--divide", "students")
    assert status == 2
    assert "on the same. Leave out --divide students" in err


def test_a_machine_serves_one_part(command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgl_mutual.experiments.graph_store._SHARED_MEMORY", tmp_path)
    command_line("partition", "digits", "--parts", "2", "--out", tmp_path / "parts")
    (tmp_path / "servers").write_text("127.0.0.1 1\n127.0.0.1 2\n")
    serve = ["serve", tmp_path / "parts", "--servers", tmp_path / "servers", "--trainers", "1", "--part"]
    with filelock.FileLock(tmp_path / "dgl-mutual-serve.lock"):
        status, _, err = command_line(*serve, "1")
    assert status == 1
    assert "serves a part already" in err
    assert "There is no part 2" in command_line(*serve, "2")[2]


@pytest.mark.parametrize("out", [".", "..", "link"])
def test_the_dataset_itself_is_not_replaced(command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    dataset = tmp_path / "above" / "graph"
    dataset.mkdir(parents=True)
    (dataset / "link").symlink_to(dataset)
    monkeypatch.chdir(dataset)
    status, _, err = command_line("partition", dataset, "--parts", "2", "--out", out)
    assert status == 2
    assert "is the dataset's own folder, or holds it" in err
    assert sorted(tmp_path.rglob("*")) == [dataset.parent, dataset, dataset / "link"]
