from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.data import Dataset, load_dataset, verify_dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.sources.npz import read_gnn_benchmark
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.errors import DataError

Build = Callable[..., Path]


def read(path: Path) -> Dataset:
    return read_gnn_benchmark(path.parent, "Amazon-Photo", Faults(), Request())


def test_reads_graph_features_and_labels(build_npz: Build) -> None:
    dataset = read(build_npz())
    assert dataset.edges.tolist() == [[1, 3, 0, 2, 1, 0], [0, 0, 1, 1, 2, 3]]  # symmetric, and the loop at node 2 is gone
    np.testing.assert_array_equal(dataset.features, [[0.5, 0.5], [1, 0], [0, 0], [0.25, 0.75]])
    assert dataset.labels.tolist() == [0, 1, 1, 0] and dataset.labels.dtype == np.int64
    assert dataset.official_split is None


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", ">i4", ">i8", ">u2", "<f2"])
@pytest.mark.parametrize("part", ["adj", "attr", "labels"])
def test_arrays_in_the_byte_order_of_other_machines(part: str, dtype: str, build_npz: Build) -> None:
    names = ["labels"] if part == "labels" else [f"{part}_{name}" for name in ("data", "indices", "indptr", "shape")]
    whole = [name for name in names if not name.endswith("data")]
    with np.load(build_npz()) as plain:
        arrays = {name: plain[name].astype(">i4" if name in whole else dtype) for name in names}
    dataset, expected = read(build_npz(**arrays)), read(build_npz())
    assert fingerprint(dataset) == fingerprint(expected)


def test_integers_in_one_place_may_sum_up_beyond_their_type(build_npz: Build) -> None:
    large = np.array([2**63 - 1, 2**63 - 1, 1, 1, 3])
    dataset = read(build_npz(attr_data=large, attr_indices=np.array([0, 0, 1, 0, 1])))
    np.testing.assert_array_equal(dataset.features, [[1, 0], [0, 1], [0, 0], [0.25, 0.75]])


FAULTS = [
    ({"labels": None}, "labels missing"),
    ({"labels": np.array([0, 1])}, r"labels: expected 4 labels, one for each node, found shape \(2,\)"),
    ({"labels": np.array([0, 1, -1, 0])}, "labels: expected class indices"),
    ({"labels": np.array([{}, 1, 1, 0], dtype=object)}, "labels: expected plain numbers"),
    ({"adj_indices": np.array([1, 0, 99, 2, 0])}, "adj_data, _indices, _indptr, _shape: expected a CSR matrix"),
    *(
        ({"adj_indptr": np.array(pointers)}, "adj_data, _indices, _indptr, _shape: expected a CSR matrix .its row pointers do not rise")
        for pointers in ([0, 1, 3, 4, -1], [0, 1 << 40, 3, 4, -1], [0, 5, 3, 2, 0], [0, 1, 3, 4, 6], [1, 1, 3, 4, 5])
    ),
    ({"adj_indptr": np.array([0.0, 1, 3, 4, 5])}, "expected a CSR matrix .its row pointers and column indices are not integers"),
    ({"adj_shape": np.array([4, 4, 1])}, "expected a CSR matrix .its shape is not two integers"),
    (
        {
            **{f"{part}_data": np.zeros(0) for part in ("adj", "attr")},
            **{f"{part}_indices": np.zeros(0, dtype=int) for part in ("adj", "attr")},
            **{f"{part}_indptr": np.zeros(1, dtype=int) for part in ("adj", "attr")},
            **{"adj_shape": np.array([0, 0]), "attr_shape": np.array([0, 2]), "labels": np.zeros(0, dtype=int)},
        },
        "adj_shape: expected at least one node",
    ),
    ({"adj_shape": np.array([4, 5])}, "adj_shape: expected a square matrix"),
    ({"attr_data": np.array([1, 1, np.nan, 1, 3], dtype=np.float32)}, "attr: expected finite numbers, .* row 1"),
    ({"attr_data": np.array([1, 1, 1, 1, -1e39])}, r"attr: expected finite numbers, .*found -1e\+39 in row 3"),
    (
        {"attr_data": np.array([3e38, 3e38, 1, 1, 1], dtype=np.float32), "attr_indices": np.array([1, 1, 0, 0, 1])},
        r"attr: expected finite numbers, .*found 6e\+38 in row 0",  # two entries of one place are summed
    ),
    ({"attr_shape": np.array([5, 2]), "attr_indptr": np.array([0, 2, 3, 3, 5, 5])}, "attr: expected a row for each of the 4 nodes"),
]


@pytest.mark.parametrize(("changed", "message"), FAULTS)
def test_faults(build_npz: Build, changed: dict[str, np.ndarray | None], message: str) -> None:
    with pytest.raises(DataError, match=rf"amazon_electronics_photo\.npz: .*{message}"):
        read(build_npz(**changed))


def test_truncated_file(build_npz: Build) -> None:
    path = build_npz()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="truncated or damaged"):
        read(path)


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "features", "classes"),
    [("Amazon-Computers", 13752, 245861, 767, 10), ("Coauthor-CS", 18333, 81894, 6805, 15)],
)
def test_published_counts(data_dir: Path, name: str, nodes: int, edges: int, features: int, classes: int) -> None:
    dataset = load_dataset(name, data_dir=data_dir, offline=True)
    assert (dataset.num_nodes, dataset.num_edges, dataset.num_features) == (nodes, 2 * edges, features)
    assert dataset.target.num_outputs == classes == len(np.unique(dataset.labels))
    assert verify_dataset(name, data_dir=data_dir) == []
