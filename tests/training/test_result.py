from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

import dgl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.assessment import assess
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.result import FitResult
from tests import small_graph
from tests.training.small_data import Data

STUDENTS = ("gcn", "gat", "gcn")


@pytest.fixture
def result(fit: Callable[..., FitResult], node_data: Data) -> FitResult:
    return fit(node_data, STUDENTS, epochs=6)


def test_members_in_order(result: FitResult) -> None:
    assert [member.member for member in result.members] == ["gcn-0", "gat-1", "gcn-2", "mean", "best_by_val", "ensemble"]
    assert [member.architecture for member in result.members] == ["gcn", "gat", "gcn", "-", result["best_by_val"].architecture, "-"]


def test_the_first_of_equal_students_is_the_best(result: FitResult) -> None:
    """0.1 + 0.2 is 0.3, but not in its last bit."""
    vals = dict(zip(STUDENTS, (0.3, 0.1 + 0.2), strict=False))
    tied = replace(result, members=tuple(replace(member, val=vals.get(member.architecture, 0.0)) for member in result.members))
    assert tied.best_student == "gcn-0"


def test_mean_is_of_the_students(result: FitResult) -> None:
    students = result.members[:3]
    for figure in ("train", "val", "test"):
        assert getattr(result["mean"], figure) == pytest.approx(fmean(getattr(student, figure) for student in students))
    assert result["mean"].best_epoch is None
    assert result["ensemble"].best_epoch is None, "its students stand at an epoch of their own each"


def test_best_by_val_is_chosen_on_validation(result: FitResult) -> None:
    students = result.members[:3]
    best = result["best_by_val"]
    assert best.val == max(student.val for student in students)
    assert (best.train, best.test, best.best_epoch) == next(
        (student.train, student.test, student.best_epoch) for student in students if student.member == result.best_student
    )


def test_disagreement_is_of_the_students_on_test_samples(result: FitResult, node_data: Data) -> None:
    test = node_data[1].test
    first, second, third = (result.predict(member=member.member).argmax(1)[test] for member in result.members[:3])
    pairs = [(first != second).mean(), (first != third).mean(), (second != third).mean()]
    assert result.disagreement == pytest.approx(fmean(pairs))
    assert 0 < result.disagreement < 1


def test_a_single_student_disagrees_with_nobody(fit: Callable[..., FitResult], node_data: Data) -> None:
    assert isnan(fit(node_data, ("gcn",), strategy="independent", epochs=1).disagreement)


def test_parameters(fit: Callable[..., FitResult], node_data: Data) -> None:
    result = fit(node_data, STUDENTS, epochs=1, strategy_options={"weighting": "attention"})
    counts = [sum(parameter.numel() for parameter in student.parameters()) for student in result.cohort.members]
    coordinator = sum(parameter.numel() for parameter in result.cohort.coordinator.parameters())
    assert [member.parameters for member in result.members[:3]] == counts
    assert result["ensemble"].parameters == sum(counts) + coordinator > sum(counts)
    assert result["mean"].parameters == round(fmean(counts))


def test_figures_are_those_of_the_best_epoch(result: FitResult) -> None:
    for student in result.members[:3]:
        assert student.best_epoch is not None
        assert student.val == pytest.approx(result.history[student.best_epoch][f"val/{student.member}"])
        assert student.val == pytest.approx(max(row[f"val/{student.member}"] for row in result.history))


def test_history_has_one_row_per_epoch(result: FitResult) -> None:
    assert result.epochs == len(result.history) == 6
    assert [row["epoch"] for row in result.history] == list(range(6))
    names = ("gcn-0", "gat-1", "gcn-2")
    expected = {"epoch", "val/ensemble"}
    expected |= {f"{kind}/{name}" for kind in ("loss/supervised", "loss/mutual", "exchange", "train", "val") for name in names}
    expected |= {f"weights/{i}/{j}" for i in names for j in names}
    for row in result.history:
        assert set(row) == expected
        for name in names:
            assert sum(row[f"weights/{name}/{peer}"] for peer in names if peer != name) == pytest.approx(1)
            assert 0 <= row[f"train/{name}"] <= 1


def test_times_are_positive_and_fit_together(result: FitResult) -> None:
    assert result.train_seconds > 0
    assert 0 < (result.epochs - 1) * result.seconds_per_epoch < result.train_seconds
    assert all(member.inference_ms > 0 for member in result.members)
    assert result["ensemble"].inference_ms == pytest.approx(sum(member.inference_ms for member in result.members[:3]))


def test_table_is_the_members(result: FitResult) -> None:
    table = result.table()
    assert list(table["member"]) == [member.member for member in result.members]
    assert list(table["test"]) == [member.test for member in result.members]


def test_an_unknown_member_lists_the_members(result: FitResult) -> None:
    assert list(result) == [one.member for one in result.members] and len(result) == len(result.members)
    assert all(name in result and result[name].member == name for name in result) and "gat-0" not in result
    with pytest.raises(UsageError, match=r"Unknown member 'gat-0'.*gcn-0, gat-1, gcn-2, mean, best_by_val, ensemble"):
        result["gat-0"]


@pytest.mark.parametrize("method", ["predict", "embeddings"])
def test_a_member_in_the_position_of_the_data_is_refused(result: FitResult, node_data: Data, method: str) -> None:
    function: Any = getattr(result, method)
    with pytest.raises(UsageError, match=rf"{method}\('gat-1'\) has a member in the position of .* write {method}\(member='gat-1'\)\."):
        function("gat-1")
    with pytest.raises(UsageError, match=rf"write {method}\(data, member='gat-1'\)\."):
        function("gat-1", node_data[0])
    with pytest.raises(UsageError, match=r"the name of one, 'Cora'"):
        function("Cora")
    with pytest.raises(UsageError, match=r"Unknown member .*Choose from: best_by_val, .*gat-1"):
        function(member=np.array(["gat-1", "gcn-0"]))
    np.testing.assert_array_equal(function(node_data[0], member="gat-1"), function(member="gat-1"))


def test_figures_of_a_noisy_student_are_those_of_its_best_epoch(fit: Callable[..., FitResult], graph_data: Data) -> None:
    """Validation sees some graphs at a time, predictions all of them, or one."""
    students = [StudentOptions(architecture="gin", hidden=8, feature_noise=0.5), StudentOptions(hidden=8)]
    result = fit(graph_data, students, strategy="independent", training={"scale_inputs": True})
    noisy = result["gin-0"]
    assert noisy.best_epoch is not None and noisy.val == result.history[noisy.best_epoch]["val/gin-0"]
    probabilities = result.predict(member="gin-0")
    right = probabilities.argmax(1) == graph_data[0].labels
    assert noisy.test == right[graph_data[1].test].mean()


@pytest.mark.parametrize("loaded", [False, True], ids=["result", "checkpoint"])
def test_a_noisy_student_sees_the_same_noise_on_dense_features(
    loaded: bool, fit: Callable[..., FitResult], node_data: Data, tmp_path: Path
) -> None:
    """The features of a DGL graph are dense, those of the dataset sparse."""
    dataset, split = node_data
    kept = np.random.default_rng(0).random(dataset.features.shape) < 0.5
    dataset = dataset.replaced(features=sparse.csr_matrix(np.asarray(dataset.features) * kept))
    result = fit((dataset, split), [StudentOptions(hidden=8, feature_noise=0.8), StudentOptions(hidden=8)], epochs=2)
    result.save(tmp_path)
    graph = dgl.graph(tuple(dataset.edges), num_nodes=dataset.num_nodes)
    graph.ndata["feat"] = torch.as_tensor(dataset.features.toarray())
    found = load_student(tmp_path / "gcn-0.safetensors").predict(graph) if loaded else result.predict(graph, member="gcn-0")
    np.testing.assert_allclose(found, result.predict(member="gcn-0"), rtol=1e-5, atol=1e-6)


def test_columns_are_matched_by_name(fit: Callable[..., FitResult], node_data: Data) -> None:
    dataset, split = node_data
    result = fit((dataset, split), STUDENTS, epochs=2)
    order = [2, 0, 3, 1][: dataset.num_features]
    order += [column for column in range(dataset.num_features) if column not in order]
    names = tuple(dataset.feature_names[column] for column in order)
    moved = dataset.replaced(features=dataset.features[:, order], feature_names=names)
    np.testing.assert_allclose(result.predict(moved), result.predict(dataset), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.embeddings(moved), result.embeddings(dataset), rtol=1e-5, atol=1e-6)
    other = dataset.replaced(feature_names=tuple(f"other {name}" for name in dataset.feature_names))
    for asked in (result.predict, result.embeddings):
        with pytest.raises(DataError, match="not expected: other"):
            asked(other)


def test_graph_objects_have_columns_without_names(fit: Callable[..., FitResult], node_data: Data) -> None:
    """Whatever the training data call theirs."""
    pyg = pytest.importorskip("torch_geometric.data")
    dataset, split = node_data
    result = fit((dataset, split), STUDENTS, epochs=2)
    edges = torch.as_tensor(dataset.edges)
    features = torch.as_tensor(dataset.features)
    graph = dgl.graph((edges[0], edges[1]), num_nodes=dataset.num_nodes)
    graph.ndata["feat"] = features
    for data in (graph, [graph], pyg.Data(x=features, edge_index=edges)):
        np.testing.assert_allclose(result.predict(data), result.predict(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result.embeddings(data), result.embeddings(), rtol=1e-5, atol=1e-6)


def test_classes_are_those_of_the_columns(tmp_path: Path) -> None:
    names = np.array(["z", "10", "2"])
    dataset = Dataset.from_arrays(small_graph.EDGES, small_graph.FEATURES, names[small_graph.LABELS])
    result = small_graph.fit(data=dataset)
    result.save(tmp_path)
    assert result.classes == load_student(tmp_path).classes == dataset.classes == ("10", "2", "z")
    assert result.predict().shape[1] == len(result.classes)


def test_validation_alone_chooses_the_best_student(result: FitResult, node_data: Data) -> None:
    """The first student is right on the validation part alone, the second everywhere else."""
    dataset, split = node_data
    right = 9 * F.one_hot(torch.as_tensor(dataset.labels).clamp(min=0)).float()
    wrong = right.roll(1, dims=1)
    logits = torch.stack([wrong, right, wrong])
    logits[0, split.val], logits[1, split.val] = right[split.val], wrong[split.val]
    members = {one.member: one for one in assess(result.cohort, dataset, split, logits, [], [0, 1, 2]).members}
    best = members["best_by_val"]
    assert members["gat-1"].test == 1
    assert (best.val, best.test, best.best_epoch) == (1, 0, 0)
