"""The package's own differentiable operations against compositions of plain ones."""

from __future__ import annotations

from collections.abc import Callable

import dgl.ops
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.nn import kernels
from dgl_mutual.nn.adjacency import Norm
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.functional import attention, edge_distance, edge_softmax, propagate, score_heads

HEADS, WIDTH = 2, 3
pytestmark = pytest.mark.usefixtures("backend")


def edge_by_edge(batch: GraphBatch, values: Tensor) -> Tensor:
    """One value a non-zero of the attention pattern as (edges, heads)."""
    pattern = batch.attention_pattern(HEADS)
    head_of, row_of = pattern.rows % HEADS, pattern.rows // HEADS
    by_head = [values[(head_of == head).nonzero().squeeze(1)] for head in range(HEADS)]
    assert torch.equal(row_of[head_of == 0], batch.looped_pattern.rows)
    return torch.stack(by_head, dim=1)


def composed(batch: GraphBatch, values: Tensor, source: Tensor, destination: Tensor, multiplier: Tensor | None) -> Tensor:
    """Attention out of DGL's differentiable operators."""
    rows, columns = (part.long() for part in (batch.looped_pattern.rows, batch.looped_pattern.indices))
    graph = dgl.graph((columns, rows), num_nodes=batch.num_nodes)
    attention = dgl.ops.edge_softmax(graph, F.leaky_relu(dgl.ops.u_add_v(graph, source, destination), 0.2))
    kept = attention if multiplier is None else attention * edge_by_edge(batch, multiplier)
    return dgl.ops.u_mul_e_sum(graph, values.view(-1, HEADS, WIDTH), kept.unsqueeze(-1)).flatten(1)


@pytest.fixture(params=["undirected", "directed", "no edges"])
def batch(request: pytest.FixtureRequest, make_dataset: Callable[..., Dataset]) -> GraphBatch:
    edges_per_node = 0 if request.param == "no edges" else 2
    return Collator(make_dataset((7,), directed=request.param == "directed", edges_per_node=edges_per_node), dtype=torch.float64).all()


@pytest.fixture(params=["plain", "multiplied"])
def inputs(request: pytest.FixtureRequest, batch: GraphBatch) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    random = torch.Generator().manual_seed(0)
    shapes = ((batch.num_nodes, HEADS * WIDTH), (batch.num_nodes, HEADS), (batch.num_nodes, HEADS))
    values, source, destination = (torch.randn(shape, dtype=torch.float64, generator=random, requires_grad=True) for shape in shapes)
    dropped = torch.rand(batch.attention_pattern(HEADS).indices.shape, dtype=torch.float64, generator=random) < 0.4
    return values, source, destination, torch.where(dropped, 0.0, 1 / 0.6) if request.param == "multiplied" else None


def test_attention_equals_its_composition(batch: GraphBatch, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None]) -> None:
    ours, theirs = attention(batch, *inputs), composed(batch, *inputs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    upstream = torch.randn_like(ours)
    gradients = torch.autograd.grad(ours, inputs[:3], upstream), torch.autograd.grad(theirs, inputs[:3], upstream)
    for our_gradient, their_gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-12)


def test_attention_passes_gradcheck(batch: GraphBatch, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None]) -> None:
    values, source, destination, multiplier = inputs
    assert gradcheck(lambda v, s, d: attention(batch, v, s, d, multiplier), (values, source, destination))


def test_scores_of_heads_are_inner_products_head_by_head() -> None:
    values = torch.randn(7, HEADS * WIDTH, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(2, HEADS, WIDTH, dtype=torch.float64, requires_grad=True)
    scores = score_heads(values, *vectors)
    for score, vector in zip(scores, vectors, strict=True):
        torch.testing.assert_close(score, (values.view(-1, HEADS, WIDTH) * vector).sum(2))
    assert gradcheck(lambda v, a, b: score_heads(v, a, b), (values, *vectors))
    assert gradcheck(lambda v, a: score_heads(v, a, a.detach())[0], (values, vectors[0]))


def test_attention_weights_sum_to_one(batch: GraphBatch) -> None:
    scores = torch.randn(batch.num_nodes, HEADS, dtype=torch.float64)
    ones = torch.ones(batch.num_nodes, HEADS * WIDTH, dtype=torch.float64)
    torch.testing.assert_close(attention(batch, ones, scores, scores, None), ones)


def test_attention_takes_views_and_broadcast_gradients(batch: GraphBatch) -> None:
    """A slice of a wider projection comes in, and the gradient of a sum (stride zero) comes back."""
    wide = torch.randn(batch.num_nodes, HEADS * WIDTH + 2 * HEADS, dtype=torch.float64, requires_grad=True)

    def gradient(operation: Callable[..., Tensor]) -> Tensor:
        values, source, destination = torch.split(wide, [HEADS * WIDTH, HEADS, HEADS], dim=1)
        if operation is composed:
            values = values.contiguous()
        return torch.autograd.grad(operation(batch, values, source, destination, None).sum(), wide)[0]

    torch.testing.assert_close(gradient(attention), gradient(composed), rtol=0, atol=1e-12)


def test_attention_survives_extreme_scores(batch: GraphBatch) -> None:
    values, scores = torch.randn(batch.num_nodes, HEADS * WIDTH), torch.randn(batch.num_nodes, HEADS) * 1e4
    for tensor in (values, scores):
        tensor.requires_grad_()
    attention(batch, values, scores, scores, None).square().sum().backward()
    assert values.grad is not None and values.grad.isfinite().all()
    assert scores.grad is not None and scores.grad.isfinite().all()


@pytest.mark.parametrize("spread", [1.0, 29.0, 31.0, 1e3])
def test_attention_is_exact_whatever_the_size_of_scores(spread: float, batch: GraphBatch) -> None:
    """On both sides of the size from which on a row's largest score is taken off."""
    random = torch.Generator().manual_seed(1)
    values = torch.randn(batch.num_nodes, HEADS * WIDTH, dtype=torch.float64, generator=random)
    scores = (torch.rand(batch.num_nodes, HEADS, dtype=torch.float64, generator=random) * spread / 2).requires_grad_()
    ours, theirs = attention(batch, values, scores, scores, None), composed(batch, values, scores, scores, None)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    gradients = (torch.autograd.grad(result.square().sum(), scores)[0] for result in (ours, theirs))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shift", [-25.0, 25.0])
def test_attention_is_accurate_in_single_precision(shift: float, batch: GraphBatch) -> None:
    random = torch.Generator().manual_seed(1)
    values, scores = (torch.randn(batch.num_nodes, width, generator=random).requires_grad_() for width in (HEADS * WIDTH, HEADS))
    single = attention(batch, values, scores + shift, scores, None)
    double = composed(batch, values.double(), scores.double() + shift, scores.double(), None)
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)
    gradients = (torch.autograd.grad((result * 1e-6).square().sum(), scores)[0].double() for result in (single, double))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-17)


@pytest.mark.parametrize("self_weight", [None, 1.5])
@pytest.mark.parametrize("norm", ["sum", "mean", "symmetric"])
def test_constant_features_are_aggregated_once(norm: Norm, self_weight: float | None, batch: GraphBatch) -> None:
    """A (x W) = (A x) W, values and gradients; a copy of the features is not known to stay the same."""
    if self_weight is not None and norm != "sum":
        return
    factor = None if self_weight is None else torch.tensor([self_weight], dtype=torch.float64, requires_grad=True)
    assert isinstance(batch.features, Tensor)
    weight = torch.randn(batch.features.shape[1], 8, dtype=torch.float64, requires_grad=True)
    plus = torch.randn(8, dtype=torch.float64)
    kept, anew = (propagate(batch, norm, x, weight, plus, factor) for x in (batch.features, batch.features.clone()))
    torch.testing.assert_close(kept, anew)
    wanted = [weight] if factor is None else [weight, factor]
    for gradients in zip(*(torch.autograd.grad(result.square().sum(), wanted) for result in (kept, anew)), strict=True):
        torch.testing.assert_close(*gradients)
    # The bits of a product depend on the implementation and the processor, so the one that is kept is that of the same implementation.
    assert torch.equal(batch.aggregated_features(norm), kernels.spmm(batch.normalised(norm), batch.features.clone()))
    torch.testing.assert_close(batch.aggregated_features(norm), batch.normalised(norm).csr.to_dense() @ batch.features)
    assert batch.aggregated_features(norm) is batch.aggregated_features(norm)


def test_wide_features_are_projected_before_they_are_aggregated(batch: GraphBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(batch.features, Tensor)
    monkeypatch.setattr(batch, "aggregated_features", lambda norm: pytest.fail("aggregated before the product with a narrower W"))
    weight, plus = torch.randn(batch.features.shape[1], 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    propagate(batch, "sum", batch.features, weight, plus)


def test_edge_softmax_equals_dgl(batch: GraphBatch) -> None:
    """Also for scores whose exponential leaves the range of a float."""
    rows, columns = batch.pattern.rows.long(), batch.pattern.indices.long()
    graph = dgl.graph((columns, rows), num_nodes=batch.num_nodes)
    for scale in (1.0, 1e3):
        scores = (scale * torch.randn(len(rows), dtype=torch.float64)).requires_grad_()
        ours, theirs = edge_softmax(batch.pattern, scores), dgl.ops.edge_softmax(graph, scores)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        upstream = torch.randn_like(ours)
        torch.testing.assert_close(*(torch.autograd.grad(result, scores, upstream)[0] for result in (ours, theirs)), rtol=0, atol=1e-12)


def test_edge_distance_equals_dgl(batch: GraphBatch) -> None:
    rows, columns = batch.pattern.rows.long(), batch.pattern.indices.long()
    graph = dgl.graph((columns, rows), num_nodes=batch.num_nodes)
    x = torch.randn(batch.num_nodes, WIDTH, dtype=torch.float64, requires_grad=True)
    ours, theirs = edge_distance(batch.pattern, x), dgl.ops.u_sub_v(graph, x, x).abs().sum(-1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    upstream = torch.randn_like(ours)
    torch.testing.assert_close(*(torch.autograd.grad(result, x, upstream)[0] for result in (ours, theirs)), rtol=0, atol=1e-12)
