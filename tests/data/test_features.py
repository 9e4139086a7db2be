from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.sources.npz import read_gnn_benchmark
from dgl_mutual.data.sources.ogb_nodes import read_ogb_nodes
from dgl_mutual.data.sources.planetoid import read_planetoid
from dgl_mutual.data.sources.ppi import read_ppi
from dgl_mutual.data.values import features as features_module
from dgl_mutual.data.values.arrays import as_array
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.features import LARGEST, check_features, compact, normalise_rows, unusable
from dgl_mutual.errors import DataError
from tests.data.conftest import npz_arrays, planetoid_parts
from tests.data.ppi import ppi_files, write_ppi

Build = Callable[..., Path]


def test_numbers_beyond_float32_are_unusable() -> None:
    values = np.array([0.0, -1.5, 3.4028235e38, -3.4028235e38, 3.5e38, 1e39, -1e308, np.inf, np.nan])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(unusable(values), ~np.isfinite(values.astype(np.float32)))
    assert unusable(values).tolist() == [False] * 4 + [True] * 5
    assert not unusable(np.array([2**62, -(2**62)])).any()


@pytest.mark.parametrize("as_features", [np.asarray, sparse.csr_matrix, sparse.coo_matrix], ids=["dense", "csr", "coo"])
@pytest.mark.parametrize("value", [1e39, np.nan, -np.inf])
def test_a_feature_that_is_not_finite_is_named_with_its_row(as_features: type, value: float) -> None:
    values = np.eye(4, 3)
    values[2, 1] = value
    with pytest.raises(DataError, match=rf"^x: expected finite numbers.*found {re.escape(f'{value:g}')} in row 2"):
        check_features(as_features(values), 4, "x")
    with pytest.raises(DataError, match="row 2"):
        compact(sparse.csr_matrix(values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((3, 2)), r"x: expected a row for each of the 4 nodes, shape \(4, columns\), found \(3, 2\)"),
        (np.ones(4), r"found \(4,\)"),
        (np.ones((4, 0)), r"x: expected 1 to 1000000 columns, found 0"),
        (np.array([["a"]] * 4), r"x: expected numbers, found values of type <U1"),
        (np.array([[None]] * 4), r"x: expected numbers, found values of type object"),
        (np.ones((4, 1), dtype=np.complex128), r"found values of type complex128"),
    ],
)
def test_invalid_features_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_features(values, 4, "x")


def read_with(form: str, change: Callable[[np.ndarray], np.ndarray], tmp_path: Path, build_npz: Build, build_planetoid: Build) -> None:
    """Read a small dataset in one of the forms, its features changed."""
    if form == "npz":
        arrays = npz_arrays()
        sound = sparse.csr_matrix(
            tuple(arrays[f"attr_{part}"] for part in ("data", "indices", "indptr")), shape=tuple(arrays["attr_shape"])
        )
        changed = sparse.csr_matrix(change(sound.toarray()))
        parts = {f"attr_{part}": getattr(changed, part) for part in ("data", "indices", "indptr")}
        read_gnn_benchmark(build_npz(**parts, attr_shape=np.array(changed.shape)).parent, "Amazon-Photo", Faults(), Request())
    elif form == "planetoid":
        x: Any = planetoid_parts()["x"]
        read_planetoid(build_planetoid(x=sparse.csr_matrix(change(x.toarray()))), "Cora", Faults(), Request())
    elif form == "ppi":
        files = ppi_files()
        read_ppi(write_ppi(tmp_path / "ppi", {**files, "train_feats.npy": change(files["train_feats.npy"])}), "PPI", Faults(), Request())
    else:
        raw = tmp_path / "own" / "raw"
        raw.mkdir(parents=True)
        arrays = {"edge_index": np.array([[0], [1]]), "num_nodes_list": np.array([2]), "num_edges_list": np.array([1])}
        np.savez(raw / "data.npz", **arrays, node_feat=change(np.ones((2, 2))))
        np.savez(raw / "node-label.npz", node_label=np.array([[0], [1]]))
        read_ogb_nodes(tmp_path / "own", "own", Faults(), Request())


def infinite(features: np.ndarray) -> np.ndarray:
    features = features.copy()
    features[1, 0] = np.inf
    return features


@pytest.mark.parametrize("form", ["npz", "planetoid", "ppi", "ogb"])
@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda features: features[:, :0], "expected 1 to 8 columns, found 0$"),
        (lambda features: np.repeat(features, 9, axis=1), r"expected 1 to 8 columns, found \d+$"),
        (infinite, r"expected finite numbers, .*found inf in row 1; rescale"),
    ],
    ids=["no columns", "too many columns", "infinite"],
)
def test_readers_share_the_rules_of_features(
    form: str,
    change: Callable[[np.ndarray], np.ndarray],
    rule: str,
    tmp_path: Path,
    build_npz: Build,
    build_planetoid: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features_module, "MAX_COLUMNS", 8)
    read_with(form, lambda features: features, tmp_path / "sound", build_npz, build_planetoid)
    with pytest.raises(DataError) as raised:
        read_with(form, change, tmp_path, build_npz, build_planetoid)
    assert re.search(rule, str(raised.value).splitlines()[0].removesuffix("."))


def test_rows_whose_sum_is_beyond_float32_keep_their_proportions() -> None:
    large = np.float32(LARGEST)
    rows = normalise_rows(sparse.csr_matrix(np.array([[large, large, 0], [1, 3, 0], [0, 0, 0]], dtype=np.float32)))
    np.testing.assert_allclose(rows.toarray(), [[0.5, 0.5, 0], [0.25, 0.75, 0], [0, 0, 0]], rtol=1e-6)


def test_sums_in_one_place_are_sums_in_float64(build_planetoid: Build) -> None:
    large, whole = np.array([3e38, 3e38, 1], dtype=np.float32), np.array([2**63 - 1, 2**63 - 1, 1])
    twice = sparse.csr_matrix((large, [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    with pytest.raises(DataError, match=r"x: expected finite numbers.*found 6e\+38 in row 0"):
        check_features(twice, 2, "x")
    np.testing.assert_array_equal(normalise_rows(twice).toarray(), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(twice.data, large)
    allx = sparse.csr_matrix((whole, [1, 1, 0], [0, 2, *[3] * 519]), shape=(520, 6))
    dataset = read_planetoid(build_planetoid(x=allx[:10], allx=allx), "Cora", Faults(), Request())
    np.testing.assert_array_equal(as_array(dataset.features[:2], "features"), [[0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize(("every", "is_sparse"), [(1, False), (2, True)])
def test_a_large_matrix_of_few_columns_is_dense_where_its_entries_justify_it(
    every: int, is_sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of a few bytes can have millions of rows of zeros, and of one-hot rows there is an entry in each."""
    one_hot = sparse.csr_matrix(np.eye(31, dtype=np.float32)[np.arange(100) % 31] * (np.arange(100) % every == 0)[:, None])
    assert isinstance(compact(one_hot), np.ndarray)
    monkeypatch.setattr(features_module, "DENSE_CELLS", 3099)
    kept = compact(one_hot)
    assert sparse.issparse(kept) is is_sparse
    np.testing.assert_array_equal(as_array(kept, "features"), one_hot.toarray())
    assert isinstance(compact(one_hot[:99]), np.ndarray)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("pointers", [[0, 1 << 40, 1, -1], [0, 2, 1, 0], [0, 1, 2, 9]])
def test_a_matrix_whose_arrays_do_not_fit_is_refused(kind: type, pointers: list[int]) -> None:
    """SciPy would write beyond its arrays: its own check does nothing if the last pointer is 0 or less."""
    matrix = kind(np.eye(3, dtype=np.float32))
    matrix.indptr = np.array(pointers)
    for make in (lambda: Dataset.from_arrays(np.array([[0, 1], [1, 2]]), matrix, [0, 1, 0]), lambda: as_array(matrix, "features")):
        with pytest.raises(DataError, match="not a valid sparse matrix: its row pointers do not rise"):
            make()


def test_a_matrix_of_blocks_whose_arrays_do_not_fit_is_refused() -> None:
    matrix = sparse.bsr_matrix(np.eye(4, dtype=np.float32), blocksize=(2, 2))
    np.testing.assert_array_equal(as_array(matrix, "features"), np.eye(4))
    matrix.indices = np.array([0, 1 << 20])
    with pytest.raises(DataError, match="not a valid sparse matrix: its column indices are not within 0"):
        as_array(matrix, "features")


def made(features: Any, **given: Any) -> Dataset:
    return Dataset.from_arrays([[0, 1, 2], [1, 2, 3]], **{"features": features, "labels": [0, 1, 0, 1], **given})


@pytest.mark.parametrize(("kind", "total"), [(np.bool_, 1), (np.int8, 200), (np.uint8, 400), (np.float64, 200)])
def test_entries_in_one_place_are_summed(kind: type, total: float) -> None:
    entries = np.array([total / 2, total / 2, 1]).astype(kind)
    twice = sparse.csr_matrix((entries.copy(), [1, 1, 0], [0, 2, 3, 3, 3]), shape=(4, 2))
    dataset = made(twice)
    np.testing.assert_array_equal(compact(twice), dataset.features)
    np.testing.assert_array_equal(dataset.features, [[0, total], [1, 0], [0, 0], [0, 0]])
    assert set(dataset.feature_kinds) == {"indicator" if kind is np.bool_ else "number"}
    assert twice.nnz == 3 and np.array_equal(twice.data, entries), "the user's matrix stays as it is"


CODES, AMOUNTS = ["01234", "0100", "1_0", "1e3"], [1.0, 2, 3, 4]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            pd.DataFrame({"zip": CODES, "v": AMOUNTS}),
            r"column 'zip': expected numbers, found strings such as '01234'.*astype\(\{'zip': float\}\)",
        ),
        (
            pd.DataFrame({"v": AMOUNTS, "zip": pd.array(CODES, dtype="string")}),
            r"column 'zip': .*get_dummies\(features, columns=\['zip'\], prefix_sep='='\)",
        ),
        (
            np.array([*zip(AMOUNTS, CODES, strict=True)], dtype=object),
            "features, column 1: expected numbers, found strings such as '01234'",
        ),
        (np.array([[b"1", 2.0]] * 4, dtype=object), "column 0: expected numbers, found strings such as b'1'"),
        (pd.DataFrame({"kind": pd.Categorical([3, 1, 2, 1]), "v": AMOUNTS}), r"column 'kind': expected numbers, found categories"),
        (pd.DataFrame({"kind": pd.Categorical(["3", "1", "2", "1"])}), r"column 'kind': expected numbers, found categories"),
    ],
)
def test_text_and_categories_are_not_numbers(features: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(features)
    with pytest.raises(DataError, match=r"edge features, column '?(zip|kind|0|1)'?: expected numbers, found"):
        Dataset.from_arrays([[0, 1, 2, 3], [1, 2, 3, 0]], np.eye(4), edge_features=features)


def test_the_advice_on_categories_works() -> None:
    features = pd.DataFrame({"kind": pd.Categorical(["3", "1", "2", "1"])})
    np.testing.assert_array_equal(made(features.astype({"kind": float})).features[:, 0], [3, 1, 2, 1])
    assert set(made(pd.get_dummies(features, columns=["kind"], prefix_sep="=")).feature_kinds) == {"indicator"}


@pytest.mark.parametrize(
    "features",
    [
        pd.DataFrame({"code": [3, 1, 2, 1], "v": AMOUNTS}),
        pd.DataFrame({"code": pd.array([3, 1, 2, 1], dtype="Int64"), "v": AMOUNTS}),
        [[3, 0.5], [1, 1.5], [2, 2.5], [1, 3.5]],
        np.array([[3, 0.5], [1, 1.5], [2, 2.5], [1, 3.5]], dtype=object),
    ],
)
def test_integers_beside_others_may_be_codes(features: Any) -> None:
    with pytest.warns(
        UserWarning, match=r"The features in column (code|feature 0) are integers from 1 to 3, and are treated as numerical values"
    ):
        made(features)
    made(features, feature_kinds="number")
    made(pd.DataFrame({"code": [0, 1, 1, 0], "below": [-3, 1, 2, 1], "v": AMOUNTS}))


def test_numbers_that_float32_hardly_distinguishes_cause_a_warning() -> None:
    seconds = np.array([[0.0, 1.7e9], [1.0, 1.7e9 + 3600]])
    message = r"column 1: values from 1700000000 to 1700003600 can hardly be distinguished in float32.*Subtract 1700000000"
    with pytest.warns(UserWarning, match=message):
        compact(seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in (seconds - [0, 1.7e9], np.full((3, 1), 1.7e9), np.arange(6).reshape(3, 2), np.eye(2) > 0):
            compact(values)
