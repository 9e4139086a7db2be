"""From a search to a run, on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.cli.conftest import Ended

pytest.importorskip("optuna")

SMALL = ("--students", "gcn,sage", "--epochs", "6", "--set", "student.hidden=8")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, where `mine` is: 60 nodes of two classes, with a split."""
    monkeypatch.delenv("DGL_MUTUAL_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    random = np.random.default_rng(0)
    label = random.integers(2, size=60)
    nodes = pd.DataFrame({"node_id": np.arange(60), "feat": label + random.normal(size=60), "label": label})
    for place, part in enumerate(("train", "val", "test")):
        nodes[f"{part}_mask"] = np.arange(60) % 3 == place
    nodes.to_csv(folder / "nodes.csv", index=False)
    pd.DataFrame(random.integers(60, size=(150, 2)), columns=["src_id", "dst_id"]).to_csv(folder / "edges.csv", index=False)
    (folder / "meta.yaml").write_text("dataset_name: mine\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n")
    return tmp_path


def test_from_a_search_to_a_run(command_line: Callable[..., Ended], elsewhere: Path) -> None:
    for strategy in ("independent", "gml"):
        status, out, err = command_line("tune", "--dataset", "mine", "--strategy", strategy, *SMALL, "--trials", 3)
        assert status == 0 and "3 trials complete" in out and "with all defaults" in out
        assert "[3/3]" in err
        (folder,) = (elsewhere / "results").glob(f"tune-node-mine-{strategy}-*")
        history = pd.read_csv(folder / "tuning.csv")
        assert len(history) == 3 and ("strategy_options.weight" in history) == (strategy == "gml")
        assert (folder / "tuning.pdf").read_bytes().startswith(b"%PDF")
        best = yaml.safe_load((folder / "best.yaml").read_text())
        assert best["strategy"] == strategy and best["student"]["hidden"] == 8
        status, out, _ = command_line("run", "--config", folder / "best.yaml", "--seeds", 2, "--jobs", 1)
        assert status == 0 and "n = 2 seeds" in out
    # Searches lie beside runs, and no table takes them for runs.
    assert command_line("export", "results")[0] == 0
    status, out, _ = command_line("tune", "--dataset", "mine", *SMALL, "--trials", 4)
    assert status == 0 and "4 trials complete" in out


def test_a_search_of_which_every_trial_fails_says_so(
    command_line: Callable[..., Ended], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("dgl_mutual.experiments.study.fit_resolved", fit)
    status, out, err = command_line("tune", "--dataset", "mine", *SMALL, "--trials", 2)
    assert status == 1 and "2 trials failed" in err and "too large" in err and "Written" not in out
    assert not list((elsewhere / "results").glob("*/best.yaml"))


def test_a_dataset_without_a_split_of_its_own_is_refused_with_the_reason(command_line: Callable[..., Ended], elsewhere: Path) -> None:
    status, _, err = command_line("tune", *SMALL)
    assert status == 2 and "'random'" in err and "public, scaffold, nested" in err
    assert not (elsewhere / "results").exists()
