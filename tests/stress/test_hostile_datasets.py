"""Datasets that somebody broke, by chance or on purpose: read, or refused with an error of the package, soon and in little memory.

With ``--stress N``, N hundred inputs per test instead of two dozen.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.data.sources.npz import read_gnn_benchmark
from dgl_mutual.data.sources.planetoid import read_planetoid
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.errors import DglMutualError
from tests.data.conftest import CSV_FILES, NPZ_FILE, TU_FILES, npz_arrays, planetoid_parts
from tests.stress.damage import Edit, bounded, changed, damaged, edits, write


def test_tu_folders(fuzz: Callable[..., None], tmp_path: Path) -> None:
    def test(files: dict[str, bytes]) -> None:
        with bounded():
            load_dataset(write(tmp_path / "TOY", files))

    fuzz(test, changed({f"TOY_{part}.txt": content.encode() for part, content in TU_FILES.items()}))


def test_csv_folders(fuzz: Callable[..., None], tmp_path: Path) -> None:
    def test(files: dict[str, bytes]) -> None:
        with bounded():
            load_dataset(write(tmp_path / "csv", files))

    fuzz(test, changed({name: content.encode() for name, content in CSV_FILES.items()}))


def in_file(part: object) -> bytes:
    """A part of Planetoid as its file holds it: bytes, text, or a pickle."""
    return part if isinstance(part, bytes) else part.encode() if isinstance(part, str) else pickle.dumps(part)


def test_planetoid_pickles(fuzz: Callable[..., None], tmp_path: Path) -> None:
    parts = {
        f"ind.cora.{part}": content.encode() if isinstance(content, str) else pickle.dumps(content, protocol=3 + index % 2)
        for index, (part, content) in enumerate(planetoid_parts().items())
    }

    def test(files: dict[str, bytes]) -> None:
        with bounded():
            read_planetoid(write(tmp_path / "planetoid", files), "Cora", Faults(), Request())

    fuzz(test, changed(parts))


class Huge:
    """Pickles as an array of any shape and type, and matrices of any size, in some dozen bytes."""

    def __init__(self, function: object, arguments: tuple[object, ...], state: object = None) -> None:
        self.reduced = (function, arguments, state)

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced


def test_pickles_of_huge_things(tmp_path: Path) -> None:
    reconstruct = np.ndarray(0).__reduce__()[0]
    sound = planetoid_parts()
    wide = sound["x"].copy()  # type: ignore[attr-defined]  # a matrix
    wide._shape = (10, 1 << 40)
    arrays = [
        Huge(reconstruct, (np.ndarray, shape, kind))
        for shape in ((1 << 40,), (1 << 31,), (1 << 16, 1 << 16))
        for kind in (b"b", b"O", b"d")
    ]
    lists = b"\x80\x04]" + b"]" * 100_000 + b"a" * 100_000 + b"."
    for part in ("x", "allx", "tx", "y", "ally", "graph"):
        for value in (*arrays, wide, {0: list(range(10)) * 10, 1 << 62: [0]}, lists):
            files = {**sound, part: value}
            content = {f"ind.cora.{name}": in_file(each) for name, each in files.items()}
            with bounded():
                read_planetoid(write(tmp_path / "planetoid", content), "Cora", Faults(), Request())


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("number", [1 << 31, 1 << 40, (1 << 63) - 1])
def test_sizes_that_only_numbers_have(number: int, tmp_path: Path) -> None:
    """A matrix of trillions of columns, and a class of that number, take some bytes in a file."""
    sound = planetoid_parts()
    for part in ("x", "tx", "allx"):
        sound[part] = sound[part].copy()  # type: ignore[attr-defined]  # a matrix
        sound[part]._shape = (sound[part].shape[0], number)  # type: ignore[attr-defined]
    content = {f"ind.cora.{name}": in_file(each) for name, each in sound.items()}
    with bounded(), pytest.raises(DglMutualError, match="columns"):
        read_planetoid(write(tmp_path / "planetoid", content), "Cora", Faults(), Request())
    for key, value, what in (("attr_shape", [4, number], "attr"), ("labels", [0, 1, 1, number], "labels")):
        content = {NPZ_FILE: packed({**npz_arrays(), key: np.array(value)})}
        with bounded(), pytest.raises(DglMutualError, match=f"{what}: "):
            read_gnn_benchmark(write(tmp_path / "npz", content), "Amazon-Photo", Faults(), Request())


def test_npz_files(fuzz: Callable[..., None], tmp_path: Path) -> None:
    sound = npz_arrays()
    numbers = st.sampled_from([0, 1, -1, 3, 4, 1 << 20, 1 << 40, (1 << 63) - 1])
    values = st.one_of(
        st.lists(numbers, max_size=6).map(lambda each: np.array(each, dtype=np.int64)),
        st.sampled_from([np.array(["a"]), np.array(1.5), np.array([np.nan] * 4)]),
    )
    arrays = st.dictionaries(st.sampled_from(sorted(sound)), values, max_size=2).map(lambda some: packed(sound | some))

    def test(content: bytes, changes: list[Edit]) -> None:
        for each in (content, damaged(content, changes)):
            with bounded():
                read_gnn_benchmark(write(tmp_path / "npz", {NPZ_FILE: each}), "Amazon-Photo", Faults(), Request())

    fuzz(test, arrays, edits)


def test_an_npz_bomb(tmp_path: Path) -> None:
    path = tmp_path / NPZ_FILE
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in npz_arrays().items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                if name == "attr_data":
                    np.lib.format.write_array_header_2_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 23,)})
                    for _ in range(1 << 6):
                        member.write(bytes(1 << 20))
                else:
                    np.lib.format.write_array(member, array)
    with bounded(), pytest.raises(DglMutualError):
        read_gnn_benchmark(tmp_path, "Amazon-Photo", Faults(), Request())
