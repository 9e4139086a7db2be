"""Convolutions of torch_geometric with edge features, and layers that its and OGB's examples build from its parts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.nn import GINEConv, MessagePassing
from torch_geometric.utils import degree


class GINELayer(GINEConv):  # type: ignore[misc]  # torch_geometric has no types
    """`GINEConv`; an encoder precedes it in the first layer."""

    def __init__(self, mlp: torch.nn.Module, encoder: torch.nn.Linear | None, edge_features: int) -> None:
        super().__init__(mlp, train_eps=True, edge_dim=edge_features)
        self.encoder = encoder

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        encoded: Tensor = super().forward(x if self.encoder is None else self.encoder(x), edge_index, edge_attr)
        return encoded


class SAGELayer(MessagePassing):  # type: ignore[misc]  # as above
    """`SAGEConv` with the messages of `GINEConv`."""

    def __init__(self, width: int, out: int, encoder: torch.nn.Linear | None, edge_features: int) -> None:
        super().__init__(aggr="mean")
        self.lin_l, self.lin_r = torch.nn.Linear(width, out), torch.nn.Linear(width, out, bias=False)
        self.lin = torch.nn.Linear(edge_features, width)
        self.encoder = encoder

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        x = x if self.encoder is None else self.encoder(x)
        mean = self.propagate(edge_index, x=x, edge_attr=self.lin(edge_attr))
        states: Tensor = self.lin_l(mean) + self.lin_r(x)
        return states

    def message(self, x_j: Tensor, edge_attr: Tensor) -> Tensor:
        return (x_j + edge_attr).relu()


class GCNLayer(MessagePassing):  # type: ignore[misc]  # as above
    """The GCN of OGB's examples (``examples/graphproppred/mol/conv.py``), followed by a linear map if it outputs logits."""

    def __init__(self, width: int, hidden: int, edge_features: int, outputs: int | None) -> None:
        super().__init__(aggr="add")
        self.lin = torch.nn.Linear(width, hidden, bias=False)
        self.bias = torch.nn.Parameter(torch.zeros(hidden))
        self.edge = torch.nn.Linear(edge_features, hidden, bias=False)
        self.root = torch.nn.Parameter(torch.zeros(1, hidden))
        self.last: Callable[[Tensor], Tensor] = torch.nn.Identity() if outputs is None else torch.nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        x = self.lin(x) + self.bias
        source, destination = edge_index
        scale_out, scale_in = ((degree(ends, len(x), x.dtype) + 1).rsqrt() for ends in (source, destination))
        norm = (scale_out[source] * scale_in[destination]).unsqueeze(1)
        neighbours: Tensor = self.propagate(edge_index, x=x, edge_attr=self.edge(edge_attr), norm=norm)
        self_message = (x + self.root).relu() * (scale_out * scale_in).unsqueeze(1)
        return self.last(neighbours + self_message)

    def message(self, x_j: Tensor, edge_attr: Tensor, norm: Tensor) -> Tensor:
        return norm * (x_j + edge_attr).relu()
