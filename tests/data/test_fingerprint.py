from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from dgl_mutual.data import Split, load_dataset
from dgl_mutual.data.fingerprint import fingerprint
from tests.nn.edges import with_edges

Build = Callable[..., Path]


def test_storage_does_not_matter_and_content_does(build_tu: Build) -> None:
    dataset = load_dataset(build_tu())
    known = fingerprint(dataset)
    assert len(known) == 12 and int(known, 16) >= 0
    stored = sparse.csr_matrix(dataset.features)
    stored.data[:] = stored.data  # CSR with an explicit zero and unsorted columns
    scrambled = sparse.coo_matrix(dataset.features).tocsr()
    scrambled.indices[:3], scrambled.data[:3] = scrambled.indices[:3][::-1].copy(), scrambled.data[:3][::-1].copy()
    scrambled.has_sorted_indices = False
    assert fingerprint(replace(dataset, features=stored)) == fingerprint(replace(dataset, features=scrambled)) == known
    assert fingerprint(replace(dataset, name="other", edges=dataset.edges.astype(np.int32))) == known
    others = [
        replace(dataset, features=dataset.features + 1),
        replace(dataset, labels=1 - dataset.labels),
        replace(dataset, edges=dataset.edges[:, 1:]),
        replace(dataset, edges=dataset.edges[:, :0]),
        replace(dataset, edges=dataset.edges[:, :0], node_offsets=np.array([0, 2, 5])),
    ]
    assert len({known, *map(fingerprint, others)}) == 6


def test_split_counts_but_not_its_order(build_tu: Build) -> None:
    dataset = load_dataset(build_tu())
    one, reordered = (Split(np.array(train), np.array([3]), np.array([4])) for train in ([0, 1], [1, 0]))
    other = Split(np.array([0]), np.array([1, 3]), np.array([4]))
    assert fingerprint(dataset, one) == fingerprint(dataset, reordered)
    assert len({fingerprint(dataset), fingerprint(dataset, one), fingerprint(dataset, other)}) == 3


def test_edge_features_count_unless_they_are_left_out(build_tu: Build) -> None:
    plain = load_dataset(build_tu()).without_edge_features()
    bonds = with_edges(plain)
    split = Split(np.array([0]), np.array([1]), np.array([2]))
    assert fingerprint(bonds, split) != fingerprint(plain, split)
    assert fingerprint(bonds, split, edge_features=False) == fingerprint(plain, split, edge_features=False) == fingerprint(plain, split)


def test_unknown_labels_have_one_form(build_ogb: Build) -> None:
    dataset = load_dataset("ogbg-molbace", data_dir=build_ogb(raw__graph_label="1\nnan\n0\n").parent.parent, offline=True)
    negative_nan = dataset.labels.copy()
    negative_nan[np.isnan(negative_nan)] = -np.float32(np.nan)
    assert fingerprint(replace(dataset, labels=negative_nan)) == fingerprint(dataset)


def test_real_data_keep_their_fingerprint(data_dir: Path) -> None:
    """Results store these values: a change makes old results incomparable, and must be intended."""
    known = {
        "cora": "5d978d71b40b",
        "citeseer": "f00ad3755786",
        "MUTAG": "c461d975874a",
        "ogbg-molbace": "c86bba73bfa2",
        "digits": "7f774ae4a6aa",
    }
    datasets = {name: load_dataset(name, data_dir=data_dir, offline=True) for name in known}
    assert {name: fingerprint(dataset.without_edge_features()) for name, dataset in datasets.items()} == known
    with_edge_features = {"MUTAG": "081acb629fee", "ogbg-molbace": "e574c07d1566"}
    assert {name: fingerprint(datasets[name]) for name in with_edge_features} == with_edge_features


def test_an_unknown_label_is_not_a_negative_one(build_ogb: Build) -> None:
    dataset = load_dataset("ogbg-molbace", data_dir=build_ogb(raw__graph_label="1\nnan\n0\n").parent.parent, offline=True)
    assert fingerprint(replace(dataset, labels=np.nan_to_num(dataset.labels))) != fingerprint(dataset)


def test_all_rows_count_also_of_features_that_are_hashed_in_parts(build_tu: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset(build_tu())
    known = fingerprint(dataset)
    monkeypatch.setattr("dgl_mutual.data.fingerprint._ROWS", 2)
    assert fingerprint(dataset) == known
