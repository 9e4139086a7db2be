"""Tables of a run folder: their columns, and how they are read. Needs neither torch nor DGL."""

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
#: States of a search's trials that are over.
TUNING_ENDED = ("complete", "pruned", "failed")
#: The first columns of tuning.csv of a search; a column per option follows.
TUNING_COLUMNS = ["trial", "state", "value", "best", "seconds", "error"]
#: The columns before these in tuning.csv of a suite.
NAME_COLUMNS = ["data", "method", "search"]
FAILURE_COLUMNS = list(FAILURES)
#: Trials that a run may have: more than anybody runs, and few enough to be listed.
MAX_TRIALS = 1_000_000
#: Characters of what a suite calls a method or its data.
MAX_TITLE = 200
#: Bytes of a table, and of environment.json.
_MAX_BYTES, _MAX_JSON = 1 << 31, 1 << 24
#: Columns of a table that is read, and of one that is written again as it is; the history of K students has more than K * K. Each column
#: costs about a tenth of a millisecond, however few the rows, and less as text.
_MAX_COLUMNS, _MAX_TEXT_COLUMNS = 20_000, 100_000
#: What numbers of single precision can be, as a custom strategy or callback may log.
_ANY = (-3.5e38, 3.5e38)
_FRACTIONS = ("train", "val", "test", "disagreement", "ece", "accuracy", "confidence", "value", "best")
_COUNTS_AND_TIMES = (
    *("seed", "fold", "best_epoch", "epoch", "epochs", "seconds_per_epoch", "train_seconds", "inference_ms", "parameters", "peak_mib"),
    *("test_to_train", "bin", "count", "samples", "repeats", "median_ms", "quartile_1_ms", "quartile_3_ms", "threads", "seconds"),
)
#: The least and the greatest that a column of numbers can hold: no count or time is larger, be it of bytes or nanoseconds.
RANGES = {
    **dict.fromkeys(_FRACTIONS, (0.0, 1.0)),
    **dict.fromkeys(_COUNTS_AND_TIMES, (0.0, 1e15)),
    "nll": (0.0, _ANY[1]),
    "trial": (0.0, float(MAX_TRIALS)),
}
#: Means of fractions may be above 1 by so much.
_ROUNDING = 1e-9
#: What pandas would otherwise guess: a fingerprint may look like a number.
_TEXT = (
    *("task", "dataset", "fingerprint", "split", "strategy", "member", "architecture", "protocol", "metric"),
    *("error", "details", "device", "data", "method", "search", "state"),
)


def read_table(file: Path, columns: list[str], *, any_options: bool = False) -> pd.DataFrame:
    """The table in `file`, or an empty one where there is no such file.

    Args:
        columns: what it must start with.
        any_options: further columns are options, of numbers or text.

    Raises:
        StoreError: it does not, a row is shorter or longer than the first, a column is there twice, there are too many columns, or there is
            text, or a number that no trial has, where numbers belong, or a number is outside of its range.
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
    figures = [str(name) for name in (columns if any_options else table) if name not in _TEXT] if len(table) else []
    is_number = {name: table.dtypes[name].kind in "iuf" for name in figures}
    wrong = [name for name, number in is_number.items() if not number]
    numbers = [name for name, number in is_number.items() if number]
    wrong += [name for name in (*KEY, "trial") if name in columns and name in numbers and not (table[name] % 1 == 0).all()]
    if "best_epoch" in columns and len(table) and "best_epoch" not in wrong and not (table["best_epoch"].dropna() % 1 == 0).all():
        wrong.append("best_epoch")
    if wrong:
        raise StoreError(f"{str(file)!r} has no number where one belongs, in {listed(wrong, most=5)}: it was changed. {_hint_of(file)}")
    outside = _outside_of_ranges(table[numbers], columns)
    if outside:
        raise StoreError(f"{str(file)!r} has {outside}: it was changed. {_hint_of(file)}")
    return table.astype({"best_epoch": "Int64"}) if "best_epoch" in columns else table


def _outside_of_ranges(table: pd.DataFrame, own: Collection[str]) -> str:
    """Which number of a table is outside of its range, if there is one. A metric that is not defined is NaN.

    Args:
        own: the columns that are known, and have ranges of their own.
    """
    low, high = np.array([RANGES[name] if name in own else _ANY for name in map(str, table)]).reshape(-1, 2).T
    values = table.to_numpy(np.float64)
    places = np.argwhere((values < low - _ROUNDING) | (values > high + _ROUNDING))
    if not len(places):
        return ""
    row, column = places[0]
    return f"{table.columns[column]} = {values[row, column]:g} in row {row + 1}, outside of {low[column]:g} to {high[column]:g}"


def read_trials(folder: Path, name: str = TRIALS_FILE) -> pd.DataFrame:
    """trials.csv of a run folder, or another file with single trials that are to be put there.

    Raises:
        StoreError: see `read_table`; also if a row is there twice or missing, or rows are of different runs.
    """
    file = folder / name
    table = read_table(file, TRIAL_COLUMNS)
    nameless = table[["dataset", "strategy", "member", "protocol", "metric"]].isna().any(axis=None)
    mixed = [name for name in RUN_COLUMNS if table[name].nunique(dropna=False) > 1]
    if nameless or mixed or table.duplicated([*KEY, "member", "metric"]).any():
        what = "a row without names" if nameless else f"rows of more than one {mixed[0]}" if mixed else "a row twice"
        raise StoreError(f"{str(file)!r} has {what}: it was changed. {_hint_of(file)}")
    _refuse_lost_rows(file, table)
    return table


def _refuse_lost_rows(file: Path, table: pd.DataFrame) -> None:
    """Raise `StoreError` where one trial lacks a row that others have: all trials of a run have the same members and metrics."""
    keys = keys_of(table)
    for (member, metric), rows in table.groupby(["member", "metric"]):
        for seed, fold in sorted(keys - keys_of(rows)) if len(rows) < len(keys) else ():
            raise StoreError(
                f"{str(file)!r} lacks the row of {member!r} ({metric}) of seed {seed}, fold {fold}: it was changed. Restore it, or "
                "remove the other rows of this trial, which is then trained again."
            )


def read_reliability(folder: Path) -> pd.DataFrame:
    """reliability.csv of a run folder; empty where there is none.

    Raises:
        StoreError: see `read_table`; also if a row is there twice, or belongs to no bin.
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
    """inference.csv of a run folder; empty where there is none.

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
    """tuning.csv of a search's folder, or, with other first `columns`, of a suite's; empty where there is none.

    Raises:
        StoreError: see `read_table`.
    """
    table = read_table(folder / TUNING_FILE, columns, any_options=True)
    names = {name: table[name].fillna("") for name in NAME_COLUMNS if name in columns}
    return table.astype({"trial": int, "value": float, "best": float, "seconds": float}).assign(**names)


def overall(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows that stand for whole trials: of those with several tasks, the means over tasks."""
    return trials[~trials["metric"].astype(str).str.endswith(")")]


def keys_of(table: pd.DataFrame) -> set[Key]:
    """The trials in a table, be it of text or of numbers."""
    return set(table[KEY].drop_duplicates().astype(int).itertuples(index=False, name=None))


def rows_of(table: pd.DataFrame, keys: Collection[Key]) -> pd.DataFrame:
    """The rows of these trials in a table, be it of text or of numbers."""
    return table[_is_of(table, keys)]


def rows_of_others(table: pd.DataFrame, keys: Collection[Key]) -> pd.DataFrame:
    """All rows but those of these trials in a table, be it of text or of numbers."""
    return table[~_is_of(table, keys)]


def _is_of(table: pd.DataFrame, keys: Collection[Key]) -> npt.NDArray[np.bool_]:
    """(rows,): which rows are of one of these trials."""
    return pd.MultiIndex.from_frame(table[KEY].astype(int)).isin(list(keys))


def read_text(file: Path) -> pd.DataFrame | None:
    """A table with every field as it is written, so that writing it again changes nothing; None where there is no such file.

    Raises:
        StoreError: it has no seed and fold in every row, a row is shorter or longer than the first, a column is there twice, or there are
            too many columns.
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
    """A table with every field as it would be written."""
    return pd.read_csv(StringIO(plain_csv(table)), dtype=str, keep_default_na=False)


def read_environment(file: Path) -> dict[str, Any]:
    """environment.json; empty where there is none.

    Raises:
        StoreError: it is not what a run writes.
    """
    text = _content(file, _MAX_JSON)
    try:
        found = {} if text is None else read_json(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("resumed", []), list):
        raise StoreError(f"{str(file)!r} is not what a run writes: it was damaged or edited. {_hint_of(file)}")
    return found


def last_recorded(environment: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What environment.json says of the code (see `custom_code_digests`) or the schema (see `schema_of`) of the trials; empty where it
    does not.

    A run that goes on has the same as before, if that was recorded, or no finished trial: the last counts.
    """
    recorded = [one.get(name) for one in (environment, *environment.get("resumed", [])) if isinstance(one, Mapping)]
    return next((dict(one) for one in reversed(recorded) if isinstance(one, Mapping)), {})


def _parsed(text: bytes) -> pd.DataFrame:
    """The rows of a table: names and messages as they were before `csv_cell`, whatever they look like; empty cells as NaN."""
    table: pd.DataFrame = pd.read_csv(
        BytesIO(text), dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False, na_values=[""], index_col=False, **EXACT_NUMBERS
    )
    if b"'" not in text:  # that `csv_cell` puts before a text
        return table
    for name, kind in table.dtypes.items():
        if kind.kind not in "iufb":
            table[name] = table[name].map(plain_cell, na_action="ignore").astype(kind)
    return table


def _content(file: Path, most: int) -> bytes | None:
    """What a file of a run holds; None where there is none.

    Raises:
        StoreError: it is no regular file, it is too large, or it cannot be read.
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
    """What to do with a file of a run that cannot be read: only trials.csv says which trials are finished."""
    if file.name == TRIALS_FILE:
        return "Restore it, or start over with --no-resume (in Python: resume=False)."
    return "Restore it, or move it away: it can be made again or done without, and finished trials stay."


def _refuse_ragged(file: Path, text: bytes, most: int = _MAX_COLUMNS) -> None:
    """Raise `StoreError` where a row has more or fewer cells than the header, a column is there twice, or there are more than `most`.

    Pandas would fill what is missing with nothing, take what is too much for an index, and rename the column.

    Raises:
        ValueError: it is no table.
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
        what = f"is cut off in its row {place}" if cells < len(header) else f"has more cells in its row {place} than columns"
        raise StoreError(f"{str(file)!r} {what}: the file is damaged. {hint}")
