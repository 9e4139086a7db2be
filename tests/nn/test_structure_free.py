"""Students that use no edges: equal to plain MLPs, whatever the edges are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.module import EdgeInput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student
from dgl_mutual.training.options import TrainingOptions
from tests.cohorts import train_cohort
from tests.nn.test_student import CLASSES, FEATURES, SIZES, make_student
from tests.strategies.cases import make_dataset as learnable

MakeDataset = Callable[..., Dataset]


def without_edges(dataset: Dataset) -> Dataset:
    return replace(dataset, edges=np.empty((2, 0), dtype=np.int64), edge_features=None)


def by_hand(student: Student, x: Tensor) -> Tensor:
    """relu(W_l h + b_l) of each layer side by side (jumping), or of all layers but the last (last)."""
    states = []
    for index, layer in enumerate(student.convolutions):
        weight, bias = layer.weight, layer.bias
        x = x @ weight + bias
        if index < len(student.convolutions) - 1 or student.has_classifier:
            x = torch.relu(x)
        states.append(x)
    return torch.cat(states, dim=1) if student.has_classifier else x


@pytest.mark.parametrize("architecture", ["mlp", "bag"])
@pytest.mark.parametrize("sparse_", [False, True])
def test_a_node_student_is_a_plain_mlp(architecture: str, sparse_: bool, make_dataset: MakeDataset) -> None:
    dataset = make_dataset((12,), sparse_=sparse_)
    student = make_student("node", architecture=architecture, depth=3)
    x = torch.as_tensor(dataset.features.toarray() if sparse_ else dataset.features, dtype=torch.float64)  # type: ignore[union-attr]
    expected = by_hand(student, x)
    for data in (dataset, without_edges(dataset)):
        torch.testing.assert_close(student.forward_batch(Collator(data, dtype=torch.float64).all()).logits, expected)


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_an_mlp_on_graphs_is_deep_sets(pooling: str, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(SIZES)
    student = make_student("graph", architecture="mlp", depth=1, norm="none", pooling=pooling)
    states = by_hand(student, torch.as_tensor(np.asarray(dataset.features), dtype=torch.float64))
    parts = [getattr(part, pooling)(0) for part in states.split(list(SIZES))]
    assert student.classifier is not None
    logits = student.forward_batch(Collator(without_edges(dataset), dtype=torch.float64).all()).logits
    torch.testing.assert_close(logits, student.classifier(torch.stack(parts)))


@pytest.mark.parametrize("sparse_", [False, True])
def test_a_bag_is_an_mlp_of_summed_features(sparse_: bool, make_dataset: MakeDataset) -> None:
    """linear, relu, linear of the sum, as in the published code of Errica et al. but for its last relu."""
    dataset = make_dataset(SIZES, sparse_=sparse_)
    student = make_student("graph", architecture="bag", norm="none")
    assert student.depth == 1
    features = torch.as_tensor(dataset.features.toarray() if sparse_ else dataset.features, dtype=torch.float64)  # type: ignore[union-attr]
    summed = torch.stack([part.sum(0) for part in features.split(list(SIZES))])
    assert student.classifier is not None
    expected = student.classifier(by_hand(student, summed))
    collate = Collator(dataset, dtype=torch.float64)
    torch.testing.assert_close(student.forward_batch(collate.all()).logits, expected)
    torch.testing.assert_close(student.forward_batch(collate([2, 0])).logits, expected[[2, 0]])
    assert [tuple(state.shape) for state in student.forward_batch(collate.all()).hidden] == [(len(SIZES), 8)]


@pytest.mark.parametrize("architecture", ["mlp", "bag"])
def test_sums_over_edges_are_left_out(architecture: str, make_dataset: MakeDataset) -> None:
    kinds: Any = ("indicator", "edge-sum", "indicator", "edge-sum", "indicator")
    for edge_features in (0, 4):
        student = Student(
            StudentOptions(architecture=architecture, hidden=8), "graph", FEATURES, CLASSES, EdgeInput.of(edge_features, kinds)
        )
        assert student.node_columns == (0, 2, 4) and student.edge_features == 0
        assert student.convolutions[0].weight.shape == (3, 8)
    assert Student(StudentOptions(hidden=8), "graph", FEATURES, CLASSES, EdgeInput.of(0, kinds)).node_columns is None


@pytest.mark.parametrize("strategy", ["independent", "gml", "okddip"])
def test_they_train_beside_others(strategy: str) -> None:
    for task in ("node", "graph"):
        chosen = [StudentOptions(architecture=name, hidden=8) for name in ("mlp", "bag", "gcn")]
        result = fit_of(task, strategy, chosen)
        assert [member.architecture for member in result.members[:3]] == ["mlp", "bag", "gcn"]


def fit_of(task: str, strategy: str, students: list[StudentOptions]) -> Any:

    dataset = learnable(task, "single-label")
    train, val, test = (np.arange(dataset.num_samples)[start::3] for start in range(3))
    training = TrainingOptions(epochs=2, batch_size=3 if task == "graph" else None)
    return train_cohort(dataset, Split(train, val, test), students=students, strategy=strategy, training=training)


def test_a_strategy_that_compares_nodes_takes_no_bag() -> None:
    chosen = [StudentOptions(architecture=name, hidden=8) for name in ("bag", "gcn")]
    with pytest.raises(UsageError, match="only states of whole graphs"):
        fit_of("graph", "alignahead", chosen)
    fit_of("node", "alignahead", chosen)
