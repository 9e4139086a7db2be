"""Loading datasets by name or from a folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.several_targets import named_targets, select_targets
from dgl_mutual.data.sources.catalog import TU_PARTS, Entry, Family, find_entry, known_datasets, lookup, refuse_unsupported, why_unsupported
from dgl_mutual.data.sources.csv_folder import read_csv_folder
from dgl_mutual.data.sources.custom import DATASET_REGISTRY, find_custom, read_custom
from dgl_mutual.data.sources.digits import read_digits
from dgl_mutual.data.sources.folders import DataFolders, data_folders, fetched_as, missing_error
from dgl_mutual.data.sources.npz import read_gnn_benchmark
from dgl_mutual.data.sources.ogb_graphs import read_ogb
from dgl_mutual.data.sources.ogb_nodes import is_ogb_nodes, read_ogb_nodes
from dgl_mutual.data.sources.planetoid import read_planetoid
from dgl_mutual.data.sources.ppi import read_ppi
from dgl_mutual.data.sources.tu import read_tu
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError, listed, task_mismatch
from dgl_mutual.registry import Found
from dgl_mutual.utils.arguments import check_booleans
from dgl_mutual.utils.paths import user_path


def load_dataset(
    name_or_dir: str | Path,
    task: TaskName | None = None,
    *,
    data_dir: Path | None = None,
    offline: bool = False,
    progress: bool = False,
    require_labels: bool = True,
    targets: str | Sequence[str] | None = None,
) -> Dataset:
    """Load a dataset by its name (see `dgl_mutual.data.sources.catalog`; any case) or from a folder in TU's, DGL's CSV or OGB's raw form.

    A dataset that no data folder holds is downloaded first (see `dgl_mutual.data.sources.folders`). For other arguments and errors see
    `dgl_mutual.load`.

    Args:
        progress: show a bar on standard error while downloading.
        require_labels: whether a folder without labels is a fault; otherwise its labels are all unknown.
    """
    check_booleans(offline=offline, progress=progress, require_labels=require_labels)
    source = find_source(name_or_dir)
    request = source.request(task, require_labels, targets)
    location = source.locate(data_dir, offline=offline, progress=progress)
    faults = Faults(source.hint(location), labels=require_labels, folder=location)
    dataset = source.read(location, faults, request)
    faults.check()
    return dataset


#: Reads a dataset, given the folder of its files and its name; raises DataError at the first checkpoint that finds faults. All readers take
#: the same arguments, whether or not they need them.
Reader: TypeAlias = Callable[[Path, str, Faults, Request], Dataset]


@dataclass(frozen=True)
class Source:
    """The dataset that a name or folder given by the user refers to.

    Attributes:
        name: the name of the dataset, for its reader.
        tasks: the tasks that it can be used for.
        entry: its entry in the catalog, if any.
        folder: the user's folder, if any. A source with neither is code that creates a dataset.
        chooses_targets: whether the reader itself selects the targets.
    """

    name: str
    tasks: tuple[TaskName, ...]
    reader: Reader
    entry: Entry | None = None
    folder: Path | None = None
    chooses_targets: bool = False

    def __str__(self) -> str:
        return self.name if self.folder is None else str(self.folder)

    def request(self, task: TaskName | None, require_labels: bool, targets: str | Sequence[str] | None) -> Request:
        """The request to its reader; raises UsageError for a task that it does not have, or `targets` that are not names."""
        if task is not None and task not in self.tasks:
            raise task_mismatch(str(self), self.tasks, task)
        if task is None and self.entry is not None:
            task = self.tasks[0]
        return Request(task, require_labels, None if targets is None else named_targets(targets))

    def locate(self, data_dir: Path | None, *, offline: bool, progress: bool = False) -> Path:
        """The folder to read, after a download if necessary. For datasets without files, a path that is their name."""
        if data_dir is not None:
            data_folders(data_dir)  # a named folder must exist, even if nothing is read from it
        if self.entry is None or not self.entry.files:
            return self.folder or Path(self.name)
        return _find_or_fetch(self.entry, data_folders(data_dir), offline=offline, progress=progress)

    def hint(self, location: Path) -> str:
        """Advice on faults in its files."""
        if self.entry is None or self.entry.url is None:
            return "Correct the file."
        what = f"the folder {location}" if self.entry.is_archive else "it"
        return f"Correct the file, or remove {what} and download the dataset again: dgl-mutual data fetch {fetched_as(self.entry)}"

    def read(self, location: Path, faults: Faults, request: Request) -> Dataset:
        """Read the files under `location`; raises DataError at the first checkpoint that finds faults."""
        dataset = self.reader(location, self.name, faults, request)
        if request.targets is None or self.chooses_targets:
            return dataset
        # If labels are not required, files may lack them and the targets' names: a single target then counts as the requested one.
        return select_targets(dataset, request.targets) if request.require_labels or dataset.target.parts else dataset


#: The reader of each family of datasets.
_READERS: dict[Family, Reader] = {
    "digits": read_digits,
    "planetoid": read_planetoid,
    "npz": read_gnn_benchmark,
    "ppi": read_ppi,
    "ogb": read_ogb,
    "ogbn": read_ogb_nodes,
    "tu": read_tu,
}


def _source_of_entry(entry: Entry) -> Source:
    return Source(entry.name, entry.tasks, _READERS[entry.family], entry=entry)


def _source_of_code(found: Found[Any]) -> Source:
    return Source(found.name, ("node", "graph"), lambda _, name, faults, request: read_custom(found, request.task))


def find_source(name_or_dir: str | Path) -> Source:
    """Find the dataset that `name_or_dir` refers to: a known name first, then a folder, then an import path or a package's dataset.

    Raises:
        UsageError: neither a known name nor a folder.
        DataError: a folder that does not exist, or in no known form.
    """
    folder = user_path(name_or_dir)
    if isinstance(name_or_dir, str):
        is_bare, is_folder = len(Path(name_or_dir).parts) == 1 and not name_or_dir.startswith("."), folder.is_dir()
        entry = lookup(name_or_dir)
        if entry is not None and (is_bare or not is_folder):
            DATASET_REGISTRY.warn_of_hidden(name_or_dir)
            return _source_of_entry(entry)
        custom = None if folder.exists() else find_custom(name_or_dir)
        if custom is not None:
            return _source_of_code(custom)
        if is_bare and not folder.exists():
            return _source_of_entry(find_entry(name_or_dir))
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, not the folder of a dataset. {_about_file(folder)}")
    if not folder.is_dir():
        raise DataError(
            f"The folder {folder} does not exist. Correct the path, or give the name of a known dataset (dgl-mutual data list)."
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"The folder {folder} cannot be opened. Ask its owner for the permission to read it.")
    source = _source_of_folder(folder)
    if source is None:
        raise DataError(f"The folder {folder} holds no dataset in a known form: {_FORMS}.{_unknown_form(folder)}")
    return source


#: The forms that a folder may have.
_FORMS = (
    "TU's (NAME_A.txt, NAME_graph_indicator.txt, NAME_graph_labels.txt), DGL's CSVDataset form (meta.yaml with the node and edge files "
    "that it names), or OGB's raw form of a node dataset (raw/edge.csv.gz with raw/node-label.csv.gz, or raw/data.npz)"
)


def _source_of_folder(folder: Path) -> Source | None:
    """The source of a folder; None if it has none of the known forms.

    Raises:
        DataError: several TU datasets in one folder.
    """
    is_ogb, is_csv = is_ogb_nodes(folder), os.path.lexists(folder / "meta.yaml")
    tu_name = _tu_name(folder, among_others=is_ogb or is_csv)
    if is_ogb:
        return Source(folder.resolve().name, ("node",), read_ogb_nodes, folder=folder)
    if tu_name is not None:
        return Source(tu_name, ("graph",), read_tu, folder=folder)
    return Source(folder.name, ("node", "graph"), read_csv_folder, folder=folder, chooses_targets=True) if is_csv else None


def _unknown_form(folder: Path) -> str:
    """A description of a folder in a recognised but unsupported form, for a message; otherwise empty."""
    if (folder / "raw" / "edge_index_dict.npz").is_file():
        return " It is a heterogeneous dataset in OGB's form, but students take one type of node and of edge."
    if (folder / "raw" / "graph-label.csv.gz").is_file():
        return _about_ogb_graphs(folder.resolve())
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".") and _source_of_folder(path))
    return f" A folder within it does: {inside[0]}" if len(inside) == 1 else ""


def _about_ogb_graphs(folder: Path) -> str:
    """Advice on a folder with graphs in OGB's form."""
    entry = next((entry for entry in known_datasets().values() if entry.family == "ogb" and Path(entry.folder).name == folder.name), None)
    if entry is None:
        why = why_unsupported(folder.name.replace("_", "-")) or "of OGB's graph datasets, only those of molecules with classes are read"
        return f" It is a dataset of graphs in OGB's form: {why}."
    if folder.match(entry.folder):
        return f" It is OGB's {entry.name}, which is read by its name: {entry.name} --data-dir {shlex.quote(str(folder.parents[1]))}"
    return f" It is OGB's {entry.name}, which is read by its name: move it to DIR/{entry.folder}, and give {entry.name} --data-dir DIR"


def _about_file(path: Path) -> str:
    """Advice for a user who gave a file in place of a folder."""
    if _source_of_folder(path.parent) is not None:
        return f"Give the folder that holds it: {path.parent}"
    names = ", ".join(entry.name for entry in known_datasets().values() if entry.family == "npz")
    npz = f" Files in the npz form are read for known names only ({names})." if path.suffix == ".npz" else ""
    return f"Give a folder in a known form: {_FORMS}.{npz}"


def _tu_name(folder: Path, *, among_others: bool) -> str | None:
    """The NAME of a folder in TU form, or None.

    Args:
        among_others: whether the folder has another form, too, in which files may happen to have such names.

    Raises:
        DataError: several datasets in one folder.
    """
    parts = [f"_{part}.txt" for part in TU_PARTS]
    files = [(file.name, part) for part in parts for file in folder.glob(f"*{part}")]
    # macOS stores metadata beside a file, as ._NAME, on disks and in archives without another place for it.
    names = sorted({name.removesuffix(part) for name, part in files if not name.startswith(".")})
    if among_others:
        names = [name for name in names if all(os.path.lexists(folder / f"{name}{part}") for part in parts[:2])]
    if len(names) > 1:
        raise DataError(f"The folder {folder} holds several TU datasets ({listed(names)}). Give each a folder of its own.")
    return names[0] if names else None


def fetch_dataset(name: str, *, data_dir: Path | None = None, offline: bool = False, progress: bool = False) -> Path | None:
    """Download a known dataset unless a data folder has it, and return the folder of its files (None for ``digits`` and datasets of
    installed packages).

    Raises:
        UsageError: an unknown dataset, or an option that is not a boolean.
        DataError: it is not available and cannot be downloaded.
    """
    check_booleans(offline=offline, progress=progress)
    if find_custom(name) is not None:
        return None
    entry, folders = find_entry(name), data_folders(data_dir)
    return _find_or_fetch(entry, folders, offline=offline, progress=progress) if entry.files else None


def _find_or_fetch(entry: Entry, folders: DataFolders, *, offline: bool, progress: bool = False) -> Path:
    """The folder of `entry`'s files, which are downloaded first if no data folder has them, unless `offline`."""
    found = folders.find(entry)
    if found is not None:
        return found
    refuse_unsupported(entry.name)
    if offline:
        raise missing_error(entry, folders)
    from dgl_mutual.data.sources.download import fetch

    return fetch(entry, folders.downloads, progress=progress)
