"""Run folders and checkpoints that somebody broke: read, or refused with an error of the package, soon and in little memory.

With ``--stress N``, N hundred inputs a test instead of two dozen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.snapshots import Snapshots
from tests.cohorts import train_cohort
from tests.experiments.run_folders.test_run_store import CONFIG, outcome
from tests.stores import open_store
from tests.strategies.test_extremes import make_data
from tests.stress.damage import Edit, bounded, changed, damaged, edits, write


def test_run_folders(fuzz: Callable[..., None], tmp_path: Path) -> None:
    with open_store(tmp_path / "sound", CONFIG, resume=True) as store:
        store.record_environment({"threads": 1})
        store.add(outcome(0))
        store.add(outcome(1, error="boom"))
    with open_store(tmp_path / "sound", CONFIG, resume=True) as store:
        files = {file.name: file.read_bytes() for file in store.folder.iterdir() if file.is_file() and file.name != ".lock"}
    files["history/seed-0-fold-0.csv"] = files["history.csv"]

    def test(content: dict[str, bytes]) -> None:
        with bounded(), open_store(write(tmp_path / "run", content), CONFIG, resume=True) as store:
            store.finished()
            store.record_environment({"threads": 2})
            store.add(outcome(1))
            _ = store.failures

    fuzz(test, changed(files))


def test_checkpoints_and_snapshots(fuzz: Callable[..., None], tmp_path: Path) -> None:
    dataset, split = make_data("graph", num_edges=20, classes=2, sizes=(2,), scale=1.0)
    students = [StudentOptions(architecture=kind, hidden=2, heads=1) for kind in ("gcn", "gin")]

    def fit(snapshots: Snapshots) -> None:
        train_cohort(dataset, split, students=students, training=TrainingOptions(epochs=2), snapshots=snapshots).save(tmp_path / "sound")

    fit(Snapshots(tmp_path / "sound" / "snapshot", 1))
    files = {file.name: file.read_bytes() for file in (tmp_path / "sound").iterdir()}

    def test(content: dict[str, bytes]) -> None:
        folder = write(tmp_path / "damaged", content)
        for member in ("ensemble", "gcn-0", "gin-1"):
            with bounded():
                load_student(folder, member).predict(dataset)

    def test_snapshot(changes: list[Edit]) -> None:
        with bounded():
            fit(Snapshots(write(tmp_path / "damaged", {"s": damaged(files["snapshot"], changes)}) / "s", 1))

    fuzz(test, changed({name: content for name, content in files.items() if name != "snapshot"}))
    fuzz(test_snapshot, edits, share=0.25)
    for value in (1 << 30, 10**30, -1, "x", [], {}):
        for key in ("hidden", "heads", "depth", "num_students", "num_outputs"):
            for name in ("ensemble", "gcn-0"):
                description = json.loads(files[f"{name}.json"])
                for group in ("student", "coordinator"):
                    if group in description:
                        description[group][key] = value
                test({**files, f"{name}.json": json.dumps(description).encode()})
