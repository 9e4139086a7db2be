"""Exact conversion of text to numbers, with every version of pandas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

#: Options of `pandas.read_csv` for exact numbers: the default from pandas 3.1 on, where the option is deprecated.
EXACT_NUMBERS: dict[str, Any] = {} if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1) else {"float_precision": "round_trip"}

#: Spellings of infinity, in lower case.
INFINITE = frozenset(["inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"])

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def is_number(text: str) -> bool:
    """Whether text is a finite number and nothing else."""
    return _NUMBER.fullmatch(text.strip()) is not None


def plain_numbers(texts: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """All texts as numbers (NaN and infinities among them), or None if one is not a number."""
    if any("_" in text for text in texts):  # Python takes 1_000 for a number
        return None
    try:
        return np.array(list(map(float, texts)), dtype=np.float64)
    except ValueError:
        return None


def parse_numbers(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Texts as numbers, NaN where one is not a number. Unlike `pandas.to_numeric` of pandas 2, it is exact."""
    plain = plain_numbers(texts)
    if plain is not None:
        return plain
    return np.array([float(text) if is_number(text) or text.strip().lower() in INFINITE else np.nan for text in texts], dtype=np.float64)
