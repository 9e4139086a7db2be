"""``torchrun -m dgl_mutual run``, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

CommandLine = Callable[..., tuple[int, str, str]]
TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dgl_mutual")
RUN = ("run", "--dataset", "digits", "--sampler", "neighbor", "--fanout", "-1,-1", "--batch-size", "70", "--seeds", "1")
QUICK = ("--students", "gcn,sage", "--set", "student.dropout=0", "--set", "strategy_options.exchange_warmup=[1,1]", "--epochs", "4")


def history(out: Path) -> pd.DataFrame:
    (file,) = out.glob("*/history.csv")
    return pd.read_csv(file)


def test_two_processes_give_the_losses_of_one_and_the_first_writes(tmp_path: Path, command_line: CommandLine) -> None:
    together = subprocess.run([*TWO, *RUN, *QUICK, "--out", tmp_path / "two"], capture_output=True, text=True, timeout=120)
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("Written to") == together.stderr.count("finished") == 1
    assert command_line(*RUN, *QUICK, "--jobs", "1", "--out", tmp_path / "one")[0] == 0
    # In float32, a prediction between two classes may be counted for the other one by the consensus.
    pd.testing.assert_frame_equal(history(tmp_path / "two"), history(tmp_path / "one"), rtol=1e-4, atol=1e-6)
    assert len(history(tmp_path / "two")) == 4


def test_two_processes_that_divide_students_give_the_rows_of_one(tmp_path: Path, command_line: CommandLine) -> None:
    run = ["run", "--dataset", "digits", "--students", "gcn,gat", "--epochs", "5", "--seeds", "2"]
    together = subprocess.run([*TWO, *run, "--divide", "students", "--out", tmp_path / "two"], capture_output=True, text=True, timeout=120)
    assert together.returncode == 0, together.stderr
    assert command_line(*run, "--jobs", "1", "--out", tmp_path / "one")[0] == 0
    pd.testing.assert_frame_equal(history(tmp_path / "two"), history(tmp_path / "one"), check_exact=True)
    assert len(list((tmp_path / "two").glob("*/checkpoints/*"))) == 2


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes by /proc, which Linux has")
def test_when_a_process_dies_the_others_stop_and_say_so(tmp_path: Path) -> None:
    # The agent looks rarely, so that it is not the agent that ends the other process before it has found out by itself.
    endless = [
        *TWO[:4],
        "--monitor-interval",
        "5",
        *TWO[4:],
        *RUN,
        "--epochs",
        "100000",
        "--set",
        "training.patience=100000",
        "--students",
        "gcn,gcn",
        "--out",
        tmp_path,
    ]
    with (tmp_path / "said").open("w") as said, subprocess.Popen(endless, stdout=said, stderr=said) as agent:
        try:
            second = process_of_rank(1, agent, tmp_path / "said")
            os.kill(second, signal.SIGKILL)
            assert agent.wait(timeout=60) == 1
        finally:
            agent.kill()
    said_then = (tmp_path / "said").read_text()
    assert "seed-0-fold-0 could not be trained to its end" in said_then
    assert "another process has ended" in said_then


def process_of_rank(rank: int, agent: subprocess.Popen[bytes], said: Path) -> int:
    """The pid of a process that torchrun has started, once training is under way."""
    while "epoch 50/" not in said.read_text():
        assert agent.poll() is None, said.read_text()
        time.sleep(0.1)
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    (found,) = (pid for pid in children if f"\0RANK={rank}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes())
    return int(found)


def test_a_command_that_has_nothing_to_divide_is_refused(monkeypatch: pytest.MonkeyPatch, command_line: CommandLine) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    status, _, err = command_line("suite", "smoke")
    assert status == 2
    assert "'suite' has none to share: only 'run' has" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [(("--jobs", "2"), "all processes train one trial"), (("--checkpoint-every", "5"), "cannot be kept while it lasts")],
)
def test_what_only_one_process_can_do_is_refused(
    more: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command_line: CommandLine
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    status, _, err = command_line(*RUN, *more, "--out", tmp_path / "out")
    assert status == 2
    assert message in err
    assert not (tmp_path / "out").exists()
