"""Tables of numbers in text files, read with pandas. Faults name the line of an offending cell."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_mutual.data.files.untrusted_files import open_content, recording
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.faults import Faults
from dgl_mutual.data.values.features import FINITE, unusable
from dgl_mutual.data.values.label_words import MISSING
from dgl_mutual.utils.exact_numbers import EXACT_NUMBERS, parse_numbers
from dgl_mutual.utils.files import RefusedFile
from dgl_mutual.utils.wording import counted

#: The most cells of a table, plus this many per byte of its file: compressed codes of molecules have 25 per byte, and mostly empty tables,
#: such as the labels of ogbg-molchembl, 50 and more.
_MAX_CELLS, _MAX_CELLS_PER_BYTE, _MAX_EMPTY_PER_BYTE = 1 << 22, 50, 150
#: The most columns of a table: pandas takes some 50 microseconds for each, whatever the number of rows.
_MAX_WIDTH = 100_000
#: Cells examined at a time in a file that pandas refuses.
_BLOCK = 1 << 20
#: Options of `pandas.read_csv`. Without the last one it reads ``"1"2`` as 12.
_PLAIN: dict[str, Any] = {"header": None, "skipinitialspace": True, "skip_blank_lines": False, "quoting": csv.QUOTE_NONE}
#: Kinds of lines: sound, or faulty in one of these ways.
_SOUND, _BLANK, _RAGGED, _WRONG, _UNKNOWN = range(5)

#: From this number on, float64 cannot represent every integer.
_EXACT = 2.0**53


@dataclass(frozen=True, eq=False)
class NumberTable:
    """A table without a header: row r is line r + 1 of the file.

    Attributes:
        values: float64, shape (rows, columns); NaN where a cell is missing or invalid.
        valid: bool, shape (rows,): rows that no rule has refused yet. Later rules check only these.
    """

    path: Path
    values: npt.NDArray[np.float64]
    valid: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)

    def refuse(self, faults: Faults, offending: npt.NDArray[np.bool_], rule: str) -> None:
        """Refuse all valid rows where `offending` is true, and record `rule` with the first of them and its values."""
        rows = np.flatnonzero(offending & self.valid)
        if len(rows):
            cells = ", ".join(f"{value:g}" for value in self.values[rows[0], :6])
            faults.add_lines(self.path, rows + 1, f"{rule}, found '{cells}'")
            self.valid[rows] = False

    def integers(self, faults: Faults, rule: str = "expected integers") -> IntArray:
        """The values as exact int64. Rows with fractions break `rule`; refused rows hold zeros."""
        self.refuse(faults, np.any(self.values != np.round(self.values), axis=1), rule)
        large = np.any(np.abs(self.values) >= _EXACT, axis=1) & self.valid
        if large.any():
            exact = _read_exact(self.path)
            if exact is not None:
                return np.where(self.valid[:, None], exact, 0)
            self.refuse(faults, large, "expected integers from -2^63 to 2^63 - 1, the large ones without point and exponent")
        return np.where(self.valid[:, None], self.values, 0).astype(np.int64)

    def features(self, faults: Faults) -> npt.NDArray[np.float64]:
        """The values as features: rows that are not finite in float32 are refused."""
        self.refuse(faults, np.any(unusable(self.values), axis=1), FINITE)
        return self.values

    def expect_rows(self, faults: Faults, rows: int, what: str) -> bool:
        """Whether the table has `rows` rows; if not, a fault is recorded at the first missing or surplus line."""
        if len(self) != rows:
            faults.add(self.path, f"expected {rows} lines, one for each {what}, found {len(self)}", min(len(self), rows) + 1)
        return len(self) == rows


def read_numbers(
    path: Path, faults: Faults, *, columns: int | None = None, allow_missing: bool = False, allow_empty: bool = False
) -> NumberTable | None:
    """Read comma-separated numbers (plain or gzip), or record why the file cannot be read and return None.

    Args:
        columns: expected number of columns; None for that of the first line.
        allow_missing: whether an empty or missing value (`dgl_mutual.data.values.label_words.MISSING`) means "unknown" and becomes NaN.
        allow_empty: whether an empty file is a table without rows.
    """
    with recording(path, faults, "the file is truncated or damaged"):
        size = _measure(path, _MAX_EMPTY_PER_BYTE if allow_missing else _MAX_CELLS_PER_BYTE)
        # pandas silently pads short lines: a wide line before a million short ones would become a table of terabytes.
        if size.cells == size.width * size.lines:
            with suppress(ValueError), open_content(path) as opened:  # pandas refuses a line or a cell
                values = pd.read_csv(opened, dtype=np.float64, **_PLAIN, **EXACT_NUMBERS).to_numpy()
                if columns in (None, values.shape[1]) and bool((np.isfinite(values) | (np.isnan(values) & allow_missing)).all()):
                    return NumberTable(path, values, np.ones(len(values), dtype=np.bool_))
        return _read_faulty(path, size, faults, columns, allow_missing=allow_missing, allow_empty=allow_empty)
    return None


@dataclass(frozen=True)
class _Size:
    """Size of a table's text: lines, cells in all lines, and cells in the first line that is not blank."""

    lines: int
    cells: int
    width: int


def _measure(path: Path, cells_per_byte: int) -> _Size:
    """Count before anything is allocated.

    Raises:
        RefusedFile: it is not text, or holds more than its size justifies.
        OSError, EOFError, zlib.error: it is damaged.
    """
    lines = commas = width = 0
    has_width = False
    last = b"\n"
    with open_content(path) as opened:
        most = _MAX_CELLS + cells_per_byte * path.stat().st_size
        while chunk := opened.read(1 << 20):
            if b"\r" in chunk:  # it ends a line without \n, too
                chunk += opened.read(1) if chunk.endswith(b"\r") else b""
                chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            if b"\0" in chunk:
                raise RefusedFile("expected text, found a zero byte")
            if not has_width and (content := chunk if width else chunk.lstrip()):
                head, end, _ = content.partition(b"\n")
                width, has_width = (width or 1) + head.count(b","), bool(end)
            lines += chunk.count(b"\n")
            commas += chunk.count(b",")
            last = chunk[-1:]
            if lines + commas > most:
                raise RefusedFile(f"the file holds more than {most} numbers, which its size does not justify")
            if width > _MAX_WIDTH:
                raise RefusedFile(f"expected at most {_MAX_WIDTH} numbers per line, found more in line 1")
    lines += last != b"\n"
    return _Size(lines, lines + commas, width)


def _read_faulty(
    path: Path, size: _Size, faults: Faults, columns: int | None, *, allow_missing: bool, allow_empty: bool
) -> NumberTable | None:
    """Read line by line what pandas refused or would pad, and record the first line of each kind of fault.

    A large file is read only up to the first faults, and the result is then None.

    Raises:
        RefusedFile: it is empty, and `allow_empty` is false.
        OSError, EOFError, zlib.error, UnicodeDecodeError: it is damaged, or not text.
    """
    width = columns if columns is not None else max(size.width, 1)
    is_large = max(size.lines * width, size.cells) > _BLOCK
    blocks: list[_Block] = []
    with open_content(path) as opened:
        for lines in _blocks(opened, max(1, _BLOCK // width)):
            blocks.append(_examine(lines, width, allow_missing))
            if is_large and blocks[-1].kinds.any():
                break
    if not blocks and allow_empty:
        return NumberTable(path, np.zeros((0, width)), np.zeros(0, dtype=np.bool_))
    if not blocks:
        raise RefusedFile("the file is empty")
    as_before = (
        ", as in the lines before: lines of different lengths, as in temporal datasets, are not supported" if columns is None else ""
    )
    example = next((block.example for block in blocks if block.example is not None), "")
    rules = {
        _BLANK: f"expected {counted(width, 'value')} per line, found a blank line",
        _RAGGED: f"expected {counted(width, 'value')} per line{as_before}",
        _WRONG: f"expected numbers only, found {example!r}",
        _UNKNOWN: "expected finite numbers, found an empty cell, NaN or infinity",
    }
    kinds = np.concatenate([block.kinds for block in blocks])
    for kind, rule in rules.items():
        faults.add_lines(path, np.flatnonzero(kinds == kind) + 1, rule)
    valid = kinds == _SOUND
    return None if is_large and not valid.all() else NumberTable(path, np.concatenate([block.values for block in blocks]), valid)


def _read_exact(path: Path) -> IntArray | None:
    """All cells as int64; None if some are not 64-bit integers."""
    try:
        with open_content(path) as opened, np.errstate(invalid="ignore"):
            cells = pd.read_csv(opened, dtype=np.int64, **_PLAIN)
        # pandas 2, the last for Python 3.10, returns an unsigned column for numbers beyond int64, whatever the requested dtype.
        return cells.to_numpy() if (cells.dtypes == np.int64).all() else None
    except (ValueError, OverflowError, OSError, EOFError, zlib.error):
        return None


@dataclass(frozen=True, eq=False)
class _Block:
    """Some lines of a table: their values, their kinds, and the first line that holds more than numbers."""

    values: npt.NDArray[np.float64]
    kinds: npt.NDArray[np.int64]
    example: str | None


def _examine(lines: list[str], width: int, allow_missing: bool) -> _Block:
    kinds = np.array([_BLANK if not line.strip() else _SOUND if line.count(",") + 1 == width else _RAGGED for line in lines])
    usable = kinds == _SOUND
    values = np.full((len(lines), width), np.nan)
    cells = [cell.strip() for line, is_usable in zip(lines, usable, strict=True) if is_usable for cell in line.split(",")]
    if cells:
        numbers = parse_numbers(cells).reshape(-1, width)
        missing = np.array([cell.casefold() in MISSING for cell in cells]).reshape(-1, width)
        values[usable] = numbers
        wrong = (np.isnan(numbers) & ~missing).any(axis=1)
        unknown = (np.isinf(numbers) if allow_missing else ~np.isfinite(numbers)).any(axis=1)
        kinds[usable] = np.where(wrong, _WRONG, np.where(unknown, _UNKNOWN, _SOUND))
    return _Block(values, kinds, next((line.strip()[:60] for line, kind in zip(lines, kinds, strict=True) if kind == _WRONG), None))


def _blocks(opened: BinaryIO, size: int) -> Iterator[list[str]]:
    """The lines in lists of at most `size`, without trailing blank lines. Closes the file at the end."""
    blank = 0
    with io.TextIOWrapper(opened, encoding="utf-8-sig", newline=None) as text:
        while lines := [line.rstrip("\n") for line in islice(text, size)]:
            filled = len(lines)
            while filled and not lines[filled - 1].strip():
                filled -= 1
            if not filled:
                blank += len(lines)
                continue
            for start in range(0, blank, size):
                yield [""] * min(size, blank - start)
            blank = len(lines) - filled
            yield lines[:filled]
