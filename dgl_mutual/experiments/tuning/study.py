"""The folder of a search: its journal, which processes share, claims of trials, and the files written from the journal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import pandas as pd
import yaml

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.schema import differences
from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.given import given_values
from dgl_mutual.experiments.configuration.layers import merge, unflatten
from dgl_mutual.experiments.configuration.resolve import resolved_values
from dgl_mutual.experiments.configuration.splits import splits_of
from dgl_mutual.experiments.run_folders.code_record import changed_code, custom_code_digests
from dgl_mutual.experiments.trial import Trial
from dgl_mutual.experiments.tuning.journal import JOURNAL_ERRORS, break_hard_links, check_study, damaged, open_journal
from dgl_mutual.experiments.tuning.proposals import FIRST_SEED, STARTUP_TRIALS, Proposals
from dgl_mutual.experiments.tuning.records import begun_trials, best_trial, counted_trials, ended_rows, history
from dgl_mutual.search_space import SearchSpace, described
from dgl_mutual.store.files import BEST_FILE, JOURNAL_FILE, SEARCH_FILES, SETTINGS_FILE, TUNING_FILE
from dgl_mutual.utils.files import check_regular, remove_files, removed, unwritable, write_text
from dgl_mutual.utils.paths import refuse_links
from dgl_mutual.utils.plain_yaml import read_yaml_file, yaml_text
from dgl_mutual.utils.safe_text import csv_cell, plain_csv

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, eq=False)
class SearchPlan:
    """A search that is ready to start. Several processes can take part in it.

    Attributes:
        given, resolved: the configuration as given, and resolved.
        splits: number of trainings per configuration.
        trials: number of trials of the whole search.
        schema: meaning of columns and labels (see `schema_of`).
        label: name in displays.
        official: digests of official splits (see `split_digest`), which the fingerprint does not cover.
        deadline: time after which no trial is started, in seconds of `time.monotonic`, a clock that all processes of a machine share.
    """

    folder: Path
    given: RunConfig
    resolved: RunConfig
    space: SearchSpace
    splits: int
    trials: int
    schema: Mapping[str, str]
    label: str
    official: tuple[str, ...] = ()
    deadline: float | None = None

    def parts(self, dataset: Dataset) -> list[Trial]:
        """The trainings of a configuration.

        Raises:
            UsageError: there are fewer folds, or a split has no validation part.
        """
        folds = self.resolved.folds
        if folds is None:
            seeds = range(FIRST_SEED, FIRST_SEED + self.splits)
            return [Trial(seed, 0, splits_of(self.resolved, dataset, seed)[0]) for seed in seeds]
        if self.splits > folds:
            raise UsageError(
                f"There are {folds} folds, so each configuration can be trained on at most {folds} of them, not {self.splits}."
            )
        return [Trial(FIRST_SEED, fold, split) for fold, split in enumerate(splits_of(self.resolved, dataset, FIRST_SEED, self.splits))]

    def progress(self) -> tuple[int, float | None]:
        """The number of missing trials, and the mean seconds of the finished ones, if there are any. Writes nothing."""
        ended = ended_rows(self.folder)
        return max(0, self.trials - len(ended)), float(ended["seconds"].mean()) if len(ended) else None


class Search:
    """The folder of a search: Optuna's study in its journal, and the files written from it.

    Each running trial is claimed by a lock file, which the system releases when its process ends in any way: then the trial is abandoned,
    and another one repeats it.

    Attributes:
        plan: the plan of the search.
        given: the given options as plain values, without searched ones.
        study, proposals: available once the search is `opened`.
    """

    def __init__(self, plan: SearchPlan) -> None:
        self.plan, self.folder = plan, plan.folder
        # The strategy is always named, since a later version may have another default.
        values = {"dataset": plan.given.dataset, "strategy": resolved_values(plan.resolved)["strategy"], **given_values(plan.given)}
        self.given = {key: value for key, value in values.items() if key != "seeds"}
        self._lock = filelock.FileLock(self.folder / ".claims.lock")
        self._backend: Any
        self.study: optuna.Study
        self.proposals: Proposals

    @contextmanager
    def opened(self, *, begun: bool = False) -> Iterator[None]:
        """Open the study, or begin it. A usage error before any trial has ended leaves no folder behind.

        Args:
            begun: another process has begun the search, so a missing journal is an error.

        Raises:
            StoreError: the folder cannot be written, holds files that no search writes, or is removed meanwhile.
        """
        journal = self.folder / JOURNAL_FILE
        if begun and not journal.exists():
            raise removed(journal)
        created_parents = [parent for parent in self.folder.parents if not parent.exists()]
        self._make_folder()
        if not begun:
            break_hard_links(journal)
        with ExitStack() as stack:
            self._open(stack)
            try:
                yield
            except json.JSONDecodeError as error:
                raise damaged(journal, error) from error
            except UsageError:
                if not begun:
                    with suppress(StoreError):
                        self._remove_untried(created_parents)
                raise
            finally:
                with suppress(StoreError):
                    self._remove_free_locks()

    def _make_folder(self) -> None:
        """Create the folder, or check that the files of an existing one are not links."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from None
        locks = (file.name for file in self.folder.glob(".*.lock"))
        for name in (*SEARCH_FILES, *locks):
            refuse_links(self.folder / name, self.folder.parent)

    def _open(self, stack: ExitStack) -> None:
        """Open the journal until `stack` is closed, and set `study` and `proposals`."""
        from optuna.exceptions import OptunaError

        journal = self.folder / JOURNAL_FILE
        try:
            if journal.exists():
                check_regular(journal)
            with self._lock:
                if (self.folder / TUNING_FILE).exists() and not (journal.exists() and journal.stat().st_size):
                    raise ValueError(f"it is empty or gone, and {TUNING_FILE} is there")
                self._backend = stack.enter_context(open_journal(journal, self.folder.name))
                self.study = self._begin_or_continue()
                self.proposals = Proposals(self.study, self.plan.resolved, self.plan.space)
                if not self.study.get_trials(deepcopy=False):
                    self.proposals.enqueue_defaults()
                self._write_settings()
        except (*JOURNAL_ERRORS, OptunaError) as error:
            raise damaged(journal, error) from None
        except OSError as error:
            raise unwritable(journal, error) from None

    def _begin_or_continue(self) -> optuna.Study:
        """Load the study of the journal, or create it."""
        import optuna

        # Students may only exchange after a quarter of the epochs, so nothing is pruned in the first half.
        pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=self.plan.resolved.training.epochs // 2)
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(self._backend),
            study_name=self.folder.name,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
        check_study(study, self.plan.space, self._num_ended())
        return study

    def _num_ended(self) -> int:
        """Number of ended trials in tuning.csv; 0 if it is missing or cannot be read."""
        with suppress(StoreError):
            return len(ended_rows(self.folder))
        return 0

    def _write_settings(self) -> None:
        """Write the settings of the search.

        Raises:
            StoreError: see `_check_begun`; or the file cannot be written.
        """
        plan, code = self.plan, custom_code_digests(self.plan.resolved)
        self._check_begun(code)
        settings = {
            "given": self.given,
            "splits": plan.splits,
            "first_seed": FIRST_SEED,
            "space": described(self.proposals.drawn),
            **({"code": code} if code else {}),
            **({"official": list(plan.official)} if plan.official else {}),
            **({"schema": dict(plan.schema)} if plan.schema else {}),
        }
        write_text(self.folder / SETTINGS_FILE, yaml_text(settings))

    def _remove_untried(self, created_parents: Sequence[Path]) -> None:
        """Remove the folder, and its created parents, if no trial has ended and none is running."""
        with self._alone():
            self._release_abandoned()
            if counted_trials(self.study):
                return
            remove_files(self.folder, "|".join([*map(re.escape, SEARCH_FILES), r"\..+\.lock"]))
        with suppress(OSError):  # another process has put something there
            for parent in created_parents:
                parent.rmdir()

    def _check_begun(self, code: Mapping[str, str]) -> None:
        """Raise `StoreError` if the search began with other custom code, official splits or meanings of the data."""
        file = self.folder / SETTINGS_FILE
        try:
            before = read_yaml_file(file) if begun_trials(self.study) else None
        except (OSError, UnicodeDecodeError, yaml.YAMLError):  # the file is not needed
            before = None
        known = before if isinstance(before, dict) else {}
        changed = changed_code(known["code"], code) if isinstance(known.get("code"), dict) else []
        official = list(self.plan.official)
        other_splits = bool(official) and known.get("official", official) != official
        meanings = differences(known["schema"], self.plan.schema) if isinstance(known.get("schema"), dict) else ""
        if changed or other_splits or meanings:
            subject = (
                "official split" if other_splits else f"code of {', '.join(changed)}" if changed else f"meaning of the data ({meanings})"
            )
            raise StoreError(
                f"The {subject} has changed since the search in {str(self.folder)!r} began, and its trials cannot be compared with new "
                "ones. Remove the folder to start over, or choose another one with --out."
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from claiming trials and writing files.

        Raises:
            StoreError: the journal is gone. Checked first, since the lock would create a removed folder again.
        """
        self._backend.check()
        with self._lock:
            yield

    def num_counted(self) -> int:
        """Number of trials that are finished, or run in a living process."""
        with self._alone():
            self._release_abandoned()
            return len(counted_trials(self.study))

    def claim(self, most: int) -> AbstractContextManager[optuna.Trial] | None:
        """Claim a new trial with its options drawn, for the duration of a context; None if there are already `most` trials."""
        with self._alone():
            if (number := self.num_counted()) >= most:
                return None
            trial = self.proposals.next_trial(number)
            held = filelock.FileLock(self._lock_of(trial.number))
            held.acquire(timeout=0)
        return _holding(trial, held)

    def _release_abandoned(self) -> None:
        """Repeat the trials of ended processes. Must be called within `_alone`."""
        for trial in begun_trials(self.study):
            if trial.state.name == "RUNNING" and not _is_held(self._lock_of(trial.number)):
                self.proposals.repeat(trial)

    def _remove_free_locks(self) -> None:
        """Remove the lock files of trials that are not running.

        Raises:
            StoreError: the journal is gone.
        """
        with self._alone():
            for file in self.folder.glob(".trial-*.lock"):
                if not _is_held(file):
                    file.unlink(missing_ok=True)

    def _lock_of(self, number: int) -> Path:
        return self.folder / f".trial-{number}.lock"

    def layer(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        """The layer of configuration of a trial."""
        return merge(self.given, unflatten(self.drawn(trial)))

    def drawn(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> dict[str, Any]:
        """The values that a trial has drawn, by dotted key, as in a configuration; empty for the trial of the defaults."""
        params = {} if "defaults" in trial.user_attrs else trial.params
        drawn = {key: (domain, params[key]) for key, domain in self.plan.space.items() if key in params}
        return {key: domain.value(value) for key, (domain, value) in drawn.items()}

    def write(self) -> pd.DataFrame:
        """Update best.yaml and tuning.csv from the study, and return the table.

        Raises:
            StoreError: the journal is gone, or a file cannot be written.
        """
        with self._alone():
            drawn = {*self.proposals.drawn, *(key for trial in self.study.get_trials(deepcopy=False) for key in trial.params)}
            table = history(self.study, [key for key in self.plan.space if key in drawn])
            write_text(self.folder / TUNING_FILE, plain_csv(table.map(csv_cell)))
            best = best_trial(self.study)
            if best is not None:
                write_text(self.folder / BEST_FILE, yaml_text(self.layer(best)))
        return table


def _is_held(file: Path) -> bool:
    """Whether any process, including this one, holds a lock."""
    if not file.exists():
        return False
    try:
        with filelock.FileLock(file, timeout=0):
            return False
    except filelock.Timeout:
        return True


@contextmanager
def _holding(trial: optuna.Trial, held: filelock.BaseFileLock) -> Iterator[optuna.Trial]:
    try:
        yield trial
    finally:
        held.release()
