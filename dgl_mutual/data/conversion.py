"""Conversion of objects in memory to a `Dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.objects.dgl_objects import records_of_dgl
from dgl_mutual.data.objects.pyg_objects import records_of_pyg
from dgl_mutual.data.values.graph_records import hint_on_loaders, inputs_of, is_dgl, is_pyg
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError, task_mismatch
from dgl_mutual.utils.wording import kind_of


def as_dataset(data: Any, task: TaskName | None = None, split: Split | None = None) -> Dataset:
    """Convert a DGL or PyG graph, several graphs, or a dataset of these libraries to a `Dataset`; a `Dataset` is returned unchanged.

    Args:
        split: for graphs, the split of their samples, in place of their masks; not used for a `Dataset`.

    Raises:
        UsageError: `data` is of another type, or the name of a dataset; or the dataset is for the other task.
        DataError: a graph that `Dataset.from_dgl` or `Dataset.from_pyg` cannot read.
    """
    if isinstance(data, Dataset):
        if task not in (None, data.task):
            raise task_mismatch(data.name, (data.task,), task)
        return data
    if is_dgl(data):
        return Dataset.from_dgl(data, task=task, split=split)
    if is_pyg(data):
        return Dataset.from_pyg(data, task=task, split=split)
    raise _not_a_dataset(data)


def as_unlabelled(data: Any, task: TaskName) -> Dataset:
    """As `as_dataset`, without reading the labels and masks of graphs, for data that need no labels.

    Raises:
        UsageError, DataError: as in `as_dataset`.
    """
    if isinstance(data, Dataset):
        return data
    if is_dgl(data):
        records = records_of_dgl(data, "feat", edge_feat="feat")
    elif is_pyg(data):
        records = records_of_pyg(data, task)
    else:
        raise _not_a_dataset(data)
    return Dataset.from_arrays(**inputs_of(records, data), task=task)


def _not_a_dataset(data: Any) -> UsageError:
    """The error for an object that is neither a dataset nor graphs."""
    if isinstance(data, str | Path):
        return UsageError(f"Expected a dataset, found the name of one, {str(data)!r}. Load it: dgl_mutual.load({str(data)!r}).")
    kind = kind_of(data)
    if isinstance(data, list | tuple):
        kind = f"{kind} whose item 0 is {kind_of(data[0])}" if data else f"an empty {type(data).__name__}"
    if type(data).__module__.partition(".")[0] == "networkx":
        return UsageError(
            f"Expected a DGL or PyG graph, found {kind} of NetworkX. Convert it: dgl.from_networkx(graph, node_attrs=['feat', 'label']) "
            "with the names of its attributes."
        )
    return UsageError(
        f"Expected a Dataset, a DGL graph, a PyG graph, or a list of graphs, found {kind}.{hint_on_loaders(data)} Load a dataset by its "
        "name with dgl_mutual.load, or make one of arrays with dgl_mutual.Dataset.from_arrays."
    )
