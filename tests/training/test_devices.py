"""A training on another device than the CPU: no tensor is made on the wrong one, and the result is the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from dgl_mutual.errors import UsageError
from dgl_mutual.nn import kernels
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student, resolve_student
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training import optimizer, seeds
from dgl_mutual.training.callbacks import EpochReports
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.distill import distill
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.options import DistillOptions
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.trial_data import make_trial_data
from tests.training import gather_scatter
from tests.training.conftest import Fit
from tests.training.pretended_device import AWAY, AwayGenerator, PretendedDevice
from tests.training.small_data import Data

SMALL = {"hidden": 8, "heads": 2}
OPTIONS: dict[str, dict[str, Any]] = {"kd": {"teacher": SMALL}, "okddip": {"leader": SMALL}}
ARCHITECTURES = ("gcn", "gat", "gin", "sage")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedDevice]:
    def generator(seed: int, *path: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        kind = AwayGenerator if torch.device(device) == AWAY else torch.Generator
        return kind().manual_seed(seeds.derive(seed, *path))

    monkeypatch.setattr(seeds, "generator", generator)
    monkeypatch.setattr(optimizer, "_fused_adam_works", lambda device: False)
    monkeypatch.setattr(kernels, "choose", lambda device_type: "gather_scatter")
    monkeypatch.setitem(kernels.IMPLEMENTATIONS, "gather_scatter", cast("kernels.Kernels", gather_scatter))
    return PretendedDevice()


def compare(fit: Fit, device: PretendedDevice, data: Data, **options: Any) -> None:
    here = fit(data, epochs=2, dtype=torch.float64, **options)
    with device:
        there = fit(data, epochs=2, dtype=torch.float64, device=AWAY, **options)
    assert all(parameter.device == AWAY for parameter in there.cohort.parameters())
    for row, expected in zip(there.history, here.history, strict=True):
        assert row == pytest.approx(expected, rel=1e-9, nan_ok=True)
    for member, expected_member in zip(there.members, here.members, strict=True):
        assert (member.train, member.val, member.test) == (expected_member.train, expected_member.val, expected_member.test)


@pytest.mark.parametrize(
    ("strategy", "task"), [*((name, "node") for name in STRATEGIES), *((name, "graph") for name in ("gml", "alignahead", "oad", "okddip"))]
)
def test_every_strategy_trains(strategy: str, task: str, fit: Fit, device: PretendedDevice, node_data: Data, graph_data: Data) -> None:
    options = {**OPTIONS.get(strategy, {}), **({"exchange_warmup": (0, 0)} if strategy not in ("independent", "gml") else {})}
    data = node_data if task == "node" else graph_data
    training = {} if task == "node" else {"batch_size": 10}
    students = ARCHITECTURES if strategy == "gml" else ("gat", "gin")
    compare(fit, device, data, students=students, strategy=strategy, strategy_options=options, training=training)


@pytest.mark.parametrize(
    ("task", "training", "options"),
    [
        ("node", {"sampler": "neighbor", "batch_size": 8, "fanout": (3, 3)}, {}),
        ("node", {"edge_drop": 0.2, "feature_mask": 0.2, "diversity": True}, {"weighting": "classwise", "targets": "ema"}),
        ("node", {}, {"weighting": "transductive", "direction": "best"}),
        ("graph", {"edge_drop": 0.2, "feature_mask": 0.2}, {"exchange_on": "transductive"}),
        ("node", {}, {"weighting": "consensus"}),
        ("graph", {"batch_size": 10}, {"weighting": "cross-fitted"}),
    ],
    ids=["sampled", "views", "best", "transductive", "consensus", "cross-fitted"],
)
def test_other_ways_to_train(
    task: str, training: dict[str, Any], options: dict[str, Any], fit: Fit, device: PretendedDevice, node_data: Data, graph_data: Data
) -> None:
    data = node_data if task == "node" else graph_data
    compare(fit, device, data, students=ARCHITECTURES, strategy_options=options, training=training)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_step_waits_for_a_number_of_the_device(architecture: str, device: PretendedDevice, node_data: Data) -> None:
    dataset, _ = node_data
    options = resolve_student(StudentOptions(architecture=architecture, **SMALL), "node")  # type: ignore[arg-type]  # a str and ints
    with device:
        batch = Collator(dataset, AWAY).all()
        student = Student(options, "node", 6, 3).to(AWAY)
        dropout = AwayGenerator()
        for step in range(2):
            before = device.waits  # the first step derives what the batch keeps
            student.forward_batch(batch, dropout).logits.square().sum().backward()
            assert step == 0 or device.waits == before
        assert float(torch.ones(1, device=AWAY)) == 1.0
        assert device.waits == before + 1, "a wait is counted"


def test_a_tensor_on_the_cpu_is_detected(device: PretendedDevice) -> None:
    with device:
        x = torch.zeros(3, device=AWAY)
        assert (x + 1).device == AWAY
        with pytest.raises(RuntimeError, match="add: tensors on two devices"):
            x + torch.zeros(3)
        assert (x.cpu() + torch.zeros(3)).tolist() == [0, 0, 0]


def test_students_on_dgl_graphs_need_a_dgl_for_the_device(fit: Fit, node_data: Data) -> None:
    with pytest.raises(UsageError, match=r"'gatv2-1' runs on DGLGraphs.*--device cpu.*gcn, gat, gin or sage"):
        fit(node_data, ("gcn", "gatv2"), device=AWAY)


def test_the_transpose_on_a_device_is_that_on_the_cpu(device: PretendedDevice, graph_data: Data) -> None:
    here, order = Collator(graph_data[0]).all().attention_pattern(3).transpose
    with device:
        there, order_there = Collator(graph_data[0], AWAY).all().attention_pattern(3).transpose
        for found, expected in ((there.indptr, here.indptr), (there.indices, here.indices), (order_there, order)):
            assert torch.equal(found.cpu(), expected)
            assert found.dtype == expected.dtype


def test_results_predict_are_saved_and_distilled(fit: Fit, device: PretendedDevice, node_data: Data, tmp_path: Path) -> None:
    dataset, split = node_data
    scene = make_trial_data(dataset, split, 0.0, seed=1)
    results = []
    for place in (None, AWAY):
        with device if place is not None else nullcontext():
            result = fit(node_data, ARCHITECTURES, epochs=2, dtype=torch.float64, device=place or "cpu")
            result = distill(result, scene, DistillOptions(epochs=2, hidden=8), seed=seeds.TrialSeed(3))
            result.save(tmp_path / str(place))
            results.append((result.predict(), result.predict(dataset, "gat-1"), result["mlp"].val))
    for here, there in zip(*results, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-9)
    for member in ("gat-1", "ensemble"):
        models = [load_student(tmp_path / str(place), member) for place in (None, AWAY)]
        np.testing.assert_allclose(*(model.predict(dataset) for model in models), rtol=1e-9)


@pytest.mark.parametrize("strategy", ["gml", "independent"])
def test_several_labels(strategy: str, fit: Fit, device: PretendedDevice, multi_label_data: Data) -> None:
    compare(fit, device, multi_label_data, students=("gcn", "gin"), strategy=strategy)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter:UserWarning")  # the pretended device copies it
def test_an_interrupted_training_goes_on(fit: Fit, device: PretendedDevice, node_data: Data, tmp_path: Path) -> None:
    def cut(report: EpochReport) -> None:
        if report.epoch == 1:
            raise KeyboardInterrupt

    with device:
        whole = fit(node_data, device=AWAY)
        with pytest.raises(KeyboardInterrupt):
            fit(node_data, device=AWAY, snapshots=Snapshots(tmp_path / "snapshot", 1), callbacks=[EpochReports(cut)])
        again = fit(node_data, device=AWAY, snapshots=Snapshots(tmp_path / "snapshot", 1))
        assert again.history == whole.history
        np.testing.assert_array_equal(again.predict(), whole.predict())
