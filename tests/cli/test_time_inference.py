"""Inference is timed again, after training, and drawn from that."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from dgl_mutual.experiments import inference_times
from tests.cli.conftest import Ended

pytestmark = pytest.mark.usefixtures("elsewhere")

ANY_SEEDS = ("--students", "gcn,sage", "--set", "student.hidden=8", "--epochs", "2", "--jobs", "1")
SMALL = (*ANY_SEEDS, "--seeds", "2")


def read_only(**_: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_each_member_of_a_trial_is_timed(
    command_line: Callable[..., Ended], elsewhere: Path, monkeypatch: pytest.MonkeyPatch, set_threads: Callable[[int], None]
) -> None:
    pytest.importorskip("matplotlib")
    assert command_line("distill", *SMALL, "--mlp-hidden", 8, "--set", "distill.epochs=2", "--positions", 2)[0] == 0
    status, _, err = command_line("plot", "results", "--kind", "time")
    assert status == 2 and "dgl-mutual time-inference RUN" in err
    (run,) = Path("results").iterdir()
    set_threads(2)
    status, out, _ = command_line("time-inference", "results", "--repeats", 5)
    assert torch.get_num_threads() == 2
    assert status == 0 and out == f"Written to {run / 'inference.csv'}\n"
    table = pd.read_csv(run / "inference.csv").set_index("member")
    assert list(table.index) == ["gcn-0", "sage-1", "ensemble", "mlp"]
    assert set(table["repeats"]) == {5} and set(table["samples"]) == {1797} and set(table["threads"]) == {1}
    assert (table["quartile_1_ms"] <= table["median_ms"]).all() and (table["median_ms"] <= table["quartile_3_ms"]).all()
    assert table.loc["ensemble", "median_ms"] > table.loc[["gcn-0", "sage-1"], "median_ms"].max()
    assert command_line("plot", "results", "--kind", "time")[0] == 0
    assert command_line("export", "results")[0] == 0

    (run / "inference.csv").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "TemporaryDirectory", read_only)
        patched.setattr(inference_times, "time_inference", lambda *_, **__: pytest.fail("timed before it is known where to write"))
        status, _, err = command_line("time-inference", "results")
    assert status == 1 and "Cannot write" in err

    shutil.rmtree(run / "checkpoints")
    status, _, err = command_line("time-inference", "results")
    assert status == 1 and "keeps no students" in err and "--seeds 1" in err


def test_other_data_than_those_of_the_run_are_refused(command_line: Callable[..., Ended], elsewhere: Path) -> None:
    own, lines = elsewhere / "own", "".join(f"{node},{node % 2},{node}\n" for node in range(120))
    own.mkdir()
    (own / "meta.yaml").write_text("dataset_name: own\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n")
    (own / "nodes.csv").write_text(f"node_id,label,x\n{lines}")
    (own / "edges.csv").write_text("src_id,dst_id\n0,1\n1,2\n")
    status, _, err = command_line("run", "--dataset", own, "--strategy", "independent", *ANY_SEEDS, "--seeds", 1)
    assert status == 0, err
    (own / "nodes.csv").write_text(f"node_id,label,y\n{lines}")
    status, _, err = command_line("time-inference", "results")
    assert status == 1 and "the feature columns were x " in err and "Train again on those that are there: dgl-mutual run" in err
    (own / "nodes.csv").write_text(f"node_id,label,x\n{lines}".replace(",119\n", ",7\n"))
    status, _, err = command_line("time-inference", "results")
    assert status == 1 and "its files differ" in err and "--set fingerprint=null --out FOLDER" in err
    assert not list(Path("results").rglob("inference.csv"))
