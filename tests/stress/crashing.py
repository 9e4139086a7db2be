"""A small suite in processes that are killed: by a signal at any moment, or at their n-th file operation.

Processes are forked, so that most of their life is work on files and not on imports.
"""

from __future__ import annotations

import itertools
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from dgl_mutual.training.checkpoints import load_student
from tests import forked

CLOCK = ["seconds_per_epoch", "train_seconds", "inference_ms", "peak_mib"]
TRIALS, MEMBERS, RUNS = 3, 5, 2  # two students, their mean, the best, the ensemble
#: What the interpreter tells of before it happens, where the out folder is the first argument.
OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
_numbers = itertools.count()  # of the processes, whose logs have them as names


@dataclass(frozen=True)
class Scene:
    """A suite of two methods on one small dataset, and where its runs go.

    Attributes:
        jobs: trials at a time; several are in processes of their own.
        epochs: how long a trial is.
        every: epochs from one snapshot of a training to the next (default: there are none).
        most_bytes: what the process may write into one file (default: anything).
    """

    folder: Path
    out: Path
    jobs: int = 1
    epochs: int = 3
    every: int | None = None
    most_bytes: int = resource.RLIM_INFINITY

    @property
    def arguments(self) -> list[str]:
        chosen = ["--out", str(self.out), "--jobs", str(self.jobs), "--set", f"training.epochs={self.epochs}"]
        chosen += ["--set", f"training.checkpoint_every={self.every}"] if self.every else []
        return ["suite", str(self.folder / "small.yaml"), *chosen, "--offline"]

    @property
    def runs(self) -> list[Path]:
        return sorted(path for path in self.out.glob("node-*") if (path / "config.yaml").exists())


def make_scene(folder: Path) -> Scene:
    """Write the suite and its dataset: 60 nodes of three classes in DGL's CSV form, with an official split."""
    data = folder / "toy"
    data.mkdir(parents=True)
    random = np.random.default_rng(0)
    nodes = pd.DataFrame({"node_id": np.arange(60), "label": np.arange(60) % 3})
    nodes["feat"] = [",".join(f"{value:.3f}" for value in random.normal(size=3) + row % 3) for row in range(60)]
    for mask, part in (("train_mask", 0), ("val_mask", 1), ("test_mask", 2)):
        nodes[mask] = np.arange(60) // 20 == part
    nodes.to_csv(data / "nodes.csv", index=False)
    pd.DataFrame(random.integers(0, 60, size=(150, 2)), columns=["src_id", "dst_id"]).to_csv(data / "edges.csv", index=False)
    meta = {"dataset_name": "toy", "node_data": [{"file_name": "nodes.csv"}], "edge_data": [{"file_name": "edges.csv"}]}
    (data / "meta.yaml").write_text(yaml.safe_dump(meta))
    base = {"seeds": TRIALS, "students": "gcn,sage", "student": {"hidden": 4}}
    suite = {"base": base, "datasets": [{"dataset": str(data), "name": "toy"}], "methods": {"dml": None, "gml": None}}
    (folder / "small.yaml").write_text(yaml.safe_dump(suite))
    return Scene(folder, folder / "out")


class Child:
    """A process that runs a scene's suite, forked."""

    def __init__(self, scene: Scene, at: AtOperation | None = None) -> None:
        self.scene = scene
        self.log = scene.folder / f"{next(_numbers)}.log"
        self.process = forked.start(_run, scene, at, log=self.log)

    def send(self, kind: int) -> None:
        """Signal it, if it still runs."""
        if self.process.is_alive():
            os.kill(self.pid, kind)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def said(self) -> str:
        """What it has written on standard output and standard error."""
        return self.log.read_text()

    def workers(self) -> list[int]:
        """The processes that train for it."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return []
        return [pid for pid in map(int, children) if "popen_loky" in _command_of(pid)]

    def wait(self, seconds: float = 60.0) -> int:
        """Its exit status, minus the signal if one killed it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "it hangs"
        return self.process.exitcode


def lives(pid: int) -> bool:
    """Whether a process does anything; one that only waits for its parent to take note of its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _run(scene: Scene, at: AtOperation | None) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (scene.most_bytes, resource.RLIM_INFINITY))
    try:
        if at is not None:
            sys.addaudithook(at.watch)
        forked.command(*scene.arguments)
    except KeyboardInterrupt:  # before `main` minds it
        sys.exit(130)
    finally:
        if at is not None:
            (scene.folder / "operations").write_text(str(at.seen))


@dataclass
class AtOperation:
    """Ends a process at its n-th operation on files below a folder: kills it, or tells it from then on that something is wrong.

    Attributes:
        number: n; 0 means never.
        error: the error number that operations which take room fail with (default: the process is killed instead).
        seen: operations so far.
    """

    number: int
    folder: Path
    error: int | None = None
    seen: int = 0

    def watch(self, event: str, arguments: tuple[object, ...]) -> None:
        """What `sys.addaudithook` wants."""
        if event not in OPERATIONS or not str(arguments[0]).startswith(str(self.folder)):
            return
        if self.error is not None and not _takes_room(event, arguments):
            return
        self.seen += 1
        if self.error is None and self.seen == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.error is not None and 0 < self.number <= self.seen:
            raise OSError(self.error, os.strerror(self.error), str(arguments[0]))


def _takes_room(event: str, arguments: tuple[object, ...]) -> bool:
    """Making a folder, or opening a file for writing."""
    return event == "os.mkdir" or (event == "open" and str(arguments[1] or "r")[0] in "wxa")


def check(scene: Scene, finished: dict[str, set[int]]) -> dict[str, set[int]]:
    """What is on disk is whole, and nothing that was finished is gone; returns what is finished now."""
    now = {}
    for run in scene.runs:
        assert isinstance(yaml.safe_load((run / "config.yaml").read_text()), dict)
        for file in run.rglob("*.csv"):
            table = pd.read_csv(file)
            assert len(table) and not table.iloc[:, :2].isna().any(axis=None), file
            assert file.read_bytes().endswith(b"\n"), file
        trials = pd.read_csv(run / "trials.csv") if (run / "trials.csv").exists() else pd.DataFrame({"seed": []})
        counts = trials["seed"].value_counts().to_dict()
        assert set(counts.values()) <= {MEMBERS}, counts
        for seed in counts:
            load_student(run / "checkpoints" / f"seed-{seed}-fold-0")
        now[run.name] = set(counts)
    for name, seeds in finished.items():
        assert seeds <= now[name], f"{name} lost {seeds - now[name]}"
    return now


def results(scene: Scene) -> dict[str, str]:
    """Everything that must not depend on crashes, by file: all tables of the runs, without the clock's columns."""
    found = {}
    for run in scene.runs:
        for name in ("trials.csv", "history.csv", "summary.csv"):
            table = pd.read_csv(run / name, dtype=str, keep_default_na=False)
            found[f"{run.name}/{name}"] = table.drop(columns=[column for column in CLOCK if column in table]).to_csv(index=False)
        assert not (run / "history").exists()
        assert not (run / "snapshots").exists()
        assert not (run / "failures.csv").exists()
        found[f"{run.name}/"] = " ".join(sorted(str(path.relative_to(run)) for path in run.rglob("*")))
    return found
