"""``torchrun -m dgl_mutual run``, with real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pytest

from tests import forked

CommandLine = Callable[..., tuple[int, str, str]]
TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dgl_mutual")
RUN = ("run", "--dataset", "digits", "--sampler", "neighbor", "--fanout", "-1,-1", "--batch-size", "70", "--seeds", "1")
NARROW = ("--set", "student.hidden=8")
QUICK = (*NARROW, "--students", "gcn,sage", "--set", "student.dropout=0", "--set", "strategy_options.exchange_warmup=[1,1]", "--epochs=3")


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
    assert len(history(tmp_path / "two")) == 3


def test_two_processes_that_divide_students_give_the_rows_of_one(tmp_path: Path, command_line: CommandLine) -> None:
    run = ["run", "--dataset", "digits", "--students", "gcn,gat", *NARROW, "--epochs", "3", "--seeds", "2", "--metric", "macro-f1"]
    processes, logs = together(tmp_path, *run, "--divide", "students", "--out", tmp_path / "two")
    assert forked.statuses(processes) == [0, 0], "".join(log.read_text() for log in logs)
    assert command_line(*run, "--jobs", "1", "--out", tmp_path / "one")[0] == 0
    pd.testing.assert_frame_equal(history(tmp_path / "two"), history(tmp_path / "one"), check_exact=True)
    (trials,) = (tmp_path / "two").glob("*/trials.csv")
    assert set(pd.read_csv(trials)["metric"]) == {"macro-f1"}
    assert len(list((tmp_path / "two").glob("*/checkpoints/*"))) == 2


def test_when_a_process_dies_the_others_stop_and_say_so(tmp_path: Path) -> None:
    endless = ["--epochs", 100000, "--set", "training.patience=100000", "--students", "gcn,gcn"]
    processes, (log, _) = together(tmp_path, *RUN, *endless, "--out", tmp_path / "out")
    try:
        while "epoch 50/" not in log.read_text():
            assert processes[0].is_alive(), log.read_text()
            time.sleep(0.1)
        processes[1].kill()
        assert forked.statuses(processes) == [1, -signal.SIGKILL]
    finally:
        for process in processes:
            process.kill()
    assert "seed-0-fold-0 could not be trained to its end" in log.read_text()
    assert "another process has ended" in log.read_text()


def together(folder: Path, *arguments: object) -> tuple[list[BaseProcess], list[Path]]:
    """A command in two processes, as torchrun starts them, and the files with what each says."""
    logs = [folder / f"said-{rank}.txt" for rank in range(2)]
    environments = forked.ranks(2, *forked.free_ports(1))
    return [forked.start(forked.command, *arguments, log=log, environment=of) for log, of in zip(logs, environments, strict=True)], logs


def test_a_command_that_has_nothing_to_divide_is_refused(monkeypatch: pytest.MonkeyPatch, command_line: CommandLine) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    status, _, err = command_line("suite", "smoke")
    assert status == 2
    assert "'suite' cannot run under torchrun: only 'run' can" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [(("--jobs", "2"), "all processes train one trial"), (("--checkpoint-every", "5"), "does not work under torchrun")],
)
def test_options_for_a_single_process_are_refused(
    more: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command_line: CommandLine
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    status, _, err = command_line(*RUN, *more, "--out", tmp_path / "out")
    assert status == 2
    assert message in err
    assert not (tmp_path / "out").exists()
