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

#: The deepest nesting of sequences of graphs, for example pairs in lists in subsets of a dataset. An object may be its own first item.
_MAX_NESTING = 8


@dataclass(frozen=True, eq=False)
class GraphRecord:
    """One graph.

    Attributes:
        edges: (2, |E|), in node indices of the graph.
        features: node features, (|V|, F), if there are any.
        edge_features: edge features, (|E|, D), if there are any.
        node_labels: a row for each node, if there are any. Labels and masks stay as the graph holds them until they are used.
        label: the label of the whole graph, if it has one.
        masks: the masks of the split, by name, with a column for each of several splits.
        keys: names of the graph's node data, for messages.
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
    """The name of a dataset object, if it has one."""
    name = getattr(data, "name", None)
    return name.strip() if isinstance(name, str) and name.strip() else default


def refuse_lacking(lacking: Sequence[int], graphs: Sequence[Any], what: str, holds: Callable[[Any], str], hint: str) -> None:
    """Raise `DataError` if some graphs lack something.

    Args:
        lacking: their indices.
        holds: describes the data that a graph has.
        hint: advice if no graph has it.
    """
    if not lacking:
        return
    first = lacking[0]
    if len(graphs) == 1:
        raise DataError(f"The graph has no {what} ({holds(graphs[first])}). {hint}")
    if len(lacking) == len(graphs):
        raise DataError(f"None of the {len(graphs)} graphs has {what} (of graph 0, {holds(graphs[0])}). {hint}")
    if len(lacking) == 1:
        who, data = f"Graph {first} has", holds(graphs[first])
    else:
        who, data = f"Graphs {listed(lacking, 8)} have", f"of graph {first}, {holds(graphs[first])}"
    raise DataError(f"{who} no {what} ({data}), but other graphs have. Set them there, too, or leave out the graphs that lack them.")


def arrays_of(
    records: Sequence[GraphRecord],
    data: Any,
    labels: Any,
    task: TaskName | None,
    split: Split | Sequence[Split] | None,
    name: str | None,
) -> dict[str, Any]:
    """The arguments of `Dataset.from_arrays` for the graphs, concatenated.

    Args:
        data: the object that the records were made from.
        labels, task, split, name: override those of the graphs, as in `Dataset.from_dgl`.

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
    """The arguments that predictions need: as `arrays_of`, without labels, task and split.

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
    """Infer the task from the labels. One graph with a label for each node is a node task, wherever these labels are.

    Raises:
        DataError: the number of labels is neither that of the nodes nor that of the graphs.
    """
    if labels is not None:
        num_nodes = sum(record.num_nodes for record in records)
        number = number_of_labels(labels)
        if number not in (num_nodes, len(records)):
            raise DataError(
                f"Found {counted(number, 'label')} for {counted(len(records), 'graph')} with {counted(num_nodes, 'node')}. "
                "Give one per graph, or one per node."
            )
        return "graph" if number == len(records) and len(records) > 1 else "node"
    if len(records) == 1:
        label, num_nodes = records[0].label, records[0].num_nodes
        return "node" if label is None or (num_nodes > 1 and shape_of(label)[:1] == (num_nodes,)) else "graph"
    of_nodes = any(record.node_labels is not None for record in records) and all(record.label is None for record in records)
    return "node" if of_nodes else "graph"


def shape_of(labels: Any) -> tuple[int, ...]:
    """The shape of labels before conversion: for lists only the length, for a number or a string ()."""
    if hasattr(labels, "shape"):
        return tuple(labels.shape)
    return (len(labels),) if isinstance(labels, list | tuple) else ()


def number_of_labels(labels: Any) -> int:
    """The number of samples of these labels, which may be a mapping of several targets.

    Raises:
        DataError: they are not a list or array, or are a single value.
    """
    first = next(iter(labels.values()), ()) if isinstance(labels, Mapping) else labels
    shape = getattr(first, "shape", None)
    if shape == () or (shape is None and not hasattr(first, "__len__")):
        alone = " of one value" if shape == () else ""
        raise DataError(f"The labels are {kind_of(first)}{alone}. Give a list or an array with one for each node or graph.")
    return number_of_rows(first, "labels")


def refuse_transposed(features: Any, num_rows: int, labels: Any) -> None:
    """Raise `DataError` if the features of a graph have a column, not a row, for each labelled node."""
    first = next(iter(labels.values()), ()) if isinstance(labels, Mapping) else labels
    num_labels = next(iter(shape_of(first)), num_rows)
    shape = tuple(getattr(features, "shape", ()))
    if num_rows < num_labels and len(shape) == 2 and shape[1] == num_labels:
        raise DataError(
            f"The features have the shape {shape}, but there are {counted(num_labels, 'label')}: expected a row for each node. Transpose "
            "them: features.T."
        )


def label_array(values: Any) -> npt.NDArray[Any]:
    """The labels of a graph as an array. `encode_labels` checks them if they are used, unless NumPy does not have their type.

    Raises:
        DataError: see `as_array`; for floats that NumPy does not have, such as bfloat16, see `as_exact_array`.
    """
    array = as_array(values, "labels")
    return array if exact_below(values) == exact_below(array) else as_exact_array(values, "labels")


def labels_of(records: Sequence[GraphRecord], task: TaskName) -> npt.NDArray[Any] | None:
    """The labels that the graphs hold; None if there are none. On a node task, a graph's `label` may hold one for each of its nodes.

    Raises:
        DataError: only some graphs have labels, or their numbers of columns differ; on a node task, not one for each node; or see
            `label_array`.
    """
    if task == "node":
        return _in_one_column(_labels_of_nodes(records))
    labels = [None if record.label is None else label_array(record.label) for record in records]
    known = [label for label in labels if label is not None]
    if len(known) == len(records) and all(label.ndim == 0 for label in known):  # one value for each graph: a class
        if len({label.dtype for label in known}) == 1:
            return np.stack(known)
        return np.array([label.item() for label in known], dtype=object)
    return _in_one_column([None if label is None else label.reshape(1, -1) for label in labels])


def _labels_of_nodes(records: Sequence[GraphRecord]) -> list[npt.NDArray[Any] | None]:
    by_graph: list[npt.NDArray[Any] | None] = []
    for number, record in enumerate(records):
        values = record.label if record.node_labels is None else record.node_labels
        labels = None if values is None else label_array(values)
        if labels is not None and labels.shape[:1] != (record.num_nodes,):
            raise DataError(
                f"The labels of graph {number} have the shape {labels.shape}, but it has {counted(record.num_nodes, 'node')}. A node task "
                "has a label for each node. To classify graphs, give task='graph'."
            )
        by_graph.append(labels)
    return by_graph


def _in_one_column(blocks: Sequence[npt.NDArray[Any] | None]) -> npt.NDArray[Any] | None:
    """The labels of all graphs, concatenated."""
    if all(block is None for block in blocks):
        return None
    labels = joined(blocks, "labels")
    # A column of class indices is a list of classes; a column of 0.0 and 1.0 is one label, as in OGB.
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 and labels.dtype.kind in "iubUSO" else labels


def nearest_key(name: str, names: Sequence[str]) -> str | None:
    """The likely correction of a misspelt `name`: the only one of `names`, or the most similar; None if none is similar."""
    return names[0] if len(names) == 1 else next(iter(difflib.get_close_matches(name, names, 1)), None)


def joined(blocks: Sequence[npt.NDArray[Any] | None], what: str) -> npt.NDArray[Any]:
    """Concatenate the arrays of all graphs.

    Raises:
        DataError: a graph without an array, or whose array has another shape than the first.
    """
    _check_shapes(blocks, what)
    return np.concatenate([block for block in blocks if block is not None])


def joined_features(records: Sequence[GraphRecord]) -> npt.NDArray[Any] | sparse.csr_matrix | None:
    """The features of all nodes, sparse if those of any graph are; None if the first graph has none. Errors as in `joined`."""
    blocks = [record.features for record in records]
    if blocks[0] is None or not any(map(sparse.issparse, blocks)):
        return None if blocks[0] is None else joined(blocks, "node features")
    _check_shapes(blocks, "node features")
    return sparse.csr_matrix(sparse.vstack([block if block is None else storable(block) for block in blocks]))


def _check_shapes(blocks: Sequence[npt.NDArray[Any] | sparse.csr_matrix | None], what: str) -> None:
    shapes = ["no rows" if block is None else f"rows of the shape {block.shape[1:]}" for block in blocks]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise DataError(f"The {what} of graph {number} have {shape}, but those of graph 0 {shapes[0]}. Give all graphs the same.")


def joined_edge_features(records: Sequence[GraphRecord]) -> npt.NDArray[Any] | None:
    """The edge features of all graphs, concatenated; None if no graph has any. Graphs without edges need none.

    Raises:
        DataError: only some graphs have them, or they differ in number, or do not fit a graph's edges.
    """
    first = next((record.edge_features for record in records if record.edge_features is not None), None)
    if first is None:
        return None
    blocks = []
    for number, record in enumerate(records):
        block, count = record.edge_features, record.edges.shape[1]
        if block is not None and len(block) != count:
            raise DataError(
                f"Graph {number} has {counted(count, 'edge')} but {counted(len(block), 'row')} of edge features. Give a row for each edge."
            )
        blocks.append(np.zeros((0, *first.shape[1:]), dtype=first.dtype) if count == 0 and (block is None or block.size == 0) else block)
    return joined(blocks, "edge features")


def as_matrix(values: Any) -> npt.NDArray[Any]:
    """Edge features as a matrix. A vector becomes a single column."""
    array = as_array(values, "edge features")
    return array[:, None] if array.ndim == 1 else array


def _mask_of(masks: Sequence[npt.NDArray[Any]], name: str) -> npt.NDArray[np.bool_]:
    """Join the graphs' masks of one part: (|V|, S) for S splits.

    Raises:
        DataError: more than two axes, no column, or values other than true and false, or 1 and 0.
    """
    mask = joined(masks, name)
    if mask.ndim > 2 or 0 in mask.shape[1:]:
        raise DataError(f"{name} has the shape {mask.shape}. Give one value for each node, or a column for each of several splits.")
    if mask.dtype != np.bool_ and (wrong := mask[~np.isin(mask, (0, 1))]).size:
        raise DataError(f"{name} holds {wrong[0].item()!r}. A mask is true or false, or 1 or 0, for each node.")
    return mask.reshape(len(mask), -1).astype(np.bool_)


def splits_of_records(records: Sequence[GraphRecord]) -> tuple[Split, ...]:
    """The splits of the graphs' masks; empty if no graph has a mask.

    Raises:
        DataError: a mask is missing, does not fit the nodes of its graph or the other masks, or has values other than true and false.
    """
    masks = [{name: as_array(mask, name) for name, mask in record.masks.items()} for record in records]
    for number, (record, by_name) in enumerate(zip(records, masks, strict=True)):
        for name, mask in by_name.items():
            if mask.shape[:1] != (record.num_nodes,):
                raise DataError(
                    f"{name} of graph {number} has the shape {mask.shape} for {counted(record.num_nodes, 'node')}. Give one value for each."
                )
    present = [name for name in MASKS if any(name in mask for mask in masks)]
    missing = [name for name in MASKS if not all(name in mask for mask in masks)]
    if not present:
        return ()
    if missing:
        raise DataError(
            f"The split has {', '.join(present)}, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
            f"{' in some graphs' if set(missing) <= set(present) else ''}. Give all three, or a split of your own: "
            "split=dgl_mutual.Split(train, val, test)."
        )
    return splits_of_masks({name: _mask_of([mask[name] for mask in masks], name) for name in MASKS})


def items_of(data: Any, what: str) -> list[Any]:
    """The items of a sequence of graphs; raises DataError if it is empty, or something else."""
    of_pyg = what.startswith("DGL") and is_pyg(data)
    is_sequence = hasattr(data, "__getitem__") and hasattr(data, "__len__") and getattr(data, "ndim", 1) == 1
    if of_pyg or isinstance(data, Mapping) or not is_sequence:
        hint = " Use Dataset.from_pyg." if of_pyg else hint_on_loaders(data)
        raise DataError(f"Expected {what}, found {'PyG data' if of_pyg else kind_of(data)}.{hint}")
    if not len(data):
        raise DataError(f"There are no {what}: the sequence is empty.")
    try:
        return [data[number] for number in range(len(data))]
    except KeyError:  # for example a pandas table, whose keys are names
        raise DataError(f"Expected {what}, found {kind_of(data)}.") from None


def hint_on_loaders(data: Any) -> str:
    """Advice, after a space, for a data loader of torch, DGL or PyG; empty for other objects."""
    if not (hasattr(data, "dataset") and hasattr(data, "batch_sampler")):
        return ""
    # A loader that samples one graph keeps it as `graph` (DGL) or `data` (PyG); its `dataset` holds node indices.
    source = next((name for name in ("graph", "data") if hasattr(data, name)), "dataset")
    return f" It is a loader of batches: give what it loads from, loader.{source}."


def _library_of(data: Any) -> str | None:
    """``dgl`` or ``torch_geometric`` if the object, or the first item of a sequence, is an instance of one of its classes."""
    for _ in range(_MAX_NESTING):
        modules = {kind.__module__.partition(".")[0] for kind in type(data).__mro__}
        if libraries := modules & {"dgl", "torch_geometric"}:
            return libraries.pop()
        # torch's datasets, such as Subset, are sequences, too. Arrays and tables are not sequences of graphs.
        is_sequence = hasattr(data, "__getitem__") and hasattr(data, "__len__")
        if not is_sequence or isinstance(data, Mapping | str | bytes) or hasattr(data, "shape") or not len(data):
            return None
        try:
            data = data[0]
        except (LookupError, UsageError):  # for example a NetworkX graph, whose keys are its nodes, or the result of a training
            return None
    return None
