"""Opening untrusted files: regular files only, and no more memory than their real size justifies."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dgl_mutual.data.faults import MISSING_FILE
from dgl_mutual.utils.files import RefusedFile, open_regular

if TYPE_CHECKING:
    from dgl_mutual.data.faults import Faults

#: A compressed file may decompress to this many bytes, and to this many more for each byte of its size. Numbers in text, or the sorted
#: labels of a binary task, decompress to up to 50 times their size; a file made to exhaust memory to 1,000 times.
MAX_DECOMPRESSED, MAX_RATIO = 1 << 24, 200

#: What a damaged or foreign file makes gzip and the text decoder raise.
UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        RefusedFile: it is missing, a folder, a device, a pipe, or a large file that consists of holes.
        OSError: the operating system refuses it.
    """
    try:
        return open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise RefusedFile(f"it is a link to {os.readlink(path)}, and no file is there: fetch that file, or remove the link") from None
        raise RefusedFile(MISSING_FILE) from None


def is_file(path: Path, faults: Faults) -> bool:
    """Whether `path` can be opened by `open_file`; records why not."""
    try:
        open_file(path).close()
    except RefusedFile as error:
        faults.add(path, str(error))
    except OSError as error:
        faults.add(path, f"the file cannot be opened ({error.strerror or error})")
    else:
        return True
    return False


@contextmanager
def open_content(path: Path) -> Iterator[BinaryIO]:
    """A regular file, decompressed where its name ends in ``.gz``, for reading from its start.

    Raises:
        OSError: as `open_file`. Reading raises any of `UNREADABLE`, and RefusedFile where it decompresses to more than its size justifies.
    """
    with open_file(path) as opened:
        if path.suffix != ".gz":
            yield opened
        else:
            with gzip.GzipFile(fileobj=opened) as decompressed:
                yield io.BufferedReader(_Bounded(decompressed, os.fstat(opened.fileno()).st_size), 1 << 18)


class _Bounded(io.RawIOBase):
    """A stream that ends with an error where a file of `size` bytes has decompressed to too much."""

    def __init__(self, decompressed: gzip.GzipFile, size: int) -> None:
        self._decompressed, self._left = decompressed, MAX_DECOMPRESSED + MAX_RATIO * size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io names the type of any buffer
        count = self._decompressed.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise RefusedFile(f"the file decompresses to more than {MAX_RATIO} times its size")
        return count


def read_text(path: Path, most: int) -> str:
    """A whole file as text (UTF-8).

    Raises:
        RefusedFile: as `open_file`, or it has more than `most` bytes.
        OSError, UnicodeDecodeError: it cannot be read, or is not text.
    """
    with open_file(path) as opened:
        if os.fstat(opened.fileno()).st_size > most:
            raise RefusedFile(f"expected at most {most} bytes")
        return opened.read().decode()
