"""Opening of untrusted files: regular files only, and no more memory than their size justifies."""

from __future__ import annotations

import errno
import gzip
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dgl_mutual.data.values.faults import MISSING_FILE
from dgl_mutual.errors import DglMutualError, shortened
from dgl_mutual.utils.files import RefusedFile, open_regular
from dgl_mutual.utils.paths import misread_names

if TYPE_CHECKING:
    from dgl_mutual.data.values.faults import Faults

#: A compressed file may decompress to this many bytes, and to this many more for each byte of its size. Numbers in text, or the sorted
#: labels of a binary task, decompress to up to 50 times their size; a file made to exhaust memory to 1,000 times.
MAX_DECOMPRESSED, MAX_RATIO = 1 << 24, 200


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
            raise RefusedFile(f"it is a link to {os.readlink(path)}, which does not exist: fetch that file, or remove the link") from None
        raise RefusedFile(misread_names(path) or MISSING_FILE) from None


@contextmanager
def recording(path: Path, faults: Faults, rule: str) -> Iterator[None]:
    """Record errors of the block as faults of a file: the reason of a `RefusedFile`, or `rule` for any other error.

    Damaged and foreign files can make a parser fail in any way. Running out of memory is not a fault of the file.
    """
    try:
        yield
    except RefusedFile as error:
        faults.add(path, str(error))
    except Exception as error:
        if isinstance(error, MemoryError | DglMutualError | Warning) or getattr(error, "errno", None) == errno.ENOMEM:
            raise
        if isinstance(error, OSError) and error.errno is not None:
            faults.add(path, f"the file cannot be opened or read ({error.strerror})")
        else:
            faults.add(path, f"{rule} ({type(error).__name__}: {shortened(error, 200)})")


@contextmanager
def open_content(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading, decompressed if its name ends in ``.gz``.

    Raises:
        OSError: as `open_file`. Reading a damaged file raises OSError, EOFError or zlib.error, and one that decompresses to more than its
            size justifies RefusedFile.
    """
    with open_file(path) as opened:
        if path.suffix != ".gz":
            yield opened
        else:
            with gzip.GzipFile(fileobj=opened) as decompressed:
                yield io.BufferedReader(_Bounded(decompressed, os.fstat(opened.fileno()).st_size), 1 << 18)


class _Bounded(io.RawIOBase):
    """A stream that raises an error after too many bytes for a compressed file of `size` bytes."""

    def __init__(self, decompressed: gzip.GzipFile, size: int) -> None:
        self._decompressed, self._remaining = decompressed, MAX_DECOMPRESSED + MAX_RATIO * size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io names the type of any buffer
        count = self._decompressed.readinto(buffer)
        self._remaining -= count
        if self._remaining < 0:
            raise RefusedFile(f"the file decompresses to more than {MAX_RATIO} times its size")
        return count


def read_text(path: Path, most: int) -> str:
    """Read a file as text (UTF-8).

    Raises:
        RefusedFile: as `open_file`, or it has more than `most` bytes.
        OSError, UnicodeDecodeError: it cannot be read, or is not text.
    """
    with open_file(path) as opened:
        if os.fstat(opened.fileno()).st_size > most:
            raise RefusedFile(f"expected at most {most} bytes")
        return opened.read().decode()
