"""Atomic writes, and size-limited reads of untrusted files."""

from __future__ import annotations

import errno
import itertools
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.utils.open_files import too_many_open
from dgl_mutual.utils.paths import misread_names, refuse_links

#: Error numbers: disk full, quota exceeded, file too large.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Suffix of temporary files, after a random part and the process ID; no other program uses it.
_TEMPORARY = ".dgl-mutual.tmp"
#: Name of a folder while another takes its place. It contains the original name, which `sweep` can restore.
_ASIDE = re.compile(rf"\.[0-9a-f]{{16}}\.before\.(?P<name>.+){re.escape(_TEMPORARY)}")
#: Name of a file or folder that a process is writing.
_WRITTEN = re.compile(rf"\.[0-9a-f]{{16}}\.(?P<process>[0-9]+){re.escape(_TEMPORARY)}")
#: Age in seconds after which temporary files count as left behind by a killed process, on this machine or another that shares the disk.
_ABANDONED = 24 * 3600
#: Open streams of a process, and the folders that list them. Links there may lead to regular files.
_STREAMS, _STREAM_FOLDERS = ("/dev/stdin", "/dev/stdout", "/dev/stderr"), ("/dev/fd", "/proc")
#: Files above this size in bytes are checked for holes: a sparse file of a terabyte takes no space on a disk.
_LARGE = 1 << 26


@contextmanager
def replacing(path: Path, *, within: Path | None = None, durable: bool = True) -> Iterator[Path]:
    """Yield a unique temporary path next to `path` for a file or folder, which replaces `path` at the end of the block if it succeeds.

    If a folder is replaced, entries that only the old one has, such as a user's notes, are kept.

    Args:
        within: the only folder to write to: links below it are not followed. It must exist: if it was moved away, a new folder would
            prevent moving it back.
        durable: flush to the disk before replacing `path`.

    Raises:
        StoreError: writing fails, a file would replace a folder or the reverse, there is a link within `within`, or `within` does not
            exist.
    """
    if within is not None:
        if not within.is_dir():
            raise removed(within)
        refuse_links(path.parent, within)
    try:
        with unfinished(path) as temporary:
            yield temporary
            if temporary.is_dir() and path.is_dir() and not path.is_symlink():
                _keep_missing(path, temporary)
            for written in [*temporary.rglob("*"), temporary] if durable else ():
                if not written.is_symlink() and (written.is_file() or written.is_dir()):
                    _sync(written)
            _put(temporary, path)
            if durable:
                _sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from None


def refuse_taken(folder: Path) -> None:
    """Raise UsageError if the path of a new folder exists, also as an empty folder, whose permissions and links would be lost."""
    if os.path.lexists(folder):
        raise UsageError(f"{str(folder)!r} exists, and nothing is overwritten. Remove it, or choose another folder with --out.")


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Yield a unique temporary path next to `path` for a file or folder, which is removed at the end of the block unless it was moved.

    Files that killed processes left behind at least a day ago are removed first (see `sweep`).
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.{os.getpid()}{_TEMPORARY}")
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            _remove(temporary)


def _keep_missing(source: Path, target: Path) -> None:
    """Copy the entries that only `source` has into the folder `target`, as hard links if the file system supports them."""
    for entry in source.iterdir():
        if os.path.lexists(target / entry.name) or entry.name.endswith(_TEMPORARY):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, target / entry.name, symlinks=True, copy_function=_link_or_copy)
        else:
            _link_or_copy(entry, target / entry.name)


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    """Try a hard link first: a copy would fill the holes of a sparse file, and a pipe cannot be copied."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def _put(temporary: Path, path: Path) -> None:
    """Replace `path` by `temporary`. A folder that was at `path` ends up at `temporary`; the caller removes it."""
    if path.is_symlink() or not path.exists():
        if path.is_symlink() and temporary.is_dir():
            path.unlink()
        os.replace(temporary, path)
    elif path.is_dir() != temporary.is_dir():
        kind = "a folder" if path.is_dir() else "a file"
        raise StoreError(f"Cannot write {str(path)!r}: {kind} of that name exists. Move it away, or choose another path.")
    elif path.is_dir():
        aside = path.with_name(f".{secrets.token_hex(8)}.before.{path.name}{_TEMPORARY}")
        os.replace(path, aside)
        try:
            os.replace(temporary, path)
        except BaseException:
            os.replace(aside, path)
            raise
        # From here on, a killed process leaves a folder that is removed: under its other name, `sweep` would restore half a folder.
        os.replace(aside, temporary)
    else:
        shutil.copymode(path, temporary)
        os.replace(temporary, path)


def write_text(path: Path, text: str, *, within: Path | None = None) -> None:
    """Write `text` to `path` atomically; see `replacing`.

    Raises:
        StoreError: writing fails, or `path` is a folder.
    """
    if path.is_dir():
        raise StoreError(f"Cannot write {str(path)!r}: it is a folder. Move it away, or rename it.")
    with replacing(path, within=within) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def is_special(path: Path) -> bool:
    """Whether `path` is written to rather than replaced: a device, a pipe, a stream such as ``/dev/stdout``."""
    absolute = os.path.abspath(path)
    if absolute in _STREAMS or any(absolute.startswith(f"{folder}/") for folder in _STREAM_FOLDERS):
        return True
    with suppress(OSError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def check_writable(folder: Path) -> None:
    """Check that files can be written below `folder`, which need not exist yet, without leaving any.

    Raises:
        StoreError: they cannot.
    """
    try:
        nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".dgl-mutual-"):
            pass
    except OSError as error:
        raise unwritable(folder, error) from None


class RefusedFile(OSError):
    """A file that is refused without reading it; the message is the reason."""

    def __str__(self) -> str:
        return str(self.args[0])


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Raises:
        RefusedFile: it is a folder, device, pipe or socket, or a large file that consists of holes.
        OSError: it does not exist, or cannot be opened.
    """
    try:
        _refuse_other(path.stat())  # before opening, which can have effects on a device
    except ValueError as error:  # a zero character in the name
        raise RefusedFile(misread_names(path) or f"no file can have this name ({error})") from None
    # It may have been replaced since. Without O_NONBLOCK, opening a pipe waits for a writer.
    opened = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)), "rb")
    try:
        status = os.fstat(opened.fileno())
        _refuse_other(status)
        if status.st_size > _LARGE and 2 * _written(opened.fileno(), status.st_size) < status.st_size:
            raise RefusedFile(f"most of its {status.st_size} bytes are holes, which were never written")
    except BaseException:
        opened.close()
        raise
    return opened


def _written(descriptor: int, size: int) -> int:
    """Number of bytes outside of holes; the size if the file system does not report holes."""
    end = total = 0
    try:
        while end < size and 2 * total < size:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            total += end - start
    except OSError as error:
        if total == 0 and error.errno != errno.ENXIO:  # ENXIO: there is no more data
            total = size
    os.lseek(descriptor, 0, os.SEEK_SET)
    return total


def _refuse_other(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusedFile(f"it is not a file but a {'folder' if stat.S_ISDIR(status.st_mode) else 'device, a pipe or a socket'}")


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file, or of a link to one.

    Args:
        most: maximum size in bytes.

    Raises:
        OSError: it is a folder, device or pipe, consists of holes, is larger, or cannot be read.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        # Python allocates as much as it is asked to read. Files in /proc and /sys report a size of 0.
        content = stream.read(min(size or _LARGE, most) + 1) if size <= most else b""
    if size > most or len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    return content


def check_regular(path: Path) -> None:
    """Check that `path` is a file, or a link to one, before a library opens it by name.

    Raises:
        OSError: it does not exist, or is a folder, device or pipe, or a large file that consists of holes.
    """
    open_regular(path).close()


def sweep(folder: Path, *, seconds: float = _ABANDONED) -> None:
    """Clean up entries of `folder` that `replacing` left behind in killed processes.

    A folder that was moved aside is moved back if its path is still free. Temporary files and folders of at least this age are removed.
    Unless the age is 0, those that a running process of this machine may still be writing are kept, since the clock may have been set
    forward.
    """
    with suppress(OSError):
        for entry in folder.glob(f".*{_TEMPORARY}"):
            with suppress(OSError):
                aside = _ASIDE.fullmatch(entry.name)
                if aside is not None and not os.path.lexists(folder / aside["name"]):
                    entry.rename(folder / aside["name"])
                elif time.time() - entry.lstat().st_mtime >= seconds and not (seconds and _is_being_written(entry.name)):
                    _remove(entry)


def _is_being_written(name: str) -> bool:
    """Whether the process that began to write a temporary file is still running, or another one has its ID."""
    written = _WRITTEN.fullmatch(name)
    if written is None or os.name == "nt":  # signal 0 has an effect on Windows
        return False
    try:
        os.kill(int(written["process"]), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def remove_files(folder: Path, names: str = "") -> None:
    """Remove some files from a folder, and the folder itself if it is then empty. It need not exist.

    Temporary files of killed processes are also removed.

    Args:
        names: a regular expression that matches the full names of the files.
    """
    sweep(folder, seconds=0)
    for file in [*folder.iterdir()] if folder.is_dir() else ():
        if re.fullmatch(names, file.name):
            with suppress(OSError):
                file.unlink()
    with suppress(OSError):
        folder.rmdir()


def set_aside(path: Path) -> None:
    """Rename a file or folder that cannot be used, so that something else can take its place: ``NAME.damaged``, ``NAME.damaged-2``, ...

    Raises:
        StoreError: it cannot be renamed.
    """
    places = (path.with_name(f"{path.name}.damaged{'' if number == 1 else f'-{number}'}") for number in itertools.count(1))
    try:
        os.replace(path, next(place for place in places if not os.path.lexists(place)))
    except OSError as error:
        raise unwritable(path, error) from None


@contextmanager
def watching(path: Path) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a file or folder is still the same: not removed, moved or replaced.

    Raises:
        OSError: it cannot be opened.
    """
    # It is kept open, since a new file may get the inode number of a removed one. Windows cannot open folders, and reuses no numbers.
    descriptor = None if os.name == "nt" else os.open(path, os.O_RDONLY)
    before = path.stat()

    def is_there() -> bool:
        with suppress(OSError):
            return os.path.samestat(path.stat(), before)
        return False

    try:
        yield is_there
    finally:
        if descriptor is not None:
            os.close(descriptor)


def removed(path: Path) -> StoreError:
    """The error for a file or folder that disappeared while a command wrote its results there; see `watching`."""
    return StoreError(
        f"{str(path)!r} was removed, moved or replaced while this command wrote its results there. Put it back if you can; the "
        "same command then completes the rest."
    )


def unwritable(path: Path, error: OSError | NotImplementedError) -> StoreError:
    """The error for a path that cannot be written. filelock raises NotImplementedError on a file system without locks."""
    number = error.errno if isinstance(error, OSError) else None
    path = next((parent.parent for parent in reversed((path, *path.parents)) if parent.name.endswith(_TEMPORARY)), path)
    hint = too_many_open(error) or "Choose another place that you may write to."
    if number in _FULL:
        hint = "Make room on the disk; what was finished is kept."
    elif number == errno.ENAMETOOLONG:
        hint = "Choose a shorter name."
    return StoreError(f"Cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}. {hint}")


def unreadable(path: Path) -> str:
    """The message for a file or folder that cannot be read because of its permissions: it is not damaged."""
    mode = "u+rx" if path.is_dir() else "u+r"
    return f"{str(path)!r} cannot be read: Permission denied. Change its permissions, for example with chmod {mode}."


def _sync(path: Path) -> None:
    if os.name == "nt":  # Windows cannot fsync folders, or files opened for reading
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
