"""A student called on a DGLGraph gives what it gives on the package's own batches."""

from __future__ import annotations

from collections.abc import Callable

import dgl
import pytest
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.convolutions import CONVOLUTIONS
from dgl_mutual.nn.mlp import MLP
from dgl_mutual.nn.module import StudentModule
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student

SIZES = (4, 1, 7)


def make_student(name: str, task: TaskName) -> StudentModule:
    torch.manual_seed(0)
    if name == "mlp":
        return MLP(task, 5, 3, hidden=8).double().eval()
    return Student(StudentOptions(architecture=name, hidden=8, heads=4), task, 5, 3).double().eval()  # type: ignore[arg-type]  # a str


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("name", [*CONVOLUTIONS, "mlp"])
def test_calling_a_student_equals_its_pass_on_a_batch(
    name: str, task: TaskName, make_dataset: Callable[..., Dataset], as_dgl: Callable[[Dataset], dgl.DGLGraph]
) -> None:
    dataset = make_dataset(SIZES)
    student, graph = make_student(name, task), as_dgl(dataset)
    expected = student.forward_batch(Collator(dataset, dtype=torch.float64).all())
    feat = graph.ndata["feat"].clone().requires_grad_()
    logits = student(graph, feat)
    assert logits.shape == (12 if task == "node" else 3, 3)
    torch.testing.assert_close(logits, expected.logits)
    torch.testing.assert_close(student.embed(graph, feat), expected.embedding)
    assert (torch.autograd.grad(logits.square().sum(), feat)[0] != 0).any()


def test_one_graph_that_was_not_batched_is_one_sample() -> None:
    graph = dgl.graph(([0, 1], [1, 0]))
    assert make_student("gin", "graph")(graph, torch.ones(2, 5)).shape == (1, 3)


def test_int32_graphs_and_float32_features_are_taken() -> None:
    student, graph = make_student("gcn", "node"), dgl.graph(([0, 1, 2], [1, 2, 0]))
    feat = torch.randn(3, 5)
    torch.testing.assert_close(student(graph.int(), feat), student(graph, feat.double()))


def test_dropout_in_training_mode_follows_the_global_seed() -> None:
    student, graph, feat = make_student("gcn", "node").train(), dgl.graph(([0, 1, 2], [1, 2, 0])), torch.ones(3, 5)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(student(graph, feat))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(UsageError, match="trained on 5 features per node and 'feat' has 2"):
        make_student("gcn", "node")(dgl.graph(([0], [1])), torch.ones(2, 2))
