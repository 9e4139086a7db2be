"""Writing of results to files that users name, such as exported tables and predictions."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from yaml import YAMLError

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.store.files import COMPARISON_FILES, CONFIG_FILE, JOURNAL_FILE, RUN_FILES, SEARCH_FILES, SETTINGS_FILE, SUITE_FILE
from dgl_mutual.utils.files import is_special, read_bytes, unwritable, write_text
from dgl_mutual.utils.plain_yaml import read_yaml_file

#: Files that mark a folder of this program, a partition, or a dataset in CSV form.
_META = "meta.yaml"
_MARKERS = (CONFIG_FILE, JOURNAL_FILE, SETTINGS_FILE, SUITE_FILE, "partition.json", _META)
#: Files of such folders that cannot be restored, or that this program reads.
_KEPT = {*_MARKERS, *RUN_FILES, *SEARCH_FILES, *COMPARISON_FILES}
#: Files of datasets in other forms: Planetoid, PPI, and formats of numbers that no result has.
_DATA = re.compile(r"ind\.[^.]+\.(x|tx|allx|y|ty|ally|graph|test\.index)|(train|valid|test)_graph\.json|.*\.(gz|npy|npz|dgl)")
#: Files in TU format, and those that identify it.
_TU = re.compile(r"(?P<name>.+)_(A|graph_indicator|(graph|node|edge)_(labels|attributes))\.txt")
_TU_MARKERS = ("A", "graph_indicator")
#: Text in all pages and figures of this program, and their maximum size in bytes.
MADE_BY = "Made by dgl-mutual"
_MAX_BYTES = 1 << 28
#: Endings of names that tell a format.
_ENDINGS = (
    *(".txt", ".csv", ".tsv", ".xlsx", ".json", ".parquet", ".npy", ".npz"),
    *(".html", ".htm", ".pdf", ".tex", ".md", ".docx", ".png", ".svg"),
)


def write_result(path: Path, text: str) -> None:
    """Write a result to a path of the user's choice, but never over a file that this program needs.

    A file is replaced as a whole, for a link its target; a device or pipe is written to.

    Raises:
        UsageError: `path` is a configuration, a table of a run or search, a saved student, or a file of a dataset or partition.
        StoreError: it cannot be written.
    """
    refuse_kept(path)
    if is_special(path):
        _write_special(path, text)
        return
    try:
        target = path.resolve()
        if target.is_dir():
            raise StoreError(f"Cannot write {str(path)!r}: it is a folder. Name a file, for example one in it.")
        read_only = target.is_file() and not os.access(target, os.W_OK)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise unwritable(path, error if isinstance(error, OSError) else OSError(errno.ELOOP, "links in a circle")) from None
    if read_only:
        raise StoreError(f"Cannot write {str(path)!r}: it is read-only. Name another file, or make it writable.")
    write_text(target, text)


def _write_special(path: Path, text: str) -> None:
    """Write to a device or pipe."""
    try:
        # Without truncation, since others may write there, too, and without blocking, since a pipe without a reader would block forever.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise StoreError(f"Cannot write {str(path)!r}: no process reads from this pipe. Start the reader first.") from None
        raise unwritable(path, error) from None


def refuse_other_endings(file: Path | None, expected: Collection[str]) -> None:
    """Raise `UsageError` for a file name with the ending of another format than `expected`, for example ``.csv``."""
    ending = "" if file is None else file.suffix.lower()
    if ending in _ENDINGS and ending not in expected:
        raise UsageError(f"{str(file)!r} ends in {ending}, but the output is {' or '.join(expected)}. Name the file accordingly.")


def refuse_kept(path: Path) -> None:
    """Raise `UsageError` for a configuration, a table of a run or search, a saved student, or a file of a dataset or partition."""
    if is_special(path) or not path.is_file():
        return
    target = path.resolve()
    is_configuration = target.suffix in (".yaml", ".yml")
    is_student = target.suffix == ".safetensors" or (target.suffix == ".json" and target.with_suffix(".safetensors").exists())
    is_kept = target.name in _KEPT and any((target.parent / marker).exists() for marker in _MARKERS)
    if is_configuration or is_student or is_kept or _is_of_dataset(target):
        whose = "a saved student" if is_student else "a run, search, suite or partition" if is_kept else "a dataset or partition"
        description = "a configuration" if is_configuration else f"a file of {whose}"
        raise UsageError(f"{str(path)!r} is {description}, and would be lost. Name another file.")


def refuse_foreign(path: Path) -> None:
    """Raise `UsageError` for an existing file that is not a page or figure of this program, or for a link.

    This is for file names that the user has not chosen; for others see `refuse_kept`.
    """
    if not os.path.lexists(path):
        return
    with suppress(OSError):
        if not path.is_symlink() and MADE_BY.encode() in read_bytes(path, _MAX_BYTES):
            return
    raise UsageError(f"{str(path)!r} already exists, and was not made by this command. Move it away, or choose another place with --out.")


def _is_of_dataset(file: Path) -> bool:
    """Whether a file belongs to a dataset in any supported form, or to a partition."""
    tu = _TU.fullmatch(file.name)
    is_tu = tu is not None and all((file.parent / f"{tu['name']}_{marker}.txt").exists() for marker in _TU_MARKERS)
    return is_tu or _DATA.fullmatch(file.name) is not None or _is_in_meta(file)


def _is_in_meta(file: Path) -> bool:
    """Whether a meta.yaml of a dataset in CSV form, in the file's folder or a parent, names the file."""
    for folder in file.parents:
        with suppress(OSError, UnicodeDecodeError, YAMLError):
            if any((folder / name).resolve() == file for name in _file_names(read_yaml_file(folder / _META))):
                return True
    return False


def _file_names(meta: Any) -> list[str]:
    """The values of all keys ``file_name``, at any depth."""
    if isinstance(meta, Mapping):
        names = [value for key, value in meta.items() if key == "file_name" and isinstance(value, str)]
        return names + [name for value in meta.values() for name in _file_names(value)]
    return [name for value in meta for name in _file_names(value)] if isinstance(meta, list) else []
