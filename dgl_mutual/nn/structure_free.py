"""Layers that use no edges. They are baselines: they show how much a GNN gains from the structure of graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.convolutions import Convolution, LayerSpec
from dgl_mutual.nn.csr import NodeFeatures
from dgl_mutual.nn.dgl_graphs import dense
from dgl_mutual.nn.functional import self_linear
from dgl_mutual.nn.pooling import pool


class MLPConvolution(Convolution):
    """h_i = W x_i + b. On a graph task node states are pooled after the layers: deep sets.

    Source: Zaheer et al., NeurIPS 2017, arXiv 1703.06114; as a baseline for graphs, Errica et al., ICLR 2020, arXiv 1912.09893, section 4.
    Feature columns that are sums over a node's edges are left out.
    """

    uses_edges: ClassVar[bool] = False

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.weight = nn.Parameter(torch.empty(layer.in_features, layer.out_features))
        self.bias = nn.Parameter(torch.empty(layer.out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        return self_linear(graph, x, self.weight, self.bias)


class BagConvolution(MLPConvolution):
    """h_g = W sum_{i in g} x_i + b: the layers of an MLP on the summed node features of a graph. On a node task the same as `mlp`.

    Source: Errica et al., ICLR 2020, arXiv 1912.09893, section 4 ("molecular fingerprint": one hidden layer on summed atom features).
    """

    default_depth: ClassVar[Mapping[str, int]] = {"node": 2, "graph": 1}
    pools_first: ClassVar[bool] = True


STRUCTURE_FREE: dict[str, type[Convolution]] = {"mlp": MLPConvolution, "bag": BagConvolution}


def bags(batch: GraphBatch) -> GraphBatch:
    """Replace each graph by one node without edges, whose features are the sum of its nodes' features."""
    nodes = torch.arange(batch.num_graphs + 1, device=batch.device)
    no_edges = nodes.new_empty(0)
    return GraphBatch(torch.zeros_like(nodes), no_edges, pool(batch, dense(batch.features), "sum"), nodes)
