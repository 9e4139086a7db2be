"""Datasets: plain arrays, independent of DGL and of any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.objects.dgl_objects import LABEL, no_labels_in_dgl, records_of_dgl
from dgl_mutual.data.objects.from_arrays import check_row_orders, compact_copy, edge_attributes, number_of_nodes
from dgl_mutual.data.objects.pyg_objects import no_labels_in_pyg, records_of_pyg, warn_if_ambiguous
from dgl_mutual.data.values.arrays import (
    FeatureKind,
    Features,
    FloatArray,
    IntArray,
    as_offsets,
    by_column,
    offsets_of,
    refuse_graphs_without_nodes,
)
from dgl_mutual.data.values.edges import as_edges, canonical_edge_rows, canonical_edges, check_within_graphs, checked_edges, is_canonical
from dgl_mutual.data.values.features import Columns, columns_of, degree_features
from dgl_mutual.data.values.graph_records import arrays_of
from dgl_mutual.data.values.graph_store import GraphStore
from dgl_mutual.data.values.names import check_name
from dgl_mutual.data.values.split import MAX_SPLITS, Split, as_splits
from dgl_mutual.data.values.target import ChosenMetric, Target, TaskName, as_labels, check_task, encode_targets
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.utils.arguments import check_booleans
from dgl_mutual.utils.wording import counted


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """One graph with labelled nodes (``task="node"``) or many graphs with labels (``task="graph"``).

    Create one with `from_arrays`, `from_dgl` or `from_pyg`. Every new dataset is checked and converted to the form below, in time linear in
    its size (unsorted edges are sorted). Results keep the dataset that they were trained on, not a copy of it: do not change its arrays in
    place, but create another dataset with `replaced`.

    Attributes:
        name: its name in tables of results.
        task: ``node`` where each node is a sample, ``graph`` where each graph is one.
        edges: int64, shape (2, |E|), rows (source, destination) in global node indices; an undirected edge is stored in both directions;
            no self-loops, no duplicates; sorted by (destination, source).
        features: float32, shape (|V|, F); a CSR matrix where most entries are zero.
        labels: single-label: int64, shape (samples,), -1 where unknown. Multi-label: float32, shape (samples, L), NaN where unknown.
            Joint: float32, shape (samples, columns), NaN where unknown: a column of class indices for a single-label part, L for others.
        target: the meaning of `labels`: their kind, the names of classes or labels, and the metric of predictions.
        node_offsets: int64, shape (graphs + 1,): graph g owns the nodes node_offsets[g] ... node_offsets[g + 1] - 1.
        feature_names: a name for each column of `features`: the schema that a saved student expects of new data.
        feature_kinds: the content of each column (default: all numbers): ``number``, ``indicator`` (one-hot: 0 where its value does not
            occur) or ``count`` (of words). A saved student accepts new data without an indicator column, with a warning unless its name is
            that of one value, such as ``colour=red``; indicators are not scaled. A column ``edge-sum`` is the sum of an indicator over a
            node's edges; students that take edge features ignore it.
        edge_features: float32, shape (|E|, D), in the order of `edges`; a CSR matrix where most entries are zero; None where edges have
            none. `edge_feature_names` and `edge_feature_kinds` are as those of nodes.
        official_splits: the splits that come with the dataset: none, one (protocol ``public`` or ``scaffold``), or several (``splits``).
        evaluator: the OGB name whose `Evaluator` computes the metric, if any.
        sample_ids: identifiers of the samples in its files, if there are any.
        num_pool: the number of trailing graphs that form the unlabelled pool (see `dgl_mutual.data.pool`); none of them is assessed.
        store: the server of edges and features of a partitioned graph, which then has no `edges`, and zeros for `features`.
        no_labels: why there are no labels and how to give them, for a message; empty if there are some.
        codes_of: the TU dataset whose numbering the columns ``label=...`` and ``edge label=...`` follow, if there are any. A student that
            was trained on other codes warns of such data, as does a pool.

    Raises:
        DataError: edges, features, labels or split are invalid; the message names the first offending entry.
    """

    name: str
    task: TaskName
    edges: IntArray
    features: Features
    labels: npt.NDArray[np.int64] | FloatArray
    node_offsets: IntArray
    target: Target
    feature_names: tuple[str, ...]
    official_splits: tuple[Split, ...] = ()
    evaluator: str | None = None
    sample_ids: tuple[str, ...] | None = None
    store: GraphStore | None = None
    feature_kinds: tuple[FeatureKind, ...] = ()
    edge_features: Features | None = None
    num_pool: int = 0
    edge_feature_names: tuple[str, ...] = ()
    edge_feature_kinds: tuple[FeatureKind, ...] = ()
    no_labels: str = ""
    codes_of: str | None = None

    def __post_init__(self) -> None:
        self._check({field.name for field in fields(self)})

    def _put(self, **values: Any) -> None:
        """Set attributes, although the dataset is frozen."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def replaced(self, **changes: Any) -> Dataset:
        """The dataset with other values of some attributes. Only these are checked.

        Raises:
            TypeError: a dataset has no such attribute.
            ValueError: `edges` are replaced without their `edge_features`.
            DataError: a value is invalid, or does not fit the others.
        """
        names = [field.name for field in fields(self)]
        if unknown := sorted(changes.keys() - set(names)):
            raise TypeError(f"A Dataset has no attribute {unknown[0]!r} that can be replaced. Choose from: {', '.join(names)}.")
        new = object.__new__(Dataset)
        new._put(**{name: getattr(self, name) for name in names} | changes)
        new._check(set(changes))
        return new

    def _check(self, changed: set[str]) -> None:
        """Check these attributes, and those that depend on them."""
        if "name" in changed:
            check_name(self.name)
        if "codes_of" in changed and self.codes_of is not None:
            check_name(self.codes_of)
        if self.task not in ("node", "graph"):
            raise DataError(f"Unknown task {self.task!r} of the dataset {self.name!r}. Choose from: node, graph.")
        if changed & {"features", "feature_names", "feature_kinds"}:
            columns = Columns(self.features, self.feature_names, self.feature_kinds).checked(f"The features of {self.name!r}")
            self._put(features=columns.values, feature_names=columns.names, feature_kinds=columns.kinds)
        num_nodes = self.features.shape[0]
        if changed & {"features", "node_offsets"}:
            self._put(node_offsets=as_offsets(self.node_offsets, num_nodes))
        if "edges" in changed and self.edge_features is not None and "edge_features" not in changed:
            raise ValueError("edges were replaced, and edge_features are those of the edges before")
        if changed & {"features", "node_offsets", "edges", "edge_features", "edge_feature_names", "edge_feature_kinds"}:
            self._check_edges(num_nodes)
            check_within_graphs(self.edges, self.node_offsets)
        if changed & {"features", "node_offsets", "task", "labels", "target"}:
            self._put(labels=as_labels(self.labels, self.target, self.num_samples))
        if "official_splits" in changed:
            self._put(official_splits=tuple(self.official_splits))
            if len(self.official_splits) > MAX_SPLITS:
                raise DataError(f"{self.name!r} has {len(self.official_splits)} splits. Give at most {MAX_SPLITS}.")
        if changed & {"official_splits", "features", "node_offsets", "task"}:  # these determine the number of samples
            for split in self.official_splits:
                split.check(self.num_samples)
        if self.sample_ids is not None and len(self.sample_ids) != self.num_samples:
            raise DataError(
                f"Found {counted(len(self.sample_ids), 'sample_id')} for {counted(self.num_samples, 'sample')}. Give one for each."
            )

    def _check_edges(self, num_nodes: int) -> None:
        if self.edge_features is None:
            descriptions = (self.edge_feature_names, self.edge_feature_kinds)
            if any(isinstance(texts, str) or by_column(texts, "names or kinds of edge features") for texts in descriptions):
                raise DataError("There are names or kinds of edge features, but no edge_features. Give them, or leave the names out.")
            self._put(edges=as_edges(self.edges, num_nodes), edge_feature_names=(), edge_feature_kinds=())
            return
        edges = checked_edges(self.edges, num_nodes)
        columns = Columns(self.edge_features, self.edge_feature_names, self.edge_feature_kinds)
        columns = columns.checked(f"The edge features of {self.name!r}", "edge")
        if columns.values.shape[0] != edges.shape[1]:
            raise DataError(
                f"Found {counted(columns.values.shape[0], 'row')} of edge features for {counted(edges.shape[1], 'edge')}. Give a row for "
                "each edge, in the order of the edges; an undirected edge that is stored in both directions has two."
            )
        if not is_canonical(edges):
            edges, rows = canonical_edge_rows(edges[0], edges[1], num_nodes, symmetric=False, features=columns.values)
            columns = columns.select_rows(rows)
        self._put(edges=edges, edge_features=columns.values, edge_feature_names=columns.names, edge_feature_kinds=columns.kinds)

    def without_edge_features(self) -> Dataset:
        """The dataset for students that take no edge features; the dataset itself if it has none. All calls return the same object."""
        return self if self.edge_features is None else self._without_edge_features

    @cached_property
    def _without_edge_features(self) -> Dataset:
        return self.replaced(edge_features=None, edge_feature_names=(), edge_feature_kinds=())

    @property
    def is_symmetric(self) -> bool:
        """Whether all edges are stored in both directions."""
        source, destination = self.edges
        return np.array_equal(canonical_edges(destination, source, self.num_nodes, symmetric=False), self.edges)

    @property
    def official_evaluator(self) -> str | None:
        """`evaluator` for the dataset's own target; None for chosen targets, since OGB's evaluator scores all labels."""
        return self.evaluator if self.target.name is None and self.target.parts is None else None

    def with_metric(self, metric: str | None) -> Dataset:
        """The dataset with another metric, which selects epochs and members on validation and is reported. None keeps the metric.

        Raises:
            UsageError: a metric that is unknown or does not fit the labels, several targets, or an official evaluator.
        """
        if metric in (None, self.target.metric):
            return self
        if self.official_evaluator is not None:
            raise UsageError(
                f"metric = {metric!r} cannot be chosen for {self.name}: OGB's evaluator scores it, by {self.target.metric}. "
                "Leave the metric out."
            )
        return self.replaced(target=self.target.with_metric(metric))

    @classmethod
    def from_arrays(
        cls,
        edges: Any,
        features: Any,
        labels: Any = None,
        *,
        edge_features: Any = None,
        node_offsets: Any = None,
        task: TaskName | None = None,
        split: Split | Sequence[Split] | None = None,
        metric: ChosenMetric | None = None,
        name: str = "graph",
        symmetric: bool = False,
        feature_names: Sequence[str] | None = None,
        feature_kinds: FeatureKind | Sequence[FeatureKind] = (),
        edge_feature_names: Sequence[str] | None = None,
        edge_feature_kinds: FeatureKind | Sequence[FeatureKind] = (),
    ) -> Dataset:
        """Create a dataset from arrays: NumPy, torch, pandas, SciPy sparse matrices or nested lists. They are copied.

        Args:
            edges: (2, |E|), sources and destinations, or a data frame with the columns ``src_id`` and ``dst_id`` and a row for each edge;
                nodes counted from 0, in any order. Self-loops and duplicates are removed: each convolution adds the loops that it needs.
            features: (|V|, F), in the order of the nodes; None for one-hot in-degrees. Columns of a data frame keep their names.
            labels: (samples,) for classes, given as numbers (-1 or NaN where unknown), strings or booleans; (samples, L) for L labels of 0
                and 1, NaN where unknown; a mapping from names to such labels for several targets at once; None where all are unknown,
                for prediction. Labels of 0 and 1 may be a sparse matrix.
            edge_features: (|E|, D), in the order of `edges`; None where there are none. Of duplicate edges the first counts.
            node_offsets: (graphs + 1,), the boundaries of the nodes of each of many graphs; default: one graph.
            task: default: ``graph`` where `node_offsets` are given, else ``node``.
            split: the official split, or several of them, on each of which students are trained and tested (protocol ``splits``).
            metric: how predictions are scored, in place of the usual metric of such labels: ``accuracy``, ``balanced-accuracy`` or
                ``macro-f1`` for classes (of two also ``rocauc``), ``micro-f1``, ``macro-f1``, ``rocauc`` or ``ap`` for labels of 0 and 1.
            symmetric: add the reverse of every edge, with the same edge features.
            feature_names, feature_kinds, edge_feature_names, edge_feature_kinds: see `Dataset`; the default kinds are indicators for
                columns of booleans and numbers for all others.

        Raises:
            DataError: the arrays are invalid or do not fit each other; the message names the entry.
            UsageError: a metric that is unknown, or does not fit the labels; `symmetric` is neither True nor False; or `task` or `metric`
                is not a string.
        """
        check_booleans(symmetric=symmetric)
        check_task(task)
        check_row_orders(edges, features, labels, edge_features)
        num_nodes = number_of_nodes(edges, features, labels, node_offsets, task)
        of_edges = edge_attributes(edges, edge_features, num_nodes, symmetric=symmetric, names=edge_feature_names, kinds=edge_feature_kinds)
        columns = degree_features(of_edges["edges"], num_nodes) if features is None else columns_of(features, feature_names, feature_kinds)
        if task is None:
            task = "node" if node_offsets is None else "graph"
        offsets = np.array([0, num_nodes]) if node_offsets is None else as_offsets(node_offsets, num_nodes).copy()
        refuse_graphs_without_nodes(offsets)
        encoded, target = encode_targets(labels, num_nodes if task == "node" else len(offsets) - 1, task)
        return cls(
            name=name,
            task=task,
            features=compact_copy(columns.values),
            labels=encoded,
            node_offsets=offsets,
            target=target if metric is None else target.with_metric(metric),
            feature_names=columns.names,
            feature_kinds=columns.kinds,
            official_splits=as_splits(split),
            no_labels="none were given to Dataset.from_arrays. Give labels=..., a class for each sample" if labels is None else "",
            **of_edges,
        )

    @classmethod
    def from_dgl(
        cls,
        data: Any,
        labels: Any = None,
        *,
        feat: str | None = "feat",
        edge_feat: str | None = "feat",
        label: str | None = None,
        task: TaskName | None = None,
        split: Split | Sequence[Split] | None = None,
        metric: ChosenMetric | None = None,
        name: str | None = None,
        feature_names: Sequence[str] | None = None,
        feature_kinds: FeatureKind | Sequence[FeatureKind] = (),
        edge_feature_names: Sequence[str] | None = None,
        edge_feature_kinds: FeatureKind | Sequence[FeatureKind] = (),
    ) -> Dataset:
        """Create a dataset from a `dgl.DGLGraph`, a batched graph, a sequence of graphs or (graph, label) pairs, or a dataset of DGL.

        One graph is a node task, with labels in ``ndata[label]`` and the split in the masks ``train_mask``, ``val_mask`` and ``test_mask``.
        Masks with several columns define several splits; a mask without columns is then the same in all of them.
        Graphs with a label each, or with `labels`, are a graph task; many graphs with labels of their nodes are a node task. A batched
        graph counts as its component graphs.

        Args:
            data: a graph, a batched graph, a sequence of graphs or pairs, or a dataset of DGL.
            labels: labels of the nodes or graphs in the forms of `from_arrays`, in place of those that the graphs hold.
            feat: the key of the node features; None for one-hot in-degrees.
            edge_feat: the key of the edge features in ``edata``, if there are any; None to ignore them.
            label: the key of the labels; default: ``label``, and without such data all labels are unknown.
            task: the task, for graphs that can be used for both.
            split, name: default: those of `data`, if it has them.
            metric: as in `from_arrays`.
            feature_names, feature_kinds, edge_feature_names, edge_feature_kinds: as in `from_arrays`. A trained student matches columns by
                name.

        Returns:
            The dataset, checked.

        Raises:
            DataError: a heterogeneous graph, a key that is missing in some or all graphs, a batched graph whose numbers of nodes do not fit
                it, or invalid data as in `from_arrays`.
        """
        check_task(task)
        if isinstance(labels, str):
            raise DataError(
                f"labels = {labels!r} is a string; expected an array with a label for each node or graph. If {labels!r} is a key of "
                f"ndata, give label={labels!r}."
            )
        records = records_of_dgl(data, feat, label, edge_feat)
        dataset = cls.from_arrays(
            **arrays_of(records, data, labels, task, split, name),
            metric=metric,
            feature_names=feature_names,
            feature_kinds=feature_kinds,
            edge_feature_names=edge_feature_names,
            edge_feature_kinds=edge_feature_kinds,
        )
        return dataset.replaced(no_labels=no_labels_in_dgl(records, feat, label or LABEL)) if dataset.no_labels else dataset

    @classmethod
    def from_pyg(
        cls,
        data: Any,
        labels: Any = None,
        *,
        task: TaskName | None = None,
        split: Split | Sequence[Split] | None = None,
        metric: ChosenMetric | None = None,
        name: str | None = None,
        feature_names: Sequence[str] | None = None,
        feature_kinds: FeatureKind | Sequence[FeatureKind] = (),
        edge_feature_names: Sequence[str] | None = None,
        edge_feature_kinds: FeatureKind | Sequence[FeatureKind] = (),
    ) -> Dataset:
        """Create a dataset from a `torch_geometric.data.Data`, a batch, a sequence of them, or a dataset of PyG, as `from_dgl`.

        Features are ``x``, edge features ``edge_attr``, labels ``y``, and the masks are PyG's. A dataset of one graph, such as `Planetoid`,
        counts as that graph. Labels ``y`` belong to nodes if they have a row for each node in every graph. That may be a coincidence if all
        graphs have the same number of nodes: `task` then decides, and without it there is a warning.

        Args:
            data: a `Data`, a batch, a sequence of them, or a dataset of PyG.
            labels, task, split, metric, name, feature_names, feature_kinds, edge_feature_names, edge_feature_kinds: as in `from_dgl`.

        Returns:
            The dataset, checked.

        Raises:
            DataError: heterogeneous data, features missing in some or all graphs, a batch that was changed after it was made, or invalid
                data as in `from_arrays`.
        """
        check_task(task)
        records = records_of_pyg(data, task)
        if labels is None and task is None:
            warn_if_ambiguous(records)
        dataset = cls.from_arrays(
            **arrays_of(records, data, labels, task, split, name),
            metric=metric,
            feature_names=feature_names,
            feature_kinds=feature_kinds,
            edge_feature_names=edge_feature_names,
            edge_feature_kinds=edge_feature_kinds,
        )
        return dataset.replaced(no_labels=no_labels_in_pyg(records)) if dataset.no_labels else dataset

    def __repr__(self) -> str:
        """A readable summary: task, sizes, labels and split."""
        target, splits = self.target, self.official_splits
        noun = {"single-label": ("class", "classes"), "multi-label": ("label", "labels"), "joint": ("output", "outputs")}[target.kind]
        storage = "" if isinstance(self.features, np.ndarray) else ", sparse"
        of_edges = f", {counted(self.num_edge_features, 'edge feature', form=',')}" if self.num_edge_features else ""
        sizes_of_parts = ", ".join(f"{len(part):,} {part_name}" for part_name, part in splits[0].parts.items()) if splits else ""
        parts = sizes_of_parts or "none of its own"
        if len(splits) > 1:
            parts = f"{len(splits)} of its own, the first of {sizes_of_parts}"
        labelled, samples = int(self.is_labelled.sum()), self.num_samples - self.num_pool
        of_labels = "" if labelled == samples else f", {labelled:,} of {counted(samples, self.task, form=',')} have a label"
        sizes = ", ".join(
            counted(number, what, form=",")
            for number, what in ((self.num_graphs, "graph"), (self.num_nodes, "node"), (self.num_edges, "edge"))
        )
        return (
            f"Dataset {self.name!r}: {self.task} classification, {counted(target.num_outputs, *noun)} ({target.metric}){of_labels}\n"
            f"  {sizes} (each direction counted), {counted(self.num_features, 'feature', form=',')}{storage}{of_edges}\n"
            f"  split: {parts}"
        )

    @property
    def official_split(self) -> Split | None:
        """The split that comes with the dataset; None where there is none, or several."""
        return self.official_splits[0] if len(self.official_splits) == 1 else None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes or labels, in the order of the columns of predictions. With several targets, they include the target's
        name, for example ``digit=3``."""
        return self.target.names

    @property
    def is_labelled(self) -> npt.NDArray[np.bool_]:
        """Which samples have at least one known label: (samples,)."""
        labels: npt.NDArray[Any] = self.labels
        return labels >= 0 if self.target.kind == "single-label" else ~np.isnan(labels).all(axis=1)

    @property
    def num_nodes(self) -> int:
        """|V|, the number of nodes in all graphs."""
        return int(self.node_offsets[-1])

    @property
    def num_graphs(self) -> int:
        """Number of graphs (1 for a single graph)."""
        return len(self.node_offsets) - 1

    @property
    def num_edges(self) -> int:
        """|E|, the number of directed edges."""
        return int(self.edges.shape[1])

    @property
    def num_features(self) -> int:
        """F, the number of node feature columns."""
        return int(self.features.shape[1])

    @property
    def num_edge_features(self) -> int:
        """D; 0 where edges have no features."""
        return 0 if self.edge_features is None else int(self.edge_features.shape[1])

    @property
    def num_samples(self) -> int:
        """Number of samples: nodes on a node task, graphs on a graph task."""
        return self.num_nodes if self.task == "node" else self.num_graphs

    def __getstate__(self) -> dict[str, Any]:
        """The fields without cached properties, which must not change the hash of a dataset (``joblib.hash``)."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def edge_offsets(self) -> IntArray:
        """int64, shape (graphs + 1,): graph g owns the edges edge_offsets[g] ... edge_offsets[g + 1] - 1."""
        return np.searchsorted(self.edges[1], self.node_offsets).astype(np.int64)

    @cached_property
    def in_offsets(self) -> IntArray:
        """int64, shape (|V| + 1,): the in-edges of node v are in_offsets[v] ... in_offsets[v + 1] - 1 (a CSC index pointer)."""
        return offsets_of(np.bincount(self.edges[1], minlength=self.num_nodes))
