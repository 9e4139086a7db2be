"""A folder in the form of DGL's `CSVDataset`: ``meta.yaml`` names the files of nodes, edges and (for the graph task) graphs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.files.csv_table import (
    CsvTable,
    are_lists,
    fault_of_decimal_comma,
    fault_of_thousands,
    plain_integers,
    read_csv,
    without_brackets,
)
from dgl_mutual.data.several_targets import check_target_names, choose_labels
from dgl_mutual.data.sources.csv_masks import numbered_masks, read_splits, warn_of_masks, with_joined_masks
from dgl_mutual.data.sources.csv_meta import EdgeMeta, GraphMeta, Meta, NodeMeta, read_meta
from dgl_mutual.data.values.arrays import FloatArray, IntArray
from dgl_mutual.data.values.edges import edges_with_features
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.features import Columns, compact, degree_features, kinds_of
from dgl_mutual.data.values.labels import encode_cells, encode_label_rows
from dgl_mutual.data.values.split import MASKS
from dgl_mutual.data.values.target import Target, TaskName, join_targets, unknown_labels
from dgl_mutual.errors import TaskMismatchError, UsageError, listed
from dgl_mutual.utils.exact_numbers import is_number
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

_ONLY_GRAPH = "0"


def read_csv_folder(folder: Path, name: str, faults: Faults, request: Request) -> Dataset:
    """Read ``folder/meta.yaml`` and the files it names; one type of node and one of edge.

    Columns are as in DGL: identifiers (any string), ``label``, ``feat`` (comma-separated numbers), and the masks ``train_mask``,
    ``val_mask`` and ``test_mask``, which define the official split, or several splits with a value or a numbered column for each. Without
    ``feat``, all other columns are features; without other columns, features are one-hot degrees. Columns of true and false are indicators.
    The column ``feat`` of edges holds their features. Edges stay directed as in the file. Nodes keep the file's order within each graph. A
    key ``metric`` of meta.yaml, which DGL does not know, sets the metric of the column ``label``.

    NOTE: A label with commas is a multi-label row of 0 and 1, scored by micro-F1 for nodes and ROC-AUC for graphs, as is usual for PPI and
    molecules. A label, also one between commas, is unknown if it is empty or a word such as ``nan``, ``NA`` or ``?`` (see
    `dgl_mutual.data.values.label_words` and `label_rules` there). Lists may have brackets, as Python and NumPy print them.

    Args:
        request: the task defaults to ``graph`` if the folder describes graphs, otherwise to ``node``. If labels are not required, all are
            unknown without a column of labels. Targets name columns of labels in place of ``label``, or labels of a multi-label column
            ``label``, such as ``label 0``; several targets are learned jointly.

    Raises:
        UsageError: the folder has no data for the task, or no column with a target's name.
        DataError: a file is missing, cannot be read, or breaks a rule of the format.
    """
    meta = read_meta(folder / "meta.yaml", faults)
    faults.check()
    assert meta is not None
    if request.task == "graph" and meta.graph_data is None:
        raise TaskMismatchError(
            f"{folder} is a dataset for the node task, not for 'graph': its meta.yaml has no graph_data. Ask for task 'node'."
        )
    targets = request.targets
    task = request.task or ("graph" if meta.graph_data is not None else "node")
    files = _read_files(folder, meta, faults, of_nodes=task == "node")
    nodes, edges = files.nodes, files.edges
    source, destination = _edge_ends(files, faults)
    features = _features(nodes, {*files.node_ids, "label", *MASKS, *(targets or ())}, faults)
    labels, target = _labels(files, targets, task, faults, request.require_labels)
    if meta.metric is not None and target.names and list(targets or ["label"]) == ["label"] and not faults.found:
        try:
            target = target.with_metric(meta.metric)
        except UsageError as error:
            if request.require_labels:
                faults.add(folder / "meta.yaml", str(error).removesuffix("."))
    splits = read_splits(files.samples(task), faults)
    edge_values = _vectors(edges, faults, "edge ") if "feat" in edges.frame and len(edges.frame) else None
    faults.check()
    _warn_of_tables(files, task, targets)

    of_edges = edges_with_features(source, destination, len(nodes.frame), edge_values, symmetric=False)
    columns = features if features is not None else degree_features(of_edges["edges"], len(nodes.frame))
    return Dataset(
        name=meta.dataset_name,
        task=task,
        features=compact(columns.values),
        labels=labels,
        node_offsets=files.node_offsets,
        target=target,
        feature_names=columns.names,
        feature_kinds=columns.kinds,
        official_splits=splits,
        sample_ids=_sample_ids(files, task),
        **of_edges,
    )


@dataclass(frozen=True)
class _Files:
    """The files of a folder, checked against each other: every node belongs to one of the graphs, and every graph has nodes."""

    nodes: CsvTable  # graph by graph, in the order of `graph_ids`
    edges: CsvTable
    graphs: CsvTable | None  # None if the folder does not describe graphs (node task)
    node_meta: NodeMeta
    edge_meta: EdgeMeta
    graph_meta: GraphMeta | None
    graph_ids: pd.Index[str]
    node_offsets: IntArray  # (graphs + 1,)

    @property
    def node_ids(self) -> set[str]:
        """The identifier columns of nodes."""
        return {self.node_meta.node_id_field, self.node_meta.graph_id_field}

    def samples(self, task: TaskName) -> CsvTable:
        """The table of the samples."""
        return self.graphs if task == "graph" and self.graphs is not None else self.nodes


def _read_files(folder: Path, meta: Meta, faults: Faults, *, of_nodes: bool) -> _Files:
    """Read the tables of a folder.

    Args:
        of_nodes: whether the samples are nodes, so that masks are read from their table.
    """
    node_meta, edge_meta, graph_meta = meta.node_data[0], meta.edge_data[0], meta.graph_data
    nodes = read_csv(folder / node_meta.file_name, meta.separator, [node_meta.node_id_field, *node_meta.named_graph_id], faults)
    ends = [edge_meta.src_id_field, edge_meta.dst_id_field]
    if nodes is not None:
        nodes = with_joined_masks(nodes, faults) if of_nodes else _without_numbered_masks(nodes, "graph", graph_meta)
    edges = read_csv(folder / edge_meta.file_name, meta.separator, [*ends, *edge_meta.named_graph_id], faults, may_be_empty=True)
    graphs = read_csv(folder / graph_meta.file_name, meta.separator, [graph_meta.graph_id_field], faults) if graph_meta else None
    if graphs is not None:
        graphs = _without_numbered_masks(graphs, "node", node_meta) if of_nodes else with_joined_masks(graphs, faults)
    faults.check()
    assert nodes is not None and edges is not None
    node_graph = _graph_ids(nodes, node_meta.graph_id_field)
    graph_ids = pd.Index(node_graph.unique())
    if graphs is not None and graph_meta is not None:
        graph_ids = pd.Index(_graph_ids(graphs, graph_meta.graph_id_field))
        _check_graph_ids(graphs, graph_meta.graph_id_field, graph_ids, nodes, node_meta, node_graph, faults)
    graph_of = graph_ids.get_indexer(pd.Index(node_graph))
    order = np.argsort(graph_of, kind="stable")
    offsets = np.searchsorted(graph_of[order], np.arange(len(graph_ids) + 1)).astype(np.int64)
    nodes = replace(nodes, frame=nodes.frame.iloc[order])
    return _Files(nodes, edges, graphs, node_meta, edge_meta, graph_meta, graph_ids, offsets)


def _without_numbered_masks(table: CsvTable, task: TaskName, samples: NodeMeta | GraphMeta | None) -> CsvTable:
    """Remove numbered masks, with a warning, from a table that is not that of the samples."""
    columns = [column for numbers in numbered_masks(table).values() for column in numbers]
    assert samples is not None
    hint = f"On a {task} task labels and masks are those of {task}s: put them into {Path(samples.file_name).name}."
    _warn_of_unused(table, columns, hint)
    return replace(table, frame=table.frame.drop(columns=columns))


def _graph_ids(table: CsvTable, field: str) -> pd.Series[str]:
    """The graph of each row. Without such a column, all rows belong to one graph."""
    if field not in table.frame:
        return pd.Series(_ONLY_GRAPH, index=table.frame.index, dtype=str)
    return plain_integers(table.frame[field]) if table.are_integers(field) else table.frame[field]


def _check_graph_ids(
    graphs: CsvTable,
    graph_field: str,
    graph_ids: pd.Index[str],
    nodes: CsvTable,
    node_meta: NodeMeta,
    node_graph: pd.Series[str],
    faults: Faults,
) -> None:
    if node_meta.graph_id_field not in nodes.frame and set(graph_ids) != {_ONLY_GRAPH}:
        faults.add(nodes.path, f"expected a column {node_meta.graph_id_field}, which distinguishes the graphs of {graphs.path.name}", 1)
        faults.check()
    graphs.refuse_cells(faults, graph_field, graph_ids.duplicated(), "expected each graph once")
    no_nodes = f"expected the nodes of this graph in {nodes.path.name}: nothing can be predicted for a graph without nodes"
    graphs.refuse_cells(faults, graph_field, ~graph_ids.isin(node_graph), no_nodes)
    unknown = ~node_graph.isin(graph_ids).to_numpy()
    nodes.refuse_cells(faults, node_meta.graph_id_field, unknown, f"expected a graph that {graphs.path.name} lists")
    faults.check()


def _edge_ends(files: _Files, faults: Faults) -> tuple[IntArray, IntArray]:
    """Row indices in `files.nodes` of the source and destination of each edge; -1 where a fault was recorded."""
    nodes, node_meta, edges, edge_meta = files.nodes, files.node_meta, files.edges, files.edge_meta
    node_graph, graph = _graph_ids(nodes, node_meta.graph_id_field), _graph_ids(edges, edge_meta.graph_id_field)
    if edge_meta.graph_id_field not in edges.frame and set(node_graph) != {_ONLY_GRAPH}:
        faults.add(edges.path, f"expected a column {edge_meta.graph_id_field}, as in {nodes.path.name}", 1)
        faults.check()
    # Identifiers are text, but integers are normalised, since tools write 1 in one file and 1.0 in another.
    plain = plain_integers if nodes.are_integers(node_meta.node_id_field) else lambda column: column
    known = pd.MultiIndex.from_arrays([node_graph, plain(nodes.frame[node_meta.node_id_field])])
    nodes.refuse_cells(faults, node_meta.node_id_field, known.duplicated(), "expected each node of a graph once")
    faults.check()
    ends = []
    for field in (edge_meta.src_id_field, edge_meta.dst_id_field):
        end = known.get_indexer(pd.MultiIndex.from_arrays([graph, plain(edges.frame[field])]))
        edges.refuse_cells(faults, field, end < 0, f"expected {field} to be a node of the edge's graph in {nodes.path.name}")
        ends.append(end.astype(np.int64))
    return ends[0], ends[1]


def _features(nodes: CsvTable, reserved: set[str], faults: Faults) -> Columns | None:
    """The feature columns; None if the file has none."""
    if "feat" in nodes.frame:
        return _vectors(nodes, faults)
    columns = [str(column) for column in nodes.frame if column not in reserved]
    warn_of_masks(nodes, columns, "used as features")
    return _block(nodes, columns, faults) if columns else None


def _vectors(table: CsvTable, faults: Faults, prefix: str = "") -> Columns:
    """The vectors of the column ``feat``, with the default names of columns of arrays and graph objects."""
    values = table.numbers("feat", faults)
    names = tuple(f"{prefix}feature {column}" for column in range(values.shape[1]))
    return Columns(values, names, kinds_of(table.of_booleans("feat", len(names))))


def _block(table: CsvTable, columns: Sequence[str], faults: Faults) -> Columns:
    blocks = [table.numbers(column, faults) for column in columns]
    names = tuple(
        column if block.shape[1] == 1 else f"{column} {position}"
        for column, block in zip(columns, blocks, strict=True)
        for position in range(block.shape[1])
    )
    of_booleans = [
        is_boolean for column, block in zip(columns, blocks, strict=True) for is_boolean in table.of_booleans(column, block.shape[1])
    ]
    return Columns(np.concatenate(blocks, axis=1), names, kinds_of(of_booleans))


def _warn_of_tables(files: _Files, task: TaskName, targets: Sequence[str] | None) -> None:
    """Warn of unused columns that may have been meant to be used, and of nodes that are numbered in another order than their rows."""
    if task == "node":
        _warn_of_order(files)
    nodes, edges, graphs, edge_meta = files.nodes, files.edges, files.graphs, files.edge_meta
    for table in (nodes, edges, graphs):
        if table is not None:
            _warn_of_spellings(table)
    of_samples = {"label", *MASKS, *(targets or ())}
    used = {edge_meta.src_id_field, edge_meta.dst_id_field, edge_meta.graph_id_field, "feat"}
    _warn_of_unused(edges, set(edges.frame) - used, "Edge features are read from the column feat.")
    if "feat" in nodes.frame:
        unused = set(map(str, nodes.frame)) - {*files.node_ids, "feat", *of_samples}
        unused -= warn_of_masks(nodes, unused, "not used")
        _warn_of_unused(nodes, unused, "Node features are read from the column feat, since there is one.")
    if graphs is not None and files.graph_meta is not None:
        others = graphs if task == "node" else nodes
        hint = f"On a {task} task labels and masks are those of {task}s: put them into {files.samples(task).path.name}."
        _warn_of_unused(others, set(others.frame) & of_samples, hint)
        unused = set(map(str, graphs.frame)) - {files.graph_meta.graph_id_field, *of_samples}
        unused -= warn_of_masks(graphs, unused, "not used")
        if targets is not None:  # other columns may be targets, too
            unused &= {"feat"}
        _warn_of_unused(graphs, unused, "Graphs have no features: put them into those of nodes.")


def _warn_of_order(files: _Files) -> None:
    """Warn if the indices of nodes, as samples, differ from those of their rows."""
    lines = files.nodes.frame.index.to_numpy()
    num_moved = int(np.count_nonzero(lines != np.sort(lines)))
    if num_moved:
        order = "" if files.graphs is None else f", in the order of {files.graphs.path.name}"
        warn(
            f"{files.nodes.path}: {num_moved} of {counted(len(lines), 'row')} are not sorted graph by graph{order}. Nodes are numbered "
            "graph by graph, so their numbers, in splits and in predictions, are not those of the rows: the dataset's sample_ids, and the "
            "column id of dgl-mutual predict, name them. Sort the rows to have the same numbers."
        )


def _warn_of_spellings(table: CsvTable) -> None:
    """Warn of columns whose names differ from special ones, such as ``label``, in case only."""
    for column in table.frame:
        meant = str(column).strip().casefold()
        if meant in ("label", "feat", *MASKS) and meant not in table.frame:
            warn(f"{table.path}: the column {column} is not read as {meant}. If it should be, rename it.")


def _warn_of_unused(table: CsvTable, unused: Collection[object], hint: str) -> None:
    """Warn of unused columns, if there are any."""
    if unused:
        columns = [str(column) for column in table.frame if column in unused]
        one = "is" if len(columns) == 1 else "are"
        warn(f"{table.path}: {listed(columns, 8)} {one} not used. {hint}")


def _labels(
    files: _Files, targets: Sequence[str] | None, task: TaskName, faults: Faults, required: bool
) -> tuple[IntArray | FloatArray, Target]:
    """Read the labels and their target from the column ``label``, from another column, or from several."""
    samples = files.samples(task)
    if targets is None:
        return _label_column(samples, "label", task, faults, required)
    others = {*files.node_ids, files.graph_meta.graph_id_field if files.graph_meta else "", "feat", *MASKS}
    columns = [str(column) for column in samples.frame if column not in others]
    if "label" in columns and not set(targets) & set(columns):
        labels, target = _label_column(samples, "label", task, Faults(), required)
        if target.kind == "multi-label":
            return choose_labels(target, labels, targets)
    if required:
        check_target_names(targets, columns)
    encoded = [_label_column(samples, name, task, faults, required) for name in targets]
    named = [replace(target, name=name) for name, (_, target) in zip(targets, encoded, strict=True)]
    if len(named) == 1:
        return encoded[0][0], named[0]
    return join_targets(named, [labels for labels, _ in encoded])


def _label_column(samples: CsvTable, name: str, task: TaskName, faults: Faults, required: bool) -> tuple[IntArray | FloatArray, Target]:
    if name not in samples.frame:
        if required:
            rule = (
                f"expected a column {name} with the class of each {task}, found {listed(list(samples.frame))} (--targets names another "
                "column; for data that are only predicted: data verify --no-labels, in Python load with require_labels=False)"
            )
            faults.add(samples.path, rule, 1)
        return unknown_labels(len(samples.frame))
    recorded = faults if required else Faults()  # faults of labels that are not required are ignored
    cells = without_brackets(samples.frame[name])
    fault = fault_of_thousands(samples.frame[name]) or fault_of_decimal_comma(samples.frame[name])
    if fault is not None:
        samples.refuse_cells(recorded, name, samples.frame[name].str.contains(",").to_numpy(dtype=np.bool_), fault)
        return unknown_labels(len(cells))
    if are_lists(cells):
        encoding = encode_label_rows(samples.numbers(name, recorded, allow_missing=True))
    else:
        brackets_hold_numbers = all(is_number(cell) for cell in cells[cells != samples.frame[name]])
        encoding = encode_cells(cells if brackets_hold_numbers else samples.frame[name])
        if not len(encoding.names):
            recorded.add(samples.path, f"{name}: expected at least one label, all cells are empty")
    if (refusal := encoding.refusal) is not None:
        if refusal.rows is None:
            recorded.add(samples.path, f"{name}: {refusal.rule}")
        else:
            samples.refuse(recorded, refusal.rows, f"{name}: {refusal.rule}")
    if recorded is not faults and recorded.found:
        return unknown_labels(len(cells))
    if required:
        for note in encoding.notes:
            warn(f"{samples.path}, column {name}: {note}.")
    if encoding.kind == "multi-label":
        return encoding.labels, Target("multi-label", encoding.names, "micro-f1" if task == "node" else "rocauc")
    return encoding.labels, Target("single-label", encoding.names, "accuracy")


def _sample_ids(files: _Files, task: TaskName) -> tuple[str, ...]:
    """Graph ids, or node ids, which become ``graph/node`` if there are several graphs."""
    if task == "graph":
        return tuple(files.graph_ids)
    ids = files.nodes.frame[files.node_meta.node_id_field]
    return tuple(ids if len(files.graph_ids) == 1 else _graph_ids(files.nodes, files.node_meta.graph_id_field) + "/" + ids)
