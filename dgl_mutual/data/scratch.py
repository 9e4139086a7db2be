"""Temporary folders next to their destination. Those of processes that have ended are removed."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock


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
            shutil.rmtree(scratch, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held, so that no other process takes it for one left behind
            lock.release()
    finally:
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def _lock_of(scratch: Path) -> filelock.FileLock:
    return filelock.FileLock(scratch.with_name(f"{scratch.name}.lock"), timeout=0)


def _sweep(parent: Path, purpose: str) -> None:
    """Remove folders whose lock is free. A folder without a lock is not known to be ours, and stays."""
    for file in parent.glob(f".{purpose}-*.lock"):
        if file.is_symlink() or not file.is_file() or file.stat().st_size:  # a lock of ours is an empty file
            continue
        lock = _lock_of(file.with_suffix(""))
        with suppress(filelock.Timeout, NotImplementedError, OSError), lock:  # held by a process, or on a file system without locks
            shutil.rmtree(file.with_suffix(""), ignore_errors=True)
            file.unlink(missing_ok=True)
