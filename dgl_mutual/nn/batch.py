"""Graphs as the input of students, shared by the whole cohort."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.objects.dgl_objects import batch_offsets, edges_of
from dgl_mutual.data.values.arrays import Features, IntArray, as_array, offsets_of
from dgl_mutual.data.values.distinct import distinct_rows
from dgl_mutual.data.values.edges import canonical_edge_rows, canonical_edges
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.csr import NodeFeatures, RepeatedRows, SparseMatrix, take_columns, take_rows
from dgl_mutual.utils.caching import cached_method
from dgl_mutual.utils.wording import counted, kind_of


class Batch(ABC):
    """The input of a student: an adjacency for each convolution, and features."""

    @abstractmethod
    def adjacencies(self, depth: int) -> Sequence[Adjacency]:
        """The adjacency of each convolution of a student with `depth` convolutions, first to last.

        The destinations of each are the sources of the next; those of the last are the samples of a node task.
        """

    @abstractmethod
    def inputs(self, depth: int, columns: tuple[int, ...] | None = None) -> NodeFeatures:
        """Features of the sources of the first convolution; with a depth of 0, of the samples of a node task.

        Args:
            columns: feature columns to take, in increasing order; default: all.
        """


class GraphBatch(Adjacency, Batch):
    """One graph, or several as one disjoint union, with features: every convolution has the same adjacency.

    Attributes:
        features: (|V|, F), dense or sparse.
        node_offsets: (graphs + 1,): graph g owns the nodes node_offsets[g] ... node_offsets[g + 1] - 1.
    """

    def __init__(
        self,
        in_offsets: Tensor,
        sources: Tensor,
        features: NodeFeatures,
        node_offsets: Tensor,
        edge_features: NodeFeatures | None = None,
        by_source: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Take the arrays of the CSC form (see `Adjacency`)."""
        super().__init__(in_offsets, sources, features.dtype, edge_features=edge_features, by_source=by_source)
        self.features = features
        self.node_offsets = node_offsets
        self.constant_features = features if isinstance(features, Tensor) and not features.requires_grad else None

    @classmethod
    def from_dgl(
        cls,
        graph: dgl.DGLGraph,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        feat: Tensor | None = None,
        *,
        edge_features: int = 0,
    ) -> GraphBatch:
        """Convert a homogeneous DGL graph, batched or not. Self-loops and duplicate edges are removed, as in every dataset.

        Of duplicate edges the first one counts; a warning is issued if their features differ.

        Args:
            feat: node features (|V|, F); default: ``graph.ndata["feat"]``.
            edge_features: D, the width of ``graph.edata["feat"]`` (edges, D); 0 to take no edge features.

        Raises:
            UsageError: the graph is not a homogeneous DGLGraph, or has no features; they are not a matrix with one row per node; or the
                number of edge features differs.
            DataError: the batch information does not fit the graph (see `batch_offsets`).
        """
        check_homogeneous(graph)
        features = _features_of(graph) if feat is None else feat
        if not isinstance(features, Tensor):
            raise UsageError(f"Node features 'feat' are {kind_of(features)}. Give a tensor, for example torch.as_tensor(feat).")
        if features.ndim != 2 or len(features) != graph.num_nodes():
            raise UsageError(
                f"Node features 'feat' have the shape {tuple(features.shape)} and the graph has {graph.num_nodes()} nodes. "
                f"Expected one row per node: ({graph.num_nodes()}, columns)."
            )
        source, destination = raw_edges = edges_of(graph)
        offsets = batch_offsets(graph, raw_edges)
        edge_rows: Tensor | None = None
        if edge_features:
            edge_data = _edge_features_of(graph, edge_features).to(device, dtype)
            table = as_array(edge_data, "edge features")
            edges, rows = canonical_edge_rows(source, destination, graph.num_nodes(), symmetric=False, features=table)
            edge_rows = edge_data[torch.as_tensor(rows, device=device)]
        else:
            edges = canonical_edges(source, destination, graph.num_nodes(), symmetric=False)
        in_degrees = np.bincount(edges[1], minlength=graph.num_nodes())
        in_offsets, node_offsets = (torch.as_tensor(array, device=device) for array in (offsets_of(in_degrees), offsets))
        return cls(in_offsets, torch.as_tensor(edges[0], device=device), features.to(device, dtype), node_offsets, edge_rows)

    def adjacencies(self, depth: int) -> Sequence[Adjacency]:
        return (self,) * depth

    def inputs(self, depth: int, columns: tuple[int, ...] | None = None) -> NodeFeatures:
        return self.features if columns is None else self.with_columns(columns)

    @cached_method
    def with_columns(self, columns: tuple[int, ...]) -> NodeFeatures:
        """These feature columns, cached for all students."""
        return take_columns(self.features, columns)

    @property
    def num_nodes(self) -> int:
        return self.num_sources

    @property
    def num_graphs(self) -> int:
        return len(self.node_offsets) - 1

    @cached_property
    def graph_sizes(self) -> Tensor:
        """(graphs,): nodes of each graph."""
        return self.node_offsets.diff()

    @cached_property
    def batch_index(self) -> Tensor:
        """(|V|,): the index of each node's graph."""
        numbers = torch.arange(self.num_graphs, device=self.device)
        return torch.repeat_interleave(numbers, self.graph_sizes, output_size=self.num_nodes)


def check_homogeneous(graph: dgl.DGLGraph) -> None:
    """Check that a graph is a homogeneous DGLGraph.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(graph, dgl.DGLGraph):
        raise UsageError(f"Expected a DGLGraph, found {kind_of(graph)}.")
    if graph.is_block or not graph.is_homogeneous:
        edge_types = ", ".join(map(str, graph.canonical_etypes))
        raise UsageError(
            f"The graph is heterogeneous or bipartite (edge types: {edge_types}), and students take homogeneous graphs only. "
            "Convert it with dgl.to_homogeneous(graph, ndata=['feat'])."
        )


def _features_of(graph: dgl.DGLGraph) -> Tensor:
    if "feat" not in graph.ndata:
        raise UsageError(
            f"The graph has no node features 'feat' (it has: {', '.join(graph.ndata) or 'none'}). Set graph.ndata['feat']. For students "
            "trained on one-hot in-degrees (feat=None), predict dgl_mutual.Dataset.from_dgl(graph, feat=None), with task='graph' to "
            "classify graphs."
        )
    features: Tensor = graph.ndata["feat"]
    return features


def _edge_features_of(graph: dgl.DGLGraph, width: int) -> Tensor:
    if "feat" not in graph.edata and not graph.num_edges():
        return torch.zeros(0, width, device=graph.device)
    if "feat" not in graph.edata:
        raise UsageError(
            f"The student was trained with {counted(width, 'edge feature')}, and the graph's edges have none (edata has: "
            f"{', '.join(graph.edata) or 'nothing'}). Set graph.edata['feat'], encoded as in the training data."
        )
    features: Tensor = graph.edata["feat"]
    shape = tuple(features.shape)
    if len(shape) == 1 and width == 1:
        features = features.unsqueeze(1)
    if features.ndim != 2 or features.shape[1] != width:
        raise UsageError(
            f"The student was trained with {counted(width, 'edge feature')}, and graph.edata['feat'] has the shape {shape}. Expected "
            f"({graph.num_edges()}, {width}), encoded as in the training data."
        )
    return features


class FeatureRows:
    """Node or edge features of a dataset, from which batches take rows: sparse if the features are, else dense.

    Args:
        features: (rows, F).
        repeats: whether to return `RepeatedRows` if there are few distinct rows.
    """

    def __init__(self, features: Features, device: torch.device, dtype: torch.dtype, *, repeats: bool) -> None:
        self.device = device
        self.dtype = dtype
        self._features = features
        distinct = distinct_rows(features) if repeats else None
        self._distinct: tuple[Tensor, npt.NDArray[np.int32]] | None = None
        if distinct is not None:
            table, codes = distinct
            self._distinct = torch.as_tensor(table, dtype=dtype, device=device), codes.astype(np.int32)
        is_dense = isinstance(features, np.ndarray) and distinct is None
        self._dense = torch.as_tensor(features, dtype=dtype, device=device) if is_dense else None

    def __getitem__(self, rows: IntArray | slice) -> NodeFeatures:
        """Take these rows."""
        if self._distinct is not None:
            table, codes = self._distinct
            return RepeatedRows.of_table(table, codes[rows])
        if self._dense is not None:
            return take_rows(self._dense, rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self.device))
        return SparseMatrix.from_scipy(self._features[rows], self.device, self.dtype)


class Collator:
    """Builds batches of a dataset's graphs by index arithmetic on its arrays, never graph by graph."""

    def __init__(self, dataset: Dataset, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.dataset = dataset
        self.device = torch.device(device)
        self.dtype = dtype
        self._sources = dataset.edges[0]
        self._in_degrees = np.diff(dataset.in_offsets)
        self._nodes = FeatureRows(dataset.features, self.device, dtype, repeats=not isinstance(dataset.features, np.ndarray))
        edges = dataset.edge_features
        self._edges = None if edges is None else FeatureRows(edges, self.device, dtype, repeats=True)

    def all(self) -> GraphBatch:
        """The whole dataset as one batch."""
        arrays = (self.dataset.in_offsets, self._sources, self.dataset.node_offsets)
        in_offsets, sources, node_offsets = map(self._tensor, arrays)
        return GraphBatch(in_offsets, sources, self._nodes[:], node_offsets, None if self._edges is None else self._edges[:])

    def __call__(self, graphs: Sequence[int] | IntArray) -> GraphBatch:
        """The batch of the graphs with these numbers, in this order."""
        dataset = self.dataset
        chosen = np.asarray(graphs, dtype=np.int64)
        nodes, node_offsets, node_shift = _gather_ranges(dataset.node_offsets, chosen)
        out_degrees, by_source = self._by_source
        edges, edge_offsets, edge_shift = _gather_ranges(dataset.edge_offsets, chosen)
        num_edges = np.diff(edge_offsets)
        return GraphBatch(
            self._tensor(offsets_of(self._in_degrees[nodes])),
            self._tensor(self._sources[edges] + np.repeat(node_shift, num_edges)),
            self._nodes[nodes],
            self._tensor(node_offsets),
            edge_features=None if self._edges is None else self._edges[edges],
            by_source=(
                self._tensor(offsets_of(out_degrees[nodes])),
                self._tensor(by_source[edges] + np.repeat(edge_shift, num_edges)),
            ),
        )

    @cached_property
    def _by_source(self) -> tuple[IntArray, IntArray]:
        """The out-degree of each node, and the edges of the dataset in order of source, in which those of a graph stay together."""
        # To sort the edges of each batch instead takes 2 % of an epoch of a gin on NCI1.
        return np.bincount(self._sources, minlength=self.dataset.num_nodes), np.argsort(self._sources, kind="stable")

    def _tensor(self, array: IntArray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.int64, device=self.device)


def _gather_ranges(offsets: IntArray, chosen: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """The concatenated elements of the chosen ranges, their new offsets, and how far each range moved."""
    sizes = offsets[chosen + 1] - offsets[chosen]
    new_offsets = offsets_of(sizes)
    shift = new_offsets[:-1] - offsets[chosen]
    return np.arange(new_offsets[-1]) - np.repeat(shift, sizes), new_offsets, shift
