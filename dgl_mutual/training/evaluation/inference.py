"""Predictions of trained students for data of any size: memory is bounded by the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_mutual.cohort import Cohort, no_such_member
from dgl_mutual.data.conversion import as_unlabelled
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.positions import with_positions
from dgl_mutual.data.values.arrays import as_array, refuse_graphs_without_nodes
from dgl_mutual.data.values.features import check_features
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError, UsageError, unknown
from dgl_mutual.nn.batch import Batch, Collator, GraphBatch, check_homogeneous
from dgl_mutual.nn.blocks import LayerwiseBatch
from dgl_mutual.store.members import BEST, ENSEMBLE
from dgl_mutual.training.evaluation.evaluation_batches import evaluation_groups
from dgl_mutual.utils.torch_settings import torch_defaults
from dgl_mutual.utils.wording import counted
from dgl_mutual.weightings.uniform import Uniform

if TYPE_CHECKING:
    from dgl_mutual.dgl_compat import dgl

#: Maximum number of nodes of a graph that is predicted at once; a larger graph is predicted layer by layer.
WHOLE_GRAPH_NODES = 1 << 16

NEEDS_POSITIONS = (
    "The model needs positional features, which are computed from a dataset. Make one of the graph, predict(Dataset.from_dgl(graph)); if "
    "the columns of the training data have names, name these, too: Dataset.from_dgl(graph, feature_names=..., edge_feature_names=...)."
)

#: Maps a batch and the numbers (N,) of its samples to a row for each sample.
PerSample: TypeAlias = Callable[[Batch, Tensor], Tensor]


class Predictor:
    """Predicts with the student `member`, or with the ``ensemble``, whose coordinator may know only its training nodes.

    Raises:
        UsageError: no such member.
    """

    def __init__(self, cohort: Cohort, member: str) -> None:
        cohort.eval()
        first, parameter = cohort.members[0], next(cohort.parameters())
        self.logits = _logits(cohort, member)
        self.task, self.in_features = first.task, first.in_features
        self.distribution, self.positions = cohort.distribution, cohort.positions
        self.device, self.dtype = parameter.device, parameter.dtype
        self.edge_features = max(student.edge_features for student in cohort.members)
        self.check = partial(check_samples, cohort) if member == ENSEMBLE else None

    @torch.no_grad()
    def __call__(self, data: Dataset | dgl.DGLGraph) -> npt.NDArray[Any]:
        """Predict probabilities (samples, C) in float64: in float32 many close to 1 would be equal, and their order lost.

        For logits above about 37 it is lost in float64, too: see `FitResult.predict`.

        Raises:
            UsageError: another number of features or edge features than it was trained on, or data that `check` refuses.
            DataError: features or logits that are not finite, or a DGL graph without nodes.
        """
        return self.rows_of(data, lambda batch, samples: self.distribution.probabilities(self.logits(batch, samples).double()))

    @torch.no_grad()
    @torch_defaults()
    def rows_of(self, data: Dataset | dgl.DGLGraph, rows: PerSample) -> npt.NDArray[Any]:
        """Return the result of `rows` for all samples as one array; errors as above."""
        parts = []
        for batch, samples in self._batches(data):
            self._check_width(batch)
            parts.append(rows(batch, samples))
        result: npt.NDArray[Any] = torch.cat(parts).cpu().numpy()
        return result

    @torch_defaults()
    def prepared(self, data: Dataset) -> Callable[[], None]:
        """Return a function that runs a forward pass over all samples. Batches are created once, here. Errors as above."""
        batches = list(self._batches(data))
        for batch, _ in batches:
            self._check_width(batch)

        def run() -> None:
            with torch.no_grad(), torch_defaults():
                for batch, samples in batches:
                    self.logits(batch, samples)

        return run

    def _batches(self, data: Dataset | dgl.DGLGraph) -> Iterator[tuple[Batch, Tensor]]:
        if self.check is not None:
            self.check(data)
        by_node = self.task == "node"
        if not isinstance(data, Dataset):
            batch = self._batch_of_graph(data)
            yield self._bounded(batch), torch.arange(batch.num_nodes if by_node else batch.num_graphs, device=self.device)
            return
        data = with_positions(self._with_edges(data), self.positions)
        collate = Collator(data, self.device, self.dtype)
        groups = evaluation_groups(np.diff(data.node_offsets), np.diff(data.edge_offsets))
        for graphs in groups:
            numbers = np.arange(data.node_offsets[graphs[0]], data.node_offsets[graphs[-1] + 1]) if by_node else graphs
            batch, samples = collate.all() if len(groups) == 1 else collate(graphs), torch.as_tensor(numbers, device=self.device)
            yield self._bounded(batch), samples

    def _batch_of_graph(self, graph: dgl.DGLGraph) -> GraphBatch:
        if self.positions:
            raise UsageError(NEEDS_POSITIONS)
        check_homogeneous(graph)
        if "feat" in graph.ndata and graph.ndata["feat"].ndim == 2:
            check_features(as_array(graph.ndata["feat"], "node features 'feat'"), graph.num_nodes(), "node features 'feat'")
        if self.edge_features and "feat" in graph.edata and graph.edata["feat"].ndim == 2:
            check_features(as_array(graph.edata["feat"], "edge features 'feat'"), graph.num_edges(), "edge features 'feat'", "edge")
        batch = GraphBatch.from_dgl(graph, self.device, self.dtype, edge_features=self.edge_features)
        refuse_graphs_without_nodes(batch.node_offsets.cpu().numpy())
        return batch

    def _with_edges(self, data: Dataset) -> Dataset:
        """Return the dataset with the edge features that students take, or without edge features."""
        if not self.edge_features:
            return data.without_edge_features()
        if data.edge_features is None and not data.num_edges:
            names = tuple(f"edge feature {column}" for column in range(self.edge_features))
            return data.replaced(edge_features=np.zeros((0, len(names)), dtype=np.float32), edge_feature_names=names)
        if data.num_edge_features != self.edge_features:
            raise UsageError(
                f"The students were trained with {counted(self.edge_features, 'edge feature')} and the edges of {data.name} have "
                f"{data.num_edge_features or 'none'}. Encode the new data as the training data was encoded, or train on it again."
            )
        return data

    def _bounded(self, batch: GraphBatch) -> Batch:
        """Return the batch; on a node task with more nodes than are predicted at once, one that runs layer by layer."""
        if self.task == "graph" or batch.num_nodes <= WHOLE_GRAPH_NODES:
            return batch
        return LayerwiseBatch(batch, torch.arange(batch.num_nodes, device=batch.device))

    def _check_width(self, batch: Batch) -> None:
        width = batch.inputs(1).shape[1]
        if width != self.in_features:
            raise UsageError(
                f"The students were trained on {counted(self.in_features, 'feature')} per node and the data has {width}. "
                "Encode the new data as the training data was encoded, or train on it again."
            )


def embeddings(cohort: Cohort, data: Dataset | dgl.DGLGraph, member: str) -> npt.NDArray[Any]:
    """Return the last hidden states (samples, width) of the student `member`: see `StudentModule.embed`.

    Raises:
        UsageError: no such student, or another number of features than it was trained on.
        DataError: features that are not finite.
    """
    if member not in cohort.names:
        raise unknown("student", member, cohort.names)
    student = cohort.members[cohort.names.index(member)]
    return Predictor(cohort, member).rows_of(data, lambda batch, samples: student.embed_batch(batch))


def peer_weights(cohort: Cohort, data: Dataset | dgl.DGLGraph) -> npt.NDArray[Any]:
    """Return the coordinator's weight of peer j for student i on sample v: (samples v, K students i, K peers j, 1 or C).

    Raises:
        UsageError: a coordinator that weighs all peers equally, or data as in `Predictor`.
        DataError: features or logits that are not finite.
    """
    if all(isinstance(weighting, Uniform) for weighting in cohort.coordinator.task_coordinators()):
        raise UsageError(
            "The coordinator of this cohort weighs all peers equally, so it has no weights to show. The weights that a strategy such as "
            "okddip used in training are in result.history (weights/<member>/<peer>). gml learns weights with strategy_options.weighting, "
            "for example consensus."
        )
    logits_of_all = _logits_of_all(cohort)
    return Predictor(cohort, ENSEMBLE).rows_of(
        data, lambda batch, samples: cohort.peer_weights(logits_of_all(batch, samples), samples).permute(2, 0, 1, 3)
    )


def graph_or_dataset(data: Any, task: TaskName) -> Dataset | dgl.DGLGraph:
    """Return a dataset or a DGL graph unchanged; convert PyG graphs and lists to a dataset of this task without labels.

    Raises:
        UsageError, DataError: see `as_unlabelled`.
    """
    return data if hasattr(data, "adj_tensors") else as_unlabelled(data, task)


def _logits(cohort: Cohort, member: str) -> PerSample:
    """Return the function that computes logits (N, C) of the student `member`, or of the ``ensemble``."""
    task = cohort.members[0].task
    if member == ENSEMBLE:
        logits_of_all = _logits_of_all(cohort)
        return lambda batch, samples: _finite(cohort.ensemble_logits(logits_of_all(batch, samples), samples), samples, ENSEMBLE, task)
    if member not in cohort.names:
        raise no_such_member(member, (BEST, ENSEMBLE, *cohort.names))
    index = cohort.names.index(member)
    return lambda batch, samples: _finite(cohort(batch, [index])[0].logits, samples, member, task)


def _logits_of_all(cohort: Cohort) -> PerSample:
    """Logits of all students, (K, N, C), one after another: hidden states of one are freed before the next runs."""
    students = [_logits(cohort, name) for name in cohort.names[: cohort.num_students]]
    return lambda batch, samples: torch.stack([student(batch, samples) for student in students])


def _finite(logits: Tensor, samples: Tensor, member: str, task: TaskName) -> Tensor:
    """Return the logits (N, C) after a check that all are finite: a sigmoid would map infinity to a probability."""
    broken = ~torch.isfinite(logits).all(dim=-1)
    if broken.any():
        raise DataError(
            f"The logits of {member} for {task} {int(samples[broken][0])} are not finite, so they predict nothing "
            f"({int(broken.sum())} of {len(samples)} {task}s). Likely causes are features of extreme size; look at them with "
            "'dgl-mutual data describe' and rescale them."
        )
    return logits


def check_samples(cohort: Cohort, data: Dataset | dgl.DGLGraph) -> None:
    """Check that a coordinator with a weight per node gets the nodes that it was trained with.

    Raises:
        UsageError: a different number of nodes.
    """
    config = cohort.coordinator.config
    num_nodes = data.num_nodes if isinstance(data, Dataset) else data.num_nodes()
    if not cohort.coordinator.inductive and num_nodes != config.num_samples:
        raise UsageError(
            f"The ensemble's coordinator (weighting {config.weighting!r}) has weights for the {config.num_samples} nodes that it "
            f"was trained with and the data has {num_nodes}. Predict with a single student, or train with an inductive weighting."
        )
