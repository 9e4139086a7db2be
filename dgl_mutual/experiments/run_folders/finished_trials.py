"""trials.csv of a run: which trials are finished."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import pandas as pd

from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.run_folders.run_folder import read_resolved
from dgl_mutual.experiments.run_folders.trial_tables import GatheredTable
from dgl_mutual.store.files import CONFIG_FILE, TRIALS_FILE
from dgl_mutual.store.tables import KEY, MORE_COLUMNS, RUN_COLUMNS, TRIAL_COLUMNS, Key, keys_of, read_trials
from dgl_mutual.utils.wording import counted


class FinishedTrials(GatheredTable):
    """trials.csv, which says which trials are finished. While a run is under way, it must not lose one, nor take one of another run.

    Attributes:
        had: the trials that it has had since `watch`.
    """

    def __init__(self, folder: Path, write: Callable[[str, pd.DataFrame], None]) -> None:
        super().__init__(folder, TRIALS_FILE, write, prefix="trials-", first=TRIAL_COLUMNS, more=MORE_COLUMNS)
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

    def waiting(self) -> dict[Key, pd.DataFrame]:
        """See `GatheredTable.waiting`.

        Raises:
            StoreError: also if rows are not such as trials.csv takes, of the trial that their file names, and of this run.
        """
        found = super().waiting()
        if found:
            self._refuse_foreign(found)
        return found

    def _refuse_foreign(self, keys: Collection[Key]) -> None:
        """Make sure that the parts of these trials belong here: with others trials.csv could no longer be read.

        Raises:
            StoreError: they do not; says which file is wrong.
        """
        config = read_resolved(self.folder / CONFIG_FILE) or {}
        known = {name: {config[name]} for name in ("task", "strategy") if isinstance(config.get(name), str)}
        with suppress(StoreError):  # whoever puts them there says why
            trials = self.rows()
            known |= {name: set(trials[name]) for name in RUN_COLUMNS if len(trials)}
        for key in sorted(keys):
            file = self.folder / self.part(key)
            rows = read_trials(file.parent, file.name)
            there = {name: set(rows[name]) for name in RUN_COLUMNS}
            others = [name for name in RUN_COLUMNS if not there[name] <= known.setdefault(name, there[name])]
            if others or not (rows[KEY] == [*key]).all(axis=None):
                what = f"another {others[0]} than the trials of this run" if others else "rows of another trial than its name says"
                raise StoreError(f"{str(file)!r} has {what}. Move it away: the same command or call trains the trial again.")
