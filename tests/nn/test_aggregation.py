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
from dgl_mutual.nn.aggregation import attend, sum_neighbours
from dgl_mutual.nn.batch import Collator, GraphBatch

HEADS, WIDTH = 2, 3


def composed(batch: GraphBatch, values: Tensor, source: Tensor, destination: Tensor, multiplier: Tensor | None) -> Tensor:
    """Attention out of DGL's differentiable operators."""
    graph = batch.looped_graph
    attention = dgl.ops.edge_softmax(graph, F.leaky_relu(dgl.ops.u_add_v(graph, source, destination), 0.2))
    kept = attention if multiplier is None else attention * multiplier
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
    edges = (batch.looped_graph.num_edges(), HEADS)
    dropped = torch.rand(edges, dtype=torch.float64, generator=random) < 0.4
    return values, source, destination, torch.where(dropped, 0.0, 1 / 0.6) if request.param == "multiplied" else None


def test_attend_equals_its_composition(batch: GraphBatch, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None]) -> None:
    ours, theirs = attend(batch, *inputs), composed(batch, *inputs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    upstream = torch.randn_like(ours)
    gradients = torch.autograd.grad(ours, inputs[:3], upstream), torch.autograd.grad(theirs, inputs[:3], upstream)
    for our_gradient, their_gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-12)


def test_attend_passes_gradcheck(batch: GraphBatch, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None]) -> None:
    values, source, destination, multiplier = inputs
    assert gradcheck(lambda v, s, d: attend(batch, v, s, d, multiplier), (values, source, destination))


def test_attention_weights_sum_to_one(batch: GraphBatch) -> None:
    scores = torch.randn(batch.num_nodes, HEADS, dtype=torch.float64)
    ones = torch.ones(batch.num_nodes, HEADS * WIDTH, dtype=torch.float64)
    torch.testing.assert_close(attend(batch, ones, scores, scores, None), ones)


def test_attend_takes_views_and_broadcast_gradients(batch: GraphBatch) -> None:
    """A slice of a wider projection comes in, and the gradient of a sum (stride zero) comes back."""
    wide = torch.randn(batch.num_nodes, HEADS * WIDTH + 2 * HEADS, dtype=torch.float64, requires_grad=True)

    def gradient(operation: Callable[..., Tensor]) -> Tensor:
        values, source, destination = torch.split(wide, [HEADS * WIDTH, HEADS, HEADS], dim=1)
        if operation is composed:
            values = values.contiguous()
        return torch.autograd.grad(operation(batch, values, source, destination, None).sum(), wide)[0]

    torch.testing.assert_close(gradient(attend), gradient(composed), rtol=0, atol=1e-12)


def test_attend_survives_extreme_scores(batch: GraphBatch) -> None:
    values, scores = torch.randn(batch.num_nodes, HEADS * WIDTH), torch.randn(batch.num_nodes, HEADS) * 1e4
    for tensor in (values, scores):
        tensor.requires_grad_()
    attend(batch, values, scores, scores, None).square().sum().backward()
    assert values.grad is not None and values.grad.isfinite().all()
    assert scores.grad is not None and scores.grad.isfinite().all()


def test_sum_neighbours_equals_the_adjacency_matrix(batch: GraphBatch) -> None:
    source, destination = batch.graph.edges()
    adjacency = torch.zeros(batch.num_nodes, batch.num_nodes, dtype=torch.float64)
    adjacency[destination, source] = 1.0
    x = torch.randn(4, batch.num_nodes, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(sum_neighbours(batch, x.t()), adjacency @ x.t())
    torch.testing.assert_close(torch.autograd.grad(sum_neighbours(batch, x.t()).sum(), x)[0], adjacency.sum(0).expand(4, -1))
    assert gradcheck(lambda v: sum_neighbours(batch, v), (x.detach().t().contiguous().requires_grad_(),))
