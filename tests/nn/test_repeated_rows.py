"""Matrices of few distinct rows: the same results and gradients as from any other matrix with the same values."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.nn import batch as batches
from dgl_mutual.nn import kernels
from dgl_mutual.nn.adjacency import Adjacency, Norm
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.blocks import LayerwiseBatch
from dgl_mutual.nn.csr import Codes, RepeatedRows, SparseMatrix, take_columns, take_rows
from dgl_mutual.nn.dgl_graphs import dense
from dgl_mutual.nn.edge_functional import aggregate_messages, aggregate_repeated, are_repeated, edge_scores, repeated_messages
from dgl_mutual.nn.functional import linear
from dgl_mutual.nn.module import EdgeInput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student
from dgl_mutual.nn.views import perturbed

MakeDataset = Callable[..., Dataset]
NORMS: tuple[Norm, ...] = ("sum", "mean", "symmetric")
SIZES = (9, 0, 1, 30, 22, 18)


def repeated(rows: int = 50, distinct: int = 4, columns: int = 3) -> RepeatedRows:
    """Code 1 does not occur."""
    random = torch.Generator().manual_seed(0)
    numbers = torch.randint(distinct, (rows,), generator=random, dtype=torch.int32)
    numbers[numbers == 1] = 2
    table = torch.randn(distinct, columns, generator=random, dtype=torch.float64)
    table[0, 1] = 0
    return RepeatedRows(table, Codes(numbers, distinct))


def same(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn(ours.shape[::-1], dtype=ours.dtype).permute(*range(ours.ndim)[::-1])  # not contiguous
    gradients = [torch.autograd.grad(result, inputs, upstream, retain_graph=True) for result in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def second_derivatives(result: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of the square of the result: gradients of the squared length of its gradient."""
    first = torch.autograd.grad(result.square().sum(), inputs, create_graph=True)
    return torch.autograd.grad(sum(gradient.square().sum() for gradient in first), inputs)


@pytest.mark.parametrize("with_bias", [False, True])
def test_products(with_bias: bool) -> None:
    x = repeated()
    weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 5), (5,)))
    plus = bias if with_bias else None
    inputs = (weight, bias) if with_bias else (weight,)
    same(linear(x, weight, plus), dense(x) @ weight + (bias if with_bias else 0), inputs)
    ours, theirs = (
        second_derivatives(result, inputs) for result in (linear(x, weight, plus), dense(x) @ weight + (0 if plus is None else plus))
    )
    torch.testing.assert_close(ours, theirs)


def test_rows_and_columns() -> None:
    x = repeated()
    values = dense(x)
    assert x.shape == values.shape and x.dtype == torch.float64
    for rows in (slice(3, 20), slice(0, 0), torch.tensor([7, 7, 0])):
        taken = take_rows(x, rows)
        assert isinstance(taken, RepeatedRows) and torch.equal(dense(taken), values[rows])
    taken = take_columns(x, (0, 2))
    assert isinstance(taken, RepeatedRows) and torch.equal(dense(taken), values[:, [0, 2]])


def test_as_a_sparse_matrix() -> None:
    x = repeated()
    values = dense(x)
    assert torch.equal(x.csr.to_dense(), values) and len(x.values) < values.numel()
    assert torch.equal(x.transposed.csr.to_dense(), values.t())
    weight = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(kernels.spmm(SparseMatrix(x.pattern, x.values), weight), values @ weight)


@pytest.mark.parametrize("count", [5, 40_000])  # numbers that fit 16 bits, and others
def test_groups_of_codes(count: int) -> None:
    numbers = torch.randint(count, (70,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    offsets, order = Codes(numbers, count).groups
    assert len(offsets) == count + 1 and offsets[-1] == len(order) == len(numbers)
    assert torch.equal(order.sort().values, torch.arange(len(order), dtype=torch.int32))
    expected = torch.repeat_interleave(torch.arange(count), offsets.diff().long())
    assert torch.equal(numbers[order.long()].long(), expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_sums_of_segments(weighted: bool, ordered: bool) -> None:
    x, offsets = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 0, 2, 2, 5, 6, 6])
    order = torch.tensor([3, 1, 0, 5, 4, 2]) if ordered else None
    weights = torch.rand(6, dtype=torch.float64) if weighted else None
    rows = (x if order is None else x[order]) * (1 if weights is None else weights.unsqueeze(1))
    expected = torch.stack([rows[start:end].sum(0) for start, end in pairwise(offsets)])
    torch.testing.assert_close(kernels.segment_sums(x, offsets, order, weights), expected)
    assert torch.equal(kernels.segment_sums(x[:0], torch.zeros(4, dtype=torch.int64)), torch.zeros(3, 4, dtype=torch.float64))


def molecules(make_dataset: MakeDataset, *, sparse_: bool) -> Dataset:
    """Graphs whose nodes have one of four, and edges one of three, rows of features."""
    dataset, random = make_dataset(SIZES, directed=True, edges_per_node=3), np.random.default_rng(0)
    atoms, bonds = (random.normal(size=shape).astype(np.float32) for shape in ((4, 5), (3, 2)))
    edge_features = bonds[random.integers(3, size=dataset.num_edges)]
    return dataset.replaced(
        features=sparse.csr_matrix(atoms[random.integers(4, size=dataset.num_nodes)]),
        feature_kinds=("edge-sum", "number", "number", "edge-sum", "number"),
        edge_features=sparse.csr_matrix(edge_features) if sparse_ else edge_features,
        edge_feature_names=("e0", "e1"),
    )


def collators(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> tuple[Collator, Collator]:
    """One that makes use of repeated rows, and one that does not."""
    ours = Collator(dataset, dtype=torch.float64)
    monkeypatch.setattr(batches, "distinct_rows", lambda features: None)
    return ours, Collator(dataset, dtype=torch.float64)


def kinds_of(batch: GraphBatch) -> list[bool]:
    return [isinstance(features, RepeatedRows) for features in (batch.features, batch.edge_features)]


@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("has", ["", "bias", "self", "bias and self"])
def test_messages(norm: Norm, has: str, sparse_: bool, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = (collate.all() for collate in collators(molecules(make_dataset, sparse_=sparse_), monkeypatch))
    assert kinds_of(ours) == [True, True] and kinds_of(plain) == [False, False]
    shapes = ((ours.num_nodes, 4), (2, 4), (4,), (1,))
    x, weight, bias, factor = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    options = {name: value for name, key, value in (("bias", "bias", bias), ("self_weight", "self", factor)) if key in has}
    inputs = (x, weight, *options.values())
    features = dense(plain.edge_features)  # type: ignore[arg-type]  # it has some
    messages = torch.relu(x[plain.sources] + features @ weight + options.get("bias", torch.zeros(4)))
    expected = torch.zeros_like(x).index_add(0, plain.pattern.rows.long(), messages * plain.edge_weights(norm).unsqueeze(1))
    expected = expected + x * options["self_weight"] if "self" in has else expected
    for graph in (ours, plain):
        same(aggregate_messages(graph, norm, x, weight, **options), expected, inputs)
    chunked = LayerwiseBatch(ours, torch.arange(ours.num_nodes)).adjacencies(2)[0]
    with torch.no_grad():
        torch.testing.assert_close(aggregate_messages(chunked, norm, x, weight, **options), expected)


@pytest.mark.parametrize("norm", NORMS)
def test_messages_of_repeated_states(norm: Norm, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = (collate.all() for collate in collators(molecules(make_dataset, sparse_=False), monkeypatch))
    x = ours.features
    assert are_repeated(x, ours)
    table, weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 6), (2, 6), (6,)))
    messages = repeated_messages(ours, table, weight, bias)
    assert messages.shape == (4 * 3, 6)
    expected = aggregate_messages(plain, norm, table[x.codes.numbers.long()], weight, bias)
    inputs = (table, weight, bias)
    same(aggregate_repeated(ours, norm, x, messages), expected, inputs)
    each = torch.relu(table[x.codes.numbers.long()][plain.sources] + dense(plain.edge_features) @ weight + bias)  # type: ignore[arg-type]
    plainly = torch.zeros(plain.num_nodes, 6, dtype=torch.float64).index_add(
        0, plain.pattern.rows.long(), each * plain.edge_weights(norm).unsqueeze(1)
    )
    ours, theirs = (second_derivatives(result, inputs) for result in (aggregate_repeated(ours, norm, x, messages), plainly))
    torch.testing.assert_close(ours, theirs)


def test_messages_are_not_repeated_where_graphs_are_sampled_or_in_chunks(make_dataset: MakeDataset) -> None:
    whole = Collator(molecules(make_dataset, sparse_=False)).all()
    block = Adjacency(whole.in_offsets, whole.sources, whole.dtype, dst_index=torch.arange(whole.num_nodes))
    block.edge_features = whole.edge_features
    chunked = LayerwiseBatch(whole, torch.arange(whole.num_nodes)).adjacencies(2)[0]
    assert [are_repeated(whole.features, graph) for graph in (whole, block, chunked)] == [True, False, False]


@pytest.mark.parametrize("heads", [1, 3])
def test_scores(heads: int, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = (collate.all() for collate in collators(molecules(make_dataset, sparse_=False), monkeypatch))
    weight = torch.randn(2, heads, dtype=torch.float64, requires_grad=True)
    same(edge_scores(ours, weight), edge_scores(plain, weight), (weight,))


@pytest.mark.parametrize("architecture", ["gcn", "gat", "gin", "sage", "mlp"])
def test_students(architecture: str, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = molecules(make_dataset, sparse_=False)
    torch.manual_seed(0)
    edges = EdgeInput.of(dataset.num_edge_features, dataset.feature_kinds)
    student = Student(StudentOptions(architecture=architecture, hidden=8, heads=2), "graph", dataset.num_features, 3, edges).double()
    ours, plain = collators(dataset, monkeypatch)
    batches = [[collate(graphs) for graphs in ([5, 3], [1, 0, 4, 2], [2])] for collate in (ours, plain)]
    assert kinds_of(batches[0][0]) == [True, True] and kinds_of(batches[1][0]) == [False, False]
    # The last batch has one node, and there are twelve pairs of the four kinds of nodes and the three of edges.
    assert [[are_repeated(batch.features, batch) for batch in each] for each in batches] == [[True, True, False], [False] * 3]
    wholes, streams = [collate.all() for collate in (ours, plain)], [torch.Generator().manual_seed(1) for _ in range(4)]
    views = [
        perturbed(whole, edge_drop=0.3, feature_mask=0.2, node_drop=0.1, keeps_nodes=False, edges=one, columns=other)
        for whole, one, other in zip(wholes, streams[::2], streams[1::2], strict=True)
    ]
    for batch, expected in zip([*batches[0], wholes[0], views[0]], [*batches[1], wholes[1], views[1]], strict=True):
        outputs = [student.forward_batch(graphs, torch.Generator().manual_seed(0)).logits for graphs in (batch, expected)]
        torch.testing.assert_close(*outputs)
        gradients = [torch.autograd.grad(output.square().sum(), list(student.parameters())) for output in outputs]
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_only_rows_that_occur_in_a_batch_are_kept(make_dataset: MakeDataset) -> None:
    table, codes = np.random.default_rng(0).random((100, 2)), np.array([99, 3, 3, 0, 99], dtype=np.int32)
    x = RepeatedRows.of_table(torch.as_tensor(table), codes)
    assert len(x.table) == 3 == x.codes.count
    np.testing.assert_array_equal(dense(x).numpy(), table[codes])
