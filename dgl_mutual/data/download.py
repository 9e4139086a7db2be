"""Downloads from the official addresses: checked, unpacked beside their place, and put there in one step."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from dgl_mutual.data.catalog import Entry
from dgl_mutual.data.folders import missing_files
from dgl_mutual.data.unpack import unpack
from dgl_mutual.errors import DataError

_TIMEOUT_SECONDS = 30
_RETRIES = 3


def fetch(entry: Entry, root: Path, *, progress: bool = False) -> Path:
    """Download `entry` into the data folder `root` and return the folder of its files. What is complete there already is kept.

    Files are checked against their known sha256 (of archives: each unpacked file that is known). A failure leaves nothing behind.

    Args:
        progress: show a bar on standard error.

    Raises:
        DataError: no connection, a wrong hash, an unsafe or damaged archive, or a folder that cannot be written.
    """
    place = root / entry.folder
    if entry.url is None or not missing_files(place, entry):
        return place
    try:
        with _scratch_folder(place.parent) as scratch:
            arrived = _fetch_archive(entry, scratch, progress) if entry.is_archive else _fetch_files(entry, place, scratch, progress)
            _check_hashes(entry, arrived)
            if entry.is_archive:
                _replace_folder(arrived, place, scratch / "replaced")
            else:
                place.mkdir(exist_ok=True)
                for file in arrived.iterdir():
                    os.replace(file, place / file.name)
    except OSError as error:
        raise DataError(
            f"The dataset {entry.name} cannot be put into {place} ({error}). Check the folder's permissions and space."
        ) from None
    return place


def download_file(address: str, target: Path, sha256: str | None, *, progress: bool) -> None:
    """Download one https address to the file `target`, with a timeout and a few retries.

    Raises:
        DataError: the download failed, or what came does not have the hash `sha256`.
    """
    import pooch

    if urlsplit(address).scheme != "https":
        raise DataError(f"The address {address} is refused: only https is used for downloads.")
    logging.getLogger("pooch").setLevel(logging.ERROR)
    keeper = pooch.create(target.parent, base_url="", registry={target.name: sha256}, urls={target.name: address}, retry_if_failed=_RETRIES)
    try:
        keeper.fetch(target.name, downloader=pooch.HTTPDownloader(progressbar=progress, timeout=_TIMEOUT_SECONDS))
    except (OSError, ValueError) as error:
        raise DataError(f"{address} could not be downloaded: {error}") from None


def _fetch_archive(entry: Entry, scratch: Path, progress: bool) -> Path:
    assert entry.url is not None
    archive, unpacked = scratch / entry.url.rpartition("/")[2], scratch / "unpacked"
    _download(entry, entry.url, archive, None, progress)
    unpack(archive, unpacked)
    folders = [unpacked, *(path for path in unpacked.iterdir() if path.is_dir())]
    complete = [folder for folder in folders if not missing_files(folder, entry)]
    if not complete:
        raise DataError(f"The archive {entry.url} does not hold the files of {entry.name} ({', '.join(entry.files[:3])}, ...).")
    return complete[0]


def _fetch_files(entry: Entry, place: Path, scratch: Path, progress: bool) -> Path:
    arrived = scratch / "arrived"
    arrived.mkdir()
    for file in missing_files(place, entry):
        _download(entry, f"{entry.url}{file}", arrived / file, entry.sha256.get(file), progress)
    return arrived


def _download(entry: Entry, address: str, target: Path, sha256: str | None, progress: bool) -> None:
    try:
        download_file(address, target, sha256, progress=progress)
    except DataError as error:
        files = f"{', '.join(entry.files[:3])}{', ...' if len(entry.files) > 3 else ''}"
        raise DataError(
            f"The dataset {entry.name} could not be fetched. {error}\nCheck the connection and try again, or download it by other means "
            f"and place {files} in the folder {entry.folder} of your data folder (named by --data-dir)."
        ) from None


def _check_hashes(entry: Entry, folder: Path) -> None:
    for file, expected in entry.sha256.items():
        if (folder / file).is_file() and file_sha256(folder / file) != expected:
            raise DataError(
                f"The file {file} of {entry.name}, from {entry.url}, is not the one that was published: its sha256 is "
                f"{file_sha256(folder / file)}, expected {expected}. Nothing was kept; try again, or ask the dataset's authors."
            )


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _scratch_folder(parent: Path) -> Iterator[Path]:
    """A temporary folder on the file system of `parent`, so that moving from it into place is one atomic step.

    `parent`, and what was made for it above, goes again if nothing came to stand in it.
    """
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".fetching-", dir=parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def _replace_folder(arrived: Path, place: Path, aside: Path) -> None:
    """Put `arrived` at `place`; an incomplete folder that stands there is moved aside first."""
    if place.exists():
        os.replace(place, aside)
    os.replace(arrived, place)
