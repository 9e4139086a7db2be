"""Graphs of other libraries as records of arrays, and their union. See `dgl_objects` and `pyg_objects`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.data.values.arrays import IntArray, as_array, as_exact_array, exact_below, number_of_rows, offsets_of, storable
from dgl_mutual.data.values.split import MASKS, Split, splits_of_masks
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError, UsageError, listed
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted, kind_of

#: How deep graphs may lie in sequences: pairs in lists in parts of a dataset, say. An object may give itself as its first item.
_MOST_NESTED = 8


@dataclass(frozen=True, eq=False)
class GraphRecord:
    """One graph.

    Attributes:
        edges: (2, |E|), the graph's own node indices.
        features: a row a node, if there are any.
        edge_features: a row an edge, if there are any.
        node_labels: a row a node, if there are any. Labels and masks are kept as the graph holds them, and read where they are used.
        label: of the whole graph, if it has one.
        masks: the masks of the split, by name; of several splits a column each.
        keys: what the graph's data of nodes are called, for messages.
    """

    edges: IntArray
    num_nodes: int
    features: npt.NDArray[Any] | sparse.csr_matrix | None = None
    node_labels: Any = None
    label: Any = None
    masks: Mapping[str, Any] = field(default_factory=dict)
    edge_features: npt.NDArray[Any] | None = None
    keys: tuple[str, ...] = ()


def is_dgl(data: Any) -> bool:
    """Whether this is a DGL graph, several of them, or one of DGL's datasets."""
    return _library_of(data) == "dgl"


def is_pyg(data: Any) -> bool:
    """Whether this is a PyG graph, several of them, or one of PyG's datasets."""
    return _library_of(data) == "torch_geometric"


def name_of(data: Any, default: str) -> str:
    """What a dataset object calls itself."""
    name = getattr(data, "name", None)
    return name.strip() if isinstance(name, str) and name.strip() else default


def refuse_lacking(lacking: Sequence[int], graphs: Sequence[Any], what: str, holds: Callable[[Any], str], hint: str) -> None:
    """Raise `DataError` where graphs, of these numbers, lack something.

    Args:
        holds: what a graph has instead.
        hint: what to do where no graph has it.
    """
    if not lacking:
        return
    first = lacking[0]
    if len(graphs) == 1:
        raise DataError(f"The graph has no {what} ({holds(graphs[first])}). {hint}")
    if len(lacking) == len(graphs):
        raise DataError(f"None of the {len(graphs)} graphs has {what} (of graph 0, {holds(graphs[0])}). {hint}")
    if len(lacking) == 1:
        who, found = f"Graph {first} has", holds(graphs[first])
    else:
        who, found = f"Graphs {listed(lacking, 8)} have", f"of graph {first}, {holds(graphs[first])}"
    raise DataError(f"{who} no {what} ({found}), and others have. Set them there, too, or leave out what lacks them.")


def arrays_of(
    records: Sequence[GraphRecord],
    data: Any,
    labels: Any,
    task: TaskName | None,
    split: Split | Sequence[Split] | None,
    name: str | None,
) -> dict[str, Any]:
    """The arguments of `Dataset.from_arrays` for graphs, one after another.

    Args:
        data: what the records are of.
        labels, task, split, name: in place of those of the graphs, as in `Dataset.from_dgl`.

    Raises:
        DataError: see `inputs_of` and `labels_of`.
    """
    task = task_of(records, labels) if task is None else task
    return {
        **inputs_of(records, data),
        "labels": labels_of(records, task) if labels is None else labels,
        "task": task,
        "split": splits_of_records(records) if split is None and task == "node" else split,
        **({} if name is None else {"name": name}),
    }


def inputs_of(records: Sequence[GraphRecord], data: Any) -> dict[str, Any]:
    """As `arrays_of`, without what says how students learn: what they predict graphs from, and the name of `data`.

    Raises:
        DataError: see `joined` and `joined_edge_features`.
    """
    offsets = offsets_of([record.num_nodes for record in records])
    return {
        "edges": np.concatenate([record.edges + first for record, first in zip(records, offsets[:-1], strict=True)], axis=1),
        "features": joined_features(records),
        "edge_features": joined_edge_features(records),
        "node_offsets": offsets,
        "name": name_of(data, "graph" if len(records) == 1 else "graphs"),
    }


def warn_of_weights(name: str, hint: str) -> None:
    warn(f"The weights of edges in {name} are not used. If students are to use them, make them edge features: {hint}.")


def task_of(records: Sequence[GraphRecord], labels: Any) -> TaskName:
    """What the graphs are for, by what has labels. One graph with a label for each node is a node task, wherever these labels are.

    Raises:
        DataError: the number of labels is neither that of the nodes nor that of the graphs.
    """
    if labels is not None:
        num_nodes = sum(record.num_nodes for record in records)
        number = number_of_labels(labels)
        if number not in (num_nodes, len(records)):
            raise DataError(
                f"Found {counted(number, 'label')} for {counted(len(records), 'graph')} with {counted(num_nodes, 'node')}. "
                "Give one a graph, or one a node."
            )
        return "graph" if number == len(records) and len(records) > 1 else "node"
    if len(records) == 1:
        own, num_nodes = records[0].label, records[0].num_nodes
        return "node" if own is None or (num_nodes > 1 and shape_of(own)[:1] == (num_nodes,)) else "graph"
    of_nodes = any(record.node_labels is not None for record in records) and all(record.label is None for record in records)
    return "node" if of_nodes else "graph"


def shape_of(labels: Any) -> tuple[int, ...]:
    """The shape of labels before they are read; of lists the length alone. A number or a string has none."""
    if hasattr(labels, "shape"):
        return tuple(labels.shape)
    return (len(labels),) if isinstance(labels, list | tuple) else ()


def number_of_labels(labels: Any) -> int:
    """The number of samples that these labels are of; they are those of one target, or of several by name.

    Raises:
        DataError: they are not a list or array, or are a single value.
    """
    first = next(iter(labels.values()), ()) if isinstance(labels, Mapping) else labels
    shape = getattr(first, "shape", None)
    if shape == () or (shape is None and not hasattr(first, "__len__")):
        alone = " of one value" if shape == () else ""
        raise DataError(f"The labels are {kind_of(first)}{alone}. Give a list or an array of them, one for each node or graph.")
    return number_of_rows(first, "labels")


def refuse_transposed(features: Any, num_rows: int, labels: Any) -> None:
    """Raise `DataError` where features of one graph have a column, and not a row, for each of the labelled nodes."""
    first = next(iter(labels.values()), ()) if isinstance(labels, Mapping) else labels
    num_labels = next(iter(shape_of(first)), num_rows)
    shape = tuple(getattr(features, "shape", ()))
    if num_rows < num_labels and len(shape) == 2 and shape[1] == num_labels:
        raise DataError(
            f"The features have the shape {shape}, and there are {counted(num_labels, 'label')}: expected a row for each node. Transpose "
            "them: features.T."
        )


def label_array(values: Any) -> npt.NDArray[Any]:
    """Labels that a graph holds as an array. Where NumPy has their type, `encode_labels` looks at them, if they are used at all.

    Raises:
        DataError: see `as_array`, and of floats that NumPy does not have, such as bfloat16, `as_exact_array`.
    """
    array = as_array(values, "labels")
    return array if exact_below(values) == exact_below(array) else as_exact_array(values, "labels")


def labels_of(records: Sequence[GraphRecord], task: TaskName) -> npt.NDArray[Any] | None:
    """The labels that the graphs hold; None where they hold none. On a node task a graph's label may be one for each of its nodes.

    Raises:
        DataError: some graphs have labels and others none, or another number of columns; on a node task, not one for each node; or see
            `label_array`.
    """
    if task == "node":
        return _in_one_column(_labels_of_nodes(records))
    labels = [None if record.label is None else label_array(record.label) for record in records]
    own = [label for label in labels if label is not None]
    if len(own) == len(records) and all(label.ndim == 0 for label in own):  # one value a graph: a class
        if len({label.dtype for label in own}) == 1:
            return np.stack(own)
        return np.array([label.item() for label in own], dtype=object)
    return _in_one_column([None if label is None else label.reshape(1, -1) for label in labels])


def _labels_of_nodes(records: Sequence[GraphRecord]) -> list[npt.NDArray[Any] | None]:
    found: list[npt.NDArray[Any] | None] = []
    for number, record in enumerate(records):
        own = record.label if record.node_labels is None else record.node_labels
        labels = None if own is None else label_array(own)
        if labels is not None and labels.shape[:1] != (record.num_nodes,):
            raise DataError(
                f"The labels of graph {number} have the shape {labels.shape}, and it has {counted(record.num_nodes, 'node')}. A node task "
                "has a label for each node. If graphs are to be classified, give task='graph'."
            )
        found.append(labels)
    return found


def _in_one_column(blocks: Sequence[npt.NDArray[Any] | None]) -> npt.NDArray[Any] | None:
    """The labels of all graphs, one after another."""
    if all(block is None for block in blocks):
        return None
    labels = joined(blocks, "labels")
    # A column of class indices is a list of classes; a column of 0.0 and 1.0 is one label, as in OGB.
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 and labels.dtype.kind in "iubUSO" else labels


def nearest_key(name: str, names: Sequence[str]) -> str | None:
    """The one of `names` that `name` may have meant: the only one, or the one that is spelt most alike; None where none is."""
    return names[0] if len(names) == 1 else next(iter(difflib.get_close_matches(name, names, 1)), None)


def joined(blocks: Sequence[npt.NDArray[Any] | None], what: str) -> npt.NDArray[Any]:
    """What each graph holds, one after another.

    Raises:
        DataError: a graph that has none, or another shape than the first.
    """
    _check_shapes(blocks, what)
    return np.concatenate([block for block in blocks if block is not None])


def joined_features(records: Sequence[GraphRecord]) -> npt.NDArray[Any] | sparse.csr_matrix | None:
    """The features of all nodes, sparse where those of a graph are; None where the first graph has none. Errors as in `joined`."""
    blocks = [record.features for record in records]
    if blocks[0] is None or not any(map(sparse.issparse, blocks)):
        return None if blocks[0] is None else joined(blocks, "node features")
    _check_shapes(blocks, "node features")
    wide = [block if block is None else storable(block) for block in blocks]
    return sparse.csr_matrix(sparse.vstack(wide))


def _check_shapes(blocks: Sequence[npt.NDArray[Any] | sparse.csr_matrix | None], what: str) -> None:
    shapes = ["no rows" if block is None else f"rows of the shape {block.shape[1:]}" for block in blocks]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise DataError(f"The {what} of graph {number} have {shape}, and those of graph 0 {shapes[0]}. Give all graphs the same.")


def joined_edge_features(records: Sequence[GraphRecord]) -> npt.NDArray[Any] | None:
    """The edge features of all graphs, one after another; None where no graph has any. A graph without edges need not have them.

    Raises:
        DataError: only some graphs have them, or they differ in number, or do not fit a graph's edges.
    """
    found = [record.edge_features for record in records]
    if all(one is None for one in found):
        return None
    first = next(one for one in found if one is not None)
    blocks = []
    for number, (record, one) in enumerate(zip(records, found, strict=True)):
        count = record.edges.shape[1]
        if one is not None and len(one) != count:
            raise DataError(
                f"Graph {number} has {counted(count, 'edge')} and {counted(len(one), 'row')} of edge features. Give a row for each edge."
            )
        blocks.append(np.zeros((0, *first.shape[1:]), dtype=first.dtype) if count == 0 and (one is None or one.size == 0) else one)
    return joined(blocks, "edge features")


def as_matrix(values: Any) -> npt.NDArray[Any]:
    """Edge features as a matrix: one number for each edge is one column."""
    array = as_array(values, "edge features")
    return array[:, None] if array.ndim == 1 else array


def _mask_of(masks: Sequence[npt.NDArray[Any]], name: str) -> npt.NDArray[np.bool_]:
    """A part of the split, by a mask of each graph: (|V|, S) for S splits.

    Raises:
        DataError: more than two axes, no column, or values other than true and false, or 1 and 0.
    """
    mask = joined(masks, name)
    if mask.ndim > 2 or 0 in mask.shape[1:]:
        raise DataError(f"{name} has the shape {mask.shape}. Give one value a node, or a column for each of several splits.")
    if mask.dtype != np.bool_ and (wrong := mask[~np.isin(mask, (0, 1))]).size:
        raise DataError(f"{name} holds {wrong[0].item()!r}. A mask is true or false, or 1 or 0, for each node.")
    return mask.reshape(len(mask), -1).astype(np.bool_)


def splits_of_records(records: Sequence[GraphRecord]) -> tuple[Split, ...]:
    """The splits from the masks of the graphs; none if no graph has a mask.

    Raises:
        DataError: a mask is missing, does not fit the nodes of its graph or the other masks, or has values other than true and false.
    """
    masks = [{name: as_array(mask, name) for name, mask in record.masks.items()} for record in records]
    for number, (record, own) in enumerate(zip(records, masks, strict=True)):
        for name, mask in own.items():
            if mask.shape[:1] != (record.num_nodes,):
                raise DataError(
                    f"{name} of graph {number} has the shape {mask.shape} for {counted(record.num_nodes, 'node')}. Give one value a node."
                )
    found = [name for name in MASKS if any(name in mask for mask in masks)]
    missing = [name for name in MASKS if not all(name in mask for mask in masks)]
    if not found:
        return ()
    if missing:
        raise DataError(
            f"The split has {', '.join(found)}, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
            f"{' in some graphs' if set(missing) <= set(found) else ''}. Give all three, or a split of your own: "
            "split=dgl_mutual.Split(train, val, test)."
        )
    return splits_of_masks({name: _mask_of([mask[name] for mask in masks], name) for name in MASKS})


def items_of(data: Any, what: str) -> list[Any]:
    of_pyg = what.startswith("DGL") and is_pyg(data)
    is_sequence = hasattr(data, "__getitem__") and hasattr(data, "__len__") and getattr(data, "ndim", 1) == 1
    if of_pyg or isinstance(data, Mapping) or not is_sequence:
        hint = " Use Dataset.from_pyg." if of_pyg else hint_on_loaders(data)
        raise DataError(f"Expected {what}, found {'PyG data' if of_pyg else kind_of(data)}.{hint}")
    if not len(data):
        raise DataError(f"There are no {what}: the sequence is empty.")
    try:
        return [data[number] for number in range(len(data))]
    except KeyError:  # a table of pandas, say, whose keys are names
        raise DataError(f"Expected {what}, found {kind_of(data)}.") from None


def hint_on_loaders(data: Any) -> str:
    """What to give in place of a data loader of torch, DGL or PyG, after a space; empty for all else."""
    if not (hasattr(data, "dataset") and hasattr(data, "batch_sampler")):
        return ""
    # A loader of parts of one graph keeps it as `graph` (DGL) or `data` (PyG); its `dataset` is the numbers of nodes.
    source = next((name for name in ("graph", "data") if hasattr(data, name)), "dataset")
    return f" It is a loader of batches: give what it loads from, loader.{source}."


def _library_of(data: Any) -> str | None:
    """``dgl`` or ``torch_geometric``, if the class of an object, or of the first in a sequence, is of it or derived from it."""
    for _ in range(_MOST_NESTED):
        modules = {kind.__module__.partition(".")[0] for kind in type(data).__mro__}
        found = modules & {"dgl", "torch_geometric"}
        if found:
            return found.pop()
        # Datasets of torch, such as a Subset, are sequences, too. Arrays and tables are not sequences of graphs.
        is_sequence = hasattr(data, "__getitem__") and hasattr(data, "__len__")
        if not is_sequence or isinstance(data, Mapping | str | bytes) or hasattr(data, "shape") or not len(data):
            return None
        try:
            data = data[0]
        except (LookupError, UsageError):  # a graph of NetworkX, say, whose keys are its nodes, or a result of a training
            return None
    return None
