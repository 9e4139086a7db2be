"""Arrays of a graph, brought into the form that `Dataset` asks for, or refused. The same rules hold for files, arrays and graph objects."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.errors import DataError
from dgl_mutual.utils.arguments import check_truth_values
from dgl_mutual.utils.wording import counted, kind_of, value_and_kind

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float32]
Features: TypeAlias = "FloatArray | sparse.csr_matrix"

#: What a feature column holds: a measured number, 0 or 1 for one value of something (one-hot), how often a word occurs, or the sum of an
#: indicator over a node's edges, for students that take no edge features.
FeatureKind: TypeAlias = Literal["number", "indicator", "count", "edge-sum"]
FEATURE_KINDS: tuple[FeatureKind, ...] = ("number", "indicator", "count", "edge-sum")
#: What the columns of a data frame of edges are called, as in files of the CSV form.
ENDS = ("src_id", "dst_id")
#: Types of floats that NumPy has, too.
_FLOATS = ("torch.float16", "torch.float32", "torch.float64")


def offsets_of(counts: npt.ArrayLike) -> IntArray:
    """int64, shape (n + 1,): where each of n consecutive ranges of these sizes begins, and where the last ends."""
    sizes = np.asarray(counts)
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def csr_fault(data: npt.NDArray[Any], indices: npt.NDArray[Any], indptr: npt.NDArray[Any], shape: tuple[int, int]) -> str | None:
    """Why these are not the arrays of a CSR matrix of this shape, or None.

    NOTE: SciPy's own check, ``check_format(full_check=True)``, looks at nothing if the last row pointer is 0 or less, and its compiled code
    then writes beyond its arrays.
    """
    rows, columns = shape
    if data.ndim != 1 or not all(part.ndim == 1 and part.dtype.kind in "iu" for part in (indices, indptr)):
        return "its row pointers and column numbers are not whole numbers"
    if len(indptr) != rows + 1 or len(indices) != len(data):
        return "its arrays do not fit each other"
    if indptr[0] != 0 or np.any(indptr[1:] < indptr[:-1]) or indptr[-1] > len(indices):
        return "its row pointers do not rise from 0 to the number of entries"
    if len(indices) and not (indices.min() >= 0 and indices.max() < columns):
        return f"its column numbers are not within 0 ... {columns - 1}"
    return None


def as_csr(values: Any, what: str) -> sparse.csr_matrix:
    """A sparse matrix of any format as CSR.

    Raises:
        DataError: its arrays do not fit each other, for example because it was loaded from a damaged file.
    """
    if values.format in ("csr", "csc", "bsr"):
        data, (rows, columns) = values.data, values.shape
        if values.format == "csc":
            rows, columns = columns, rows
        elif values.format == "bsr":
            # The CSR matrix of its blocks.
            height, width = values.blocksize
            data, rows, columns = data[:, 0, 0], rows // height, columns // width
        fault = csr_fault(data, values.indices, values.indptr, (rows, columns))
        if fault is not None:
            raise DataError(f"The {what} are not a valid sparse matrix: {fault}. Make the matrix anew.")
    return sparse.csr_matrix(values)


def as_sparse(values: Any, what: str) -> sparse.csr_matrix | None:
    """A sparse matrix of SciPy, or of torch in any layout, as CSR; None for anything else.

    Raises:
        DataError: see `as_csr`; or a tensor whose values cannot be had.
    """
    if sparse.issparse(values):
        return as_csr(values, what)
    if not _is_sparse_tensor(values) or values.ndim != 2:
        return None
    with _tensor_checked(values, what):
        entries = values.detach().cpu().to_sparse_coo().coalesce()
        numbers = entries.values()
    if numbers.ndim != 1:  # rows of a dense matrix
        return None
    numbers = as_array(numbers, what)
    if numbers.dtype == np.float16:  # which SciPy has no matrices of
        numbers = numbers.astype(np.float32)
    return sparse.csr_matrix((numbers, tuple(entries.indices().numpy())), shape=tuple(values.shape))


def as_table(values: Any, what: str) -> npt.NDArray[Any] | sparse.csr_matrix:
    """A sparse matrix as CSR, and anything else array-like as an array; errors as in `as_sparse` and `as_array`."""
    matrix = as_sparse(values, what)
    return as_array(values, what) if matrix is None else matrix


def native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in this machine's order of bytes: SciPy and pandas take no other."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_array(values: Any, what: str) -> npt.NDArray[Any]:
    """An array of anything array-like: NumPy, torch (on any device), pandas, SciPy sparse, or nested lists.

    Args:
        what: what the values are, for the message.

    Raises:
        DataError: rows of different lengths, something that is not an array, a masked array in which values are missing, or a tensor whose
            values cannot be had.
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
        except (TypeError, RuntimeError):  # tensors in lists, of types that NumPy does not know, that need gradients, ...
            return native(np.asarray(_with_arrays(values, what)))
    except ValueError as error:
        raise DataError(f"The {what} make no array ({error}). Give rows of equal length.") from None
    except (TypeError, RuntimeError) as error:
        raise DataError(f"The {what} are {value_and_kind(values)}, which makes no array ({str(error)[:200]}). Give an array.") from None


def _with_arrays(values: Any, what: str) -> Any:
    """Nested lists with arrays in the place of tensors."""
    if isinstance(values, list | tuple):
        return [_with_arrays(row, what) for row in values]
    return as_array(values, what) if hasattr(values, "detach") else values


def number_of_rows(values: Any, what: str) -> int:
    """The length of anything array-like.

    Raises:
        DataError: it has none.
    """
    try:
        return int(values.shape[0]) if hasattr(values, "shape") else len(values)
    except (TypeError, IndexError, RuntimeError):  # the last from torch's nested tensors
        raise DataError(f"The {what} are {kind_of(values)} without rows. Give a matrix with a row for each of what they are of.") from None


def _is_sparse_tensor(values: Any) -> bool:
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
    """Raises DataError where torch cannot give the values of a tensor: of types that NumPy does not know, on the device ``meta``, ..."""
    try:
        yield
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"The {what} are a tensor ({values.dtype}, {values.layout}, on {values.device}) without values that can be read "
            f"({str(error).splitlines()[0][:200]}). Give a plain tensor of numbers, or an array."
        ) from None


def exact_below(values: Any) -> tuple[float, str]:
    """The whole number from which on the floats of anything array-like do not tell all whole numbers apart, and the name of their type.

    It is 2^(m + 1) for a type with m binary digits after the point: 256 for bfloat16, 2048 for float16, 2^24 for float32. Of rows or
    columns of several types the coarsest counts. Infinity and an empty name where there are no floats.
    """
    own = getattr(values, "dtypes", getattr(values, "dtype", None))  # of a data frame, those of its columns
    types = [own] if not isinstance(own, Iterable) else list(own)
    nested: list[tuple[float, str]] = []
    if isinstance(values, list | tuple):
        types = list({row.dtype for row in values if hasattr(row, "dtype")})
        nested = [exact_below(row) for row in values if isinstance(row, list | tuple)]
    return min([*map(_exact_below, types), *nested], default=(math.inf, ""))


def _exact_below(kind: Any) -> tuple[float, str]:
    """As `exact_below`, of a type of NumPy, of pandas or of torch."""
    if getattr(kind, "is_floating_point", False):  # of torch, which NumPy does not have all of
        import torch

        return 2 / torch.finfo(kind).eps, str(kind).removeprefix("torch.")
    kind = getattr(kind, "numpy_dtype", kind)  # of pandas, with a mask
    if isinstance(kind, np.dtype) and kind.kind == "f":
        return 2.0 ** (np.finfo(kind).nmant + 1), str(kind)
    return math.inf, ""


def as_exact_array(values: Any, what: str) -> npt.NDArray[Any]:
    """As `as_array`, of whole numbers such as those of nodes, samples or classes.

    Raises:
        DataError: see `as_array`; or floats that are so large that different whole numbers may have become the same.
    """
    array = as_array(values, what)
    limit, kind = min(exact_below(values), exact_below(array))
    if array.dtype.kind == "f":
        large = np.isfinite(array) & (np.abs(array) >= limit)
        if large.any():
            raise DataError(
                f"The {what} are {kind} numbers, which do not tell all whole numbers from {limit:.0f} on apart, found "
                f"{array[large][0]:.0f}. Make them integers before they are {kind}, for example int64."
            )
    return array


def as_integers(values: Any, what: str, *, dimensions: int = 1) -> IntArray:
    """Whole numbers as int64, with as many dimensions as asked for.

    Raises:
        DataError: other shapes, fractions, numbers beyond int64, floats that do not tell such whole numbers apart, or no numbers.
    """
    array = as_exact_array(values, what)
    if array.size == 0 and array.ndim == dimensions:
        return np.zeros(array.shape, dtype=np.int64)
    if array.ndim == 0:  # how NumPy wraps objects that it does not know
        raise DataError(f"The {what} must be an array of whole numbers, found {value_and_kind(values)}.")
    if array.ndim != dimensions:
        raise DataError(f"The {what} have the shape {array.shape}. Give an array of {counted(dimensions, 'dimension')}.")
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.round(array))
        if not whole.all():
            raise DataError(f"The {what} must be whole numbers, found {array[~whole][0].item()!r}.")
    elif array.dtype.kind not in "iu":
        raise DataError(f"The {what} must be whole numbers, found {array.dtype} values such as {array.ravel()[:1].tolist()[0]!r}.")
    if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"The {what} must fit 64-bit integers, found {array.max()}.")
    return array.astype(np.int64, copy=False)


def canonical_edges(source: IntArray, destination: IntArray, num_nodes: int, *, symmetric: bool) -> IntArray:
    """Edges in the form `Dataset` asks for: no self-loops, no duplicates, sorted by (destination, source).

    Args:
        symmetric: add the reverse of every edge.

    Raises:
        UsageError: `symmetric` is neither True nor False.
    """
    check_truth_values(symmetric=symmetric)
    keep = source != destination
    source, destination = source[keep].astype(np.int64), destination[keep].astype(np.int64)
    keys = destination * num_nodes + source
    if symmetric:
        keys = np.concatenate([keys, source * num_nodes + destination])
    del source, destination  # with some 10^8 edges every copy counts
    keys.sort()
    first = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    keys = keys[first]
    edges = np.empty((2, len(keys)), dtype=np.int64)
    np.divmod(keys, num_nodes, out=(edges[1], edges[0]))
    return edges


def canonical_edge_rows(
    source: IntArray, destination: IntArray, num_nodes: int, *, symmetric: bool, features: Features
) -> tuple[IntArray, IntArray]:
    """As `canonical_edges`, and the given edge, by number, that each of them comes from: of duplicates the first.

    With `symmetric` the reverse of an edge comes from the edge itself, unless the reverse was given, too.

    Args:
        features: of the given edges, (|E|, F_e); a warning tells where they differ between duplicates.
    """
    rows = np.flatnonzero(source != destination)
    source, destination = source[rows].astype(np.int64), destination[rows].astype(np.int64)
    keys = destination * num_nodes + source
    if symmetric:
        keys, rows = np.concatenate([keys, source * num_nodes + destination]), np.concatenate([rows, rows])
    keys, first, place = np.unique(keys, return_index=True, return_inverse=True)
    # Given edges come before reverses, so the first of each key that was given is one of them.
    _warn_of_differing_duplicates(source, destination, features, rows[: len(source)], rows[first[place[: len(source)]]])
    return np.stack([keys % num_nodes, keys // num_nodes]) if len(keys) else np.empty((2, 0), dtype=np.int64), rows[first]


def _warn_of_differing_duplicates(source: IntArray, destination: IntArray, features: Features, rows: IntArray, firsts: IntArray) -> None:
    """Warn where an edge's features, in these rows, are others than those of the first edge with the same ends."""
    later = np.flatnonzero(rows != firsts)
    if not len(later):
        return
    unlike = features[rows[later]] != features[firsts[later]]
    differing = later[np.asarray(unlike.sum(axis=1)).ravel() > 0]
    if len(differing):
        warnings.warn(
            f"Edges are repeated with other features ({len(differing)} in all), for example "
            f"{source[differing[0]]} -> {destination[differing[0]]} (nodes counted over all graphs). The first of each counts. "
            "Merge their features, or leave the others out.",
            stacklevel=3,
        )


def as_edges(edges: Any, num_nodes: int) -> IntArray:
    """Edges (2, |E|), rows (source, destination), in any order, as `Dataset` asks for them; an array that already is so is returned itself.

    Self-loops and duplicates are removed: each convolution adds the loops that it needs.

    Raises:
        DataError: not two rows, no whole numbers, or a node that does not exist.
    """
    array = check_ends(edges, num_nodes)
    return array if is_canonical(array) else canonical_edges(array[0], array[1], num_nodes, symmetric=False)


def is_canonical(edges: IntArray) -> bool:
    """Whether edges are sorted by (destination, source), with neither self-loops nor duplicates."""
    source, destination = edges
    later = destination[1:] > destination[:-1]
    later |= (destination[1:] == destination[:-1]) & (source[1:] > source[:-1])
    return bool(later.all()) and not bool((source == destination).any())


def edge_rows(edges: Any) -> IntArray:
    """Edges as two rows of whole numbers, of an array, or of a data frame with the columns `ENDS`.

    Raises:
        DataError: no two rows of whole numbers, or a data frame with other columns.
    """
    if hasattr(edges, "columns"):
        edges = _rows_of_frame(edges)
    _check_two_rows(edges)  # before a large sparse matrix is made dense, or its weights are taken for edges
    array = as_integers(edges, "edges", dimensions=2)
    _check_two_rows(array)
    return array


def _check_two_rows(edges: Any) -> None:
    """Raises DataError for a matrix of another number of rows."""
    shape = tuple(getattr(edges, "shape", ()))
    if len(shape) == 2 and shape[0] != 2:
        hint = " Transpose the array." if shape[1] == 2 else _edges_of_matrix(edges) if shape[0] == shape[1] else ""
        raise DataError(f"The edges have the shape {shape}; expected (2, number of edges): sources, then destinations.{hint}")


def _edges_of_matrix(matrix: Any) -> str:
    edges = "matrix.to_sparse().coalesce().indices()" if hasattr(matrix, "detach") else "np.stack(matrix.nonzero())"
    return f" This looks like an adjacency matrix. Give its edges: {edges}."


def _rows_of_frame(frame: Any) -> Any:
    """Sources, then destinations, by the names of the columns. A frame of two rows without any names stays as it is."""
    columns, rows = list(frame.columns), list(getattr(frame, "index", ()))
    if columns == list(range(len(columns))) and rows == [0, 1]:
        return frame
    if sorted(map(str, columns)) == sorted(ENDS):
        return np.stack([as_exact_array(frame[end], "edges") for end in ENDS])
    source, destination = ENDS
    if set(ENDS) <= set(columns):
        others = [column for column in columns if column not in ENDS]
        hint = f"Give edges=frame[{list(ENDS)}], and what else students are to know of edges as edge_features=frame[{others}]."
    elif len(rows) == 2 < len(columns):
        hint = f"Transpose it (frame.T), and call its columns so: the row {rows[0]!r} is the first of them."
    else:
        hint = f"Rename that of sources to {source!r} and that of destinations to {destination!r}."
    found = ", ".join(map(str, columns[:8])) + (", ..." if len(columns) > 8 else "")
    raise DataError(f"The data frame of edges has the columns {found}; expected {source} and {destination}, with a row an edge. {hint}")


def check_ends(edges: Any, num_nodes: int) -> IntArray:
    """Edges (2, |E|) in the order given; errors as in `as_edges`."""
    array = edge_rows(edges)
    if array.size and (array.min() < 0 or array.max() >= num_nodes):
        wrong = array.min() if array.min() < 0 else array.max()
        raise DataError(
            f"An edge names the node {wrong}, and the graph has {counted(num_nodes, 'node')}, 0 to {num_nodes - 1}. Count nodes from 0, "
            "and give features for all of them."
        )
    return array


def as_offsets(offsets: Any, num_nodes: int) -> IntArray:
    """Where the nodes of each graph begin and end, (graphs + 1,).

    Raises:
        DataError: offsets that decrease, or do not run from 0 to the number of nodes.
    """
    found = as_integers(offsets, "node offsets")
    if len(found) < 2 or found[0] != 0 or found[-1] != num_nodes:
        raise DataError(f"The node offsets must run from 0 to the number of nodes, {num_nodes}; found {_some(found)}.")
    if (np.diff(found) < 0).any():
        raise DataError(f"The node offsets must not decrease; found {_some(found)}.")
    return found


def refuse_graphs_without_nodes(offsets: IntArray) -> None:
    """Raise `DataError` where a graph that a user gives has no nodes. A view that drops nodes may leave such graphs."""
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if len(empty):
        more = f" (of {counted(len(empty), 'such graph')} the first)" if len(empty) > 1 else ""
        raise DataError(
            f"Graph {empty[0]} has no nodes{more}, and nothing can be predicted for a graph without nodes. Leave it out, with its label."
        )


def check_within_graphs(edges: IntArray, offsets: IntArray) -> None:
    """Raise `DataError` where an edge joins nodes of two graphs."""
    if len(offsets) == 2:
        return
    graph_of = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    across = np.flatnonzero(graph_of[edges[0]] != graph_of[edges[1]])
    if len(across):
        source, destination = edges[:, across[0]]
        raise DataError(
            f"The edge from node {source} to node {destination} joins graphs {graph_of[source]} and {graph_of[destination]}. Number the "
            "nodes of all graphs one after another, and shift each graph's edges by its first node."
        )


def as_kinds(kinds: FeatureKind | Sequence[FeatureKind], width: int) -> tuple[FeatureKind, ...]:
    """One kind for each feature column; one stands for all, and none means numbers.

    Raises:
        DataError: another number of kinds than of columns, or an unknown kind.
    """
    if not kinds:
        kinds = "number"
    if not isinstance(kinds, Iterable):
        raise DataError(f"The kinds of feature columns are {kinds!r:.80}. Give a list with one for each column, or one for all as a text.")
    found: tuple[FeatureKind, ...] = (kinds,) * width if isinstance(kinds, str) else tuple(kinds)
    if len(found) != width:
        raise DataError(f"Found {counted(len(found), 'kind')} for {counted(width, 'feature column')}. Give one for each, or one for all.")
    wrong = [kind for kind in found if kind not in FEATURE_KINDS]
    if wrong:
        raise DataError(f"Unknown kind of feature column {wrong[0]!r}. Choose from: {', '.join(FEATURE_KINDS)}.")
    return found


def _some(values: npt.NDArray[Any], most: int = 6) -> str:
    return ", ".join(map(str, values[:most].tolist())) + (", ..." if len(values) > most else "")
