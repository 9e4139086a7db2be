from __future__ import annotations

import pytest
import torch

from dgl_mutual.experiments.compare.checks import BOUNDS, gradients_difference
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student, resolve_student
from dgl_mutual.reference.mapping import to_reference
from tests.strategies.cases import ARCHITECTURES, SMALL, make_dataset

pytest.importorskip("torch_geometric", reason="needs torch_geometric")

from torch_geometric.data import Batch

from dgl_mutual.reference.graphs import to_graphs
from dgl_mutual.reference.students import ReferenceStudent


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("node", {}),
        ("node", {"depth": 1}),
        ("node", {"depth": 3, "norm": "batch"}),
        ("node", {"readout": "jumping"}),
        ("graph", {}),
        ("graph", {"norm": "none", "readout": "last", "pooling": "mean"}),
        ("graph", {"depth": 1, "pooling": "max"}),
        ("node", {"depth": 3, "norm": "layer", "residual": True, "activation": "leaky_relu"}),
        ("node", {"depth": 1, "readout": "jumping", "residual": True, "activation": "elu"}),
        ("graph", {"norm": "layer", "residual": True, "activation": "gelu"}),
        ("graph", {"depth": 3, "virtual_node": True, "residual": True, "activation": "silu"}),
        ("graph", {"virtual_node": True, "readout": "last", "activation": "tanh"}),
        ("graph", {"input_readout": True, "pooling": "mean"}),
        ("graph", {"input_readout": True, "readout": "last", "norm": "layer", "activation": "elu"}),
        ("graph", {"input_readout": True, "norm": "none"}),
    ],
)
def test_a_student_of_the_reference_computes_what_ours_does(
    task: str, options: dict[str, object], architecture: str, training: bool
) -> None:
    dataset = make_dataset(task, "single-label")
    chosen = StudentOptions(architecture=architecture, dropout=0.0, **{**SMALL, **options})
    ours = Student(resolve_student(chosen, task), task, dataset.num_features, 3).double().train(training)
    with torch.no_grad():
        for weight in (*ours.parameters(), *(b for b in ours.buffers() if b.is_floating_point())):
            weight.uniform_(0.1, 0.6)  # positive, as a running variance has to be
    theirs = ReferenceStudent(ours.options, task, dataset.num_features, 3).double().train(training)
    theirs.load_state_dict(to_reference(architecture, {name: weight.clone() for name, weight in ours.state_dict().items()}))
    data = Batch.from_data_list(to_graphs(dataset, torch.float64))
    expected = theirs(data.x, data.edge_index, data.batch, dataset.num_graphs)
    logits = ours.forward_batch(Collator(dataset, dtype=torch.float64).all()).logits
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)

    upstream = torch.randn_like(logits)
    for output in (logits, expected):
        (output * upstream).sum().backward()
    gradients = to_reference(architecture, {name: weight.grad for name, weight in ours.named_parameters() if weight.grad is not None})
    expected_gradients = {name: weight.grad for name, weight in theirs.named_parameters() if weight.grad is not None}
    assert gradients_difference(gradients, expected_gradients) < BOUNDS["float64"]


def test_running_statistics_follow_alike() -> None:
    dataset = make_dataset("graph", "single-label")
    options = resolve_student(StudentOptions(architecture="gcn", dropout=0.0, **SMALL), "graph")
    ours, theirs = Student(options, "graph", dataset.num_features, 3), ReferenceStudent(options, "graph", dataset.num_features, 3)
    theirs.load_state_dict(to_reference("gcn", ours.state_dict()))
    data = Batch.from_data_list(to_graphs(dataset))
    ours.train().forward_batch(Collator(dataset).all())
    theirs.train()(data.x, data.edge_index, data.batch, dataset.num_graphs)
    buffers = to_reference("gcn", ours.state_dict())
    means = [name for name in buffers if name.endswith("running_mean")]
    assert means and all(buffers[name].any() for name in means)
    for name in (*means, *[name.replace("mean", "var") for name in means]):
        torch.testing.assert_close(theirs.state_dict()[name], buffers[name])


def test_dropout_is_drawn_in_training_and_only_there() -> None:
    dataset = make_dataset("node", "single-label")
    student = ReferenceStudent(resolve_student(StudentOptions(**SMALL), "node"), "node", dataset.num_features, 3)
    graph = to_graphs(dataset)[0]
    first, second = (student(graph.x, graph.edge_index) for _ in range(2))
    assert not torch.equal(first, second)
    student.eval()
    first, second = (student(graph.x, graph.edge_index) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("task", "architecture", "more"),
    [
        ("node", "gat", {}),
        ("node", "gin", {}),
        ("graph", "gcn", {}),
        ("node", "sage", {"dropout": 0.1, "input_dropout": 0.7, "residual": True}),
        ("graph", "gin", {"dropout": 0.1, "input_dropout": 0.7}),
    ],
)
def test_dropout_moves_logits_on_both_sides_alike(task: str, architecture: str, more: dict[str, object]) -> None:
    """Draws differ; over many of them mean and variance of every logit do not."""
    draws = 300
    dataset = make_dataset(task, "single-label")
    options = resolve_student(StudentOptions(**{"architecture": architecture, "norm": "none", "dropout": 0.5, **SMALL, **more}), task)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        ours = Student(options, task, dataset.num_features, 3).double()
        theirs = ReferenceStudent(options, task, dataset.num_features, 3).double()
        theirs.load_state_dict(to_reference(architecture, ours.state_dict()))
        batch, data = Collator(dataset, dtype=torch.float64).all(), Batch.from_data_list(to_graphs(dataset, torch.float64))
        generator = torch.Generator().manual_seed(1)
        mine = torch.stack([ours.forward_batch(batch, generator).logits for _ in range(draws)])
        other = torch.stack([theirs(data.x, data.edge_index, data.batch, dataset.num_graphs) for _ in range(draws)])
    errors = ((mine.var(0) + other.var(0)) / draws).sqrt()
    assert ((mine.mean(0) - other.mean(0)) / errors).square().mean().sqrt() < 1.5
    assert abs((mine.var(0) / other.var(0)).log().mean()) < 0.1
