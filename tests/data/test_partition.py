from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dgl
import numpy as np
import pytest

from dgl_mutual.data import partition as partition_module
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.load import load_dataset
from dgl_mutual.data.partition import is_partition, read_partition, write_partition
from dgl_mutual.data.split import Split
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
    stored = [dgl.data.utils.load_tensors(str(folder / f"part{part}" / "node_feat.dgl")) for part in range(2)]
    features, degrees = (np.concatenate([part[f"_N/{name}"].numpy() for part in stored])[partition.ids] for name in ("feat", "in_degree"))
    expected = digits.features if isinstance(digits.features, np.ndarray) else digits.features.toarray()
    np.testing.assert_array_equal(features, expected)
    np.testing.assert_array_equal(degrees[:, 0], np.diff(digits.in_offsets))


def test_only_the_owner_may_read_the_key(copy: Path, digits: Dataset) -> None:
    (copy / "partition.json").chmod(0o644)
    for name in ("parts", "new"):
        write_partition(digits, 2, copy.with_name(name))
        assert (copy.with_name(name) / "partition.json").stat().st_mode & 0o777 == 0o600


def test_the_official_split_comes_back(digits: Dataset, tmp_path: Path) -> None:
    for parts in (3, 4):
        split = Split(*np.array_split(np.arange(digits.num_nodes), parts))
        write_partition(digits.replaced(official_splits=(split,)), 1, tmp_path / str(parts))
        found = read_partition(tmp_path / str(parts)).dataset.official_split
        assert found is not None
        assert {name: part.tolist() for name, part in found.parts.items()} == {name: part.tolist() for name, part in split.parts.items()}


def test_what_a_trainer_keeps_is_the_dataset_without_its_graph(folder: Path, digits: Dataset) -> None:
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


def test_a_folder_of_something_else_is_left_alone(folder: Path, digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(DataError, match="holds no partition"):
        write_partition(digits, 2, tmp_path)
    other = replace(digits, name="other", labels=np.roll(digits.labels, 1))
    with pytest.raises(DataError, match=rf"holds 2 parts of digits \({fingerprint(digits)}\)"):
        write_partition(other, 2, folder)
    with pytest.raises(DataError, match="holds 2 parts of digits"):
        write_partition(digits, 3, folder)


def test_what_cannot_be_cut_is_refused(digits: Dataset, tmp_path: Path) -> None:
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


def test_a_partition_is_replaced_by_one_of_the_same_graph(copy: Path, digits: Dataset) -> None:
    before = contents(copy)
    write_partition(digits, 2, copy)
    after = contents(copy)
    assert after.keys() == before.keys()
    assert read_partition(copy).key != bytes.fromhex(json.loads(before["partition.json"])["key"])
    assert list(copy.parent.iterdir()) == [copy]


@pytest.mark.parametrize("foreign", ["results/trials.csv", "notes.txt", "part0/mine.npy", ".git/config", "part2/graph.dgl"])
def test_what_a_user_put_into_a_partition_is_kept(copy: Path, digits: Dataset, foreign: str) -> None:
    (copy / foreign).parent.mkdir(parents=True, exist_ok=True)
    (copy / foreign).write_text("mine")
    before = contents(copy)
    with pytest.raises(DataError, match="beside its partition, which would be lost"):
        write_partition(digits, 2, copy)
    assert contents(copy) == before
    assert list(copy.parent.iterdir()) == [copy]


def test_links_in_a_partition_are_kept(copy: Path, digits: Dataset, tmp_path: Path) -> None:
    elsewhere = copy.rename(tmp_path / "elsewhere")
    copy.mkdir()
    for path in elsewhere.iterdir():
        (copy / path.name).symlink_to(path)
    before = contents(elsewhere)
    with pytest.raises(DataError, match="beside its partition, which would be lost"):
        write_partition(digits, 2, copy)
    assert contents(elsewhere) == before


def test_a_link_to_a_folder_stays_a_link(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "parts").symlink_to(tmp_path / "disk")
    write_partition(digits, 1, tmp_path / "parts")
    assert (tmp_path / "parts").is_symlink()
    assert is_partition(tmp_path / "disk")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.raises(DataError, match="is a link to nothing"):
        write_partition(digits, 1, tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["file", "fifo", "half", "damaged"])
def test_what_is_no_sound_partition_is_left_alone(digits: Dataset, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "fifo":
        os.mkfifo(out)
    else:
        (out / "part0").mkdir(parents=True)
        (out / "part0" / "graph.dgl").write_text("mine")
        (out / "partition.json").write_text("{}") if kind == "damaged" else None
    before = contents(tmp_path)
    with pytest.raises(DataError, match=r"Choose another folder with --out, or remove it\.$"):
        write_partition(digits, 2, out)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), dgl.DGLError("Check failed: std::fwrite(ptr, 1")])
def test_a_full_disk_leaves_what_was_there(copy: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    before = contents(copy)
    cut = partition_module._cut

    def full(*arguments: object) -> object:
        cut(*arguments)
        raise error

    monkeypatch.setattr(partition_module, "_cut", full)
    with pytest.raises(StoreError, match=r"No space left on device\. Make room on the disk"):
        write_partition(digits, 2, copy)
    assert contents(copy) == before
    assert list(copy.parent.iterdir()) == [copy]


@pytest.mark.parametrize("name", ["part0/node_feat.dgl", "part1/graph.dgl", "part1/node_feat.dgl"])
def test_parts_that_are_cut_off_are_no_partition(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cut = partition_module._cut
    monkeypatch.setattr("torch.equal", lambda *_: True)  # as if DGL read what memory still holds

    def cut_off(graph: dgl.DGLGraph, num_parts: int, folder: Path, split: Split | None) -> object:
        ids = cut(graph, num_parts, folder, split)
        with (folder / name).open("r+b") as file:  # what DGL leaves, without a word, on a full disk
            file.truncate((folder / name).stat().st_size // 2)
        return ids

    monkeypatch.setattr(partition_module, "_cut", cut_off)
    with pytest.raises((StoreError, DataError), match=r"cannot cut digits|Cannot write"):
        write_partition(digits, 2, tmp_path / "parts")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_partition_comes_back_after_a_kill_between_the_two_moves(
    copy: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = contents(copy), os.replace

    def move(source: Path, target: Path) -> None:
        rename(source, target)
        os._exit(9)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", move)
        if (child := os.fork()) == 0:
            write_partition(digits, 2, copy)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not copy.exists()
    monkeypatch.setattr(partition_module, "_write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(StoreError):
        write_partition(digits, 2, copy)
    assert contents(copy) == before


def test_what_comes_to_stand_there_meanwhile_is_kept(copy: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = contents(copy), partition_module._write

    def slow(dataset: Dataset, num_parts: int, made: Path) -> None:
        write(dataset, num_parts, made)
        (copy / "part0" / "notes").write_text("mine")

    monkeypatch.setattr(partition_module, "_write", slow)
    with pytest.raises(DataError, match="beside its partition, which would be lost"):
        write_partition(digits, 2, copy)
    assert contents(copy) == {**before, "part0/notes": b"mine"}
    assert list(copy.parent.iterdir()) == [copy]


def test_parts_of_another_version_of_dgl_are_refused(copy: Path) -> None:
    manifest = json.loads((copy / "partition.json").read_text())
    (copy / "partition.json").write_text(json.dumps({**manifest, "dgl": "0.9.1"}))
    with pytest.raises(DataError, match=r"made by DGL 0\.9\.1, whose files DGL .* Create them again"):
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


FILES = {"node_feats": "part1/node_feat.dgl", "edge_feats": "part1/edge_feat.dgl", "part_graph": "part1/graph.dgl"}
#: What stands in graph.json instead, and what is said of it.
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another file": ({"part-1": {**FILES, "part_graph": "/etc/passwd"}}, "other files for part 1: .*/etc/passwd"),
    "files of another part": ({"part-0": FILES}, "other files for part 0"),
    "a number for a file": ({"part-1": {**FILES, "node_feats": 5}}, "other files for part 1: .*5"),
    "more files": ({"part-1": {**FILES, "graphbolt": "x"}}, "other files for part 1"),
    "no files": ({"part-1": None}, "other files for part 1: 'None'"),
    "no edges": ({"edge_map": {}}, "edge_map: "),
    "a file for a map": ({"node_map": "/etc/passwd"}, "node_map: "),
    "maps of one part": ({"node_map": {"_N": [[0, 1797]]}}, "node_map does not divide the numbers from 0 to 1797 among 2 parts"),
    "a gap": ({"node_map": {"_N": [[0, 900], [901, 1797]]}}, "node_map does not divide"),
    "backwards": ({"node_map": {"_N": [[0, 1800], [1800, 1797]]}}, "node_map does not divide"),
    "too many nodes": ({"node_map": {"_N": [[0, 900], [900, 10**9]]}, "num_nodes": 10**9}, "node_map does not divide"),
    "not numbers": ({"node_map": {"_N": [[0, "900"], ["900", 1797]]}}, "node_map"),
    "many parts": ({"num_parts": 10**9}, "is of 1797 nodes in 1000000000 parts"),
    "another name": ({"graph_name": "../graph"}, "graph_name: "),
    "other kinds": ({"ntypes": {"_N": 0, "x": 1}}, "ntypes"),
}


def change(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize("kind", CHANGES)
def test_a_graph_json_from_elsewhere_is_refused_before_dgl_reads_it(copy: Path, kind: str) -> None:
    changed, message = CHANGES[kind]
    change(copy / "graph.json", changed)
    hashes = json.loads((copy / "partition.json").read_text())["sha256"]
    change(copy / "partition.json", {"sha256": {**hashes, "graph.json": hashlib.sha256((copy / "graph.json").read_bytes()).hexdigest()}})
    with pytest.raises(DataError, match=rf"is not a valid partition \(graph\.json.*{message}.*Create it again"):
        read_partition(copy)


def test_another_graph_json_is_refused(copy: Path) -> None:
    change(copy / "graph.json", {"part_method": "random"})
    with pytest.raises(DataError, match=r"graph\.json is not the file that was written"):
        read_partition(copy)


def test_a_manifest_that_does_not_fit_graph_json_is_refused(copy: Path) -> None:
    change(copy / "partition.json", {"num_parts": 10**9})
    with pytest.raises(DataError, match="node_map does not divide the numbers from 0 to 1797 among 1000000000 parts"):
        read_partition(copy)
    hashes = json.loads((copy / "partition.json").read_text())["sha256"]
    del hashes["part1/graph.dgl"]
    change(copy / "partition.json", {"num_parts": 2, "sha256": hashes})
    with pytest.raises(DataError, match=r"partition\.json has no hash of part1/graph\.dgl"):
        read_partition(copy)


def test_a_part_is_compared_with_its_hash_only_where_it_is_a_file_with_content(copy: Path) -> None:
    partition = read_partition(copy)
    part = copy / "part0" / "graph.dgl"
    with part.open("r+b") as file:
        file.truncate(1 << 40)  # to read it takes an hour
    with pytest.raises(DataError, match=r"cannot be read \(most of its 1099511627776 bytes are holes.*Copy part0 again"):
        partition.check_part(0)
    part.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"is not the file that was written\. Copy part0 again"):
        partition.check_part(0)
    partition.check_part(1)


@pytest.mark.parametrize("content", ["[]", "null", "{}", "{", "[" * 10**5])
def test_what_is_no_graph_json_is_one_message(content: str, copy: Path) -> None:
    (copy / "graph.json").write_text(content)
    with pytest.raises(DataError, match=r"is not a valid partition \(graph\.json: "):
        read_partition(copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null"])
def test_a_damaged_partition_is_one_message(content: str, tmp_path: Path) -> None:
    (tmp_path / "partition.json").write_text(content)
    with pytest.raises(DataError, match=r"is not a valid partition .*Create it again"):
        read_partition(tmp_path)
