from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.experiments.run_folders.run_store import RunStore
from dgl_mutual.experiments.run_folders.trial_tables import TrialTable
from dgl_mutual.experiments.trial import Outcome, Trial
from dgl_mutual.store.configuration import file_values
from dgl_mutual.store.tables import TRIAL_COLUMNS
from tests import forked
from tests.stores import open_store

CONFIG = {"dataset": "ring", "strategy": "gml", "seeds": 2}
# The contract, written out once more on purpose.
COLUMNS = (
    "task,dataset,fingerprint,strategy,member,architecture,protocol,seed,fold,metric,train,val,test,"
    "best_epoch,epochs,seconds_per_epoch,train_seconds,inference_ms,parameters,disagreement,peak_mib,nll,ece,split,test_to_train"
)


def outcome(seed: int, fold: int = 0, *, error: str | None = None) -> Outcome:
    trial = Trial(seed, fold, Split(*[np.zeros(1, dtype=np.int64)] * 3))
    if error is not None:
        return Outcome(trial, error=error, details="where\nit failed")
    common: dict[str, Any] = {"task": "node", "dataset": "ring", "fingerprint": "12e45678", "strategy": "gml", "protocol": "public"}
    common |= {"metric": "accuracy", "train": 1.0, "epochs": 2, "seconds_per_epoch": 0.5, "train_seconds": 1.0, "inference_ms": 0.1}
    rows = [
        {**common, "seed": seed, "fold": fold, "member": member, "architecture": "-", "val": 1 / 3, "test": test, "best_epoch": best}
        | {"parameters": 7}
        for member, test, best in [("sage-0", (1 + seed) / 17, 1), ("gcn-1", 0.1 + 0.2, 0), ("mean", 2e-17, None)]
    ]
    bins = [{"metric": "accuracy", "member": "gcn-1", "bin": 14, "count": 1 + seed, "accuracy": 1.0, "confidence": 0.95}]
    history = [{"epoch": float(epoch), "loss/supervised/gcn-1": 0.1 * seed + epoch} for epoch in (0, 1)]
    return Outcome(trial, rows, history, reliability=bins)


def fill(folder: Path, *outcomes: Outcome, resume: bool = True) -> RunStore:
    with open_store(folder, CONFIG, resume=resume) as store:
        for each in outcomes:
            store.add(each)
    return store


def test_columns_are_the_contract(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0)).folder
    assert (folder / "trials.csv").read_text().splitlines()[0] == COLUMNS
    assert yaml.safe_load((folder / "config.yaml").read_text()) == file_values({}, CONFIG)


def test_files_do_not_depend_on_the_order_of_trials(tmp_path: Path) -> None:
    keys = [(0, 1), (2, 0), (10, 0)]
    contents = set()
    for index, order in enumerate(itertools.permutations(keys)):
        folder = fill(tmp_path / str(index), *(outcome(*key) for key in order)).folder
        contents.add(tuple((folder / name).read_text() for name in ("trials.csv", "history.csv", "reliability.csv", "summary.csv")))
    assert len(contents) == 1
    rows = pd.read_csv(folder / "trials.csv")
    assert list(zip(rows["seed"], rows["fold"], strict=True))[::3] == keys
    assert list(rows["member"][:3]) == ["sage-0", "gcn-1", "mean"]
    history = pd.read_csv(folder / "history.csv")
    assert list(history[["seed", "fold", "epoch"]].itertuples(index=False, name=None)) == [
        (*key, epoch) for key in keys for epoch in (0, 1)
    ]


def test_columns_of_the_history_do_not_depend_on_who_came_first(tmp_path: Path) -> None:
    longer = replace(outcome(0), history=[{"epoch": 0.0, "val/gcn-1": 0.5}, {"epoch": 1.0, "val/gcn-1": 0.6, "loss/mutual/gcn-1": 0.25}])
    contents = set()
    for index, order in enumerate([(longer, outcome(1)), (outcome(1), longer)]):
        for each in order:  # each in a run of its own
            folder = fill(tmp_path / str(index), each).folder
        contents.add((folder / "history.csv").read_text())
    assert len(contents) == 1
    assert contents.pop().splitlines()[:3] == [
        "seed,fold,epoch,loss/mutual/gcn-1,loss/supervised/gcn-1,val/gcn-1",
        "0,0,0,,,0.5",
        "0,0,1,0.25,,0.6",
    ]


def test_reading_and_writing_again_changes_nothing(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0)).folder
    before = (folder / "trials.csv").read_text().splitlines()
    fill(folder, outcome(1))
    after = (folder / "trials.csv").read_text().splitlines()
    assert after[: len(before)] == before
    assert len(after) == len(before) + 3
    assert ",12e45678," in before[1]
    assert repr(0.1 + 0.2) in before[2]


def test_a_trial_without_its_row_is_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RunStore._write

    def crash(self: RunStore, name: str, rows: pd.DataFrame) -> None:
        if name == "trials.csv" and "1" in set(rows["seed"]):
            raise KeyboardInterrupt
        write(self, name, rows)

    monkeypatch.setattr(RunStore, "_write", crash)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "run", outcome(0), outcome(1))
    monkeypatch.undo()
    store = RunStore(tmp_path / "run")
    assert store.finished() == {(0, 0)}
    assert set(pd.read_csv(store.folder / "history.csv")["seed"]) == {0}
    fill(store.folder, outcome(1))
    whole = fill(tmp_path / "whole", outcome(0), outcome(1))
    for name in ("trials.csv", "history.csv", "reliability.csv", "summary.csv"):
        assert (store.folder / name).read_text() == (whole.folder / name).read_text()


def test_history_of_a_killed_run_is_merged_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunStore, "finish", lambda self: None)
    fill(tmp_path / "run", outcome(0))
    assert not (tmp_path / "run" / "history.csv").exists()
    monkeypatch.undo()
    fill(tmp_path / "run")
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 2
    assert pd.read_csv(tmp_path / "run" / "reliability.csv")["count"].tolist() == [1]
    assert not (tmp_path / "run" / "history").exists()


def test_failures_are_kept_until_the_trial_succeeds(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(1, error="boom, with a comma"), outcome(0), outcome(0, 1, error="bang")).folder
    failures = pd.read_csv(folder / "failures.csv")
    assert failures[["seed", "fold", "error"]].values.tolist() == [[0, 1, "bang"], [1, 0, "boom, with a comma"]]
    assert failures["details"][0] == "where\nit failed"
    store = fill(folder, outcome(1), outcome(0, 1, error="bang again"))
    assert store.failures["error"].tolist() == ["bang again"]
    fill(folder, outcome(0, 1))
    assert not (folder / "failures.csv").exists()
    assert store.finished() == {(0, 0), (0, 1), (1, 0)}


def test_a_failed_trial_starts_over(tmp_path: Path) -> None:
    failed = outcome(1, error="boom")
    with open_store(tmp_path / "run", CONFIG, resume=True) as store:
        snapshot = store.snapshots / failed.trial.name / "0.safetensors"
        snapshot.parent.mkdir(parents=True)
        snapshot.write_bytes(b"half way")
        store.add(failed)
        assert not snapshot.exists()


def test_another_configuration_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0)).folder
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    for content in (yaml.safe_dump(file_values({}, {**CONFIG, "strategy": "dml"})), yaml.safe_dump(CONFIG), "a: [", ""):
        (folder / "config.yaml").write_text(content)
        with pytest.raises(StoreError, match="edited or damaged"):
            fill(folder, outcome(1))
        (folder / "config.yaml").write_bytes(before["config.yaml"])
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before


def test_more_seeds_belong_to_the_same_folder_and_fewer_take_nothing_away(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0), outcome(1)).folder
    for seeds, most in ((3, 3), (1, 3)):
        with open_store(folder, {**CONFIG, "seeds": seeds}, resume=True) as store:
            assert store.finished() == {(0, 0), (1, 0)}
        assert yaml.safe_load((folder / "config.yaml").read_text())["resolved"] == {**CONFIG, "seeds": most}


def test_some_trials_start_over_and_the_others_stay(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0), outcome(1), outcome(2, error="boom")).folder
    with open_store(folder, CONFIG, resume=False, keys={(0, 0), (2, 0)}) as store:
        assert store.finished() == {(1, 0)}
        assert store.failures.empty and not (folder / "failures.csv").exists()
    assert set(pd.read_csv(folder / "history.csv")["seed"]) == set(pd.read_csv(folder / "trials.csv")["seed"]) == {1}
    with open_store(folder, CONFIG, resume=False, keys={(0, 0), (1, 0)}) as store:
        assert store.finished() == set()


@pytest.mark.parametrize("keys", [{(0, 0)}, {(0, 0), (1, 0)}], ids=["some", "all"])
@pytest.mark.parametrize("survived", range(6))
def test_what_is_finished_is_whole_when_starting_over_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: set[tuple[int, int]], survived: int
) -> None:
    folder = fill(tmp_path / "run", outcome(0), outcome(1)).folder
    steps = iter([None] * survived)

    def one_more(step: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: object, **options: object) -> None:
            if next(steps, "over") == "over":
                raise KeyboardInterrupt
            step(*arguments, **options)

        return counted

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Path, "unlink", one_more(Path.unlink))
        patch.setattr(TrialTable, "forget", one_more(TrialTable.forget))
        with open_store(folder, CONFIG, resume=False, keys=keys):
            pass
    with open_store(folder, CONFIG, resume=True) as store:
        finished = {seed for seed, _ in store.finished()}
        store.merge()
    history = pd.read_csv(folder / "history.csv") if (folder / "history.csv").exists() else pd.DataFrame({"seed": []})
    assert finished <= set(history["seed"])


def test_a_moved_dataset_folder_is_the_same_run(tmp_path: Path) -> None:
    with open_store(tmp_path / "run", {"dataset": "/old/ring"}, resume=True) as store:
        store.add(outcome(0))
    with open_store(tmp_path / "run", {"dataset": "/new/ring"}, resume=True) as store:
        assert store.finished() == {(0, 0)}


def test_starting_over_removes_what_a_run_left_and_nothing_else(tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0), outcome(1, error="boom")).folder
    (folder / "checkpoints" / "seed-0-fold-0").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    fill(folder, outcome(2), resume=False)
    assert RunStore(folder).finished() == {(2, 0)}
    assert set(pd.read_csv(folder / "history.csv")["seed"]) == {2}
    written = {"config.yaml", "trials.csv", "history.csv", "reliability.csv", "summary.csv"}
    assert {file.name for file in folder.iterdir()} - {".lock"} == {*written, "notes.txt"}


@pytest.mark.parametrize("trained", ["all anew", "its trial anew", "another trial anew", "its trial, which was missing"])
def test_inference_times_go_with_the_students_that_they_are_of(trained: str, tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", outcome(0), outcome(1)).folder
    times = "seed,fold,member\n1,0,gcn-1\n1,0,ensemble\n"
    (folder / "inference.csv").write_text(times)
    fill(folder)
    assert (folder / "inference.csv").read_text() == times
    if trained == "its trial, which was missing":
        lines = (folder / "trials.csv").read_text().splitlines(keepends=True)
        (folder / "trials.csv").write_text("".join(line for line in lines if ",public,1,0," not in line))
        fill(folder, outcome(1))
    else:
        keys = {"its trial anew": {(1, 0)}, "another trial anew": {(0, 0)}}.get(trained)
        with open_store(folder, CONFIG, resume=False, keys=keys):
            pass
    assert (folder / "inference.csv").exists() == (trained == "another trial anew")


def test_a_usage_error_leaves_no_folder_unless_trials_are_there(tmp_path: Path) -> None:
    for finished in ([], [outcome(0)]):
        with pytest.raises(UsageError), open_store(tmp_path / "run", CONFIG, resume=True) as store:
            for each in finished:
                store.add(each)
            raise UsageError("K = 1")
        assert (tmp_path / "run").exists() == bool(finished)


def start_over(folder: Path) -> None:
    with open_store(folder, CONFIG, resume=False):
        pass


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "run", CONFIG, resume=True) as store:
        store.add(outcome(0))
        other = forked.start(start_over, store.folder, log=tmp_path / "said.txt")
        assert forked.statuses([other]) == [1]
        assert "StoreError: Another process is working" in (tmp_path / "said.txt").read_text()
        assert store.finished() == {(0, 0)}


def test_environments_of_a_resumed_run_are_all_kept(tmp_path: Path) -> None:
    store = fill(tmp_path / "run", outcome(0))
    for threads in (1, 2, 3):
        store.record_environment({"threads": threads})
    assert yaml.safe_load((store.folder / "environment.json").read_text()) == {"threads": 1, "resumed": [{"threads": 2}, {"threads": 3}]}


def test_no_cell_starts_like_a_formula(tmp_path: Path) -> None:
    evil = outcome(0)
    rows = [{**row, "dataset": "=cmd()"} for row in evil.rows]
    folder = fill(tmp_path / "run", replace(evil, rows=rows), outcome(1, error="@SUM(A1)")).folder
    for name in ("trials.csv", "summary.csv", "failures.csv"):
        cells = pd.read_csv(folder / name, dtype=str, keep_default_na=False).to_numpy().ravel()
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]
    assert (folder / "trials.csv").read_text().count(",'=cmd(),") == 3
    store = RunStore(folder)
    assert set(store.trials["dataset"]) == {"=cmd()"} and store.failures["error"].tolist() == ["@SUM(A1)"]


def test_names_are_made_safe_once_in_rows_that_wait_too(tmp_path: Path) -> None:
    rows = [{**row, "dataset": "=cmd()"} for row in outcome(0).rows]
    store = fill(tmp_path / "run", replace(outcome(0), rows=rows))
    store._trials.write_part((1, 0), pd.DataFrame(rows, columns=TRIAL_COLUMNS).assign(seed=1))
    assert "'=cmd()" in (store.folder / "history" / "trials-seed-1-fold-0.csv").read_text()
    store.merge()
    assert store.finished() == {(0, 0), (1, 0)} and set(store.trials["dataset"]) == {"=cmd()"}
