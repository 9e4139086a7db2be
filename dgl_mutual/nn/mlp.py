"""Multi-layer perceptron."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.nn.batch import Batch, GraphBatch
from dgl_mutual.nn.dropout import dropout
from dgl_mutual.nn.functional import linear
from dgl_mutual.nn.module import StudentModule, StudentOutput
from dgl_mutual.nn.pooling import pool


class MLP(StudentModule):
    """h^1 = relu(W^1 x); h^{l+1} = relu(W^{l+1} dropout(h^l)); the last layer outputs logits. Edges are not used.

    On a graph task the node states before the last layer are summed over each graph.

    Args:
        task: node or graph.
        in_features, hidden, num_outputs: widths.
        depth: number of linear layers, at least 2.
        rate: dropout rate between layers.
        positions: number of random-walk steps whose return probabilities are its last features.
    """

    def __init__(
        self, task: TaskName, in_features: int, num_outputs: int, *, hidden: int, depth: int = 2, rate: float = 0.5, positions: int = 0
    ) -> None:
        super().__init__()
        self.task = task
        self.in_features = in_features
        self.num_outputs = num_outputs
        self.rate = rate
        self.positions = positions
        # Not an nn.Linear: the features may be sparse.
        self.weight = nn.Parameter(torch.empty(in_features, hidden))
        self.bias = nn.Parameter(torch.empty(hidden))
        self.hidden = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth - 2))
        self.last = nn.Linear(hidden, num_outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)
        for layer in (*self.hidden, self.last):
            layer.reset_parameters()

    @torch.no_grad()
    def fold_input_scaling(self, scales: Tensor) -> None:
        """As `StudentModule.fold_input_scaling`."""
        self.weight.mul_(scales.unsqueeze(1))

    def forward_batch(self, batch: Batch, generator: torch.Generator | None = None) -> StudentOutput:
        x = torch.relu_(linear(batch.inputs(0), self.weight, self.bias))
        hidden = [x]
        for layer in self.hidden:
            x = torch.relu(layer(dropout(x, self.rate, generator)))
            hidden.append(x)
        if self.task == "graph":
            assert isinstance(batch, GraphBatch)
            x = pool(batch, x, "sum")
        return StudentOutput(self.last(dropout(x, self.rate, generator)), tuple(hidden), x)
