"""Tables of a run folder with a seed and a fold in each row, and rows of single trials that wait in history/ to be merged into them.

Tables are read and written as text, so that rows of earlier trials do not change in any character.
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

#: The first columns of history.csv.
HISTORY_COLUMNS = [*KEY, "epoch"]


class TrialTable:
    """A table with a seed and a fold in each row.

    Attributes:
        folder: the run folder.
        name: name of the file in it.
        write: (name of a file, table) -> None; writes a table into the folder.
    """

    def __init__(self, folder: Path, name: str, write: Callable[[str, pd.DataFrame], None]) -> None:
        self.folder, self.name, self.write = folder, name, write

    @property
    def file(self) -> Path:
        return self.folder / self.name

    def read(self) -> pd.DataFrame | None:
        """The table as text; None if there is none.

        Raises:
            StoreError: the table is damaged.
        """
        return read_text(self.file)

    def check(self) -> None:
        """Check that the table can be read.

        Raises:
            StoreError: otherwise.
        """
        self.read()

    def set_aside_if_damaged(self) -> None:
        """Rename the file if it cannot be read."""
        try:
            self.check()
        except StoreError:
            set_aside(self.file)

    def forget(self, keys: Collection[Key]) -> None:
        """Remove these trials from the table, and the file with its last row.

        Raises:
            StoreError: the table is damaged, or cannot be written.
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
    """A table that is gathered from rows of single trials, which can wait in history/ in one file per trial, called a part.

    Attributes:
        prefix: prefix of the names of parts, before the name of the trial.
        reader: reads the table or a part, and raises `StoreError` for invalid ones.
    """

    def __init__(
        self, folder: Path, name: str, write: Callable[[str, pd.DataFrame], None], *, prefix: str, reader: Callable[[Path], object]
    ) -> None:
        super().__init__(folder, name, write)
        self.prefix, self.reader = prefix, reader

    def put(self, *tables: pd.DataFrame) -> None:
        """Put rows of trials in place of rows with the same keys. Other rows remain unchanged, and no text starts like a formula.

        Raises:
            StoreError: the table is damaged, or cannot be written.
        """
        new = pd.concat([_safe(table) for table in tables])
        merged = self.merged(self.read(), new)
        # Rows of a trial keep their order, since sorting by several columns is stable.
        self.write(self.name, merged.sort_values(KEY, key=lambda column: column.astype(int)))

    def merged(self, old: pd.DataFrame | None, new: pd.DataFrame) -> pd.DataFrame:
        """The rows of `new`, and those of other trials in `old`; both as text."""
        return new if old is None else pd.concat([rows_of_others(old, keys_of(new)), new])

    def keep(self, key: Key, rows: pd.DataFrame) -> None:
        """Put the rows of a trial into the table, or into history/ until `merge` if the table was damaged meanwhile: other trials go on.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            self.put(rows)
        except StoreError:
            self.write_part(key, rows)

    def write_part(self, key: Key, rows: pd.DataFrame) -> None:
        """Write the rows of a trial to history/, where they wait.

        Raises:
            StoreError: the folder cannot be written.
        """
        self.write(self.part(key), _safe(rows))

    def waiting(self) -> dict[Key, pd.DataFrame]:
        """The waiting rows, by trial, which the name of each file tells.

        Raises:
            StoreError: the reader refuses a file, with whose rows the table could no longer be read.
        """
        parts = {}
        for file in (self.folder / "history").glob(f"{self.prefix}seed-*.csv"):
            match = TRIAL_NAME.fullmatch(file.stem.removeprefix(self.prefix))
            if match is None:
                continue
            self.reader(file)
            if (part := read_text(file)) is not None:
                parts[int(match[1]), int(match[2])] = part.map(plain_cell).assign(seed=match[1], fold=match[2])
        return parts

    def merge(self) -> None:
        """Move the waiting rows into the table.

        Raises:
            StoreError: the table cannot be read or written, or the rows do not fit it; they remain waiting.
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
        """Name of the file with the waiting rows of a trial."""
        return f"history/{self.prefix}{trial_name(*key)}.csv"


class FinishedTrials(GatheredTable):
    """trials.csv, which lists the finished trials. During a run, it must not lose any.

    Attributes:
        expected: all trials that have been in the table since `watch`.
    """

    def __init__(self, folder: Path, write: Callable[[str, pd.DataFrame], None]) -> None:
        super().__init__(folder, TRIALS_FILE, write, prefix="trials-", reader=lambda file: read_trials(file.parent, file.name))
        self.expected: set[Key] = set()

    def check(self) -> None:
        read_trials(self.folder)

    def watch(self) -> None:
        """From now on refuse to go on if a present or later trial disappears.

        Raises:
            StoreError: the table is damaged.
        """
        self.expected = keys_of(read_trials(self.folder))

    def put(self, *tables: pd.DataFrame) -> None:
        """See `GatheredTable.put`.

        Raises:
            StoreError: also if trials are lost.
        """
        super().put(*tables)
        for table in tables:
            self.expected |= keys_of(table)

    def merged(self, old: pd.DataFrame | None, new: pd.DataFrame) -> pd.DataFrame:
        self.refuse_loss(set() if old is None else keys_of(old))
        return super().merged(old, new)

    def refuse_loss(self, present: Collection[Key]) -> None:
        """Check that no trial has been lost.

        Args:
            present: the trials in the table now.

        Raises:
            StoreError: some have been lost.
        """
        lost = sorted(self.expected.difference(present))
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
        # Trials of different length may have different columns, whose order must not depend on which trial came first.
        return merged[[*HISTORY_COLUMNS, *sorted(set(merged.columns) - {*HISTORY_COLUMNS})]]


def check_history(file: Path) -> None:
    """Check that rows of epochs fit history.csv. They may have any number of members, and infinite values.

    Raises:
        StoreError: wrong first columns, or text instead of a number.
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
