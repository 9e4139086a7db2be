from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.test_registry import forgetful  # noqa: F401  # a fixture
from tests.training.test_trackers import Recorder, fake_mlflow, fake_tensorboard

SHORT = ("--dataset", "ring", "--epochs", 2, "--set", "student.hidden=4")
QUICK = (*SHORT, "--seeds", 1)
NETS = """
from dgl.nn.pytorch import GraphConv
from torch import nn

class MyNet(nn.Module):
    def __init__(self, in_features, num_outputs, hidden=4, kinds=()):
        super().__init__()
        self.first = GraphConv(in_features, hidden, allow_zero_in_degree=True)
        self.last = nn.Sequential(nn.Dropout(0.5), nn.Linear(hidden, num_outputs))

    def forward(self, graph, feat):
        return self.last(self.first(graph, feat).relu())
"""
OWN_STRATEGY = """
import dgl_mutual
from dgl_mutual.strategies.base.options import StrategyOptions

class Mine(dgl_mutual.Strategy):
    class Options(StrategyOptions):
        nested: dict = {}

    def loss_terms(self, step):
        return {"supervised": self.supervised(step)}
"""
CONFIG = """
students: [gcn, {architecture: 'plugpack.nets:MyNet', options: {hidden: 6}}]
strategy: dml
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: None) -> Path:  # noqa: F811  # the fixture of that name
    """A working folder with a package of students and a small dataset."""
    (tmp_path / "plugpack").mkdir()
    (tmp_path / "plugpack" / "nets.py").write_text(NETS)
    (tmp_path / "config.yaml").write_text(CONFIG)
    ring = tmp_path / "ring"
    ring.mkdir()
    (ring / "meta.yaml").write_text("dataset_name: ring\nedge_data: [{file_name: edges.csv}]\nnode_data: [{file_name: nodes.csv}]\n")
    rows = [f'{n},{n % 2},"{n % 2 + n % 3 / 3},1",{int(n < 16)},{int(16 <= n < 20)},{int(n >= 20)}' for n in range(24)]
    (ring / "nodes.csv").write_text("\n".join(["node_id,label,feat,train_mask,val_mask,test_mask", *rows]) + "\n")
    ends = [f"{n},{(n + 2) % 24}\n{(n + 2) % 24},{n}" for n in range(24)]
    (ring / "edges.csv").write_text("\n".join(["src_id,dst_id", *ends]) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return tmp_path


@pytest.mark.usefixtures("forked_workers")
def test_a_custom_student_runs_in_processes_and_predicts_when_it_is_trusted(command_line, nets, monkeypatch):
    elsewhere = nets / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # the processes that this leaves would look for the student there
    assert command_line("run", "--dataset", "../ring", "--epochs", 1, "--students", "gcn,gcn", "--seeds", 2, "--jobs", 2)[0] == 0
    monkeypatch.chdir(nets)
    status, _, err = command_line("run", *SHORT, "--students", "gcn,plugpack.nets:MyNet", "--out", "out", "--seeds", 2, "--jobs", 2)
    assert status == 0, err
    (folder,) = (nets / "out").iterdir()
    rows = pd.read_csv(folder / "trials.csv")
    assert set(rows["member"]) == {"gcn-0", "MyNet-1", "mean", "best_by_val", "ensemble"}
    assert set(rows.loc[rows["member"] == "MyNet-1", "architecture"]) == {"plugpack.nets:MyNet"}
    status, _, err = command_line("run", *SHORT, "--students", "gcn,plugpack.nets:MyNet", "--out", "one", "--seeds", 2, "--jobs", 1)
    one = pd.read_csv(next((nets / "one").iterdir()) / "trials.csv")
    order = ["seed", "member"]
    pd.testing.assert_series_equal(rows.sort_values(order)["test"], one.sort_values(order)["test"], check_index=False, check_exact=True)
    trained = folder / "checkpoints" / "seed-0-fold-0" / "MyNet-1.safetensors"
    status, _, err = command_line("predict", trained, "ring")
    assert status == 2 and "--trust" in err
    status, out, err = command_line("predict", trained, "ring", "--trust")
    assert status == 0 and len(out.splitlines()) == 25, err


def test_its_options_stand_in_a_configuration_and_what_is_not_its_own_does_not(command_line, nets):
    status, _, err = command_line("run", "--config", "config.yaml", "--trust", *QUICK, "--out", "out", "--jobs", 1)
    assert status == 0, err
    (folder,) = (nets / "out").iterdir()
    config = (folder / "config.yaml").read_text()
    assert config.count("  - architecture: plugpack.nets:MyNet\n    options:\n      hidden: 6\n") == 2  # as given, and resolved
    assert command_line("run", "--config", folder / "config.yaml", "--trust", "--out", "out", "--jobs", 1)[0] == 0
    assert len(list((nets / "out").iterdir())) == 1


SUITE = """
base: {seeds: 1, training: {epochs: 2}}
datasets: [ring]
methods:
  independent: {students: 'gcn,plugpack.nets:MyNet'}
  gml: {students: [gcn, {architecture: 'plugpack.nets:MyNet', options: {hidden: 6, kinds: [a, {b: 1}]}}]}
  mine: {students: 'gcn,gcn', strategy: 'plugpack.nets:Mine', strategy_options: {nested: {a: [1, {b: 2}]}}}
"""


@pytest.mark.usefixtures("without_layout")
def test_a_suite_of_custom_students_and_strategies_can_be_read_back(command_line, nets):
    with (nets / "plugpack" / "nets.py").open("a") as file:
        file.write(OWN_STRATEGY)
    (nets / "own.yaml").write_text(SUITE)
    status, out, err = command_line("suite", "own.yaml", "--trust", "--out", "out", "--jobs", 1)
    assert status == 0 and re.search(r"^ensemble +mine ", out, re.MULTILINE), err
    for command in (
        ("status", "out"),
        ("export", "out"),
        ("plot", "out", "--kind", "curves", "--out", "plots"),
        ("report", "out/suite-own", "-o", "report.html"),
        ("time-inference", "out", "--trust"),
        ("tables", "out/suite-own"),
    ):
        status, out, err = command_line(*command)
        assert status == 0, (command, err)
    assert len(list((nets / "out").glob("*/inference.csv"))) == 3
    (nets / "nets-only.yaml").write_text("".join(line for line in SUITE.splitlines(keepends=True) if "mine:" not in line))
    for command in (("suite", "nets-only.yaml", "--out", "other", "--jobs", 1), ("time-inference", "out")):
        status, _, err = command_line(*command)
        assert status != 0 and "add --trust" in err, err


@pytest.mark.parametrize(
    ("students", "message"),
    [
        ("gcn,plugpack.nets:MyNat", "'plugpack.nets' has no 'MyNat'. Did you mean 'MyNet'?"),
        ("gcn,plugpack.netz:MyNet", "there is no module 'plugpack.netz'"),
        ("gcn,math:sqrt", "math:sqrt"),
        ("gcn,math:pi", "math:pi is not a class or function but a float"),
        ("gcn,mynet", "Unknown student 'mynet'"),
    ],
)
def test_a_wrong_student_is_one_message(command_line, nets, students, message):
    status, _, err = command_line("run", *QUICK, "--students", students, "--out", "out", "--jobs", 1)
    assert status == 2 and err.startswith("Error: ") and message in err and "Traceback" not in err


def test_compare_has_no_custom_students(command_line, nets):
    for student in ("plugpack.nets:MyNet", "sgc"):
        status, _, err = command_line("compare", "--dataset", "ring", "--students", f"gcn,{student}", "--strategy", "dml", "--out", "out")
        assert status == 2 and f"The reference has no student '{student}'. Compare with students of: gcn, gat, gin, sage" in err


def test_a_run_and_a_suite_are_tracked_one_tracked_run_a_trial(command_line, nets, monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow(recorder))
    tensorboard = Recorder()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake_tensorboard(tensorboard))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracked = ("--seeds", 2, "--jobs", 1, "--track", "mlflow,tensorboard")
    status, _, err = command_line("run", *SHORT, "--students", "gcn,sage", "--strategy", "dml", "--out", "out", *tracked)
    assert status == 0, err
    (folder,) = (nets / "out").iterdir()
    assert [run["name"] for run in recorder.opened if "name" in run] == ["seed-0-fold-0", "seed-1-fold-0"]
    assert recorder.opened[0] == {"made": folder.name} and recorder.closed == [False, False]
    assert [run["dir"] for run in tensorboard.opened] == [f"out/{folder.name}/tensorboard/seed-{seed}-fold-0" for seed in (0, 1)]
    assert recorder.parameters["seed"] == "1" and recorder.parameters["strategy"] == "dml"
    (nets / "suite.yaml").write_text(
        "description: two\nbaseline: independent\ndatasets: [{name: ring, dataset: ring}]\nmethods: {independent: null, dml: null}\n"
        "base: {students: 'gcn,sage', seeds: 1, training: {epochs: 2}}\n"
    )
    del recorder.opened[:]
    status, _, err = command_line("suite", "suite.yaml", "--trust", "--out", "suite", "--jobs", 1, "--track", "mlflow")
    assert status == 0, err
    assert len([run for run in recorder.opened if "name" in run]) == 2


def test_a_tracker_that_is_not_there_ends_the_command_before_it_trains(command_line, nets, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for name, message in (("wandb", "pip install 'dgl-mutual[wandb]'"), ("wandbb", "Did you mean 'wandb'")):
        status, _, err = command_line("run", *QUICK, "--out", "out", "--track", name)
        assert status == 2 and message in err
    assert not (nets / "out").exists() or not any((nets / "out").iterdir())
