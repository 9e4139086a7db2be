"""Results of other code in a CSV file: reading, checking, and pairing with ours by dataset, seed and fold."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from dgl_mutual.errors import DataError, UsageError, listed, unknown
from dgl_mutual.utils.exact_numbers import parse_numbers
from dgl_mutual.utils.files import read_bytes
from dgl_mutual.utils.safe_text import plain_cell
from dgl_mutual.utils.wording import counted

#: Our names of the columns that a results file may have. `dataset`, `test`, and `seed` or `fold` are required.
COLUMNS = ("dataset", "seed", "fold", "member", "fingerprint", "split", "test")
#: Maximum size in bytes and number of columns of such a file.
_MAX_BYTES, _MAX_COLUMNS = 1 << 28, 20_000
#: Maximum number of rows that a message names.
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Pairing:
    """Our trials beside those of a file.

    Attributes:
        table: ``seed``, ``fold``, ``member``, ``ours``, ``reference``; one row per pair.
        unmatched: a line per kind of rows without a partner: their number, the reason, and examples.
    """

    table: pd.DataFrame
    unmatched: tuple[str, ...]


def read_results(file: Path, columns: Mapping[str, str]) -> tuple[pd.DataFrame, bool]:
    """Read a results file.

    Args:
        columns: our name of a column -> its name in the file, where they differ.

    Returns:
        The rows under our names of columns, with datasets in lower case and `test` as a fraction; and whether `test` was in percent.

    Raises:
        UsageError: a name is not one of `COLUMNS`, or two of them are mapped to the same column.
        DataError: the file cannot be read, lacks a column, or has impossible values.
    """
    for name in columns:
        if name not in COLUMNS:
            raise unknown("column", name, COLUMNS)
    if len(set(columns.values())) < len(columns):
        raise UsageError(f"A column of the file can be used for only one of ours: {', '.join('='.join(pair) for pair in columns.items())}.")
    # A mapped column does not count under its own name.
    wanted = {name: columns.get(name, name) for name in COLUMNS if name in columns or name not in columns.values()}
    table = _read(file, wanted, columns)
    table["dataset"] = _comparable(table["dataset"])
    for name in {"seed", "fold"} & set(table.columns):
        table[name] = _numbers(file, table, name, whole=True).astype(np.int64)
    values = _numbers(file, table, "test", whole=False)
    percent = _is_percent(file, values)
    table["test"] = values / 100 if percent else values
    keys = [name for name in COLUMNS[:4] if name in table.columns]
    _refuse_duplicates(file, table, keys)
    return table, percent


def _read(file: Path, wanted: Mapping[str, str], mapped: Collection[str]) -> pd.DataFrame:
    """Read the wanted columns under our names, with all cells as stripped text.

    Args:
        wanted: our name of a column -> its name in the file.
        mapped: our names of columns that are required.

    Raises:
        DataError: see `read_results`.
    """
    try:
        content = read_bytes(file, _MAX_BYTES)
        header = _header(file, content)
        twice = [name for name, count in Counter(header).items() if count > 1 and name]
        if twice:
            raise DataError(
                f"The results {str(file)!r} have several columns called {listed([*map(repr, twice)], most=3)}. Keep one of each."
            )
        _require_columns(file, header, wanted, mapped)
        names = {header.index(foreign): name for name, foreign in wanted.items() if foreign in header}
        # With header=0, pandas would take a surplus first column as row names, and rename duplicate columns.
        cells = pd.read_csv(
            BytesIO(content), header=None, usecols=sorted(names), dtype=str, keep_default_na=False, skipinitialspace=True
        ).rename(columns=names)
    except FileNotFoundError:
        raise DataError(
            f"The results {str(file)!r} cannot be read: there is no such file. Correct the path, or compare with pyg."
        ) from None
    except (OSError, ValueError, csv.Error) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"The results {str(file)!r} cannot be read as CSV: {error!s:.200}. Give a file with a header line.") from None
    table: pd.DataFrame = cells.iloc[1:].fillna("").apply(lambda column: column.str.strip().map(plain_cell)).reset_index(drop=True)
    if table.empty:
        raise DataError(f"The results {str(file)!r} have a header and no rows.")
    return table[[name for name in wanted if name in table.columns]]


def _header(file: Path, content: bytes) -> list[str]:
    """The names of all columns; a column without a name, such as row indices, has the empty string.

    The cells of each row are counted first, since pandas allocates memory for all columns of the header in every row.

    Raises:
        DataError: there are too many columns, or a row has more or fewer cells.
        ValueError, csv.Error: the file is not a table.
    """
    reader = csv.reader(StringIO(content.decode("utf-8-sig"), newline=""), skipinitialspace=True)
    rows = (row for row in reader if row and (len(row) > 1 or row[0].strip()))
    header = [name.strip() for name in next(rows, [])]
    if not header:
        raise ValueError("it is empty")
    if len(header) > _MAX_COLUMNS:
        raise DataError(f"The results {str(file)!r} have {len(header)} columns, more than {_MAX_COLUMNS}. Keep those that are needed.")
    for row in rows:
        if len(row) != len(header):
            cells, columns = counted(len(row), "cell"), counted(len(header), "column")
            raise DataError(
                f"The results {str(file)!r} have {cells} in line {reader.line_num}, and {columns}: the line is cut off, text with a "
                "comma in it has no quotes, or cells are not separated by commas. Correct it."
            )
    return header


def pair(trials: pd.DataFrame, foreign: pd.DataFrame, *, member: str) -> Pairing:
    """Match rows of our trials.csv with rows of a file.

    Args:
        trials: our rows; a row whose `test` is NaN has no partner.
        member: our member to compare with a file without a column `member`.

    Raises:
        UsageError: there is no such member.
        DataError: nothing matches, or a row would match several of ours.
    """
    if "member" not in foreign.columns:
        if member not in set(trials["member"]):
            raise unknown("member", member, dict.fromkeys(trials["member"]))
        trials, foreign = trials[trials["member"] == member], foreign.assign(member=member)
    keys = [name for name in ("seed", "fold") if name in foreign.columns]
    for name in {"seed", "fold"} - set(keys):
        if trials[name].nunique() > 1:
            single = ", or compare a single seed with --seeds 1" if name == "seed" else ""
            raise DataError(
                f"The results have no column {name!r}, and ours have {trials[name].nunique()} {name}s, so rows cannot be told apart. "
                f"Add the column, or map it with --column {name}=NAME{single}."
            )
    ours = trials.assign(dataset=_comparable(trials["dataset"]))
    on = ["dataset", *keys, "member"]
    merged = ours.merge(foreign, on=on, how="outer", suffixes=("", "_reference"), indicator=True)
    matched = merged[merged["_merge"] == "both"]
    is_other = pd.Series(False, index=matched.index)
    for name in {"fingerprint", "split"} & set(foreign.columns):
        is_other |= matched[f"{name}_reference"] != matched[name]
    other_data = matched[is_other]
    matched = matched.drop(other_data.index)
    unknown_labels = matched[matched["test"].isna()]
    matched = matched.drop(unknown_labels.index)
    unmatched = [
        _describe(merged[merged["_merge"] == "right_only"], on, "of the file have no partner among our trials"),
        _describe(merged[merged["_merge"] == "left_only"], on, "of ours have no partner in the file"),
        _describe(other_data, on, "were made from other data or another split: their fingerprint or split differs"),
        _describe(unknown_labels, on, "of ours have no test metric, since no label of their test part is known"),
    ]
    lines = tuple(line for line in unmatched if line)
    if matched.empty:
        fix = "Check dataset names, seeds and folds." if unknown_labels.empty else "Give the labels of the test part."
        raise DataError(f"No row of the results matches a trial of ours. {'; '.join(lines)}. {fix}")
    table = matched[["seed", "fold", "member"]].assign(ours=matched["test"], reference=matched["test_reference"])
    return Pairing(table.reset_index(drop=True), lines)


def _comparable(names: pd.Series[str]) -> pd.Series[str]:
    """Names of datasets, stripped and in lower case."""
    return names.str.strip().str.lower()


def _require_columns(file: Path, header: Sequence[str], wanted: Mapping[str, str], mapped: Collection[str]) -> None:
    needed = {"dataset", "test", *mapped}
    missing = {name: wanted.get(name, name) for name in COLUMNS if name in needed and wanted.get(name) not in header}
    numbers = {wanted[name] for name in ("seed", "fold") if name in wanted}
    if not numbers & set(header):
        missing["seed"] = "seed or fold"
    if missing:
        raise DataError(
            f"The results {str(file)!r} have no column {', '.join(missing.values())}; they have: "
            f"{listed([*filter(None, header)]) or 'none'}. "
            f"Add it, or say what yours is called: --column {next(iter(missing))}=NAME."
        )


def _numbers(file: Path, table: pd.DataFrame, name: str, *, whole: bool) -> pd.Series[float]:
    values = pd.Series(parse_numbers(list(table[name])), index=table.index)
    wrong = ~np.isfinite(values) | (((values % 1 != 0) | (values.abs() >= 2**53)) if whole else False)  # from there on floats are rounded
    if wrong.any():
        examples = ", ".join(f"row {row + 1}: {table[name].iloc[row]!r:.60}" for row in np.flatnonzero(wrong)[:_NAMED])
        expected = "an integer below 2**53" if whole else "a number"
        raise DataError(
            f"In the results {str(file)!r}, {name} is not {expected} in {int(wrong.sum())} rows ({examples}). Correct or remove them."
        )
    return values


def _is_percent(file: Path, values: pd.Series[float]) -> bool:
    if (values < 0).any() or (values > 100).any():
        raise DataError(
            f"In the results {str(file)!r}, test ranges from {values.min():g} to {values.max():g}: neither fractions in [0, 1] nor percent."
        )
    large = values > 1
    if large.any() and not large.all():
        raise DataError(
            f"In the results {str(file)!r}, {int(large.sum())} values of test are above 1, up to {values.max():g}, and "
            f"{int((~large).sum())} are not, down to {values.min():g}: percent and fractions are mixed. Give one or the other throughout."
        )
    return bool(large.all())


def _refuse_duplicates(file: Path, table: pd.DataFrame, keys: list[str]) -> None:
    repeated = table[table.duplicated(keys, keep="first")]
    if len(repeated):
        raise DataError(
            f"The results {str(file)!r} hold {len(repeated)} rows more than once, by {', '.join(keys)} ({_examples(repeated, keys)}). "
            "Keep one row each, or name the column that tells them apart, for example --column member=model."
        )


def _describe(rows: pd.DataFrame, keys: list[str], what: str) -> str:
    if rows.empty:
        return ""
    return f"{len(rows)} rows {what} ({_examples(rows, keys)}{'; ...' if len(rows) > _NAMED else ''})"


def _examples(rows: pd.DataFrame, keys: list[str]) -> str:
    records = rows[keys].head(_NAMED).to_dict("records")
    return "; ".join(", ".join(f"{key} {record[key]!s:.60}" for key in keys) for record in records)
