"""Run folders and suites that are damaged, or were not written by a run."""

from __future__ import annotations

import datetime
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dgl_mutual.errors import StoreError
from dgl_mutual.reporting.runs import gather, load_runs
from dgl_mutual.reporting.status import status_of
from tests.closed import close
from tests.reporting.folders import write_run, write_suite
from tests.reporting.test_runs import labels


def test_one_damaged_run_among_others_is_named(tmp_path: Path) -> None:
    write_run(tmp_path)
    damaged = edited(write_run(tmp_path, strategy="dml"), "config.yaml", lambda text: text.replace("seeds: 10", "seeds: many"))
    with pytest.raises(StoreError, match=f"{damaged.name}/config.yaml' is not the complete .*move it away to read the others"):
        load_runs([tmp_path])
    damaged.rename(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    assert labels(tmp_path) == {("Cora", "gml")}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", "students: [gcn]\n", "is not the complete configuration"),
        ("config.yaml", "{seeds: 3, folds: many, students: [{}], dataset: Cora, strategy: gml}", "is not the complete configuration"),
        ("config.yaml", "{seeds: 3, students: [gcn], dataset: Cora, strategy: gml}", "is not the complete configuration"),
        ("config.yaml", "{", "config.yaml' cannot be read"),
        ("config.yaml", "- a\n", "does not hold a mapping from names to values, as a run writes"),
        ("trials.csv", "a,b\n1,2\n", "trials.csv' does not have the columns"),
        ("trials.csv", "", "trials.csv' does not have the columns"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    run = write_run(tmp_path)
    (run / name).write_text(content)
    with pytest.raises(StoreError, match=message):
        gather(load_runs([run]))


def test_a_suite_run_without_configuration_is_damaged(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, strategy=strategy) for strategy in ("independent", "gml")]
    suite = write_suite(tmp_path, "x", [(run, run.name.split("-")[2], "Cora") for run in runs])
    (runs[1] / "config.yaml").unlink()
    for read in (status_of, lambda folder: load_runs([folder])):
        with pytest.raises(StoreError, match=f"{runs[1].name}/config.yaml' cannot be read.*restore it, or run again"):
            read(suite)


def test_a_run_cut_off_in_the_middle_of_a_row_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    text = (run / "trials.csv").read_text()
    (run / "trials.csv").write_text(text[: text.rindex(",public,") + 9])
    with pytest.raises(StoreError, match=r"trials\.csv' ends in the middle of a line"):
        gather(load_runs([run]))


@pytest.mark.parametrize(("good", "bad", "where"), [(",public,0,0,", ",public,0,,", "fold"), ("accuracy,1.0,", "accuracy,one,", "train")])
def test_a_run_with_no_number_where_one_belongs_is_named(tmp_path: Path, good: str, bad: str, where: str) -> None:
    run = write_run(tmp_path)
    (run / "trials.csv").write_text((run / "trials.csv").read_text().replace(good, bad, 1))
    with pytest.raises(StoreError, match=rf"trials\.csv' has no number where one belongs, in {where}:"):
        gather(load_runs([run]))


def test_a_folder_in_the_place_of_a_table_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run / "trials.csv").unlink()
    (run / "trials.csv").mkdir()
    with pytest.raises(StoreError, match=r"trials\.csv' cannot be read: it is not a file but a folder"):
        gather(load_runs([run]))


def edited(run: Path, name: str, change: Callable[[str], str]) -> Path:
    (run / name).write_text(change((run / name).read_text()))
    return run


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seeds": 10**12}, "has at most 1000000 trials"),
        ({"seeds": 1000, "folds": 10**6}, "has at most 1000000 trials"),
        ({"seeds": 0}, "seeds: "),
        ({"seeds": True}, "seeds: "),
        ({"seeds": "2"}, "seeds: "),
        ({"noise": ["feature"]}, "noise: "),
        *(({"noise": noise}, "noise: it must be a kind and an amount") for noise in ("feature:abc", "feature:nan", "feature", ":0.1", "")),
        ({"task": {"a": 1}}, "task: "),
        ({"targets": [1]}, r"targets\.0: "),
        ({"students": []}, "students: "),
        ({"students": [{}]}, r"students\.0\.architecture"),
        ({"students": [{"architecture": "gcn", "hidden": [1]}]}, r"students\.0\.hidden"),
        ({"students": [{"architecture": "m:Net", "options": 3}]}, r"students\.0\.options"),
        ({"students": [{"architecture": "m:Net", "options": {"a": [datetime.date(2024, 1, 1)]}}]}, "a date or another value"),
        ({"students": [{"architecture": "m:Net", "options": {"a": {1: 2}}}]}, "a date or another value"),
        ({"training": 3}, "training: "),
        ({"grid": {"training.epochs": 3}}, r"grid\.training\.epochs: "),
        ({"dataset": "x" * 5000}, "dataset: "),
        ({"training": {"epochs": datetime.date(2024, 1, 1)}}, "a date or another value"),
        ({"strategy_options": {1: 2}}, "strategy_options"),
    ],
)
def test_a_configuration_that_no_run_has_is_named(tmp_path: Path, changed: dict[str, object], told: str) -> None:
    run = write_run(tmp_path)
    values = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**values, "resolved": {**values["resolved"], **changed}}))
    with pytest.raises(StoreError, match=told):
        load_runs([run])


@pytest.mark.parametrize("key", ["strategy_options", "training", "label_rate", "unlabelled", "noise", "grid"])
def test_a_configuration_whose_end_is_missing_is_named(tmp_path: Path, key: str) -> None:
    run = edited(write_run(tmp_path), "config.yaml", lambda text: re.sub(rf"^  {key}:.*\n(   .*\n)*", "", text, flags=re.MULTILINE))
    with pytest.raises(StoreError, match=f"not the complete configuration that a run writes \\(resolved.{key}: it is missing"):
        load_runs([run])


def test_repeated_keys_and_endless_aliases_are_named(tmp_path: Path) -> None:
    run = edited(write_run(tmp_path), "config.yaml", lambda text: text + "  seeds: 3\n")
    with pytest.raises(StoreError, match="'seeds' occurs twice"):
        load_runs([run])
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi"))
    for file, load in (("config.yaml", lambda folder: load_runs([folder])), ("suite.yaml", lambda folder: status_of(folder))):
        folder = tmp_path / file
        folder.mkdir()
        (folder / file).write_text(bomb)
        with pytest.raises(StoreError, match="expand"):
            load(folder)


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        (",public,0,0,", ",public,inf,0,", "in seed"),
        (",public,0,0,", ",public,1.5,0,", "in seed"),
        (",public,0,0,", ",public,-1,0,", "seed = -1 in row 1, outside of 0 to"),
        (",public,0,0,", ",public,0,2024-01-01,", "in fold"),
        (",public,0,0,", ",public,99999999999999999999,0,", "in seed"),
        (",public,1,0,", ",public,0,0,", "a row twice"),
        ("accuracy,1.0,", "accuracy,inf,", "train = inf in row 1, outside of 0 to 1"),
        ("accuracy,1.0,", "accuracy,1e300,", r"train = 1e\+300 in row 1, outside of 0 to 1"),
        (",gml,mean,", ",gml,,", "without names"),
        (",gml,mean,", ",gml,meen,", "lacks the row of 'mean' "),
        (",gml,mean,", ",dml,mean,", "rows of more than one strategy"),
        (",public,0,0,", ",nested,0,0,", "rows of more than one protocol"),
        (",public,0,0,", ",public,0,0,0,", "more cells in its row 1 than columns"),
        ("ece,split,test_to_train\n", "ece,split,disagreement\n", "'disagreement' twice"),
        ("split,test_to_train\n", ",\n", "'' twice"),
        ("split,test_to_train\n", "split,ratio\n", "does not have the columns test_to_train: "),
    ],
)
def test_impossible_values_of_trials_are_named(tmp_path: Path, good: str, bad: str, told: str) -> None:
    run = write_run(tmp_path)
    assert good in (run / "trials.csv").read_text()
    edited(run, "trials.csv", lambda text: text.replace(good, bad, 1))
    with pytest.raises(StoreError, match=told):
        gather(load_runs([run]))


def test_a_missing_row_of_a_trial_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    edited(run, "trials.csv", lambda text: "".join(text.splitlines(keepends=True)[:-1]))
    with pytest.raises(StoreError, match=r"lacks the row of 'ensemble' \(accuracy\) of seed 9, fold 0: it was changed"):
        gather(load_runs([run]))


@pytest.mark.parametrize("name", ["config.yaml", "trials.csv", "history.csv", "environment.json"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "circle"])
def test_only_regular_files_are_read(tmp_path: Path, name: str, kind: str) -> None:
    run = write_run(tmp_path)
    (run / name).unlink()
    make: dict[str, Callable[[Path], object]] = {
        "folder": Path.mkdir,
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "circle": lambda path: path.symlink_to(path),
    }
    make[kind](run / name)
    with pytest.raises(StoreError):
        (loaded,) = load_runs([run])
        _ = loaded.trials, loaded.history, loaded.environment


@pytest.mark.parametrize("changed", [{"missing": 10**12}, {"missing": ["PubMed"]}, {"baseline": ["gml"]}, {"description": {"a": 1}}])
def test_a_suite_file_that_no_suite_writes_is_named(tmp_path: Path, changed: dict[str, object]) -> None:
    suite = write_suite(tmp_path, "x", [(write_run(tmp_path), "gml", "Cora")], **changed)
    with pytest.raises(StoreError, match="is not what a suite writes"):
        status_of(suite)


@pytest.mark.parametrize("name", ["", "config.yaml", "trials.csv"])
def test_a_run_that_permissions_close_is_neither_damaged_nor_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    runs = [write_run(tmp_path, strategy=strategy) for strategy in ("independent", "gml")]
    suite = write_suite(tmp_path, "x", [(run, run.name.split("-")[2], "Cora") for run in runs])
    close(monkeypatch, runs[1] / name)
    for path in (tmp_path, suite):
        with pytest.raises(StoreError, match=rf"^'{runs[1] / name}' cannot be read: Permission denied\. .* chmod u\+r"):
            gather(load_runs([path]))
