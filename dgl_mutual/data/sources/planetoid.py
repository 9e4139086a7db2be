"""Planetoid's citation graphs in their raw form (Yang et al., ICML 2016): eight files ``ind.<name>.*``, seven of them pickles."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.files.inert_pickle import DEFAULT_DICT, MATRIX, Record, RefusedPickle, make_array, read_pickle
from dgl_mutual.data.files.number_tables import read_numbers
from dgl_mutual.data.files.untrusted_files import open_file, recording
from dgl_mutual.data.sources.catalog import PLANETOID_PARTS
from dgl_mutual.data.values.arrays import IntArray, as_kinds, fault_of_csr, storable
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.features import MAX_COLUMNS, compact, fault_of_features, normalise_rows, summed
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import Target
from dgl_mutual.utils.files import RefusedFile

_Made = TypeVar("_Made")
_NUM_VALIDATION = 500

#: PubMed's largest file has 12 MB.
_MAX_BYTES = 1 << 26


def read_planetoid(folder: Path, name: str, faults: Faults, request: Request) -> Dataset:
    """Read ``folder/ind.<name>.*``: row-normalised features, symmetric edges, the public split (20 per class / 500 / 1000).

    CiteSeer lacks 15 nodes in the range of its test indices: these are isolated nodes without features, with the label -1.

    Raises:
        DataError: a file is missing, damaged, refers to a foreign class, or breaks a rule of the format.
    """
    paths = {part: folder / f"ind.{name.lower()}.{part}" for part in PLANETOID_PARTS}
    features = {part: _read_features(paths[part], faults) for part in ("x", "tx", "allx")}
    one_hots = {part: _read_one_hot(paths[part], faults) for part in ("y", "ty", "ally")}
    graph = _read_graph(paths["graph"], faults)
    index = read_numbers(paths["test.index"], faults, columns=1)
    test = index.integers(faults)[:, 0] if index is not None else None
    faults.check()
    assert index is not None and test is not None

    (x, tx, allx), (y, ty, ally) = features.values(), one_hots.values()
    _check_shapes(paths, features, one_hots, faults)
    num_listed = allx.shape[0]
    # Some indices in the range may be missing (CiteSeer: 15 of 1,015), but not most of them.
    end = num_listed + 2 * tx.shape[0]
    index.refuse(faults, (test < num_listed) | (test >= end), f"expected a test node's number {num_listed} ... {end - 1}")
    index.refuse(faults, pd.Series(test).duplicated().to_numpy(), "expected each test node once")
    index.expect_rows(faults, tx.shape[0], "row of tx")
    faults.check()

    num_nodes = max(int(test.max()) + 1, num_listed)
    source, destination = graph
    ends = np.concatenate([source, destination])
    outside = ends[(ends < 0) | (ends >= num_nodes)]
    if len(outside):
        faults.add(paths["graph"], f"expected node indices 0 ... {num_nodes - 1}, found {outside[0]}")
    if len(y) + _NUM_VALIDATION > num_listed:
        faults.add(paths["ally"], f"expected at least {len(y) + _NUM_VALIDATION} rows (training and validation), found {num_listed}")
    for part, whole, differs in (("x", "allx", x != allx[: x.shape[0]]), ("y", "ally", y != ally[: len(y)])):
        wrong = np.flatnonzero(np.asarray(differs.sum(axis=1)))
        if len(wrong):
            faults.add(paths[part], f"expected the first rows of {whole}, row {wrong[0]} differs")
    faults.check()

    place = sparse.csr_matrix((np.ones(len(test)), (test - num_listed, np.arange(len(test)))), shape=(num_nodes - num_listed, len(test)))
    labels = np.full(num_nodes, -1, dtype=np.int64)
    labels[:num_listed], labels[test] = _classes(ally), _classes(ty)
    return Dataset(
        name=name,
        task="node",
        edges=canonical_edges(source, destination, num_nodes, symmetric=True),
        features=compact(normalise_rows(sparse.csr_matrix(sparse.vstack([allx, place @ tx])))),
        labels=labels,
        node_offsets=np.array([0, num_nodes]),
        target=Target("single-label", tuple(str(label) for label in range(int(labels.max()) + 1)), "accuracy"),
        feature_names=tuple(f"word {column}" for column in range(x.shape[1])),
        feature_kinds=as_kinds("count", x.shape[1]),
        official_splits=(Split(np.arange(len(y)), np.arange(len(y), len(y) + _NUM_VALIDATION), np.sort(test)),),
    )


def _read(path: Path, faults: Faults, make: Callable[[Any], _Made], nothing: _Made) -> _Made:
    """Convert the content of a pickle with `make`, or record why not and return `nothing`."""
    with recording(path, faults, "the pickle is truncated or damaged"):
        with open_file(path) as opened:
            content = opened.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise RefusedFile(f"expected at most {_MAX_BYTES} bytes")
        try:
            loaded = read_pickle(content)
        except RefusedPickle as error:
            raise RefusedFile(f"the pickle is refused: {error}") from None
        try:
            return make(loaded)
        except ValueError as error:
            raise RefusedFile(str(error)) from None
    return nothing


def _read_features(path: Path, faults: Faults) -> sparse.csr_matrix:
    return _read(path, faults, _make_matrix, sparse.csr_matrix((0, 0)))


def _make_matrix(loaded: Any) -> sparse.csr_matrix:
    """Create a CSR matrix from checked arrays.

    Raises:
        ValueError: it is not such a matrix, or breaks a rule of features (see `fault_of_features`).
    """
    state = loaded.state if isinstance(loaded, Record) and loaded.name == MATRIX else None
    if type(state) is not dict:
        raise ValueError(f"expected a scipy CSR matrix, found {loaded.name if isinstance(loaded, Record) else type(loaded).__name__}")
    try:
        data, indices, indptr = (make_array(state.get(part), 1) for part in ("data", "indices", "indptr"))
    except RefusedPickle as error:
        raise ValueError(f"expected a scipy CSR matrix ({error})") from None
    shape = state.get("_shape", state.get("shape"))
    if type(shape) is not tuple or len(shape) != 2 or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("expected a scipy CSR matrix (its shape is not two integers)")
    rows, columns = shape
    if (fault := fault_of_csr(data, indices, indptr, (rows, columns))) is not None:
        raise ValueError(f"expected a scipy CSR matrix ({fault})")
    matrix = sparse.csr_matrix((storable(data), indices, indptr), shape=shape)
    if (fault := fault_of_features(matrix, rows)) is not None:
        raise ValueError(fault)
    return summed(matrix).astype(np.float32)


def _read_one_hot(path: Path, faults: Faults) -> npt.NDArray[Any]:
    return _read(path, faults, _make_one_hot, np.zeros((0, 0)))


def _make_one_hot(loaded: Any) -> npt.NDArray[Any]:
    """Create one-hot rows, shape (rows, classes). Rows of zeros are nodes without a label (in repacked copies of CiteSeer).

    Raises:
        ValueError: it is not an array of one-hot rows.
    """
    try:
        rows = make_array(loaded, 2)
    except RefusedPickle as error:
        raise ValueError(f"expected a two-dimensional array of one-hot labels ({error})") from None
    if not 1 <= rows.shape[1] <= MAX_COLUMNS:
        raise ValueError(f"expected one-hot labels of 1 ... {MAX_COLUMNS} classes, found {rows.shape[1]}")
    wrong = rows.any(axis=1) & ~(((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1))
    if wrong.any():
        raise ValueError(f"expected one-hot labels, row {int(np.flatnonzero(wrong)[0])} is not")
    return rows


def _classes(one_hot: npt.NDArray[Any]) -> IntArray:
    """Class indices of one-hot rows; -1 for rows of zeros."""
    return np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1).astype(np.int64)


def _read_graph(path: Path, faults: Faults) -> tuple[IntArray, IntArray]:
    none = np.zeros(0, dtype=np.int64)
    return _read(path, faults, _make_edges, (none, none))


def _make_edges(loaded: Any) -> tuple[IntArray, IntArray]:
    """Create sources and destinations from a dictionary of each node's neighbours.

    Raises:
        ValueError: it is not such a dictionary.
    """
    neighbours = loaded.entries if isinstance(loaded, Record) and loaded.name == DEFAULT_DICT else loaded
    rule = "expected a dict from each node to the list of its neighbours"
    if type(neighbours) is not dict:
        raise ValueError(f"{rule}, found {loaded.name if isinstance(loaded, Record) else type(loaded).__name__}")
    if not all(
        type(node) is int and type(others) is list and all(type(other) is int for other in others) for node, others in neighbours.items()
    ):
        raise ValueError(f"{rule} (its nodes are not integers)")
    source = np.repeat(np.array(list(neighbours), dtype=np.int64), [len(others) for others in neighbours.values()])
    return source, np.array(list(chain.from_iterable(neighbours.values())), dtype=np.int64)


def _check_shapes(
    paths: dict[str, Path], features: dict[str, sparse.csr_matrix], one_hots: dict[str, npt.NDArray[Any]], faults: Faults
) -> None:
    for part, labels in (("x", "y"), ("tx", "ty"), ("allx", "ally")):
        if features[part].shape[0] != len(one_hots[labels]):
            faults.add(paths[labels], f"expected {features[part].shape[0]} rows, one for each row of {part}, found {len(one_hots[labels])}")
        if features[part].shape[1] != features["x"].shape[1]:
            faults.add(paths[part], f"expected {features['x'].shape[1]} columns as in x, found {features[part].shape[1]}")
        if one_hots[labels].shape[1] != one_hots["y"].shape[1]:
            faults.add(paths[labels], f"expected {one_hots['y'].shape[1]} columns as in y, found {one_hots[labels].shape[1]}")
    if features["x"].shape[0] > features["allx"].shape[0]:
        faults.add(paths["allx"], "expected the rows of x first, found fewer rows than x has")
