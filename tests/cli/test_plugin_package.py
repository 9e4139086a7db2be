"""A second package, installed by pip, brings one of everything by entry points."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

PACKAGE = Path(__file__).parents[1] / "plugin_package"


def put_into_place(source: Path, target: Path) -> None:
    """Have pip install a package."""
    pytest.importorskip("pip")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--no-compile"]
    done = subprocess.run([*pip, "--target", str(target), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put the package."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    put_into_place(source, target)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(site))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "mutual_extras"]:
        del sys.modules[name]


def test_what_it_brings_is_listed_with_its_origin(command_line, installed):
    _, out, _ = command_line("strategies")
    assert out.split("\n\n")[-1].split() == ["agreement", "from", "mutual-extras", "0.3"]
    _, out, _ = command_line("data", "list")
    assert any(line.split() == ["two-rings", "installed", "from", "mutual-extras", "0.3"] for line in out.splitlines())


def test_all_of_it_runs_by_name(command_line, installed, tmp_path):
    chosen = ("--dataset", "two-rings", "--strategy", "agreement", "--students", "gcn,pooled", "--set", "strategy_options.strength=0.25")
    status, _, err = command_line("run", *chosen, "--epochs", 3, "--seeds", 1, "--jobs", 1, "--out", tmp_path)
    assert status == 0, err
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("node-two-rings-agreement-")
    rows = pd.read_csv(folder / "trials.csv")
    assert set(rows["strategy"]) == {"agreement"} and set(rows["dataset"]) == {"two-rings"}
    assert {"gcn-0", "pooled-1"} < set(rows["member"])
    history = pd.read_csv(folder / "history.csv")
    assert {"loss/agreement/gcn-0", "loss/agreement/pooled-1"} < set(history.columns)
    assert "strength: 0.25" in (folder / "config.yaml").read_text()
    assert "nothing to fetch" in command_line("data", "fetch", "two-rings").out
    status, _, err = command_line("run", *chosen[:-1], "strategy_options.strenght=1", "--out", tmp_path)
    assert status == 2 and "Did you mean 'strength'" in err


def test_its_weighting_runs_with_options_of_its_own(command_line, installed, tmp_path):
    chosen = ("--dataset", "two-rings", "--students", "gcn,gat", "--set", "strategy_options.weighting=loudest")
    options = ("--set", "strategy_options.weighting_options.sharpness=2", "--set", "strategy_options.exchange_warmup=[0,0]")
    status, _, err = command_line("run", *chosen, *options, "--epochs", 3, "--seeds", 1, "--jobs", 1, "--out", tmp_path)
    assert status == 0, err
    (folder,) = tmp_path.iterdir()
    weights = pd.read_csv(folder / "history.csv").filter(like="weights/")
    assert (weights["weights/gcn-0/gat-1"] == 1).all(), "of two students each has the other"
    status, _, err = command_line("run", *chosen, "--set", "strategy_options.weighting_options.sharp=2", "--out", tmp_path)
    assert status == 2 and "Did you mean 'sharpness'" in err
    status, _, err = command_line("predict", "--student", folder / "checkpoints" / "seed-0-fold-0", "--dataset", "digits")
    assert status == 2


def test_its_weighting_has_options_of_its_own_and_is_saved_with_the_ensemble(command_line, installed, tmp_path):
    chosen = ("--dataset", "two-rings", "--students", "gcn,pooled", "--set", "strategy_options.weighting=loudest", "--set")
    ends = ("--epochs", 2, "--seeds", 1, "--jobs", 1, "--out", tmp_path)
    status, _, err = command_line("run", *chosen, "strategy_options.weighting_options.sharpness=3", *ends)
    assert status == 0, err
    (folder,) = tmp_path.iterdir()
    config = (folder / "config.yaml").read_text()
    assert "weighting: loudest" in config and "sharpness: 3.0" in config
    status, _, err = command_line("run", *chosen, "strategy_options.weighting_options.sharpnes=3", *ends)
    assert status == 2 and "Did you mean 'sharpness'" in err
    trained = folder / "checkpoints" / "seed-0-fold-0"
    status, out, err = command_line("predict", trained, "two-rings")  # a name of an installed package needs no trust
    assert status == 0 and len(out.splitlines()) == 41, err


def test_without_the_package_its_names_are_unknown(command_line, tmp_path):
    for chosen in (("--strategy", "agreement"), ("--students", "gcn,pooled"), ("--dataset", "two-rings")):
        status, _, err = command_line("run", *chosen, "--out", tmp_path)
        assert status == 2 and f"'{chosen[1].split(',')[-1]}'" in err and "Unknown" in err


def test_the_package_of_the_documentation_is_whole(command_line, tmp_path, monkeypatch):
    page = (PACKAGE.parents[1] / "docs" / "extend.md").read_text(encoding="utf-8")
    source, target = tmp_path / "small-ext", tmp_path / "site"
    source.mkdir()
    for file, content in re.findall(
        r"`([\w.]+)` (?:registers them|contains the code):\n\n```\w+\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL
    ):
        (source / file).write_text(content, encoding="utf-8")
    put_into_place(source, target)
    monkeypatch.syspath_prepend(str(target))
    commands = re.findall(r"^\$ dgl-mutual (.*)$", page, flags=re.MULTILINE)
    assert len(commands) == 3
    try:
        for command in commands:
            ends = ("--epochs", 2, "--seeds", 1, "--jobs", 1, "--out", tmp_path / "out") if command.startswith("run") else ()
            status, out, err = command_line(*shlex.split(command), *ends)
            assert status == 0, err
            assert ends or "from small-ext 0.1" in out
        assert len(list((tmp_path / "out").rglob("*.jsonl"))) == 1
        configs = [file.read_text() for file in (tmp_path / "out").glob("*/config.yaml")]
        assert any("weighting: loudest" in config and "hidden: 8" in config for config in configs)
    finally:
        sys.modules.pop("small_ext", None)
