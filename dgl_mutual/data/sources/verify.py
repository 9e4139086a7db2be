"""Verification of a dataset's files by the rules of loading and by their hashes. Reports all faults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.files.untrusted_files import open_file, recording
from dgl_mutual.data.several_targets import one_by_one
from dgl_mutual.data.sources.catalog import Entry, refuse_unsupported
from dgl_mutual.data.sources.download import file_sha256
from dgl_mutual.data.sources.folders import data_folders, missing_error, missing_files
from dgl_mutual.data.sources.load import Source, find_source
from dgl_mutual.data.values.faults import MISSING_FILE, Fault, Faults
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError
from dgl_mutual.utils.arguments import check_booleans


def verify_dataset(
    name_or_dir: str | Path,
    task: TaskName | None = None,
    *,
    data_dir: Path | None = None,
    targets: str | Sequence[str] | None = None,
    require_labels: bool = True,
) -> list[Fault]:
    """Find all faults of a dataset: empty if it is sound. Nothing is downloaded or written.

    Besides the rules of loading, this checks for files that differ from the published ones (where their sha256 is known), for a single
    class, and for classes that occur in the test part of an official split, but not in its training part.

    Args:
        require_labels: false for data that are only predicted: labels may be missing, and classes are not checked.

    Raises:
        UsageError: an unknown name or target, a `require_labels` that is not a boolean, or a task that the dataset does not have.
        DataError: nothing of the dataset is in any data folder.
    """
    check_booleans(require_labels=require_labels)
    source = find_source(name_or_dir)
    request = source.request(task, require_labels, targets)
    location = _locate(source, data_dir)
    faults = Faults(source.hint(location), labels=require_labels, folder=location)
    try:
        dataset = source.read(location, faults, request)
    except DataError:
        if not faults.found:
            raise
    else:
        if require_labels:
            _check_classes(dataset, location, faults)
            _check_split(dataset, location, faults)
    if source.entry is not None:
        _check_known_files(source.entry, location, faults)
    return faults.found


def _locate(source: Source, data_dir: Path | None) -> Path:
    """The folder to verify: a complete one if there is one, otherwise the first that holds any of the files."""
    if source.entry is None or not source.entry.files:
        return source.locate(data_dir, offline=True)
    entry, folders = source.entry, data_folders(data_dir)
    places = [root / entry.folder for root in folders.search]
    partial = [place for place in places if len(missing_files(place, entry)) < len(entry.files)]
    if not partial:
        refuse_unsupported(entry.name)
        raise missing_error(entry, folders)
    return folders.find(entry) or partial[0]


def _check_known_files(entry: Entry, location: Path, faults: Faults) -> None:
    for file in missing_files(location, entry):
        if location / file not in {fault.file for fault in faults.found}:
            faults.add(location / file, MISSING_FILE)
    for file, expected in entry.sha256.items():
        path = location / file
        if path.is_file() and (found := _sha256(path, faults)) not in (None, expected):
            faults.add(path, f"the file is not the one that was published: expected sha256 {expected}, found {found}")
    for file in entry.unpublished:
        if (location / file).exists():
            faults.add(location / file, f"the published {entry.name} has no such file, and it is read")


def _sha256(path: Path, faults: Faults) -> str | None:
    """The hash of a file; None if it cannot be read, which is recorded unless its loader has done so."""
    known = any(fault.file == path for fault in faults.found)
    with recording(path, Faults() if known else faults, "the file cannot be read"):
        open_file(path).close()
        return file_sha256(path)
    return None


def _check_classes(dataset: Dataset, location: Path, faults: Faults) -> None:
    for part in one_by_one(dataset):
        if part.target.kind == "single-label" and len(np.unique(part.labels[part.labels >= 0])) < 2:
            faults.add(location, "all labelled samples are of one class, so there is nothing to learn")


def _check_split(dataset: Dataset, location: Path, faults: Faults) -> None:
    for number, split in enumerate(dataset.official_splits):
        title = f"official split {number}" if len(dataset.official_splits) > 1 else "the official split"
        for part in one_by_one(dataset):
            for column, name in enumerate(part.target.names):
                has_class = part.labels == column if part.target.kind == "single-label" else part.labels[:, column] == 1
                if np.any(has_class[split.test]) and not np.any(has_class[split.train]):
                    faults.add(location, f"class {name!r} is in the test part of {title}, but not in its training part")
