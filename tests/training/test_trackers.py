"""Trackers, with fakes of the packages that they need, and with the packages themselves where they are installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.trackers import TRACKER_REGISTRY, TRACKERS, TrackedRun, Tracker, check_trackers, make_tracker

CONFIG = {"strategy": "dml", "training": {"epochs": 3}, "students": [{"architecture": "gcn"}, {"architecture": "sage"}]}


class Recorder:
    """What a fake package was told, whatever its own words."""

    def __init__(self) -> None:
        self.opened: list[dict[str, Any]] = []
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.parameters: dict[str, Any] = {}
        self.closed: list[Any] = []
        self.fail_at: int | None = None

    def add(self, step: int | None, figures: dict[str, float]) -> None:
        if self.fail_at is not None and step == self.fail_at:
            raise ConnectionError("the server is gone")
        if self.rows and self.rows[-1][0] == step:
            self.rows[-1][1].update(figures)
        else:
            self.rows.append((step, dict(figures)))


def module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = SimpleNamespace(origin="fake")  # type: ignore[assignment]  # as of a package that is installed
    vars(made).update(members)
    return made


def fake_tensorboard(recorder: Recorder) -> ModuleType:
    class SummaryWriter:
        def __init__(self, log_dir: str) -> None:
            recorder.opened.append({"dir": log_dir})

        def add_text(self, tag: str, text: str) -> None:
            recorder.parameters[tag] = text

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            recorder.add(step, {tag: value})

        def close(self) -> None:
            recorder.closed.append(False)

    return module("torch.utils.tensorboard", SummaryWriter=SummaryWriter)


def fake_mlflow(recorder: Recorder) -> ModuleType:
    class MlflowClient:
        def __init__(self, tracking_uri: str) -> None:
            self.uri = tracking_uri

        def get_experiment_by_name(self, name: str) -> Any:
            return SimpleNamespace(experiment_id="7") if any(made.get("made") == name for made in recorder.opened) else None

        def create_experiment(self, name: str, **options: str) -> str:
            recorder.opened.append({"made": name})
            return "7"

        def create_run(self, experiment_id: str, run_name: str) -> Any:
            recorder.opened.append({"dir": self.uri, "name": run_name, "experiment": experiment_id})
            return SimpleNamespace(info=SimpleNamespace(run_id="r"))

        def log_param(self, run_id: str, key: str, value: str) -> None:
            recorder.parameters[key] = value

        def log_batch(self, run_id: str, metrics: list[Any]) -> None:
            recorder.add(metrics[0][3], {name: value for name, value, _, _ in metrics})

        def set_terminated(self, run_id: str, status: str) -> None:
            recorder.closed.append(status == "FAILED")

    return module("mlflow", MlflowClient=MlflowClient, entities=SimpleNamespace(Metric=lambda *figures: figures))


def fake_wandb(recorder: Recorder) -> ModuleType:
    class Run:
        summary = SimpleNamespace(update=lambda figures: recorder.add(3, figures))

        def log(self, figures: dict[str, float], step: int) -> None:
            recorder.add(step, figures)

        def finish(self, exit_code: int) -> None:
            recorder.closed.append(bool(exit_code))

    def init(**options: Any) -> Run:
        recorder.opened.append(options)
        recorder.parameters.update(options["config"])
        return Run()

    return module("wandb", init=init, api=SimpleNamespace(api_key="secret"))


FAKES = {"tensorboard": ("torch.utils.tensorboard", fake_tensorboard), "mlflow": ("mlflow", fake_mlflow), "wandb": ("wandb", fake_wandb)}


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    for name, make in FAKES.values():
        monkeypatch.setitem(sys.modules, name, make(found))
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    return found


@pytest.fixture
def run(tmp_path):
    return TrackedRun("node-Cora-dml-1234", "seed-0-fold-0", tmp_path / "run", CONFIG)


names = pytest.mark.parametrize("name", TRACKERS)


@names
def test_a_tracker_is_told_every_epoch_and_the_end(name, recorder, run, node_data, fit):
    tracker = make_tracker(name, run)
    result = fit(node_data, strategy="dml", epochs=3, callbacks=[tracker])
    assert [step for step, _ in recorder.rows] == [0, 1, 2, 3]
    for (_, told), row in zip(recorder.rows, result.history, strict=False):
        assert told == pytest.approx({key: value for key, value in row.items() if key != "epoch"})
    final = recorder.rows[-1][1]
    assert final["final/test/ensemble"] == result["ensemble"].test and final["final/val/gcn-0"] == result["gcn-0"].val
    assert recorder.closed == [False]
    tracker.end(failed=True)
    assert recorder.closed == [False], "it ends once"
    opened = recorder.opened[-1]
    assert str(run.folder) in opened["dir"] and ("name" not in opened or opened["name"] == run.name)
    assert "dml" in str(recorder.parameters)


@names
def test_a_service_that_fails_does_not_end_the_training(name, recorder, run, node_data, fit):
    recorder.fail_at = 1
    with pytest.warns(RuntimeWarning, match="failed, and seed-0-fold-0 continues without it: ConnectionError: the server is gone"):
        result = fit(node_data, strategy="dml", epochs=3, callbacks=[make_tracker(name, run)])
    assert [step for step, _ in recorder.rows] == [0] and len(result.history) == 3
    assert recorder.closed == [name != "tensorboard"], "the tracked run ends as one that failed"


@names
def test_a_training_that_fails_is_a_failed_run(name, recorder, run, node_data, fit):
    class Failing(Callback):
        def on_epoch_end(self, state: Any) -> None:
            raise ZeroDivisionError

    tracker = make_tracker(name, run)
    with pytest.raises(ZeroDivisionError):
        fit(node_data, strategy="dml", epochs=3, callbacks=[tracker, Failing()])
    tracker.end(failed=True)
    assert recorder.closed == [name != "tensorboard"]


@names
def test_a_tracker_that_cannot_start_is_a_usage_error(name, recorder, run, node_data, fit, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route")

    target = {"tensorboard": "SummaryWriter", "mlflow": "MlflowClient", "wandb": "init"}[name]
    monkeypatch.setattr(sys.modules[FAKES[name][0]], target, refuse)
    with pytest.raises(UsageError, match="cannot start a tracked run: OSError: no route"):
        fit(node_data, strategy="dml", epochs=1, callbacks=[make_tracker(name, run)])


@pytest.mark.parametrize(
    ("name", "place"),
    [("tensorboard", "tensorboard"), ("tensorboard", "tensorboard/seed-0-fold-0"), ("wandb", "wandb")]
    + [("mlflow", place) for place in ("mlflow.db", ".mlflow.lock", "mlartifacts", "mlflow.db-journal")],
)
def test_nothing_is_written_through_a_link_in_the_run_folder(name, place, recorder, run, node_data, fit, tmp_path):
    link = run.folder / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        fit(node_data, strategy="dml", epochs=1, callbacks=[make_tracker(name, run)])
    assert not (tmp_path / "elsewhere").exists()


@names
def test_a_package_that_is_missing_or_only_a_folder_is_named(name, monkeypatch):
    package = FAKES[name][0]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"needs a package that is not installed. Install it: pip install 'dgl-mutual\[{name}\]'"):
        check_trackers([name])
    folder = ModuleType(package)
    folder.__spec__ = SimpleNamespace(origin=None)  # type: ignore[assignment]  # as of a folder without a package
    monkeypatch.setitem(sys.modules, package, folder)
    with pytest.raises(UsageError, match="not installed"):
        check_trackers([name])


def test_a_custom_tracker_that_fails_is_named(run, monkeypatch):
    class Mine(Tracker):
        def __init__(self, run):
            raise KeyError("gone")

        @classmethod
        def check(cls):
            raise KeyError("gone")

        open = log = close = summarise = check

    monkeypatch.setitem(TRACKERS, "mine", Mine)
    with pytest.raises(UsageError, match=r"The tracker 'mine' cannot be made: KeyError: 'gone' \(.*test_trackers.py, line"):
        make_tracker("mine", run)
    with pytest.raises(UsageError, match="check of the tracker 'mine' raised an error: KeyError: 'gone'"):
        check_trackers(["mine"])


def test_wandb_never_asks_for_a_key(recorder, monkeypatch):
    sys.modules["wandb"].api.api_key = None
    with pytest.raises(UsageError, match="Run 'wandb login' first, or set WANDB_MODE=offline"):
        check_trackers(["wandb"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_trackers(["wandb"])


def test_environment_decides_where_mlflow_and_wandb_write(recorder, run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    for name in ("mlflow", "wandb"):
        make_tracker(name, run).open()
    assert recorder.opened[1]["dir"] == "http://server:5000"
    assert (recorder.opened[2]["project"], recorder.opened[2]["group"], recorder.opened[2]["name"]) == ("mine", run.group, run.name)


def test_parameters_have_dotted_keys(run):
    assert run.parameters == {"strategy": "dml", "training.epochs": 3, "students.0.architecture": "gcn", "students.1.architecture": "sage"}


def test_an_unknown_tracker_lists_the_known(recorder):
    with pytest.raises(
        UsageError, match=r"Unknown tracker 'tensorbord'. Did you mean 'tensorboard'\? Choose from: tensorboard, mlflow, wandb"
    ):
        check_trackers(["tensorbord"])
    assert TRACKER_REGISTRY.names() == ["tensorboard", "mlflow", "wandb"]


def test_what_tensorboard_reads_back(run, node_data, fit):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is an extra")
    result = fit(node_data, strategy="dml", epochs=3, callbacks=[make_tracker("tensorboard", run)])
    read = accumulator.EventAccumulator(str(run.folder / "tensorboard" / run.name)).Reload()
    for name in ("val/gcn-0", "loss/mutual/sage-1"):
        told = [(event.step, event.value) for event in read.Scalars(name)]
        assert told == [(int(row["epoch"]), pytest.approx(row[name])) for row in result.history]
    assert [event.value for event in read.Scalars("final/test/ensemble")] == pytest.approx([result["ensemble"].test])


def test_what_mlflow_reads_back(run, node_data, fit, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is an extra")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = fit(node_data, strategy="dml", epochs=3, callbacks=[make_tracker("mlflow", run)])
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run.folder / 'mlflow.db'}")
    (read,) = client.search_runs([client.get_experiment_by_name(run.group).experiment_id])
    told = [(figure.step, figure.value) for figure in client.get_metric_history(read.info.run_id, "val/gcn-0")]
    assert told == [(int(row["epoch"]), pytest.approx(row["val/gcn-0"])) for row in result.history]
    assert (read.info.status, read.data.metrics["final/test/ensemble"]) == ("FINISHED", result["ensemble"].test)
    assert read.data.params["strategy"] == "dml"


@pytest.mark.parametrize("knows", [True, False])
def test_a_key_of_wandb_is_asked_for_without_a_prompt(knows, recorder, monkeypatch):
    """Releases that deprecate `wandb.api` have a login that asks nobody."""
    asked: list[bool] = []

    def login(*, prompt: bool = True, verify: bool = True) -> bool:
        asked.append(prompt or verify)
        return knows

    monkeypatch.setattr(sys.modules["wandb"], "login", login, raising=False)
    monkeypatch.delattr(sys.modules["wandb"], "api")
    if knows:
        check_trackers(["wandb"])
    else:
        with pytest.raises(UsageError, match="has no key for this machine"):
            check_trackers(["wandb"])
    assert asked == [False]


class Plain(Tracker):
    """Needs no package and has no title."""

    def open(self) -> None:
        raise OSError("no service")

    def log(self, figures: Mapping[str, float], step: int) -> None: ...

    def close(self, failed: bool) -> None: ...


class WithoutRun(Plain):
    def __init__(self) -> None: ...


class LogsNothing(Plain):
    def log(self) -> None: ...  # type: ignore[override]


def test_custom_trackers_need_no_package_and_are_made_with_their_run(run, node_data, fit):
    check_trackers([f"{__name__}:Plain"])
    with pytest.raises(UsageError, match="Plain cannot start a tracked run: OSError: no service"):
        fit(node_data, epochs=1, callbacks=[make_tracker(f"{__name__}:Plain", run)])
    with pytest.raises(UsageError, match=r"has __init__\(self\) -> .*, but trackers are made with \(run\)\. Take this argument"):
        check_trackers([f"{__name__}:WithoutRun"])
    with pytest.raises(UsageError, match=r"The method log of the tracker LogsNothing takes \(self\).* called with \(self, figures, step\)"):
        check_trackers([f"{__name__}:LogsNothing"])
