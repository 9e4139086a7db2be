"""Students on edges with features: against plain loops, and the same on every form of a graph."""

from __future__ import annotations

from collections.abc import Callable

import dgl
import numpy as np
import pytest
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.nn import blocks
from dgl_mutual.nn.adjacency import Adjacency, Norm
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.blocks import BlockBatch, LayerwiseBatch
from dgl_mutual.nn.csr import SparseMatrix, take_columns
from dgl_mutual.nn.edge_functional import aggregate_messages, edge_scores
from dgl_mutual.nn.functional import linear
from dgl_mutual.nn.module import EdgeInput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student, resolve_student, without_effect
from dgl_mutual.nn.views import perturbed
from tests.nn.edges import with_edges

MakeDataset = Callable[..., Dataset]
ARCHITECTURES = ("gcn", "gat", "gin", "sage")
NORMS: tuple[Norm, ...] = ("sum", "mean", "symmetric")

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)
tasks = pytest.mark.parametrize("task", ["node", "graph"])
sparse = pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])


def batch_of(dataset: Dataset) -> GraphBatch:
    return Collator(dataset, dtype=torch.float64).all()


def student_of(architecture: str, task: str, dataset: Dataset, **options: object) -> Student:
    torch.manual_seed(0)
    edges = EdgeInput.of(dataset.num_edge_features, dataset.feature_kinds)
    student = Student(
        StudentOptions(architecture=architecture, **{"hidden": 8, "heads": 2, **options}), task, dataset.num_features, 3, edges
    ).double()
    with torch.no_grad():
        for weight in student.parameters():
            weight.normal_(std=0.6)
    return student.eval()


def plain_messages(graph: Adjacency, norm: Norm, x: Tensor, weight: Tensor) -> Tensor:
    """One edge after another."""
    features = graph.edge_features
    dense = features.csr.to_dense() if isinstance(features, SparseMatrix) else features
    assert dense is not None
    rows = []
    for node in range(graph.num_destinations):
        total = torch.zeros_like(x[0])
        edges = range(int(graph.in_offsets[node]), int(graph.in_offsets[node + 1]))
        for edge in edges:
            source = int(graph.sources[edge])
            scale = {
                "sum": 1.0,
                "mean": 1 / len(edges),
                "symmetric": float((graph.in_degrees[node] + 1) ** -0.5 * (graph.out_degrees[source] + 1) ** -0.5),
            }[norm]
            total = total + scale * torch.relu(x[source] + dense[edge] @ weight)
        rows.append(total)
    return torch.stack(rows)


@sparse
@pytest.mark.parametrize("norm", NORMS)
def test_messages_and_their_gradients(norm: Norm, sparse_: bool, make_dataset: MakeDataset, backend: str) -> None:
    graph = batch_of(with_edges(make_dataset((7, 4), directed=True), sparse_=sparse_))
    x, weight = torch.randn(11, 5, dtype=torch.float64, requires_grad=True), torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    ours, plain = aggregate_messages(graph, norm, x, weight), plain_messages(graph, norm, x, weight)
    torch.testing.assert_close(ours, plain)
    grad = torch.randn_like(ours)
    torch.testing.assert_close(torch.autograd.grad(ours, (x, weight), grad), torch.autograd.grad(plain, (x, weight), grad))


@sparse
@pytest.mark.parametrize("heads", [1, 3])
def test_scores_of_edges_and_loops(heads: int, sparse_: bool, make_dataset: MakeDataset, backend: str) -> None:
    graph = batch_of(with_edges(make_dataset((7, 4), directed=True), sparse_=sparse_))
    weight = torch.randn(3, heads, dtype=torch.float64, requires_grad=True)
    assert graph.edge_features is not None
    projected = linear(graph.edge_features, weight)
    pattern = graph.attention_pattern(heads)
    expected = []
    for row in range(pattern.shape[0]):
        node, head = divmod(row, heads)
        mine = projected[int(graph.in_offsets[node]) : int(graph.in_offsets[node + 1]), head]
        expected += [*mine, mine.mean() if len(mine) else mine.sum()]
    ours = edge_scores(graph, weight)
    torch.testing.assert_close(ours, torch.stack(expected))
    grad = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, weight, grad, retain_graph=True), torch.autograd.grad(torch.stack(expected), weight, grad)
    )


@architectures
@sparse
def test_layer_by_layer(architecture: str, sparse_: bool, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CHUNK_EDGES", 6)
    dataset = with_edges(make_dataset((15,), directed=True), sparse_=sparse_)
    student, whole, samples = student_of(architecture, "node", dataset), batch_of(dataset), torch.tensor([14, 3, 5])
    assert len(list(LayerwiseBatch(whole, samples).adjacencies(2)[0].chunks())) > 2
    with torch.no_grad():
        expected = student.forward_batch(whole).logits[samples]
        torch.testing.assert_close(student.forward_batch(LayerwiseBatch(whole, samples)).logits, expected)


@architectures
def test_blocks_with_all_neighbours(architecture: str, make_dataset: MakeDataset) -> None:
    dataset = with_edges(make_dataset((15,), directed=True))
    student, whole, samples = student_of(architecture, "node", dataset), batch_of(dataset), torch.tensor([14, 3, 5])
    graph = dgl.graph(("csc", (whole.in_offsets, whole.sources, torch.arange(dataset.num_edges))), num_nodes=15)
    _, _, drawn = dgl.dataloading.NeighborSampler([-1, -1]).sample_blocks(graph, samples)
    batch = BlockBatch.of(drawn, whole, torch.device("cpu"))
    torch.testing.assert_close(student.forward_batch(batch).logits, student.forward_batch(whole).logits[samples])


def test_a_sample_has_the_features_of_its_edges(make_dataset: MakeDataset) -> None:
    dataset = with_edges(make_dataset((15,), directed=True, edges_per_node=5))
    whole = batch_of(dataset)
    graph = dgl.graph(("csc", (whole.in_offsets, whole.sources, torch.arange(dataset.num_edges))), num_nodes=15)
    _, _, drawn = dgl.dataloading.NeighborSampler([2]).sample_blocks(graph, torch.tensor([1, 3, 5]))
    (adjacency,) = BlockBatch.of(drawn, whole, torch.device("cpu")).adjacencies(1)
    nodes = drawn[0].srcdata[dgl.NID]
    assert len(adjacency.sources) < dataset.num_edges
    for edge, (row, source) in enumerate(zip(adjacency.pattern.rows.tolist(), adjacency.sources.tolist(), strict=True)):
        ends = [[int(nodes[source])], [int(nodes[row])]]
        (number,) = np.flatnonzero((dataset.edges == ends).all(axis=0))
        assert isinstance(adjacency.edge_features, Tensor) and isinstance(dataset.edge_features, np.ndarray)
        np.testing.assert_allclose(adjacency.edge_features[edge], dataset.edge_features[number])


def test_a_sum_over_sampled_edges_stands_for_all_edges(make_dataset: MakeDataset) -> None:
    dataset = with_edges(make_dataset((15,), directed=True, edges_per_node=5))
    whole, samples = batch_of(dataset), torch.tensor([1, 3, 5])
    graph = dgl.graph(("csc", (whole.in_offsets, whole.sources, torch.arange(dataset.num_edges))), num_nodes=15)
    _, _, drawn = dgl.dataloading.NeighborSampler([2]).sample_blocks(graph, samples)
    (adjacency,) = BlockBatch.of(drawn, whole, torch.device("cpu")).adjacencies(1)
    x, weight = torch.randn(drawn[0].num_src_nodes(), 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    total, mean = (aggregate_messages(adjacency, norm, x, weight) for norm in ("sum", "mean"))
    degrees = torch.bincount(torch.as_tensor(dataset.edges[1]), minlength=15)[samples]
    assert (degrees > 2).any()
    torch.testing.assert_close(total, degrees.unsqueeze(1) * mean)


@sparse
def test_views_keep_features_with_their_edges(sparse_: bool, make_dataset: MakeDataset) -> None:
    dataset = with_edges(make_dataset((15,), directed=True), sparse_=sparse_)
    batch, streams = batch_of(dataset), {"edges": torch.Generator(), "columns": torch.Generator()}
    view = perturbed(batch, edge_drop=0.4, feature_mask=0.0, **streams)
    assert isinstance(view, GraphBatch) and 0 < len(view.sources) < len(batch.sources)

    def rows(graph: GraphBatch) -> dict[tuple[int, int], list[float]]:
        found = graph.edge_features
        dense = found.csr.to_dense() if isinstance(found, SparseMatrix) else found
        assert dense is not None
        return dict(zip(zip(graph.sources.tolist(), graph.pattern.rows.tolist(), strict=True), dense.tolist(), strict=True))

    assert rows(view).items() <= rows(batch).items()
    masked = perturbed(batch, edge_drop=0.0, feature_mask=0.5, **streams)
    assert isinstance(masked, GraphBatch) and masked.edge_features is batch.edge_features


@architectures
@tasks
def test_on_a_dgl_graph(architecture: str, task: str, make_dataset: MakeDataset, as_dgl: Callable[[Dataset], dgl.DGLGraph]) -> None:
    dataset = with_edges(make_dataset((6, 4), directed=True))
    student, graph = student_of(architecture, task, dataset), as_dgl(dataset)
    order = np.random.default_rng(0).permutation(dataset.num_edges)
    source, destination = (ends[torch.as_tensor(order)] for ends in graph.edges())
    shuffled = dgl.graph((torch.cat([source, torch.tensor([1])]), torch.cat([destination, torch.tensor([1])])), num_nodes=10)
    shuffled.set_batch_num_nodes(graph.batch_num_nodes())
    shuffled.set_batch_num_edges(torch.tensor([dataset.num_edges + 1, 0]))
    assert isinstance(dataset.edge_features, np.ndarray)
    shuffled.edata["feat"] = torch.as_tensor(np.concatenate([dataset.edge_features[order], np.ones((1, 3))])).double()
    feat = graph.ndata["feat"]
    torch.testing.assert_close(student(shuffled, feat), student.forward_batch(batch_of(dataset)).logits)
    del shuffled.edata["feat"]
    with pytest.raises(UsageError, match="trained with 3 edge features, and the graph's edges have none"):
        student(shuffled, feat)
    shuffled.edata["feat"] = torch.ones(dataset.num_edges + 1, 2)
    with pytest.raises(UsageError, match=r"has the shape \(\d+, 2\)"):
        student(shuffled, feat)


@architectures
def test_edge_features_matter_and_sums_of_them_do_not(architecture: str, make_dataset: MakeDataset) -> None:
    dataset = with_edges(make_dataset((9,))).replaced(feature_kinds=("number", "edge-sum", "number", "number", "edge-sum"))
    student = student_of(architecture, "node", dataset)
    assert isinstance(dataset.features, np.ndarray) and isinstance(dataset.edge_features, np.ndarray)
    before = student.forward_batch(batch_of(dataset)).logits
    others = dataset.features.copy()
    others[:, [1, 4]] += 1
    torch.testing.assert_close(student.forward_batch(batch_of(dataset.replaced(features=others))).logits, before)
    moved = dataset.replaced(edge_features=dataset.edge_features + 1)
    assert not torch.allclose(student.forward_batch(batch_of(moved)).logits, before)
    scales = torch.tensor([2.0, 3.0, 4.0, 0.5, 7.0], dtype=torch.float64)
    scaled = student.forward_batch(batch_of(dataset.replaced(features=dataset.features * scales.numpy().astype(np.float32)))).logits
    student.fold_input_scaling(scales)
    torch.testing.assert_close(student.forward_batch(batch_of(dataset)).logits, scaled)


@architectures
def test_a_student_without_edge_features_ignores_them(architecture: str, make_dataset: MakeDataset) -> None:
    dataset = with_edges(make_dataset((9,)))
    off = student_of(architecture, "node", dataset, edge_features=False)
    bare = student_of(architecture, "node", dataset.without_edge_features())
    assert off.edge_features == 0 and [*off.state_dict()] == [*bare.state_dict()]
    expected = bare.forward_batch(batch_of(dataset.without_edge_features())).logits
    assert torch.equal(off.forward_batch(batch_of(dataset)).logits, expected)


def test_edge_features_are_on_by_default_where_supported_and_refused_elsewhere() -> None:
    assert resolve_student(StudentOptions(), "graph").edge_features is False
    assert resolve_student(StudentOptions(), "graph", has_edge_features=True).edge_features is True
    assert resolve_student(StudentOptions(architecture="gatv2"), "graph", has_edge_features=True).edge_features is False
    off = StudentOptions(edge_features=False)
    assert resolve_student(off, "graph", has_edge_features=True).edge_features is False
    with pytest.raises(UsageError, match="the dataset has no edge features"):
        resolve_student(StudentOptions(edge_features=True), "graph")
    with pytest.raises(UsageError, match=r"gatv2 students take no edge features.*gcn, gat, gin, sage"):
        resolve_student(StudentOptions(architecture="gatv2", edge_features=True), "graph", has_edge_features=True)


@sparse
def test_columns(sparse_: bool, make_dataset: MakeDataset) -> None:
    features = batch_of(make_dataset((9,), sparse_=sparse_)).features
    taken = take_columns(features, (0, 3))
    dense, expected = (x.csr.to_dense() if isinstance(x, SparseMatrix) else x for x in (taken, features))
    assert torch.equal(dense, expected[:, [0, 3]])


def test_reset_parameters_draws_all_weights(make_dataset: MakeDataset) -> None:
    for architecture in ARCHITECTURES:
        student = student_of(architecture, "node", with_edges(make_dataset((9,))))
        before = {name: weight.clone() for name, weight in student.named_parameters()}
        student.reset_parameters()
        assert all(not torch.equal(before[name], weight) for name, weight in student.named_parameters())


@architectures
def test_one_layer_has_a_hidden_width_where_its_messages_have(architecture: str, make_dataset: MakeDataset) -> None:
    dataset = with_edges(make_dataset((12,), directed=True))
    narrow, wide = ([p.shape for p in student_of(architecture, "node", dataset, depth=1, hidden=hidden).parameters()] for hidden in (8, 16))
    resolved = resolve_student(StudentOptions(architecture=architecture, depth=1), "node", has_edge_features=True)
    assert ("hidden" in without_effect(resolved, "node")) == (narrow == wide) == (architecture == "gat")
