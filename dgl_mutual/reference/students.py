"""A student of the reference: torch_geometric's own convolutions and pooling."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv, global_add_pool, global_max_pool, global_mean_pool

from dgl_mutual.data.dataset import TaskName
from dgl_mutual.nn.norm import batch_norm
from dgl_mutual.nn.options import StudentOptions

POOLINGS = {"sum": global_add_pool, "mean": global_mean_pool, "max": global_max_pool}


class ReferenceStudent(torch.nn.Module):
    """A shallow GNN on torch_geometric; `dgl_mutual.reference.mapping` says which weights of ours are which of its.

    Args:
        options: options with nothing left open.
        in_features, num_outputs: F and C.
    """

    def __init__(self, options: StudentOptions, task: TaskName, in_features: int, num_outputs: int) -> None:
        super().__init__()
        assert options.depth is not None and options.dropout is not None
        self.options = options
        self.task = task
        self.classifier_dropout = options.dropout
        self.dropout = options.dropout if task == "node" else 0.0
        has_classifier = task == "graph" or options.readout == "jumping"
        self.convs = torch.nn.ModuleList()
        self.norms = torch.nn.ModuleList()
        for layer in range(options.depth):
            width = in_features if layer == 0 else options.hidden
            if layer == options.depth - 1 and not has_classifier:
                self.convs.append(self._convolution(width, num_outputs, heads=1))
            else:
                self.convs.append(self._convolution(width, options.hidden, heads=options.heads))
                if options.norm == "batch":
                    self.norms.append(batch_norm(options.hidden))
        seen = options.depth if options.readout == "jumping" else 1
        self.classifier = torch.nn.Linear(seen * options.hidden, num_outputs) if has_classifier else None

    def _convolution(self, width: int, out: int, heads: int) -> torch.nn.Module:
        makers: dict[str, Callable[[], torch.nn.Module]] = {
            "gcn": lambda: GCNConv(width, out, cached=self.task == "node"),
            "sage": lambda: SAGEConv(width, out),
            "gat": lambda: GATConv(width, out // heads, heads, dropout=self.dropout),
            "gin": lambda: GINConv(self._mlp(width, out), train_eps=True),
        }
        return makers[self.options.architecture_name]()

    def _mlp(self, width: int, out: int) -> torch.nn.Module:
        hidden = self.options.hidden
        parts: OrderedDict[str, torch.nn.Module] = OrderedDict(first=torch.nn.Linear(width, hidden))
        if self.options.norm == "batch":
            parts["norm"] = batch_norm(hidden)
        parts["relu"] = torch.nn.ReLU()
        parts["last"] = torch.nn.Linear(hidden, out)
        return torch.nn.Sequential(parts)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, num_graphs: int | None = None) -> Tensor:
        """Logits of the nodes, or of the graphs that `batch` assigns the nodes to."""
        states = []
        for layer, conv in enumerate(self.convs):
            x = F.dropout(x, p=self.dropout, training=self.training)
            x = conv(x, edge_index)
            if layer == len(self.convs) - 1 and self.classifier is None:
                return x
            if len(self.norms):
                x = self.norms[layer](x)
            x = F.elu(x) if self.options.architecture == "gat" else F.relu(x)
            states.append(x)
        if self.options.readout == "last":
            states = states[-1:]
        if self.task == "graph":
            pool = POOLINGS[self.options.pooling]
            states = [pool(state, batch, size=num_graphs) for state in states]
        x = F.dropout(torch.cat(states, dim=1), p=self.classifier_dropout, training=self.training)
        assert self.classifier is not None
        logits: Tensor = self.classifier(x)
        return logits
