from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import dgl_mutual
from dgl_mutual import version
from dgl_mutual.experiments import environment


def test_requirement_lines_name_their_distribution() -> None:
    lines = ["torch<2.14,>=2.1", "packaging", 'torch_geometric>=2.5; extra == "reference"', "scikit-learn>=1.4"]
    assert [environment.distribution_of(line) for line in lines] == ["torch", "packaging", "torch_geometric", "scikit-learn"]


def test_versions_are_those_installed() -> None:
    import torch

    found = environment.versions()
    assert found["dgl_mutual"] == dgl_mutual.__version__
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]  # the package index's builds do not name theirs


def test_commit_is_that_of_the_checkout_with_a_mark_if_it_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "dgl_mutual" / "__init__.py"
    module.parent.mkdir()
    module.touch()
    same = module.with_name("same.py")
    same.touch()
    monkeypatch.setattr(version, "__file__", str(module))
    assert environment.source_commit() is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    assert environment.source_commit() == git("rev-parse", "HEAD")
    module.write_text("changed = True")
    changed = git("rev-parse", "HEAD") + "+changes"
    assert environment.source_commit() == changed
    index = (tmp_path / ".git" / "index").read_bytes()
    os.utime(same, (1e9, 1e9))  # the index does not know this time
    other = tmp_path / "other"
    other.mkdir()
    git("init", "--quiet", str(other))
    git("-C", str(other), "commit", "--quiet", "--allow-empty", "-m", "another")
    for name, value in [("DIR", ".git"), ("WORK_TREE", ""), ("INDEX_FILE", ".git/index"), ("COMMON_DIR", ".git")]:
        monkeypatch.setenv(f"GIT_{name}", str(other / value))  # as git does for its hooks
        assert environment.source_commit() == changed
    assert (tmp_path / ".git" / "index").read_bytes() == index  # nothing is written there


def test_a_command_is_kept_without_the_folders_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [
        "/opt/bin/dgl-mutual",
        "run",
        "--data-dir",
        "/home/me/my data",
        "--out=/srv/x",
        "--config",
        "mine/run.yaml",
        "--students=gcn",
    ]
    monkeypatch.setattr("sys.argv", arguments)
    kept = environment.environment(jobs=1, threads=1, device="cpu")["command"]
    assert kept == "dgl-mutual run --data-dir '.../my data' --out=.../x --config mine/run.yaml --students=gcn"


@pytest.mark.parametrize(
    ("program", "kept"),
    [
        (str(Path(dgl_mutual.__file__).with_name("__main__.py")), "dgl-mutual --fast"),
        ("dgl-mutual.exe", "dgl-mutual --fast"),
        ("study.py", "none: called from Python"),
        ("/opt/other/__main__.py", "none: called from Python"),
        ("", "none: called from Python"),
    ],
)
def test_the_command_of_another_program_is_not_taken_for_one_of_ours(program: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [program, "--fast"])
    assert environment.environment(jobs=1, threads=1, device="cpu")["command"] == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/srv/data/planetoid lacks ind.cora.x", ".../planetoid lacks ind.cora.x"),
        ("in '/home/me/data' and ~/results/x", "in '.../data' and .../x"),
        (r"C:\Users\me\data", ".../data"),
        ("data/planetoid, 1/2, https://example.org/a/b and .../data", "data/planetoid, 1/2, https://example.org/a/b and .../data"),
    ],
)
def test_paths_in_text_are_cut_down_to_their_last_name(text: str, kept: str) -> None:
    assert environment.without_folders(text) == kept
