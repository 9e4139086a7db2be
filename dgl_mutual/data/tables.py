"""Tables of numbers in text files, read with pandas; each cell that breaks a rule is found again by its line."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_mutual.data.dataset import IntArray
from dgl_mutual.data.faults import Faults
from dgl_mutual.data.features import FINITE, unusable
from dgl_mutual.data.labels import MISSING

#: What a damaged or foreign file makes gzip and the text decoder raise.
UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError)

#: A compressed table may unfold to this many bytes, or to this many times its size: numbers in text do so ten times, a bomb a thousand.
_MAX_UNFOLDED = 256 * 1024**2
_MAX_RATIO = 200

#: From here on float64 no longer tells every two whole numbers apart.
_EXACT = 2.0**53


@dataclass(frozen=True, eq=False)
class Table:
    """A table without a header: row r stands in line r + 1.

    Attributes:
        values: float64, shape (rows, columns); NaN where a cell is missing or could not be read.
        valid: bool, shape (rows,): the rows that no rule has refused yet. Later rules look only at these.
    """

    path: Path
    values: npt.NDArray[np.float64]
    valid: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)

    def refuse(self, faults: Faults, offending: npt.NDArray[np.bool_], rule: str) -> None:
        """Record `rule` at the first valid row where `offending` is true, with what stands there, and refuse all such rows."""
        rows = np.flatnonzero(offending & self.valid)
        if len(rows):
            cells = ", ".join(f"{value:g}" for value in self.values[rows[0], :6])
            faults.add_lines(self.path, rows + 1, f"{rule}, found '{cells}'")
            self.valid[rows] = False

    def integers(self, faults: Faults, rule: str = "expected whole numbers") -> IntArray:
        """The values as int64, to their last digit; rows with fractions break `rule`. Refused rows hold zeros."""
        self.refuse(faults, np.any(self.values != np.round(self.values), axis=1), rule)
        large = np.any(np.abs(self.values) >= _EXACT, axis=1) & self.valid
        if large.any():
            exact = _read_exact(self.path)
            if exact is not None:
                return np.where(self.valid[:, None], exact, 0)
            self.refuse(faults, large, "expected whole numbers from -2^63 to 2^63 - 1, the large ones without point and exponent")
        return np.where(self.valid[:, None], self.values, 0).astype(np.int64)

    def features(self, faults: Faults) -> npt.NDArray[np.float64]:
        """The values, where they are features: rows that float32 cannot hold are refused."""
        self.refuse(faults, np.any(unusable(self.values), axis=1), FINITE)
        return self.values

    def expect_rows(self, faults: Faults, rows: int, what: str) -> bool:
        """Whether the table has `rows` rows; a fault where the first is missing or too many if not."""
        if len(self) != rows:
            faults.add(self.path, f"expected {rows} lines, one for each {what}, found {len(self)}", min(len(self), rows) + 1)
        return len(self) == rows


def read_table(path: Path, faults: Faults, *, columns: int | None = None, allow_missing: bool = False) -> Table | None:
    """Read comma-separated numbers (plain or gzip), or record why the file cannot be read and return None.

    Args:
        columns: how many a line must hold; None takes the first line's number.
        allow_missing: an empty cell or a word for it (`dgl_mutual.data.labels.MISSING`) means "unknown" and stays NaN.
    """
    if not path.is_file():
        faults.add(path, "the file is missing")
        return None
    try:
        if _is_bomb(path):
            faults.add(path, f"the file unfolds to more than {_MAX_RATIO} times its size")
            return None
        values = pd.read_csv(path, header=None, dtype=np.float64, skipinitialspace=True, skip_blank_lines=False).to_numpy()
    except ValueError:  # also where there is nothing, or nothing in the first line
        return _read_faulty(path, faults, columns, allow_missing)
    except UNREADABLE as error:
        faults.add(path, f"the file is truncated or damaged ({error})")
        return None
    missing = np.isnan(values)
    sound = bool((np.isfinite(values) | (missing & allow_missing)).all()) and columns in (None, values.shape[1])
    # pandas fills up a short line without a word, so lines with something missing are counted through.
    if not sound or (missing.any() and _ragged(_lines(path), values.shape[1]).any()):
        return _read_faulty(path, faults, columns, allow_missing)
    return Table(path, values, np.ones(len(values), dtype=np.bool_))


def _read_faulty(path: Path, faults: Faults, columns: int | None, allow_missing: bool) -> Table | None:
    """Read line by line what pandas refused or padded, and name the first line of each kind of fault."""
    try:
        lines = _lines(path)
    except UNREADABLE as error:
        faults.add(path, f"the file is truncated or damaged ({error})")
        return None
    blank = np.array([not line.strip() for line in lines])
    if blank.all():
        faults.add(path, "the file is empty")
        return None
    width = columns if columns is not None else lines[int(np.argmin(blank))].count(",") + 1
    faults.add_lines(path, np.flatnonzero(blank) + 1, f"expected {width} value{'s' if width > 1 else ''} a line, found a blank line")
    ragged = _ragged(lines, width) & ~blank
    faults.add_lines(path, np.flatnonzero(ragged) + 1, f"expected {width} value{'s' if width > 1 else ''} a line")
    cells = pd.DataFrame(["" if wrong else line for wrong, line in zip(ragged, lines, strict=True)])[0].str.split(",", expand=True)
    cells = cells.reindex(columns=range(width), fill_value="").apply(lambda column: column.str.strip())
    numbers = cells.apply(pd.to_numeric, errors="coerce")
    missing = cells.isna() | cells.apply(lambda column: column.str.casefold().isin(MISSING))
    not_numeric = (numbers.isna() & ~missing).to_numpy().any(axis=1) & ~ragged & ~blank
    if not_numeric.any():
        wrong = np.flatnonzero(not_numeric)
        faults.add_lines(path, wrong + 1, f"expected numbers only, found {lines[wrong[0]].strip()[:60]!r}")
    values = numbers.to_numpy(dtype=np.float64)
    unknown = ~ragged & ~blank & ~not_numeric & (np.isinf(values) if allow_missing else ~np.isfinite(values)).any(axis=1)
    faults.add_lines(path, np.flatnonzero(unknown) + 1, "expected finite numbers, found an empty cell, NaN or infinity")
    return Table(path, values, ~(ragged | blank | not_numeric | unknown))


def _read_exact(path: Path) -> IntArray | None:
    """All cells as int64, or None where some are no such number."""
    try:
        return pd.read_csv(path, header=None, dtype=np.int64, skipinitialspace=True, skip_blank_lines=False).to_numpy()
    except (ValueError, OverflowError, *UNREADABLE):
        return None


def _is_bomb(path: Path) -> bool:
    size = path.stat().st_size
    if path.suffix != ".gz" or size < _MAX_UNFOLDED // 1032:  # deflate's highest ratio
        return False
    allowed = max(_MAX_UNFOLDED, _MAX_RATIO * size)
    with gzip.open(path) as opened:
        while opened.read(2**20):  # a chunk at a time, since the size that a file claims need not be true
            if opened.tell() > allowed:
                return True
    return False


def _lines(path: Path) -> list[str]:
    """The lines of a plain or gzip file, without the blank ones at its end, whatever ends its lines."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").rstrip().split("\n")


def _ragged(lines: list[str], width: int) -> npt.NDArray[np.bool_]:
    return np.array([line.count(",") + 1 != width for line in lines])
