"""Bytes that are no dataset, or only look like one: pickles, headers of arrays, archives, compressed tables, and what is no file at all.

Each is read, or refused with an error of the package, soon and in little memory. With ``--stress N``, N hundred inputs a test instead of
two dozen.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from dgl_mutual.data.files.number_tables import read_numbers
from dgl_mutual.data.files.numpy_files import read_npy, read_npz
from dgl_mutual.data.files.unpack import unpack
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.data.sources.ogb_graphs import read_ogb
from dgl_mutual.data.sources.ogb_nodes import read_ogb_nodes
from dgl_mutual.data.sources.planetoid import read_planetoid
from dgl_mutual.data.sources.ppi import read_ppi
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.errors import DataError
from tests.data import test_inert_pickle as pickles
from tests.data.conftest import CSV_FILES, OGB_FILES, TU_FILES, npz_arrays, planetoid_parts
from tests.data.ppi import ppi_files, write_ppi
from tests.data.test_numpy_files import ARCHIVES, HEADERS, npy
from tests.stress.damage import Edit, bounded, changed, damaged, edits, write

NUMBERS = st.sampled_from([0, 1, 2, -1, 255, 1 << 16, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1])
PIECES = st.one_of(
    st.sampled_from([*pickles.OPCODES.values(), *pickles.HUGE.values(), *pickles.GLOBALS.values()]),
    st.sampled_from([bytes([code]) for code in b"().NQRabdeh0123]}tqru\x81\x85\x86\x87\x88\x89\x93\x94\x95"]),
    st.sampled_from([b"q\x00", b"h\x00", b"(", b"u", b"s", b"a", b"e", b"b", b"R", b"t", b"\x85", b"\x86", b"\x87"]),
    NUMBERS.map(pickles.number),
    st.binary(max_size=6).map(pickles.text),
    st.binary(max_size=4),
)


def planetoid_files() -> dict[str, bytes]:
    parts = planetoid_parts().items()
    return {f"ind.cora.{part}": value.encode() if isinstance(value, str) else pickle.dumps(value, 4) for part, value in parts}


def test_pickles_of_any_opcodes(fuzz: Callable[..., None], tmp_path: Path) -> None:
    import pickle

    sound = {
        f"ind.cora.{part}": value.encode() if isinstance(value, str) else pickle.dumps(value, 4)
        for part, value in planetoid_parts().items()
    }
    folder = write(tmp_path / "planetoid", sound)

    def test(part: str, body: list[bytes], changes: list[Edit]) -> None:
        name = f"ind.cora.{part}"
        for content in (pickles.stopped(b"".join(body)), damaged(sound[name], changes)):
            (folder / name).write_bytes(content)
            with bounded():
                read_planetoid(folder, "Cora", Faults(), Request())
        (folder / name).write_bytes(sound[name])

    fuzz(test, st.sampled_from(["x", "allx", "y", "graph"]), st.lists(PIECES, max_size=30), edits)


HEADER = st.builds(
    "{{'descr': {}, 'fortran_order': {}, 'shape': ({}{}), }}".format,
    st.sampled_from(
        ["'<f8'", "'|b1'", "'|O'", "'<U9'", "'<M8[ns]'", "[('a', '<f8')]", "'<f16'", "'|V0'", "'>i4'", "('<f8', (2,))", "3", "'x'"]
    ),
    st.sampled_from(["True", "False", "2", "None"]),
    st.lists(NUMBERS, max_size=4).map(lambda numbers: ",".join(map(str, numbers))),
    st.sampled_from(["", ",", "1.5,", "'a',", "None", "1e9,", ")("]),
)


def test_headers_and_archives_of_arrays(fuzz: Callable[..., None], tmp_path: Path) -> None:
    def test(header: str, content: bytes, version: tuple[int, int], changes: list[Edit], other: bytes) -> None:
        for data in (npy(header, content, version), damaged(npy(header, content, version), changes)):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.npy", data)
            files = {
                "a.npy": data,
                "a.npz": buffer.getvalue(),
                "b.npz": damaged(buffer.getvalue(), changes),
                "c.npz": damaged(other, changes),
            }
            folder, faults = write(tmp_path / "arrays", files), Faults()
            with bounded():
                read_npy(folder / "a.npy", faults)
                for name in ("a.npz", "b.npz", "c.npz"):
                    read_npz(folder / name, ("a",), faults)
            assert len(str(faults.found)) < 20_000

    headers = st.one_of(HEADER, st.sampled_from([header for header, _ in HEADERS.values()]))
    versions = st.sampled_from([(1, 0), (2, 0)])
    fuzz(test, headers, st.binary(max_size=64), versions, edits, st.sampled_from(list(ARCHIVES.values())))


CELLS = st.sampled_from(
    ["1", "2.5", "-1", "", " ", "nan", "NA", "x", "1e999", "9" * 40, "9" * 4400, '"', "\r", "\ufeff", "1,2", "\0", "1_0", "0x1"]
)


def test_tables(fuzz: Callable[..., None], tmp_path: Path) -> None:
    lines = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=8)

    def test(text: list[str], newline: str, columns: int | None, allow_missing: bool, repeat: int, changes: list[Edit]) -> None:
        content = (newline.join(text) * repeat).encode()
        packed = gzip.compress(content, mtime=0)
        for name, data in (
            ("a.txt", content),
            ("a.csv.gz", packed),
            ("b.txt", damaged(content, changes)),
            ("b.csv.gz", damaged(packed, changes)),
        ):
            faults = Faults()
            with bounded():
                table = read_numbers(write(tmp_path / "tables", {name: data}) / name, faults, columns=columns, allow_missing=allow_missing)
                if table is not None:
                    table.integers(faults)
                    assert columns in (None, table.values.shape[1])
            assert len(str(faults.found)) < 20_000

    newlines, repeats = st.sampled_from(["\n", "\r\n", "\r", "\n\n"]), st.sampled_from([1, 1, 1, 2, 100])
    fuzz(test, lines, newlines, st.sampled_from([None, 1, 2]), st.booleans(), repeats, edits)


def test_archives(fuzz: Callable[..., None], tmp_path: Path) -> None:
    names = st.sampled_from(
        ["TOY/a.txt", "TOY/", "TOY", "../a", "/a", "a/../../b", "n" * 300, "a\\b", "C:a", "\u00e9" * 200, "a/" * 50, "."]
    )
    methods = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])

    def test(members: list[str], method: int, changes: list[Edit]) -> None:
        buffer = io.BytesIO()
        with suppress(ValueError, OSError), zipfile.ZipFile(buffer, "w", method) as archive:
            for name in members:
                archive.writestr(name, b"content" * 50)
        for content in (buffer.getvalue(), damaged(buffer.getvalue(), changes)):
            folder = write(tmp_path / "archive", {"a.zip": content})
            with bounded():
                unpack(folder / "a.zip", folder / "out")
            assert {path.name for path in folder.iterdir()} <= {"a.zip", "out"}
        assert {path.name for path in tmp_path.iterdir()} == {"archive"}

    fuzz(test, st.lists(names, max_size=4, unique=True), methods, edits)


def as_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_ppi_folders(fuzz: Callable[..., None], tmp_path: Path) -> None:
    write_ppi(tmp_path / "sound", ppi_files())

    def test(files: dict[str, bytes]) -> None:
        with bounded():
            read_ppi(write(tmp_path / "ppi", files), "PPI", Faults(), Request())

    fuzz(test, changed(as_files(tmp_path / "sound")))


def test_ogb_molecules(fuzz: Callable[..., None], tmp_path: Path) -> None:
    plain = {f"{name}.csv.gz": content.encode() for name, content in OGB_FILES.items()}

    def test(files: dict[str, bytes], changes: list[Edit]) -> None:
        packed = {name: gzip.compress(content, mtime=0) for name, content in files.items()}
        name = sorted(packed)[len(changes) % len(packed)]
        for content in (packed, packed | {name: damaged(packed[name], changes)}):
            with bounded():
                read_ogb(write(tmp_path / "ogb", content), "ogbg-molbace", Faults(), Request())

    fuzz(test, changed(plain), edits)


def test_ogb_nodes(fuzz: Callable[..., None], tmp_path: Path) -> None:
    text = {
        "raw/edge": "0,1\n1,2\n",
        "raw/num-node-list": "3\n",
        "raw/num-edge-list": "2\n",
        "raw/node-label": "0\n1\n\n",
        "raw/node-feat": "1\n2\n3\n",
    }
    plain = {f"{name}.csv.gz": content.encode() for name, content in text.items()}
    sound = {
        "edge_index": np.array([[0, 1], [1, 2]]),
        "num_nodes_list": np.array([3]),
        "num_edges_list": np.array([2]),
        "node_feat": np.ones((3, 2), dtype=np.float32),
        "edge_feat": np.ones((2, 1)),
        "node_label": np.array([[0], [1], [0]]),
    }
    values = st.one_of(
        st.lists(NUMBERS, max_size=3).map(lambda numbers: np.array(numbers, dtype=np.int64)),
        st.lists(NUMBERS, min_size=3, max_size=3).map(
            lambda numbers: np.array(numbers, dtype=np.uint64 if min(numbers) >= 0 else np.int64)[:, None]
        ),
        NUMBERS.map(lambda number: np.array([number])),
        st.sampled_from(
            [np.zeros((3, 0)), np.zeros((0, 2)), np.array(3), np.array([3.0]), np.array(["3"]), np.array([np.nan]), np.full((3, 1), np.inf)]
        ),
    )

    def test(files: dict[str, bytes], arrays: dict[str, np.ndarray], require_labels: bool, absent: list[str]) -> None:
        with bounded():
            packed = {name: gzip.compress(content) for name, content in files.items() if name.split("/")[1][:-7] not in absent}
            read_ogb_nodes(write(tmp_path / "text", packed), "text", Faults(), Request(require_labels=require_labels))
        (write(tmp_path / "arrays", {}) / "raw").mkdir(parents=True)
        found = {key: array for key, array in {**sound, **arrays}.items() if key not in absent}
        label = {"node_label": found.pop("node_label")} if "node_label" in found else None
        np.savez(tmp_path / "arrays" / "raw" / "data.npz", **found)
        if label is not None:
            np.savez(tmp_path / "arrays" / "raw" / "node-label.npz", **label)
        with bounded():
            read_ogb_nodes(tmp_path / "arrays", "arrays", Faults(), Request(require_labels=require_labels))

    absent = st.lists(st.sampled_from(["node-label", "node-feat", "node_label", "node_feat", "edge_feat"]), max_size=4)
    fuzz(test, changed(plain), st.dictionaries(st.sampled_from(sorted(sound)), values, max_size=2), st.booleans(), absent)


SIZES = [1 << 31, 1 << 40, (1 << 53) - 1, 10**18]


@pytest.mark.parametrize("number", SIZES)
def test_numbers_of_nodes_and_classes_that_nothing_justifies(number: int, tmp_path: Path) -> None:
    text = {"raw/edge": "0,1\n1,2\n", "raw/num-node-list": "3\n", "raw/num-edge-list": "2\n"}
    for name, content in (("num-node-list", f"{number}\n"), ("node-label", f"0\n1\n{number}\n"), ("num-edge-list", f"{number}\n")):
        files = {f"{key}.csv.gz": gzip.compress(value.encode()) for key, value in {**text, f"raw/{name}": content}.items()}
        with bounded(), pytest.raises(DataError):
            read_ogb_nodes(write(tmp_path / "own", files), "own", Faults(), Request(require_labels=False))
    for name in ("num-node-list", "num-edge-list", "node-feat", "edge"):
        first, *others = OGB_FILES[f"raw/{name}"].split("\n")
        content = "\n".join([",".join([str(number), *first.split(",")[1:]]), *others])
        files = {f"{key}.csv.gz": gzip.compress(value.encode()) for key, value in {**OGB_FILES, f"raw/{name}": content}.items()}
        with bounded(), pytest.raises(DataError):
            read_ogb(write(tmp_path / "ogb", files), "ogbg-molbace", Faults(), Request())


def sound_folders(folder: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """A sound folder in each form, and what reads it."""
    write(folder / "tu" / "TOY", {f"TOY_{part}.txt": content.encode() for part, content in TU_FILES.items()})
    write(folder / "csv", {name: content.encode() for name, content in CSV_FILES.items()})
    write(folder / "ogb", {f"{name}.csv.gz": gzip.compress(content.encode()) for name, content in OGB_FILES.items()})
    write(folder / "planetoid", planetoid_files())
    write_ppi(folder / "ppi", ppi_files())
    (write(folder / "own", {}) / "raw").mkdir(parents=True)
    arrays = {"edge_index": np.array([[0], [1]]), "num_nodes_list": np.array([2]), "num_edges_list": np.array([1])}
    np.savez(folder / "own" / "raw" / "data.npz", **arrays)
    np.savez(folder / "own" / "raw" / "node-label.npz", node_label=np.array([[0], [1]]))
    return {
        "tu": (folder / "tu" / "TOY", load_dataset),
        "csv": (folder / "csv", load_dataset),
        "ogb": (folder / "ogb", lambda path: read_ogb(path, "ogbg-molbace", Faults(), Request())),
        "planetoid": (folder / "planetoid", lambda path: read_planetoid(path, "Cora", Faults(), Request())),
        "ppi": (folder / "ppi", lambda path: read_ppi(path, "PPI", Faults(), Request())),
        "own": (folder / "own", load_dataset),
    }


@pytest.mark.parametrize("form", ["tu", "csv", "ogb", "planetoid", "ppi", "own"])
def test_links_pipes_and_folders_in_place_of_any_file(form: str, tmp_path: Path) -> None:
    folder, read = sound_folders(tmp_path)[form]
    read(folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for kind in ("zero", "pipe", "folder", "nowhere", "circle", "full"):
            path.unlink()
            if kind == "pipe":
                os.mkfifo(path)
            elif kind == "folder":
                path.mkdir()
            else:
                path.symlink_to({"zero": "/dev/zero", "nowhere": "missing", "circle": path.name, "full": "/dev/full"}[kind])
            with bounded(), suppress(DataError):
                read(folder)
                assert path.name in ("TOY_node_labels.txt", "TOY_node_attributes.txt", "edge-feat.csv.gz") and kind in ("nowhere", "circle")
            path.rmdir() if kind == "folder" else path.unlink()
            path.write_bytes(content)
    read(folder)


def test_json_of_any_kind_in_place_of_a_graph(fuzz: Callable[..., None], tmp_path: Path) -> None:
    files = ppi_files()
    write_ppi(tmp_path / "ppi", files)
    path = tmp_path / "ppi" / "train_graph.json"
    any_json = st.recursive(
        st.none() | st.booleans() | st.floats() | NUMBERS | st.text(max_size=3) | st.just(10**30),
        lambda below: (
            st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["nodes", "links", "id", "source", "target", "directed"]), below)
        ),
        max_leaves=12,
    )

    def test(value: object, digits: int) -> None:
        for text in (json.dumps(value), json.dumps(value).replace("0", "9" * digits), json.dumps(value).replace("null", "[" * digits)):
            path.write_text(text)
            with bounded():
                read_ppi(tmp_path / "ppi", "PPI", Faults(), Request())

    fuzz(test, any_json, st.sampled_from([1, 20, 5_000, 20_000]))


def test_local_headers_that_lie(tmp_path: Path) -> None:
    """Sizes and places in the two directories of an archive, each replaced by numbers of every size."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **npz_arrays())
    sound = buffer.getvalue()
    places = [
        index for mark in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06") for index in range(len(sound)) if sound.startswith(mark, index)
    ]
    for start in places[::3]:
        for offset, kind in (
            (4, "<H"),
            (6, "<H"),
            (8, "<H"),
            (10, "<H"),
            (16, "<I"),
            (18, "<I"),
            (20, "<I"),
            (22, "<I"),
            (24, "<I"),
            (26, "<H"),
            (28, "<H"),
        ):
            for value in (0, 1, 99, 0x7FFF, 0xFFFF):
                content = bytearray(sound)
                if start + offset + 4 <= len(content):
                    struct.pack_into(kind, content, start + offset, value if kind == "<H" else value << 16)
                (tmp_path / "a.npz").write_bytes(content)
                with bounded():
                    read_npz(tmp_path / "a.npz", ("adj_data", "labels", "attr_shape"), Faults())


TABLES = {
    "a wide cell before short ones": "node_id,label,feat\n0,1,"
    + '"'
    + "1," * 100_000
    + '1"\n'
    + "".join(f"{node},1,1\n" for node in range(1, 50_000)),
    "a header of commas": "node_id,label" + "," * 300_000 + "\n0,1\n",
    "a header of names": ",".join(f"f{column}" for column in range(25_000)) + "\n0,1\n",
    "a header of one name": "node_id,label," + "n" * 2_000_000 + "\n0,1,2\n",
    "labels of commas": "node_id,label,feat\n" + "".join(f'{node},"{"," * 50_000}",1\n' for node in range(3)),
    "one cell": "node_id,label,feat\n0,1," + "9" * 5_000_000 + "\n",
    "quotes": "node_id,label,feat\n" + '"' * 1_000_001,
}


@pytest.mark.parametrize("kind", TABLES)
def test_wide_csv_files(kind: str, tmp_path: Path) -> None:
    meta = "dataset_name: a\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n"
    files = {"meta.yaml": meta, "nodes.csv": TABLES[kind], "edges.csv": "src_id,dst_id\n0,0\n"}
    with bounded():
        load_dataset(write(tmp_path / "csv", {name: content.encode() for name, content in files.items()}))
