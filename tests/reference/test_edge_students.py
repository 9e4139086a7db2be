"""Students on edges with features against torch_geometric's GINEConv and GATConv, and OGB's GCN."""

from __future__ import annotations

import pytest
import torch

from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.module import EdgeInput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student
from dgl_mutual.reference.mapping import to_ours, to_reference
from tests.nn.edges import with_edges
from tests.strategies.cases import ARCHITECTURES, SMALL, make_dataset

pytest.importorskip("torch_geometric", reason="needs torch_geometric")

from torch_geometric.data import Batch
from torch_geometric.nn import GATConv, GINEConv

from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.reference.graphs import from_graphs, to_graphs
from dgl_mutual.reference.students import ReferenceStudent


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("node", {}),
        ("node", {"depth": 3, "norm": "batch"}),
        ("graph", {}),
        ("graph", {"norm": "none", "readout": "last", "depth": 1}),
        ("graph", {"residual": True, "norm": "layer", "virtual_node": True}),
    ],
)
@pytest.mark.parametrize("with_sums", [False, True])
def test_students_gradients_included(task: str, options: dict[str, object], architecture: str, with_sums: bool) -> None:
    kinds = ("number", "edge-sum", "number", "number", "edge-sum") if with_sums else ()
    dataset = with_edges(make_dataset(task, "single-label"), feature_kinds=kinds)
    edges = EdgeInput.of(3, dataset.feature_kinds)
    chosen = StudentOptions(architecture=architecture, dropout=0.0, **{**SMALL, **options})
    ours = Student(chosen, task, dataset.num_features, 3, edges).double()
    with torch.no_grad():
        for weight in ours.parameters():
            weight.normal_(std=0.6)
    theirs = ReferenceStudent(ours.options, task, dataset.num_features, 3, edges).double()
    theirs.load_state_dict(to_reference(architecture, {name: weight.clone() for name, weight in ours.state_dict().items()}))
    assert {*to_ours(architecture, theirs.state_dict())} == {*ours.state_dict()}
    data = Batch.from_data_list(to_graphs(dataset, torch.float64))
    expected = theirs(data.x, data.edge_index, data.batch, dataset.num_graphs, data.edge_attr)
    found = ours.forward_batch(Collator(dataset, dtype=torch.float64).all()).logits
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    found.square().sum().backward()
    expected.square().sum().backward()
    gradients = to_ours(architecture, {name: weight.grad for name, weight in theirs.named_parameters()})
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-8, atol=1e-8)


def test_layers_of_torch_geometric_itself() -> None:
    """The second layers of our students, where no encoder comes first, are `GINEConv` and `GATConv`."""
    dataset = with_edges(make_dataset("node", "single-label"))
    batch, edge_index = Collator(dataset, dtype=torch.float64).all(), torch.as_tensor(dataset.edges)
    edge_attr, x = torch.as_tensor(dataset.edge_features).double(), torch.randn(dataset.num_nodes, 8, dtype=torch.float64)
    for architecture in ("gin", "gat"):
        student = Student(StudentOptions(architecture=architecture, hidden=8, heads=4, depth=3), "node", 5, 3, EdgeInput(3)).double()
        ours = student.convolutions[1]
        if architecture == "gin":
            mlp = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))
            theirs = GINEConv(mlp, train_eps=True, edge_dim=3).double()
            with torch.no_grad():
                for parameter in theirs.parameters():
                    parameter.normal_()
                ours.weight.copy_(mlp[0].weight.t()), ours.bias.copy_(mlp[0].bias), ours.eps.copy_(theirs.eps)
                ours.last.load_state_dict(mlp[2].state_dict())
                ours.messages.weight.copy_(theirs.lin.weight.t()), ours.messages.bias.copy_(theirs.lin.bias)
        else:
            theirs = GATConv(8, 2, 4, edge_dim=3).double()
            with torch.no_grad():
                for parameter in theirs.parameters():
                    parameter.normal_()
                ours.weight.copy_(theirs.lin.weight.t()), ours.bias.copy_(theirs.bias)
                ours.attention_source.copy_(theirs.att_src[0]), ours.attention_destination.copy_(theirs.att_dst[0])
                ours.attention_edge.copy_(theirs.att_edge[0]), ours.edge_weight.copy_(theirs.lin_edge.weight.t())
        torch.testing.assert_close(ours(batch, x, None), theirs(x, edge_index, edge_attr))


def test_the_graphs_of_the_reference_lose_nothing() -> None:
    for task in ("node", "graph"):
        dataset = with_edges(make_dataset(task, "single-label"), sparse_=task == "graph")
        assert fingerprint(from_graphs(to_graphs(dataset), dataset)) == fingerprint(dataset)
