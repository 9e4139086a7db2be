"""Results of custom code that has changed."""

from __future__ import annotations

import importlib
import json
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Ended

pytestmark = pytest.mark.usefixtures("toy")

DATA = ("--dataset", "TOY")
SHORT = ("--folds", "2", "--jobs", "1", "--set", "training.epochs=1")
MODULE = """
import functools
import torch
from dgl_mutual import Strategy
from dgl_mutual.dgl_compat import dgl

FACTOR = 1.0

def scaled(loss):
    return FACTOR * loss

class Mine(Strategy):
    def loss_terms(self, step):
        return {"supervised": scaled(self.supervised(step))}

class Part(torch.nn.Module):
    def __init__(self, in_features, num_outputs, width=3):
        super().__init__()
        self.layer = torch.nn.Linear(in_features, num_outputs)

    def forward(self, graph, feat):
        graph.ndata["h"] = self.layer(feat)
        return dgl.mean_nodes(graph, "h")

class Made:
    def __call__(self, in_features, num_outputs):
        return Part(in_features, num_outputs)

partial = functools.partial(Part, width=4)
instance = Made()

class Other(Strategy):
    def loss_terms(self, step):
        return {"supervised": self.supervised(step)}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> None:
        (tmp_path / "my_changing_idea.py").write_text(text)
        sys.modules.pop("my_changing_idea", None)
        importlib.invalidate_caches()
        linecache.clearcache()

    yield write
    sys.modules.pop("my_changing_idea", None)


def test_trials_of_changed_code_are_not_mixed(
    module: Callable[[str], None], tmp_path: Path, command_line: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["run", *DATA, "--students", "gcn,sage", "--strategy", "my_changing_idea:Mine", *SHORT, "--set", "student.hidden=4"]
    module(MODULE)
    assert command_line(*run)[0] == 0
    # Comments, layout and what the class does not use are no change.
    module(
        "# A note.\n"
        + MODULE.replace("self.supervised(step)}\n", "self.supervised(step) * 2}\n").replace("FACTOR * loss", "FACTOR  *  loss")
    )
    status, _, err = command_line(*run)
    assert status == 0 and "has changed" not in err
    module(MODULE.replace("FACTOR = 1.0", "FACTOR = 2.0"))
    status, _, err = command_line(*run)
    told = " ".join(err.split())
    assert status == 0 and "The code of my_changing_idea:Mine has changed since 2 trials" in told and "--no-resume" in told
    status, _, err = command_line(*run, "--seeds", "2")
    assert status == 1 and "A mean over them and new trials would mix different code" in " ".join(err.split())
    status, _, err = command_line(*run, "--seeds", "2", "--no-resume")
    assert status == 0 and "has changed" not in err
    assert command_line(*run, "--seeds", "2")[0] == 0
    module(MODULE.replace("FACTOR = 1.0", "FACTOR = 3.0"))
    status, _, err = command_line(*run, "--seeds", "1", "--no-resume")  # the trials of the other seed would be those of the former code
    assert status == 1 and "start over with all its 2 seeds" in (told := " ".join(err.split()))
    assert command_line(*run, *re.findall(r"--no-resume --seeds 2", told)[0].split())[0] == 0
    (file,) = tmp_path.glob("results/*/environment.json")
    values = json.loads(file.read_text())
    del values["code"]  # as without its source
    file.write_text(json.dumps(values))
    status, _, err = command_line(*run, "--seeds", "3")
    assert status == 0 and "The code of my_changing_idea:Mine was not recorded when 4 trials" in " ".join(err.split())


def test_code_in_an_imported_module_is_compared(
    module: Callable[[str], None], tmp_path: Path, command_line: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["run", *DATA, "--students", "gcn,sage", "--strategy", "my_changing_idea:Mine", *SHORT, "--set", "student.hidden=4"]
    for factor, seeds, expected in (("1.0", "1", 0), ("2.0", "2", 1)):
        (tmp_path / "my_changing_part.py").write_text(f"FACTOR = {factor}\n")
        sys.modules.pop("my_changing_part", None)
        module(MODULE.replace("FACTOR = 1.0", "from my_changing_part import FACTOR"))
        status, _, err = command_line(*run, "--seeds", seeds)
        assert status == expected and ("The code of my_changing_idea:Mine has changed" in " ".join(err.split())) is bool(expected)
    del sys.modules["my_changing_part"]


@pytest.mark.parametrize("student", ["partial", "instance"])
def test_code_behind_a_partial_and_a_callable_is_compared(
    module: Callable[[str], None], tmp_path: Path, command_line: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, student: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["run", *DATA, "--students", f"gcn,my_changing_idea:{student}", "--strategy", "independent", *SHORT]
    module(MODULE)
    assert command_line(*run)[0] == 0
    module(MODULE.replace("self.layer(feat)", "2 * self.layer(feat)"))
    status, _, err = command_line(*run)
    assert status == 0 and f"The code of my_changing_idea:{student} has changed" in " ".join(err.split())


def test_code_of_a_teacher_is_compared(
    module: Callable[[str], None], tmp_path: Path, command_line: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["run", *DATA, "--students", "gcn,sage", "--strategy", "kd", *SHORT]
    run += ["--set", "strategy_options.teacher.architecture=my_changing_idea:Part"]
    module(MODULE)
    assert command_line(*run)[0] == 0
    module(MODULE.replace("self.layer(feat)", "2 * self.layer(feat)"))
    status, _, err = command_line(*run, "--seeds", "2")
    assert status == 1 and "The code of my_changing_idea:Part has changed" in " ".join(err.split())


def test_a_search_does_not_go_on_with_changed_code(
    module: Callable[[str], None], tmp_path: Path, command_line: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tune = ["tune", *DATA, "--students", "gcn,sage", "--strategy", "my_changing_idea:Mine", *SHORT]
    module(MODULE)
    assert command_line(*tune, "--trials", "1")[0] == 0
    status, out, _ = command_line(*tune, "--trials", "2")
    assert status == 0 and out.endswith("best.yaml --trust\n")
    module(MODULE.replace("FACTOR = 1.0", "FACTOR = 2.0"))
    status, _, err = command_line(*tune, "--trials", "3")
    told = " ".join(err.split())
    assert status == 1 and "The code of my_changing_idea:Mine has changed since the search in" in told and "Remove the folder" in told
