from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dgl
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.architectures import ARCHITECTURES
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.convolutions import CONVOLUTIONS
from dgl_mutual.nn.dgl_layers import DGL_LAYERS
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student, resolve_student, without_effect
from dgl_mutual.options import parse_options

MakeDataset = Callable[..., Dataset]
FEATURES, CLASSES = 5, 3
SIZES = (6, 1, 9, 4)

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)
of_nodes = pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "bag"])
depths = pytest.mark.parametrize("depth", [1, 2, 3])
cases = pytest.mark.parametrize(
    ("architecture", "depth"),
    [*((name, depth) for name in CONVOLUTIONS for depth in (1, 2, 3)), *((name, 2) for name in (*DGL_LAYERS, "mlp"))],
)
readouts = pytest.mark.parametrize("readout", ["last", "jumping"])
norms = pytest.mark.parametrize("norm", ["none", "batch"])


def make_student(task: TaskName, **options: Any) -> Student:
    """In evaluation mode, with running statistics that are not those of a fresh batch norm."""
    torch.manual_seed(1)
    student = Student(StudentOptions(**{"hidden": 8, "heads": 4, **options}), task, FEATURES, CLASSES).double().eval()
    for module in student.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return student


def permuted(dataset: Dataset, order: np.ndarray) -> GraphBatch:
    """Node order[i] becomes node i."""
    place = np.argsort(order)
    edges = canonical_edges(place[dataset.edges[0]], place[dataset.edges[1]], dataset.num_nodes, symmetric=False)
    features = np.asarray(dataset.features)[order]
    graph = dgl.graph((torch.as_tensor(edges[0]), torch.as_tensor(edges[1])), num_nodes=dataset.num_nodes)
    graph.ndata["feat"] = torch.as_tensor(features)
    graph.set_batch_num_nodes(torch.as_tensor(np.diff(dataset.node_offsets)))
    graph.set_batch_num_edges(torch.as_tensor(np.diff(dataset.edge_offsets)))
    return GraphBatch.from_dgl(graph, dtype=torch.float64)


@cases
@readouts
@norms
def test_node_student(architecture: str, depth: int, readout: str, norm: str, make_dataset: MakeDataset) -> None:
    dataset = make_dataset((12,))
    student = make_student("node", architecture=architecture, depth=depth, readout=readout, norm=norm)
    batch = Collator(dataset, dtype=torch.float64).all()
    output = student.forward_batch(batch)

    assert output.logits.shape == (12, CLASSES)
    num_hidden = depth if readout == "jumping" else depth - 1
    assert [state.shape for state in output.hidden] == [(12, 8)] * num_hidden
    if readout == "jumping":
        torch.testing.assert_close(output.embedding, torch.cat(output.hidden, dim=1))
        torch.testing.assert_close(output.logits, student.classifier(output.embedding))
    else:
        torch.testing.assert_close(output.embedding, output.hidden[-1] if depth > 1 else output.logits)

    order = np.random.default_rng(0).permutation(12)
    torch.testing.assert_close(student.forward_batch(permuted(dataset, order)).logits, output.logits[order])


@cases
@readouts
@norms
def test_graph_student(architecture: str, depth: int, readout: str, norm: str, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(SIZES)
    student = make_student("graph", architecture=architecture, depth=depth, readout=readout, norm=norm)
    collate = Collator(dataset, dtype=torch.float64)
    output = student.forward_batch(collate.all())

    assert output.logits.shape == (len(SIZES), CLASSES)
    assert [state.shape for state in output.hidden] == [(sum(SIZES), 8)] * depth
    assert output.embedding.shape == (len(SIZES), 8 * (depth if readout == "jumping" else 1))
    torch.testing.assert_close(output.logits, student.classifier(output.embedding))

    for chosen in ([2], [3, 1], [2, 2, 0]):
        torch.testing.assert_close(student.forward_batch(collate(chosen)).logits, output.logits[chosen])
    random = np.random.default_rng(0)
    order = np.concatenate([start + random.permutation(size) for start, size in zip(dataset.node_offsets[:-1], SIZES, strict=True)])
    torch.testing.assert_close(student.forward_batch(permuted(dataset, order)).logits, output.logits)


@of_nodes
@pytest.mark.parametrize("pooling", ["sum", "mean", "max"])
def test_embedding_is_the_pooled_state(architecture: str, pooling: str, make_dataset: MakeDataset) -> None:
    student = make_student("graph", architecture=architecture, depth=2, pooling=pooling)
    output = student.forward_batch(Collator(make_dataset(SIZES), dtype=torch.float64).all())
    states = [np.split(state.detach().numpy(), np.cumsum(SIZES)[:-1]) for state in output.hidden]
    expected = np.concatenate([[getattr(np, pooling)(part, axis=0) for part in layer] for layer in states], axis=1)
    np.testing.assert_allclose(output.embedding.detach().numpy(), expected, rtol=1e-10)


@architectures
@depths
def test_the_receptive_field_is_the_depth(architecture: str, depth: int) -> None:
    """On the directed path 0 -> 1 -> ... -> 12 the last node sees `depth` convolutions back, and no further."""
    nodes = torch.arange(13)
    graph = dgl.graph((nodes[:-1], nodes[1:]), num_nodes=13)
    graph.ndata["feat"] = torch.randn(13, FEATURES)
    batch = GraphBatch.from_dgl(graph, dtype=torch.float64)
    x = batch.features.clone().requires_grad_()
    batch.features = x
    make_student("node", architecture=architecture, depth=depth, norm="none").forward_batch(batch).logits[12].sum().backward()
    assert x.grad is not None
    # Convolutions of appnp do not propagate but for the last one.
    hops = dict.fromkeys(("sgc", "tag", "chebnet"), 2) | dict.fromkeys(("mlp", "bag"), 0)
    reach = 10 if architecture == "appnp" else depth * hops.get(architecture, 1)
    assert (x.grad.abs().sum(1) > 0).tolist() == [node >= 12 - reach for node in range(13)]


@architectures
@pytest.mark.parametrize("task", ["node", "graph"])
def test_sparse_and_dense_features_give_the_same(architecture: str, task: TaskName, make_dataset: MakeDataset) -> None:
    student = make_student(task, architecture=architecture)
    logits = [
        student.forward_batch(Collator(make_dataset(SIZES, sparse_=form), dtype=torch.float64).all()).logits for form in (False, True)
    ]
    torch.testing.assert_close(*logits)


@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
@architectures
def test_dropout_comes_from_the_generator_alone(architecture: str, sparse_: bool, make_dataset: MakeDataset) -> None:
    batch = Collator(make_dataset(sparse_=sparse_), dtype=torch.float64).all()
    student = make_student("node", architecture=architecture).train()

    def draw(seed: int) -> Tensor:
        torch.rand(seed + 1)  # what others draw from the global stream must not matter
        return student.forward_batch(batch, torch.Generator().manual_seed(seed)).logits

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert torch.equal(student.forward_batch(batch).logits, student.forward_batch(batch).logits)
    assert not torch.equal(draw(0), student.forward_batch(batch).logits)


def test_a_graph_student_drops_out_before_its_classifier_alone(make_dataset: MakeDataset) -> None:
    batch = Collator(make_dataset(SIZES), dtype=torch.float64).all()
    for architecture in ARCHITECTURES:
        student = make_student("graph", architecture=architecture)
        clean, noisy = student.forward_batch(batch), student.forward_batch(batch, torch.Generator().manual_seed(0))
        torch.testing.assert_close(noisy.embedding, clean.embedding, rtol=0, atol=0)
        assert not torch.equal(noisy.logits, clean.logits)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("gcn", (5 * 8 + 8) + (8 * 3 + 3)),
        ("gat", (5 * 8 + 8 + 2 * 8) + (8 * 3 + 3 + 2 * 3)),
        ("gin", (5 * 8 + 8 + 1 + 8 * 8 + 8) + (8 * 8 + 8 + 1 + 8 * 3 + 3)),
        ("sage", (2 * 5 * 8 + 8) + (2 * 8 * 3 + 3)),
    ],
)
def test_parameters(architecture: str, expected: int) -> None:
    student = make_student("node", architecture=architecture, depth=2)
    assert sum(parameter.numel() for parameter in student.parameters()) == expected


def test_every_parameter_has_a_gradient(make_dataset: MakeDataset) -> None:
    for task, sizes in (("node", (12,)), ("graph", SIZES)):
        for architecture in ARCHITECTURES:
            student = make_student(task, architecture=architecture).train()  # type: ignore[arg-type]  # a literal out of a loop
            output = student.forward_batch(Collator(make_dataset(sizes), dtype=torch.float64).all())
            (output.logits * torch.randn_like(output.logits)).sum().backward()
            for name, parameter in student.named_parameters():
                assert parameter.grad is not None and parameter.grad.isfinite().all(), (task, architecture, name)


def test_reset_parameters_reaches_every_weight() -> None:
    for architecture in ARCHITECTURES:
        student = make_student("graph", architecture=architecture, norm="batch")
        with torch.no_grad():
            for value in (*student.parameters(), *student.buffers()):
                value.fill_(9)
        student.reset_parameters()
        assert all(not (value == 9).any() for value in (*student.parameters(), *student.buffers()))


def test_resolve_fills_in_what_task_and_architecture_say() -> None:
    node, graph = (resolve_student(StudentOptions(architecture="gat"), task) for task in ("node", "graph"))
    assert (node.depth, node.dropout, node.norm, node.readout) == (2, 0.6, "none", "last")
    assert (graph.depth, graph.dropout, graph.norm, graph.readout) == (3, 0.5, "batch", "jumping")
    assert resolve_student(StudentOptions(), "node").dropout == 0.5
    given = StudentOptions(depth=1, dropout=0.0, norm="batch", readout="jumping", edge_features=False)
    assert resolve_student(given, "node") == given
    assert resolve_student(node, "node") == node


def test_resolve_refuses_what_cannot_be_built() -> None:
    with pytest.raises(UsageError, match="hidden width 10 cannot have 8 heads"):
        resolve_student(StudentOptions(architecture="gat", hidden=10), "node")
    resolve_student(StudentOptions(architecture="gcn", hidden=10), "node")
    with pytest.raises(UsageError, match=r"Unknown student 'gcm'. Did you mean 'gcn'.*gcn, gat, gin, sage"):
        resolve_student(StudentOptions().model_copy(update={"architecture": "gcm"}), "node")


@pytest.mark.parametrize(
    ("values", "message"),
    [({"architecture": "gnc"}, "'gnc'.*sage"), ({"depth": 0}, "depth.*0"), ({"dropout": 1.0}, "dropout.*1.0"), ({"width": 3}, "'width'")],
)
def test_options_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_options(StudentOptions, values)


@architectures
def test_smallest_width(architecture: str, make_dataset: MakeDataset) -> None:
    for task in ("node", "graph"):
        student = make_student(task, architecture=architecture, hidden=1, heads=1)  # type: ignore[arg-type]  # a literal out of a loop
        assert student.forward_batch(Collator(make_dataset(SIZES), dtype=torch.float64).all()).logits.isfinite().all()


#: Two values of each option.
TWO_VALUES: dict[str, tuple[Any, Any]] = {
    "hidden": (8, 16),
    "heads": (2, 4),
    "dropout": (0.1, 0.6),
    "input_dropout": (0.1, 0.6),
    "feature_noise": (None, 0.5),
    "norm": ("none", "batch"),
    "activation": ("relu", "tanh"),
    "residual": (False, True),
    "virtual_node": (False, True),
    "input_readout": (False, True),
    "readout": ("last", "jumping"),
    "pooling": ("sum", "mean"),
}


def outcome(task: TaskName, batch: GraphBatch, **options: Any) -> tuple[list[torch.Size], Tensor]:
    """The shapes of a student's parameters, and what it predicts in training. Parameters of one shape are the same in all students."""
    student = make_student(task, **options).train()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    return [parameter.shape for parameter in student.parameters()], student.forward_batch(batch, torch.Generator().manual_seed(0)).logits


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("depth", [1, 2])
@architectures
def test_options_without_effect_are_those_that_change_nothing(
    architecture: str, depth: int, task: TaskName, make_dataset: MakeDataset
) -> None:
    if (architecture, task) == ("bag", "node"):
        pytest.skip("it is for graphs")
    batch = Collator(make_dataset(SIZES if task == "graph" else (12,)), dtype=torch.float64).all()
    start = {"architecture": architecture, "depth": depth}
    unchanged = set()
    for name, values in TWO_VALUES.items():
        if task == "graph" or name not in ("virtual_node", "input_readout"):  # refused
            (shapes, logits), (other_shapes, others) = (outcome(task, batch, **start, **{name: value}) for value in values)
            unchanged |= {name} if shapes == other_shapes and torch.equal(logits, others) else set()
    assert set(without_effect(resolve_student(StudentOptions(**start), task), task)) == unchanged


@of_nodes
def test_one_layer_has_no_layer_norm(architecture: str, make_dataset: MakeDataset) -> None:
    batch = Collator(make_dataset((12,)), dtype=torch.float64).all()
    start: dict[str, Any] = {"architecture": architecture, "depth": 1}
    assert torch.equal(*(outcome("node", batch, **start, norm=norm)[1] for norm in ("none", "layer")))
    assert "norm" in without_effect(resolve_student(StudentOptions(**start, norm="layer"), "node"), "node")
