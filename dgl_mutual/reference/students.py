"""A student of the reference: torch_geometric's own convolutions and pooling."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.nn import GATConv, GCNConv, GINConv, LayerNorm, SAGEConv, global_add_pool, global_max_pool, global_mean_pool
from torch_geometric.nn.resolver import activation_resolver

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.nn.module import EdgeInput
from dgl_mutual.nn.norm import batch_norm
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.reference.edge_layers import GCNLayer, GINELayer, SAGELayer

POOLINGS = {"sum": global_add_pool, "mean": global_mean_pool, "max": global_max_pool}


class VirtualNode(torch.nn.Module):
    """The weights of a virtual node (Gilmer et al., ICML 2017, arXiv 1704.01212): its start, and an MLP per update, as in OGB."""

    def __init__(self, width: int, updates: int) -> None:
        super().__init__()
        self.start = torch.nn.Parameter(torch.zeros(1, width))

        def step(in_features: int, out_features: int) -> tuple[torch.nn.Module, ...]:
            return torch.nn.Linear(in_features, out_features), batch_norm(out_features), torch.nn.ReLU()

        self.updates = torch.nn.ModuleList(torch.nn.Sequential(*step(width, 2 * width), *step(2 * width, width)) for _ in range(updates))


def _norm(options: StudentOptions) -> torch.nn.Module:
    return batch_norm(options.hidden) if options.norm == "batch" else LayerNorm(options.hidden, mode="node")


class InputReadout(torch.nn.Module):
    """An MLP on the pooled input features, whose logits are added."""

    def __init__(self, options: StudentOptions, activation: Callable[[Tensor], Tensor], in_features: int, num_outputs: int) -> None:
        super().__init__()
        assert options.dropout is not None
        self.first = torch.nn.Linear(in_features, options.hidden)
        self.norm = torch.nn.Identity() if options.norm == "none" else _norm(options)
        self.last = torch.nn.Linear(options.hidden, num_outputs, bias=False)
        self.activation = activation
        self.dropout = options.dropout

    def forward(self, pooled: Tensor) -> Tensor:
        hidden = F.dropout(self.activation(self.norm(self.first(pooled))), p=self.dropout, training=self.training)
        logits: Tensor = self.last(hidden)
        return logits


class ReferenceStudent(torch.nn.Module):
    """A shallow GNN on torch_geometric; `dgl_mutual.reference.mapping` converts weights of our students to its weights.

    Args:
        options: resolved options (see `dgl_mutual.nn.student.resolve_student`).
        in_features, num_outputs: F and C.
        edges: the edge features of the dataset, if it has any.
    """

    def __init__(self, options: StudentOptions, task: TaskName, in_features: int, num_outputs: int, edges: EdgeInput | None = None) -> None:
        super().__init__()
        assert options.depth is not None and options.dropout is not None
        self.options = options
        self.task = task
        self.classifier_dropout = options.dropout
        self.dropout = options.dropout if task == "node" else 0.0
        self.input_dropout = self.dropout if options.input_dropout is None else options.input_dropout
        self.activation = activation_resolver(options.activation or ("elu" if options.architecture == "gat" else "relu"))
        has_classifier = task == "graph" or options.readout == "jumping"
        num_read_layers = options.depth if options.readout == "jumping" else 1
        self.classifier = torch.nn.Linear(num_read_layers * options.hidden, num_outputs) if has_classifier else None
        self.edges = edges if options.edge_features else None
        if self.edges is not None and self.edges.node_columns is not None:
            in_features = len(self.edges.node_columns)
        self.input_readout = InputReadout(options, self.activation, in_features, num_outputs) if options.input_readout else None
        self.convs = torch.nn.ModuleList()
        self.norms = torch.nn.ModuleList()
        self.residuals = torch.nn.ModuleList()
        self.virtual_node = VirtualNode(options.hidden, options.depth - 1) if options.virtual_node else None
        for layer in range(options.depth):
            width = in_features if layer == 0 else options.hidden
            if layer == options.depth - 1 and not has_classifier:
                self.convs.append(self._convolution(layer, width, num_outputs, heads=1))
            else:
                self.convs.append(self._convolution(layer, width, options.hidden, heads=options.heads))
                if options.norm != "none":
                    self.norms.append(_norm(options))
                if options.residual:
                    self.residuals.append(torch.nn.Linear(width, options.hidden))

    def _convolution(self, layer: int, width: int, out: int, heads: int) -> torch.nn.Module:
        if self.edges is not None:
            return self._edge_convolution(layer, width, out, heads, self.edges.width)
        makers: dict[str, Callable[[], torch.nn.Module]] = {
            "gcn": lambda: GCNConv(width, out, cached=self.task == "node"),
            "sage": lambda: SAGEConv(width, out),
            "gat": lambda: GATConv(width, out // heads, heads, dropout=self.dropout),
            "gin": lambda: GINConv(self._mlp(width, out), train_eps=True),
        }
        return makers[self.options.architecture_name]()

    def _edge_convolution(self, layer: int, width: int, out: int, heads: int, edge_features: int) -> torch.nn.Module:
        assert self.options.depth is not None
        hidden, gives_logits = self.options.hidden, self.classifier is None and layer == self.options.depth - 1

        def encoder() -> torch.nn.Linear | None:
            return torch.nn.Linear(width, hidden, bias=False) if layer == 0 else None

        makers: dict[str, Callable[[], torch.nn.Module]] = {
            "gcn": lambda: GCNLayer(width, hidden, edge_features, out if gives_logits else None),
            "sage": lambda: SAGELayer(hidden, out, encoder(), edge_features),
            "gat": lambda: GATConv(width, out // heads, heads, dropout=self.dropout, edge_dim=edge_features),
            "gin": lambda: GINELayer(self._mlp(hidden, out), encoder(), edge_features),
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

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """Logits of the nodes, or of the graphs that `batch` assigns the nodes to."""
        if self.edges is not None and self.edges.node_columns is not None:
            x = x[:, list(self.edges.node_columns)]
        edge_arguments = () if self.edges is None else (edge_attr,)
        features, states = x, []
        virtual = None if self.virtual_node is None else self.virtual_node.start
        for layer, conv in enumerate(self.convs):
            layer_input = F.dropout(x, p=self.dropout if layer else self.input_dropout, training=self.training)
            x = conv(layer_input, edge_index, *edge_arguments)
            if layer == len(self.convs) - 1 and self.classifier is None:
                return x
            if len(self.residuals):
                x = x + self.residuals[layer](layer_input)
            if len(self.norms):
                x = self.norms[layer](x)
            x = self.activation(x)
            states.append(x)
            if self.virtual_node is not None and layer < len(self.convs) - 1:
                virtual = self.virtual_node.updates[layer](global_add_pool(x, batch, size=num_graphs) + virtual)
                x = x + virtual[batch]
        if self.options.readout == "last":
            states = states[-1:]
        pool = POOLINGS[self.options.pooling]
        if self.task == "graph":
            states = [pool(state, batch, size=num_graphs) for state in states]
        x = F.dropout(torch.cat(states, dim=1), p=self.classifier_dropout, training=self.training)
        assert self.classifier is not None
        logits: Tensor = self.classifier(x)
        if self.input_readout is None:
            return logits
        logits = logits + self.input_readout(pool(features, batch, size=num_graphs))
        return logits
