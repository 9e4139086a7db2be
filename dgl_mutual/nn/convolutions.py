"""The four convolutions. `propagate` projects before it aggregates, or after, as is less work: convolutions are linear up to there, so the
function is the same. Features may be sparse.

Symbols: V nodes, N(i) the in-neighbours of i without i, W weights, b bias, F_in and F_out widths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.csr import NodeFeatures
from dgl_mutual.nn.dropout import keep_multiplier
from dgl_mutual.nn.functional import attention, linear, own_linear, propagate, score_heads
from dgl_mutual.nn.norm import batch_norm


@dataclass(frozen=True)
class Layer:
    """The place of a convolution in a student.

    Attributes:
        place: from 0.
        is_last: whether it is the last one.
        gives_logits: whether its output is the logits, rather than hidden states.
        in_features, out_features: F_in and F_out.
        hidden: width inside the layer, where it has an inside (gin).
        heads: attention heads (gat); F_out is the width of all heads together.
        dropout: rate on what the layer itself draws (gat: attention weights).
        batch_norm: normalise inside the layer (gin).
    """

    in_features: int
    out_features: int
    hidden: int = 64
    heads: int = 1
    dropout: float = 0.0
    batch_norm: bool = False
    place: int = 0
    is_last: bool = True
    gives_logits: bool = True


class Convolution(nn.Module, ABC):
    """One message-passing layer.

    Attributes:
        default_dropout: dropout rate of the architecture's own paper on its input (node task).
        default_depth: number of such layers in a student, by task.
        hops: how far a layer reaches; only layers that reach one hop have a form for sampled neighbourhoods.
    """

    default_dropout: ClassVar[float] = 0.5
    default_depth: ClassVar[Mapping[str, int]] = {"node": 2, "graph": 3}
    hops: ClassVar[int] = 1

    @abstractmethod
    def __init__(self, layer: Layer) -> None:
        """Make the layer and draw its weights."""
        super().__init__()

    @abstractmethod
    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        """New states of the destinations of a graph.

        Shapes: x (sources, F_in), result (destinations, F_out). `generator` draws dropout in training and is None otherwise.
        """

    @property
    def input_weights(self) -> tuple[nn.Parameter, ...]:
        """The matrices (F_in, ...) that x is multiplied by."""
        assert isinstance(self.weight, nn.Parameter)
        return (self.weight,)

    def fold_input_scaling(self, scales: Tensor) -> None:
        """Change the input weights so that the layer takes unscaled features after training on features times `scales` (F_in,)."""
        for weight in self.input_weights:
            weight.mul_(scales.unsqueeze(1))

    def initial(self, x: NodeFeatures) -> Tensor | None:
        """Of the first layer: the initial states that it and later layers also take, computed from the features; None if they take none."""
        return None

    @abstractmethod
    def reset_parameters(self) -> None:
        """Draw the weights anew."""

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """The activation after a hidden layer of this kind; x is overwritten."""
        return torch.relu_(x)


class GCNConvolution(Convolution):
    """h_i = sum_{j in N(i) + i} W x_j / sqrt(d_i d_j) + b, d with self-loops. Kipf and Welling, ICLR 2017, arXiv 1609.02907, eq. 2.

    NOTE[PAPER]: of a directed graph d_i counts in-edges and d_j out-edges, as in DGL's GraphConv.
    NOTE: where neighbours are sampled, degrees stay those of the whole graph, so that a node means the same in training and evaluation.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.weight = nn.Parameter(torch.empty(layer.in_features, layer.out_features))
        self.bias = nn.Parameter(torch.empty(layer.out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        return propagate(graph, "symmetric", x, self.weight, plus=self.bias)


class SAGEConvolution(Convolution):
    """h_i = W_self x_i + W_neigh mean_{j in N(i)} x_j + b. Hamilton et al., NeurIPS 2017, arXiv 1706.02216, the mean aggregator."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        # Two matrices: MKL's product with a sparse x takes four times as long at twice the width.
        self.self_weight = nn.Parameter(torch.empty(layer.in_features, layer.out_features))
        self.neighbour_weight = nn.Parameter(torch.empty(layer.in_features, layer.out_features))
        self.bias = nn.Parameter(torch.empty(layer.out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.self_weight)
        nn.init.xavier_uniform_(self.neighbour_weight)
        nn.init.zeros_(self.bias)

    @property
    def input_weights(self) -> tuple[nn.Parameter, ...]:
        return self.self_weight, self.neighbour_weight

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        return propagate(graph, "mean", x, self.neighbour_weight, plus=own_linear(graph, x, self.self_weight, self.bias))


class GINConvolution(Convolution):
    """h_i = MLP((1 + eps) x_i + sum_{j in N(i)} x_j), MLP = linear, [batch norm,] ReLU, linear; eps learned.

    Xu et al., ICLR 2019, arXiv 1810.00826, eq. 4.1. The MLP's first linear map is applied before the sum.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.weight = nn.Parameter(torch.empty(layer.in_features, layer.hidden))
        self.bias = nn.Parameter(torch.empty(layer.hidden))
        self.eps = nn.Parameter(torch.empty(1))
        self.norm = batch_norm(layer.hidden) if layer.batch_norm else None
        self.last = nn.Linear(layer.hidden, layer.out_features)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.eps)
        if self.norm is not None:
            self.norm.reset_parameters()
        nn.init.xavier_uniform_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        hidden = propagate(graph, "sum", x, self.weight, plus=self.bias, self_weight=1 + self.eps)
        hidden = torch.relu_(hidden if self.norm is None else self.norm(hidden))
        return F.linear(hidden, self.last.weight, self.last.bias)


class GATConvolution(Convolution):
    """h_i = sum_{j in N(i) + i} a_ij W x_j + b, a_ij = softmax_j(LeakyReLU(<a_source, W x_j> + <a_destination, W x_i>)), per head.

    Velickovic et al., ICLR 2018, arXiv 1710.10903, eq. 1-4. Heads stand side by side; a layer that gives logits has one head.
    NOTE[PAPER]: the original output layer averages heads on Pubmed only; one head serves everywhere else, as here.
    NOTE: where neighbours are sampled, the softmax runs over those that are there, as in DGL's GATConv.
    """

    default_dropout: ClassVar[float] = 0.6
    negative_slope: ClassVar[float] = 0.2

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.heads = layer.heads
        self.attention_dropout = layer.dropout
        self.weight = nn.Parameter(torch.empty(layer.in_features, layer.out_features))
        self.attention_source = nn.Parameter(torch.empty(layer.heads, layer.out_features // layer.heads))
        self.attention_destination = nn.Parameter(torch.empty(layer.heads, layer.out_features // layer.heads))
        self.bias = nn.Parameter(torch.empty(layer.out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in (self.weight, self.attention_source, self.attention_destination):
            nn.init.xavier_uniform_(parameter)
        nn.init.zeros_(self.bias)

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        values = linear(x, self.weight)
        # A second, narrow product: as more columns of the first it would make that take twice as long where x is sparse.
        source, destination = score_heads(values, self.attention_source, self.attention_destination)
        multiplier = None
        if generator is not None and self.attention_dropout > 0:
            shape = graph.attention_pattern(self.heads).indices.shape
            multiplier = keep_multiplier(shape, self.attention_dropout, generator, values.dtype)
        return attention(graph, values, source, graph.at_destinations(destination), multiplier, self.negative_slope) + self.bias

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        return F.elu_(x)


CONVOLUTIONS: dict[str, type[Convolution]] = {
    "gcn": GCNConvolution,
    "gat": GATConvolution,
    "gin": GINConvolution,
    "sage": SAGEConvolution,
}
