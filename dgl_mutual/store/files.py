"""Writing so that a file is either there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dgl_mutual.errors import StoreError

#: No room: the disk's, the user's, or what a process may write into one file.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file or folder to; it takes the place of `path` once the block has ended well.

    Raises:
        StoreError: the disk does not take it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        yield temporary
        for written in [*temporary.rglob("*"), temporary]:
            _sync(written)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        with suppress(OSError):
            _remove(temporary)


def write_text(path: Path, text: str) -> None:
    """Put `text` in the place of `path`, whole.

    Raises:
        StoreError: the disk does not take it, or a folder is there already.
    """
    if path.is_dir():
        raise StoreError(f"Cannot write {str(path)!r}: it is a folder. Name a file, for example one in it.")
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_writable(folder: Path) -> None:
    """Make sure, leaving no trace, that files can be written below `folder`, which need not exist yet.

    Raises:
        StoreError: they cannot.
    """
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".dgl-mutual-"):
            pass
    except OSError as error:
        raise unwritable(folder, error) from None


def unwritable(path: Path, error: OSError | NotImplementedError) -> StoreError:
    """The error for a path that cannot be written. NotImplementedError is how filelock says that a file system knows no locks."""
    full = isinstance(error, OSError) and error.errno in _FULL
    mend = "Make room on the disk; what was finished is kept." if full else "Choose a folder that you may write to with --out."
    return StoreError(f"Cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}. {mend}")


def _sync(path: Path) -> None:
    if os.name == "nt":  # no fsync of folders and files that are open for reading there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
