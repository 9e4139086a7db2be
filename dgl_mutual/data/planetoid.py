"""Planetoid's citation graphs in their raw form (Yang et al., ICML 2016): eight files ``ind.<name>.*``, seven of them pickles."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.data.dataset import Dataset, IntArray, Split, Target, canonical_edges
from dgl_mutual.data.faults import Faults
from dgl_mutual.data.features import MAX_COLUMNS, compact, normalise_rows
from dgl_mutual.data.tables import read_table

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
_NUM_VALIDATION = 500

_RECONSTRUCT = np.ndarray(0).__reduce__()[0]
#: The only names a pickle may refer to, under their Python 2, old and new module paths.
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("scipy.sparse.csr", "csr_matrix"): sparse.csr_matrix,
    ("scipy.sparse._csr", "csr_matrix"): sparse.csr_matrix,
    ("collections", "defaultdict"): collections.defaultdict,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (list, dict, int)},
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Builds numpy arrays, scipy CSR matrices, lists and dicts; anything else in the file is refused before it can run."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")  # the files were written by Python 2

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no Planetoid file needs: do not trust this file")
        return _ADMITTED[module, name]


def read_planetoid(folder: Path, name: str, faults: Faults) -> Dataset:
    """Read ``folder/ind.<name>.*``: row-normalised features, symmetric edges, the public split (20 per class / 500 / 1000).

    CiteSeer lacks 15 nodes in the range of its test indices: they are isolated, without features, and their label is -1.

    Raises:
        DataError: a file is missing, damaged, refers to a foreign class, or breaks a rule of the format.
    """
    paths = {part: folder / f"ind.{name.lower()}.{part}" for part in PARTS}
    features = {part: _read_features(paths[part], faults) for part in ("x", "tx", "allx")}
    one_hots = {part: _read_one_hot(paths[part], faults) for part in ("y", "ty", "ally")}
    graph = _read_graph(paths["graph"], faults)
    index = read_table(paths["test.index"], faults, columns=1)
    test = index.integers(faults)[:, 0] if index is not None else None
    faults.check()
    assert index is not None and test is not None

    (x, tx, allx), (y, ty, ally) = features.values(), one_hots.values()
    _check_shapes(paths, features, one_hots, faults)
    num_listed = allx.shape[0]
    # Some numbers in the range may be left out (CiteSeer: 15 of 1,015), but not most of them.
    end = num_listed + 2 * tx.shape[0]
    index.refuse(faults, (test < num_listed) | (test >= end), f"expected a test node's number {num_listed} ... {end - 1}")
    index.refuse(faults, _repeated(test), "expected each test node once")
    index.expect_rows(faults, tx.shape[0], "row of tx")
    faults.check()

    num_nodes = max(int(test.max()) + 1, num_listed)
    source, destination = graph
    outside = max(int(source.max(initial=0)), int(destination.max(initial=0)))
    if outside >= num_nodes or min(source.min(initial=0), destination.min(initial=0)) < 0:
        faults.add(paths["graph"], f"expected node numbers 0 ... {num_nodes - 1}, found {outside}")
    if len(y) + _NUM_VALIDATION > num_listed:
        faults.add(paths["ally"], f"expected at least {len(y) + _NUM_VALIDATION} rows (training and validation), found {num_listed}")
    faults.check()

    place = sparse.csr_matrix((np.ones(len(test)), (test - num_listed, np.arange(len(test)))), shape=(num_nodes - num_listed, len(test)))
    labels = np.full(num_nodes, -1, dtype=np.int64)
    labels[:num_listed], labels[test] = ally, ty
    return Dataset(
        name=name,
        task="node",
        edges=canonical_edges(source, destination, num_nodes, symmetric=True),
        features=compact(normalise_rows(sparse.csr_matrix(sparse.vstack([allx, place @ tx])))),
        labels=labels,
        node_offsets=np.array([0, num_nodes]),
        target=Target("single-label", tuple(str(label) for label in range(int(labels.max()) + 1)), "accuracy"),
        feature_names=tuple(f"word {column}" for column in range(x.shape[1])),
        official_split=Split(np.arange(len(y)), np.arange(len(y), len(y) + _NUM_VALIDATION), np.sort(test)),
    )


def _unpickle(path: Path, faults: Faults) -> Any:
    if not path.is_file():
        faults.add(path, "the file is missing")
        return None
    try:
        with path.open("rb") as file:
            return _RestrictedUnpickler(file).load()
    except pickle.UnpicklingError as error:
        faults.add(path, f"the pickle is refused: {error}")
    except Exception as error:  # a damaged pickle can raise anything
        faults.add(path, f"the pickle is truncated or damaged ({type(error).__name__}: {error})")
    return None


def _read_features(path: Path, faults: Faults) -> sparse.csr_matrix:
    """A CSR matrix, rebuilt from its arrays and checked: the pickle could have set anything on it."""
    empty, loaded = sparse.csr_matrix((0, 0)), _unpickle(path, faults)
    if loaded is None:
        return empty
    try:
        state = vars(loaded)
        shape = state.get("_shape", state.get("shape"))
        matrix = sparse.csr_matrix((state["data"].astype(np.float32), state["indices"], state["indptr"]), shape=shape)
        matrix.check_format(full_check=True)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        faults.add(path, f"expected a scipy CSR matrix ({error})")
        return empty
    if matrix.shape[1] > MAX_COLUMNS:
        faults.add(path, f"expected at most {MAX_COLUMNS} columns, found {matrix.shape[1]}")
    row_of = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    if not np.isfinite(matrix.data).all():
        faults.add(path, f"expected finite features, found NaN or infinity in row {row_of[~np.isfinite(matrix.data)][0]}")
    return matrix


def _read_one_hot(path: Path, faults: Faults) -> IntArray:
    loaded = _unpickle(path, faults)
    if loaded is None:
        return np.zeros(0, dtype=np.int64)
    if not (isinstance(loaded, np.ndarray) and loaded.ndim == 2 and loaded.dtype.kind in "iuf"):
        faults.add(path, f"expected a two-dimensional array of one-hot labels, found {type(loaded).__name__}")
        return np.zeros(0, dtype=np.int64)
    wrong = ~(((loaded == 0) | (loaded == 1)).all(axis=1) & (loaded.sum(axis=1) == 1))
    # NOTE: Rows of zeros mark nodes without a label (in CiteSeer's re-packed copies).
    wrong &= loaded.any(axis=1)
    if wrong.any():
        faults.add(path, f"expected one-hot labels, row {int(np.flatnonzero(wrong)[0])} is not")
    return np.where(loaded.any(axis=1), loaded.argmax(axis=1), -1).astype(np.int64)


def _read_graph(path: Path, faults: Faults) -> tuple[IntArray, IntArray]:
    loaded, none = _unpickle(path, faults), np.zeros(0, dtype=np.int64)
    if loaded is None:
        return none, none
    try:
        lengths = [len(neighbours) for neighbours in loaded.values()]
        source: npt.NDArray[Any] = np.repeat(np.array(list(loaded.keys())), lengths)
        destination = np.array([node for neighbours in loaded.values() for node in neighbours])
        if source.dtype.kind != "i" or destination.dtype.kind != "i":
            raise TypeError("its nodes are not whole numbers")
    except (AttributeError, TypeError, ValueError) as error:
        faults.add(path, f"expected a dict from each node to the list of its neighbours ({error})")
        return none, none
    return source.astype(np.int64), destination.astype(np.int64)


def _check_shapes(paths: dict[str, Path], features: dict[str, sparse.csr_matrix], one_hots: dict[str, IntArray], faults: Faults) -> None:
    for part, labels in (("x", "y"), ("tx", "ty"), ("allx", "ally")):
        if features[part].shape[0] != len(one_hots[labels]):
            faults.add(paths[labels], f"expected {features[part].shape[0]} rows, one for each row of {part}, found {len(one_hots[labels])}")
        if features[part].shape[1] != features["x"].shape[1]:
            faults.add(paths[part], f"expected {features['x'].shape[1]} columns as in x, found {features[part].shape[1]}")
    if features["x"].shape[0] > features["allx"].shape[0]:
        faults.add(paths["allx"], "expected the rows of x first, found fewer rows than x has")


def _repeated(values: IntArray) -> npt.NDArray[np.bool_]:
    again = np.ones(len(values), dtype=np.bool_)
    again[np.unique(values, return_index=True)[1]] = False
    return again
