"""Features of nodes and edges: one-hot columns, row normalisation, and the choice between sparse and dense storage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from dgl_mutual.data.values.arrays import (
    FeatureKind,
    Features,
    IntArray,
    as_array,
    as_csr,
    as_kinds,
    as_sparse,
    as_table,
    by_column,
    number_of_rows,
)
from dgl_mutual.data.values.names import refuse_duplicate_names
from dgl_mutual.errors import SHOWN, DataError, listed, shortened
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

#: Features are stored as CSR when fewer than this share of the entries is non-zero ...
SPARSE_DENSITY = 0.25
#: ... and there are at least this many columns: with fewer, a dense product is faster than a sparse one and memory does not matter.
SPARSE_COLUMNS = 32
#: Up to this many cells (64 MiB), a matrix with fewer columns is made dense, however few entries it has. A larger one stays sparse with
#: fewer than one entry per `SPARSE_COLUMNS` cells: one-hot rows have more, and a small file can claim very many rows of zeros.
DENSE_CELLS = 1 << 24

#: Each column has a name in memory and in every checkpoint. The widest known dataset has 8,710 columns.
MAX_COLUMNS = 1_000_000

#: The last one-hot column of the degree stands for this degree and all above: the usual limit for social networks such as COLLAB
#: (at most 491 neighbours), while REDDIT's hubs with thousands of neighbours share one column.
MAX_DEGREE = 512

#: Students compute in float32, in which larger numbers are infinite.
LARGEST = float(np.finfo(np.float32).max)
#: Values of a column between its lowest and its highest that float32 should at least distinguish.
_MIN_STEPS = 64
#: Rows per block where a matrix is checked block by block.
_ROWS = 1 << 14
#: The most column names that a message shows.
_MAX_NAMES = 8
#: Results of `pd.api.types.infer_dtype` for columns without strings.
_NO_TEXT = frozenset(["integer", "floating", "mixed-integer-float", "boolean", "decimal", "complex", "empty"])
#: The rule that `unusable` checks.
FINITE = f"expected finite numbers, at most {LARGEST:.1e} in size (the range of float32)"


def unusable(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mask, of the same shape, of numbers that are not finite in float32."""
    if values.dtype.kind in "biu":
        return np.zeros(values.shape, dtype=np.bool_)
    with np.errstate(over="ignore", invalid="ignore"):
        wrong: npt.NDArray[np.bool_] = ~np.isfinite(values.astype(np.float32, copy=False))
    return wrong


def fault_of_features(values: npt.NDArray[Any] | sparse.csr_matrix, num_rows: int, what: str = "node") -> str | None:
    """The rule that features break, with the offending value; None if they are valid.

    Args:
        values: numbers, shape (num_rows, F).
        what: what each row describes: ``node`` or ``edge``.
    """
    if len(values.shape) != 2 or values.shape[0] != num_rows:
        return f"expected a row for each of the {num_rows} {what}s, shape ({num_rows}, columns), found {values.shape}"
    if not 0 < values.shape[1] <= MAX_COLUMNS:
        return f"expected 1 to {MAX_COLUMNS} columns, found {values.shape[1]}"
    if np.dtype(values.dtype).kind not in "biuf":
        return f"expected numbers, found values of type {values.dtype}; encode words and categories as numbers, for example one-hot"
    if not isinstance(values, np.ndarray):
        values = summed(values)
    cells = values if isinstance(values, np.ndarray) else values.data
    wrong = unusable(cells)
    if not wrong.any():
        return None
    row = place = int(np.flatnonzero(wrong.any(axis=1) if wrong.ndim == 2 else wrong)[0])
    if not isinstance(values, np.ndarray):
        row = int(np.searchsorted(values.indptr, place, side="right")) - 1
    return f"{FINITE}, found {cells[wrong][0]:g} in row {row}; rescale the column, or fill in what is missing"


def summed(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Sum duplicate entries, in float64 since their sum may overflow their dtype. True and True are True."""
    kind = np.dtype(matrix.dtype).kind
    if matrix.has_canonical_format or kind not in "biuf":
        return matrix
    exact = sparse.csr_matrix(matrix, dtype=np.bool_ if kind == "b" else np.float64, copy=True)
    exact.sum_duplicates()
    return matrix if kind == "f" and exact.nnz == matrix.nnz else exact


def check_features(features: npt.NDArray[Any] | sparse.spmatrix, num_rows: int, where: str, what: str = "node") -> None:
    """Refuse invalid features (see `fault_of_features`).

    Args:
        where: their name in the message, for example ``features``.

    Raises:
        DataError: another shape, no columns or too many, values that are not numbers, or numbers that are not finite in float32.
    """
    fault = fault_of_features(features if isinstance(features, np.ndarray) else as_csr(features, where), num_rows, what)
    if fault is not None:
        raise DataError(f"{where}: {fault}.")


def _warn_of_lost_digits(features: npt.NDArray[Any], where: str) -> None:
    """Warn of a column whose values float32 can hardly distinguish: large numbers with a small spread, such as seconds since 1970."""
    if not len(features) or features.dtype.kind not in "iuf":
        return
    low, high = features.min(axis=0).astype(np.float64), features.max(axis=0).astype(np.float64)
    imprecise = np.flatnonzero((high > low) & (high - low < _MIN_STEPS * np.spacing(np.maximum(-low, high).astype(np.float32))))
    if len(imprecise):
        column = imprecise[0]
        warn(
            f"{where}, column {column}: values from {low[column]:.17g} to {high[column]:.17g} can hardly be distinguished in float32, in "
            f"which students compute. Subtract {low[column]:.17g} from the column."
        )


def compact(features: npt.NDArray[np.generic] | sparse.csr_matrix, where: str = "features", what: str = "node") -> Features:
    """Features as float32: CSR (sorted, without explicit zeros) where most entries are zero, else a dense array.

    "Most" is set by `SPARSE_DENSITY`, `SPARSE_COLUMNS` and `DENSE_CELLS`.

    Raises:
        DataError: numbers that are not finite in float32. Loaders report these earlier, with their line.
    """
    if not isinstance(features, np.ndarray):
        features = summed(features)
    check_features(features, features.shape[0], where, what)
    if isinstance(features, np.ndarray):
        rows, columns = features.shape
        _warn_of_lost_digits(features, where)
        if columns < SPARSE_COLUMNS or np.count_nonzero(features) >= SPARSE_DENSITY * rows * columns:
            return np.asarray(features, dtype=np.float32)
    matrix = sparse.csr_matrix(features, dtype=np.float32)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    rows, columns = matrix.shape
    cells = rows * columns
    if matrix.nnz < SPARSE_DENSITY * cells and (columns >= SPARSE_COLUMNS or cells > max(DENSE_CELLS, SPARSE_COLUMNS * matrix.nnz)):
        return matrix
    return np.asarray(matrix.toarray(), dtype=np.float32)


def as_features(features: Any, where: str, what: str = "node") -> Features:
    """Features in the form of `Dataset`. A float32 array or CSR matrix is kept; anything else array-like is converted (see `compact`).

    Args:
        where, what: their name in messages, and what each row describes: ``node`` or ``edge``.

    Raises:
        DataError: no matrix of numbers, or an entry that is not finite in float32.
    """
    matrix = as_sparse(features, where)
    if matrix is not None:
        check_features(matrix, matrix.shape[0], where, what)
        return matrix if matrix.dtype == np.float32 else compact(matrix)
    array = as_array(features, "features")
    if array.ndim != 2:
        raise DataError(
            f"{where}: expected shape ({what}s, columns), found {array.shape}. One number for each {what} is a matrix of one column."
        )
    # The features of a partitioned graph are a single value, broadcast.
    is_broadcast = len(array) > 1 and not any(array.strides)
    check_features(array[:1] if is_broadcast else array, 1 if is_broadcast else len(array), where, what)
    result: Features = array if array.dtype == np.float32 else compact(array, where, what)
    return result


class Columns(NamedTuple):
    """Feature columns (|V|, F) with F names and F kinds."""

    values: npt.NDArray[Any] | sparse.csr_matrix
    names: tuple[str, ...]
    kinds: tuple[FeatureKind, ...]

    @classmethod
    def indicators(cls, values: sparse.csr_matrix, names: Iterable[str]) -> Columns:
        """One-hot columns."""
        column_names = tuple(names)
        return cls(values, column_names, as_kinds("indicator", len(column_names)))

    @classmethod
    def numbers(cls, values: npt.NDArray[Any] | sparse.csr_matrix, names: Iterable[str]) -> Columns:
        """Columns of measured numbers."""
        column_names = tuple(names)
        return cls(values, column_names, as_kinds("number", len(column_names)))

    def select_rows(self, rows: IntArray) -> Columns:
        """The columns of a subset of the rows."""
        return self._replace(values=self.values[rows])

    def checked(self, where: str, what: str = "node") -> Columns:
        """The columns in the form of `Dataset`.

        Args:
            where, what: their name in messages, and what each row describes: ``node`` or ``edge``.

        Raises:
            DataError: no matrix of finite numbers, another number of names or kinds than of columns, or two columns with one name.
        """
        values, names = as_features(self.values, where, what), by_column(self.names, "names of feature columns")
        width = values.shape[1]
        kinds = as_kinds(self.kinds, width)
        if len(names) != width:
            columns = counted(width, "feature column") if what == "node" else f"{counted(width, 'column')} of edge features"
            raise DataError(f"Found {counted(len(names), 'name')} for {columns}. Give one for each.")
        refuse_duplicate_names(names)
        return Columns(values, names, kinds)


def columns_of(features: Any, names: Sequence[str] | None, kinds: FeatureKind | Sequence[FeatureKind], what: str = "node") -> Columns:
    """Columns of anything array-like. A data frame names its columns, and boolean columns are indicators.

    Raises:
        DataError: no matrix, or another number of names or kinds than of columns.
    """
    frame_names = getattr(features, "columns", None)
    where = "features" if what == "node" else f"{what} features"
    number_of_rows(features, where)
    _refuse_categories(features, where)
    values: Any = as_table(features, where)
    if values.ndim != 2:
        raise DataError(
            f"{where}: expected shape ({what}s, columns), found {values.shape}. One number for each {what} is a matrix of one column."
        )
    types = _types_of(features, values)
    of_booleans = [kind == "boolean" for kind in types]
    if isinstance(features, list | tuple) and values.dtype.kind in "iuf":  # NumPy has made numbers of booleans beside numbers
        of_booleans = [_are_all(features, column, (bool, np.bool_)) for column in range(values.shape[1])]
    of_integers = _of_integers(features, values, types)
    if values.dtype == np.object_:  # columns of several types; other values than numbers stay, and are refused later
        _refuse_text(features, values, types, where)
        with contextlib.suppress(ValueError, TypeError):
            values = np.where(pd.isna(values), np.nan, values).astype(np.float64)
    width = values.shape[1]
    default = (f"{where.removesuffix('s')} {number}" for number in range(width)) if frame_names is None else frame_names
    column_names = by_column(default if names is None else names, f"names of the {where}")
    if len(column_names) != width:
        raise DataError(f"Found {counted(len(column_names), 'name')} for {counted(width, 'feature column')}. Give one for each.")
    column_kinds = kinds if isinstance(kinds, str) else by_column(kinds, f"kinds of the {where}")
    if not column_kinds:
        warn_of_codes(values, column_names, of_integers, f"The {where}", "give floats")
    return Columns(values, column_names, as_kinds(column_kinds or kinds_of(of_booleans), width))


def _types_of(features: Any, values: npt.NDArray[Any] | sparse.csr_matrix) -> list[str]:
    """The content of each column in the terms of `pd.api.types.infer_dtype`; inferred from the cells where the dtype does not say."""
    if values.dtype != np.object_:
        return [_type_of(values.dtype) or ""] * values.shape[1]
    known = map(_type_of, features.dtypes) if isinstance(features, pd.DataFrame) else [None] * values.shape[1]
    columns = np.asarray(values).T
    return [kind or pd.api.types.infer_dtype(column, skipna=False) for kind, column in zip(known, columns, strict=True)]


def _type_of(kind: Any) -> str | None:
    """The term of `_types_of` for a NumPy dtype of booleans or numbers; None for other dtypes."""
    if not isinstance(kind, np.dtype):
        return None
    return {"b": "boolean", "i": "integer", "u": "integer", "f": "floating"}.get(kind.kind)


def _are_all(rows: Sequence[Any], column: int, kinds: tuple[type, ...]) -> bool:
    """Whether all values of a column of nested lists are of these types."""
    return len(rows) > 0 and all(isinstance(row, list | tuple) and isinstance(row[column], kinds) for row in rows)


def kinds_of(of_booleans: Iterable[bool]) -> tuple[FeatureKind, ...]:
    """The kinds of columns, given which of them hold booleans (in a file: true and false)."""
    return tuple("indicator" if is_boolean else "number" for is_boolean in of_booleans)


def _refuse_categories(features: Any, where: str) -> None:
    """Raise `DataError` for a categorical column of a data frame: categories that are numbers would be treated as numerical values."""
    if isinstance(features, pd.DataFrame):
        for name, kind in features.dtypes.items():
            if isinstance(kind, pd.CategoricalDtype):
                raise DataError(f"{where}, column {name!r}: expected numbers, found categories. {_encodings(where, name)}")


def _refuse_text(features: Any, values: npt.NDArray[Any], types: Sequence[str], where: str) -> None:
    """Raise `DataError` where an object array holds text: NumPy would convert ``1_0`` and ``01234`` to numbers."""
    for column, kind in enumerate(types):
        if kind in _NO_TEXT or pd.api.types.infer_dtype(values[:, column], skipna=True) in _NO_TEXT:
            continue
        text = next((value for value in values[:, column] if isinstance(value, str | bytes)), None)
        if text is None:
            continue
        found = shortened(repr(text), SHOWN)
        if isinstance(features, pd.DataFrame):
            name = features.columns[column]
            raise DataError(f"{where}, column {name!r}: expected numbers, found strings such as {found}. {_encodings(where, name)}")
        raise DataError(
            f"{where}, column {column}: expected numbers, found strings such as {found}. Encode words and categories as numbers, for "
            "example one-hot; .astype(float) converts strings to numbers."
        )


def _encodings(where: str, name: object) -> str:
    """Advice on a column of a data frame that holds no numbers."""
    frame = where.replace(" ", "_")
    return (
        f"If it is numerical, give {frame}.astype({{{name!r}: float}}); if it holds categories, give pd.get_dummies({frame}, "
        f"columns=[{name!r}], prefix_sep='='), which makes a column of each."
    )


def _of_integers(features: Any, values: npt.NDArray[Any] | sparse.csr_matrix, types: Sequence[str]) -> list[bool]:
    """Which columns were given as integers: by column for a data frame or a list of rows, else by `types` (see `_types_of`)."""
    if isinstance(features, pd.DataFrame):
        return [pd.api.types.is_integer_dtype(kind) for kind in features.dtypes]
    if isinstance(features, list | tuple) and values.dtype.kind == "f":
        return [_are_all(features, column, (int, np.integer)) for column in range(values.shape[1])]
    return [kind == "integer" for kind in types]


def warn_of_codes(
    values: npt.NDArray[Any] | sparse.csr_matrix, names: Sequence[str], of_integers: Sequence[bool], where: str, fix: str
) -> None:
    """Warn of integers that may be codes of categories, as in the raw data of OGB: students would treat them as numerical values.

    Args:
        values: shape (rows, F), with F names.
        of_integers: which columns were given as integers.
        where: the features' name in the message, for example ``The features``.
        fix: how to give numerical integers without this warning, as the end of a sentence.
    """
    if sparse.issparse(values) or not len(values) or values.dtype.kind not in "iuf" or not any(of_integers):
        return
    low, high = values.min(axis=0), values.max(axis=0)
    codes = np.flatnonzero(np.asarray(of_integers) & (low >= 0) & (high > 1))
    if len(codes):
        some = f" in {'column' if len(codes) == 1 else 'columns'} {listed([names[column] for column in codes.tolist()], _MAX_NAMES)}"
        span = f"from {low[codes].min():.0f} to {high[codes].max():.0f}"
        warn(
            f"{where}{'' if len(codes) == len(names) else some} are integers {span}, and are treated as numerical values. If they are "
            f"codes of categories, as of atoms, encode each column one-hot, or load the dataset by its name. If they are numerical, {fix}."
        )


def integer_columns(features: Features, kinds: Sequence[FeatureKind]) -> npt.NDArray[np.bool_]:
    """Which columns of numbers hold only integers from 0 on, and may be codes of categories: (F,)."""
    of_integers = np.array([kind == "number" for kind in kinds], dtype=np.bool_)
    if isinstance(features, np.ndarray):
        for start in range(0, len(features), _ROWS):  # block by block, without a second matrix
            rows = features[start : start + _ROWS]
            of_integers &= ((rows >= 0) & (rows == np.round(rows))).all(axis=0)
    else:
        values = features.data
        of_integers[features.indices[(values < 0) | (values != np.round(values))]] = False
    return of_integers


def one_hot(codes: IntArray, num_columns: int) -> sparse.csr_matrix:
    """One-hot encoding of `codes` (int64, shape (rows,)): shape (rows, num_columns)."""
    indptr = np.arange(len(codes) + 1)
    return sparse.csr_matrix((np.ones(len(codes), dtype=np.float32), codes, indptr), shape=(len(codes), num_columns))


def indicator_name(kind: str, value: object) -> str:
    """The name of the one-hot column of one value, for example ``degree=3``."""
    return f"{kind}={value}"


def side_by_side(blocks: Sequence[Columns]) -> Columns:
    """Concatenate blocks of columns; a single block is returned unchanged."""
    if len(blocks) == 1:
        return blocks[0]
    values = sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(block.values) for block in blocks]))
    return Columns(values, tuple(chain(*(block.names for block in blocks))), tuple(chain(*(block.kinds for block in blocks))))


def degree_features(edges: IntArray, num_nodes: int) -> Columns:
    """One-hot in-degrees up to `MAX_DEGREE`, the usual features of graphs without node features."""
    degrees = np.minimum(np.bincount(edges[1], minlength=num_nodes), MAX_DEGREE)
    names = degree_names(int(degrees.max()) + 1)
    return Columns.indicators(one_hot(degrees, len(names)), names)


def degree_names(width: int) -> tuple[str, ...]:
    """Names of `width` one-hot columns of degrees."""
    return tuple(indicator_name("degree", degree) for degree in range(width))


def sums_of_edges(edges: IntArray, num_nodes: int, features: sparse.csr_matrix) -> sparse.csr_matrix:
    """Sum the features (|E|, D) of each node's incoming edges: (|V|, D)."""
    numbers = np.arange(edges.shape[1])
    incoming = sparse.csr_matrix((np.ones(len(numbers), dtype=np.float32), (edges[1], numbers)), shape=(num_nodes, len(numbers)))
    return sparse.csr_matrix(incoming @ features)


def normalise_rows(features: sparse.csr_matrix) -> sparse.csr_matrix:
    """Divide each row by the sum of its absolute values, as is usual for bag-of-words features; rows of zeros stay."""
    features = summed(features)
    with np.errstate(over="ignore"):
        totals = np.asarray(abs(features).sum(axis=1), dtype=np.float64).ravel()
    if not np.isfinite(totals).all():  # sums have the dtype of the features, and some overflow
        totals = np.asarray(abs(features.astype(np.float64)).sum(axis=1)).ravel()
    scale = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
    return sparse.csr_matrix(sparse.diags(scale) @ features)
