"""Downloads from the official addresses: checked and unpacked in a temporary folder, then moved into place file by file."""

from __future__ import annotations

import filecmp
import logging
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dgl_mutual.data.files.unpack import unpack
from dgl_mutual.data.sources.catalog import Entry
from dgl_mutual.data.sources.folders import is_regression, missing_files
from dgl_mutual.errors import DataError, listed
from dgl_mutual.utils.display import make_bar, shows_bars
from dgl_mutual.utils.files import check_regular, set_aside, unfinished
from dgl_mutual.utils.paths import refuse_links

_TIMEOUT_SECONDS = 30
_RETRIES = 3


def fetch(entry: Entry, root: Path, *, progress: bool = False) -> Path:
    """Download `entry` into the data folder `root`, unless it is complete there, and return the folder of its files.

    Files, or the unpacked files of an archive, are checked against their known sha256. A failure leaves nothing behind. Other files in the
    folder stay; an existing file that differs from a downloaded one of the same name is renamed ``NAME.damaged``.

    Args:
        progress: show a bar on standard error, if that is a terminal, or in a notebook.

    Raises:
        DataError: no connection, a wrong hash, an unsafe or damaged archive, or a folder that cannot be written.
        StoreError: a link leads out of `root`.
    """
    place = root / entry.folder
    if entry.url is None or not missing_files(place, entry):
        return place
    refuse_links(place, root)
    missing = [folder for folder in place.parents if not folder.exists()]
    try:
        with unfinished(place) as scratch:
            scratch.mkdir()
            arrived = _fetch_archive(entry, scratch, progress) if entry.is_archive else _fetch_files(entry, place, scratch, progress)
            _check_hashes(entry, arrived)
            _put_files(arrived, place, last=missing_files(place, entry))
    except OSError as error:
        raise DataError(
            f"The dataset {entry.name} cannot be put into {place} ({error}). Check the folder's permissions and space."
        ) from None
    finally:
        with suppress(OSError):  # not empty
            for folder in missing:
                folder.rmdir()
    return place


def download_file(address: str, target: Path, sha256: str | None, *, most: int, progress: bool) -> None:
    """Download one https address to the file `target`, with a timeout and a few retries.

    Args:
        most: the most bytes that the file may have.

    Raises:
        DataError: the download failed, was redirected away from https, is larger than `most`, or does not have the hash `sha256`.
        OSError: the file cannot be written.
    """
    import pooch
    import requests

    if urlsplit(address).scheme != "https":
        raise DataError(f"The address {address} is refused: only https is used for downloads.")
    pooch.get_logger().setLevel(logging.ERROR)
    keeper = pooch.create(target.parent, base_url="", registry={target.name: sha256}, urls={target.name: address}, retry_if_failed=_RETRIES)
    try:
        keeper.fetch(target.name, downloader=_Downloader(target.name, most, progress))
    except (requests.RequestException, ValueError) as error:
        raise DataError(f"{address} could not be downloaded: {error}") from None


@dataclass(frozen=True)
class _Downloader:
    """A downloader for pooch that uses only https and accepts at most `most` bytes.

    It refuses with DataErrors, which pooch does not retry.
    """

    name: str
    most: int
    progress: bool

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        import requests

        with requests.Session() as session:
            session.adapters.pop("http://")
            try:
                response = session.get(url, stream=True, timeout=_TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"})
            except requests.exceptions.InvalidSchema:
                raise DataError(f"{url} leads to an address that is not https, and is refused.") from None
            with response:
                response.raise_for_status()
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise DataError(f"{url} is refused: the server compresses it again, so its size is unknown.")
                length = response.headers.get("Content-Length", "")
                size = int(length) if length.isdecimal() and len(length) < 20 else None
                self._check(url, size or 0)
                hidden = not (self.progress and shows_bars())
                bar = make_bar(total=size, unit="B", unit_scale=True, desc=self.name, disable=hidden)
                with open(output_file, "wb") as file, bar:
                    for chunk in response.iter_content(1 << 16):
                        self._check(url, file.tell() + len(chunk))
                        file.write(chunk)
                        bar.update(len(chunk))

    def _check(self, url: str, size: int) -> None:
        if size > self.most:
            raise DataError(f"{url} is refused: it has more than {self.most} bytes, which no such dataset has.")


def _fetch_archive(entry: Entry, scratch: Path, progress: bool) -> Path:
    assert entry.url is not None
    archive, unpacked = scratch / entry.url.rpartition("/")[2], scratch / "unpacked"
    _download(entry, entry.url, archive, None, progress)
    unpack(archive, unpacked)
    folders = [unpacked, *(path for path in unpacked.iterdir() if path.is_dir())]
    complete = [folder for folder in folders if not missing_files(folder, entry)]
    if any(is_regression(folder, entry) for folder in folders):
        raise DataError(
            f"The dataset {entry.name} is a regression set: the archive {entry.url} has continuous targets of graphs "
            f"({entry.name}_graph_attributes.txt) and no classes ({entry.name}_graph_labels.txt), and only classification is supported. "
            "Choose another dataset."
        )
    if not complete:
        raise DataError(f"The archive {entry.url} does not hold the files of {entry.name} ({listed(entry.files, 3)}).")
    return complete[0]


def _fetch_files(entry: Entry, place: Path, scratch: Path, progress: bool) -> Path:
    arrived = scratch / "arrived"
    arrived.mkdir()
    for file in missing_files(place, entry):
        _download(entry, f"{entry.url}{file}", arrived / file, entry.sha256.get(file), progress)
    return arrived


def _download(entry: Entry, address: str, target: Path, sha256: str | None, progress: bool) -> None:
    try:
        download_file(address, target, sha256, most=entry.max_bytes, progress=progress)
    except DataError as error:
        raise DataError(
            f"The dataset {entry.name} could not be fetched. {error}\nCheck the connection and try again, or download it by other means "
            f"and place {listed(entry.files, 3)} in the folder {entry.folder} of your data folder (named by --data-dir)."
        ) from None


def _check_hashes(entry: Entry, folder: Path) -> None:
    for file, expected in entry.sha256.items():
        if (folder / file).is_file() and file_sha256(folder / file) != expected:
            raise DataError(
                f"The file {file} of {entry.name}, from {entry.url}, is not the one that was published: its sha256 is "
                f"{file_sha256(folder / file)}, expected {expected}. Nothing was kept; try again, or ask the dataset's authors."
            )

    for file in entry.unpublished:
        if (folder / file).exists():
            raise DataError(
                f"{entry.url} has a file {file} that is not part of the published {entry.name}. Nothing was kept; try again, or ask the "
                "dataset's authors."
            )


def file_sha256(path: Path) -> str:
    """The sha256 of a regular file, or of the target of a link.

    Raises:
        OSError: it does not exist, or is a folder, device or pipe, or a large file that consists of holes.
    """
    import pooch

    check_regular(path)
    return str(pooch.file_hash(str(path)))


def _put_files(arrived: Path, place: Path, last: Collection[str]) -> None:
    """Move the files below `arrived` to the same places below `place`.

    Args:
        last: files that `place` lacks. They are moved last, so that the folder is not complete before it has all files.
    """
    files = {path.relative_to(arrived).as_posix(): path for path in arrived.rglob("*") if path.is_file()}
    for name in sorted(files, key=lambda name: name in last):
        target = place / name
        refuse_links(target.parent, place)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and filecmp.cmp(files[name], target, shallow=False):
            continue
        if os.path.lexists(target):
            set_aside(target)
        os.replace(files[name], target)
