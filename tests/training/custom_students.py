"""Students as users write them."""

from __future__ import annotations

from typing import Any

import dgl
import dgl.nn.pytorch as dglnn
import torch
from torch import Tensor, nn

from dgl_mutual.nn.options import StudentOptions


class Net(nn.Module):
    """For node tasks: two convolutions of DGL with dropout between them."""

    def __init__(self, in_features: int, num_outputs: int, hidden: int = 8, rate: float = 0.5) -> None:
        super().__init__()
        self.first = dglnn.GraphConv(in_features, hidden, allow_zero_in_degree=True)
        self.last = dglnn.GraphConv(hidden, num_outputs, allow_zero_in_degree=True)
        self.dropout = nn.Dropout(rate)

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        return self.last(graph, self.dropout(torch.relu(self.first(graph, feat))))


class BlockNet(nn.Module):
    """As DGL's tutorials write a network for sampled neighbourhoods."""

    num_blocks = 2

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([dglnn.SAGEConv(in_features, 8, "mean"), dglnn.SAGEConv(8, num_outputs, "mean")])

    def forward(self, blocks: list[dgl.DGLGraph], feat: Tensor) -> Tensor:
        for layer, block in zip(self.layers, blocks, strict=True):
            feat = torch.relu(feat) if layer is self.layers[1] else feat
            feat = layer(block, (feat, feat[: block.num_dst_nodes()]))
        return feat


class GraphNet(nn.Module):
    """For graph tasks: it gets a batched graph."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.conv, self.last = dglnn.SAGEConv(in_features, 8, "mean"), nn.Linear(8, num_outputs)

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        graph.ndata["h"] = torch.relu(self.conv(graph, feat))
        return self.last(dgl.mean_nodes(graph, "h"))


class Both(GraphNet):
    """For both tasks, of which it is told."""

    def __init__(self, in_features: int, num_outputs: int, *, task: str) -> None:
        super().__init__(in_features, num_outputs)
        self.task = task

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        return super().forward(graph, feat) if self.task == "graph" else self.last(torch.relu(self.conv(graph, feat)))


class TwoWays(nn.Module):
    """For graph tasks: which of two layers classifies a graph depends on its number of nodes, after batch norms of two other forms."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.norm, self.places = nn.BatchNorm1d(in_features, momentum=None, affine=False), nn.BatchNorm1d(1)
        self.again = self.norm
        self.small, self.large = nn.Linear(in_features, num_outputs), nn.Linear(in_features, num_outputs)

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        graph.ndata["h"] = feat
        x = self.places(self.again(dgl.sum_nodes(graph, "h")).unsqueeze(1)).squeeze(1)
        small = graph.batch_num_nodes() <= 3
        logits = x.new_zeros(len(x), self.small.out_features)
        for rows, layer in ((small, self.small), (~small, self.large)):
            if rows.any():
                logits[rows] = layer(x[rows])
        return logits


class OtherNorm(nn.Module):
    """For graph tasks: with a batch norm of any kind."""

    def __init__(self, in_features: int, num_outputs: int, kind: str, **form: Any) -> None:
        super().__init__()
        self.norms, self.last = nn.ModuleList([getattr(nn, kind)(in_features, **form)]), nn.Linear(in_features, num_outputs)

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        graph.ndata["h"] = feat
        return self.last(self.norms[0](dgl.sum_nodes(graph, "h")))


class Counting(nn.Module):
    """For graph tasks: keeps, in a buffer and in its extra state, how many nodes it has seen in training."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.last = nn.Linear(in_features, num_outputs)
        self.register_buffer("seen", torch.zeros(1))
        self.also = torch.zeros(1)

    def get_extra_state(self) -> Tensor:
        return self.also.clone()

    def set_extra_state(self, state: Tensor) -> None:
        self.also = state.clone()

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        if self.training:
            self.seen += graph.num_nodes()
            self.also = self.also + graph.num_nodes()
        graph.ndata["h"] = feat
        return self.last(dgl.mean_nodes(graph, "h")) + 1e-3 * (self.seen + self.also)


def linear(in_features: int, num_outputs: int) -> nn.Module:
    """A function that makes a student."""
    return Linear(in_features, num_outputs)


class Linear(nn.Linear):
    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        return super().forward(feat)


class CountsSteps(Linear):
    """Counts training steps in a plain attribute; with `saved`, in a buffer."""

    def __init__(self, in_features: int, num_outputs: int, saved: bool = False) -> None:
        super().__init__(in_features, num_outputs)
        self.steps: Any = 0
        if saved:
            del self.steps
            self.register_buffer("steps", torch.zeros(()))

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return super().forward(graph, feat)


def custom(architecture: Any, **options: Any) -> StudentOptions:
    return StudentOptions(architecture=architecture, options=options)
