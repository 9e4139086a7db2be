"""The tables of a run folder as they stand on disk: their columns, and how they are read. Needs neither torch nor DGL."""

from __future__ import annotations

import math
from io import BytesIO, StringIO
from pathlib import Path

import pandas as pd

from dgl_mutual.errors import StoreError

#: The columns of trials.csv, in this order: a contract with other people's scripts.
TRIAL_COLUMNS = [
    *("task", "dataset", "fingerprint", "strategy", "member", "architecture", "protocol", "seed", "fold", "metric", "train", "val", "test"),
    *("best_epoch", "epochs", "seconds_per_epoch", "train_seconds", "inference_ms", "parameters"),
]
#: Columns that may follow them; folders of older versions lack these.
MORE_COLUMNS = ["disagreement", "peak_mib"]
#: A trial with several tasks has rows of this metric, the mean over tasks, and for each task rows of its own: ``accuracy(digit)``.
MEAN_METRIC = "mean"
KEY = ["seed", "fold"]
FAILURE_COLUMNS = [*KEY, "error", "details"]
#: What a suite writes into its folder: which runs are its own, under which names.
SUITE_FILE = "suite.yaml"
#: What pandas would otherwise guess: a fingerprint may look like a number.
_TEXT = ("task", "dataset", "fingerprint", "strategy", "member", "architecture", "protocol", "metric", "error", "details")


def read_table(file: Path, columns: list[str]) -> pd.DataFrame:
    """The table in `file`, or an empty one where there is no such file.

    Args:
        columns: what it must start with.

    Raises:
        StoreError: it does not, its last line is cut off, or there is text where numbers belong.
    """
    if not file.exists():
        return pd.DataFrame(columns=columns)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise StoreError(f"{str(file)!r} cannot be read: {error.strerror or error}.") from None
    if text and not text.endswith(b"\n"):
        raise StoreError(f"{str(file)!r} ends in the middle of a line: it was cut off when it was copied. Copy it again.")
    try:
        table = pd.read_csv(BytesIO(text), dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False, na_values=[""])
    except ValueError:
        table = pd.DataFrame()
    if list(table.columns)[: len(columns)] != columns:
        raise StoreError(f"{str(file)!r} does not have the columns {', '.join(columns)}: it was changed. Start over with --no-resume.")
    wrong = [name for name in table.columns if name not in _TEXT and not pd.api.types.is_numeric_dtype(table[name])] if len(table) else []
    if wrong or table[KEY].isna().any(axis=None):
        raise StoreError(f"{str(file)!r} has no number where one belongs, in {', '.join(wrong or KEY)}: it was changed. Restore it.")
    return table.astype({"best_epoch": "Int64"}) if "best_epoch" in columns else table


def read_trials(folder: Path) -> pd.DataFrame:
    """trials.csv of a run folder; columns that its version did not know are empty.

    Raises:
        StoreError: see `read_table`.
    """
    table = read_table(folder / "trials.csv", TRIAL_COLUMNS)
    return table.assign(**{name: math.nan for name in MORE_COLUMNS if name not in table})


def overall(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows that stand for whole trials: of those with several tasks, the means over tasks."""
    return trials[~trials["metric"].astype(str).str.endswith(")")]


def read_text(file: Path) -> pd.DataFrame | None:
    """A table with every field as it is written, so that writing it again changes nothing; None where there is no such file.

    Raises:
        StoreError: it has no seed and fold in every row.
    """
    if not file.exists():
        return None
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        table[KEY].astype(int)
    except (ValueError, LookupError, OverflowError) as error:
        raise StoreError(f"{str(file)!r} is damaged ({error}). Start over with --no-resume.") from None
    return table


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """A table with every field as it would be written."""
    return pd.read_csv(StringIO(table.to_csv(index=False)), dtype=str, keep_default_na=False)
