from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.sources import partition as partition_module
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.data.sources.partition import read_partition, write_partition
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import DataError, StoreError, UsageError


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", "node")


@pytest.fixture(scope="module")
def folder(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "parts"
    write_partition(digits, 2, folder)
    return folder


def test_the_parts_hold_every_node_with_its_features_and_degrees(folder: Path, digits: Dataset) -> None:
    partition = read_partition(folder)
    assert sorted(partition.ids) == list(range(digits.num_nodes))
    stored = [partition.read_node_data(part) for part in range(2)]
    features, into, out = (np.concatenate([part[name] for part in stored])[partition.ids] for name in ("feat", "in_degree", "out_degree"))
    expected = digits.features if isinstance(digits.features, np.ndarray) else digits.features.toarray()
    np.testing.assert_array_equal(features, expected)
    np.testing.assert_array_equal(into[:, 0], np.diff(digits.in_offsets))
    np.testing.assert_array_equal(out[:, 0], np.bincount(digits.edges[0], minlength=digits.num_nodes))


@pytest.mark.parametrize("num_parts", [1, 2, 3])
def test_the_parts_hold_every_edge(digits: Dataset, tmp_path: Path, num_parts: int) -> None:
    write_partition(digits, num_parts, tmp_path / "parts")
    partition = read_partition(tmp_path / "parts")
    found, names = [], np.argsort(partition.ids)
    for part, (nodes, edges) in enumerate(zip(partition.nodes, partition.edges, strict=True)):
        read = partition.read_edges(part)
        local = names[[*nodes, *read.outside]]
        assert len(read.sources) == len(edges)
        found.append(local[[read.sources, read.destinations]])
    assert sorted(map(tuple, np.concatenate(found, axis=1).T)) == sorted(map(tuple, digits.edges.T))


def test_a_graph_with_too_few_edges_is_not_cut(digits: Dataset, tmp_path: Path) -> None:
    for edges in (digits.edges[:, :0], digits.edges[:, :1], digits.edges[:, :2]):
        few = digits.replaced(edges=edges)
        with pytest.raises(DataError, match=r"METIS finds no 2 parts of digits that all have edges\. Choose fewer --parts"):
            write_partition(few, 2, tmp_path / "parts")
        write_partition(few, 1, tmp_path / f"one-{edges.shape[1]}")
        assert len(read_partition(tmp_path / f"one-{edges.shape[1]}").read_edges(0).sources) == edges.shape[1]


def test_only_the_owner_may_read_the_key(folder: Path) -> None:
    assert (folder / "partition.json").stat().st_mode & 0o777 == 0o600


def test_the_official_split_comes_back(digits: Dataset, tmp_path: Path) -> None:
    for parts in (3, 4):
        split = Split(*np.array_split(np.arange(digits.num_nodes), parts))
        write_partition(digits.replaced(official_splits=(split,)), 1, tmp_path / str(parts))
        found = read_partition(tmp_path / str(parts)).dataset.official_split
        assert found is not None
        assert {name: part.tolist() for name, part in found.parts.items()} == {name: part.tolist() for name, part in split.parts.items()}


def test_trainers_keep_the_dataset_without_its_graph(folder: Path, digits: Dataset) -> None:
    partition = read_partition(folder)
    assert partition.nodes[0].start == 0 and partition.nodes[0].stop == partition.nodes[1].start and partition.nodes[1].stop == 1797
    kept = partition.dataset
    assert (kept.name, kept.target, kept.feature_names, kept.num_nodes) == ("digits", digits.target, digits.feature_names, 1797)
    np.testing.assert_array_equal(kept.labels, digits.labels)
    assert kept.features.shape == digits.features.shape
    assert partition.fingerprint == fingerprint(digits)


def test_the_chosen_metric_comes_back(digits: Dataset, tmp_path: Path) -> None:
    for metric in (None, "macro-f1"):
        chosen = digits.with_metric(metric)
        write_partition(chosen, 1, tmp_path / str(metric))
        assert read_partition(tmp_path / str(metric)).dataset.target == chosen.target


def test_datasets_that_cannot_be_cut_are_refused(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1797 nodes cannot be cut into 1798 parts"):
        write_partition(digits, 1798, tmp_path / "out")
    with pytest.raises(UsageError, match="has many graphs"):
        write_partition(load_dataset("digits", "graph"), 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the parts that a test may change."""
    return Path(shutil.copytree(folder, tmp_path / "parts"))


@pytest.mark.parametrize("kind", ["file", "fifo", "link", "empty", "folder", "partition"])
def test_an_existing_folder_is_left_alone(folder: Path, digits: Dataset, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "fifo":
        os.mkfifo(out)
    elif kind == "link":
        out.symlink_to(tmp_path / "missing")
    elif kind == "empty":
        out.mkdir()
    elif kind == "folder":
        (out / "part0").mkdir(parents=True)
    else:
        shutil.copytree(folder, out)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"out' exists, and nothing is overwritten\. Remove it, or choose another folder with --out\.$"):
        write_partition(digits, 2, out)
    assert contents(tmp_path) == before and [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize("lacking", [1, 200_000])
def test_truncated_parts_are_not_a_partition(folder: Path, digits: Dataset, tmp_path: Path, lacking: int) -> None:
    largest = max(path.stat().st_size for path in folder.rglob("*.npy"))
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - lacking, hard))
    try:
        with pytest.raises(StoreError, match=r"File too large\. Make room on the disk"):
            write_partition(digits, 1, tmp_path / "parts")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_killed_process_are_not_a_partition(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(partition_module, "_write", lambda dataset, num_parts, made: (made / "partition.json").touch() or os._exit(9))
        if (child := os.fork()) == 0:
            write_partition(digits, 2, tmp_path / "parts")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (tmp_path / "parts").exists()
    write_partition(digits, 2, tmp_path / "parts")
    assert read_partition(tmp_path / "parts").num_parts == 2


def test_a_folder_that_appears_meanwhile_is_kept(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "_write", lambda *_: (tmp_path / "parts" / "notes").mkdir(parents=True))
    with pytest.raises(UsageError, match="exists, and nothing is overwritten"):
        write_partition(digits, 2, tmp_path / "parts")
    assert [*tmp_path.rglob("*")] == [tmp_path / "parts", tmp_path / "parts" / "notes"]


def test_parts_of_another_version_of_dgl_are_refused(copy: Path) -> None:
    manifest = json.loads((copy / "partition.json").read_text())
    (copy / "partition.json").write_text(json.dumps({**manifest, "dgl": "0.9.1"}))
    with pytest.raises(DataError, match=r"made with DGL 0\.9\.1, but this is DGL .* Remove the folder and create it again"):
        read_partition(copy)


def test_a_damaged_file_of_nodes_is_named(copy: Path) -> None:
    with np.load(copy / "nodes.npz") as found:
        arrays = dict(found)
    np.savez(copy / "nodes.npz", **{**arrays, "labels": np.roll(arrays["labels"], 1)})
    with pytest.raises(DataError, match=r"nodes\.npz is not the file that was written"):
        read_partition(copy)
    (copy / "nodes.npz").write_bytes(b"PK\3\4")
    with pytest.raises(DataError, match=r"is not a valid partition .*damaged"):
        read_partition(copy)
    (copy / "nodes.npz").unlink()
    with pytest.raises(DataError, match="is not a valid partition"):
        read_partition(copy)


def change(folder: Path, **values: Any) -> None:
    """Change a partition.json."""
    file = folder / "partition.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def forge(folder: Path, name: str, content: bytes) -> None:
    """Replace a file of a partition, and its hash, as whoever makes a partition for others can."""
    (folder / name).write_bytes(content)
    hashes = json.loads((folder / "partition.json").read_text())["sha256"]
    change(folder, sha256={**hashes, name: hashlib.sha256(content).hexdigest()})


def saved(array: npt.ArrayLike) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def announced(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """A ``.npy`` file that says that it has this shape, and has 64 bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(64)


TARGET = {"kind": "single-label", "names": ["a", "b"], "metric": "accuracy"}
#: What stands in partition.json instead, and what is said of it.
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another format": ({"format": 2}, "format: "),
    "no parts": ({"nodes": [], "edges": []}, "nodes: "),
    "a part without nodes": ({"nodes": [0, 1797]}, "nodes.0: "),
    "fewer than none": ({"edges": [-1, 5]}, "edges.0: "),
    "no numbers": ({"nodes": ["x", 1797]}, "nodes.0: "),
    "fewer nodes": ({"nodes": [888, 908]}, "its parts have 1796 nodes, and nodes.npz has 1797"),
    "too many nodes": ({"nodes": [888, 10**9]}, "its parts have 1000000888 nodes"),
    "more than 64 bits hold": ({"nodes": [888, 10**30]}, "nodes.1: "),
    "another number of parts": ({"edges": [1]}, "edges are not a number for each of 2 parts"),
    "no target": ({"target": None}, "target: a mapping from names to values is needed"),
    "more than a target": ({"target": {**TARGET, "x": 1}}, "target.x: there is no such key"),
    "more than a part of one": ({"target": {**TARGET, "parts": [{**TARGET, "x": 1}]}}, "target.parts.0.x: there is no such key"),
    "many parts": ({"nodes": [1] * 1797, "edges": [0] * 1797}, "has no hash of part2/sources.npy"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_manifest_that_does_not_fit_is_refused(copy: Path, kind: str) -> None:
    changed, message = CHANGES[kind]
    change(copy, **changed)
    with pytest.raises(DataError, match=rf"is not a valid partition \(partition\.json.*{message}.*Remove it, and create it again"):
        read_partition(copy)


@pytest.mark.parametrize("ids", [[0] * 1797, range(1, 1798), range(1796), np.arange(1797.0), np.arange(1797)[:, np.newaxis], 5])
def test_ids_must_number_the_nodes(copy: Path, ids: npt.ArrayLike) -> None:
    with np.load(copy / "nodes.npz") as found:
        arrays = {**found, "ids": np.asarray(ids)}
    file = io.BytesIO()
    np.savez(file, **arrays)
    forge(copy, "nodes.npz", file.getvalue())
    with pytest.raises(DataError, match=r"ids are not the numbers 0 \.\.\. 1796, each once"):
        read_partition(copy)


#: Files of part 1 that are not what is written, and what is said of them. The part has N nodes, E edges and H nodes outside of it.
FORGED: dict[str, tuple[str, Callable[[npt.NDArray[Any]], bytes], str]] = {
    "no array": ("feat", lambda _: b"\x93NUMPY", "expected an array that numpy saved"),
    "a file of DGL": ("feat", lambda _: b"\xdc\xe3\x46\x58" * 100, "expected an array that numpy saved"),
    "nothing": ("sources", lambda _: b"", "expected an array that numpy saved"),
    "huge features": ("feat", lambda _: announced((1 << 40, 64)), "expected 281474976710656 bytes .* found 64"),
    "a huge shape": ("feat", lambda _: announced((1 << 62, 1 << 62)), "expected .* bytes .* found 64"),
    "huge edges": ("sources", lambda _: announced((1 << 50,), "<i8"), "expected 9007199254740992 bytes .* found 64"),
    "a long header": ("sources", lambda _: b"\x93NUMPY\2\0\xff\xff\xff\xff" + b"(" * 10**5, "expected an array that numpy saved"),
    "objects": ("outside", lambda _: announced((8,), "|O"), "objects are never unpickled"),
    "cut off": ("sources", lambda array: saved(array)[:-8], "expected .* bytes"),
    "fewer features": ("feat", lambda array: saved(array[:, 1:]), r"expected shape \(\d+, 64\), found \(\d+, 63\)"),
    "fewer nodes": ("feat", lambda array: saved(array[1:]), "expected shape"),
    "doubles": ("feat", lambda array: saved(array.astype(np.float64)), "expected float32 in 2 dimensions, found float64 of shape"),
    "a long row": ("feat", lambda array: saved(array.ravel()), "expected float32 in 2 dimensions, found float32 of shape"),
    "not a number": (
        "feat",
        lambda array: saved(np.where(array > 0, np.float32("nan"), array)),
        r"expected finite numbers.*found nan in row \d",
    ),
    "infinite degrees": ("in_degree", lambda array: saved(array + np.float32("inf")), "expected finite numbers"),
    "flat degrees": ("out_degree", lambda array: saved(array[:, 0]), "expected float32 in 2 dimensions"),
    "halves": ("sources", lambda array: saved(array + 0.5), "expected int64 in 1 dimension, found float64"),
    "short numbers": ("destinations", lambda array: saved(array.astype(np.int32)), "expected int64 in 1 dimension, found int32"),
    "a column": ("outside", lambda array: saved(array[:, np.newaxis]), "expected int64 in 1 dimension, found int64 of shape"),
    "more sources": ("sources", lambda array: saved(np.append(array, 0)), r"expected a number for each of \d+ edges, found"),
    "fewer destinations": ("destinations", lambda array: saved(array[1:]), r"expected a number for each of \d+ edges, found"),
    "from below": ("sources", lambda array: saved(np.where(array == 5, -1, array)), r"indices of nodes, 0 \.\.\. \d+, found -1"),
    "from beyond": ("sources", lambda array: saved(np.where(array == 5, 2**62, array)), f"found 0 ... {2**62}"),
    "to outside": (
        "destinations",
        lambda array: saved(np.where(array == 5, array.max() + 1, array)),  # the first node outside
        "destinations.npy: expected indices of nodes",
    ),
    "fewer outside": ("outside", lambda array: saved(array[:-1]), "sources.npy: expected indices of nodes"),
    "beyond the graph": ("outside", lambda array: saved(array + 1797), r"expected indices of nodes, 0 \.\.\. 1796, found"),
    "its own nodes": (
        "outside",
        lambda array: saved(np.full_like(array, 1796)),
        "nodes outside of the part, found some of its own",
    ),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_part_is_one_message(copy: Path, kind: str) -> None:
    name, made, message = FORGED[kind]
    file = f"part1/{name}.npy"
    forge(copy, file, made(np.load(copy / file)))
    partition = read_partition(copy)
    partition.check_part(1)  # its hash proves nothing
    with pytest.raises(DataError, match=rf"is not a valid partition \(part1/.*{message}.*\)\. Remove it, and create it again") as error:
        _ = partition.read_edges(1), partition.read_node_data(1)
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_part_is_compared_with_its_hash_only_where_it_is_a_file_with_content(copy: Path) -> None:
    partition = read_partition(copy)
    part = copy / "part0" / "feat.npy"
    with part.open("r+b") as file:
        file.truncate(1 << 40)  # to read it takes an hour
    with pytest.raises(DataError, match=r"cannot be read \(most of its 1099511627776 bytes are holes.*Copy part0 again"):
        partition.check_part(0)
    with pytest.raises(DataError, match="most of its 1099511627776 bytes are holes"):
        partition.read_node_data(0)
    part.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"is not the file that was written\. Copy part0 again"):
        partition.check_part(0)
    partition.check_part(1)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null"])
def test_a_damaged_partition_is_one_message(content: str, tmp_path: Path) -> None:
    (tmp_path / "partition.json").write_text(content)
    with pytest.raises(DataError, match=r"is not a valid partition .*Remove it, and create it again"):
        read_partition(tmp_path)


def test_degrees_of_a_directed_graph_are_not_swapped(tmp_path: Path) -> None:
    digits = load_dataset("digits", "node")
    one_way = digits.replaced(edges=digits.edges[:, digits.edges[0] < digits.edges[1]])
    write_partition(one_way, 1, tmp_path / "parts")
    stored = read_partition(tmp_path / "parts").read_node_data(0)
    np.testing.assert_array_equal(stored["in_degree"][:, 0], np.diff(one_way.in_offsets))
    np.testing.assert_array_equal(stored["out_degree"][:, 0], np.bincount(one_way.edges[0], minlength=one_way.num_nodes))
