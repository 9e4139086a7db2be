"""Temporary folders, each with a lock beside it that shows that its process is alive. Those of processes that have ended are removed."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.utils.open_files import too_many_open

if TYPE_CHECKING:
    import filelock

#: What the names of temporary folders begin with, after a point.
_TEMPORARY = "dgl-mutual"
#: Attempts to acquire a lock.
_ATTEMPTS = 10


class TemporaryFolder:
    """A folder for temporary files. It is removed when this object is no longer used, or at the end of a ``with`` block.

    Attributes:
        name: its path, which a ``with`` statement gives.
    """

    def __init__(self) -> None:
        """Raises OSError where the folder cannot be made."""
        folder, lock = _new_name(Path(tempfile.gettempdir()))
        try:
            folder.mkdir(mode=0o700)
        except OSError:
            _remove(folder, lock)
            raise
        self.name = str(folder)
        self._lock = lock
        self._removal = weakref.finalize(self, _remove, folder, lock)

    def keep(self) -> None:
        """Let the folder stay. Without its lock, no other process takes it for one that was left behind."""
        if self._removal.detach() is not None:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def remove(self) -> None:
        """Remove the folder now, unless it is kept."""
        self._removal()

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __deepcopy__(self, _: object) -> TemporaryFolder:
        return self  # the folder goes once no copy is used

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            f"What is in the temporary folder {self.name!r} cannot be pickled, since the folder goes. Keep it first: save the experiment, "
            "experiment.save(FOLDER), and pickle dgl_mutual.Experiment.load(FOLDER), or make it with out=FOLDER."
        )


def temporary_folder() -> TemporaryFolder:
    """A folder for temporary files. Those that killed processes left behind are removed first.

    Raises:
        StoreError: the folder cannot be made.
    """
    try:
        _sweep(Path(tempfile.gettempdir()))
        return TemporaryFolder()
    except OSError as error:
        fix = too_many_open(error) or "Make room, or name a folder that you may write to with the environment's TMPDIR."
        raise StoreError(f"No folder for temporary files can be made: {error.strerror or error}. {fix}") from None


def _lock_of(scratch: Path) -> filelock.BaseFileLock:
    import filelock  # not where nothing is written

    return filelock.FileLock(scratch.with_name(f"{scratch.name}.lock"), timeout=0, thread_local=False)


def _new_name(parent: Path) -> tuple[Path, filelock.BaseFileLock]:
    """A path at which there is nothing yet, and its lock, already acquired: so a folder that is made there always has a locked lock.

    Between the creation of a lock's file and its locking, another process that sweeps may take it for one left behind. Then another path
    is tried.

    Raises:
        OSError: `parent` cannot be written to.
    """
    import filelock

    for attempt in range(_ATTEMPTS):
        scratch = parent / f".{_TEMPORARY}-{secrets.token_hex(8)}"
        lock = _lock_of(scratch)
        try:
            with suppress(NotImplementedError):  # a file system without locks
                lock.acquire()
        except filelock.Timeout:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            break
    return scratch, lock


def _remove(folder: Path, lock: filelock.BaseFileLock) -> None:
    """Remove a folder and the file of its lock, then release the lock: so no other process takes the folder for one left behind.

    Where the folder cannot be removed, the file of the lock stays, so that another process removes both.
    """
    _remove_with_lock(folder, Path(lock.lock_file))
    lock.release()


def _remove_with_lock(folder: Path, file: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        if not os.path.lexists(folder):
            file.unlink(missing_ok=True)


def _sweep(parent: Path) -> None:
    """Remove folders whose lock is free. One without a lock, or of another user, is not known to be ours, and stays."""
    for file in parent.glob(f".{_TEMPORARY}-*.lock"):
        with suppress(NotImplementedError, OSError):  # gone, held by a process (a timeout is an OSError), or a file system without locks
            if not _is_lock(file):
                continue
            with _lock_of(file.with_suffix("")):
                _remove_with_lock(file.with_suffix(""), file)


def _is_lock(file: Path) -> bool:
    """Whether a file can be a lock of this user's: those are empty, and no links."""
    status = file.lstat()
    return file.is_file() and not file.is_symlink() and not status.st_size and (os.name == "nt" or status.st_uid == os.getuid())
