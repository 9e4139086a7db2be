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
from dgl_mutual.utils.paths import refuse_links

#: Error numbers: disk full, quota exceeded, file too large.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: The end of the name of what is being written, after a random part and the number of the process; no other program gives a file such a
#: name.
_TEMPORARY = ".dgl-mutual.tmp"
#: What a folder is called while another takes its place. Its own name is in it, so that `sweep` can give it back.
_ASIDE = re.compile(rf"\.[0-9a-f]{{16}}\.before\.(?P<name>.+){re.escape(_TEMPORARY)}")
#: What is being written, by which process.
_WRITTEN = re.compile(rf"\.[0-9a-f]{{16}}\.(?P<process>[0-9]+){re.escape(_TEMPORARY)}")
#: Seconds after which something temporary is what a killed process left behind, on this machine or another that shares the disk.
_ABANDONED = 24 * 3600
#: What a process has open, and the folders of that. Links there may lead to regular files.
_STREAMS, _STREAM_FOLDERS = ("/dev/stdin", "/dev/stdout", "/dev/stderr"), ("/dev/fd", "/proc")
#: Files above this size are examined for holes: a file of a terabyte of zeros takes no space on a disk.
_LARGE = 1 << 26


@contextmanager
def replacing(path: Path, *, within: Path | None = None, durable: bool = True) -> Iterator[Path]:
    """A unique name beside `path` to write a file or folder to; it takes the place of `path` once the block has ended well.

    What a folder in that place has and the new one has not, such as a user's notes, stays.

    Args:
        within: a folder that nothing may be written outside of: no link below it is followed. It must be there: where it was moved away,
            a new one in its place would be in the way of its return.
        durable: have it on the disk, and not only in its cache, before it takes the place.

    Raises:
        StoreError: the disk does not take it, a file would replace a folder or the reverse, there is a link within `within`, or that is
            gone.
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
    """Raise UsageError where something is in the place of a folder that is to be made, but for an empty folder."""
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{str(folder)!r} exists, and nothing is overwritten. Remove it, or choose another folder with --out.")


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A unique name beside `path` for a file or folder that is made there. What has not been moved at the end of the block is removed.

    What killed processes left behind a day ago, or earlier, is removed first (see `sweep`).
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
    """Copy into the folder `target` what only `source` has, as hard links where the file system supports them."""
    for entry in source.iterdir():
        if os.path.lexists(target / entry.name) or entry.name.endswith(_TEMPORARY):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, target / entry.name, symlinks=True, copy_function=_link_or_copy)
        else:
            _link_or_copy(entry, target / entry.name)


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    """Hard link first: a copy would fill the holes of a sparse file, and a pipe cannot be copied."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def _put(temporary: Path, path: Path) -> None:
    """Replace `path` by `temporary`. A folder that was at `path` is at `temporary` then, and is to be removed."""
    if path.is_symlink() or not path.exists():
        if path.is_symlink() and temporary.is_dir():
            path.unlink()
        os.replace(temporary, path)
    elif path.is_dir() != temporary.is_dir():
        kind = "a folder" if path.is_dir() else "a file"
        raise StoreError(f"Cannot write {str(path)!r}: {kind} of that name is there. Move it away, or name another place.")
    elif path.is_dir():
        aside = path.with_name(f".{secrets.token_hex(8)}.before.{path.name}{_TEMPORARY}")
        os.replace(path, aside)
        try:
            os.replace(temporary, path)
        except BaseException:
            os.replace(aside, path)
            raise
        # What a kill leaves of it from here on is removed: under its other name `sweep` would give back half a folder.
        os.replace(aside, temporary)
    else:
        shutil.copymode(path, temporary)
        os.replace(temporary, path)


def write_text(path: Path, text: str, *, within: Path | None = None) -> None:
    """Put `text` in the place of `path`, whole; see `replacing`.

    Raises:
        StoreError: the disk does not take it, or a folder is there already.
    """
    if path.is_dir():
        raise StoreError(f"Cannot write {str(path)!r}: it is a folder. Move it away, or rename it.")
    with replacing(path, within=within) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def is_special(path: Path) -> bool:
    """Whether `path` is a device, a pipe, or anything else that takes bytes and is not a file to be replaced, such as ``/dev/stdout``."""
    absolute = os.path.abspath(path)
    if absolute in _STREAMS or any(absolute.startswith(f"{folder}/") for folder in _STREAM_FOLDERS):
        return True
    with suppress(OSError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def check_writable(folder: Path) -> None:
    """Make sure, leaving no trace, that files can be written below `folder`, which need not exist yet.

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
    """A file that is not read at all; the message is the rule that it breaks."""

    def __str__(self) -> str:
        return str(self.args[0])


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or what a link to one leads to, for reading.

    Raises:
        RefusedFile: it is a folder, device, pipe or socket, or a large file that consists of holes.
        OSError: it is not there, or cannot be opened.
    """
    try:
        _refuse_other(path.stat())  # before it is opened: opening a device may already do something
    except ValueError as error:  # a zero character in the name
        raise RefusedFile(f"no file can have this name ({error})") from None
    # It may have been replaced since. Opening a pipe waits for a writer unless this is asked for.
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
    """Bytes outside of holes; all of them where the file system does not know."""
    end = total = 0
    try:
        while end < size and 2 * total < size:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            total += end - start
    except OSError as error:
        if total == 0 and error.errno != errno.ENXIO:  # ENXIO: there are no data any more
            total = size
    os.lseek(descriptor, 0, os.SEEK_SET)
    return total


def _refuse_other(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusedFile(f"it is not a file but a {'folder' if stat.S_ISDIR(status.st_mode) else 'device, a pipe or a socket'}")


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file, or of what a link to one leads to.

    Args:
        most: bytes that it may have.

    Raises:
        OSError: it is a folder, device or pipe, consists of holes, is larger, or cannot be read.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        # Python takes memory for all that it is asked to read. Files of /proc and /sys say that they have no bytes.
        content = stream.read(min(size or _LARGE, most) + 1) if size <= most else b""
    if size > most or len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    return content


def check_regular(path: Path) -> None:
    """Make sure that `path` is a file, or a link to one, before a library opens it by name.

    Raises:
        OSError: it is not there, or is a folder, device or pipe, or a large file that consists of holes.
    """
    open_regular(path).close()


def sweep(folder: Path, *, seconds: float = _ABANDONED) -> None:
    """Clean up what `replacing` of killed processes left behind right below `folder`.

    A folder that was moved aside, and whose place is still empty, goes back there. Temporary files and folders of that age at least are
    removed. Unless the age is 0, what a living process of this machine may still be writing stays, since the clock may have been set
    forward.
    """
    with suppress(OSError):
        for found in folder.glob(f".*{_TEMPORARY}"):
            with suppress(OSError):
                aside = _ASIDE.fullmatch(found.name)
                if aside is not None and not os.path.lexists(folder / aside["name"]):
                    found.rename(folder / aside["name"])
                elif time.time() - found.lstat().st_mtime >= seconds and not (seconds and _is_being_written(found.name)):
                    _remove(found)


def _is_being_written(name: str) -> bool:
    """Whether the process that began to write something temporary is still there, or another has its number."""
    written = _WRITTEN.fullmatch(name)
    if written is None or os.name == "nt":  # a signal of number 0 would do something there
        return False
    try:
        os.kill(int(written["process"]), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def remove_files(folder: Path, names: str = "") -> None:
    """Remove some files from a folder, and the folder itself if it has nothing else. It need not be there.

    What killed processes left half-written goes, too.

    Args:
        names: a regular expression of the whole names of the files.
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
    """A function that says whether a file or folder is still the one that it was, and was not removed, moved or replaced.

    Raises:
        OSError: it cannot be opened.
    """
    # It is kept open, since a new file may be given the number of one that was removed. Windows opens no folders, and uses no number twice.
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
    """The error for a file or folder that went while a command kept its results there; see `watching`."""
    return StoreError(
        f"{str(path)!r} was removed, moved or replaced while this command kept its results there. Put it back if you can; the same command "
        "then does what is missing."
    )


def unwritable(path: Path, error: OSError | NotImplementedError) -> StoreError:
    """The error for a path that cannot be written. NotImplementedError is how filelock says that a file system knows no locks."""
    number = error.errno if isinstance(error, OSError) else None
    path = next((parent.parent for parent in reversed((path, *path.parents)) if parent.name.endswith(_TEMPORARY)), path)
    hint = too_many_open(error) or "Choose another place that you may write to."
    if number in _FULL:
        hint = "Make room on the disk; what was finished is kept."
    elif number == errno.ENAMETOOLONG:
        hint = "Choose a shorter name."
    return StoreError(f"Cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}. {hint}")


def unreadable(path: Path) -> str:
    """The message for a file or folder that only its permissions keep from being read: it is not damaged."""
    mode = "u+rx" if path.is_dir() else "u+r"
    return f"{str(path)!r} cannot be read: Permission denied. Change its permissions, for example with chmod {mode}."


def _sync(path: Path) -> None:
    if os.name == "nt":  # no fsync of folders and files that are open for reading there
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
