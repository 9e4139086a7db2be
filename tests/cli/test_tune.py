"""From a search to a run, on the command line."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import dgl_mutual
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments import loading
from dgl_mutual.utils.exact_numbers import EXACT_NUMBERS
from tests.cli.conftest import Ended

pytest.importorskip("optuna")

SMALL = ("--students", "gcn,sage", "--epochs", "6", "--set", "student.hidden=8")


@pytest.fixture(autouse=True)
def mine(elsewhere: Path) -> None:
    """A dataset `mine`: 60 nodes of two classes, with a split."""
    folder = elsewhere / "mine"
    folder.mkdir()
    random = np.random.default_rng(0)
    label = random.integers(2, size=60)
    nodes = pd.DataFrame({"node_id": np.arange(60), "feat": label + random.normal(size=60), "label": label})
    for index, part in enumerate(("train", "val", "test")):
        nodes[f"{part}_mask"] = np.arange(60) % 3 == index
    nodes.to_csv(folder / "nodes.csv", index=False)
    pd.DataFrame(random.integers(60, size=(150, 2)), columns=["src_id", "dst_id"]).to_csv(folder / "edges.csv", index=False)
    (folder / "meta.yaml").write_text("dataset_name: mine\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n")


def test_from_a_search_to_a_run(command_line: Callable[..., Ended], elsewhere: Path) -> None:
    for strategy in ("independent", "gml"):
        status, out, err = command_line("tune", "--dataset", "mine", "--strategy", strategy, *SMALL, "--trials", 3, "--jobs", 1)
        assert status == 0 and "3 trials complete" in out and "\nWith the given options and all other defaults: 0." in out
        assert "[3/3]" in err
        (folder,) = (elsewhere / "results").glob(f"tune-node-mine-{strategy}-*")
        history = pd.read_csv(folder / "tuning.csv", **EXACT_NUMBERS)
        assert len(history) == 3 and ("strategy_options.weight" in history) == (strategy == "gml")
        assert (folder / "tuning.pdf").read_bytes().startswith(b"%PDF")
        best = yaml.safe_load((folder / "best.yaml").read_text())
        assert best["strategy"] == strategy and best["student"]["hidden"] == 8
        start, _, told = out.splitlines()[-1].partition(": dgl-mutual ")
        assert start == "To train with it" and told.endswith("best.yaml")
        status, out, _ = command_line(*shlex.split(told), "--seeds", 2, "--jobs", 1)
        assert status == 0 and "n = 2 seeds" in out
    out = command_line("tune", "--dataset", "mine", *SMALL, "--trials", 3, "--jobs", 1, "--data-dir", ".")[1]
    assert out.splitlines()[-1].endswith("best.yaml --data-dir .")
    status, _, err = command_line("tune", "--dataset", "mine", *SMALL, "--search", "student.widht", "--trials", 2)
    assert status == 2 and "Unknown option to search 'student.widht'" in err
    # Searches lie beside runs, and no table takes them for runs.
    assert command_line("export", "results")[0] == 0
    status, out, _ = command_line("tune", "--dataset", "mine", *SMALL, "--trials", 4, "--jobs", 1)
    assert status == 0 and "4 trials complete" in out
    values = pd.read_csv(folder / "tuning.csv", **EXACT_NUMBERS).set_index("trial")["value"]
    status, out, _ = command_line("tune", "--dataset", "mine", *SMALL, "--trials", max(1, values.idxmax()), "--jobs", 1)
    assert values.idxmax() > 0, "another seed is needed: the test says nothing where the defaults are best"
    assert f"a longer search, and best.yaml is its best, trial {values.idxmax()}." in out and f"(trial {values.idxmax()})" not in out
    status, _, err = command_line("tune", "--dataset", "mine", *SMALL, "--set", "seeds=3")
    assert status == 2 and "seeds = 3 has no effect on a search" in err


def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded(
    command_line: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", lambda *_, **__: pytest.fail("data are loaded"))
    status, _, err = command_line("tune", "--dataset", "mine", *SMALL, "--device", "cuda")
    assert status == 2 and "Device 'cuda' cannot be used" in err


def test_a_search_of_which_every_trial_fails_says_so(
    command_line: Callable[..., Ended], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("dgl_mutual.experiments.tuning.objective.fit_resolved", fit)
    status, out, err = command_line("tune", "--dataset", "mine", *SMALL, "--trials", 2, "--jobs", 1)
    assert status == 1 and "2 trials failed" in err and "not enough memory" in err and "Written" not in out
    assert not list((elsewhere / "results").glob("*/best.yaml"))


def test_a_search_of_which_a_trial_fails_does_not_end_as_if_none_had(
    command_line: Callable[..., Ended], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dgl_mutual.experiments.tuning import objective  # it needs Optuna

    fit, fits = objective.fit_resolved, itertools.count()

    def fails_later(*given: Any, **more: Any) -> Any:
        if next(fits) >= 2:
            raise MemoryError("too large")
        return fit(*given, **more)

    monkeypatch.setattr("dgl_mutual.experiments.tuning.objective.fit_resolved", fails_later)
    status, out, err = command_line("tune", "--dataset", "mine", *SMALL, "--trials", 3, "--jobs", 1)
    assert status == 1 and "1 trial failed" in err and "Best on validation" in out


def test_a_split_by_seed_is_tuned_on_with_a_note_of_what_is_shared(command_line: Callable[..., Ended], elsewhere: Path) -> None:
    status, out, _ = command_line("tune", "--students", "gcn", "--strategy", "independent", "--epochs", 2, "--trials", 1)
    assert status == 0 and "Under the protocol random the seeds have different test samples" in out


SUITE = """
base: {students: "gcn,sage", seeds: 2, student: {hidden: 8}, training: {epochs: 6}}
datasets: [mine]
methods: [independent, dml]
"""


def test_a_suite_tunes_every_method_alike_and_then_runs_with_seeds_of_its_own(command_line: Callable[..., Ended], elsewhere: Path) -> None:
    Path("mine.yaml").write_text(SUITE)
    status, out, _ = command_line("suite", "mine.yaml", "--tuned", 3, "--dry-run", "--jobs", 1)
    assert status == 0 and "3 trials,   3 to run" in out and "tuning dml on mine" in out and not Path("results").exists()
    assert "Together with the searches: about" in out
    status, out, err = command_line("suite", "mine.yaml", "--tuned", 3, "--jobs", 1)
    assert status == 0 and re.search(r"^mean student  +independent  ", out, re.MULTILINE)
    assert err.count("[3/3]") == 2
    searches = {folder.name.split("-")[3]: pd.read_csv(folder / "tuning.csv", **EXACT_NUMBERS) for folder in Path("results").glob("tune-*")}
    assert {name: len(search) for name, search in searches.items()} == {"independent": 3, "dml": 3}
    suite = yaml.safe_load(Path("results/suite-mine-tuned/suite.yaml").read_text())
    for entry in suite["runs"]:
        values = yaml.safe_load(Path("results", entry["folder"], "config.yaml").read_text())["resolved"]
        search = searches[entry["method"]]
        best = search.loc[search["value"].idxmax()]
        for key in ("learning_rate", "weight_decay"):
            chosen = best[f"training.{key}"]
            assert pd.isna(chosen) or values["training"][key] == chosen
        trials = pd.read_csv(Path("results", entry["folder"], "trials.csv"), **EXACT_NUMBERS)
        assert set(trials["seed"]) == {0, 1} and values["seeds"] == 2
    history = pd.read_csv("results/suite-mine-tuned/tuning.csv", **EXACT_NUMBERS)
    assert history.groupby(["data", "method"]).size().to_dict() == {("mine", "independent"): 3, ("mine", "dml"): 3}
    # What has run without a search says nothing of what runs after one.
    assert command_line("suite", "mine.yaml", "--jobs", 1)[0] == 0
    assert "\n4 trials to run: " in command_line("suite", "mine.yaml", "--tuned", 3, "--dry-run", "--jobs", 1)[1]
    assert history.loc[history["method"] == "dml", "value"].tolist() == searches["dml"]["value"].tolist()
    # Again: nothing is left to do.
    status, again, err = command_line("suite", "mine.yaml", "--tuned", 3, "--jobs", 1)
    assert (status, again) == (0, out) and "[3/3" not in err and "4 of 4 trials are finished already" in err


def test_searches_and_runs_that_are_listed_share_their_datasets(
    command_line: Callable[..., Ended], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loaded = loading.load_dataset, []

    def counted(name: str, *given: Any, **more: Any) -> Any:
        loaded.append(name)
        return load(name, *given, **more)

    monkeypatch.setattr(loading, "load_dataset", counted)
    Path("mine.yaml").write_text(SUITE)
    assert command_line("suite", "mine.yaml", "--tuned", 3, "--dry-run", "--jobs", 1)[0] == 0
    assert loaded == ["mine"]


def test_methods_without_training_and_data_that_are_not_there_have_no_search(command_line: Callable[..., Ended], elsewhere: Path) -> None:
    Path("mine.yaml").write_text(SUITE.replace("dml]", "label-propagation]"))
    status, out, _ = command_line("suite", "mine.yaml", "--tuned", 1, "--jobs", 1)
    assert status == 0 and re.search(r"^mean student  +label-propagation  ", out, re.MULTILINE)
    assert set(pd.read_csv("results/suite-mine-tuned/tuning.csv")["method"]) == {"independent"}
    status, out, err = command_line("time-inference", "results", "--repeats", 5)
    assert status == 1 and "trains none" in err and out.count("Written to") == 1
    Path("gone.yaml").write_text(SUITE.replace("[mine]", "[MUTAG]"))
    status, _, err = command_line("suite", "gone.yaml", "--tuned", 1, "--offline", "--data-dir", ".")
    assert status == 1 and "MUTAG was left out" in err and "bug" not in err


def test_a_dataset_of_a_suite_says_how_it_is_tuned(command_line: Callable[..., Ended], elsewhere: Path) -> None:
    Path("mine.yaml").write_text(SUITE.replace("[mine]", "[{dataset: mine, tuning: {trials: 2, splits: 3}}]"))
    status, out, _ = command_line("suite", "mine.yaml", "--tuned", 5, "--dry-run")
    assert status == 0 and "   2 trials,   2 to run" in out and "tuning independent on mine (3 trainings each)" in out
    assert command_line("suite", "mine.yaml", "--tuned", 5, "--jobs", 1)[0] == 0
    history = pd.read_csv("results/suite-mine-tuned/tuning.csv")
    assert history.groupby("method").size().to_dict() == {"dml": 2, "independent": 2}
    status, out, _ = command_line("suite", "mine.yaml", "--tuned", 5, "--dry-run")
    assert status == 0 and "   2 trials,   0 to run" in out
    Path("mine.yaml").write_text(SUITE.replace("[mine]", "[{dataset: mine, tuning: {split: 3}}]"))
    status, _, err = command_line("suite", "mine.yaml", "--tuned", 5, "--dry-run")
    assert status == 2 and "split" in err


def test_a_file_is_a_method_of_a_suite_and_a_start_for_fit(command_line: Callable[..., Ended], elsewhere: Path) -> None:
    Path("best.yaml").write_text(
        "{dataset: Cora, strategy: dml, protocol: nested, seeds: 9, student: {hidden: 4}, training: {epochs: 2, learning_rate: 0.005}}"
    )
    Path("files.yaml").write_text(SUITE.replace("[independent, dml]", "{independent: , tuned: best.yaml}"))
    assert command_line("suite", "files.yaml", "--jobs", 1)[0] == 0
    (folder,) = Path("results").glob("node-mine-dml-*")
    values = yaml.safe_load((folder / "config.yaml").read_text())["resolved"]
    assert (values["training"]["learning_rate"], values["training"]["epochs"], values["protocol"]) == (0.005, 2, "public")
    assert command_line("suite", "files.yaml", "--jobs", 1, "--set", "methods=1")[0] == 2
    Path("files.yaml").write_text(SUITE.replace("[independent, dml]", "{tuned: lost.yaml}"))
    status, _, err = command_line("suite", "files.yaml")
    assert status == 2 and "lost.yaml" in err

    mine = dgl_mutual.load("mine")
    Path("best.yaml").write_text("{dataset: Cora, strategy: dml, student: {hidden: 8}, training: {epochs: 2, learning_rate: 0.005}}")
    result = dgl_mutual.fit(mine, config="best.yaml", training={"epochs": 3})
    assert result.epochs == 3 and result.config["strategy"] == "dml" and len(result.config["students"]) == 4
    assert {student["hidden"] for student in result.config["students"]} == {8}
    same = dgl_mutual.fit(mine, strategy="dml", student={"hidden": 8}, training={"epochs": 3, "learning_rate": 0.005})
    assert same["mean"].test == result["mean"].test and same.config == result.config
    again = dgl_mutual.fit(mine, config=folder / "config.yaml", students="gcn,sage")
    rows = pd.read_csv(folder / "trials.csv", **EXACT_NUMBERS).set_index(["seed", "member"])
    assert again["mean"].test == pytest.approx(rows.loc[(0, "mean"), "test"])
    with pytest.raises(UsageError, match="noise"):
        dgl_mutual.fit(mine, config={"noise": "feature:0.2"})
    Path("code.yaml").write_text("strategy: lost.package:Strategy")
    with pytest.raises(UsageError, match="names custom code"):
        dgl_mutual.fit(mine, config="code.yaml")
