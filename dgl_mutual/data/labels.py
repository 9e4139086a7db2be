"""From labels as a person, a spreadsheet or an array holds them to class numbers: one set of rules for files and for objects in memory.

Nothing here knows of files: a rule that is broken is a `Refusal`, and who reads a file says in which line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_mutual.errors import DataError
from dgl_mutual.exact_numbers import INFINITE, is_number

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
    "Give classes as whole numbers or words"
)

#: Longer whole numbers keep their exponent in a class's name.
_MOST_DIGITS = 100
#: With more samples than this, classes that are more than half as many as the samples are values of a continuous target.
#: The rule of scikit-learn's `type_of_target`.
_FEW_SAMPLES, _MOST_CLASSES = 20, 0.5


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
    """The labels of an array, a list or a pandas Series: numbers, text, booleans or categories, with NaN, None or `pd.NA` where unknown.

    Args:
        values: shape (samples,): classes. Shape (samples, L): 0 or 1 for each of L labels.
        where: what the values are called in messages, for example ``labels``.
        unknown: a number that stands for an unknown class, such as -1.

    Raises:
        DataError: the labels break a rule, and which.
    """
    array = values if isinstance(values, pd.Series) else np.asarray(values)
    if array.ndim == 2:
        encoding = encode_label_rows(np.asarray(array))
    elif array.ndim == 1:
        encoding = _encode(*_distinct(pd.Series(array), unknown))
    else:
        raise DataError(f"{where}: expected shape (samples,) or (samples, labels), found {array.shape}.")
    if encoding.refusals:
        first = encoding.refusals[0]
        row = "" if first.rows is None else f", sample {int(np.flatnonzero(first.rows)[0])}"
        raise DataError(f"{where}{row}: {first.rule}.")
    return encoding


def encode_label_rows(values: npt.NDArray[Any]) -> Encoding:
    """Rows of 0 and 1, NaN where unknown, shape (samples, L)."""
    names = tuple(f"label {column}" for column in range(values.shape[1]))
    if values.dtype.kind not in "biuf":
        rule = f"expected 0, 1 or NaN (unknown) for each label, found values of type {values.dtype}"
        return Encoding("multi-label", np.full(values.shape, np.nan, dtype=np.float32), names, (Refusal(None, rule),))
    unknown = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=np.bool_)
    wrong = ~(np.isin(values, (0, 1)) | unknown)
    labels = np.where(unknown, np.nan, np.isin(values, (1,))).astype(np.float32)
    if not wrong.any():
        return Encoding("multi-label", labels, names)
    hint = (
        " (several continuous targets are a regression, which is not supported)"
        if np.any(wrong & np.isfinite(values) & (values != np.round(values)))
        else ""
    )
    rule = f"expected 0 or 1 for each label, or nothing where it is unknown, found {values[wrong][0]:g}{hint}"
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
    return Encoding("single-label", labels, tuple(names), tuple(refusals), tuple(_notes(codes, texts, missing, names)))


def refuse_continuous(num_classes: int, num_samples: int) -> str | None:
    """The rule that a target with so many different values breaks, if it breaks one."""
    if num_samples <= _FEW_SAMPLES or num_classes <= _MOST_CLASSES * num_samples:
        return None
    return (
        f"expected classes that several samples share, found {num_classes} different values among {num_samples} samples: "
        "this is a continuous target (regression) or a column of names, and only classification is supported"
    )


def _distinct(values: pd.Series[Any], unknown: int | None) -> tuple[npt.NDArray[Any], list[str]]:
    """The different values as text, and the number of each value's among them."""
    codes, found = pd.factorize(values)
    texts = ["" if unknown is not None and value == unknown else str(value).strip() for value in found]
    return np.where(codes < 0, len(texts), codes), [*texts, ""]


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
    if abs(number.adjusted()) > _MOST_DIGITS and number.as_tuple().exponent != 0:
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
        return [Refusal(np.array(fractions)[codes], f"{CONTINUOUS}, found {texts[fractions.index(True)]!r}")]
    too_many = refuse_continuous(num_classes, int((labels >= 0).sum()))
    return [] if too_many is None else [Refusal(None, too_many)]


def _notes(codes: npt.NDArray[Any], texts: Sequence[str], missing: Sequence[bool], names: Sequence[str]) -> list[str]:
    counts = np.bincount(codes, minlength=len(texts))
    notes = [
        f"{text!r} in {count} cell{'s' if count > 1 else ''} is read as unknown, not as a class"
        for text, absent, count in zip(texts, missing, counts, strict=True)
        if absent and text
    ]
    spellings: dict[str, str] = {}
    for name in names:
        first = spellings.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if first != name:
            notes.append(f"{first!r} and {name!r} are read as two classes, though they differ in their spelling alone")
    return notes
