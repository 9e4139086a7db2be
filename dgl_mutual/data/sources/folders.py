"""Data folders: the user's, which is only read, and the cache for downloads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dgl_mutual.data.sources.catalog import Entry, lookup
from dgl_mutual.errors import DataError, listed
from dgl_mutual.utils.paths import user_path

ENVIRONMENT_VARIABLE = "DGL_MUTUAL_DATA"


@dataclass(frozen=True)
class DataFolders:
    """The folders to search, in this order. Downloads go to the last."""

    search: tuple[Path, ...]

    @property
    def downloads(self) -> Path:
        return self.search[-1]

    def find(self, entry: Entry) -> Path | None:
        """The first folder that holds all files of `entry`, as the path of the entry's own folder in it.

        If there is none, the first with a regression set (see `is_regression`), which its reader refuses with an explanation.
        """
        places = [root / entry.folder for root in self.search]
        complete = (place for place in places if not missing_files(place, entry))
        return next(complete, None) or next((place for place in places if is_regression(place, entry)), None)


def data_folders(data_dir: Path | None = None) -> DataFolders:
    """The data folders: `data_dir`, or the environment variable DGL_MUTUAL_DATA, or ``./data``.

    A folder that the user names is never written to: downloads then go to the user's cache, which is searched second.

    Raises:
        DataError: the named folder does not exist.
        UsageError: the path is invalid.
    """
    named = data_dir or os.environ.get(ENVIRONMENT_VARIABLE)
    if not named:
        return DataFolders((Path("data"),))
    folder = user_path(named)
    if not folder.is_dir():
        cause = "data_dir (on the command line: --data-dir)" if data_dir else f"the environment variable {ENVIRONMENT_VARIABLE}"
        what = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"The data folder {named} {what}. It was named by {cause}: correct it, or create the folder.")
    from platformdirs import user_cache_path

    return DataFolders((folder, user_cache_path("dgl_mutual")))


def missing_files(folder: Path, entry: Entry) -> list[str]:
    return [file for file in entry.files if not (folder / file).is_file()]


def is_regression(folder: Path, entry: Entry) -> bool:
    """Whether a folder holds a TU dataset with continuous graph targets instead of classes that is complete otherwise."""
    labels, targets = (f"{entry.name}_graph_{part}.txt" for part in ("labels", "attributes"))
    return entry.family == "tu" and missing_files(folder, entry) == [labels] and (folder / targets).is_file()


def fetched_as(entry: Entry) -> str:
    """The name of a dataset for 'dgl-mutual data fetch'."""
    return entry.name if lookup(entry.name) == entry else f"tu/{entry.name}"


def missing_error(entry: Entry, folders: DataFolders) -> DataError:
    """The error for a dataset that no folder holds, with the missing files, the searched folders, and how to get it."""
    lines = [f"The dataset {entry.name} is not complete in any data folder."]
    for root in folders.search:
        missing = missing_files(root / entry.folder, entry)
        lines.append(f"  {root / entry.folder} lacks {listed(missing, 3)}")
    lines.append(
        f"Fetch it with 'dgl-mutual data fetch {fetched_as(entry)}', or name the folder that holds it as data_dir (on the command line: "
        "--data-dir)."
    )
    return DataError("\n".join(lines))
