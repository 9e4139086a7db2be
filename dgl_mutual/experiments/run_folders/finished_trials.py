"""trials.csv of a run: which trials are finished."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.run_folders.trial_tables import GatheredTable
from dgl_mutual.store.files import TRIALS_FILE
from dgl_mutual.store.tables import Key, keys_of, read_trials
from dgl_mutual.utils.wording import counted


class FinishedTrials(GatheredTable):
    """trials.csv, which says which trials are finished. While a run is under way, it must not lose one.

    Attributes:
        had: the trials that it has had since `watch`.
    """

    def __init__(self, folder: Path, write: Callable[[str, pd.DataFrame], None]) -> None:
        super().__init__(folder, TRIALS_FILE, write, prefix="trials-", reader=lambda file: read_trials(file.parent, file.name))
        self.had: set[Key] = set()

    def rows(self) -> pd.DataFrame:
        """The table with numbers as numbers; empty where there is none.

        Raises:
            StoreError: it is damaged.
        """
        return read_trials(self.folder)

    def check(self) -> None:
        self.rows()

    def keys(self) -> set[Key]:
        """The trials in it.

        Raises:
            StoreError: it is damaged.
        """
        return keys_of(self.rows())

    def watch(self) -> None:
        """From now on refuse to go on without a trial that is there now, or is put there.

        Raises:
            StoreError: it is damaged.
        """
        self.had = self.keys()

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
