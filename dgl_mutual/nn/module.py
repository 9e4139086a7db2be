"""Base class of students: modules that run on a batch in training, and on a DGLGraph when a user calls them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dgl_mutual.data.values.arrays import FeatureKind
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Batch, GraphBatch
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.streams import global_generator
from dgl_mutual.utils.torch_settings import thread_defaults
from dgl_mutual.utils.wording import counted


@dataclass(frozen=True)
class EdgeInput:
    """The edge features and node feature columns of a student that takes edge features, or uses no edges.

    Attributes:
        width: D; 0 where edges have no features.
        node_columns: the node feature columns that it takes, in increasing order: all but the sums of edge features (``edge-sum``); None
            for all.
    """

    width: int
    node_columns: tuple[int, ...] | None = None

    @classmethod
    def of(cls, edge_features: int, kinds: Sequence[FeatureKind]) -> EdgeInput | None:
        """For a dataset with `edge_features` edge features and node feature columns of these kinds; None if no feature comes from edges."""
        columns = tuple(index for index, kind in enumerate(kinds) if kind != "edge-sum")
        node_columns = None if len(columns) in (0, len(kinds)) else columns
        return cls(edge_features, node_columns) if edge_features or node_columns is not None else None


@dataclass(frozen=True)
class StudentOutput:
    """The result of one forward pass.

    Attributes:
        logits: (samples, C).
        hidden: states of each hidden layer, first to last, each (|V|, width); where neighbours are sampled, of the sampled nodes.
        embedding: the last state of a sample before its logits: (samples, width); for a one-layer node student the logits. The logits of
            `input_readout` are not part of it.
    """

    logits: Tensor
    hidden: tuple[Tensor, ...]
    embedding: Tensor


class StudentModule(nn.Module, ABC):
    """A student of a node or graph task.

    Training calls `forward_batch` on the package's own batches. A user calls the student, or `embed`, on a DGLGraph.

    Attributes:
        task: node or graph.
        in_features, num_outputs: F and C.
        edge_features: D of the edge features that it takes; 0 for none.
    """

    task: TaskName
    in_features: int
    num_outputs: int
    edge_features: int = 0

    @property
    def custom_module(self) -> nn.Module | None:
        """The custom module that it runs, if any."""
        return None

    @abstractmethod
    def forward_batch(self, batch: Batch, generator: torch.Generator | None = None) -> StudentOutput:
        """Compute logits and states of every sample of a batch.

        Args:
            generator: the random stream for dropout; None switches dropout off.
        """

    def embed_batch(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """The last hidden state of every sample of a batch: (samples, width). Arguments as in `forward_batch`."""
        return self.forward_batch(batch, generator).embedding

    def __repr__(self) -> str:
        """One line with its task, widths and number of parameters."""
        parameters = sum(parameter.numel() for parameter in self.parameters())
        edge_width = f" and {counted(self.edge_features, 'edge feature', form=',')}" if self.edge_features else ""
        widths = f"{counted(self.in_features, 'feature', form=',')}{edge_width} -> {counted(self.num_outputs, 'output', form=',')}"
        return f"{self.title} ({self.task} task): {widths}, {counted(parameters, 'parameter', form=',')}"

    @property
    def title(self) -> str:
        """The name that `repr` shows."""
        return type(self).__name__

    @abstractmethod
    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""

    @abstractmethod
    def fold_input_scaling(self, scales: Tensor) -> None:
        """Fold `scales` (F,) into the input weights: after training on features times `scales`, the student takes unscaled ones."""

    def fold_edge_scaling(self, scales: Tensor) -> None:  # without edge features there is nothing to fold
        """As `fold_input_scaling`, for edge features: `scales` (D,)."""

    @thread_defaults()
    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        """Logits: (|V|, C) on a node task, (graphs, C) on a graph task.

        Dropout is on in training mode and draws from torch's global random stream. The student computes in the type of its parameters:
        autocast is off.

        Args:
            graph: a homogeneous graph; on a graph task a batch of graphs made by `dgl.batch`, or one graph. Self-loops and duplicate edges
                are removed, as in every dataset. A student that takes edge features reads them from ``graph.edata["feat"]`` (|E|, D).
            feat: node features (|V|, F).

        Raises:
            UsageError: a heterogeneous graph, or features of another shape, or no edge features where the student takes them.
            DataError: the batch information does not fit the graph.
        """
        return self.forward_batch(*self._batch(graph, feat)).logits

    @thread_defaults()
    def embed(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        """The last hidden state of each sample: (|V|, width) or (graphs, width). Arguments and errors as in `forward`."""
        return self.embed_batch(*self._batch(graph, feat))

    def _batch(self, graph: dgl.DGLGraph, feat: Tensor) -> tuple[GraphBatch, torch.Generator | None]:
        parameter = next(self.parameters())
        batch = GraphBatch.from_dgl(graph, parameter.device, parameter.dtype, feat=feat, edge_features=self.edge_features)
        if feat.shape[1] != self.in_features:
            raise UsageError(
                f"The student was trained on {self.in_features} features per node and 'feat' has {feat.shape[1]}. "
                "Encode the new data as the training data was encoded."
            )
        return batch, global_generator(parameter.device) if self.training else None


class CohortMember(StudentModule):
    """A student that trains in a cohort: a built-in one, or one that runs a custom module.

    Attributes:
        options: its resolved options.
        takes_codes: whether columns that may hold codes of categories reach it unscaled, so that embeddings can look them up.
    """

    options: StudentOptions
    takes_codes: ClassVar[bool] = False

    def check_weights(self) -> None:  # built-in students draw theirs from the stream of the member
        """Refuse initial weights that are the same in every training."""
