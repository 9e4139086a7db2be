"""Conversion and validation of a graph's arrays for `Dataset`, by the same rules for files, arrays and graph objects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.errors import DataError, listed
from dgl_mutual.utils.arguments import fault_of_list
from dgl_mutual.utils.wording import counted, kind_of, value_and_kind

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float32]
Features: TypeAlias = "FloatArray | sparse.csr_matrix"

#: Content of a feature column: a measured number, a one-hot indicator, the count of a word, or the sum of an indicator over a node's edges
#: (for students that take no edge features).
FeatureKind: TypeAlias = Literal["number", "indicator", "count", "edge-sum"]
FEATURE_KINDS: tuple[FeatureKind, ...] = ("number", "indicator", "count", "edge-sum")
#: Floating-point types that NumPy has, too.
_FLOATS = ("torch.float16", "torch.float32", "torch.float64")


def offsets_of(counts: npt.ArrayLike) -> IntArray:
    """Boundaries of n consecutive ranges of these sizes: int64, shape (n + 1,), from 0 to the total."""
    sizes = np.asarray(counts)
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def fault_of_csr(data: npt.NDArray[Any], indices: npt.NDArray[Any], indptr: npt.NDArray[Any], shape: tuple[int, int]) -> str | None:
    """Why these arrays are not a CSR matrix of this shape; None if they are.

    NOTE: SciPy's own ``check_format(full_check=True)`` checks nothing if the last row pointer is 0 or less, and its compiled code then
    writes beyond its arrays.
    """
    rows, columns = shape
    if data.ndim != 1 or not all(part.ndim == 1 and part.dtype.kind in "iu" for part in (indices, indptr)):
        return "its row pointers and column indices are not integers"
    if len(indptr) != rows + 1 or len(indices) != len(data):
        return "its arrays do not fit each other"
    if indptr[0] != 0 or np.any(indptr[1:] < indptr[:-1]) or indptr[-1] > len(indices):
        return "its row pointers do not rise from 0 to the number of entries"
    if len(indices) and not (indices.min() >= 0 and indices.max() < columns):
        return f"its column indices are not within 0 ... {columns - 1}"
    return None


def storable(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert float16, which SciPy's sparse matrices do not support, to float32."""
    return data.astype(np.float32) if data.dtype == np.float16 else data


def as_csr(values: Any, what: str) -> sparse.csr_matrix:
    """Convert a sparse matrix of any format to CSR.

    Raises:
        DataError: its arrays do not fit each other, for example because it was loaded from a damaged file.
    """
    if values.format in ("csr", "csc", "bsr"):
        data, (rows, columns) = values.data, values.shape
        if values.format == "csc":
            rows, columns = columns, rows
        elif values.format == "bsr":
            height, width = values.blocksize  # checked as the CSR matrix of its blocks
            data, rows, columns = data[:, 0, 0], rows // height, columns // width
        fault = fault_of_csr(data, values.indices, values.indptr, (rows, columns))
        if fault is not None:
            raise DataError(f"The {what} are not a valid sparse matrix: {fault}. Create it again.")
    return sparse.csr_matrix(values)


def as_sparse(values: Any, what: str) -> sparse.csr_matrix | None:
    """Convert a sparse matrix of SciPy or torch, in any layout, to CSR; None for anything else.

    Raises:
        DataError: see `as_csr`; or a tensor whose values cannot be read.
    """
    if sparse.issparse(values):
        return as_csr(values, what)
    if not is_sparse_tensor(values) or values.ndim != 2:
        return None
    with _tensor_checked(values, what):
        entries = values.detach().cpu().to_sparse_coo().coalesce()
        numbers = entries.values()
    if numbers.ndim != 1:  # a hybrid tensor, whose entries are dense rows
        return None
    numbers = storable(as_array(numbers, what))
    return sparse.csr_matrix((numbers, tuple(entries.indices().numpy())), shape=tuple(values.shape))


def as_table(values: Any, what: str) -> npt.NDArray[Any] | sparse.csr_matrix:
    """A sparse matrix as CSR, and anything else array-like as an array; errors as in `as_sparse` and `as_array`."""
    matrix = as_sparse(values, what)
    return as_array(values, what) if matrix is None else matrix


def native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert to this machine's byte order, the only one that SciPy and pandas accept."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_array(values: Any, what: str) -> npt.NDArray[Any]:
    """Convert anything array-like to an array: NumPy, torch (on any device), pandas, SciPy sparse, or nested lists.

    Args:
        what: the values' name in messages.

    Raises:
        DataError: rows of different lengths, something that is not an array, a masked array in which values are missing, or a tensor whose
            values cannot be read.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):  # arrays of pandas have a mask, too
        number = int(np.count_nonzero(np.ma.getmaskarray(values)))
        raise DataError(f"The {what} are a masked array with {number} masked values. Fill them in: array.filled(...).")
    if hasattr(values, "detach"):  # a torch tensor; torch itself is not needed here
        return _array_of_tensor(values, what)
    if sparse.issparse(values):
        return np.asarray(as_csr(values, what).toarray())
    if hasattr(values, "to_numpy"):  # pandas
        return native(np.asarray(values.to_numpy()))
    try:
        try:
            return native(np.asarray(values))
        except (TypeError, RuntimeError):  # lists of tensors that need gradients, have types unknown to NumPy, ...
            return native(np.asarray(_with_arrays(values, what)))
    except ValueError as error:
        raise DataError(f"The {what} cannot be converted to an array ({error}). Give rows of equal length.") from None
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"The {what} are {value_and_kind(values)}, which cannot be converted to an array ({str(error)[:200]}). Give an array."
        ) from None


def _with_arrays(values: Any, what: str) -> Any:
    """Nested lists with their tensors converted to arrays."""
    if isinstance(values, list | tuple):
        return [_with_arrays(row, what) for row in values]
    return as_array(values, what) if hasattr(values, "detach") else values


def number_of_rows(values: Any, what: str) -> int:
    """The length of anything array-like.

    Raises:
        DataError: it has no length, or is a string, a mapping or a set, whose length is not a number of rows.
    """
    with suppress(TypeError, IndexError, RuntimeError):  # the last from torch's nested tensors
        if hasattr(values, "shape"):
            return int(values.shape[0])
        if not isinstance(values, str | bytes | Mapping | Set):
            return len(values)
    text = f"the string {values!r:.60}" if isinstance(values, str | bytes) else kind_of(values)
    raise DataError(f"The {what} are {text} without rows. Give an array with a row for each node, edge or graph.")


def is_sparse_tensor(values: Any) -> bool:
    """Whether this is a torch tensor of a sparse layout."""
    return hasattr(values, "detach") and str(values.layout).startswith("torch.sparse_")


def _array_of_tensor(values: Any, what: str) -> npt.NDArray[Any]:
    with _tensor_checked(values, what):
        values = values.detach().cpu()
        values = values.dequantize() if values.is_quantized else values
        values = (values.to_dense() if str(values.layout) != "torch.strided" else values).resolve_conj().resolve_neg()
        values = values.float() if values.is_floating_point() and str(values.dtype) not in _FLOATS else values
        return np.asarray(values.numpy())


@contextmanager
def _tensor_checked(values: Any, what: str) -> Iterator[None]:
    """Raise DataError where the values of a tensor cannot be read: a type unknown to NumPy, the device ``meta``, ..."""
    try:
        yield
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"The {what} are a tensor ({values.dtype}, {values.layout}, on {values.device}) without values that can be read "
            f"({str(error).splitlines()[0][:200]}). Give a plain tensor of numbers, or an array."
        ) from None


def exact_below(values: Any) -> tuple[float, str]:
    """The integer from which the floats of anything array-like cannot represent every integer, and the name of their type.

    It is 2^(m + 1) for m explicit mantissa bits: 256 for bfloat16, 2048 for float16, 2^24 for float32. If rows or columns have several
    types, the coarsest counts. Infinity and an empty name where there are no floats.
    """
    dtypes = getattr(values, "dtypes", getattr(values, "dtype", None))  # one for each column of a data frame
    types = [dtypes] if not isinstance(dtypes, Iterable) else list(dtypes)
    nested: list[tuple[float, str]] = []
    if isinstance(values, list | tuple):
        types = list({row.dtype for row in values if hasattr(row, "dtype")})
        nested = [exact_below(row) for row in values if isinstance(row, list | tuple)]
    return min([*map(_exact_below, types), *nested], default=(math.inf, ""))


def _exact_below(kind: Any) -> tuple[float, str]:
    """As `exact_below`, for a dtype of NumPy, pandas or torch."""
    if getattr(kind, "is_floating_point", False):  # torch's, some of which NumPy does not have
        import torch

        return 2 / torch.finfo(kind).eps, str(kind).removeprefix("torch.")
    kind = getattr(kind, "numpy_dtype", kind)  # a masked dtype of pandas
    if isinstance(kind, np.dtype) and kind.kind == "f":
        return 2.0 ** (np.finfo(kind).nmant + 1), str(kind)
    return math.inf, ""


def as_exact_array(values: Any, what: str) -> npt.NDArray[Any]:
    """As `as_array`, for integers such as indices of nodes, samples or classes.

    Raises:
        DataError: see `as_array`; or floats so large that different integers may have become equal.
    """
    array = as_array(values, what)
    limit, kind = min(exact_below(values), exact_below(array))
    if array.dtype.kind == "f":
        large = np.isfinite(array) & (np.abs(array) >= limit)
        if large.any():
            raise DataError(
                f"The {what} are {kind} numbers, which cannot represent every integer from {limit:.0f} on, found "
                f"{array[large][0]:.0f}. Make them integers before they are {kind}, for example int64."
            )
    return array


def as_integers(values: Any, what: str, *, dimensions: int = 1) -> IntArray:
    """Convert integers to int64.

    Raises:
        DataError: another number of dimensions, fractions, numbers beyond int64, floats that cannot represent such integers, or no numbers.
    """
    array = as_exact_array(values, what)
    if array.size == 0 and array.ndim == dimensions:
        return np.zeros(array.shape, dtype=np.int64)
    if array.ndim == 0:  # NumPy wraps unknown objects like this
        raise DataError(f"The {what} must be an array of integers, found {value_and_kind(values)}.")
    if array.ndim != dimensions:
        raise DataError(f"The {what} have the shape {array.shape}. Give an array of {counted(dimensions, 'dimension')}.")
    if array.dtype.kind == "f":
        is_integer = np.isfinite(array) & (array == np.round(array))
        if not is_integer.all():
            raise DataError(f"The {what} must be integers, found {array[~is_integer][0].item()!r}.")
    elif array.dtype.kind not in "iu":
        raise DataError(f"The {what} must be integers, found {array.dtype} values such as {array.ravel()[:1].tolist()[0]!r}.")
    if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"The {what} must fit 64-bit integers, found {array.max()}.")
    return array.astype(np.int64, copy=False)


def as_offsets(offsets: Any, num_nodes: int) -> IntArray:
    """Node offsets of graphs as int64, (graphs + 1,).

    Raises:
        DataError: offsets that decrease, or do not run from 0 to the number of nodes.
    """
    integers = as_integers(offsets, "node offsets")
    if len(integers) < 2 or integers[0] != 0 or integers[-1] != num_nodes:
        raise DataError(f"The node offsets must run from 0 to the number of nodes, {num_nodes}; found {listed(integers.tolist(), 6)}.")
    if (np.diff(integers) < 0).any():
        raise DataError(f"The node offsets must not decrease; found {listed(integers.tolist(), 6)}.")
    return integers


def refuse_graphs_without_nodes(offsets: IntArray) -> None:
    """Raise `DataError` for a user's graph without nodes. Views that drop nodes may leave such graphs."""
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if len(empty):
        more = f" (the first of {counted(len(empty), 'such graph')})" if len(empty) > 1 else ""
        raise DataError(
            f"Graph {empty[0]} has no nodes{more}, and nothing can be predicted for a graph without nodes. Leave it out, with its label."
        )


def by_column(texts: Any, what: str) -> tuple[Any, ...]:
    """A text for each column, such as its name; empty for None.

    Raises:
        DataError: not a list, or a collection without an order.
    """
    if texts is None:
        return ()
    if fault := fault_of_list(texts):
        raise DataError(f"The {what} are {texts!r:.60} ({fault}). Give a list with one for each column.")
    return tuple(map(str, texts))


def as_kinds(kinds: FeatureKind | Sequence[FeatureKind] | None, width: int) -> tuple[FeatureKind, ...]:
    """The kind of each feature column. A single kind is that of all columns; the default is numbers.

    Raises:
        DataError: another number of kinds than of columns, an unknown kind, or neither a list nor a string.
    """
    column_kinds: tuple[Any, ...] = (
        (kinds,) * width if isinstance(kinds, str) else by_column(kinds, "kinds of feature columns") or ("number",) * width
    )
    if len(column_kinds) != width:
        raise DataError(
            f"Found {counted(len(column_kinds), 'kind')} for {counted(width, 'feature column')}. Give one for each, or one for all."
        )
    wrong = [kind for kind in column_kinds if kind not in FEATURE_KINDS]
    if wrong:
        raise DataError(f"Unknown kind of feature column {wrong[0]!r}. Choose from: {', '.join(FEATURE_KINDS)}.")
    return column_kinds
