"""A folder in the form of DGL's `CSVDataset`: ``meta.yaml`` names the files of nodes, edges and (for the graph task) graphs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from dgl_mutual.data.dataset import Dataset, FloatArray, IntArray, Split, Target, TaskName, canonical_edges
from dgl_mutual.data.faults import Faults
from dgl_mutual.data.features import compact, degree_features
from dgl_mutual.data.files import UNREADABLE, RefusedFile, is_file, open_file, read_text
from dgl_mutual.data.targets import check_target_names, join_targets
from dgl_mutual.errors import UsageError
from dgl_mutual.plain_yaml import read_yaml

_MASKS = ("train_mask", "val_mask", "test_mask")
_TRUE, _FALSE = ("true", "1", "1.0"), ("false", "0", "0.0")
_ONLY_GRAPH = "0"
_MAX_META = 1 << 20
#: Each column costs about a millisecond, however few the rows.
_MAX_COLUMNS = 20_000


def _inside(name: str) -> str:
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("expected a file within the dataset's folder")
    return name


_FileName = Annotated[str, AfterValidator(_inside)]


class _NodeMeta(BaseModel):
    file_name: _FileName
    graph_id_field: str = "graph_id"
    node_id_field: str = "node_id"


class _EdgeMeta(BaseModel):
    file_name: _FileName
    graph_id_field: str = "graph_id"
    src_id_field: str = "src_id"
    dst_id_field: str = "dst_id"


class _GraphMeta(BaseModel):
    file_name: _FileName
    graph_id_field: str = "graph_id"


class _Meta(BaseModel):
    dataset_name: str
    separator: str = Field(",", min_length=1, max_length=1)
    node_data: list[_NodeMeta]
    edge_data: list[_EdgeMeta]
    graph_data: _GraphMeta | None = None


def read_csv_folder(
    folder: Path, faults: Faults, *, task: TaskName | None = None, require_labels: bool = True, targets: Sequence[str] | None = None
) -> Dataset:
    """Read ``folder/meta.yaml`` and the files it names; one type of node and one of edge.

    Columns are as in DGL: identifiers (any text), ``label``, ``feat`` (numbers with commas between them), and the masks ``train_mask``,
    ``val_mask``, ``test_mask``, which make the official split. Without ``feat``, every other column is a feature; without any, one-hot
    degrees are. Edges stay directed as the file lists them. Nodes keep the file's order within each graph.

    NOTE: A label with commas is a multi-label row of 0 and 1, scored by micro-F1 for nodes and ROC-AUC for graphs, as is the custom for PPI
    and molecules. An empty label is unknown, also between commas.

    Args:
        task: default: ``graph`` where the folder describes graphs, else ``node``.
        require_labels: without it, a missing column of labels makes every label unknown.
        targets: the columns of labels, where it is not ``label``; several are targets to be learned at once.

    Raises:
        UsageError: the folder has no data for `task`, or no column of a target's name.
        DataError: a file is missing, cannot be read, or breaks a rule of the format.
    """
    meta = _read_meta(folder / "meta.yaml", faults)
    faults.check()
    assert meta is not None
    if task == "graph" and meta.graph_data is None:
        raise UsageError(f"{folder} is a dataset for the node task, not for 'graph': its meta.yaml has no graph_data. Ask for task 'node'.")
    task = task or ("graph" if meta.graph_data is not None else "node")
    node_meta, edge_meta, graph_meta = meta.node_data[0], meta.edge_data[0], meta.graph_data
    nodes = _read_csv(folder / node_meta.file_name, meta.separator, [node_meta.node_id_field], faults)
    edges = _read_csv(folder / edge_meta.file_name, meta.separator, [edge_meta.src_id_field, edge_meta.dst_id_field], faults)
    graphs = _read_csv(folder / graph_meta.file_name, meta.separator, [graph_meta.graph_id_field], faults) if graph_meta else None
    faults.check()
    assert nodes is not None and edges is not None

    graph_ids = pd.Index(nodes.column(node_meta.graph_id_field).unique())
    if graphs is not None and graph_meta is not None:
        graph_ids = pd.Index(graphs.column(graph_meta.graph_id_field))
        _check_graph_ids(graphs, graph_ids, nodes, nodes.column(node_meta.graph_id_field), faults)
    graph_of = graph_ids.get_indexer(pd.Index(nodes.column(node_meta.graph_id_field)))
    order = np.argsort(graph_of, kind="stable")
    nodes = _File(nodes.path, nodes.frame.iloc[order])
    source, destination = _edge_ends(nodes, node_meta, edges, edge_meta, faults)
    features = _features(nodes, {node_meta.node_id_field, node_meta.graph_id_field, "label", *_MASKS, *(targets or ())}, faults)
    samples = graphs if task == "graph" and graphs is not None else nodes
    no_labels = {node_meta.node_id_field, node_meta.graph_id_field, graph_meta.graph_id_field if graph_meta else "", "feat", *_MASKS}
    labels, target = _labels(samples, targets, no_labels, task, faults, require_labels)
    split = _split(samples, faults)
    faults.check()

    canonical = canonical_edges(source, destination, len(nodes.frame), symmetric=False)
    values, names = features if features is not None else degree_features(canonical, len(nodes.frame))
    return Dataset(
        name=meta.dataset_name,
        task=task,
        edges=canonical,
        features=compact(values),
        labels=labels,
        node_offsets=np.searchsorted(graph_of[order], np.arange(len(graph_ids) + 1)).astype(np.int64),
        target=target,
        feature_names=names,
        official_split=split,
        sample_ids=_sample_ids(graph_ids, nodes, node_meta, task),
    )


@dataclass(frozen=True, eq=False)
class _File:
    """The cells of one CSV file as stripped text; the index holds each row's line in the file, however the rows are ordered."""

    path: Path
    frame: pd.DataFrame

    def column(self, name: str) -> pd.Series[str]:
        """A column; where the file has no such column of graph numbers, all belong to one graph."""
        return self.frame[name] if name in self.frame else pd.Series(_ONLY_GRAPH, index=self.frame.index)

    def refuse(self, faults: Faults, offending: npt.NDArray[np.bool_], rule: str) -> None:
        faults.add_lines(self.path, sorted(self.frame.index[offending]), rule)


def _read_meta(path: Path, faults: Faults) -> _Meta | None:
    try:
        meta = _Meta.model_validate(read_yaml(read_text(path, _MAX_META)))
    except ValidationError as error:
        for fault in error.errors():
            faults.add(path, f"{'.'.join(map(str, fault['loc'])) or 'content'}: {fault['msg']}")
        return None
    except RefusedFile as error:
        faults.add(path, str(error))
        return None
    except (yaml.YAMLError, *UNREADABLE) as error:
        mark = getattr(error, "problem_mark", None)
        faults.add(path, f"expected YAML ({getattr(error, 'problem', error)})", mark.line + 1 if mark else None)
        return None
    if len(meta.node_data) != 1 or len(meta.edge_data) != 1:
        found = f"{len(meta.node_data)} and {len(meta.edge_data)}"
        faults.add(path, f"expected one type of node and one of edge, found {found}: heterogeneous graphs are not supported")
    return meta


def _read_csv(path: Path, separator: str, required: list[str], faults: Faults) -> _File | None:
    """All columns as stripped text, or None after recording why not."""
    if not is_file(path, faults):
        return None
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8", newline="") as opened:
            reader = csv.reader(opened, delimiter=separator, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except (csv.Error, *UNREADABLE) as error:
        faults.add(path, f"the file is not a readable CSV file ({error})")
        return None
    if not rows:
        faults.add(path, "the file is empty")
        return None
    (_, header), *body = rows
    lines = [line for line, _ in body]
    absent = [column for column in required if column not in header]
    if absent:
        faults.add(path, f"expected a column {' and '.join(absent)}, found {', '.join(header)}", 1)
    if not body:
        faults.add(path, "expected at least one line after the header")
    if len(header) > _MAX_COLUMNS:
        faults.add(path, f"expected at most {_MAX_COLUMNS} columns, found {len(header)}; columns of numbers fit one column feat", 1)
    if absent or not body or len(header) > _MAX_COLUMNS:
        return None
    faults.add_lines(path, [line for line, row in body if len(row) != len(header)], f"expected {len(header)} cells as in the header")
    padded = [[cell.strip() for cell in row[: len(header)]] + [""] * (len(header) - len(row)) for _, row in body]
    frame = pd.DataFrame(padded, columns=header, index=lines, dtype=str)
    return _File(path, frame.loc[:, [column not in ("", "Unnamed: 0") for column in header]])


def _check_graph_ids(graphs: _File, graph_ids: pd.Index[str], nodes: _File, node_graph: pd.Series[str], faults: Faults) -> None:
    graphs.refuse(faults, graph_ids.duplicated(), "expected each graph once")
    graphs.refuse(faults, ~graph_ids.isin(node_graph), f"expected the nodes of this graph in {nodes.path.name}")
    nodes.refuse(faults, ~node_graph.isin(graph_ids).to_numpy(), f"expected a graph that {graphs.path.name} lists")
    faults.check()


def _edge_ends(nodes: _File, node_meta: _NodeMeta, edges: _File, edge_meta: _EdgeMeta, faults: Faults) -> tuple[IntArray, IntArray]:
    """Row numbers in `nodes` of the source and destination of each edge; -1 where a fault was recorded."""
    known = pd.MultiIndex.from_arrays([nodes.column(node_meta.graph_id_field), nodes.column(node_meta.node_id_field)])
    nodes.refuse(faults, known.duplicated(), "expected each node of a graph once")
    faults.check()
    graph = edges.column(edge_meta.graph_id_field)
    ends = []
    for field in (edge_meta.src_id_field, edge_meta.dst_id_field):
        end = known.get_indexer(pd.MultiIndex.from_arrays([graph, edges.column(field)]))
        edges.refuse(faults, end < 0, f"expected {field} to be a node of the edge's graph in {nodes.path.name}")
        ends.append(end.astype(np.int64))
    return ends[0], ends[1]


def _features(nodes: _File, reserved: set[str], faults: Faults) -> tuple[npt.NDArray[np.float64], tuple[str, ...]] | None:
    """Feature columns and their names, or None where the file has none."""
    columns = ["feat"] if "feat" in nodes.frame else [str(column) for column in nodes.frame if column not in reserved]
    blocks = [_numbers(nodes, column, faults) for column in columns]
    names = [
        column if block.shape[1] == 1 else f"{column} {position}"
        for column, block in zip(columns, blocks, strict=True)
        for position in range(block.shape[1])
    ]
    return (np.concatenate(blocks, axis=1), tuple(names)) if blocks else None


def _numbers(file: _File, column: str, faults: Faults, *, allow_missing: bool = False) -> npt.NDArray[np.float64]:
    """Cells of numbers with commas between them, shape (rows, numbers a cell).

    Args:
        allow_missing: nothing, in place of a number or of a whole cell, means "unknown" and becomes NaN.
    """
    cells = file.frame[column]
    width = int(cells[cells != ""].str.count(",").iloc[0]) + 1 if allow_missing else int(cells.str.count(",").iloc[0]) + 1
    if allow_missing:
        cells = cells.where(cells != "", "," * (width - 1))
    ragged = (cells.str.count(",") + 1 != width).to_numpy()
    file.refuse(faults, ragged, f"{column}: expected {width} number{'s' if width > 1 else ''} as in the first line")
    parts = cells.str.split(",", expand=True).reindex(columns=range(width))
    values: npt.NDArray[np.float64] = parts.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    unknown = parts.apply(lambda part: part.str.strip() == "").to_numpy() & allow_missing
    file.refuse(faults, ~np.all(np.isfinite(values) | unknown, axis=1) & ~ragged, f"{column}: expected finite numbers")
    return values


def _labels(
    samples: _File, targets: Sequence[str] | None, no_labels: set[str], task: TaskName, faults: Faults, required: bool
) -> tuple[IntArray | FloatArray, Target]:
    """Labels and what they mean: of the column ``label``, of another, or of several. `no_labels` are columns that hold something else."""
    if targets is None:
        return _label_column(samples, "label", task, faults, required)
    if required:
        check_target_names(targets, [str(column) for column in samples.frame if column not in no_labels])
    found = [_label_column(samples, name, task, faults, required) for name in targets]
    named = [replace(target, name=name) for name, (_, target) in zip(targets, found, strict=True)]
    if len(named) == 1:
        return found[0][0], named[0]
    target, labels = join_targets(named, [labels for labels, _ in found])
    return labels, target


def _label_column(samples: _File, name: str, task: TaskName, faults: Faults, required: bool) -> tuple[IntArray | FloatArray, Target]:
    if name not in samples.frame:
        if required:
            samples_are = "graph" if task == "graph" else "node"
            faults.add(samples.path, f"expected a column {name} with the class of each {samples_are}", 1)
        return np.full(len(samples.frame), -1, dtype=np.int64), Target("single-label", (), "accuracy")
    cells = samples.frame[name]
    if cells.str.contains(",").any():
        values = _numbers(samples, name, faults, allow_missing=True)
        samples.refuse(faults, ~np.all(np.isin(values, (0, 1)) | np.isnan(values), axis=1), f"{name}: expected 0 or 1 for each label")
        names = tuple(f"label {column}" for column in range(values.shape[1]))
        return values.astype(np.float32), Target("multi-label", names, "micro-f1" if task == "node" else "rocauc")
    known = cells[cells != ""]
    numeric = pd.to_numeric(known, errors="coerce")
    classes = (
        known.unique()[np.argsort(numeric.unique())]
        if numeric.notna().all() and numeric.nunique() == known.nunique()
        else np.sort(known.unique())
    )
    if required and not len(classes):
        faults.add(samples.path, f"{name}: expected at least one label, all cells are empty")
    return pd.Index(classes).get_indexer(pd.Index(cells)).astype(np.int64), Target("single-label", tuple(map(str, classes)), "accuracy")


def _sample_ids(graph_ids: pd.Index[str], nodes: _File, node_meta: _NodeMeta, task: TaskName) -> tuple[str, ...]:
    """Graph ids, or node ids; where several graphs may repeat those, ``graph/node``."""
    if task == "graph":
        return tuple(graph_ids)
    ids = nodes.column(node_meta.node_id_field)
    return tuple(ids if len(graph_ids) == 1 else nodes.column(node_meta.graph_id_field) + "/" + ids)


def _split(samples: _File, faults: Faults) -> Split | None:
    present = [mask for mask in _MASKS if mask in samples.frame]
    if not present:
        return None
    if len(present) < len(_MASKS):
        faults.add(samples.path, f"expected {', '.join(_MASKS)} together, found only {', '.join(present)}", 1)
        return None
    cells = samples.frame[list(_MASKS)].apply(lambda column: column.str.lower())
    samples.refuse(faults, ~cells.isin([*_TRUE, *_FALSE]).to_numpy().all(axis=1), "masks: expected True or False")
    chosen = cells.isin(_TRUE).to_numpy()
    samples.refuse(faults, chosen.sum(axis=1) > 1, "masks: expected each sample in one part of the split only")
    for mask, part in zip(_MASKS, chosen.T, strict=True):
        if not part.any():
            faults.add(samples.path, f"{mask}: expected at least one sample")
    return Split(*(np.flatnonzero(part) for part in chosen.T))
