from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

import dgl_mutual
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.runner import run
from dgl_mutual.strategies.dml import DeepMutualLearning
from tests.test_registry import forgetful, installed  # noqa: F401  # fixtures

QUICK = ("--students", "gcn,sage", "--set", "student.hidden=8", "--epochs", 3, "--seeds", 1)
IDEA = """
from dgl_mutual.strategies.dml import DeepMutualLearning

class Mine(DeepMutualLearning):
    "Deep mutual learning under another name."
"""


@pytest.fixture
def idea(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: None) -> Path:  # noqa: F811  # the fixture of that name
    package = tmp_path / "plugpack"
    package.mkdir()
    (package / "mine.py").write_text(IDEA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return tmp_path


def test_a_custom_strategy_runs_by_its_import_path_and_is_resumed(command_line, idea):
    status, _, err = command_line("run", "--strategy", "plugpack.mine:Mine", "--out", "out", *QUICK, "--jobs", 1)
    assert status == 0, err
    (folder,) = (idea / "out").iterdir()
    assert folder.name.startswith("node-digits-plugpack.mine-Mine-")
    assert "strategy: plugpack.mine:Mine" in (folder / "config.yaml").read_text()
    own = pd.read_csv(folder / "trials.csv")
    assert set(own["strategy"]) == {"plugpack.mine:Mine"}
    (folder / "trials.csv").unlink()  # to train it again from its own config.yaml
    status, _, err = command_line("run", "--config", folder / "config.yaml", "--trust", "--out", "out", "--jobs", 1)
    assert status == 0, err
    pd.testing.assert_series_equal(pd.read_csv(folder / "trials.csv")["test"], own["test"], check_exact=True)
    assert command_line("run", "--strategy", "dml", "--out", "dml", *QUICK, "--jobs", 1)[0] == 0
    dml = pd.read_csv(next((idea / "dml").iterdir()) / "trials.csv")
    pd.testing.assert_series_equal(own["test"], dml["test"], check_exact=True)
    assert command_line("export", folder)[0] == 0


def test_a_wrong_import_path_is_one_message(command_line, idea):
    status, _, err = command_line("run", "--strategy", "plugpack.mine:Min", *QUICK)
    assert (status, err.strip()) == (
        2,
        "Error: Cannot import the strategy 'plugpack.mine:Min': 'plugpack.mine' has no 'Min'. Did you mean 'Mine'?",
    )


def test_fit_takes_a_class_also_one_that_only_it_can_find():
    class Local(DeepMutualLearning):
        pass

    digits = dgl_mutual.load("digits")
    small = {"students": "gcn,sage", "student": {"hidden": 8}, "training": {"epochs": 3}}
    local, named, given = (dgl_mutual.fit(digits, strategy=strategy, **small) for strategy in (Local, "dml", DeepMutualLearning))
    columns = ["member", "val", "test"]
    pd.testing.assert_frame_equal(local.table()[columns], named.table()[columns], check_exact=True)
    pd.testing.assert_frame_equal(given.table()[columns], named.table()[columns], check_exact=True)
    with pytest.raises(UsageError, match=r"is not a subclass of dgl_mutual\.Strategy"):
        dgl_mutual.fit(digits, strategy=dict, **small)


def test_a_run_refuses_a_class_that_it_cannot_find_again(tmp_path):
    class Local(DeepMutualLearning):
        pass

    with pytest.raises(UsageError, match=r"Local cannot be found again .* it is defined inside a function"):
        run(
            parse_config({"strategy": Local, "students": "gcn,sage", "seeds": 1, "training": {"epochs": 1}}),
            out=tmp_path / "out",
            compute=Compute(jobs=1),
        )
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_installed_strategies_are_listed_with_their_package_and_not_imported(command_line, installed):  # noqa: F811  # the fixture
    installed(entry_points="[dgl_mutual.strategies]\nalone = plugpack.ideas:Alone\nbad = plugpack.raising:X\ngml = plugpack.ideas:Alone\n")
    installed("other", "[dgl_mutual.strategies]\nalone = other.ideas:Alone\n")
    status, out, _ = command_line("strategies")
    *_, first, second, bad, hidden = (" ".join(paragraph.split()) for paragraph in out.split("\n\n"))
    assert status == 0 and "built in" in map(str.strip, out.splitlines())
    assert first == "alone from other 1.0; several packages have the name, so name it other.ideas:Alone"
    assert second == "alone from plugpack 1.0; several packages have the name, so name it plugpack.ideas:Alone"
    assert bad == "bad from plugpack 1.0"
    assert hidden == "gml from plugpack 1.0; the name means the built-in one, so name it plugpack.ideas:Alone"
    status, out, _ = command_line("strategies", "--format", "markdown")
    assert "| `bad` | - | from plugpack 1.0 |" in out
    assert "plugpack" not in sys.modules
