"""Architectures built from DGL's own layers (`dgl.nn`), as convolutions of the common skeleton.

All options of `StudentOptions` apply as they do to the other architectures, except for `heads`, which only gatv2 has. Unless a class says
otherwise, the adjacency A includes self-loops, as in DGL's examples, and D is the degree matrix of A.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_mutual.dgl_compat import dgl
from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.convolutions import Convolution, LayerSpec
from dgl_mutual.nn.csr import NodeFeatures
from dgl_mutual.nn.dgl_graphs import compact_block, dense, graph_of
from dgl_mutual.nn.streams import torch_stream

dglnn = dgl.nn.pytorch


class DGLConvolution(Convolution):
    """A convolution that runs one of DGL's layers on a DGLGraph.

    Attributes:
        loops: whether the graph has self-loops.
        layer: DGL's layer.
        input_layers: paths of the linear maps that take x, possibly with its powers side by side (x, A x, A^2 x, ...).
    """

    loops: ClassVar[bool] = True
    runs_on_dgl: ClassVar[bool] = True
    layer: Any
    input_layers: ClassVar[tuple[str, ...]]

    def run(self, graph: dgl.DGLGraph, x: Tensor) -> Tensor:
        """Compute new states of the graph's destinations; x: states of its sources."""
        states: Tensor = self.layer(graph, x)
        return states

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None) -> Tensor:
        return self._forward(self.run, graph, x, generator)

    def _forward(
        self, run: Callable[[dgl.DGLGraph, Tensor], Tensor], graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None
    ) -> Tensor:
        """Apply `run` to the graph, or to each of its chunks."""
        self.train(generator is not None)  # dropout within a layer follows the generator, as everywhere
        with torch_stream(generator, graph.device):
            if self.takes_blocks and graph.is_chunked:
                blocks = (compact_block(chunk, loops=self.loops) for _, chunk in graph.chunks())
                return torch.cat([run(block, dense(x, nodes)) for block, nodes in blocks])
            states = run(graph_of(graph.whole, loops=self.loops), dense(x))
        return graph.at_destinations(states) if graph.is_chunked else states

    def fold_input_scaling(self, scales: Tensor) -> None:
        for layer in cast("Iterator[nn.Linear]", map(self.get_submodule, self.input_layers)):
            layer.weight.mul_(scales.repeat(layer.in_features // len(scales)))

    def reset_parameters(self) -> None:
        for module in _resettable(self):
            module.reset_parameters()


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _resettable(module: nn.Module) -> Iterator[Any]:
    """The outermost submodules with a method `reset_parameters`."""
    for child in module.children():
        if hasattr(child, "reset_parameters"):
            yield child
        else:
            yield from _resettable(child)


class GATv2Convolution(DGLConvolution):
    """h_i = sum_j a_ij W_s x_j, a_ij = softmax_j(<a, LeakyReLU(W_s x_j + W_d x_i)>), per head: `dgl.nn.GATv2Conv`.

    Brody et al., ICLR 2022, arXiv 2105.14491, eq. 7. Heads are concatenated; a layer that outputs logits has one head. Dropout also applies
    to the attention weights.
    """

    input_layers = ("layer.fc_src", "layer.fc_dst")

    default_dropout = 0.6
    has_heads = True

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        width = layer.out_features // layer.heads
        self.layer = dglnn.GATv2Conv(layer.in_features, width, layer.heads, attn_drop=layer.dropout, allow_zero_in_degree=True)

    def run(self, graph: dgl.DGLGraph, x: Tensor) -> Tensor:
        states: Tensor = self.layer(graph, x)
        return states.flatten(1)

    @classmethod
    def fewest_weights(cls, hidden: int) -> int:
        return hidden

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        return F.elu(x)


class APPNPConvolution(DGLConvolution):
    """A linear layer; the last one is followed by Z <- (1 - alpha) D^-1/2 A D^-1/2 Z + alpha Z_0, 10 times: `dgl.nn.APPNPConv`.

    Gasteiger et al., ICLR 2019, arXiv 1810.05997, eq. 4; alpha = 0.1 and 10 steps are the paper's. Dropout also applies to the edges of
    every step, as in the paper.

    NOTE[PAPER]: on a directed graph the right D counts out-edges, and the left one in-edges, as in DGL's layer.
    """

    input_layers = ("linear",)
    takes_blocks = False

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.linear = nn.Linear(layer.in_features, layer.out_features)
        self.propagate = dglnn.APPNPConv(10, 0.1, edge_drop=layer.dropout) if layer.is_last else None

    def run(self, graph: dgl.DGLGraph, x: Tensor) -> Tensor:
        states: Tensor = self.linear(x)
        if self.propagate is not None:
            with _default_dtype(x.dtype):  # APPNPConv makes edge weights of the default type, whatever the features' type
                states = self.propagate(graph, states)
        return states


class GCN2Convolution(DGLConvolution):
    """h^l = ((1 - alpha) P h^(l-1) + alpha h^0) ((1 - b_l) I + b_l W), P = D^-1/2 A D^-1/2, b_l = log(lambda / l + 1): `dgl.nn.GCN2Conv`.

    Chen et al. (GCNII), ICML 2020, arXiv 2007.02133, eq. 5; alpha = 0.1 and lambda = 0.5 are the authors' for Cora. A linear
    layer with ReLU before the first convolution computes h^0; on a node task a linear layer after the last one computes the logits.

    NOTE[PAPER]: W starts uniform in +-1/sqrt(width), as in the authors' code; DGL's start is normal with variance 1.
    """

    input_layers = ("start",)
    takes_blocks = False  # the initial states of a block's destinations are not available with sampled neighbours
    inner = frozenset({"hidden"})

    @classmethod
    def fewest_weights(cls, hidden: int) -> int:
        return hidden**2

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.rate = layer.dropout
        self.start = nn.Linear(layer.in_features, layer.hidden) if layer.index == 0 else None
        self.layer = dglnn.GCN2Conv(layer.hidden, layer.index + 1, alpha=0.1, lambda_=0.5, allow_zero_in_degree=True)
        self.end = nn.Linear(layer.hidden, layer.out_features) if layer.gives_logits else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        bound = self.layer.weight1.shape[0] ** -0.5
        nn.init.uniform_(self.layer.weight1, -bound, bound)

    def forward(self, graph: Adjacency, x: NodeFeatures, generator: torch.Generator | None, initial: Tensor | None = None) -> Tensor:
        return self._forward(partial(self.run, initial=initial), graph, x, generator)

    def run(self, graph: dgl.DGLGraph, x: Tensor, initial: Tensor | None = None) -> Tensor:
        assert initial is not None
        states: Tensor = self.layer(graph, x, initial)
        return states if self.end is None else self.end(F.dropout(states.relu(), self.rate, self.training))

    def initial(self, x: NodeFeatures) -> Tensor | None:
        return None if self.start is None else self.start(dense(x)).relu()


class SGConvolution(DGLConvolution):
    """h = (D^-1/2 A D^-1/2)^2 x W + b: `dgl.nn.SGConv`. Wu et al., ICML 2019, arXiv 1902.07153, eq. 8.

    A student has one such layer of two hops unless `depth` asks for more; with one, `hidden` has no effect on a node task.
    """

    input_layers = ("layer.fc",)
    takes_blocks = False
    default_depth: ClassVar[Mapping[str, int]] = {"node": 1, "graph": 1}

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.layer = dglnn.SGConv(layer.in_features, layer.out_features, k=2, allow_zero_in_degree=True)


class TAGConvolution(DGLConvolution):
    """h = sum_(k = 0..2) (D^-1/2 A D^-1/2)^k x W_k + b, A without self-loops: `dgl.nn.TAGConv`.

    Du et al., 2017, arXiv 1710.10370, eq. 5; two hops are DGL's default.
    """

    input_layers = ("layer.lin",)
    loops = False
    takes_blocks = False

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.layer = dglnn.TAGConv(layer.in_features, layer.out_features, k=2)

    def reset_parameters(self) -> None:
        self.layer.lin.reset_parameters()  # DGL's does not reset the bias
        super().reset_parameters()


class ChebConvolution(DGLConvolution):
    """h = [T_0(L) x, T_1(L) x, T_2(L) x] W + b, L = -D^-1/2 A D^-1/2, A without self-loops: `dgl.nn.ChebConv`.

    Defferrard et al., NeurIPS 2016, arXiv 1606.09375, eq. 4, with polynomials T_k of the order 2 (k = 0, 1, 2); the largest eigenvalue is
    taken as 2.
    """

    input_layers = ("layer.linear",)
    loops = False
    takes_blocks = False

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.layer = dglnn.ChebConv(layer.in_features, layer.out_features, 3, activation=None)

    def run(self, graph: dgl.DGLGraph, x: Tensor) -> Tensor:
        states: Tensor = self.layer(graph, x, lambda_max=x.new_full((graph.batch_size,), 2.0))
        return states

    def reset_parameters(self) -> None:
        self.layer.linear.reset_parameters()


DGL_LAYERS: dict[str, type[Convolution]] = {
    "gatv2": GATv2Convolution,
    "appnp": APPNPConvolution,
    "gcn2": GCN2Convolution,
    "sgc": SGConvolution,
    "tag": TAGConvolution,
    "chebnet": ChebConvolution,
}
