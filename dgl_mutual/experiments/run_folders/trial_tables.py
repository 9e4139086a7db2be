"""Tables of a run folder with a seed and a fold in each row, and the rows of single trials that wait in history/ to be put into them.

A table is read and written as text, so that rows of earlier trials stay as they are, to the letter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.trial import TRIAL_NAME, trial_name
from dgl_mutual.store.files import HISTORY_FILE, TRIALS_FILE
from dgl_mutual.store.tables import KEY, Key, as_text, keys_of, read_text, read_trials, rows_of_others
from dgl_mutual.utils.files import set_aside
from dgl_mutual.utils.safe_text import csv_cell, plain_cell
from dgl_mutual.utils.wording import counted

#: What history.csv starts with.
HISTORY_COLUMNS = [*KEY, "epoch"]


class TrialTable:
    """A table with a seed and a fold in each row.

    Attributes:
        folder: of the run.
        name: of the file in it.
        write: writes a table into the file of a name in this folder.
    """

    def __init__(self, folder: Path, name: str, write: Callable[[str, pd.DataFrame], None]) -> None:
        self.folder, self.name, self.write = folder, name, write

    @property
    def file(self) -> Path:
        return self.folder / self.name

    def read(self) -> pd.DataFrame | None:
        """The table, every field as it is written; None where there is none.

        Raises:
            StoreError: it is damaged.
        """
        return read_text(self.file)

    def check(self) -> None:
        """Make sure that it can be read.

        Raises:
            StoreError: it cannot.
        """
        self.read()

    def set_aside_if_damaged(self) -> None:
        """Give it another name where it cannot be read."""
        try:
            self.check()
        except StoreError:
            set_aside(self.file)

    def forget(self, keys: Collection[Key]) -> None:
        """Take these trials out of it, and remove it with the last of its rows.

        Raises:
            StoreError: it is damaged, or cannot be written.
        """
        table = self.read()
        if table is None:
            return
        others = rows_of_others(table, keys)
        if not len(others):
            self.file.unlink()
        elif len(others) < len(table):
            self.write(self.name, others)


class GatheredTable(TrialTable):
    """A table that is put together from rows of single trials. Those wait in history/ as a file a trial, called a part, if they have to.

    Attributes:
        prefix: what the name of a part starts with, before the name of its trial.
        reader: of files with such rows; raises `StoreError` where it refuses them.
    """

    def __init__(
        self, folder: Path, name: str, write: Callable[[str, pd.DataFrame], None], *, prefix: str, reader: Callable[[Path], object]
    ) -> None:
        super().__init__(folder, name, write)
        self.prefix, self.reader = prefix, reader

    def put(self, *tables: pd.DataFrame) -> None:
        """Replace the rows with the same keys by these rows of trials. Other rows stay as they are, and no text starts like a formula.

        Raises:
            StoreError: the table is damaged, or cannot be written.
        """
        new = pd.concat([_safe(table) for table in tables])
        merged = self.merged(self.read(), new)
        # Rows of a trial keep their order: a sort by several columns is stable.
        self.write(self.name, merged.sort_values(KEY, key=lambda column: column.astype(int)))

    def merged(self, old: pd.DataFrame | None, new: pd.DataFrame) -> pd.DataFrame:
        """The rows of `new`, and those of other trials in `old`; both as text."""
        return new if old is None else pd.concat([rows_of_others(old, keys_of(new)), new])

    def keep(self, key: Key, rows: pd.DataFrame) -> None:
        """Put the rows of a trial into the table, or beside it until `merge` where it was edited or damaged meanwhile: other trials go on.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            self.put(rows)
        except StoreError:
            self.write_part(key, rows)

    def write_part(self, key: Key, rows: pd.DataFrame) -> None:
        """Let the rows of a trial wait in history/.

        Raises:
            StoreError: the folder cannot be written.
        """
        self.write(self.part(key), _safe(rows))

    def waiting(self) -> dict[Key, pd.DataFrame]:
        """The rows that wait, by trial; the name of each file says of which trial it is.

        Raises:
            StoreError: the reader of the table refuses a file: with its rows the table could no longer be read.
        """
        found = {}
        for file in (self.folder / "history").glob(f"{self.prefix}seed-*.csv"):
            named = TRIAL_NAME.fullmatch(file.stem.removeprefix(self.prefix))
            if named is None:
                continue
            self.reader(file)
            if (part := read_text(file)) is not None:
                found[int(named[1]), int(named[2])] = part.map(plain_cell).assign(seed=named[1], fold=named[2])
        return found

    def merge(self) -> None:
        """Put the rows that wait into the table.

        Raises:
            StoreError: it cannot be read or written, or what waits does not fit it; the rows wait on.
        """
        waiting = self.waiting()
        if not waiting:
            return
        try:
            self.put(*waiting.values())
        except StoreError as error:
            raise StoreError(
                f"{error} Rows of {len(waiting)} trials that ended since are kept in {str(self.folder / 'history')!r}: once {self.name} is "
                "as it was, the same command or call adds them."
            ) from None
        for key in waiting:
            (self.folder / self.part(key)).unlink()

    def part(self, key: Key) -> str:
        """The name of the file in which rows of a trial wait."""
        return f"history/{self.prefix}{trial_name(*key)}.csv"


class FinishedTrials(GatheredTable):
    """trials.csv, which says which trials are finished. While a run is under way, it must not lose one.

    Attributes:
        had: the trials that it has had since `watch`.
    """

    def __init__(self, folder: Path, write: Callable[[str, pd.DataFrame], None]) -> None:
        super().__init__(folder, TRIALS_FILE, write, prefix="trials-", reader=lambda file: read_trials(file.parent, file.name))
        self.had: set[Key] = set()

    def check(self) -> None:
        read_trials(self.folder)

    def watch(self) -> None:
        """From now on refuse to go on without a trial that is there now, or is put there.

        Raises:
            StoreError: it is damaged.
        """
        self.had = keys_of(read_trials(self.folder))

    def put(self, *tables: pd.DataFrame) -> None:
        """See `GatheredTable.put`.

        Raises:
            StoreError: also if trials are lost.
        """
        super().put(*tables)
        for table in tables:
            self.had |= keys_of(table)

    def merged(self, old: pd.DataFrame | None, new: pd.DataFrame) -> pd.DataFrame:
        self.refuse_loss(set() if old is None else keys_of(old))
        return super().merged(old, new)

    def refuse_loss(self, there: Collection[Key]) -> None:
        """Make sure that the trials that it has had are among those that are `there`.

        Raises:
            StoreError: they are not.
        """
        lost = sorted(self.had.difference(there))
        if lost:
            first, many = "seed {}, fold {}".format(*lost[0]), counted(len(lost), "finished trial")
            raise StoreError(
                f"{str(self.file)!r} no longer has {many} ({first}{', ...' if len(lost) > 1 else ''}): it was removed or "
                "replaced while the run was under way. Restore it; without it, the same command or call trains again what is missing."
            )


class History(GatheredTable):
    """history.csv. Its columns depend on the strategy and on callbacks."""

    def __init__(self, folder: Path, write: Callable[[str, pd.DataFrame], None]) -> None:
        super().__init__(folder, HISTORY_FILE, write, prefix="", reader=check_history)

    def merged(self, old: pd.DataFrame | None, new: pd.DataFrame) -> pd.DataFrame:
        merged = super().merged(old, new)
        # Trials of different length may have different columns, and their order must not depend on who came first.
        return merged[[*HISTORY_COLUMNS, *sorted(set(merged.columns) - {*HISTORY_COLUMNS})]]


def check_history(file: Path) -> None:
    """Make sure that rows of epochs can be put into history.csv. They may be of any number of members, and what is logged may be infinite.

    Raises:
        StoreError: other first columns, or text in the place of a number.
    """
    table = read_text(file)
    if table is None:
        return
    try:
        if list(table.columns[: len(HISTORY_COLUMNS)]) != HISTORY_COLUMNS:
            raise ValueError(f"it does not start with the columns {', '.join(HISTORY_COLUMNS)}")
        if not table["epoch"].str.fullmatch("[0-9]{1,15}").all():
            raise ValueError("an epoch is not an integer")
        pd.to_numeric(table.to_numpy().ravel())
    except ValueError as error:
        raise StoreError(
            f"{str(file)!r} is not what a run writes ({error!s:.200}): it was changed. Restore it, or move it away: it can be done "
            "without, and finished trials stay."
        ) from None


def _safe(table: pd.DataFrame) -> pd.DataFrame:
    """A table as text that is safe for spreadsheets."""
    return as_text(table).map(csv_cell)
