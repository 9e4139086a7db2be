from __future__ import annotations

from collections.abc import Callable

import dgl
import dgl.nn.pytorch as dglnn
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.nn import blocks
from dgl_mutual.nn.architectures import num_blocks
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.blocks import BlockBatch, LayerwiseBatch
from dgl_mutual.nn.dgl_graphs import compact_block, graph_of
from dgl_mutual.nn.dgl_layers import DGL_LAYERS
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.streams import torch_stream
from dgl_mutual.nn.student import Student

MakeDataset = Callable[..., Dataset]
AsDGL = Callable[[Dataset], dgl.DGLGraph]
HIDDEN, HEADS, CLASSES = 8, 4, 3


def make(architecture: str, task: str = "node", **options: object) -> Student:
    torch.manual_seed(3)
    given = StudentOptions(**{"architecture": architecture, "hidden": HIDDEN, "heads": HEADS, "depth": 2, **options})
    return Student(given, task, 5, CLASSES).double().eval()  # type: ignore[arg-type]  # a literal


def same(layer: nn.Module, weights: nn.Module) -> nn.Module:
    layer.double().load_state_dict(weights.state_dict())
    return layer.eval()


def by_hand(student: Student, graph: dgl.DGLGraph, x: Tensor) -> Tensor:
    """The same network written with DGL's layers, as DGL's examples write it."""
    first, last = student.convolutions
    looped = dgl.add_self_loop(graph)
    if student.options.architecture == "gatv2":
        one, two = same(dglnn.GATv2Conv(5, 2, HEADS), first.layer), same(dglnn.GATv2Conv(HIDDEN, CLASSES, 1), last.layer)
        return two(looped, F.elu(one(looped, x).flatten(1))).mean(1)
    if student.options.architecture == "appnp":
        torch.set_default_dtype(torch.float64)
        logits = dglnn.APPNPConv(k=10, alpha=0.1)(looped, last.linear(torch.relu(first.linear(x))))
        torch.set_default_dtype(torch.float32)
        return logits
    if student.options.architecture == "gcn2":
        one, two = (same(dglnn.GCN2Conv(HIDDEN, k, 0.1, 0.5), own.layer) for k, own in ((1, first), (2, last)))
        initial = torch.relu(first.start(x))
        return last.end(torch.relu(two(looped, torch.relu(one(looped, initial, initial)), initial)))
    if student.options.architecture == "sgc":
        one, two = same(dglnn.SGConv(5, HIDDEN, k=2), first.layer), same(dglnn.SGConv(HIDDEN, CLASSES, k=2), last.layer)
        return two(looped, torch.relu(one(looped, x)))
    if student.options.architecture == "tag":
        one, two = same(dglnn.TAGConv(5, HIDDEN), first.layer), same(dglnn.TAGConv(HIDDEN, CLASSES), last.layer)
        return two(graph, torch.relu(one(graph, x)))
    one, two = same(dglnn.ChebConv(5, HIDDEN, 3), first.layer), same(dglnn.ChebConv(HIDDEN, CLASSES, 3, activation=None), last.layer)
    return two(graph, one(graph, x, [2]), [2])


layers = pytest.mark.parametrize("architecture", DGL_LAYERS)


@layers
def test_a_student_equals_dgls_layers_with_the_same_weights(architecture: str, make_dataset: MakeDataset, as_dgl: AsDGL) -> None:
    dataset = make_dataset((12,))
    student, graph = make(architecture), as_dgl(dataset)
    expected = by_hand(student, graph, graph.ndata["feat"])
    torch.testing.assert_close(student.forward_batch(Collator(dataset, dtype=torch.float64).all()).logits, expected)
    torch.testing.assert_close(student(graph, graph.ndata["feat"]), expected)


def test_sgc_has_one_layer_of_two_hops(make_dataset: MakeDataset, as_dgl: AsDGL) -> None:
    dataset = make_dataset((12,))
    student, graph = make("sgc", depth=None), as_dgl(dataset)
    layer = same(dglnn.SGConv(5, CLASSES, k=2), student.convolutions[0].layer)
    torch.testing.assert_close(student(graph, graph.ndata["feat"]), layer(dgl.add_self_loop(graph), graph.ndata["feat"]))


@layers
def test_folded_scales_equal_scaled_features(architecture: str, make_dataset: MakeDataset, as_dgl: AsDGL) -> None:
    student, graph = make(architecture, "graph"), as_dgl(make_dataset((6, 9)))
    scales = torch.tensor([0.25, 1, 2, 4, 0.5], dtype=torch.float64)
    expected = student(graph, graph.ndata["feat"] * scales)
    with torch.no_grad():
        student.fold_input_scaling(scales)
    torch.testing.assert_close(student(graph, graph.ndata["feat"]), expected)


@layers
def test_a_large_graph_in_pieces_gives_the_logits_of_one_pass(
    architecture: str, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "CHUNK_NODES", 5)
    whole = Collator(make_dataset((23,)), dtype=torch.float64).all()
    student, samples = make(architecture), torch.tensor([3, 22, 4, 0])
    expected = student.forward_batch(whole)
    found = student.forward_batch(LayerwiseBatch(whole, samples))
    torch.testing.assert_close(found.logits, expected.logits[samples])
    torch.testing.assert_close(found.hidden[0], expected.hidden[0])


def test_gatv2_on_blocks_with_all_neighbours_gives_the_logits_of_the_graph(make_dataset: MakeDataset) -> None:
    whole = Collator(make_dataset((23,)), dtype=torch.float64).all()
    student, seeds = make("gatv2"), torch.tensor([3, 22, 4])
    sampler = dgl.dataloading.MultiLayerFullNeighborSampler(2)
    batch = BlockBatch.of(sampler.sample_blocks(graph_of(whole), seeds)[2], whole, whole.device)
    torch.testing.assert_close(student.forward_batch(batch).logits, student.forward_batch(whole).logits[seeds])


def test_layers_that_need_more_than_in_neighbours_refuse_sampling() -> None:
    assert num_blocks(StudentOptions(architecture="gatv2", depth=3)) == 3
    for architecture in set(DGL_LAYERS) - {"gatv2"}:
        with pytest.raises(UsageError, match=f"A layer of {architecture} needs more than the in-neighbours"):
            num_blocks(StudentOptions(architecture=architecture))


@pytest.mark.parametrize("loops", [False, True])
def test_a_batch_is_the_graph_that_dgl_would_batch(loops: bool, make_dataset: MakeDataset, as_dgl: AsDGL) -> None:
    dataset = make_dataset((6, 1, 9), directed=True)
    found, expected = graph_of(Collator(dataset).all(), loops=loops), as_dgl(dataset)
    if loops:
        expected = dgl.batch([dgl.add_self_loop(graph) for graph in dgl.unbatch(expected)])
    assert found.batch_num_nodes().tolist() == expected.batch_num_nodes().tolist()
    assert found.batch_num_edges().tolist() == expected.batch_num_edges().tolist()
    assert sorted(zip(*(ends.tolist() for ends in found.edges()), strict=True)) == sorted(
        zip(*(ends.tolist() for ends in expected.edges()), strict=True)
    )


def test_data_written_into_a_graph_is_not_kept(make_dataset: MakeDataset) -> None:
    batch = Collator(make_dataset((6, 9))).all()
    graph_of(batch).ndata["h"] = torch.zeros(15)
    assert "h" not in graph_of(batch).ndata


def test_a_compact_block_has_the_edges_of_its_destinations(make_dataset: MakeDataset) -> None:
    whole = Collator(make_dataset((23,), directed=True)).all()
    _, chunk = next(LayerwiseBatch(whole, torch.tensor([3, 19, 4])).adjacencies(1)[0].chunks())
    block, nodes = compact_block(chunk)
    sources, destinations = block.edges()
    dense = np.zeros((23, 23))
    dense[nodes[destinations], nodes[sources]] = 1
    expected = np.zeros((23, 23))
    expected[torch.repeat_interleave(torch.arange(23), whole.in_degrees.flatten().long()), whole.sources] = 1
    assert (dense[[3, 19, 4]] == expected[[3, 19, 4]]).all() and dense.sum() == block.num_edges()


def test_a_stream_is_the_students_own_and_leaves_torchs_alone() -> None:
    device, generator = torch.device("cpu"), torch.Generator().manual_seed(5)
    expected = torch.rand(4, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    with torch_stream(generator, device):
        drawn = torch.rand(2)
    with pytest.raises(ZeroDivisionError), torch_stream(generator, device):
        drawn = torch.cat([drawn, torch.rand(2)])
        raise ZeroDivisionError
    assert torch.equal(drawn, expected)
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch_stream(None, device):
        one = torch.rand(3)
    torch.rand(7)
    with torch_stream(None, device):
        assert torch.equal(torch.rand(3), one)


@pytest.mark.parametrize("number", [True, 0, 1.5])
def test_the_number_of_blocks_of_a_custom_student_is_a_whole_number(number: object) -> None:
    mine = type("Mine", (torch.nn.Module,), {"num_blocks": number})
    with pytest.raises(UsageError, match="Set the class attribute to a positive integer"):
        num_blocks(StudentOptions(architecture=mine))
