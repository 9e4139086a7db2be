"""Tables of a run folder: their columns and reading. Needs neither torch nor DGL."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Mapping
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_mutual.errors import StoreError, listed
from dgl_mutual.store.columns import FAILURES, INFERENCE, NUM_BINS, RELIABILITY, TRIALS
from dgl_mutual.store.files import INFERENCE_FILE, RELIABILITY_FILE, TRIALS_FILE, TUNING_FILE
from dgl_mutual.utils.exact_numbers import EXACT_NUMBERS
from dgl_mutual.utils.files import read_bytes, unreadable
from dgl_mutual.utils.plain_json import read_json
from dgl_mutual.utils.safe_text import plain_cell, plain_csv

#: The columns of trials.csv, in this order: a contract with other people's scripts.
TRIAL_COLUMNS = list(TRIALS)
KEY = ["seed", "fold"]
#: (seed, fold) of a trial.
Key: TypeAlias = tuple[int, int]
#: Columns that are the same in all rows of a run.
RUN_COLUMNS = ["task", "dataset", "strategy", "protocol"]
#: The columns of reliability.csv.
RELIABILITY_COLUMNS = list(RELIABILITY)
#: The columns of inference.csv (see `dgl-mutual time-inference`).
INFERENCE_COLUMNS = list(INFERENCE)
#: States of ended trials of a search.
TUNING_ENDED = ("complete", "pruned", "failed")
#: The first columns of a search's tuning.csv, before one column per option.
TUNING_COLUMNS = ["trial", "state", "value", "best", "seconds", "error"]
#: The columns before these in a suite's tuning.csv.
NAME_COLUMNS = ["data", "method", "search"]
FAILURE_COLUMNS = list(FAILURES)
#: Maximum number of trials of a run or search: few enough to be listed.
MAX_TRIALS = 1_000_000
#: Maximum length of the names of methods and data in a suite.
MAX_TITLE = 200
#: Maximum sizes in bytes of a table, and of environment.json.
_MAX_BYTES, _MAX_JSON = 1 << 31, 1 << 24
#: Maximum number of columns of a table, and of a table that is only read as text. The history of K students has more than K * K columns;
#: each costs about a tenth of a millisecond, less as text.
_MAX_COLUMNS, _MAX_TEXT_COLUMNS = 20_000, 100_000
#: Range of single precision, for values that custom strategies or callbacks log.
_ANY = (-3.5e38, 3.5e38)
_FRACTIONS = ("train", "val", "test", "disagreement", "ece", "accuracy", "confidence", "value", "best")
_COUNTS_AND_TIMES = (
    *("seed", "fold", "best_epoch", "epoch", "epochs", "seconds_per_epoch", "train_seconds", "inference_ms", "parameters", "peak_mib"),
    *("test_to_train", "bin", "count", "samples", "repeats", "median_ms", "quartile_1_ms", "quartile_3_ms", "threads", "seconds"),
)
#: Range of a column of numbers: no count or time is larger, even in bytes or nanoseconds.
RANGES = {
    **dict.fromkeys(_FRACTIONS, (0.0, 1.0)),
    **dict.fromkeys(_COUNTS_AND_TIMES, (0.0, 1e15)),
    "nll": (0.0, _ANY[1]),
    "trial": (0.0, float(MAX_TRIALS)),
}
#: Tolerance of ranges: means of fractions may exceed 1 by rounding.
_ROUNDING = 1e-9
#: Columns of text, whose type pandas would guess: a fingerprint may look like a number.
_TEXT = (
    *("task", "dataset", "fingerprint", "split", "strategy", "member", "architecture", "protocol", "metric"),
    *("error", "details", "device", "data", "method", "search", "state"),
)


def read_table(file: Path, columns: list[str], *, any_options: bool = False) -> pd.DataFrame:
    """Read the table in `file`; empty if there is no such file.

    Args:
        columns: required first columns.
        any_options: further columns are options, with numbers or text.

    Raises:
        StoreError: the first columns are others, rows differ in length, a column occurs twice, there are too many columns, or a column of
            numbers has text, impossible numbers or numbers out of range.
    """
    text = _content(file, _MAX_BYTES)
    if text is None:
        return pd.DataFrame(columns=columns)
    try:
        _refuse_ragged(file, text)
        table = _parsed(text)
    except (ValueError, OverflowError):
        table = pd.DataFrame()
    if list(table.columns)[: len(columns)] != columns:
        lacking = [name for name in columns if name not in table.columns]
        fault = f"does not have the columns {', '.join(lacking)}" if lacking else f"does not begin with the columns {', '.join(columns)}"
        raise StoreError(f"{str(file)!r} {fault}: it was changed, or is of another version. {_hint_of(file)}")
    of_numbers = table[[name for name in (columns if any_options else table) if name not in _TEXT] if len(table) else []]
    numbers = of_numbers.select_dtypes("number")
    wrong = [name for name in of_numbers if name not in numbers]
    wrong += [name for name in (*KEY, "trial") if name in columns and name in numbers and not (numbers[name] % 1 == 0).all()]
    if "best_epoch" in columns and "best_epoch" in numbers and not (numbers["best_epoch"].dropna() % 1 == 0).all():
        wrong.append("best_epoch")
    if wrong:
        raise StoreError(f"{str(file)!r} has no number where one belongs, in {listed(wrong, most=5)}: it was changed. {_hint_of(file)}")
    outside = _outside_of_ranges(numbers, columns)
    if outside:
        raise StoreError(f"{str(file)!r} has {outside}: it was changed. {_hint_of(file)}")
    return table.astype({"best_epoch": "Int64"}) if "best_epoch" in columns else table


def _outside_of_ranges(table: pd.DataFrame, known: Collection[str]) -> str:
    """A description of the first number out of range; empty if there is none. Undefined metrics are NaN.

    Args:
        known: the columns with ranges in `RANGES`.
    """
    low, high = np.array([RANGES[name] if name in known else _ANY for name in map(str, table)]).reshape(-1, 2).T
    values = table.to_numpy(np.float64)
    places = np.argwhere((values < low - _ROUNDING) | (values > high + _ROUNDING))
    if not len(places):
        return ""
    row, column = places[0]
    return f"{table.columns[column]} = {values[row, column]:g} in row {row + 1}, outside of {low[column]:g} to {high[column]:g}"


def read_trials(folder: Path, name: str = TRIALS_FILE) -> pd.DataFrame:
    """Read trials.csv of a run folder, or another file with rows that will be put there.

    Raises:
        StoreError: see `read_table`; also if a row occurs twice or is missing, or rows belong to different runs.
    """
    file = folder / name
    table = read_table(file, TRIAL_COLUMNS)
    nameless = table[["dataset", "strategy", "member", "protocol", "metric"]].isna().any(axis=None)
    mixed = [name for name in RUN_COLUMNS if table[name].nunique(dropna=False) > 1]
    if nameless or mixed or table.duplicated([*KEY, "member", "metric"]).any():
        fault = "a row without names" if nameless else f"rows of more than one {mixed[0]}" if mixed else "a row twice"
        raise StoreError(f"{str(file)!r} has {fault}: it was changed. {_hint_of(file)}")
    _refuse_lost_rows(file, table)
    return table


def _refuse_lost_rows(file: Path, table: pd.DataFrame) -> None:
    """Raise `StoreError` if a trial lacks a row that others have, since all trials have the same members and metrics."""
    keys = keys_of(table)
    for (member, metric), rows in table.groupby(["member", "metric"]):
        for seed, fold in sorted(keys - keys_of(rows)) if len(rows) < len(keys) else ():
            raise StoreError(
                f"{str(file)!r} lacks the row of {member!r} ({metric}) of seed {seed}, fold {fold}: it was changed. Restore it, or "
                "remove the other rows of this trial, which is then trained again."
            )


def read_reliability(folder: Path) -> pd.DataFrame:
    """Read reliability.csv of a run folder; empty if there is none.

    Raises:
        StoreError: see `read_table`; also if a row occurs twice, or belongs to no bin.
    """
    file = folder / RELIABILITY_FILE
    table = read_table(file, RELIABILITY_COLUMNS)
    if table.empty:
        return table
    sound = table["bin"].isin(range(NUM_BINS)) & (table["count"] > 0) & (table["count"] % 1 == 0)
    sound &= table[["metric", "member", "accuracy", "confidence"]].notna().all(axis=1)
    if not sound.all() or table.duplicated([*KEY, "metric", "member", "bin"]).any():
        raise StoreError(
            f"{str(file)!r} has a row that belongs to no bin of confidence, or a row twice: it was changed. Restore it, or remove it."
        )
    return table


def read_inference(folder: Path) -> pd.DataFrame:
    """Read inference.csv of a run folder; empty if there is none.

    Raises:
        StoreError: see `read_table`; also if a member occurs twice, or its median is not between its quartiles.
    """
    file = folder / INFERENCE_FILE
    table = read_table(file, INFERENCE_COLUMNS)
    if table.empty:
        return table
    low, median, high = (table[name] for name in ("quartile_1_ms", "median_ms", "quartile_3_ms"))
    if not ((low > 0) & (low <= median) & (median <= high)).all() or table["member"].isna().any() or table.duplicated("member").any():
        raise StoreError(f"{str(file)!r} has times that 'dgl-mutual time-inference' does not write: it was changed. Measure again.")
    return table


def read_tuning(folder: Path, columns: list[str] = TUNING_COLUMNS) -> pd.DataFrame:
    """Read tuning.csv of a search's folder or, with other first `columns`, of a suite's; empty if there is none.

    Raises:
        StoreError: see `read_table`.
    """
    table = read_table(folder / TUNING_FILE, columns, any_options=True)
    names = {name: table[name].fillna("") for name in NAME_COLUMNS if name in columns}
    return table.astype({"trial": int, "value": float, "best": float, "seconds": float}).assign(**names)


def overall(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of whole trials: with several targets, those of their mean."""
    return trials[~trials["metric"].astype(str).str.endswith(")")]


def keys_of(table: pd.DataFrame) -> set[Key]:
    """The trials in a table of text or numbers."""
    return set(table[KEY].drop_duplicates().astype(int).itertuples(index=False, name=None))


def rows_of(table: pd.DataFrame, keys: Collection[Key]) -> pd.DataFrame:
    """The rows of these trials in a table of text or numbers."""
    return table[_is_of(table, keys)]


def rows_of_others(table: pd.DataFrame, keys: Collection[Key]) -> pd.DataFrame:
    """The rows of all other trials in a table of text or numbers."""
    return table[~_is_of(table, keys)]


def _is_of(table: pd.DataFrame, keys: Collection[Key]) -> npt.NDArray[np.bool_]:
    """(rows,): whether each row belongs to one of these trials."""
    return pd.MultiIndex.from_frame(table[KEY].astype(int)).isin(list(keys))


def read_text(file: Path) -> pd.DataFrame | None:
    """Read a table as text, so that writing it again changes nothing; None if there is no such file.

    Raises:
        StoreError: a row has no seed or fold, rows differ in length, a column occurs twice, or there are too many columns.
    """
    text = _content(file, _MAX_BYTES)
    if text is None:
        return None
    try:
        _refuse_ragged(file, text, _MAX_TEXT_COLUMNS)
        table: pd.DataFrame = pd.read_csv(BytesIO(text), dtype=str, keep_default_na=False, index_col=False)
        table[KEY].astype(int)
    except (ValueError, LookupError, OverflowError) as error:
        raise StoreError(f"{str(file)!r} is damaged ({error!s:.200}). {_hint_of(file)}") from None
    return table


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Convert all fields of a table to text, as they would be written."""
    return pd.read_csv(StringIO(plain_csv(table)), dtype=str, keep_default_na=False)


def read_environment(file: Path) -> dict[str, Any]:
    """Read environment.json; empty if there is none.

    Raises:
        StoreError: the file is damaged or edited.
    """
    text = _content(file, _MAX_JSON)
    try:
        environment = {} if text is None else read_json(text)
    except (ValueError, RecursionError):
        environment = None
    if not isinstance(environment, dict) or not isinstance(environment.get("resumed", []), list):
        raise StoreError(f"{str(file)!r} is not what a run writes: it was damaged or edited. {_hint_of(file)}")
    return environment


def last_recorded(environment: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The last ``code`` (see `custom_code_digests`) or ``schema`` (see `schema_of`) in environment.json; empty if there is none.

    The last one counts, since a run only goes on with the recorded one, or without finished trials.
    """
    recorded = [entry.get(name) for entry in (environment, *environment.get("resumed", [])) if isinstance(entry, Mapping)]
    return next((dict(value) for value in reversed(recorded) if isinstance(value, Mapping)), {})


def _parsed(text: bytes) -> pd.DataFrame:
    """Parse a table, with names and messages as they were before `csv_cell`, and empty cells as NaN."""
    table: pd.DataFrame = pd.read_csv(
        BytesIO(text), dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False, na_values=[""], index_col=False, **EXACT_NUMBERS
    )
    if b"'" not in text:  # which `csv_cell` puts before a text
        return table
    for name, dtype in table.dtypes.items():
        if dtype.kind not in "iufb":
            table[name] = table[name].map(plain_cell, na_action="ignore").astype(dtype)
    return table


def _content(file: Path, most: int) -> bytes | None:
    """Content of a file of a run; None if there is no such file.

    Raises:
        StoreError: the file is not a regular one, is too large, or cannot be read.
    """
    try:
        return read_bytes(file, most)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise StoreError(unreadable(file)) from None
    except OSError as error:
        raise StoreError(f"{str(file)!r} cannot be read: {error.strerror or error}. {_hint_of(file)}") from None


def _hint_of(file: Path) -> str:
    """Advice for a file that cannot be read. Only trials.csv is needed, since it lists the finished trials."""
    if file.name == TRIALS_FILE:
        return "Restore it, or start over with --no-resume (in Python: resume=False)."
    return "Restore it, or move it away: it can be made again or is not needed, and finished trials stay."


def _refuse_ragged(file: Path, text: bytes, most: int = _MAX_COLUMNS) -> None:
    """Raise `StoreError` if a row has more or fewer cells than the header, a column occurs twice, or there are more than `most`.

    Pandas would fill missing cells, take surplus ones as an index, and rename the column.

    Raises:
        ValueError: the text is not a table.
    """
    hint = _hint_of(file)
    if text and not text.endswith(b"\n"):
        raise StoreError(f"{str(file)!r} ends in the middle of a line: the file is incomplete. {hint}")
    rows = filter(None, csv.reader(StringIO(text.decode("utf-8-sig"), newline=""), strict=True))
    try:
        header = next(rows, [])
        if len(header) > most:
            raise StoreError(f"{str(file)!r} has {len(header)} columns, more than {most}: it was changed. {hint}")
        ragged = next(((place, len(row)) for place, row in enumerate(rows, start=1) if len(row) != len(header)), None)
    except csv.Error as error:
        raise ValueError(error) from None
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise StoreError(f"{str(file)!r} has the column {repeated[0][:80]!r} twice: it was changed. {hint}")
    if ragged is not None:
        place, cells = ragged
        fault = f"is cut off in its row {place}" if cells < len(header) else f"has more cells in its row {place} than columns"
        raise StoreError(f"{str(file)!r} {fault}: the file is damaged. {hint}")
