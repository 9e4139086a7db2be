"""Unpacking of untrusted archives: every member is checked before the first byte is written."""

from __future__ import annotations

import errno
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from dgl_mutual.errors import DataError

#: Far above any dataset of the catalog: the largest unpacks to about 2 GB in a few dozen files.
MAX_BYTES = 8 * 1024**3
MAX_MEMBERS = 10_000
#: The same for the ratio: datasets unpack to some twenty times the size of their archive at most.
SMALL, MAX_RATIO = 1 << 25, 250


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip archive into the empty folder `target`.

    Raises:
        DataError: the archive is damaged, holds a path that leads outside, a link, an encrypted or special file or one in an unusual codec,
            or unpacks to more than `MAX_BYTES` or `MAX_MEMBERS`, far more than its own size, or more than fits the disk.
        OSError: it cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _check_members(archive, members)
            if sum(member.file_size for member in members) > (room := shutil.disk_usage(archive.parent).free):
                raise DataError(f"The archive {archive.name} does not fit the disk, which has room for {room} bytes. Make room on it.")
            for member in members:
                opened.extract(member, target)
    except Exception as error:  # zipfile and the codecs can fail in any way on damaged archives
        if isinstance(error, DataError | MemoryError) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
            raise  # EINVAL: an impossible offset in the archive
        raise DataError(f"The archive {archive.name} is truncated or damaged ({type(error).__name__}: {error}). Fetch it again.") from None


def _check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    # zipfile never writes more than the declared size of a member, so the declared sizes are an upper bound.
    size = sum(member.file_size for member in members)
    most = min(MAX_BYTES, SMALL + MAX_RATIO * archive.stat().st_size)
    if len(members) > MAX_MEMBERS or size > most:
        limits = f"at most {MAX_MEMBERS} files and {most} bytes"
        raise DataError(
            f"The archive {archive.name} is refused: it would unpack to {len(members)} files and {size} bytes; {limits} are expected."
        )
    for member in members:
        if (fault := _fault_of(member)) is not None:
            raise DataError(f"The archive {archive.name} is refused: its member {member.filename!r} is {fault}. Nothing was unpacked.")
    files = [PurePosixPath(member.filename) for member in members if not member.is_dir()]
    folders = {PurePosixPath(member.filename) for member in members if member.is_dir()}
    folders.update(parent for path in (*files, *folders) for parent in path.parents)
    if len(set(files)) < len(files) or folders.intersection(files):
        raise DataError(f"The archive {archive.name} is refused: it holds the same file twice, or a file in a file. Nothing was unpacked.")


def _fault_of(member: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in member.orig_filename or ":" in member.filename:
        return "a path that leads outside the folder"
    if not path.parts and not member.is_dir():
        return "a file without a name"
    if kind == stat.S_IFLNK:
        return "a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a special file"
    if member.flag_bits & 0x1:
        return "encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "compressed in a way that no dataset uses"
    if any(len(part.encode(errors="replace")) > 255 for part in path.parts) or len(path.parts) > 32:
        return "a path that is too long"
    return None
