"""Loading datasets by name or from a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgl_mutual.data.catalog import TU_PARTS, Entry, Family, find_entry, known_datasets, lookup
from dgl_mutual.data.csv_folder import read_csv_folder
from dgl_mutual.data.custom import find_custom, read_custom
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.digits import read_digits
from dgl_mutual.data.digits_multi import read_digits_multi
from dgl_mutual.data.faults import Faults
from dgl_mutual.data.folders import DataFolders, data_folders, fetched_as, missing_error
from dgl_mutual.data.graph_records import hint_on_loaders, is_dgl, is_pyg
from dgl_mutual.data.npz import read_npz
from dgl_mutual.data.ogb_graphs import read_ogb
from dgl_mutual.data.ogb_nodes import is_ogb_nodes, read_ogb_nodes
from dgl_mutual.data.planetoid import read_planetoid
from dgl_mutual.data.ppi import read_ppi
from dgl_mutual.data.several_targets import named_targets, select_targets
from dgl_mutual.data.split import Split
from dgl_mutual.data.target import TaskName
from dgl_mutual.data.tu import read_tu
from dgl_mutual.errors import DataError, TaskMismatchError, UsageError
from dgl_mutual.registry import Found
from dgl_mutual.utils.arguments import check_truth_values
from dgl_mutual.utils.paths import user_path
from dgl_mutual.utils.wording import kind_of


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
    """Load a dataset by its name (see `dgl_mutual.data.catalog`; any case) or from a folder in TU's, DGL's CSV or OGB's raw form.

    What no data folder holds is downloaded first (see `dgl_mutual.data.folders` for where folders lie).

    Args:
        task: ``node`` or ``graph``. Needed only for the digits, which have both (default ``node``); for others it is checked.
        data_dir: the data folder, which is only read; default: the environment's DGL_MUTUAL_DATA, else ``./data``.
        offline: never try to download.
        progress: show a bar on standard error while downloading.
        require_labels: whether a folder without labels is a fault; otherwise its labels are all unknown.
        targets: which of several targets, or in a folder in CSV form the label columns, as a list or as a text such as ``digit,even``
            (default: all; in CSV form the column ``label``).

    Raises:
        UsageError: an unknown name or target, a task that the dataset does not have, or what is neither True nor False.
        DataError: files are missing and cannot be downloaded, or break a rule of their format.
    """
    check_truth_values(offline=offline, progress=progress, require_labels=require_labels)
    source = find_source(name_or_dir)
    chosen = source.choose_task(task)
    location = source.locate(data_dir, offline=offline, progress=progress)
    faults = Faults(source.hint(location), labels=require_labels, folder=location)
    dataset = source.read(location, chosen, faults, require_labels=require_labels, targets=targets)
    faults.check()
    return dataset


def as_dataset(data: Any, task: TaskName | None = None, split: Split | None = None) -> Dataset:
    """A dataset itself, or the one that a DGL or PyG graph, several of them, or a dataset object of theirs makes.

    Args:
        split: in place of what the masks of such an object say.

    Raises:
        UsageError: `data` is of another type, or the name of a dataset; or the dataset is for the other task.
        DataError: a graph that `Dataset.from_dgl` or `Dataset.from_pyg` cannot read, or the path of a folder that holds no dataset.
    """
    if isinstance(data, Dataset):
        if task not in (None, data.task):
            raise TaskMismatchError(f"{data.name} is a dataset for the {data.task} task, not for {task!r}. Ask for task {data.task!r}.")
        return data
    if is_dgl(data):
        return Dataset.from_dgl(data, task=task, split=split)
    if is_pyg(data):
        return Dataset.from_pyg(data, task=task, split=split)
    if isinstance(data, str | Path):
        source = find_source(data)
        raise UsageError(f"Expected a dataset, found the name of one, {str(source)!r}. Load it: dgl_mutual.load({str(data)!r}).")
    found = kind_of(data)
    if isinstance(data, list | tuple):
        found = f"{found} whose item 0 is {kind_of(data[0])}" if data else f"an empty {type(data).__name__}"
    if type(data).__module__.partition(".")[0] == "networkx":
        raise UsageError(
            f"Expected a DGL or PyG graph, found {found} of NetworkX. Convert it: dgl.from_networkx(graph, node_attrs=['feat', 'label']) "
            "with the names of its attributes."
        )
    raise UsageError(
        f"Expected a Dataset, a DGL graph, a PyG graph, or a list of graphs, found {found}.{hint_on_loaders(data)} Load a dataset by its "
        "name with dgl_mutual.load, or make one of arrays with dgl_mutual.Dataset.from_arrays."
    )


@dataclass(frozen=True)
class Source:
    """What a name or folder given by the user means: an entry of the catalog, a folder in a known form, or code that makes a dataset
    (exactly one is set)."""

    entry: Entry | None = None
    folder: Path | None = None
    custom: Found[Any] | None = None

    def __str__(self) -> str:
        if self.custom is not None:
            return self.custom.name
        return self.entry.name if self.entry is not None else str(self.folder)

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        if self.entry is not None:
            return self.entry.tasks
        if self.custom is not None:
            return ("node", "graph")
        assert self.folder is not None
        if tu_name(self.folder):
            return ("graph",)
        return ("node",) if is_ogb_nodes(self.folder) else ("node", "graph")

    def choose_task(self, task: TaskName | None) -> TaskName | None:
        """The task to load, or None where the folder says (CSV form)."""
        if task is not None and task not in self.tasks:
            has, ask = " and the ".join(self.tasks), " or ".join(map(repr, self.tasks))
            raise TaskMismatchError(f"{self} is a dataset for the {has} task, not for {task!r}. Ask for task {ask}.")
        return task if task is not None or self.entry is None else self.tasks[0]

    def locate(self, data_dir: Path | None, *, offline: bool, progress: bool = False) -> Path:
        """The folder to read, after a download if need be."""
        if data_dir is not None:
            data_folders(data_dir)  # a folder that is named must be there, also where nothing is read from it
        if self.custom is not None:
            return Path()
        if self.entry is None:
            assert self.folder is not None
            return self.folder
        if not self.entry.files:
            return Path()
        return _find_or_fetch(self.entry, data_folders(data_dir), offline=offline, progress=progress)

    def hint(self, location: Path) -> str:
        """What to do about faults in its files."""
        if self.entry is None or self.entry.url is None:
            return "Correct the file."
        what = f"the folder {location}" if self.entry.is_archive else "it"
        return f"Correct the file, or remove {what} and download the dataset again: dgl-mutual data fetch {fetched_as(self.entry)}"

    def read(
        self,
        location: Path,
        task: TaskName | None,
        faults: Faults,
        *,
        require_labels: bool = True,
        targets: str | Sequence[str] | None = None,
    ) -> Dataset:
        """Read the files under `location`; raises DataError at the first checkpoint that finds faults."""
        targets = None if targets is None else named_targets(targets)
        if self.custom is not None:
            dataset = read_custom(self.custom, task)
            return dataset if targets is None else select_targets(dataset, targets)
        if self.entry is None and tu_name(location) is None and not is_ogb_nodes(location):
            return read_csv_folder(location, faults, task=task, require_labels=require_labels, targets=targets)
        dataset = self._read(location, task, faults, require_labels)
        # Without labels it does not matter which they are not.
        return select_targets(dataset, targets) if targets is not None and (require_labels or dataset.target.parts) else dataset

    def _read(self, location: Path, task: TaskName | None, faults: Faults, require_labels: bool) -> Dataset:
        if self.entry is None and is_ogb_nodes(location):
            return read_ogb_nodes(location, location.resolve().name, faults, require_labels=require_labels)
        if self.entry is None:
            return read_tu(location, tu_name(location) or "", faults, require_labels=require_labels)
        if self.entry.family == "digits":
            return _DIGITS[self.entry.name](task or "node")
        return _READERS[self.entry.family](location, self.entry.name, faults)


_DIGITS: dict[str, Callable[[TaskName], Dataset]] = {"digits": read_digits, "digits-multi": read_digits_multi}
#: Family -> what reads its files in a folder, given the dataset's name.
_READERS: dict[Family, Callable[[Path, str, Faults], Dataset]] = {
    "planetoid": read_planetoid,
    "npz": lambda location, name, faults: read_npz(location / known_datasets()[name].files[0], name, faults),
    "ppi": read_ppi,
    "ogb": read_ogb,
    "ogbn": read_ogb_nodes,
    "tu": read_tu,
}


def find_source(name_or_dir: str | Path) -> Source:
    """What `name_or_dir` means: a known name first, else a folder in a known form, else an import path or a package's dataset.

    Raises:
        UsageError: neither a known name nor a folder.
        DataError: a folder that does not exist, or in no known form.
    """
    folder = user_path(name_or_dir)
    if isinstance(name_or_dir, str):
        is_bare, is_folder = len(Path(name_or_dir).parts) == 1 and not name_or_dir.startswith("."), folder.is_dir()
        entry = lookup(name_or_dir)
        if entry is not None and (is_bare or not is_folder):
            return Source(entry=entry)
        custom = None if folder.exists() else find_custom(name_or_dir)
        if custom is not None:
            return Source(custom=custom)
        if is_bare and not folder.exists():
            return Source(entry=find_entry(name_or_dir))
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, not the folder of a dataset. {_about_file(folder)}")
    if not folder.is_dir():
        raise DataError(
            f"The folder {folder} does not exist. Correct the path, or give the name of a known dataset (dgl-mutual data list)."
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"The folder {folder} cannot be opened. Ask its owner for the permission to read it.")
    if not _has_known_form(folder):
        raise DataError(f"The folder {folder} holds no dataset in a known form: {_FORMS}.{_unknown_form(folder)}")
    return Source(folder=folder)


#: The forms that a folder may have.
_FORMS = (
    "TU's (NAME_A.txt, NAME_graph_indicator.txt, NAME_graph_labels.txt), DGL's CSVDataset form (meta.yaml with the node and edge files "
    "that it names), or OGB's raw form of a node dataset (raw/edge.csv.gz with raw/node-label.csv.gz, or raw/data.npz)"
)


def _has_known_form(folder: Path) -> bool:
    return tu_name(folder) is not None or is_ogb_nodes(folder) or os.path.lexists(folder / "meta.yaml")


def _unknown_form(folder: Path) -> str:
    """What the folder seems to be, where that can be told."""
    if (folder / "raw" / "edge_index_dict.npz").is_file():
        return " It is a heterogeneous dataset in OGB's form, and students take one type of node and of edge."
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".") and _has_known_form(path))
    return f" A folder within it does: {inside[0]}" if len(inside) == 1 else ""


def _about_file(path: Path) -> str:
    """What to give in place of a file."""
    if _has_known_form(path.parent):
        return f"Give the folder that holds it: {path.parent}"
    names = ", ".join(entry.name for entry in known_datasets().values() if entry.family == "npz")
    npz = f" Files in the npz form are read for known names only ({names})." if path.suffix == ".npz" else ""
    return f"Give a folder in a known form: {_FORMS}.{npz}"


def tu_name(folder: Path) -> str | None:
    """The NAME of a folder in TU form, or None.

    Raises:
        DataError: several datasets in one folder.
    """
    parts = [f"_{part}.txt" for part in TU_PARTS]
    files = [(file.name, part) for part in parts for file in folder.glob(f"*{part}")]
    # macOS keeps what it knows of a file beside it, as ._NAME, where a disk or an archive has no place for that.
    names = sorted({name.removesuffix(part) for name, part in files if not name.startswith(".")})
    if is_ogb_nodes(folder) or os.path.lexists(folder / "meta.yaml"):  # then other files may happen to be called so
        names = [name for name in names if all(os.path.lexists(folder / f"{name}{part}") for part in parts[:2])]
    if len(names) > 1:
        raise DataError(f"The folder {folder} holds several TU datasets ({', '.join(names)}). Give each a folder of its own.")
    return names[0] if names else None


def fetch_dataset(name: str, *, data_dir: Path | None = None, offline: bool = False, progress: bool = False) -> Path | None:
    """Make sure that a known dataset is available, downloading it if needed, and return the folder of its files (None for ``digits``
    and what a package brings).

    Raises:
        UsageError: no dataset is known by this name, or what is neither True nor False.
        DataError: it is not there and cannot be downloaded.
    """
    check_truth_values(offline=offline, progress=progress)
    if find_custom(name) is not None:
        return None
    entry, folders = find_entry(name), data_folders(data_dir)
    return _find_or_fetch(entry, folders, offline=offline, progress=progress) if entry.files else None


def _find_or_fetch(entry: Entry, folders: DataFolders, *, offline: bool, progress: bool = False) -> Path:
    """The folder of `entry`'s files; downloaded first where no data folder holds them, unless `offline`."""
    found = folders.find(entry)
    if found is not None:
        return found
    if offline:
        raise missing_error(entry, folders)
    from dgl_mutual.data.download import fetch

    return fetch(entry, folders.downloads, progress=progress)
