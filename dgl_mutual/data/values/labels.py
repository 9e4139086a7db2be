"""Conversion of labels from files, spreadsheets and arrays to class indices, by one set of rules.

Nothing here knows of files: a broken rule is a `Refusal`, and readers of files add its line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from dgl_mutual.data.values.arrays import as_array, exact_below, is_sparse_tensor, native
from dgl_mutual.data.values.label_rules import (
    CONTINUOUS,
    ONE_COLUMN,
    ONE_HOT,
    Refusal,
    note_on_floats,
    note_on_identifiers,
    note_on_minus_one,
    notes_on_values,
    refusal_of_large_floats,
    refusal_of_values,
)
from dgl_mutual.data.values.label_words import label_values
from dgl_mutual.errors import DataError
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import kind_of

#: The expression for the indices of one-hot classes, if the type of the labels is unknown.
_ARGMAX = "labels.argmax(axis=1)"


@dataclass(frozen=True, eq=False)
class Encoding:
    """Labels as numbers.

    Attributes:
        labels: single-label: int64, shape (samples,), -1 where unknown. Multi-label: float32, shape (samples, L), NaN where unknown.
        names: the classes in order, or one name for each label.
        refusal: the rule that the labels break, if any; then `labels` must not be used.
        notes: what was read in a way that users should know of.
    """

    kind: Literal["single-label", "multi-label"]
    labels: npt.NDArray[Any]
    names: tuple[str, ...]
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()


def encode_labels(values: Any, where: str, *, unknown: int | None = None) -> Encoding:
    """Encode an array, a list or pandas data of numbers, strings, booleans or categories, with NaN, None or `pd.NA` where unknown.

    What is read in a way that users should know of is a warning.

    Args:
        values: shape (samples,): classes. Shape (samples, L): 0 or 1 for each of L labels; columns of a data frame keep their names.
        where: the values' name in messages, for example ``labels``.
        unknown: a number that stands for an unknown class, such as -1.

    Raises:
        DataError: the rule that the labels break.
    """
    array = _as_label_array(values, where)
    if array.ndim == 2:
        encoding = _encode_matrix(np.asarray(array), getattr(values, "columns", None), _argmax_of(values))
    elif array.ndim == 1:
        encoding = _encode_column(array, unknown, *exact_below(values))
    else:
        found = f"{array.shape}" if array.shape else kind_of(values)
        raise DataError(f"{where}: expected shape (samples,) or (samples, labels), found {found}.")
    if (refusal := encoding.refusal) is not None:
        row = "" if refusal.rows is None else f", sample {int(np.flatnonzero(refusal.rows)[0])}"
        raise DataError(f"{where}{row}: {refusal.rule}.")
    for note in encoding.notes:
        warn(f"{where}: {note}.")
    return encoding


def _as_label_array(values: Any, where: str) -> pd.Series[Any] | npt.NDArray[Any]:
    if isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        series: pd.Series[Any] = pd.Series(values)
        is_plain = isinstance(series.dtype, np.dtype | pd.SparseDtype)
        return pd.Series(native(series.to_numpy())) if is_plain else series
    array = as_array(values, where)
    if isinstance(values, np.matrix) and array.shape[1] == 1:  # classes: NumPy's matrices always have two dimensions
        array = array[:, 0]
    if array.dtype.kind not in "biufUSOMm":
        raise DataError(f"{where}: expected numbers, strings or booleans, found values of type {str(array.dtype)[:60]}.")
    # NumPy converts integers beside NaN to floats, which cannot represent every large integer.
    if array.dtype.kind == "f" and isinstance(values, list | tuple) and any(map(_is_large_integer, values)):
        return np.array(values, dtype=object)
    return array


def _is_large_integer(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**53


def _argmax_of(values: Any) -> str:
    """The expression for the indices of one-hot classes in labels of this type, for a message."""
    if is_sparse_tensor(values):
        return "labels.to_dense().argmax(1)"
    if sparse.issparse(values):
        return "labels.toarray().argmax(axis=1)"
    if isinstance(values, pd.DataFrame):
        return "labels.to_numpy().argmax(axis=1)"
    return _ARGMAX if hasattr(values, "argmax") else "np.argmax(labels, axis=1)"


def _encode_matrix(rows: npt.NDArray[Any], column_names: Any, argmax: str) -> Encoding:
    """As `encode_label_rows`, for arrays of any type, with advice for users who mean a column of classes."""
    if rows.dtype == np.object_ and not any(isinstance(value, str | bytes) for value in rows.flat):
        with contextlib.suppress(TypeError, ValueError):
            rows = np.where(pd.isna(rows), np.nan, rows).astype(np.float64)
    encoding = encode_label_rows(rows, "NaN", argmax)
    if encoding.refusal is not None and rows.shape[1] == 1:
        fractions = np.isfinite(rows) & (rows != np.round(rows)) if rows.dtype.kind == "f" else np.zeros(rows.shape, dtype=np.bool_)
        if fractions.any():
            return replace(encoding, refusal=Refusal(fractions[:, 0], f"{CONTINUOUS}, found {rows[fractions][0]:g}"))
        hint = "; give a single column of classes as shape (samples,), for example labels[:, 0] of an array"
        return replace(encoding, refusal=replace(encoding.refusal, rule=encoding.refusal.rule + hint))
    if rows.shape[1] == 1 and {0, 1} <= set(np.unique(encoding.labels).tolist()):
        encoding = replace(encoding, notes=(*encoding.notes, ONE_COLUMN))
    names = () if column_names is None else tuple(map(str, column_names))
    return replace(encoding, names=names) if names and len(set(names)) == len(names) else encoding


def encode_label_rows(values: npt.NDArray[Any], unknown_is: str = "nothing", argmax: str = _ARGMAX) -> Encoding:
    """Encode rows of 0 and 1, NaN where unknown, shape (samples, L).

    Args:
        unknown_is: what users give for an unknown label, for messages.
        argmax: how users compute the classes of one-hot labels, for messages.
    """
    names = tuple(f"label {column}" for column in range(values.shape[1]))
    if not names or values.dtype.kind not in "biuf":
        rule = f"expected a column for each label, found shape {values.shape}; give a class for each sample, or no labels if none is known"
        if names:
            rule = f"expected 0, 1 or NaN (unknown) for each label, found values of type {values.dtype}"
        return Encoding("multi-label", np.full(values.shape, np.nan, dtype=np.float32), names, Refusal(None, rule))
    is_unknown = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=np.bool_)
    is_wrong = ~(np.isin(values, (0, 1)) | is_unknown)
    labels = np.where(is_unknown, np.nan, values == 1).astype(np.float32)
    if is_wrong.any():
        has_fractions = np.any(is_wrong & np.isfinite(values) & (values != np.round(values)))
        hint = " (several continuous targets are a regression, which is not supported)" if has_fractions else ""
        rule = f"expected 0 or 1 for each label, or {unknown_is} where it is unknown, found {values[is_wrong][0]:g}{hint}"
        return Encoding("multi-label", labels, names, Refusal(np.asarray(is_wrong.any(axis=1)), rule))
    sums = labels[~np.isnan(labels).all(axis=1)].sum(axis=1)  # NaN where only some labels are unknown
    is_one_hot = len(names) > 1 and len(sums) > 1 and bool((sums == 1).all())
    return Encoding("multi-label", labels, names, notes=(ONE_HOT.format(len(names), argmax),) if is_one_hot else ())


def _encode_column(column: pd.Series[Any] | npt.NDArray[Any], unknown: int | None, limit: float, kind: str) -> Encoding:
    """Encode classes of any type.

    Args:
        unknown: see `encode_labels`.
        limit, kind: of the values as the user gave them (see `exact_below`).
    """
    try:
        values: pd.Series[Any] = pd.Series(column)
        codes, distinct = pd.factorize(values)
    except (TypeError, ValueError) as error:  # lists in the place of classes, times without a unit, ...
        rule = f"expected classes as numbers or text, found values that cannot be compared ({str(error)[:200]})"
        return Encoding("single-label", np.full(len(column), -1), (), Refusal(None, rule))
    hidden = [unknown is not None and bool(value == unknown) for value in distinct]
    texts = ["" if is_hidden else _as_text(value) for value, is_hidden in zip(distinct, hidden, strict=True)]
    encoding = _encode_distinct(np.where(codes < 0, len(texts), codes), [*texts, ""])
    refusal = refusal_of_large_floats(values, *min((limit, kind), exact_below(values)))
    if refusal is not None:
        return replace(encoding, refusal=refusal)
    is_float = values.dtype.kind == "f" and not (codes < 0).any()  # integers beside NaN are floats in any case
    num_hidden = int(np.isin(codes, np.flatnonzero(hidden)).sum()) if unknown == -1 and any(hidden) else 0
    notes = (note_on_floats(len(encoding.names)) if is_float else None, note_on_minus_one(num_hidden, encoding.names))
    return replace(encoding, notes=(*encoding.notes, *filter(None, notes)))


def _as_text(value: Any) -> str:
    return (value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)).strip()


def encode_cells(cells: pd.Series[str]) -> Encoding:
    """Encode text: one class for each cell, unknown where it is empty or says so (see `dgl_mutual.data.values.label_words.MISSING`).

    Numbers are compared exactly: ``2``, ``2.0`` and ``02`` are one class. Classes are in numerical order if all are numbers, else in
    alphabetical order.
    """
    codes, distinct = pd.factorize(cells, use_na_sentinel=False)
    return _encode_distinct(codes, [str(text).strip() for text in distinct])


def _encode_distinct(codes: npt.NDArray[Any], texts: Sequence[str]) -> Encoding:
    """As `encode_cells`, for cells given by the index of their text in `texts`, (samples,)."""
    values = label_values(texts, np.bincount(codes, minlength=len(texts)).tolist())
    known = [value for value in values if value.name is not None]
    in_order = sorted(known, key=attrgetter("name" if any(value.is_word for value in known) else "number"))
    names = tuple(dict.fromkeys(value.name for value in in_order if value.name is not None))
    code_of: dict[str | None, int] = {name: code for code, name in enumerate(names)}
    labels = np.array([code_of.get(value.name, -1) for value in values], dtype=np.int64)[codes]
    num_labelled = sum(value.count for value in known)
    refusal = refusal_of_values(values, codes, len(names), num_labelled)
    identifiers = note_on_identifiers(len(names), num_labelled) if refusal is None else None
    return Encoding("single-label", labels, names, refusal, tuple(filter(None, (*notes_on_values(values, names), identifiers))))
