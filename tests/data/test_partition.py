from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import dgl
import numpy as np
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.load import load_dataset
from dgl_mutual.data.partition import is_partition, read_partition, write_partition
from dgl_mutual.errors import DataError, UsageError


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


def test_what_a_trainer_keeps_is_the_dataset_without_its_graph(folder: Path, digits: Dataset) -> None:
    partition = read_partition(folder)
    kept = partition.dataset
    assert (kept.name, kept.target, kept.feature_names, kept.num_nodes) == ("digits", digits.target, digits.feature_names, 1797)
    np.testing.assert_array_equal(kept.labels, digits.labels)
    assert kept.features.shape == digits.features.shape
    assert partition.fingerprint == fingerprint(digits)


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


def test_parts_of_another_version_of_dgl_are_refused(folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / "partition.json").read_text())
    (tmp_path / "partition.json").write_text(json.dumps({**manifest, "dgl": "0.9.1"}))
    assert is_partition(tmp_path)
    with pytest.raises(DataError, match=r"made by DGL 0\.9\.1, whose files DGL .* Make them anew"):
        read_partition(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null"])
def test_a_damaged_partition_is_one_message(content: str, tmp_path: Path) -> None:
    (tmp_path / "partition.json").write_text(content)
    with pytest.raises(DataError, match=r"is no sound partition .*Make it anew"):
        read_partition(tmp_path)
