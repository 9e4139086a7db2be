"""Parts of the skeleton that are off by default: activations, the virtual node, the read-out of the input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.csr import NodeFeatures
from dgl_mutual.nn.dgl_graphs import dense
from dgl_mutual.nn.dropout import dropout
from dgl_mutual.nn.norm import batch_norm
from dgl_mutual.nn.pooling import pool

#: Activations by name; some work in place.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "elu": F.elu_,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu_,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class VirtualNode(nn.Module):
    """A node that all nodes of a graph are joined with: v <- MLP_l(v + sum_i x_i), x_i <- x_i + v after each hidden layer l but the last.

    Gilmer et al., ICML 2017, arXiv 1704.01212, section 5.2; MLP and initial state as in OGB's example (arXiv 2005.00687).
    NOTE[PAPER]: the sum is over the layer's output states. OGB's example sums its input states, so that with three layers only the last one
    receives information of other nodes.

    Args:
        width: width of the states.
        updates: number of layers that an update follows.
    """

    def __init__(self, width: int, updates: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.empty(1, width))
        self.updates = nn.ModuleList(
            nn.Sequential(
                *(nn.Linear(width, 2 * width), batch_norm(2 * width), nn.ReLU()),
                *(nn.Linear(2 * width, width), batch_norm(width), nn.ReLU()),
            )
            for _ in range(updates)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.start)
        for update in self.updates:
            assert isinstance(update, nn.Sequential)
            for part in update:
                if not isinstance(part, nn.ReLU):
                    part.reset_parameters()  # type: ignore[operator]  # a Sequential has no element type

    def forward(self, batch: GraphBatch, layer: int, x: Tensor, virtual: Tensor) -> tuple[Tensor, Tensor]:
        """The states x (|V|, width) and the virtual nodes (graphs, width) after a layer; `virtual` before the first is `start`."""
        virtual = self.updates[layer](pool(batch, x, "sum") + virtual)
        return x + virtual.index_select(0, batch.batch_index), virtual


class InputReadout(nn.Module):
    """An MLP on the pooled input features of each graph, whose logits are added: W' dropout(act(norm(W pool_i x_i + b))).

    GIN's read-out sees the input as well as all layers (Xu et al., ICLR 2019, arXiv 1810.00826, equation 4.2 and its code). Alone, with the
    sum, it is the baseline `bag` (Errica et al., ICLR 2020, arXiv 1912.09893, section 4).
    NOTE[PAPER]: GIN's code has a linear map in place of the MLP. On validation with 10 % of the labels the MLP is better (see
    results/PROTOCOL.md).

    Args:
        in_features, hidden, num_outputs: F, the width of the hidden layer, and C.
        norm: normalisation of the hidden layer.
        rate: dropout rate before the last map.
    """

    def __init__(
        self, in_features: int, hidden: int, num_outputs: int, *, norm: nn.Module, activation: Callable[[Tensor], Tensor], rate: float
    ) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, hidden)
        self.norm = norm
        self.last = nn.Linear(hidden, num_outputs, bias=False)
        self.activation = activation
        self.rate = rate

    def reset_parameters(self) -> None:
        for part in (self.first, self.norm, self.last):
            if not isinstance(part, nn.Identity):
                part.reset_parameters()  # type: ignore[operator]  # a Module may have anything

    def forward(self, batch: GraphBatch, x: NodeFeatures, pooling: str, generator: torch.Generator | None) -> Tensor:
        """Logits (graphs, C) of the features x (|V|, F)."""
        hidden = self.activation(self.norm(self.first(pool(batch, dense(x), pooling))))
        logits: Tensor = self.last(dropout(hidden, self.rate, generator))
        return logits
