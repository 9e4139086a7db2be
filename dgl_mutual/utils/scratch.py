"""Temporary folders, each with a lock beside it that shows that its process is alive. Those of processes that have ended are removed."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dgl_mutual.errors import StoreError
from dgl_mutual.utils.open_files import too_many_open

if TYPE_CHECKING:
    import filelock

#: What the names of temporary folders begin with, after a point.
_TEMPORARY = "dgl-mutual"


@contextmanager
def scratch_folder(parent: Path, purpose: str) -> Iterator[Path]:
    """A folder ``.<purpose>-<random>`` in `parent`, so that moving it or its content into place is one atomic step.

    A lock beside it shows that its process is alive. Folders of the same purpose that killed processes left are removed first. `parent`,
    and the folders made above it, are removed if they are still empty.

    Raises:
        OSError: `parent` cannot be made or written to.
    """
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    try:
        _sweep(parent, purpose)
        scratch = parent / f".{purpose}-{secrets.token_hex(8)}"
        lock = _lock_of(scratch)
        with suppress(NotImplementedError):  # a file system without locks
            lock.acquire()
        try:
            scratch.mkdir()
            yield scratch
        finally:
            _remove(scratch, lock)
    finally:
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for temporary files, which goes when it is no longer used. Those that killed processes left behind go before.

    Raises:
        StoreError: there is no place for one.
    """
    try:
        _sweep(Path(tempfile.gettempdir()), _TEMPORARY)
        folder = tempfile.TemporaryDirectory(prefix=f".{_TEMPORARY}-", ignore_cleanup_errors=True)
        lock = _lock_of(Path(folder.name))
        try:
            with suppress(NotImplementedError):  # a file system without locks
                lock.acquire()
        except OSError:
            os.rmdir(folder.name)  # its own removal would open it, as may be what failed here
            raise
        weakref.finalize(folder, _remove, Path(folder.name), lock)
        return folder
    except OSError as error:
        mend = too_many_open(error) or "Make room, or name a folder that you may write to with the environment's TMPDIR."
        raise StoreError(f"No folder for temporary files can be made: {error.strerror or error}. {mend}") from None


def _lock_of(scratch: Path) -> filelock.BaseFileLock:
    import filelock  # not where nothing is written

    return filelock.FileLock(scratch.with_name(f"{scratch.name}.lock"), timeout=0, thread_local=False)


def _remove(folder: Path, lock: filelock.BaseFileLock) -> None:
    """Remove a folder and its lock while that is held, so that no other process takes it for one left behind, and let it go.

    Where the folder cannot be removed, the file of the lock stays, so that another process removes both.
    """
    _remove_with_lock(folder, Path(lock.lock_file))
    lock.release()


def _remove_with_lock(folder: Path, file: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        if not os.path.lexists(folder):
            file.unlink(missing_ok=True)


def _sweep(parent: Path, purpose: str) -> None:
    """Remove folders whose lock is free. One without a lock, or of another user, is not known to be ours, and stays."""
    for file in parent.glob(f".{purpose}-*.lock"):
        with suppress(NotImplementedError, OSError):  # gone, held by a process (a timeout is an OSError), or a file system without locks
            if not _is_lock(file):
                continue
            with _lock_of(file.with_suffix("")):
                _remove_with_lock(file.with_suffix(""), file)


def _is_lock(file: Path) -> bool:
    """Whether a file can be a lock of this user's: those are empty, and no links."""
    status = file.lstat()
    return file.is_file() and not file.is_symlink() and not status.st_size and (os.name == "nt" or status.st_uid == os.getuid())
