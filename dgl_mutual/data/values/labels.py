"""From labels as a person, a spreadsheet or an array holds them to class indices: one set of rules for files and for objects in memory.

Nothing here knows of files: a rule that is broken is a `Refusal`, and who reads a file says in which line.
"""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from dgl_mutual.data.values.arrays import as_array, exact_below, is_sparse_tensor, native
from dgl_mutual.errors import DataError
from dgl_mutual.utils.exact_numbers import INFINITE, is_number
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted, kind_of

BoolArray = npt.NDArray[np.bool_]

#: What means "unknown" in a column of labels, whatever its case: what pandas reads as missing, and what R, SQL, Weka and MATLAB write.
MISSING = frozenset(
    (
        *("", "na", "n/a", "nan", "-nan", "none", "null", "nat", "?", "<na>", "<missing>", "<undefined>", "\\n"),
        *("#n/a", "#na", "#n/a n/a", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "#null!"),
    )
)
#: Spelt like a missing value, but the name of something: sodium.
_NOT_MISSING = frozenset(["Na"])
#: What means "unknown" among numbers; among words it is a class, as ``-`` is beside ``+``.
_PLACEHOLDERS = frozenset(
    (".", "..", "-", "--", "---", "*", "nil", "missing", "unknown", "unlabeled", "unlabelled", "undefined", "not available")
)
#: What a spreadsheet writes where a formula failed.
_SPREADSHEET_ERRORS = frozenset(["#ref!", "#value!", "#div/0!", "#name?", "#num!", "#error!", "#getting_data", "#spill!", "#calc!"])

#: The rule that numbers with fractions break.
CONTINUOUS = (
    "expected classes: numbers with fractions are a continuous target (regression), and only classification is supported. "
    "Give classes as integers or strings"
)

#: What is said of rows that are probably classes.
ONE_HOT = (
    "each sample has exactly one of the {} labels. They are read as independent labels (multi-label); if they are one-hot classes, give "
    "the number of the class instead, for example {}"
)
#: How the indices of one-hot classes are computed, if nothing else is known of the labels.
_ARGMAX = "labels.argmax(axis=1)"

#: What is said of a single column, which may be two classes.
ONE_COLUMN = (
    "the shape (samples, 1) is read as one binary label (multi-label), not as two classes. For two classes give a single column without a "
    "second dimension, for example labels[:, 0] of an array or frame['label'] of a data frame"
)

#: What is said of floating-point numbers that are probably measured, as years are.
FLOATS = (
    "floating-point numbers without fractions are read as {} classes. If they are numerical values to be predicted (regression), note that "
    "only classification is supported. If they are classes, give integers or strings"
)
#: More classes than this, given as floating-point numbers, are probably numerical values.
_MAX_FLOATS = 20

#: Longer integers keep their exponent in a class's name.
_MAX_DIGITS = 100
#: With more samples than this, classes that are more than half as many as the samples are values of a continuous target.
#: The rule of scikit-learn's `type_of_target`.
_FEW_SAMPLES, _MAX_CLASS_SHARE = 20, 0.5
#: More classes than this with fewer samples each are probably identifiers. Large sets of labels have more samples a class.
_MANY_CLASSES, _FEW_PER_CLASS = 1000, 10


@dataclass(frozen=True, eq=False)
class Refusal:
    """A rule that a column of labels breaks.

    Attributes:
        rows: bool, shape (samples,): where it is broken; None where the column as a whole breaks it.
    """

    rows: BoolArray | None
    rule: str


@dataclass(frozen=True, eq=False)
class Encoding:
    """Labels as numbers.

    Attributes:
        labels: single-label: int64, shape (samples,), -1 where unknown. Multi-label: float32, shape (samples, L), NaN where unknown.
        names: the classes in order, or one name a label.
        refusals: the rules that the labels break; then `labels` are not to be used.
        notes: what was read in a way that users should know of.
    """

    kind: Literal["single-label", "multi-label"]
    labels: npt.NDArray[Any]
    names: tuple[str, ...]
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()


def encode_labels(values: Any, where: str, *, unknown: int | None = None) -> Encoding:
    """The labels of an array, a list or data of pandas: numbers, strings, booleans or categories, with NaN, None or `pd.NA` where unknown.

    What is read in a way that users should know of is a warning.

    Args:
        values: shape (samples,): classes. Shape (samples, L): 0 or 1 for each of L labels; columns of a data frame keep their names.
        where: what the values are called in messages, for example ``labels``.
        unknown: a number that stands for an unknown class, such as -1.

    Raises:
        DataError: the labels break a rule, and which.
    """
    array = _as_label_array(values, where)
    if array.ndim == 2:
        encoding = _encode_rows(np.asarray(array), getattr(values, "columns", None), _numbers_of_one_hot(values))
    elif array.ndim == 1:
        encoding = _encode_list(array, unknown, *exact_below(values))
    else:
        found = f"{array.shape}" if array.shape else kind_of(values)
        raise DataError(f"{where}: expected shape (samples,) or (samples, labels), found {found}.")
    if encoding.refusals:
        first = encoding.refusals[0]
        row = "" if first.rows is None else f", sample {int(np.flatnonzero(first.rows)[0])}"
        raise DataError(f"{where}{row}: {first.rule}.")
    for note in encoding.notes:
        warn(f"{where}: {note}.")
    return encoding


def _as_label_array(values: Any, where: str) -> pd.Series[Any] | npt.NDArray[Any]:
    if isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        series: pd.Series[Any] = pd.Series(values)
        is_plain = isinstance(series.dtype, np.dtype | pd.SparseDtype)
        return pd.Series(native(series.to_numpy())) if is_plain else series
    array = as_array(values, where)
    if isinstance(values, np.matrix) and array.shape[1] == 1:  # a list: matrices of NumPy always have two dimensions
        array = array[:, 0]
    if array.dtype.kind not in "biufUSOMm":
        raise DataError(f"{where}: expected numbers, strings or booleans, found values of type {str(array.dtype)[:60]}.")
    if array.dtype.kind == "f" and isinstance(values, list | tuple) and any(_is_large(value) for value in values):
        # NumPy makes floats of integers beside NaN, and floats cannot represent every large one.
        array = np.array(values, dtype=object)
    return array


def _numbers_of_one_hot(values: Any) -> str:
    """How the indices of one-hot classes are computed of labels of this type, for a message."""
    if is_sparse_tensor(values):
        return "labels.to_dense().argmax(1)"
    if sparse.issparse(values):
        return "labels.toarray().argmax(axis=1)"
    if isinstance(values, pd.DataFrame):
        return "labels.to_numpy().argmax(axis=1)"
    return _ARGMAX if hasattr(values, "argmax") else "np.argmax(labels, axis=1)"


def _is_large(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**53


def _encode_rows(rows: npt.NDArray[Any], names: Any, argmax: str) -> Encoding:
    if rows.dtype == np.object_ and not any(isinstance(value, str | bytes) for value in rows.flat):
        with contextlib.suppress(TypeError, ValueError):
            rows = np.where(pd.isna(rows), np.nan, rows).astype(np.float64)
    encoding = encode_label_rows(rows, "NaN", argmax)
    if encoding.refusals and rows.shape[1] == 1:
        fractions = np.isfinite(rows) & (rows != np.round(rows)) if rows.dtype.kind == "f" else np.zeros(rows.shape, dtype=np.bool_)
        if fractions.any():
            return replace(encoding, refusals=(Refusal(fractions[:, 0], f"{CONTINUOUS}, found {rows[fractions][0]:g}"),))
        hint = "; give a single column of classes as shape (samples,), for example labels[:, 0] of an array"
        return replace(encoding, refusals=tuple(Refusal(one.rows, one.rule + hint) for one in encoding.refusals))
    if rows.shape[1] == 1 and {0, 1} <= set(np.unique(encoding.labels).tolist()):
        encoding = replace(encoding, notes=(*encoding.notes, ONE_COLUMN))
    titles = () if names is None else tuple(map(str, names))
    return replace(encoding, names=titles) if titles and len(set(titles)) == len(titles) else encoding


def _encode_list(listed: pd.Series[Any] | npt.NDArray[Any], unknown: int | None, limit: float, kind: str) -> Encoding:
    """Classes as numbers.

    Args:
        unknown: see `encode_labels`.
        limit, kind: of the values that were given (see `exact_below`).
    """
    try:
        values: pd.Series[Any] = pd.Series(listed)
        codes, found = pd.factorize(values)
    except (TypeError, ValueError) as error:  # lists in the place of classes, times without a unit, ...
        rule = f"expected classes as numbers or text, found values that cannot be compared ({str(error)[:200]})"
        return Encoding("single-label", np.full(len(listed), -1), (), (Refusal(None, rule),))
    hidden = [unknown is not None and bool(value == unknown) for value in found]
    texts = ["" if is_hidden else _as_text(value) for value, is_hidden in zip(found, hidden, strict=True)]
    encoding = _encode(np.where(codes < 0, len(texts), codes), [*texts, ""])
    inexact = _inexact(values, *min((limit, kind), exact_below(values)))
    if inexact is not None:
        return replace(encoding, refusals=(inexact,))
    # With NaN among them, integers are floating-point ones in any case.
    if values.dtype.kind == "f" and len(encoding.names) > _MAX_FLOATS and not (codes < 0).any():
        encoding = replace(encoding, notes=(*encoding.notes, FLOATS.format(len(encoding.names))))
    looks_like_class = encoding.names in (("1",), ("0", "1")) or any(re.fullmatch("-[0-9]+", name) for name in encoding.names)
    if any(hidden) and unknown == -1 and looks_like_class:
        count = int(np.isin(codes, np.flatnonzero(hidden)).sum())
        note = (
            f"{unknown} in {counted(count, 'sample')} is read as unknown, not as a class. If it is a class, give classes from 0 on, or "
            "strings; if it means unknown, NaN says so"
        )
        return replace(encoding, notes=(*encoding.notes, note))
    return encoding


def _as_text(value: Any) -> str:
    return (value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)).strip()


def _inexact(values: pd.Series[Any], limit: float, kind: str) -> Refusal | None:
    """The rule that floats break which are so large that different integers may have become the same.

    Args:
        limit, kind: see `exact_below`. Of objects, each is judged by its own type.
    """
    if values.dtype == np.object_:
        return _inexact_object(values)
    if values.dtype.kind != "f":
        return None
    numpy_dtype: Any = getattr(values.dtype, "numpy_dtype", values.dtype)
    floats = values.to_numpy(dtype=numpy_dtype, na_value=np.nan)
    large = np.isfinite(floats) & (np.abs(floats) >= limit)
    if not large.any():
        return None
    return _as_inexact(large, floats[large][0], limit, kind)


def _inexact_object(values: pd.Series[Any]) -> Refusal | None:
    """As `_inexact`, of numbers of several types, or of numbers beside something else."""
    large = np.array([isinstance(value, float | np.floating) and _is_inexact(value) for value in values], dtype=np.bool_)
    if not large.any():
        return None
    first = np.asarray(values[large].iloc[0])
    return _as_inexact(large, first, *exact_below(first))


def _is_inexact(number: float | np.floating[Any]) -> bool:
    return math.isfinite(number) and abs(float(number)) >= exact_below(np.asarray(number))[0]


def _as_inexact(large: BoolArray, first: Any, limit: float, kind: str) -> Refusal:
    return Refusal(
        large,
        f"expected classes as integers or strings, found {first:.0f}: from {limit:.0f} on, {kind} cannot represent every integer",
    )


def encode_label_rows(values: npt.NDArray[Any], unknown_is: str = "nothing", argmax: str = _ARGMAX) -> Encoding:
    """Rows of 0 and 1, NaN where unknown, shape (samples, L).

    Args:
        unknown_is: what a user gives for an unknown label, for messages.
        argmax: how a user computes classes of one-hot labels, for messages.
    """
    names = tuple(f"label {column}" for column in range(values.shape[1]))
    if not names:
        rule = f"expected a column for each label, found shape {values.shape}; give a class for each sample, or no labels if none is known"
        return Encoding("multi-label", np.zeros(values.shape, dtype=np.float32), names, (Refusal(None, rule),))
    if values.dtype.kind not in "biuf":
        rule = f"expected 0, 1 or NaN (unknown) for each label, found values of type {values.dtype}"
        return Encoding("multi-label", np.full(values.shape, np.nan, dtype=np.float32), names, (Refusal(None, rule),))
    unknown = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=np.bool_)
    wrong = ~(np.isin(values, (0, 1)) | unknown)
    labels = np.where(unknown, np.nan, np.isin(values, (1,))).astype(np.float32)
    if not wrong.any():
        sums = labels[~np.isnan(labels).all(axis=1)].sum(axis=1)  # NaN where one of several labels is unknown
        is_one_hot = len(names) > 1 and len(sums) > 1 and bool((sums == 1).all())
        notes = (ONE_HOT.format(len(names), argmax),) if is_one_hot else ()
        return Encoding("multi-label", labels, names, notes=notes)
    hint = (
        " (several continuous targets are a regression, which is not supported)"
        if np.any(wrong & np.isfinite(values) & (values != np.round(values)))
        else ""
    )
    rule = f"expected 0 or 1 for each label, or {unknown_is} where it is unknown, found {values[wrong][0]:g}{hint}"
    return Encoding("multi-label", labels, names, (Refusal(np.asarray(wrong.any(axis=1)), rule),))


def encode_cells(cells: pd.Series[str]) -> Encoding:
    """Classes from text: one a cell, unknown where it is empty or says so (see `MISSING`).

    Numbers are compared as numbers, to their last digit: ``2``, ``2.0`` and ``02`` are one class. Classes stand in the order of their
    numbers if all are numbers, else in that of the alphabet.
    """
    codes, found = pd.factorize(cells, use_na_sentinel=False)
    return _encode(codes, [str(text).strip() for text in found])


def _encode(codes: npt.NDArray[Any], texts: Sequence[str]) -> Encoding:
    """`encode_cells`, where each cell is given by the number of its text in `texts`."""
    numbers = [_as_number(text) for text in texts]
    missing = [text.casefold() in MISSING and text not in _NOT_MISSING for text in texts]
    words = [text for text, number, absent in zip(texts, numbers, missing, strict=True) if number is None and not absent]
    if words and all(word.casefold() in _PLACEHOLDERS for word in words) and any(number is not None for number in numbers):
        missing = [absent or number is None for absent, number in zip(missing, numbers, strict=True)]
        words = []
    if not words:
        named = {place: _name_number(number) for place, number in enumerate(numbers) if number is not None}
    elif {word.casefold() for word in words} <= {"true", "false"} and not any(number is not None for number in numbers):
        named = {place: text.capitalize() for place, text in enumerate(texts) if not missing[place]}
    else:
        named = {
            place: text if number is None or text.lstrip("+-").startswith("0") else _name_number(number)
            for place, (text, number) in enumerate(zip(texts, numbers, strict=True))
            if not missing[place]
        }
    first: dict[str, int] = {}
    for place, name in named.items():
        first.setdefault(name, place)
    names = sorted(first) if words else sorted(first, key=lambda name: numbers[first[name]] or Decimal(0))
    code_of = {name: code for code, name in enumerate(names)}
    labels = np.array([code_of[named[place]] if place in named else -1 for place in range(len(texts))], dtype=np.int64)[codes]
    refusals = _refusals(codes, texts, numbers, words, labels, len(names))
    notes = _notes(codes, texts, missing, names)
    identifiers = note_on_identifiers(len(names), int((labels >= 0).sum()))
    if identifiers is not None and not refusals:
        notes.append(identifiers)
    return Encoding("single-label", labels, tuple(names), tuple(refusals), tuple(notes))


def fault_of_continuous(num_classes: int, num_samples: int) -> str | None:
    """The rule that a target with so many different values breaks, if it breaks one."""
    if num_samples <= _FEW_SAMPLES or num_classes <= _MAX_CLASS_SHARE * num_samples:
        return None
    return (
        f"expected classes that several samples share, found {num_classes} different values among {num_samples} samples: "
        "this is a continuous target (regression) or a column of names, and only classification is supported"
    )


def note_on_identifiers(num_classes: int, num_samples: int) -> str | None:
    """What is said of classes that are so many, with so few samples each, that they look like identifiers; None of others."""
    if num_classes <= _MANY_CLASSES or num_samples >= _FEW_PER_CLASS * num_classes:
        return None
    return (
        f"{num_classes} classes among {num_samples} labelled samples, {num_samples / num_classes:.1f} a class on average, look like "
        "identifiers. They are read as classes, and each student then needs memory for samples x classes numbers, several times over. "
        "Check that these are the labels"
    )


def _as_number(text: str) -> Decimal | None:
    if not is_number(text):
        return None
    try:
        number = Decimal(text)
    except ArithmeticError:  # an exponent beyond all bounds
        return None
    return number if number else Decimal(0)


def _is_whole(number: Decimal) -> bool:
    return number == number.to_integral_value()


def _name_number(number: Decimal) -> str:
    if abs(number.adjusted()) > _MAX_DIGITS and number.as_tuple().exponent != 0:
        return str(number)
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _refusals(
    codes: npt.NDArray[Any], texts: Sequence[str], numbers: Sequence[Decimal | None], words: Sequence[str], labels: Any, num_classes: int
) -> list[Refusal]:
    broken = [text.casefold() in _SPREADSHEET_ERRORS for text in texts]
    if any(broken):
        rule = f"expected a class, or nothing where it is unknown, found a spreadsheet's error {texts[broken.index(True)]!r}"
        return [Refusal(np.array(broken)[codes], rule)]
    infinite = [text.casefold() in INFINITE for text in texts]
    fractions = [not _is_whole(number) if number is not None else wrong for number, wrong in zip(numbers, infinite, strict=True)]
    if sum(infinite) == len(words) and any(fractions) and any(number is not None for number in numbers):
        rule = CONTINUOUS if fractions != infinite else "expected classes as integers or strings"
        return [Refusal(np.array(fractions)[codes], f"{rule}, found {texts[fractions.index(True)]!r}")]
    too_many = fault_of_continuous(num_classes, int((labels >= 0).sum()))
    return [] if too_many is None else [Refusal(None, too_many)]


def _notes(codes: npt.NDArray[Any], texts: Sequence[str], missing: Sequence[bool], names: Sequence[str]) -> list[str]:
    counts = np.bincount(codes, minlength=len(texts))
    notes = [
        f"{text!r} in {counted(int(count), 'cell')} is read as unknown, not as a class"
        for text, absent, count in zip(texts, missing, counts, strict=True)
        if absent and text
    ]
    spellings: dict[str, str] = {}
    for name in names:
        first = spellings.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if first != name:
            notes.append(f"{first!r} and {name!r} are read as two classes, though they differ in their spelling alone")
    negative = [name for name in names if re.fullmatch("-[0-9]+", name)]
    # -1 and 1 are the classes of many datasets with two; -100 is what torch's cross-entropy ignores.
    if len(negative) == 1 and len(names) > 2 and all(name.isdecimal() for name in names if name not in negative):
        notes.append(f"{negative[0]} is read as a class beside classes from {names[1]} on. If it means unknown, give nothing or NaN there")
    return notes
