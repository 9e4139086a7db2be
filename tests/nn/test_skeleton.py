"""Options of the skeleton that are off by default, each against a plain version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.configuration.resolve import resolve, resolved_values
from dgl_mutual.nn import blocks
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.blocks import LayerwiseBatch
from dgl_mutual.nn.convolutions import CONVOLUTIONS
from dgl_mutual.nn.csr import Pattern, SparseMatrix
from dgl_mutual.nn.dgl_layers import DGL_LAYERS
from dgl_mutual.nn.noise import with_noise
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student, resolve_student
from dgl_mutual.store.configuration import identity

MakeDataset = Callable[..., Dataset]
PLAIN_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: x.clamp(min=0),
    "elu": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x / (1 + (-x).exp()),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"residual": True},
    {"norm": "layer"},
    {"norm": "batch", "residual": True},
    *({"activation": name} for name in PLAIN_ACTIVATIONS),
    {"residual": True, "norm": "layer", "activation": "gelu", "readout": "jumping"},
]


def student_of(architecture: str, task: str, dataset: Dataset, **options: Any) -> Student:
    torch.manual_seed(0)
    student = Student(
        StudentOptions(architecture=architecture, hidden=8, heads=2, depth=3, **options), task, dataset.num_features, 3
    ).double()
    with torch.no_grad():
        for weight in (*student.parameters(), *(buffer for buffer in student.buffers() if buffer.is_floating_point())):
            weight.uniform_(-0.6, 0.9).abs_()
    return student.eval()


def plain_logits(student: Student, batch: GraphBatch) -> Tensor:
    """Layer after layer, with plain tensors but for the convolutions."""
    options = student.options
    activation = PLAIN_ACTIVATIONS[options.activation or ("elu" if options.architecture == "gat" else "relu")]
    x: Any = batch.features
    states: list[Tensor] = []
    virtual = None if student.virtual_node is None else student.virtual_node.start.repeat(batch.num_graphs, 1)

    def normalised(state: Tensor, norm: Any) -> Tensor:
        if options.norm == "layer":
            spread = ((state - state.mean(1, keepdim=True)) ** 2).mean(1, keepdim=True)
            return (state - state.mean(1, keepdim=True)) / (spread + 1e-5).sqrt() * norm.weight + norm.bias
        if options.norm == "batch":
            return (state - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
        return state

    for index, convolution in enumerate(student.convolutions):
        state = convolution(batch, x, None)
        if index == len(student.convolutions) - 1 and student.classifier is None:
            return state
        if options.residual:
            dense = x.csr.to_dense() if isinstance(x, SparseMatrix) else x
            residual = student.residuals[index]  # type: ignore[index]  # there is one
            state = state + dense @ residual.weight + residual.bias
        x = activation(normalised(state, student.norms[index] if len(student.norms) else None))
        states.append(x)
        if virtual is not None and index < 2:
            assert student.virtual_node is not None
            virtual = student.virtual_node.updates[index](
                torch.stack([x[batch.batch_index == graph].sum(0) for graph in range(batch.num_graphs)]) + virtual
            )
            x = x + virtual[batch.batch_index]
    seen = states if options.readout == "jumping" else states[-1:]

    def pooled(x: Tensor) -> Tensor:
        rows = [x[batch.batch_index == graph] for graph in range(batch.num_graphs)]
        how: dict[str, Callable[[Tensor], Tensor]] = {"sum": lambda x: x.sum(0), "mean": lambda x: x.mean(0), "max": lambda x: x.amax(0)}
        return torch.stack([how[options.pooling](own) for own in rows])

    if student.task == "graph":
        seen = list(map(pooled, seen))
    assert student.classifier is not None
    logits = F.linear(torch.cat(seen, 1), student.classifier.weight, student.classifier.bias)
    if student.input_readout is None:
        return logits
    features = batch.features.csr.to_dense() if isinstance(batch.features, SparseMatrix) else batch.features
    first, last = student.input_readout.first, student.input_readout.last
    state = normalised(pooled(features) @ first.weight.T + first.bias, student.input_readout.norm)
    return logits + activation(state) @ last.weight.T


@pytest.mark.parametrize("architecture", CONVOLUTIONS)
@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_student_equals_its_plain_version(architecture: str, task: str, options: dict[str, Any], make_dataset: MakeDataset) -> None:
    dataset = make_dataset((7, 1, 4), sparse_="residual" in options)
    student, batch = student_of(architecture, task, dataset, **options), Collator(dataset, dtype=torch.float64).all()
    torch.testing.assert_close(student.forward_batch(batch).logits, plain_logits(student, batch))


@pytest.mark.parametrize("architecture", CONVOLUTIONS)
@pytest.mark.parametrize("readout", ["last", "jumping"])
def test_the_virtual_node_equals_its_plain_version(architecture: str, readout: str, make_dataset: MakeDataset) -> None:
    dataset = make_dataset((7, 1, 4))
    student = student_of(architecture, "graph", dataset, virtual_node=True, readout=readout)
    batch = Collator(dataset, dtype=torch.float64).all()
    torch.testing.assert_close(student.forward_batch(batch).logits, plain_logits(student, batch))
    alone = Collator(dataset, dtype=torch.float64)([2])
    torch.testing.assert_close(student.forward_batch(alone).logits, student.forward_batch(batch).logits[2:])


@pytest.mark.parametrize("architecture", CONVOLUTIONS)
@pytest.mark.parametrize("options", [{"readout": "last"}, {"norm": "none", "activation": "elu"}, {"norm": "layer"}], ids=str)
@pytest.mark.parametrize("pooling", ["sum", "mean", "max"])
@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
def test_the_readout_of_the_input_equals_its_plain_version(
    architecture: str, options: dict[str, Any], pooling: str, sparse_: bool, make_dataset: MakeDataset
) -> None:
    dataset = make_dataset((7, 1, 4), sparse_=sparse_)
    student = student_of(architecture, "graph", dataset, input_readout=True, pooling=pooling, **options)
    batch = Collator(dataset, dtype=torch.float64).all()
    torch.testing.assert_close(student.forward_batch(batch).logits, plain_logits(student, batch))


def test_a_virtual_node_connects_nodes_without_edges(make_dataset: MakeDataset) -> None:
    dataset = make_dataset((5, 5)).replaced(edges=np.empty((2, 0), dtype=np.int64))
    assert isinstance(dataset.features, np.ndarray)
    features = dataset.features.copy()
    features[0] += 1
    batches = [Collator(data, dtype=torch.float64).all() for data in (dataset, dataset.replaced(features=features))]
    for virtual, reached in ((True, True), (False, False)):
        student = student_of("gcn", "graph", dataset, virtual_node=virtual)
        before, after = (student.forward_batch(batch).hidden[-1] for batch in batches)
        assert (not torch.equal(before[1:5], after[1:5])) == reached
        assert torch.equal(before[5:], after[5:])


@pytest.mark.parametrize("architecture", [*CONVOLUTIONS, *DGL_LAYERS])
@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
def test_layer_by_layer(architecture: str, sparse_: bool, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CHUNK_EDGES", 6)
    dataset = make_dataset((15,), sparse_=sparse_)
    student = student_of(architecture, "node", dataset, residual=True, norm="layer", activation="silu", readout="jumping")
    whole, samples = Collator(dataset, dtype=torch.float64).all(), torch.tensor([14, 3, 5])
    with torch.no_grad():
        expected = student.forward_batch(whole).logits[samples]
        torch.testing.assert_close(student.forward_batch(LayerwiseBatch(whole, samples)).logits, expected)


def test_dropout_on_features_alone(make_dataset: MakeDataset) -> None:
    """With all hidden dropout off, logits change with the input's; with all features dropped, they are those of zero features."""
    dataset = make_dataset((9,))
    batch = Collator(dataset, dtype=torch.float64).all()
    generator = torch.Generator().manual_seed(0)
    off = student_of("gcn", "node", dataset, dropout=0.0, input_dropout=0.0)
    assert torch.equal(off.forward_batch(batch, generator).logits, off.forward_batch(batch).logits)
    on = student_of("gcn", "node", dataset, dropout=0.0, input_dropout=0.999)
    nothing = dataset.replaced(features=np.zeros_like(dataset.features))
    expected = on.forward_batch(Collator(nothing, dtype=torch.float64).all()).logits
    torch.testing.assert_close(on.forward_batch(batch, generator).logits, expected)
    assert torch.equal(on.forward_batch(batch).logits, off.forward_batch(batch).logits)
    as_others = student_of("gcn", "node", dataset, dropout=0.4)
    assert as_others.input_rate == as_others.hidden_rate == 0.4
    graph = student_of("gcn", "graph", dataset, dropout=0.4, input_dropout=0.2)
    assert (graph.input_rate, graph.hidden_rate) == (0.2, 0.0)


@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
def test_noise_is_on_the_features_in_training_and_evaluation(sparse_: bool, make_dataset: MakeDataset) -> None:
    dataset = make_dataset((400,), sparse_=sparse_)
    batch = Collator(dataset, dtype=torch.float64).all()
    noisy, plain = (student_of("gcn", "node", dataset, feature_noise=noise, dropout=0.0) for noise in (0.25, None))
    assert torch.equal(noisy.forward_batch(batch).logits, noisy.forward_batch(batch).logits)
    assert not torch.equal(noisy.forward_batch(batch).logits, plain.forward_batch(batch).logits)
    generator = torch.Generator().manual_seed(1)
    first, second = (noisy.forward_batch(batch, generator).logits for _ in range(2))
    assert not torch.equal(first, second)
    seen = with_noise(batch.features, 0.25, torch.Generator().manual_seed(1))
    x, seen = (one.csr.to_dense() if isinstance(one, SparseMatrix) else one for one in (batch.features, seen))
    factors = (seen / x)[x != 0]
    assert factors.mean() == pytest.approx(0.75, abs=0.04) and factors.std() == pytest.approx(0.25, abs=0.04)
    assert not seen[x == 0].any()
    given = Collator(dataset.replaced(features=seen.numpy().astype(np.float32)), dtype=torch.float64).all()
    torch.testing.assert_close(plain.forward_batch(given).logits, first, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["gin", "bag"])
@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
def test_the_noise_on_a_graph_does_not_depend_on_its_batch(sparse_: bool, architecture: str, make_dataset: MakeDataset) -> None:
    dataset = make_dataset((5, 9, 400, 7), sparse_=sparse_)
    student = student_of(architecture, "graph", dataset, feature_noise=0.25, dropout=0.0)
    collate = Collator(dataset, dtype=torch.float64)
    together = student.forward_batch(collate.all()).logits
    for graph in range(4):
        torch.testing.assert_close(student.forward_batch(collate(np.array([graph]))).logits[0], together[graph])
    torch.testing.assert_close(student.forward_batch(collate(np.array([3, 0]))).logits, together[[3, 0]])
    batch = collate.all()
    seen = with_noise(batch.features, 0.25, None, batch.node_offsets)
    x, seen = (one.csr.to_dense() if isinstance(one, SparseMatrix) else one for one in (batch.features, seen))
    factors = (seen / x)[x != 0]
    assert factors.mean() == pytest.approx(0.75, abs=0.04) and factors.std() == pytest.approx(0.25, abs=0.04)
    torch.testing.assert_close(with_noise(4 * x, 0.25, None, batch.node_offsets), 4 * seen)


@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
def test_the_noise_on_nodes_depends_on_their_graph_alone(sparse_: bool, make_dataset: MakeDataset) -> None:
    dataset = make_dataset((5, 9, 400, 7), sparse_=sparse_)
    student = student_of("gin", "node", dataset, feature_noise=0.25, dropout=0.0)
    collate = Collator(dataset, dtype=torch.float64)
    whole = collate.all()
    together = student.forward_batch(whole).logits
    alone = [student.forward_batch(collate(np.array([graph]))).logits for graph in range(4)]
    torch.testing.assert_close(torch.cat(alone), together)
    samples = torch.tensor([3, 7, 410, 417])
    torch.testing.assert_close(student.forward_batch(LayerwiseBatch(whole, samples)).logits, together[samples])
    one = make_dataset((400,), sparse_=sparse_)
    batch = Collator(one, dtype=torch.float64).all()
    seen = with_noise(batch.features, 0.25, None, batch.node_offsets, "node")
    x, seen = (part.csr.to_dense() if isinstance(part, SparseMatrix) else part for part in (batch.features, seen))
    as_drawn = with_noise(x[x != 0].unsqueeze(1), 0.25, torch.Generator().manual_seed(0))
    assert torch.equal(seen[x != 0].unsqueeze(1), as_drawn)  # of one graph, a number for each feature that is not zero


@pytest.mark.parametrize("task", ["node", "graph"])
def test_the_noise_in_evaluation_does_not_depend_on_how_features_are_stored(task: TaskName) -> None:
    offsets, random = torch.tensor([0, 4, 4, 30]), torch.Generator().manual_seed(0)
    x = torch.randn(30, 40, generator=random) * (torch.rand(30, 40, generator=random) < 0.1)
    matrix = x.to_sparse_csr()
    stored = SparseMatrix(Pattern(matrix.crow_indices(), matrix.col_indices(), 40), matrix.values())
    noisy = with_noise(stored, 0.5, None, offsets, task)
    assert isinstance(noisy, SparseMatrix)
    assert torch.equal(noisy.csr.to_dense(), with_noise(x, 0.5, None, offsets, task))


@pytest.mark.parametrize(("task", "options"), [("node", {"residual": True}), ("graph", {"input_readout": True})])
def test_scaling_reaches_all_weights_of_features(task: str, options: dict[str, Any], make_dataset: MakeDataset) -> None:
    dataset = make_dataset((9,))
    student = student_of("sage", task, dataset, **options)
    scales = torch.tensor([2.0, 4.0, 0.5, 1.0, 8.0], dtype=torch.float64)
    scaled = dataset.replaced(features=dataset.features * scales.numpy().astype(np.float32))
    expected = student.forward_batch(Collator(scaled, dtype=torch.float64).all()).logits
    student.fold_input_scaling(scales)
    torch.testing.assert_close(student.forward_batch(Collator(dataset, dtype=torch.float64).all()).logits, expected)


def test_all_weights_are_drawn_anew(make_dataset: MakeDataset) -> None:
    student = student_of("gin", "graph", make_dataset((5, 4)), residual=True, norm="layer", virtual_node=True, input_readout=True)
    before = {name: weight.clone() for name, weight in student.named_parameters()}
    student.reset_parameters()
    assert all(not torch.equal(before[name], weight) for name, weight in student.named_parameters())


def test_options_that_are_off_count_as_absent_and_those_without_meaning_are_refused(make_dataset: MakeDataset) -> None:
    for name in ("virtual_node", "input_readout"):
        with pytest.raises(UsageError, match=rf"student\.{name} .*for graph tasks"):
            resolve_student(StudentOptions(**{name: True}), "node")
    dataset = make_dataset((5, 4, 6, 7, 5, 5))
    decisive = identity(resolved_values(resolve(parse_config({}), dataset)))
    for name, value in {
        "residual": True,
        "virtual_node": True,
        "input_readout": True,
        "input_dropout": 0.0,
        "activation": "elu",
        "feature_noise": 0.1,
        "starts_after": 0.5,
    }.items():
        assert name not in str(decisive)
        assert name in str(identity(resolved_values(resolve(parse_config({"student": {name: value}}), dataset))))
