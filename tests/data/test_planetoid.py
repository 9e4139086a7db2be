from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from dgl_mutual.data import describe_dataset, load_dataset, verify_dataset
from dgl_mutual.errors import DataError
from tests.data.conftest import planetoid_parts

Build = Callable[..., Path]


def test_test_nodes_stand_at_their_indices(build_planetoid: Build) -> None:
    dataset = load_dataset("Cora", data_dir=build_planetoid().parent, offline=True)
    assert dataset.num_nodes == 524 and dataset.target.names == ("0", "1")
    features = np.asarray(sparse.csr_matrix(dataset.features).todense())
    np.testing.assert_array_equal(features[521], [1, 0, 0, 0, 0, 0])  # the first row of tx, as test.index begins with 521
    np.testing.assert_allclose(features[520], [0, 0, 0, 1 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    assert dataset.labels[[520, 521, 522, 523]].tolist() == [1, 0, -1, 1]
    assert not features[522].any()
    split = dataset.official_split
    assert split is not None
    assert split.train.tolist() == list(range(10)) and split.val.tolist() == list(range(10, 510)) and split.test.tolist() == [520, 521, 523]


def test_edges_are_symmetric_without_loops(build_planetoid: Build) -> None:
    dataset = load_dataset("cora", data_dir=build_planetoid().parent, offline=True)
    pairs = set(zip(*dataset.edges.tolist(), strict=True))
    assert len(pairs) == dataset.num_edges == 2 * 523  # a ring of 522 nodes, and 0-523
    assert all((destination, source) in pairs and source != destination for source, destination in pairs)


class _Foreign:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (_Foreign.place,)

    place = ""


def test_foreign_class_is_refused_and_not_run(build_planetoid: Build, tmp_path: Path) -> None:
    _Foreign.place = str(tmp_path / "executed")
    folder = build_planetoid(graph=pickle.dumps(_Foreign()))
    with pytest.raises(DataError, match=r"ind\.cora\.graph: the pickle is refused: it refers to posix\.mkdir"):
        load_dataset("cora", data_dir=folder.parent, offline=True)
    assert not (tmp_path / "executed").exists()


BROKEN_CSR = sparse.csr_matrix(np.eye(10, 6, dtype=np.float32))
BROKEN_CSR.indices = BROKEN_CSR.indices + 100

FAULTS = [
    ({"x": b"garbage"}, "cora.x: the pickle is"),
    ({"allx": pickle.dumps(np.eye(3))[:-20]}, r"cora\.allx: the pickle is"),
    ({"x": np.eye(3)}, r"cora\.x: expected a scipy CSR matrix"),
    ({"x": BROKEN_CSR}, r"cora\.x: expected a scipy CSR matrix"),
    ({"x": sparse.csr_matrix(np.full((10, 6), np.nan, dtype=np.float32))}, r"cora\.x: expected finite numbers.* row 0"),
    ({"y": np.ones((10, 2), dtype=np.int32)}, r"cora\.y: expected one-hot labels, row 0"),
    ({"y": np.eye(2, dtype=np.int32)}, r"cora\.y: expected 10 rows, one for each row of x, found 2"),
    ({"tx": sparse.csr_matrix(np.eye(3, 5, dtype=np.float32))}, r"cora\.tx: expected 6 columns as in x, found 5"),
    ({"ty": np.eye(3, dtype=np.int32)}, r"cora\.ty: expected 2 columns as in y, found 3"),
    ({"ally": np.eye(3, dtype=np.int32)[np.arange(520) % 2]}, r"cora\.ally: expected 2 columns as in y, found 3"),
    ({"y": np.eye(2, dtype=np.int32)[[0, 1, 0, 0, 0, 1, 0, 1, 0, 1]]}, r"cora\.y: expected the first rows of ally, row 3 differs"),
    ({"x": sparse.csr_matrix(np.eye(10, 6, dtype=np.float32))}, r"cora\.x: expected the first rows of allx, row 0 differs"),
    ({"graph": [1, 2]}, r"cora\.graph: expected a dict"),
    ({"graph": {0: [1, 999]}}, r"cora\.graph: expected node indices 0 \.\.\. 523, found 999"),
    ({"graph": {0: [1, -1]}}, r"cora\.graph: expected node indices 0 \.\.\. 523, found -1"),
    ({"test_index": "521\n523\n3\n"}, r"test\.index, line 3: expected a test node's number 520 \.\.\. 525, found '3'"),
    ({"test_index": "521\n523\n526\n"}, r"test\.index, line 3: expected a test node's number 520 \.\.\. 525, found '526'"),
    ({"test_index": "521\n523\n521\n"}, r"test\.index, line 3: expected each test node once"),
    ({"test_index": "521\n523\n"}, r"test\.index, line 3: expected 3 lines"),
    ({"test_index": "521\nabc\n520\n"}, r"test\.index, line 2: expected numbers only"),
]


@pytest.mark.parametrize(("changed", "message"), FAULTS)
def test_faults(build_planetoid: Build, changed: dict[str, object], message: str) -> None:
    folder = build_planetoid(**changed)
    with pytest.raises(DataError, match=message):
        load_dataset("cora", data_dir=folder.parent, offline=True)
    broken = next(iter(changed)).replace("_", ".")
    assert any(fault.file.name == f"ind.cora.{broken}" for fault in verify_dataset("cora", data_dir=folder.parent))


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "features", "classes", "train", "unlabelled"),
    [("Cora", 2708, 5278, 1433, 7, 140, 0), ("CiteSeer", 3327, 4552, 3703, 6, 120, 15)],
)
def test_published_counts(
    data_dir: Path, name: str, nodes: int, edges: int, features: int, classes: int, train: int, unlabelled: int
) -> None:
    dataset = load_dataset(name, data_dir=data_dir, offline=True)
    facts = describe_dataset(dataset)
    assert (facts["nodes"], facts["edges"], facts["features"], facts["outputs"]) == (nodes, 2 * edges, features, classes)
    assert facts["official_split"] == {"train": train, "val": 500, "test": 1000}
    assert facts["unlabelled"] == unlabelled
    assert sparse.issparse(dataset.features)
    sums = np.asarray(dataset.features.sum(axis=1)).ravel()
    np.testing.assert_allclose(sums[sums > 0], 1, rtol=1e-5)
    assert verify_dataset(name, data_dir=data_dir) == []


def test_cora_equals_torch_geometric(data_dir: Path, tmp_path: Path) -> None:
    geometric = pytest.importorskip("torch_geometric.datasets", reason="the reference is optional")
    transforms = pytest.importorskip("torch_geometric.transforms")
    raw = tmp_path / "Cora" / "raw"
    raw.mkdir(parents=True)
    for file in (data_dir / "planetoid").glob("ind.cora.*"):
        (raw / file.name).write_bytes(file.read_bytes())
    theirs = geometric.Planetoid(str(tmp_path), "Cora", transform=transforms.NormalizeFeatures())[0]
    ours = load_dataset("cora", data_dir=data_dir, offline=True)
    np.testing.assert_allclose(ours.features.toarray(), theirs.x.numpy(), atol=1e-7)
    np.testing.assert_array_equal(ours.labels, theirs.y.numpy())
    assert set(zip(*ours.edges.tolist(), strict=True)) == set(zip(*theirs.edge_index.tolist(), strict=True))
    assert ours.official_split is not None
    np.testing.assert_array_equal(ours.official_split.test, np.flatnonzero(theirs.test_mask.numpy()))
    np.testing.assert_array_equal(ours.official_split.val, np.flatnonzero(theirs.val_mask.numpy()))


def test_rows_of_zeros_are_nodes_without_a_label(build_planetoid: Build) -> None:
    ally, ty = (np.array(planetoid_parts()[part]) for part in ("ally", "ty"))
    ally[515], ty[1] = 0, 0
    dataset = load_dataset("cora", data_dir=build_planetoid(ally=ally, ty=ty).parent, offline=True)
    assert dataset.labels[[514, 515, 516]].tolist() == [0, -1, 0]
    assert dataset.labels[[520, 521, 522, 523]].tolist() == [1, 0, -1, -1]
