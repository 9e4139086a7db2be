"""One skeleton for every student: an architecture defines its convolution, the rest is the same for all, on node and graph tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.architectures import ARCHITECTURES, make_custom
from dgl_mutual.nn.batch import Batch, GraphBatch
from dgl_mutual.nn.blocks import LayerwiseBatch
from dgl_mutual.nn.convolutions import Convolution, LayerSpec
from dgl_mutual.nn.csr import NodeFeatures
from dgl_mutual.nn.custom import CustomStudent
from dgl_mutual.nn.dropout import dropout
from dgl_mutual.nn.module import CohortMember, EdgeInput, StudentOutput
from dgl_mutual.nn.noise import with_noise
from dgl_mutual.nn.norm import make_norm
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.parts import ACTIVATIONS, InputReadout, VirtualNode
from dgl_mutual.nn.pooling import pool
from dgl_mutual.nn.structure_free import MLPConvolution, bags


def resolve_student(options: StudentOptions, task: TaskName, *, has_edge_features: bool = False) -> StudentOptions:
    """Fill in what depends on the task, the architecture, and whether the dataset has edge features.

    Raises:
        UsageError: an unknown architecture, a custom one that cannot be found or does not take its options, or a hidden width that the
            attention heads do not divide; or edge features that the dataset does not have or the architecture does not take.
    """
    if options.is_custom:
        make_custom(options)
        if options.edge_features and not has_edge_features:
            raise UsageError(f"The student {options.label!r} has edge_features on, and the dataset has no edge features. Leave it out.")
        return options
    if options.options:
        raise UsageError(
            f"'options' are for students of your own, and {options.architecture} is a built-in one. Set its options directly, for example "
            f"{{architecture: {options.architecture}, hidden: 32}}."
        )
    convolution_class = ARCHITECTURES[options.architecture_name]
    if convolution_class.has_heads and options.hidden % options.heads:
        raise UsageError(
            f"A {options.architecture} student of hidden width {options.hidden} cannot have {options.heads} heads: the width must be a "
            "multiple of the heads."
        )
    if options.edge_features and not convolution_class.takes_edge_features:
        able = ", ".join(name for name, other in ARCHITECTURES.items() if other.takes_edge_features)
        raise UsageError(f"{options.architecture} students take no edge features. Leave edge_features out, or choose one of: {able}.")
    if options.edge_features and not has_edge_features:
        raise UsageError("student.edge_features is on, and the dataset has no edge features. Leave it out.")
    is_node_task = task == "node"
    if options.virtual_node and is_node_task:
        raise UsageError("student.virtual_node joins all nodes of a graph, and is for graph tasks. Leave it out.")
    if options.input_readout and is_node_task:
        raise UsageError("student.input_readout pools the features of a graph's nodes, and is for graph tasks. Leave it out.")
    defaults = {
        "depth": convolution_class.default_depth[task],
        "dropout": convolution_class.default_dropout if is_node_task else 0.5,
        "norm": "none" if is_node_task else "batch",
        "readout": "last" if is_node_task else "jumping",
        "edge_features": has_edge_features and convolution_class.takes_edge_features,
    }
    resolved = options.model_copy(update={key: value for key, value in defaults.items() if getattr(options, key) is None})
    # A virtual node is updated between layers.
    return resolved.model_copy(update={"virtual_node": False}) if resolved.virtual_node and resolved.depth == 1 else resolved


def without_effect(options: StudentOptions, task: TaskName) -> dict[str, str]:
    """Options without effect on such a student -> the reason, as the end of a sentence; empty for a custom student.

    Args:
        options: resolved options (see `resolve_student`).
    """
    if options.is_custom:
        return {}
    name = options.architecture_name
    convolution_class = ARCHITECTURES[name]
    idle = {} if convolution_class.has_heads else {"heads": f"since {name} has no attention heads."}
    if task == "node":
        idle["pooling"] = "since a node task has no states of graphs."
        if options.depth == 1 and options.readout == "last":
            why = f"since the one layer of {name} gives the logits, and there is no hidden one. Give student.depth=2, for example."
            inner = convolution_class.inner | (convolution_class.inner_with_edges if options.edge_features else set())
            idle = {key: why for key in ("hidden", "heads", "norm", "activation", "residual") if key not in inner} | idle
            if options.norm == "layer":  # the hidden layer within a convolution has batch norm or none
                idle["norm"] = why
        return idle
    if convolution_class.pools_first:
        idle["pooling"] = f"since {name} sums the features of nodes before its first layer."
    if options.depth == 1:
        why = f"since {name} has one layer here. Give student.depth=2, for example."
        idle |= dict.fromkeys(("readout", "virtual_node"), why)
    return idle


def has_classifier(options: StudentOptions, task: TaskName) -> bool:
    """Whether a linear classifier follows the convolutions of a built-in student; otherwise the last one outputs the logits."""
    return task == "graph" or options.readout == "jumping"


def state_widths(options: StudentOptions, task: TaskName, num_outputs: int) -> tuple[int, ...]:
    """Output width of each convolution of a built-in student, first to last. The last one may output the logits.

    Args:
        options: resolved options (see `resolve_student`).
    """
    assert options.depth is not None
    last = options.hidden if has_classifier(options, task) else num_outputs
    return (*[options.hidden] * (options.depth - 1), last)


class Student(CohortMember):
    """A shallow GNN: convolutions with normalisation, activation and dropout between them, then logits.

    On a node task with the `last` read-out the last convolution outputs the logits itself. Otherwise all convolutions are hidden layers, a
    read-out takes the last or all of them (pooled per graph on a graph task), and a linear classifier follows. With `input_readout` the
    logits of an MLP on the pooled features are added.

    Args:
        options: resolved options (see `resolve_student`).
        in_features, num_outputs: F and C.
        edges: the features of the dataset that come from edges, if any. A student that uses edges ignores it without
            ``options.edge_features``.
    """

    def __init__(self, options: StudentOptions, task: TaskName, in_features: int, num_outputs: int, edges: EdgeInput | None = None) -> None:
        super().__init__()
        options = resolve_student(options, task, has_edge_features=edges is not None and edges.width > 0)
        assert options.depth is not None and options.dropout is not None
        self.options = options
        self.task = task
        self.in_features = in_features
        self.num_outputs = num_outputs
        self.depth = options.depth
        convolution_class = ARCHITECTURES[options.architecture_name]
        self.edge_features = edges.width if edges is not None and options.edge_features else 0
        self.node_columns = (
            edges.node_columns if edges is not None and (options.edge_features or not convolution_class.uses_edges) else None
        )
        self.pools_first = convolution_class.pools_first and task == "graph"
        in_width = in_features if self.node_columns is None else len(self.node_columns)
        self.has_classifier = has_classifier(options, task)
        # A graph task drops out once, before the classifier, as GIN's authors do; dropping within a small graph costs more than it gains.
        self.hidden_rate = options.dropout if task == "node" else 0.0
        self.input_rate = self.hidden_rate if options.input_dropout is None else options.input_dropout
        self.classifier_rate = options.dropout
        num_hidden = self.depth if self.has_classifier else self.depth - 1
        self.convolutions = nn.ModuleList(
            convolution_class(
                LayerSpec(
                    in_features=in_width if index == 0 else options.hidden,
                    out_features=width,
                    hidden=options.hidden,
                    heads=options.heads if index < num_hidden else 1,
                    dropout=self.hidden_rate,
                    batch_norm=options.norm == "batch",
                    edge_features=self.edge_features,
                    index=index,
                    is_last=index == self.depth - 1,
                    gives_logits=index >= num_hidden,
                )
            )
            for index, width in enumerate(state_widths(options, task, num_outputs))
        )
        self.norms = nn.ModuleList(make_norm(options.norm, options.hidden) for _ in range(0 if options.norm == "none" else num_hidden))
        widths = [in_width, *[options.hidden] * (num_hidden - 1)]
        residuals = (MLPConvolution(LayerSpec(width, options.hidden)) for width in widths[:num_hidden])
        self.residuals = nn.ModuleList(residuals) if options.residual else None
        self.virtual_node = VirtualNode(options.hidden, self.depth - 1) if options.virtual_node else None
        self.activation = convolution_class.activation if options.activation is None else ACTIVATIONS[options.activation]
        out_width = options.hidden * (self.depth if options.readout == "jumping" else 1)
        self.classifier = nn.Linear(out_width, num_outputs) if self.has_classifier else None
        self.input_readout: InputReadout | None = None
        if options.input_readout:
            norm = make_norm(options.norm, options.hidden)
            self.input_readout = InputReadout(
                in_width, options.hidden, num_outputs, norm=norm, activation=self.activation, rate=self.classifier_rate
            )

    @property
    def title(self) -> str:
        options = self.options
        return f"{options.architecture} student, depth {options.depth}, hidden {options.hidden}, dropout {options.dropout}"

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        parts = (self.virtual_node, self.classifier, self.input_readout)
        for module in (*self.convolutions, *self.norms, *(self.residuals or ()), *(part for part in parts if part is not None)):
            module.reset_parameters()

    @torch.no_grad()
    def fold_input_scaling(self, scales: Tensor) -> None:
        """As `StudentModule.fold_input_scaling`; exact to the bit, since the scales are powers of two."""
        convolution = self.convolutions[0]
        assert isinstance(convolution, Convolution)
        scales = scales if self.node_columns is None else scales[list(self.node_columns)]
        convolution.fold_input_scaling(scales)
        if self.residuals:
            cast("MLPConvolution", self.residuals[0]).fold_input_scaling(scales)
        if self.input_readout is not None:
            self.input_readout.first.weight.mul_(scales)

    @torch.no_grad()
    def fold_edge_scaling(self, scales: Tensor) -> None:
        """As `fold_input_scaling`, for edge features: `scales` (D,)."""
        for convolution in self.convolutions:
            assert isinstance(convolution, Convolution)
            for weight in convolution.edge_parameters:
                weight.mul_(scales.unsqueeze(1))

    def forward_batch(self, batch: Batch, generator: torch.Generator | None = None) -> StudentOutput:
        """Compute logits and states of every sample of the batch.

        Args:
            generator: the student's own stream for dropout; None switches dropout off.
        """
        if self.pools_first:
            assert isinstance(batch, GraphBatch)
            batch = bags(batch)
        x: NodeFeatures = batch.inputs(self.depth, self.node_columns)
        if self.options.feature_noise is not None:
            whole = batch.whole if isinstance(batch, LayerwiseBatch) else batch
            offsets = whole.node_offsets if isinstance(whole, GraphBatch) else None
            x = with_noise(x, self.options.feature_noise, generator, offsets, self.task)
        features = x
        hidden: list[Tensor] = []
        graphs = batch.adjacencies(self.depth)
        initial: Tensor | None = None
        virtual = None if self.virtual_node is None else self.virtual_node.start
        for layer, (graph, convolution) in enumerate(zip(graphs, self.convolutions, strict=True)):
            assert isinstance(convolution, Convolution)
            x = layer_input = dropout(x, self.input_rate if layer == 0 else self.hidden_rate, generator)
            if layer == 0:
                initial = convolution.initial(x)
                if initial is not None:
                    x = dropout(initial, self.hidden_rate, generator)
            state = convolution(graph, x, generator, *(() if initial is None else (initial,)))
            if self.classifier is None and layer == self.depth - 1:
                return StudentOutput(state, tuple(hidden), graph.at_destinations(hidden[-1]) if hidden else state)
            if self.residuals is not None:
                state = self.residuals[layer](graph, layer_input, None) + state
            x = self.activation(self.norms[layer](state) if len(self.norms) else state)
            hidden.append(x)
            if self.virtual_node is not None and layer < self.depth - 1:
                x, virtual = self.virtual_node(batch, layer, x, virtual)
        assert self.classifier is not None
        read_layers = range(self.depth) if self.options.readout == "jumping" else range(self.depth - 1, self.depth)
        embedding = torch.cat([self._samples(batch, hidden[layer], graphs[layer + 1 :]) for layer in read_layers], dim=1)
        logits = self.classifier(dropout(embedding, self.classifier_rate, generator))
        if self.input_readout is not None:
            assert isinstance(batch, GraphBatch)
            logits = logits + self.input_readout(batch, features, self.options.pooling, generator)
        return StudentOutput(logits, tuple(hidden), embedding)

    def _samples(self, batch: Batch, x: Tensor, later: Sequence[Adjacency]) -> Tensor:
        """The states of the samples after a layer, given the adjacencies of the layers that follow: (samples, width)."""
        if self.task == "graph":
            assert isinstance(batch, GraphBatch)
            return pool(batch, x, self.options.pooling)
        for graph in later:
            x = graph.at_destinations(x)
        return x


def make_student(
    options: StudentOptions, task: TaskName, in_features: int, num_outputs: int, name: str = "", edges: EdgeInput | None = None
) -> CohortMember:
    """Make a built-in student or a custom one.

    Args:
        options: resolved options (see `resolve_student`).
        in_features, num_outputs: F and C.
        name: its name in error messages.
        edges: see `Student`.
    """
    if options.is_custom:
        width = edges.width if edges is not None and options.edge_features else 0
        return CustomStudent(options, task, in_features, num_outputs, name, edge_features=width)
    return Student(options, task, in_features, num_outputs, edges)
