"""The four convolutions. `propagate` projects and aggregates in the cheaper order, with the same result. Features may be sparse.

Symbols: V nodes, N(i) the in-neighbours of i without i, W weights, b bias, F_in and F_out widths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_mutual.nn.adjacency import Adjacency, Norm
from dgl_mutual.nn.csr import NodeFeatures, RepeatedRows
from dgl_mutual.nn.dropout import keep_multiplier
from dgl_mutual.nn.edge_functional import aggregate_messages, aggregate_repeated, are_repeated, edge_scores, repeated_messages
from dgl_mutual.nn.functional import attention, linear, propagate, score_heads, self_linear, taken_rows
from dgl_mutual.nn.norm import batch_norm


@dataclass(frozen=True)
class LayerSpec:
    """The place of a convolution in a student, its widths and options.

    Attributes:
        index: its place, from 0.
        is_last: whether it is the last one.
        gives_logits: whether it outputs logits rather than hidden states.
        in_features, out_features: F_in and F_out.
        hidden: width of hidden states within the layer (gin).
        heads: attention heads (gat); F_out is the width of all heads together.
        dropout: dropout rate within the layer (gat: on attention weights).
        batch_norm: whether to normalise within the layer (gin).
        edge_features: D; 0 for a layer that takes no edge features.
    """

    in_features: int
    out_features: int
    hidden: int = 64
    heads: int = 1
    dropout: float = 0.0
    batch_norm: bool = False
    edge_features: int = 0
    index: int = 0
    is_last: bool = True
    gives_logits: bool = True


class Convolution(nn.Module, ABC):
    """One message-passing layer.

    Attributes:
        default_dropout: dropout rate on its input in the architecture's paper (node task).
        default_depth: number of such layers in a student, by task.
        takes_edge_features: whether it supports edge features.
        takes_blocks: whether it can run on a block, that is on destinations and their in-neighbours alone, as with sampled neighbours.
        runs_on_dgl: whether it runs on a DGLGraph.
        uses_edges: whether its output depends on edges.
        has_heads: whether it has attention heads, which divide the width.
        pools_first: whether, on a graph task, node features are pooled before the first layer; there are no node states then.
        inner: options of hidden layers that also affect the output layer, since it has a hidden layer of its own.
        inner_with_edges: further such options with edge features.
    """

    default_dropout: ClassVar[float] = 0.5
    default_depth: ClassVar[Mapping[str, int]] = {"node": 2, "graph": 3}
    takes_blocks: ClassVar[bool] = True
    runs_on_dgl: ClassVar[bool] = False
    takes_edge_features: ClassVar[bool] = False
    uses_edges: ClassVar[bool] = True
    has_heads: ClassVar[bool] = False
    pools_first: ClassVar[bool] = False
    inner: ClassVar[frozenset[str]] = frozenset()
    inner_with_edges: ClassVar[frozenset[str]] = frozenset({"hidden"})

    @abstractmethod
    def __init__(self, layer: LayerSpec) -> None:
        """Make the layer and draw its weights."""
        super().__init__()

    @abstractmethod
    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        """Compute new states of the destinations of a graph.

        Shapes: x (sources, F_in), result (destinations, F_out).

        Args:
            generator: random stream for dropout in training; None otherwise.
        """

    @property
    def input_weights(self) -> tuple[nn.Parameter, ...]:
        """The matrices (F_in, ...) that x is multiplied by."""
        assert isinstance(self.weight, nn.Parameter)
        return (self.weight,)

    def fold_input_scaling(self, scales: Tensor) -> None:
        """Fold `scales` (F_in,) into the input weights: after training on features times `scales`, the layer takes unscaled ones."""
        for weight in self.input_weights:
            weight.mul_(scales.unsqueeze(1))

    def initial(self, x: NodeFeatures) -> Tensor | None:
        """Initial states, computed from the features by the first layer, as a further argument of `forward` of all layers; else None."""
        return None

    @abstractmethod
    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""

    @property
    def edge_parameters(self) -> tuple[nn.Parameter, ...]:
        """The matrices (D, ...) that edge features are multiplied by."""
        return ()

    @classmethod
    def fewest_weights(cls, hidden: int) -> int:
        """A lower bound on the number of weights in a student of this width, for layers that allocate when they are built; else 0."""
        return 0

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """The activation after a hidden layer of this class; it may overwrite x."""
        return torch.relu_(x)


class Messages(nn.Module):
    """Messages of states and edge features, relu(W_0 x_j + W_e e_ij + b_e), aggregated at the destinations.

    Messages are not linear, so features are projected beforehand, by W_0 (F_in, hidden) of the first layer. Later layers have no W_0: the
    message takes x_j itself.
    """

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.empty(layer.in_features, layer.hidden)) if layer.index == 0 else None
        self.weight = nn.Parameter(torch.empty(layer.edge_features, layer.hidden))
        self.bias = nn.Parameter(torch.empty(layer.hidden))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.encoder is not None:
            nn.init.xavier_uniform_(self.encoder)
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def states(self, x: NodeFeatures) -> Tensor:
        """W_0 x_i, or x_i: (sources, hidden)."""
        states = x if self.encoder is None else linear(x, self.encoder)
        assert isinstance(states, Tensor)
        return states

    def forward(self, graph: Adjacency, norm: Norm, states: Tensor, self_weight: Tensor | None = None) -> Tensor:
        """Aggregate messages, and add the node's own state times `self_weight` (1,), if given: (destinations, hidden)."""
        return aggregate_messages(graph, norm, states, self.weight, self.bias, self_weight)

    def distinct(self, graph: Adjacency, x: RepeatedRows) -> tuple[Tensor, Tensor]:
        """The states of the R distinct rows of x, and the messages of all pairs of them and the edge features (see `are_repeated`).

        Shapes: (R, hidden) and (pairs, hidden).
        """
        states = self.states(x.table)
        return states, repeated_messages(graph, states, self.weight, self.bias)


class MessageConvolution(Convolution):
    """A layer that aggregates states of neighbours or, with edge features, `Messages` of both.

    Attributes:
        messages: None for a layer that takes no edge features.
    """

    takes_edge_features: ClassVar[bool] = True

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.messages = Messages(layer) if layer.edge_features else None

    @property
    def input_weights(self) -> tuple[nn.Parameter, ...]:
        if self.messages is not None and self.messages.encoder is not None:
            return (self.messages.encoder,)
        return self.state_weights

    @property
    def state_weights(self) -> tuple[nn.Parameter, ...]:
        """The matrices that states are multiplied by, before or after they are aggregated."""
        return super().input_weights

    @property
    def edge_parameters(self) -> tuple[nn.Parameter, ...]:
        return () if self.messages is None else (self.messages.weight,)


class GCNConvolution(Convolution):
    """h_i = sum_{j in N(i) + i} W x_j / sqrt(d_i d_j) + b, d with self-loops. Kipf and Welling, ICLR 2017, arXiv 1609.02907, eq. 2.

    NOTE[PAPER]: on a directed graph d_i counts in-edges and d_j out-edges, as in DGL's GraphConv.
    NOTE: with sampled neighbours, degrees stay those of the whole graph, so that they mean the same in training and evaluation.

    With edge features it is OGB's GCN for molecules (Hu et al., NeurIPS 2020, arXiv 2005.00687) with a learned r:
    h_i = sum_{j in N(i)} relu(W x_j + b + W_e e_ij) / sqrt(d_i d_j) + relu(W x_i + b + r) / d_i. A layer that outputs
    logits is then followed by a linear map, since sums of ReLU outputs are never negative.
    """

    takes_edge_features: ClassVar[bool] = True

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        has_last = layer.edge_features > 0 and layer.gives_logits
        width = layer.hidden if has_last else layer.out_features
        self.weight = nn.Parameter(torch.empty(layer.in_features, width))
        self.bias = nn.Parameter(torch.empty(width))
        self.edge_weight = nn.Parameter(torch.empty(layer.edge_features, width)) if layer.edge_features else None
        self.root = nn.Parameter(torch.empty(1, width)) if layer.edge_features else None
        self.last = nn.Linear(width, layer.out_features) if has_last else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in (self.weight, self.edge_weight, self.root):
            if parameter is not None:
                nn.init.xavier_uniform_(parameter)
        nn.init.zeros_(self.bias)
        if self.last is not None:
            self.last.reset_parameters()

    @property
    def edge_parameters(self) -> tuple[nn.Parameter, ...]:
        return () if self.edge_weight is None else (self.edge_weight,)

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        if self.edge_weight is None or self.root is None:
            return propagate(graph, "symmetric", x, self.weight, plus=self.bias)
        further = self.edge_weight, self.root
        sums, own = self._distinct(graph, x, *further) if are_repeated(x, graph) else self._with_edges(graph, x, *further)
        states = sums + own * graph.loop_weights
        return states if self.last is None else F.linear(states, self.last.weight, self.last.bias)

    def _with_edges(self, graph: Adjacency, x: NodeFeatures, edge_weight: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over messages of neighbours, and the message of the node itself before it is divided: (destinations, width) each."""
        values = linear(x, self.weight, self.bias)
        own = torch.relu_(graph.at_destinations(values) + root)
        return aggregate_messages(graph, "symmetric", values, edge_weight), own

    def _distinct(self, graph: Adjacency, x: RepeatedRows, edge_weight: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
        """The same, where rows repeat: each distinct message is computed once."""
        values = linear(x.table, self.weight, self.bias)
        own = taken_rows(torch.relu_(values + root), x.codes)
        return aggregate_repeated(graph, "symmetric", x, repeated_messages(graph, values, edge_weight)), own


class SAGEConvolution(MessageConvolution):
    """h_i = W_self x_i + W_neigh mean_{j in N(i)} x_j + b. Hamilton et al., NeurIPS 2017, arXiv 1706.02216, the mean aggregator.

    With edge features, relu(x_j + W_e e_ij + b_e) replaces x_j, and W_0 x replaces x in the first layer.
    """

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        layer = layer if self.messages is None else replace(layer, in_features=layer.hidden)
        # Two matrices: MKL's product with a sparse x takes four times as long at twice the width.
        self.self_weight = nn.Parameter(torch.empty(layer.in_features, layer.out_features))
        self.neighbour_weight = nn.Parameter(torch.empty(layer.in_features, layer.out_features))
        self.bias = nn.Parameter(torch.empty(layer.out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.self_weight)
        nn.init.xavier_uniform_(self.neighbour_weight)
        nn.init.zeros_(self.bias)
        if self.messages is not None:
            self.messages.reset_parameters()

    @property
    def state_weights(self) -> tuple[nn.Parameter, ...]:
        return self.self_weight, self.neighbour_weight

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        if self.messages is None:
            return propagate(graph, "mean", x, self.neighbour_weight, plus=self_linear(graph, x, self.self_weight, self.bias))
        if are_repeated(x, graph):
            return self._distinct(graph, x, self.messages)
        states = self.messages.states(x)
        own = torch.addmm(self.bias, graph.at_destinations(states), self.self_weight)
        return torch.addmm(own, self.messages(graph, "mean", states), self.neighbour_weight)

    def _distinct(self, graph: Adjacency, x: RepeatedRows, messages: Messages) -> Tensor:
        """The layer where rows repeat: each distinct message is computed once."""
        states, distinct = messages.distinct(graph, x)
        own = taken_rows(torch.addmm(self.bias, states, self.self_weight), x.codes)
        return aggregate_repeated(graph, "mean", x, distinct @ self.neighbour_weight) + own


class GINConvolution(MessageConvolution):
    """h_i = MLP((1 + eps) x_i + sum_{j in N(i)} x_j), MLP = linear, [batch norm,] ReLU, linear; eps learned.

    Xu et al., ICLR 2019, arXiv 1810.00826, eq. 4.1. The MLP's first linear map is applied before the sum.

    With edge features it is GINE (Hu et al., ICLR 2020, arXiv 1905.12265): relu(x_j + W_e e_ij + b_e) replaces x_j, and W_0 x replaces x in
    the first layer.
    """

    inner: ClassVar[frozenset[str]] = frozenset({"hidden", "norm"})

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        layer = layer if self.messages is None else replace(layer, in_features=layer.hidden)
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
        if self.messages is not None:
            self.messages.reset_parameters()

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        hidden = self._first(graph, x, factor=1 + self.eps)
        hidden = torch.relu_(hidden if self.norm is None else self.norm(hidden))
        return F.linear(hidden, self.last.weight, self.last.bias)

    def _first(self, graph: Adjacency, x: NodeFeatures, factor: Tensor) -> Tensor:
        """The MLP's first linear map of the sum, in which the node itself counts by `factor`: (destinations, hidden)."""
        if self.messages is None:
            return propagate(graph, "sum", x, self.weight, plus=self.bias, self_weight=factor)
        if are_repeated(x, graph):
            return self._distinct(graph, x, self.messages, factor)
        return torch.addmm(self.bias, self.messages(graph, "sum", self.messages.states(x), factor), self.weight)

    def _distinct(self, graph: Adjacency, x: RepeatedRows, messages: Messages, factor: Tensor) -> Tensor:
        """`_first` where rows repeat: each distinct message is computed once."""
        states, distinct = messages.distinct(graph, x)
        own = taken_rows(torch.addmm(self.bias, states * factor, self.weight), x.codes)
        return aggregate_repeated(graph, "sum", x, distinct @ self.weight) + own


class GATConvolution(Convolution):
    """h_i = sum_{j in N(i) + i} a_ij W x_j + b, a_ij = softmax_j(LeakyReLU(<a_source, W x_j> + <a_destination, W x_i>)), per head.

    Velickovic et al., ICLR 2018, arXiv 1710.10903, eq. 1-4. Heads are concatenated; a layer that outputs logits has one head.
    NOTE[PAPER]: the output layer has one head, as in the paper on Cora and CiteSeer.
    NOTE: with sampled neighbours, the softmax runs over these alone, as in DGL's GATConv.

    With edge features the score has a third term, <a_edge, W_e e_ij>, as in `torch_geometric.nn.GATConv`; e_ii is the mean over N(i).
    """

    default_dropout: ClassVar[float] = 0.6
    negative_slope: ClassVar[float] = 0.2
    takes_edge_features: ClassVar[bool] = True
    inner_with_edges: ClassVar[frozenset[str]] = frozenset()
    has_heads: ClassVar[bool] = True

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.heads = layer.heads
        self.attention_dropout = layer.dropout
        self.weight = nn.Parameter(torch.empty(layer.in_features, layer.out_features))
        self.attention_source = nn.Parameter(torch.empty(layer.heads, layer.out_features // layer.heads))
        self.attention_destination = nn.Parameter(torch.empty(layer.heads, layer.out_features // layer.heads))
        self.edge_weight = nn.Parameter(torch.empty(layer.edge_features, layer.out_features)) if layer.edge_features else None
        self.attention_edge = nn.Parameter(torch.empty_like(self.attention_source)) if layer.edge_features else None
        self.bias = nn.Parameter(torch.empty(layer.out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in (self.weight, self.attention_source, self.attention_destination, self.edge_weight, self.attention_edge):
            if parameter is not None:
                nn.init.xavier_uniform_(parameter)
        nn.init.zeros_(self.bias)

    @property
    def edge_parameters(self) -> tuple[nn.Parameter, ...]:
        return () if self.edge_weight is None else (self.edge_weight,)

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        values = linear(x, self.weight)
        # A second, narrow product: as further columns of the first it would double the time of that where x is sparse.
        source, destination = score_heads(values, self.attention_source, self.attention_destination)
        multiplier = None
        if generator is not None and self.attention_dropout > 0:
            shape = graph.attention_pattern(self.heads).indices.shape
            multiplier = keep_multiplier(shape, self.attention_dropout, generator, values.dtype)
        edge_score_fn = None
        if self.edge_weight is not None:
            assert self.attention_edge is not None
            weight = (self.edge_weight.view(-1, *self.attention_edge.shape) * self.attention_edge).sum(-1)  # (D, heads)
            edge_score_fn = partial(edge_scores, weight=weight)
        destination = graph.at_destinations(destination)
        return attention(graph, values, source, destination, multiplier, self.negative_slope, edge_score_fn) + self.bias

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        return F.elu_(x)


CONVOLUTIONS: dict[str, type[Convolution]] = {
    "gcn": GCNConvolution,
    "gat": GATConvolution,
    "gin": GINConvolution,
    "sage": SAGEConvolution,
}
