"""Texts in columns of labels: which mean "unknown", which are numbers, and which class each of them names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from dgl_mutual.utils.exact_numbers import is_number

#: Texts that mean "unknown" in a column of labels, in lower case: what pandas reads as missing, and what R, SQL, Weka and MATLAB write.
MISSING = frozenset(
    (
        *("", "na", "n/a", "nan", "-nan", "none", "null", "nat", "?", "<na>", "<missing>", "<undefined>", "\\n"),
        *("#n/a", "#na", "#n/a n/a", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "#null!"),
    )
)
#: Spelt like a missing value, but the symbol of sodium.
_NOT_MISSING = frozenset(["Na"])
#: Texts that mean "unknown" among numbers. Among words each is a class, as ``-`` is beside ``+``.
_PLACEHOLDERS = frozenset(
    (".", "..", "-", "--", "---", "*", "nil", "missing", "unknown", "unlabeled", "unlabelled", "undefined", "not available")
)
#: What spreadsheets write where a formula failed.
SPREADSHEET_ERRORS = frozenset(["#ref!", "#value!", "#div/0!", "#name?", "#num!", "#error!", "#getting_data", "#spill!", "#calc!"])

#: Integers with more digits than this keep their exponent in the name of a class.
_MAX_DIGITS = 100


@dataclass(slots=True)
class LabelValue:
    """One of the distinct values of a column of labels.

    Attributes:
        count: number of cells with this value.
        number: the exact number, if it is one.
        is_missing: whether it means "unknown". What is neither a number nor missing is a word.
        name: the name of its class; None if it is missing.
    """

    text: str
    count: int
    folded: str
    number: Decimal | None
    is_missing: bool
    name: str | None = None

    @property
    def is_word(self) -> bool:
        return self.number is None and not self.is_missing


def label_values(texts: Sequence[str], counts: Sequence[int]) -> list[LabelValue]:
    """Interpret the distinct texts of a column, of which each occurs in this many cells."""
    values = []
    for text, count in zip(texts, counts, strict=True):
        folded = text.casefold()
        values.append(LabelValue(text, count, folded, _parse_number(text), folded in MISSING and text not in _NOT_MISSING))
    words = {value.folded for value in values if value.is_word}
    has_numbers = any(value.number is not None for value in values)
    if has_numbers and words <= _PLACEHOLDERS:
        words = set()
        for value in values:
            value.is_missing = value.number is None
    are_booleans = words <= {"true", "false"} and not has_numbers
    for value in values:
        if value.number is not None:  # among words, 007 is a word, too
            value.name = value.text if words and value.text.lstrip("+-").startswith("0") else _name_number(value.number)
        elif not value.is_missing:
            value.name = value.text.capitalize() if are_booleans else value.text
    return values


def _parse_number(text: str) -> Decimal | None:
    if not is_number(text):
        return None
    try:
        number = Decimal(text)
    except ArithmeticError:  # an exponent beyond all bounds
        return None
    return number if number else Decimal(0)  # -0 and 0e5 are the same class as 0


def _name_number(number: Decimal) -> str:
    if abs(number.adjusted()) > _MAX_DIGITS and number.as_tuple().exponent != 0:
        return str(number)
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
