"""Unpacking an archive that need not be trusted: every member is checked before the first byte is written."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from dgl_mutual.errors import DataError

#: No dataset of the catalog comes near: the largest unpacks to about 2 GB, in some dozen files.
MAX_BYTES = 8 * 1024**3
MAX_MEMBERS = 10_000


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip archive into the empty folder `target`.

    Raises:
        DataError: the archive is damaged, holds a path that leads outside, a link, an encrypted or special file, or unpacks to more than
            `MAX_BYTES` or `MAX_MEMBERS`.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _check_members(archive, members)
            for member in members:
                opened.extract(member, target)
    # NotImplementedError is how zipfile refuses a compression that it does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise DataError(f"The archive {archive.name} is truncated or damaged ({error}). Fetch it again.") from None


def _check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    # zipfile never writes more than the declared size of a member, so the declared sizes bound what is written.
    size = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or size > MAX_BYTES:
        limits = f"at most {MAX_MEMBERS} files and {MAX_BYTES} bytes"
        raise DataError(
            f"The archive {archive.name} is refused: it would unpack to {len(members)} files and {size} bytes, {limits} are expected."
        )
    for member in members:
        reason = _refusal(member)
        if reason is not None:
            raise DataError(f"The archive {archive.name} is refused: its member {member.filename!r} is {reason}. Nothing was unpacked.")


def _refusal(member: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in member.orig_filename or ":" in member.filename:
        return "a path that leads outside the folder"
    if kind == stat.S_IFLNK:
        return "a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a special file"
    if member.flag_bits & 0x1:
        return "encrypted"
    return None
