"""Arrays of numbers in ``.npy`` and ``.npz`` files: sizes are checked before memory is allocated, and only numbers are created.

NumPy reads the header, which is believed only if it fits the size of the content.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from dgl_mutual.data.files.untrusted_files import open_file, recording
from dgl_mutual.data.values.arrays import native
from dgl_mutual.data.values.faults import Faults
from dgl_mutual.utils.files import RefusedFile
from dgl_mutual.utils.wording import counted

#: The most bytes that a ``.npz`` file may decompress to, plus this many per byte of the file. Most data compress to a tenth of their size,
#: dense bags of words to 1/160, a file made to exhaust memory to 1/1000.
MAX_BYTES, MAX_RATIO = 1 << 25, 250
_CODECS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CHUNK = 1 << 20

Array = npt.NDArray[Any]


def read_npy(path: Path, faults: Faults, dimensions: int | None = None, dtype: type[np.generic] | None = None) -> Array | None:
    """Read a ``.npy`` file of booleans, integers or floats of at most 8 bytes (C-contiguous), or record why not and return None."""
    with recording(path, faults, "expected an array that numpy saved"), open_file(path) as opened:
        array = np.asarray(_read_array(opened, os.fstat(opened.fileno()).st_size), order="C")
        if dimensions not in (None, array.ndim) or dtype not in (None, array.dtype):
            form = f"{'numbers' if dtype is None else np.dtype(dtype)} in {counted(dimensions or 1, 'dimension')}"
            raise RefusedFile(f"expected {form}, found {array.dtype} of shape {str(array.shape)[:60]}")
        return array
    return None


def write_npy(path: Path, array: Array) -> None:
    """Write an array of plain numbers.

    NOTE: `numpy.save` raises no error where a full disk truncates the last bytes of a file.

    Raises:
        OSError: it cannot be written.
    """
    array = np.ascontiguousarray(array)
    with path.open("wb") as opened:
        npy.write_array_header_1_0(opened, npy.header_data_from_array_1_0(array))
        opened.write(array.reshape(-1).view(np.uint8).data)


def read_npz(path: Path, keys: Sequence[str], faults: Faults, *, optional: Sequence[str] = ()) -> dict[str, Array]:
    """Read the arrays `keys` of a ``.npz`` file, and those of `optional` that exist, or record why not and return an empty dict.

    Other members are ignored.
    """
    rule = "the file is truncated or damaged, or not an npz file of plain arrays"
    with recording(path, faults, rule), open_file(path) as opened, zipfile.ZipFile(opened) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        absent = [key for key in keys if key not in members]
        if absent:
            raise RefusedFile(f"expected the arrays {', '.join(keys)}; {', '.join(absent)} missing")
        wanted = {key: members[key] for key in (*keys, *optional) if key in members}
        _check_members(wanted, os.fstat(opened.fileno()).st_size)
        return {key: _read_member(archive, key, member) for key, member in wanted.items()}
    return {}


def _read_member(archive: zipfile.ZipFile, key: str, member: zipfile.ZipInfo) -> Array:
    try:
        with archive.open(member) as decompressed:
            return _read_array(decompressed, member.file_size)
    except RefusedFile as error:
        raise RefusedFile(f"{key}: {error}") from None


def _check_members(members: dict[str, zipfile.ZipInfo], size: int) -> None:
    most, total = MAX_BYTES + MAX_RATIO * size, sum(member.file_size for member in members.values())
    if total > most:
        raise RefusedFile(f"the archive is refused: it would unpack to {total} bytes; at most {most} are expected")
    for key, member in members.items():
        if member.compress_type not in _CODECS or member.flag_bits & 0x1:
            raise RefusedFile(f"{key}: expected it as numpy saves arrays, plain or deflated, neither encrypted nor otherwise compressed")


def _read_array(opened: IO[bytes], size: int) -> Array:
    """Read one array from a stream of `size` bytes."""
    version = npy.read_magic(opened)
    if version not in ((1, 0), (2, 0)):  # 3.0 is for names beyond Latin-1, and plain numbers have none
        raise RefusedFile(f"expected plain numbers in version 1 or 2 of numpy's form, found version {'.'.join(map(str, version))}")
    try:
        shape, is_fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(opened)
    except MemoryError:  # Python's parser, which NumPy calls, raises it for deep nesting
        raise RefusedFile("expected a header that numpy saved, found one that is nested too deeply") from None
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.hasobject or dtype.subdtype is not None:
        advice = "; objects are never unpickled" if dtype.hasobject else ""
        raise RefusedFile(f"expected plain numbers, found values of type {str(dtype)[:60]}{advice}")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise RefusedFile(f"expected a shape of integers, found {str(shape)[:60]}")
    needed = math.prod(shape) * dtype.itemsize
    if needed != size - opened.tell():
        raise RefusedFile(f"expected {needed} bytes for the shape {str(shape)[:60]} of {dtype}, found {size - opened.tell()}")
    flat = np.empty(needed, dtype=np.uint8)
    filled, view = 0, flat.data
    while filled < needed:
        chunk = opened.read(min(_CHUNK, needed - filled))
        if not chunk:
            raise RefusedFile(f"the file is truncated: {needed} bytes expected, found {filled}")
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    opened.read(1)  # at the end of a member zipfile compares its checksum
    return native(flat.view(dtype)).reshape(shape, order="F" if is_fortran else "C")
