"""Rules for columns of labels: what is refused, and what is read in a way that users should know of (a note)."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_mutual.data.values.arrays import exact_below
from dgl_mutual.data.values.label_words import SPREADSHEET_ERRORS, LabelValue
from dgl_mutual.utils.exact_numbers import INFINITE
from dgl_mutual.utils.wording import counted

#: The rule that numbers with fractions break.
CONTINUOUS = (
    "expected classes: numbers with fractions are a continuous target (regression), and only classification is supported. "
    "Give classes as integers or strings"
)

#: The note on rows that are probably one-hot classes.
ONE_HOT = (
    "each sample has exactly one of the {} labels. They are read as independent labels (multi-label); if they are one-hot classes, give "
    "the number of the class instead, for example {}"
)

#: The note on a single column, which may be two classes.
ONE_COLUMN = (
    "the shape (samples, 1) is read as one binary label (multi-label), not as two classes. For two classes give a single column without a "
    "second dimension, for example labels[:, 0] of an array or frame['label'] of a data frame"
)

#: More classes than this, given as floating-point numbers, are probably measured values, such as years.
_MAX_FLOATS = 20
#: With more samples than this, classes that are more than half as many as the samples are values of a continuous target.
#: The rule of scikit-learn's `type_of_target`.
_FEW_SAMPLES, _MAX_CLASS_SHARE = 20, 0.5
#: More classes than this with fewer samples each are probably identifiers. Large sets of labels have more samples per class.
_MANY_CLASSES, _FEW_PER_CLASS = 1000, 10


@dataclass(frozen=True, eq=False)
class Refusal:
    """A rule that a column of labels breaks.

    Attributes:
        rows: bool, shape (samples,): the samples that break it; None where the column as a whole does.
    """

    rows: npt.NDArray[np.bool_] | None
    rule: str


def fault_of_continuous(num_classes: int, num_samples: int) -> str | None:
    """The rule that a target with this many different values breaks; None if it is fine."""
    if num_samples <= _FEW_SAMPLES or num_classes <= _MAX_CLASS_SHARE * num_samples:
        return None
    return (
        f"expected classes that several samples share, found {num_classes} different values among {num_samples} samples: "
        "this is a continuous target (regression) or a column of names, and only classification is supported"
    )


def refusal_of_values(values: Sequence[LabelValue], codes: npt.NDArray[Any], num_classes: int, num_labelled: int) -> Refusal | None:
    """Why a column does not hold classes: errors of spreadsheets, fractions, infinities, or too many different values.

    Args:
        codes: the index of each sample's value in `values`, (samples,).
    """
    is_error = [value.folded in SPREADSHEET_ERRORS for value in values]
    if any(is_error):
        text = values[is_error.index(True)].text
        rule = f"expected a class, or nothing where it is unknown, found a spreadsheet's error {text!r}"
        return Refusal(np.array(is_error)[codes], rule)
    is_fraction = [value.number is not None and value.number != value.number.to_integral_value() for value in values]
    is_wrong = [fraction or value.folded in INFINITE for value, fraction in zip(values, is_fraction, strict=True)]
    has_numbers = any(value.number is not None for value in values)
    if any(is_wrong) and has_numbers and all(value.folded in INFINITE for value in values if value.is_word):
        rule = CONTINUOUS if any(is_fraction) else "expected classes as integers or strings"
        return Refusal(np.array(is_wrong)[codes], f"{rule}, found {values[is_wrong.index(True)].text!r}")
    fault = fault_of_continuous(num_classes, num_labelled)
    return None if fault is None else Refusal(None, fault)


def refusal_of_large_floats(values: pd.Series[Any], limit: float, kind: str) -> Refusal | None:
    """Why floats are not classes: they are so large that different integers may have become equal.

    Args:
        limit, kind: see `exact_below`. Numbers among objects are judged by their own types.
    """
    if values.dtype == np.object_:
        is_large = np.array([isinstance(value, float | np.floating) and _is_large(value) for value in values], dtype=np.bool_)
    elif values.dtype.kind == "f":
        numpy_dtype: Any = getattr(values.dtype, "numpy_dtype", values.dtype)
        floats = values.to_numpy(dtype=numpy_dtype, na_value=np.nan)
        is_large = np.isfinite(floats) & (np.abs(floats) >= limit)
    else:
        return None
    if not is_large.any():
        return None
    first = np.asarray(values[is_large].iloc[0])
    if values.dtype == np.object_:
        limit, kind = exact_below(first)
    rule = f"expected classes as integers or strings, found {first:.0f}: from {limit:.0f} on, {kind} cannot represent every integer"
    return Refusal(is_large, rule)


def _is_large(number: float | np.floating[Any]) -> bool:
    return math.isfinite(number) and abs(float(number)) >= exact_below(np.asarray(number))[0]


def note_on_identifiers(num_classes: int, num_samples: int) -> str | None:
    """The note on so many classes with so few samples each that they look like identifiers; None otherwise."""
    if num_classes <= _MANY_CLASSES or num_samples >= _FEW_PER_CLASS * num_classes:
        return None
    return (
        f"{num_classes} classes among {num_samples} labelled samples, {num_samples / num_classes:.1f} per class on average, look like "
        "identifiers. They are read as classes, and each student then needs memory for samples x classes numbers, several times over. "
        "Check that these are the labels"
    )


def note_on_floats(num_classes: int) -> str | None:
    """The note on so many classes given as floating-point numbers that they are probably measured values; None otherwise."""
    if num_classes <= _MAX_FLOATS:
        return None
    return (
        f"floating-point numbers without fractions are read as {num_classes} classes. If they are numerical values to be predicted "
        "(regression), note that only classification is supported. If they are classes, give integers or strings"
    )


def note_on_minus_one(count: int, names: Sequence[str]) -> str | None:
    """The note on samples with -1, which means "unknown", if the other classes suggest that it is a class, too; None otherwise."""
    if not count or (tuple(names) not in (("1",), ("0", "1")) and not any(map(_is_negative, names))):
        return None
    return (
        f"-1 in {counted(count, 'sample')} is read as unknown, not as a class. If it is a class, give classes from 0 on, or "
        "strings; if it means unknown, NaN says so"
    )


def notes_on_values(values: Sequence[LabelValue], names: Sequence[str]) -> list[str]:
    """Notes on words that are read as unknown, on classes that differ in their spelling, and on a negative class."""
    notes = [
        f"{value.text!r} in {counted(value.count, 'cell')} is read as unknown, not as a class"
        for value in values
        if value.is_missing and value.text
    ]
    spellings: dict[str, str] = {}
    for name in names:
        first = spellings.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if first != name:
            notes.append(f"{first!r} and {name!r} are read as two classes, though they differ in their spelling alone")
    negative = [name for name in names if _is_negative(name)]
    # -1 and 1 are the classes of many datasets with two; -100 is what torch's cross-entropy ignores.
    if len(negative) == 1 and len(names) > 2 and all(name.isdecimal() for name in names if name not in negative):
        notes.append(f"{negative[0]} is read as a class beside classes from {names[1]} on. If it means unknown, give nothing or NaN there")
    return notes


def _is_negative(name: str) -> bool:
    return re.fullmatch("-[0-9]+", name) is not None
