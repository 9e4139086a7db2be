"""CSV files as tables of text, and the numbers in their cells: what pandas, spreadsheets, R and DGL's `CSVDataset` write."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_mutual.data.files.untrusted_files import open_file, recording
from dgl_mutual.data.values.faults import Faults
from dgl_mutual.data.values.features import FINITE, unusable
from dgl_mutual.data.values.label_words import MISSING
from dgl_mutual.errors import SHOWN, listed, shortened
from dgl_mutual.utils.exact_numbers import INFINITE, is_number, parse_numbers, plain_numbers
from dgl_mutual.utils.files import RefusedFile
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

#: Separators that files may have without ``separator`` in meta.yaml, and their names in messages.
_SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'", ",": "','"}
_INTEGER = r"[+-]?[0-9]+(?:\.0*)?"
_DECIMAL_COMMA = r"[+-]?[0-9]+,[0-9]+"
#: Integers written as floats with a decimal comma, and numbers with thousands separators.
_INTEGER_COMMA, _THOUSANDS = r"[+-]?[0-9]+,0+", r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?"
#: Two or more digits after a comma, starting with 0: the rest of a number, not another item of a list.
_PADDED = r",\s*0[0-9]"
#: Cells with more commas than any number has are lists, and are not searched for thousands separators.
_MAX_COMMAS = 8
#: Three groups of digits or more, three in the first: more likely a list than a number of nine digits or more.
_THREE_DIGITS = r"[+-]?[0-9]{3},[0-9]{3},.*"
#: The name that pandas writes for an unnamed column, usually the row index.
_UNNAMED = r"Unnamed: \d+(?:\.\d+|_level_\d+)?"
#: Each column costs about a tenth of a millisecond, whatever the number of rows.
_MAX_COLUMNS = 20_000
#: Limit on the numbers that are examined where cells have different lengths.
_MAX_MISFIT = 1 << 22
_BOOLEANS = {"false": 0.0, "true": 1.0}
#: A word in place of a number, unless it is in `_NO_WORDS`.
_WORD = re.compile(r"[^\W\d][\w -]*")
_NO_WORDS = MISSING | INFINITE | set(_BOOLEANS)
#: Rows parsed at a time, since text takes ten times the memory of numbers.
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class CsvTable:
    """The cells of one CSV file as stripped text. The index holds the line number of each row, also after reordering."""

    path: Path
    frame: pd.DataFrame
    separator: str = ","

    def refuse(self, faults: Faults, offending: npt.NDArray[np.bool_], rule: str) -> None:
        faults.add_lines(self.path, sorted(self.frame.index[offending]), rule)

    def refuse_cells(self, faults: Faults, column: str, offending: npt.NDArray[np.bool_], rule: str) -> None:
        """As `refuse`; the message also shows the first offending cell of the column."""
        if offending.any():
            lines = self.frame.index[offending]
            cell = str(self.frame[column][offending].iloc[int(np.argmin(lines))])
            hint = "; numpy shortens long arrays like that, so write all numbers" if "..." in cell else ""
            found = repr(shortened(cell, SHOWN)) if cell else "an empty cell"
            self.refuse(faults, offending, f"{column}: {rule}, found {found}{hint}")

    def are_integers(self, column: str) -> bool:
        """Whether pandas would read all cells of a column as integers."""
        return column in self.frame and bool(self.frame[column].str.fullmatch(_INTEGER).all())

    def numbers(self, column: str, faults: Faults, *, allow_missing: bool = False) -> npt.NDArray[np.float64]:
        """The comma-separated numbers of each cell, with or without brackets, shape (rows, numbers per cell).

        Args:
            allow_missing: an empty or missing value (`MISSING`), in place of a number or of a whole cell, becomes NaN.
        """
        plain = None if allow_missing else plain_numbers(list(self.frame[column]))
        if plain is not None and not unusable(plain).any():
            self._warn_of_codes(column)
            return plain[:, None]
        cells = without_brackets(self.frame[column])
        known = ~cells.str.casefold().isin(MISSING)
        line = cells.index[known].min()
        width = cells[line].count(",") + 1 if known.any() else 1
        if allow_missing:
            cells = cells.where(known, "," * (width - 1))
        elif not self._expect_lists(column, faults):
            return np.zeros((len(cells), 1))
        ragged = _commas(cells) + 1 != width
        rule = f"expected {counted(width, 'number')} as in line {line}"
        empty = (cells == "").to_numpy(dtype=np.bool_)
        self.refuse_cells(faults, column, ragged & empty, f"{rule}; fill in what is missing")
        self.refuse_cells(faults, column, ragged & ~empty, rule)
        if width * len(cells) > _MAX_MISFIT and ragged.any():  # one wide cell must not blow up the table of many short ones
            return np.zeros((len(cells), 1))
        values, words = _parsed(cells, width, ~ragged, dict.fromkeys(MISSING, np.nan) if allow_missing else _BOOLEANS)
        if not allow_missing:  # a column holds booleans or numbers
            values[words & ~words[~ragged].all(axis=0)] = np.nan
        wrong = (unusable(values) & ~(words if allow_missing else False)).any(axis=1) & ~ragged
        if wrong.any():
            first = cells[wrong].loc[cells.index[wrong].min()]
            self.refuse_cells(faults, column, wrong, FINITE if allow_missing else _rule_of(first.casefold().split(",")))
        return values

    def _warn_of_codes(self, column: str) -> None:
        """Warn of integers with leading zeros, which are codes (such as postcodes) that students would treat as numerical values."""
        codes = self.frame[column][self.frame[column].str.fullmatch("0[0-9]+")]
        if len(codes):
            warn(
                f"{self.path}, column {column}: {shortened(codes.iloc[0], SHOWN)!r} is treated as a numerical value, and has leading "
                "zeros, as codes have. If it is a code, encode the column one-hot; if it is numerical, write it without these zeros."
            )

    def _expect_lists(self, column: str, faults: Faults) -> bool:
        """Whether commas separate the numbers of lists; a fault where they separate thousands or decimals.

        The column ``feat`` holds lists, so cells that can be read in both ways only cause a warning there.
        """
        cells = self.frame[column]
        commas = _commas(cells)
        if not (commas <= _MAX_COMMAS).any():
            return True
        padded = (cells.str.contains(_PADDED) & ~cells.str.startswith(("[", "("))).to_numpy(dtype=np.bool_)
        rule = fault_of_thousands(cells)
        is_ambiguous = _may_be_decimals(cells, self.separator) if rule is None else not cells.str.fullmatch(_THREE_DIGITS).all()
        if rule is None and cells.str.fullmatch(_DECIMAL_COMMA).all():
            rule = "expected numbers with a decimal point, or two numbers in brackets"
        if rule is not None and (column != "feat" or (not padded.any() and len(np.unique(commas)) > 1)):
            self.refuse_cells(faults, column, commas > 0, rule)
            return False
        if padded.any():
            lists = "expected numbers without commas between thousands or before decimals, or several numbers in brackets"
            self.refuse_cells(faults, column, padded, rule or lists)
            return False
        if is_ambiguous:
            cell, count = shortened(cells.iloc[0], SHOWN), counted(int(commas[0]) + 1, "number")
            warn(
                f"{self.path}, column {column}: each cell, such as {cell!r}, is read as {count}. If it is one, write it without commas "
                "between thousands and with a decimal point; if it is a list, put it in brackets."
            )
        return True

    def of_booleans(self, column: str, width: int) -> list[bool]:
        """Which of the `width` numbers of each cell are booleans. `numbers` has checked that all cells agree."""
        first = without_brackets(self.frame[column].iloc[:1]).iloc[0].casefold().split(",")
        return [part.strip() in _BOOLEANS for part in first] if len(first) == width else [False] * width


def _parsed(
    cells: pd.Series[str], width: int, regular: npt.NDArray[np.bool_], meanings: Mapping[str, float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Parse cells of `width` numbers: the values, and a mask of the words of `meanings`, both of shape (rows, width).

    Values are NaN in rows that are not `regular`, and where a cell has neither a number nor such a word.
    """
    values, words = np.full((len(cells), width), np.nan), np.zeros((len(cells), width), dtype=np.bool_)
    texts, lines = cells.to_numpy(dtype=object), np.flatnonzero(regular)
    for start in range(0, len(lines), _ROWS):
        rows = lines[start : start + _ROWS]
        parts = [part.strip() for cell in texts[rows] for part in cell.split(",")]
        numbers = parse_numbers(parts)
        for index in np.flatnonzero(np.isnan(numbers)):
            word = parts[index].casefold()
            words[rows[index // width], index % width] = word in meanings
            numbers[index] = meanings.get(word, np.nan)
        values[rows] = numbers.reshape(-1, width)
    return values, words


def _rule_of(parts: Sequence[str]) -> str:
    """The rule broken by a cell whose parts are not all finite numbers."""
    parts = [part.strip() for part in parts]
    if any(_WORD.fullmatch(part) and part not in _NO_WORDS for part in parts):
        return "expected numbers; encode words and categories as numbers, for example one-hot"
    if not all(is_number(part) or part in _NO_WORDS for part in parts):
        return "expected numbers alone, with commas between several"
    return "expected either finite numbers in all lines, or true and false in all" if set(parts) & set(_BOOLEANS) else FINITE


def is_unnamed(column: str) -> bool:
    """Whether a column has no name. DGL ignores such columns, too."""
    return column == "" or re.fullmatch(_UNNAMED, column) is not None


def read_csv(path: Path, separator: str, required: list[str], faults: Faults, *, may_be_empty: bool = False) -> CsvTable | None:
    """Read all named columns, or record why they cannot be read and return None.

    Args:
        required: columns that must exist and have no empty cell.
        may_be_empty: whether the file may have a header alone.
    """
    rows = _read_rows(path, separator, faults)
    if rows is None:
        return None
    (line, header), *body = rows
    named = [not is_unnamed(column) for column in header]
    times = Counter(column for column, is_named in zip(header, named, strict=True) if is_named)
    twice = sorted(column for column, count in times.items() if count > 1)
    if twice:
        faults.add(path, f"expected each column once, found {listed(twice)} twice", line)
    absent = [column for column in required if column not in header]
    if absent:
        faults.add(path, f"expected a column {' and '.join(absent)}, found {listed(header)}{_about_separator(header, separator)}", line)
    no_rows = not body and not may_be_empty
    if no_rows:
        faults.add(path, "expected at least one line after the header")
    if len(header) > _MAX_COLUMNS:
        faults.add(path, f"expected at most {_MAX_COLUMNS} columns, found {len(header)}; columns of numbers fit one column feat", line)
    ragged = [line for line, row in body if len(row) != len(header)]
    faults.add_lines(path, ragged, f"expected {len(header)} cells as in the header")
    if absent or twice or no_rows or ragged or len(header) > _MAX_COLUMNS:
        return None
    frame = pd.DataFrame([row for _, row in body], columns=header, index=[line for line, _ in body], dtype=str)
    table = CsvTable(path, frame.loc[:, named], separator)
    for column in required:
        table.refuse_cells(faults, column, (frame[column] == "").to_numpy(dtype=np.bool_), "expected an identifier")
    return table


def _read_rows(path: Path, separator: str, faults: Faults) -> list[tuple[int, list[str]]] | None:
    """The header and each row with its line number, without empty lines; None, and a fault, where there is no header."""
    with recording(path, faults, "the file is not a readable CSV file"):
        with open_file(path) as opened:
            content = opened.read()
        with _cells_up_to(len(content)):
            reader = csv.reader(io.StringIO(_decode(content), newline=""), delimiter=separator, strict=True)
            stripped = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
            rows = [(line, row) for line, row in stripped if row not in ([], [""])]
        if rows and rows[0][1][0].startswith("sep="):  # for spreadsheets: the separator
            rows = rows[1:]
        if not rows:
            raise RefusedFile("the file is empty")
        return rows
    return None


def plain_integers(identifiers: pd.Series[str]) -> pd.Series[str]:
    """Identifiers with integers in canonical form: ``1.0`` and ``01`` become ``1``, since pandas reads all three as the same number."""
    plain = identifiers.str.replace(r"^\+?(-?)0*([1-9][0-9]*|0)(?:\.0*)?$", r"\1\2", regex=True)
    return plain.replace("-0", "0")


def without_brackets(cells: pd.Series[str]) -> pd.Series[str]:
    """Lists as Python and NumPy print them, ``[0.5, 1]``, ``(0.5, 1)`` and ``[0.5 1.]``, as comma-separated numbers."""
    bracketed = cells.str.startswith(("[", "(")) & cells.str.endswith(("]", ")"))
    if not bracketed.any():
        return cells
    inner = cells[bracketed].str.slice(1, -1).str.strip().str.removesuffix(",")
    return cells.where(~bracketed, inner.where(inner.str.contains(","), inner.str.split().str.join(",")))


def _commas(cells: pd.Series[str]) -> npt.NDArray[np.int64]:
    """The number of commas in each cell, (rows,); several times as fast as `Series.str.count`, which takes a regular expression."""
    return np.array([cell.count(",") for cell in cells], dtype=np.int64)


def fault_of_thousands(cells: pd.Series[str]) -> str | None:
    """The rule broken by numbers such as ``1,000``, which could also be lists; None if there are no such numbers."""
    with_commas = cells[cells.str.contains(",", regex=False)]
    if with_commas.empty or not with_commas.str.fullmatch(_THOUSANDS).all():
        return None
    return "expected numbers without commas between thousands, or several numbers in brackets"


def _may_be_decimals(cells: pd.Series[str], separator: str) -> bool:
    """Whether cells of two integers may be numbers with a decimal comma.

    Countries with a decimal comma separate cells by a semicolon; cells of 0 and 1 alone are then still one-hot lists. With another
    separator, all cells must have more digits after the comma than before it, as in ``0,4821``.
    """
    if not cells.str.fullmatch(_DECIMAL_COMMA).all():
        return False
    ends = cells.str.split(",", expand=True)
    if ends[0].str.fullmatch("[+-]0+").any():
        return True
    if separator == ";":
        return not ends.isin(["0", "1"]).to_numpy().all()
    return bool((ends[1].str.len() > ends[0].str.lstrip("+-").str.len()).all())


def fault_of_decimal_comma(labels: pd.Series[str]) -> str | None:
    """The rule broken by labels such as ``1,0``, which could also be two labels each; None unless all labels with commas end so."""
    with_commas = labels[labels.str.contains(",", regex=False)]
    if with_commas.empty or not with_commas.str.fullmatch(_INTEGER_COMMA).all():
        return None
    return "expected classes without a decimal comma, or two labels in brackets"


def are_lists(cells: pd.Series[str]) -> bool:
    """Whether some cell holds several numbers, not text with a comma."""
    with_commas = cells[cells.str.contains(",", regex=False)].unique()
    return any(all(is_number(part) or part.strip().casefold() in MISSING for part in cell.split(",")) for cell in with_commas)


def _decode(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RefusedFile("it is text in UTF-16; save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedFile(
            f"it is not text in UTF-8: {error.reason} {content[error.start]:#x} at byte {error.start}; save it as CSV in UTF-8"
        ) from None


@contextmanager
def _cells_up_to(size: int) -> Iterator[None]:
    """Let Python's CSV reader take cells of up to `size` characters; its default, 131,072, is less than some 10,000 features take."""
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, size))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _about_separator(header: list[str], separator: str) -> str:
    others = [name for character, name in _SEPARATORS.items() if character != separator and any(character in column for column in header)]
    return f" (the cells seem to be separated by {others[0]}: set separator in meta.yaml)" if len(header) == 1 and others else ""
