"""Locks of result folders, in which one process works at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filelock

from dgl_mutual.errors import StoreError
from dgl_mutual.utils.files import removed, unwritable, watching


@contextmanager
def lock(folder: Path, *, linked: bool = False) -> Iterator[Callable[[], bool]]:
    """Lock a folder, which is created if necessary. If it is empty at the end, it is removed with the parents created for it.

    Yields a function that tells whether the folder is still the one that was locked.

    Args:
        linked: whether the folder may be a link, as one named by the user may be.

    Raises:
        StoreError: the folder cannot be written, is locked by another process, or was removed or replaced meanwhile.
    """
    file = folder / ".lock"
    if (folder.is_symlink() and not linked) or file.is_symlink():
        raise StoreError(
            f"{str(file if file.is_symlink() else folder)!r} is a link, so files written there would be elsewhere. "
            "Name the folder that it leads to with --out, or remove the link."
        )
    held = filelock.FileLock(file)
    created_parents = [parent for parent in folder.parents if not parent.exists()]
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.acquire(timeout=0)
            stack.callback(held.release)
            is_there = stack.enter_context(watching(folder))
        except filelock.Timeout:
            raise StoreError(
                f"Another process is working in {str(folder)!r}. Wait for it to end, or choose another folder with --out."
            ) from None
        except (OSError, NotImplementedError) as error:  # the latter where the file system knows no locks
            raise unwritable(folder, error) from None
        try:
            yield is_there
            if not is_there():
                raise removed(folder)
        finally:
            if is_there() and [*folder.iterdir()] in ([], [file]):
                shutil.rmtree(folder, ignore_errors=True)  # before the release, so that no waiting process locks a folder that is removed
                with suppress(OSError):  # another run has put something there
                    for parent in created_parents:
                        parent.rmdir()
