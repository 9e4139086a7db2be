"""Custom datasets: code of users or of installed packages (entry points of the group ``dgl_mutual.datasets``)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dgl_mutual.data.conversion import as_dataset
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.sources.catalog import Entry, known_datasets, lookup
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError, DglMutualError
from dgl_mutual.registry import Found, Registry
from dgl_mutual.utils.custom_code import described
from dgl_mutual.utils.error_causes import is_out_of_memory
from dgl_mutual.utils.imports import is_import_path
from dgl_mutual.utils.wording import kind_of


def _fault(value: Any) -> str | None:
    if isinstance(value, Dataset):
        return None
    if not callable(value):
        return f"is not a dataset but {kind_of(value)}. Give a dgl_mutual.Dataset, or a function without arguments that returns one."
    try:
        inspect.signature(value).bind()
    except TypeError as error:
        return f"is a function that cannot be called without arguments ({error}). Give all of them defaults."
    except ValueError:  # some functions written in C have no signature
        return None
    return None


class _Catalog(Mapping[str, Entry]):
    """The known datasets, by every name that `lookup` accepts."""

    def __getitem__(self, name: str) -> Entry:
        entry = lookup(name)
        if entry is None:
            raise KeyError(name)
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(known_datasets())

    def __len__(self) -> int:
        return len(known_datasets())


#: Finds an entry of the catalog, or the function or `Dataset` of a custom dataset.
DATASET_REGISTRY: Registry[Any] = Registry("dataset", _Catalog(), _fault, group="dgl_mutual.datasets")


def find_custom(name: str) -> Found[Any] | None:
    """Find a dataset by its import path or its name in an installed package; None for other names.

    Raises:
        UsageError: it cannot be imported, or is not a dataset.
    """
    if is_import_path(name) or any(plug_in.name == name for plug_in in DATASET_REGISTRY.plug_ins()):
        return DATASET_REGISTRY.find(name)
    return None


def read_custom(found: Found[Any], task: TaskName | None) -> Dataset:
    """Create the dataset, under the name by which it was found.

    Raises:
        DataError: its function raises an error, or does not return a dataset.
        UsageError: it is for another task.
    """
    try:
        made = found.value if isinstance(found.value, Dataset) else found.value()
        dataset = made if isinstance(made, Dataset) else as_dataset(made, task)
    except DglMutualError as error:
        raise DataError(f"The dataset {found.name!r} ({found.origin}) cannot be used. {error}") from error
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        raise DataError(f"The dataset {found.name!r} ({found.origin}) raised an error: {described(error)}") from error
    return as_dataset(replace(dataset, name=found.name), task)
