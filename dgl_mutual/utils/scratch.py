"""Temporary folders, each with a lock file next to it that is held while its process is alive. Those of ended processes are removed."""

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

#: Prefix of the names of temporary folders, after a dot.
_TEMPORARY = "dgl-mutual"
#: Attempts to acquire a lock.
_ATTEMPTS = 10


class TemporaryFolder:
    """A folder for temporary files. It is removed when this object is no longer used, or at the end of a ``with`` block.

    Attributes:
        name: its path, the value of the ``with`` statement.
    """

    def __init__(self) -> None:
        """Raises OSError if the folder cannot be made."""
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
        """Keep the folder. Without a lock file, other processes do not consider it left behind."""
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
            f"An experiment in the temporary folder {self.name!r} cannot be pickled, since the folder will be removed. Save it first with "
            "experiment.save(FOLDER), and pickle dgl_mutual.Experiment.load(FOLDER), or make it with out=FOLDER."
        )


def temporary_folder() -> TemporaryFolder:
    """Make a folder for temporary files, after removing those that killed processes left behind.

    Raises:
        StoreError: the folder cannot be made.
    """
    try:
        _sweep(Path(tempfile.gettempdir()))
        return TemporaryFolder()
    except OSError as error:
        fix = too_many_open(error) or "Free disk space, or set the environment variable TMPDIR to a folder that you may write to."
        raise StoreError(f"No folder for temporary files can be made: {error.strerror or error}. {fix}") from None


def _lock_of(scratch: Path) -> filelock.BaseFileLock:
    import filelock  # only when something is written

    return filelock.FileLock(scratch.with_name(f"{scratch.name}.lock"), timeout=0, thread_local=False)


def _new_name(parent: Path) -> tuple[Path, filelock.BaseFileLock]:
    """Return an unused path, and its lock, already acquired: a folder at this path is locked from its creation on.

    Between the creation of a lock file and its locking, another process may treat it as left behind. Then another path is tried.

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
    """Remove a folder and its lock file, then release the lock, so that no other process treats the folder as left behind.

    If the folder cannot be removed, the lock file stays, so that another process removes both.
    """
    _remove_with_lock(folder, Path(lock.lock_file))
    lock.release()


def _remove_with_lock(folder: Path, file: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        if not os.path.lexists(folder):
            file.unlink(missing_ok=True)


def _sweep(parent: Path) -> None:
    """Remove folders whose lock is free. Folders without a lock file, or of another user, may not be ours, and stay."""
    for file in parent.glob(f".{_TEMPORARY}-*.lock"):
        with suppress(NotImplementedError, OSError):  # gone, held by a process (a timeout is an OSError), or a file system without locks
            if not _is_lock(file):
                continue
            with _lock_of(file.with_suffix("")):
                _remove_with_lock(file.with_suffix(""), file)


def _is_lock(file: Path) -> bool:
    """Whether a file can be a lock file of this user: empty, and not a link."""
    status = file.lstat()
    return file.is_file() and not file.is_symlink() and not status.st_size and (os.name == "nt" or status.st_uid == os.getuid())
