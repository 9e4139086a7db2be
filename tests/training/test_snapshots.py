"""A training that was cut off anywhere, and went on from its snapshot, ends to the bit where one that was not ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file

from dgl_mutual.errors import DataError, StoreError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training import snapshots as snapshots_module
from dgl_mutual.training.callbacks import Callback, EpochReports
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.state import TrainingState
from tests.closed import close
from tests.training.conftest import Fit
from tests.training.cuts import Cut, CutAfter, same
from tests.training.small_data import Data

SMALL = StudentOptions(hidden=4)
#: Options that make a strategy keep something from step to step.
OPTIONS: dict[str, dict[str, Any]] = {
    "gml": {"direction": "best", "targets": "ema", "exchange_warmup": (0, 0)},
    "dml": {"targets": "best"},
    "kd": {"teacher": SMALL.model_dump()},
    "okddip": {"leader": SMALL.model_dump(), "targets": "eval"},
    "oad": {"exchange_warmup": (0, 0)},
}
EPOCHS = 4


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_goes_on_to_the_bit(strategy: str, task: str, fit: Fit, node_data: Data, graph_data: Data, tmp_path: Path) -> None:
    data = node_data if task == "node" else graph_data
    students = [StudentOptions(architecture="gcn", hidden=8), StudentOptions(architecture="gin", hidden=8, norm="batch")]
    node_drop = 0.0 if task == "graph" and strategy in ("alignahead", "oad") else 0.1  # they compare all nodes
    views = {"edge_drop": 0.2, "feature_mask": 0.1, "node_drop": node_drop, "own_views": True}
    training = {**views, "diversity": True, **({"batch_size": 8} if task == "graph" else {})}
    options = {"strategy": strategy, "strategy_options": OPTIONS.get(strategy, {}), "training": training}
    whole = fit(data, students, EPOCHS, **options)
    snapshots = Snapshots(tmp_path / "trial" / "0.safetensors", 2)
    for epochs in {3, len(whole.history) - 1} if task == "node" else (3,):  # in the first phase and in the last; an epoch or none is lost
        with pytest.raises(Cut):
            fit(data, students, EPOCHS, **options, snapshots=snapshots, callbacks=[CutAfter(epochs)])
        resumed = fit(data, students, EPOCHS, **options, snapshots=snapshots)
        same(resumed, whole)
        assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["0.safetensors"]
        snapshots.file.unlink()


class AtThePhasesEnd(Callback):
    """What a callback sees of the last epoch when a phase ends."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_phase_end(self, state: TrainingState) -> None:
        self.seen.append((state.epoch, state.validation))


class CutAtThePhasesEnd(Callback):
    def on_phase_end(self, _: TrainingState) -> None:
        raise Cut


def test_the_last_epoch_is_known_when_a_phase_ends(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    whole, resumed = AtThePhasesEnd(), AtThePhasesEnd()
    fit(node_data, callbacks=[whole])
    snapshots = Snapshots(tmp_path / "0.safetensors", 1)
    with pytest.raises(Cut):
        fit(node_data, snapshots=snapshots, callbacks=[CutAtThePhasesEnd()])
    fit(node_data, snapshots=snapshots, callbacks=[resumed])
    ((epoch, validation),) = resumed.seen
    assert epoch == EPOCHS - 1
    assert validation is not None
    assert isinstance(validation.names, tuple)
    assert (epoch, [*validation.names], [*validation.metrics], [*validation.losses]) == tuple(
        part for epoch, other in whole.seen for part in (epoch, [*other.names], [*other.metrics], [*other.losses])
    )


def test_a_student_that_starts_late_goes_on_to_the_bit(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    students = [StudentOptions(hidden=8), StudentOptions(architecture="gin", hidden=8, starts_after=0.5, feature_noise=0.2)]
    whole = fit(node_data, students, EPOCHS)
    snapshots = Snapshots(tmp_path / "0.safetensors", 1)
    for epochs in (2, EPOCHS - 1):  # before the second student has begun, and after that
        with pytest.raises(Cut):
            fit(node_data, students, EPOCHS, snapshots=snapshots, callbacks=[CutAfter(epochs)])
        same(fit(node_data, students, EPOCHS, snapshots=snapshots), whole)
        snapshots.file.unlink()


def test_a_snapshot_is_of_data_that_mean_the_same(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    dataset, split = node_data
    snapshots = Snapshots(tmp_path / "0.safetensors", 1)
    with pytest.raises(Cut):
        fit(node_data, snapshots=snapshots, callbacks=[CutAfter(2)])
    renamed = dataset.replaced(feature_names=tuple(reversed(dataset.feature_names)))
    with pytest.raises(StoreError, match=r"a different training: the feature columns were .* and are .*\. Remove it to train from"):
        fit((renamed, split), snapshots=snapshots)


@pytest.mark.parametrize("average", ["none", "swa"])
def test_members_of_the_best_epoch_go_on_to_the_bit(average: str, fit: Fit, node_data: Data, tmp_path: Path) -> None:
    training = {"sampler": "neighbor", "fanout": (2, 2), "batch_size": 8, "eval_every": 3, "average": average}
    options = {"strategy_options": {"targets": "best", "exchange_warmup": (0, 0)}, "training": training, "epochs": 8}
    whole = fit(node_data, **options)
    snapshots = Snapshots(tmp_path / "0.safetensors", 1)
    for epochs in (2, 5, 7):
        with pytest.raises(Cut):
            fit(node_data, **options, snapshots=snapshots, callbacks=[CutAfter(epochs)])
        same(fit(node_data, **options, snapshots=snapshots), whole)
        snapshots.file.unlink()
    with pytest.raises(Cut):
        fit(node_data, **options, snapshots=snapshots, callbacks=[CutAfter(5)])
    tensors, plain = read(snapshots.file)
    del plain["best members"]["1"]
    write(snapshots.file, tensors, plain)
    with pytest.raises(StoreError, match="cannot be restored"):
        fit(node_data, **options, snapshots=snapshots)


@pytest.mark.parametrize("task", ["node", "graph"])
def test_counts_of_the_consensus_go_on_to_the_bit(task: str, fit: Fit, node_data: Data, graph_data: Data, tmp_path: Path) -> None:
    data = node_data if task == "node" else graph_data
    training = {"batch_size": 8} if task == "graph" else {}
    options = {"strategy_options": {"weighting": "consensus", "weighting_options": {"memory": 100}}, "training": training}
    whole = fit(data, ("gcn", "gin", "sage"), **options)
    assert whole.cohort.coordinator.agreed.any()
    snapshots = Snapshots(tmp_path / "0.safetensors", 2)
    with pytest.raises(Cut):
        fit(data, ("gcn", "gin", "sage"), **options, snapshots=snapshots, callbacks=[CutAfter(3)])
    same(fit(data, ("gcn", "gin", "sage"), **options, snapshots=snapshots), whole)


def test_an_interrupted_training_resumes_and_does_not_start_over(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "s", 2)
    with pytest.raises(Cut):
        fit(node_data, epochs=9, snapshots=snapshots, callbacks=[CutAfter(5)])
    told: list[int] = []
    first = fit(node_data, epochs=9, snapshots=snapshots, callbacks=[EpochReports(lambda report: told.append(report.epoch))])
    assert told == [4, 5, 6, 7, 8]
    # The end is kept, too: whatever comes after training may fail, and nothing is trained again.
    same(fit(node_data, epochs=9, snapshots=snapshots, callbacks=[CutAfter(0)]), first)


def test_a_training_that_stops_early_is_not_resumed_past_its_end(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 60, "training": {"patience": 2, "learning_rate": 0.2}}
    whole = fit(node_data, **options)
    assert whole.epochs < 60
    snapshots = Snapshots(tmp_path / "s", 7)
    with pytest.raises(Cut):
        fit(node_data, **options, snapshots=snapshots, callbacks=[CutAfter(whole.epochs - 1)])
    same(fit(node_data, **options, snapshots=snapshots), whole)


@pytest.mark.parametrize(("strategy", "targets", "kept"), [("dml", "train", 1), ("dml", "eval", 1), ("dml", "ema", 2), ("gml", "best", 2)])
def test_logits_are_kept_once(strategy: str, targets: str, kept: int, fit: Fit, node_data: Data, tmp_path: Path) -> None:
    fit(node_data, epochs=2, strategy=strategy, strategy_options={"targets": targets}, snapshots=Snapshots(tmp_path / "s", 1))
    assert len(read(tmp_path / "s")[1]["clean"]) == kept


def test_time_before_the_cut_counts(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "s", 1)
    fit(node_data, epochs=2, snapshots=snapshots)
    tensors, state = read(snapshots.file)
    write(snapshots.file, tensors, {**state, "seconds": 1000.0})
    assert 1000 < fit(node_data, epochs=2, snapshots=snapshots).train_seconds < 1100


def read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Its tensors and its plain values, by other means than the package's."""
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return load(content), json.loads(header["__metadata__"]["state"])


def write(file: Path, tensors: dict[str, torch.Tensor], state: Any) -> None:
    """What `read` gave, with the digest of a sound file, which whoever forges one can make, too."""
    plain = json.dumps(state)
    save_file(tensors, file, {"state": plain, "digest": snapshots_module._digest(plain, tensors)})


CHANGED: list[tuple[dict[str, Any], str]] = [
    ({"seed": 1}, "seed or fold"),
    ({"fold": 1}, "seed or fold"),
    ({"students": ("gcn", "gat")}, "students"),
    ({"training": {"learning_rate": 0.5}}, "training options"),
    ({"strategy_options": {"weight": 0.5}}, "strategy"),
    ({"dtype": torch.float64}, "precision"),
]


@pytest.mark.parametrize(("changed", "told"), CHANGED)
def test_another_training_is_refused(changed: dict[str, Any], told: str, fit: Fit, node_data: Data, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "s", 1)
    fit(node_data, epochs=2, snapshots=snapshots)
    with pytest.raises(StoreError, match=f"a different training: it has other {told}\\. Remove it"):
        fit(node_data, **{"epochs": 2, **changed}, snapshots=snapshots)


@pytest.mark.parametrize(("module", "name"), [("torch", "torch"), ("dgl", "dgl"), ("dgl_mutual.training.snapshots", "dgl_mutual")])
def test_a_snapshot_of_other_versions_is_refused(
    module: str, name: str, fit: Fit, node_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = Snapshots(tmp_path / "s", 1)
    fit(node_data, epochs=2, snapshots=snapshots)
    monkeypatch.setattr(f"{module}.__version__", "9.9.0")
    with pytest.raises(StoreError, match=rf"a different training: it was written by {name} \d.* \(here 9\.9\.0\)\. Remove it"):
        fit(node_data, epochs=2, snapshots=snapshots)


def test_a_snapshot_without_versions_is_refused(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "s", 1)
    fit(node_data, epochs=2, snapshots=snapshots)
    tensors, state = read(snapshots.file)
    write(snapshots.file, tensors, {**state, "identity": "0123456789ab"})
    with pytest.raises(StoreError, match="written by another version of dgl_mutual"):
        fit(node_data, epochs=2, snapshots=snapshots)


def test_a_file_that_is_not_a_snapshot_is_refused(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "s", 1)
    fit(node_data, epochs=3, snapshots=snapshots)
    tensors, state = read(snapshots.file)
    logits = {**tensors, "/clean/0": tensors["/clean/0"][:, :2].contiguous()}
    fewer = {name: tensor for name, tensor in tensors.items() if name != "/clean/0"}
    damaged = [
        *(
            (tensors, value)
            for value in ({}, [], 3, None, {**state, "phase": "x"}, {**state, "callbacks": {"x.Y#0": {}}}, {**state, "streams": [1]})
        ),
        *((tensors, {**state, "schema": schema}) for schema in ([], 3, None)),
        *((tensors, {**state, "phase": phase}) for phase in (-5, 99)),  # of which no training would come, or an endless one
        *((tensors, {**state, "epoch": epoch}) for epoch in (-(10**9), float("inf"), 4)),
        *((tensors, {**state, name: None}) for name in ("callbacks", "optimizer", "cohort", "strategy", "clean", "history", "epoch")),
        *((changed, state) for changed in (logits, fewer, {})),
    ]
    for contents, plain in damaged:
        write(snapshots.file, contents, plain)
        with pytest.raises((DataError, StoreError), match=r"cannot be (used|restored)"):
            fit(node_data, epochs=3, snapshots=snapshots)
    for content in (b"", b"no safetensors", b"\xff" * 100):
        snapshots.file.write_bytes(content)
        with pytest.raises(DataError, match="cannot be used"):
            fit(node_data, epochs=3, snapshots=snapshots)
    write(snapshots.file, tensors, {**state, "cohort": {"x" * 100_000: 0}})
    with pytest.raises(StoreError, match="cannot be restored") as caught:
        fit(node_data, epochs=3, snapshots=snapshots)
    assert len(str(caught.value)) < 2000


def test_a_snapshot_without_permission_is_not_called_damaged(
    fit: Fit, node_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that fails loses its snapshots; this error ends the run instead."""
    snapshots = Snapshots(tmp_path / "state.safetensors", every=1)
    fit(node_data, epochs=2, snapshots=snapshots)
    close(monkeypatch, snapshots.file)
    with pytest.raises(StoreError, match=r"cannot be read: Permission denied\. .* chmod u\+r"):
        fit(node_data, epochs=2, snapshots=snapshots)


@pytest.mark.parametrize("damage", [{"epoch": 1}, {"history": []}, "/clean/0"])
def test_a_snapshot_that_was_changed_is_refused(damage: Any, fit: Fit, node_data: Data, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "s", 1)
    fit(node_data, snapshots=snapshots, epochs=2)
    tensors, state = read(snapshots.file)
    digest = snapshots_module._digest(json.dumps(state), tensors)
    if isinstance(damage, str):
        tensors[damage][0, 0, 0] += 1
    else:
        state |= damage
    save_file(tensors, snapshots.file, {"state": json.dumps(state), "digest": digest})
    with pytest.raises(DataError, match=r"cannot be used .* its digest.*changed or damaged; remove it"):
        fit(node_data, snapshots=snapshots, epochs=2)


def test_a_snapshot_that_cannot_be_written_is_an_error(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="without checkpoint_every"):
        fit(node_data, epochs=2, snapshots=Snapshots(tmp_path / "file" / "s", 1))


def test_a_training_whose_folder_was_moved_away_ends_and_makes_no_other(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    snapshots = Snapshots(run / "snapshots" / "0.safetensors", 1, within=run)

    def move(report: EpochReport) -> None:
        if report.epoch == 2:
            run.rename(tmp_path / "moved")

    with pytest.raises(StoreError, match=r"run' was removed, moved or replaced.*completes the rest\.$"):
        fit(node_data, epochs=9, snapshots=snapshots, callbacks=[EpochReports(move)])
    assert not run.exists()
    (tmp_path / "moved").rename(run)
    resumed = fit(node_data, epochs=9, snapshots=snapshots)
    same(resumed, fit(node_data, epochs=9))
