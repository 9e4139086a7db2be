"""The folder of a run, opened as a run does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dgl_mutual.experiments.run_folders.run_store import RunStore, begun, locked_store
from dgl_mutual.store.configuration import file_values


@contextmanager
def open_store(folder: Path, resolved: dict[str, Any], *, resume: bool, keys: set[tuple[int, int]] | None = None) -> Iterator[RunStore]:
    """The store of a run of this configuration that has begun; other arguments as those of `begun`."""
    with locked_store(folder) as store, begun(store, file_values({}, resolved), resume=resume, keys=keys):
        yield store
