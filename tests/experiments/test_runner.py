from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import Target
from dgl_mutual.errors import Interrupted, StoreError, TrainingError, UsageError
from dgl_mutual.experiments import runner
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.executors import local
from dgl_mutual.experiments.loading import load_data
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.progress import Lines
from dgl_mutual.experiments.runner import execute, run
from dgl_mutual.experiments.trial import Trial
from dgl_mutual.experiments.work import Work, do_work
from dgl_mutual.training.history import EpochReport
from dgl_mutual.utils.exact_numbers import EXACT_NUMBERS

Install = Callable[..., list[tuple[int, int]]]


@pytest.mark.parametrize("before", [None, "", "garbage\n"])
def test_a_run_starts_over_where_nothing_is_there_to_keep(before: str | None, tmp_path: Path, fake_training: Install) -> None:
    """Without a folder, and with a trials.csv that cannot be read."""
    ran = fake_training()
    config = parse_config({"task": "graph", "seeds": 1, "folds": 2})
    if before is not None:
        table = run(config, out=tmp_path, compute=Compute(jobs=1)).folder / "trials.csv"
        table.write_text(before)
        ran.clear()
    report = run(config, out=tmp_path, compute=Compute(jobs=1), resume=False)
    assert ran == [(0, 0), (0, 1)]
    assert sorted(set(zip(*(pd.read_csv(report.folder / "trials.csv")[key] for key in ("seed", "fold")), strict=True))) == ran


def test_every_seed_and_fold_runs_once_and_never_again(tmp_path: Path, fake_training: Install) -> None:
    ran = fake_training()
    config = parse_config({"task": "graph", "seeds": 2, "folds": 3})
    report = run(config, out=tmp_path, compute=Compute(jobs=1))
    assert ran == [(seed, fold) for seed in (0, 1) for fold in (0, 1, 2)]
    rows = pd.read_csv(report.folder / "trials.csv", **EXACT_NUMBERS)
    assert rows["test"][rows["member"] == "gcn-0"].tolist() == [1 / (3 + seed + 10 * fold) for seed, fold in ran]
    assert (rows["fingerprint"].nunique(), rows["split"].nunique()) == (1, 6)
    assert set(rows["dataset"]) == {"pairs"}
    assert sorted(path.name for path in (report.folder / "checkpoints").iterdir()) == [f"seed-{seed}-fold-{fold}" for seed, fold in ran]
    before = (report.folder / "environment.json").read_text()
    again = run(config, out=tmp_path, compute=Compute(jobs=1))
    assert len(ran) == 6
    assert again.summary.equals(report.summary)
    assert (report.folder / "environment.json").read_text() == before


def test_of_several_processes_one_warns_of_what_has_no_effect(
    tmp_path: Path, fake_training: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_training()
    for leads in (True, False):
        monkeypatch.setattr("dgl_mutual.experiments.runner.leads", lambda leads=leads: leads)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run(parse_config({"seeds": 1, "training": {"average_decay": 0.9}}), out=tmp_path, compute=Compute(jobs=1))
        assert [str(one.message)[:28] for one in caught] == ["training.average_decay = 0.9"] * leads


def test_starting_over_runs_all_again(tmp_path: Path, fake_training: Install) -> None:
    ran = fake_training()
    for resume in (True, False):
        run(parse_config({"seeds": 2}), out=tmp_path, compute=Compute(jobs=1), resume=resume)
    assert ran == [(0, 0), (1, 0)] * 2


def test_a_failed_trial_does_not_stop_the_others_and_is_tried_again(tmp_path: Path, fake_training: Install) -> None:
    broken = {1: TrainingError("The loss is not finite"), 2: ZeroDivisionError("division by zero")}

    def fail(seed: int, fold: int) -> None:
        if seed in broken:
            raise broken[seed]

    ran = fake_training(fail)
    report = run(parse_config({"seeds": 4}), out=tmp_path, compute=Compute(jobs=1))
    assert ran == [(0, 0), (3, 0)]
    assert report.failed[0] == "seed 1, fold 0: The loss is not finite"
    assert re.fullmatch(r"seed 2, fold 0: ZeroDivisionError: division by zero \(.*test_runner\.py, line \d+\)\.", report.failed[1])
    assert set(report.summary["n"]) == {2}
    details = pd.read_csv(report.folder / "failures.csv", keep_default_na=False)["details"]
    assert details[0] == ""
    assert "raise broken[seed]" in details[1]
    del broken[1]
    assert run(parse_config({"seeds": 4}), out=tmp_path, compute=Compute(jobs=1)).failed == report.failed[1:]
    assert ran == [(0, 0), (3, 0), (1, 0)]


def test_an_edit_of_trials_meanwhile_costs_no_trial_of_any_run(tmp_path: Path, fake_training: Install) -> None:
    configs = [parse_config({"seeds": seeds, "strategy": name}) for seeds, name in ((3, "gml"), (2, "independent"))]
    plans = [prepare(config, load_data(config)) for config in configs]
    file = tmp_path / plans[0].name / "trials.csv"

    def edit(seed: int, fold: int) -> None:
        if seed == 1 and b"garbage" not in file.read_bytes():
            file.write_bytes(file.read_bytes() + b"garbage")

    ran = fake_training(edit)
    with pytest.raises(StoreError, match=r"trials\.csv' ends in the middle of a line.*the same command or call adds them"):
        execute(plans, out=tmp_path, compute=Compute(jobs=1))
    assert ran == [(0, 0), (1, 0), (2, 0), (0, 0), (1, 0)]
    assert len(pd.read_csv(tmp_path / plans[1].name / "summary.csv"))
    file.write_bytes(file.read_bytes().removesuffix(b"garbage"))
    reports = execute(plans, out=tmp_path, compute=Compute(jobs=1))
    assert len(ran) == 5 and [set(report.summary["n"]) for report in reports] == [{3}, {2}]


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_interrupted_run_goes_on_where_it_was(wrapped: bool, tmp_path: Path, fake_training: Install) -> None:
    def interrupt(seed: int, fold: int) -> None:
        if seed == 2 and wrapped:  # as where it comes while a class is made
            raise RuntimeError from KeyboardInterrupt()
        if seed == 2:
            raise KeyboardInterrupt

    config = parse_config({"seeds": 4})
    fake_training(interrupt)
    with pytest.raises(Interrupted, match="2 of 4 trials are finished"):
        run(config, out=tmp_path / "stopped", compute=Compute(jobs=1))
    ran = fake_training()
    resumed = run(config, out=tmp_path / "stopped", compute=Compute(jobs=1)).folder
    assert ran == [(2, 0), (3, 0)]
    whole = run(config, out=tmp_path / "whole", compute=Compute(jobs=1)).folder
    for name in ("trials.csv", "history.csv", "summary.csv", "config.yaml"):
        assert (resumed / name).read_text() == (whole / name).read_text()


def test_a_folder_that_is_moved_away_meanwhile_can_be_put_back(tmp_path: Path, fake_training: Install) -> None:
    moved = tmp_path / "moved"

    def move(seed: int, fold: int) -> None:
        if ran == [(0, 0)]:
            next(tmp_path.glob("out/*")).rename(moved)

    ran = fake_training(move)
    with pytest.raises(StoreError, match="was removed, moved or replaced") as caught:
        run(parse_config({"seeds": 3}), out=tmp_path / "out", compute=Compute(jobs=1))
    assert ran == [(0, 0), (1, 0)] and not [*tmp_path.glob("out/*")]
    moved.rename(str(caught.value).split("'")[1])
    assert run(parse_config({"seeds": 3}), out=tmp_path / "out", compute=Compute(jobs=1)).summary["n"].eq(3).all()
    assert ran == [(0, 0), (1, 0), (1, 0), (2, 0)]


def test_a_trial_does_not_begin_where_its_folder_is_gone(tmp_path: Path, ring: Dataset) -> None:
    trial, config, folder = Trial(0, 0, Split([0], [1], [2])), parse_config({}), tmp_path / "run"
    work = Work(0, trial, config, (), folder / "checkpoints", folder / "snapshots")
    with pytest.raises(StoreError, match="was removed, moved or replaced"):
        do_work(work, ring, compute=Compute(), usage_errors_fail_trial=False)


def test_each_trial_has_its_own_peak_of_memory(tmp_path: Path, fake_training: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_training()
    marks = itertools.count(1)
    held = [0.0]
    monkeypatch.setattr("dgl_mutual.experiments.work.forget_peak", lambda device: held.append(100.0 * next(marks)))
    monkeypatch.setattr("dgl_mutual.experiments.work.peak", lambda device: held[-1])
    trials = pd.read_csv(run(parse_config({"seeds": 3}), out=tmp_path, compute=Compute(jobs=1)).folder / "trials.csv")
    assert trials.groupby("seed")["peak_mib"].unique().map(list).to_list() == [[100], [200], [300]]


def test_room_is_made_for_the_open_files_of_all_runs(tmp_path: Path, fake_training: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_training()
    configs = [parse_config({"seeds": 1, "training": {"epochs": epochs}}) for epochs in range(1, 13)]
    asked: list[int] = []
    monkeypatch.setattr(runner, "make_room", asked.append)
    execute([prepare(config, load_data(config)) for config in configs], out=tmp_path, compute=Compute(jobs=1))
    assert asked == [56]


def test_an_unwritable_folder_is_found_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("the dataset was loaded first")

    monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", load)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Choose another place"):
        run(parse_config({}), out=tmp_path / "file")


def test_a_cohort_that_cannot_work_ends_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2 students"):
        run(parse_config({"students": "gcn", "strategy": "gml", "seeds": 2}), out=tmp_path, compute=Compute(jobs=1))
    assert list(tmp_path.iterdir()) == []


def test_processes_and_their_number_change_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Real training: in this process, in two others, and again."""
    local.take_kept(None)  # processes of an earlier test would write to what was its standard error
    config = parse_config({"students": "gcn,sage", "student": {"hidden": 8}, "seeds": 3, "training": {"epochs": 4}})
    folders = []
    for jobs in (1, 2):
        with closing(Lines(every=2)) as lines:
            folders.append(run(config, out=tmp_path / str(jobs), compute=Compute(jobs=jobs), progress=lines).folder)
    folders.append(run(config, out=tmp_path / "again", compute=Compute(jobs=1)).folder)
    clock = ["seconds_per_epoch", "train_seconds", "inference_ms", "peak_mib"]
    first, *others = [pd.read_csv(folder / "trials.csv", **EXACT_NUMBERS).drop(columns=clock) for folder in folders]
    assert all(first.equals(other) for other in others)
    assert len({(folder / "history.csv").read_bytes() for folder in folders}) == 1
    assert first["test"].nunique() > 3
    # Processes tell their epochs too. On a slow machine there are also lines that tell how far all trials are.
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("seed-") and "epoch 4/4" in line]
    assert len(told) == 2 * 3


def test_lines_tell_every_nth_epoch(capsys: pytest.CaptureFixture[str], ring: object) -> None:
    lines = Lines(every=2)
    lines.start(1, finished=1)
    for epoch in range(4):
        lines.epoch("seed-3-fold-1", EpochReport(epoch, 4, loss=0.25, val={"gcn-0": 0.5}))
    assert capsys.readouterr().err.splitlines() == [
        "1 of 2 trials are finished already",
        "seed-3-fold-1  epoch 2/4  loss 0.250  val gcn-0 0.500",
        "seed-3-fold-1  epoch 4/4  loss 0.250  val gcn-0 0.500",
    ]


def test_a_training_that_was_cut_off_outlives_a_resumption_by_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config({"students": "gcn,sage", "seeds": 1, "training": {"epochs": 2, "checkpoint_every": 1}})

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dgl_mutual.experiments.work._rows", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run(config, out=tmp_path, compute=Compute(jobs=1))
    (snapshot,) = tmp_path.glob("*/snapshots/*/0.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr("dgl_mutual.training.snapshots.__version__", "9.9.0")
        with pytest.raises(StoreError, match=r"belongs to a different training: it was written by dgl_mutual .* resume with the settings"):
            run(config, out=tmp_path, compute=Compute(jobs=1))
    assert snapshot.is_file()
    run(config, out=tmp_path, compute=Compute(jobs=1))
    assert not snapshot.exists()


@pytest.mark.parametrize("options", [{}, {"label_rate": 0.5}, {"noise": "label:0.5"}, {"noise": "feature:0.2", "label_rate": 0.5}])
def test_trials_of_another_official_split_are_not_taken_for_those_of_this_one(
    options: dict[str, Any], tmp_path: Path, fake_training: Install, ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = fake_training()
    (split,) = ring.official_splits

    def go_on(changed: Split, seeds: int = 2, **more: Any) -> None:
        config = parse_config({"dataset": "Cora", "seeds": seeds, **options})
        monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", lambda *_, **__: ring.replaced(official_splits=(changed,)))
        run(config, out=tmp_path, compute=Compute(jobs=1), **more)

    go_on(split)
    go_on(Split(split.train, split.val[::-1], split.test[::-1]))  # which labels are hidden depends on the order of the training part
    assert len(ran) == 2
    exchanged = Split(split.train, split.test, split.val)
    with pytest.raises(StoreError, match=r"official split of ring is another.*seed 0, fold 0 has other.*--out .*--no-resume"):
        go_on(exchanged)
    with pytest.raises(
        StoreError, match=r"seed 1, fold 0 has other.* or start over with all its 2 seeds.*; in Python: resume=False, seeds=2\)"
    ):
        go_on(exchanged, 1, resume=False)
    assert len(ran) == 2
    go_on(exchanged, 2, resume=False)
    assert len(ran) == 4


def test_trials_with_a_distilled_mlp_are_of_one_official_split(tmp_path: Path, ring: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    (split,) = ring.official_splits
    distill = {"epochs": 2, "unseen": 0.5}
    config = parse_config({"dataset": "Cora", "seeds": 1, "students": "gcn,sage", "training": {"epochs": 2}, "distill": distill})

    def go_on(changed: Split) -> None:
        monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", lambda *_, **__: ring.replaced(official_splits=(changed,)))
        run(config, out=tmp_path, compute=Compute(jobs=1))

    go_on(split)
    go_on(split)
    with pytest.raises(StoreError, match=r"official split of ring is another"):
        go_on(Split(split.val, split.train, split.test))


def test_the_first_finished_trial_of_each_fold_tells_its_split(
    tmp_path: Path, fake_training: Install, ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_training()
    (split,) = ring.official_splits
    config = parse_config({"dataset": "Cora", "seeds": 2, "protocol": "splits"})

    def go_on(*splits: Split) -> Path:
        monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", lambda *_, **__: ring.replaced(official_splits=splits))
        return run(config, out=tmp_path, compute=Compute(jobs=1)).folder

    file = go_on(split, split) / "trials.csv"
    table = pd.read_csv(file, **EXACT_NUMBERS)
    table[(table["seed"] == 1) | (table["fold"] == 0)].to_csv(file, index=False)  # of fold 1 the second seed alone has ended
    with pytest.raises(StoreError, match="seed 1, fold 1 has other training, validation or test samples now"):
        go_on(split, Split(split.train, split.test, split.val))


OTHER_MEANINGS: dict[str, tuple[dict[str, Any], str]] = {
    "columns": ({"feature_names": tuple("wvxyz")}, r"the feature columns were v, w, x, y, z \(\w+\) and are w, v, x, y, z \(\w+\)\."),
    "kinds": (
        {"feature_kinds": ("number", "indicator", "number", "number", "number")},
        r"the kinds of feature columns were 5 x number \(\w+\) and are number, indicator, 3 x number",
    ),
    "classes": ({"target": Target("single-label", ("b", "a", "c"), "accuracy")}, r"the classes were a, b, c \(\w+\) and are b, a, c"),
    "unused classes": (
        {"target": Target("single-label", ("a", "b", "c", "d"), "accuracy")},
        r"the targets were single-label with 3 \(\w+\) and are single-label with 4 \(\w+\); the classes were a, b, c .*d",
    ),
    "metric": ({"target": Target("single-label", ("a", "b", "c"), "macro-f1")}, r"the metrics were accuracy \(\w+\) and are macro-f1"),
}


@pytest.mark.parametrize("what", OTHER_MEANINGS)
def test_trials_of_data_that_meant_something_else_are_not_taken_for_those_of_these(
    what: str, tmp_path: Path, fake_training: Install, ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = fake_training()
    changed, told = OTHER_MEANINGS[what]
    other = ring.replaced(**changed)
    assert fingerprint(other) == fingerprint(ring)

    def go_on(dataset: Dataset, seeds: int = 1, **more: Any) -> Path:
        monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", lambda *_, **__: dataset)
        return run(parse_config({"dataset": "Cora", "seeds": seeds}), out=tmp_path, compute=Compute(jobs=1), **more).folder

    folder = go_on(ring)
    for seeds in (1, 2):
        with pytest.raises(
            StoreError, match=rf"The numbers of ring are those of the trials in .* their meaning has changed: {told}.*--out"
        ):
            go_on(other, seeds)
    file = folder / "environment.json"
    made_in = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in made_in.items() if name != "schema"}))
    go_on(other)
    assert ran == [(0, 0)], "a run that has not recorded it stays usable"
    go_on(ring, 2)  # and says so when it goes on
    with pytest.raises(StoreError, match=told):
        go_on(other, 2)
    go_on(other, 2, resume=False)
    go_on(other, 2)
    assert len(ran) == 4


@pytest.mark.parametrize(("seeds", "resume"), [(1, False), (5, True)])
def test_a_refusal_changes_nothing_in_any_folder(
    seeds: int, resume: bool, tmp_path: Path, fake_training: Install, ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = fake_training()

    def train(dataset: Dataset, numbers: dict[str, int], **more: Any) -> None:
        monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", lambda *_, **__: dataset)
        configs = [parse_config({"dataset": "Cora", "strategy": name, "seeds": number}) for name, number in numbers.items()]
        plans = [prepare(config, load_data(config)) for config in configs]
        execute(plans, out=tmp_path, compute=Compute(jobs=1), **more)

    def files() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    # Of the first run all trials are asked for again, and the second keeps some.
    train(ring, {"independent": 1, "gml": 3})
    before, number = files(), len(ran)
    other = ring.replaced(feature_names=tuple("wvxyz"))
    with pytest.raises(StoreError, match="the feature columns were v, w"):
        train(other, {"independent": seeds if resume else 1, "gml": seeds, "dml": 1}, resume=resume)
    assert (files(), len(ran)) == (before, number)
    fix = "with --no-resume" if resume else r"with all its 3 seeds.*--no-resume --seeds 3 .* in Python: resume=False, seeds=3"
    with pytest.raises(StoreError, match=rf"the feature columns were v, w.* start over {fix}"):
        train(other, {"gml": seeds}, resume=resume)
    assert (files(), len(ran)) == (before, number)
    train(other, {"independent": 1, "gml": 3}, resume=False)
    assert len(ran) == 2 * number


def test_edge_features_that_no_student_takes_may_change_their_meaning(
    tmp_path: Path, fake_training: Install, ring: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_training()
    values = np.ones((ring.num_edges, 1), dtype=np.float32)

    def go_on(name: str, **student: Any) -> None:
        dataset = ring.replaced(edge_features=values, edge_feature_names=(name,))
        monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", lambda *_, **__: dataset)
        run(parse_config({"dataset": "Cora", "seeds": 1, "student": student}), out=tmp_path, compute=Compute(jobs=1))

    for name in ("length", "width"):
        go_on(name, edge_features=False)
    go_on("length")
    with pytest.raises(StoreError, match=r"the edge feature columns were length \(\w+\) and are width"):
        go_on("width")


def test_the_summary_is_of_the_seeds_that_were_asked_for(tmp_path: Path, fake_training: Install) -> None:
    fake_training()
    few, many = (parse_config({"task": "graph", "seeds": seeds, "folds": 2}) for seeds in (1, 3))
    first = run(few, out=tmp_path, compute=Compute(jobs=1)).summary
    assert set(run(many, out=tmp_path, compute=Compute(jobs=1)).summary["n"]) == {6}
    assert run(few, out=tmp_path, compute=Compute(jobs=1)).summary.equals(first)
