from __future__ import annotations

import io
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.data.files.numpy_files import read_npy, read_npz
from dgl_mutual.data.values.faults import Faults


def npy(header: str, content: bytes = bytes(64), version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text + content


@pytest.mark.parametrize("dtype", ["?", "u1", "<i4", ">i8", "<f2", "f4", ">f8"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4), (0, 7)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_numpys_own(tmp_path: Path, dtype: str, shape: tuple[int, ...], order: str) -> None:
    array = np.asarray(np.random.default_rng(0).integers(0, 100, shape), dtype=dtype, order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "plain.npz", a=array, b=np.arange(3))
    np.savez_compressed(tmp_path / "deflated.npz", a=array, other=np.array([{}], dtype=object))
    faults = Faults()
    for found in (
        read_npy(tmp_path / "a.npy", faults),
        read_npz(tmp_path / "plain.npz", ("a",), faults, optional=("b", "c"))["a"],
        read_npz(tmp_path / "deflated.npz", ("a",), faults)["a"],  # what nobody asks for may be anything
    ):
        assert found is not None and found.shape == shape and found.dtype == array.dtype.newbyteorder("=") and found.flags.writeable
        np.testing.assert_array_equal(found, array)
    assert not faults.found


HEADERS = {
    "a length that lies": ("{'descr': '<f8', 'fortran_order': False, 'shape': (9,), }", r"expected 72 bytes"),
    "terabytes": ("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }", "found 64"),
    "beyond 2^64": ("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "found 64"),
    "negative": ("{'descr': '<f8', 'fortran_order': False, 'shape': (-8, -1), }", "shape"),
    "truth for a length": ("{'descr': '<f8', 'fortran_order': False, 'shape': (True, 8), }", "shape of integers"),
    "objects": ("{'descr': '|O', 'fortran_order': False, 'shape': (8,), }", "never unpickled"),
    "objects within": ("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (8,), }", "never unpickled"),
    "records": ("{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (8,), }", "plain numbers"),
    "text": ("{'descr': '<U2', 'fortran_order': False, 'shape': (8,), }", "plain numbers"),
    "times": ("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (8,), }", "plain numbers"),
    "no bytes": ("{'descr': '|V0', 'fortran_order': False, 'shape': (8,), }", "plain numbers"),
    "no header": ("{'descr'", "numpy saved"),
    "no Python": ("\x00\xff(", "numpy saved"),
    "depth": ("(" * 5_000, "numpy saved"),
    "depth beyond Python's parser": ("-" * 9_000 + "1", "numpy saved"),
    "digits": ("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 5_000 + ",), }", "numpy saved|expected"),
    "dimensions": ("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1, " * 500 + "8), }", "numpy saved"),
    "a call": ("__import__('os').abort()", "numpy saved"),
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_headers_that_numpy_does_not_write(tmp_path: Path, kind: str, version: tuple[int, int]) -> None:
    header, rule = HEADERS[kind]
    content = npy(header, version=version)
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    faults = Faults()
    assert read_npy(tmp_path / "a.npy", faults) is None
    assert re.search(rule, faults.found[0].rule)
    assert read_npz(tmp_path / "a.npz", ("a",), faults) == {}
    assert len(faults.found) == 2 and len(str(faults.found)) < 2_000


def archive(method: int = zipfile.ZIP_DEFLATED, size: int = 8) -> bytes:
    buffer, content = io.BytesIO(), io.BytesIO()
    np.save(content, np.zeros(size, dtype=np.uint8))
    with zipfile.ZipFile(buffer, "w", method) as opened:
        opened.writestr("a.npy", content.getvalue())
    return buffer.getvalue()


def patched(change: Callable[[bytearray, int], None]) -> bytes:
    """An archive whose central directory (it begins with PK 1 2) was changed."""
    content = bytearray(archive())
    change(content, content.index(b"PK\x01\x02"))
    return bytes(content)


def put(content: bytearray, place: int, kind: str, value: int) -> None:
    struct.pack_into(kind, content, place, value)


ARCHIVES = {
    "lzma": archive(zipfile.ZIP_LZMA),
    "bzip2": archive(zipfile.ZIP_BZIP2),
    "an unknown codec": patched(lambda content, start: put(content, start + 10, "<H", 77)),
    "encrypted": patched(lambda content, start: put(content, start + 8, "<H", 1)),
    "a size that lies": patched(lambda content, start: put(content, start + 24, "<I", 1 << 24)),
    "a checksum that lies": patched(lambda content, start: put(content, start + 16, "<I", 7)),
    "an offset that lies": patched(lambda content, start: put(content, start + 42, "<I", 5)),
    "an offset beyond the file": patched(lambda content, start: put(content, start + 42, "<I", 1 << 31)),
    "a bomb": archive(size=1 << 26),
    "half": archive()[:100],
    "nothing": b"",
    "no archive": b"PK\x03\x04" * 40,
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_that_numpy_does_not_write(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.npz").write_bytes(ARCHIVES[kind])
    faults = Faults()
    assert read_npz(tmp_path / "a.npz", ("a",), faults) == {}
    assert len(faults.found) == 1


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero", ".", "missing", "n" * 300):
        faults = Faults()
        assert read_npy(tmp_path / name, faults) is None and read_npz(tmp_path / name, ("a",), faults) == {}
        assert len(faults.found) == 2


def test_honest_arrays_that_compress_well(tmp_path: Path) -> None:
    identity = np.eye(3_000, dtype=np.float32)
    words = (np.random.default_rng(0).random((3_000, 3_700)) < 0.0085).astype(np.float32)  # as dense as CiteSeer
    np.savez_compressed(tmp_path / "a.npz", identity=identity)
    np.savez_compressed(tmp_path / "b.npz", words=words)
    faults = Faults()
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz", ("identity",), faults)["identity"], identity)
    np.testing.assert_array_equal(read_npz(tmp_path / "b.npz", ("words",), faults)["words"], words)
