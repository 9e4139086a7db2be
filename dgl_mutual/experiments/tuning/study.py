"""Optuna study of a search: its journal in a folder, which processes share, and the files written from it."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import pandas as pd
import yaml

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.label_rate import without_labels
from dgl_mutual.data.noise import NoiseSpec, add_noise
from dgl_mutual.data.split import Split
from dgl_mutual.errors import DglMutualError, StoreError, TrainingError, UsageError
from dgl_mutual.experiments.config import MAX_SEEDS, RunConfig
from dgl_mutual.experiments.given import given_values
from dgl_mutual.experiments.grid import point_of
from dgl_mutual.experiments.layers import merge, unflatten, value_at
from dgl_mutual.experiments.own_code import changed_code, own_code
from dgl_mutual.experiments.processes import freed_memory
from dgl_mutual.experiments.resolve import plain, resolve
from dgl_mutual.experiments.trial import OnEpoch, Trial, fit_resolved
from dgl_mutual.experiments.tuning.journal import JOURNAL_ERRORS, check_study, damaged, open_journal
from dgl_mutual.experiments.tuning.pruning import PruningReports
from dgl_mutual.search_space import Choice, Real, SearchSpace, described
from dgl_mutual.store.files import BEST_FILE, JOURNAL_FILE, SETTINGS_FILE, TUNING_FILE
from dgl_mutual.store.tables import TUNING_COLUMNS
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.training.callbacks import EpochReports
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.seeds import derive
from dgl_mutual.utils.files import check_regular, refuse_links, remove_files, removed, unwritable, write_text
from dgl_mutual.utils.plain_yaml import read_yaml_file
from dgl_mutual.utils.safe_text import csv_cell, plain_csv
from dgl_mutual.utils.user_code import is_out_of_memory, not_enough_memory

if TYPE_CHECKING:
    import optuna

#: Seeds of tuning begin where those of runs end, so that no run repeats what its configuration was chosen on.
FIRST_SEED = MAX_SEEDS
#: Trials before the sampler and the pruner learn from them.
STARTUP_TRIALS = 5
#: Files of a search's folder.


class Search:
    """A study in its folder."""

    def __init__(
        self, folder: Path, given: RunConfig, resolved: RunConfig, space: SearchSpace, optuna: Any, official: Sequence[str] = ()
    ) -> None:
        self.folder, self.space, self.optuna, self.official = folder, space, optuna, list(official)
        # The strategy is named also where it is the default one: a later version may have another.
        values = {"dataset": given.dataset, "strategy": plain(resolved)["strategy"], **given_values(given)}
        self.given = {key: value for key, value in values.items() if key != "seeds"}
        self.epochs = resolved.training.epochs
        self.resolved = resolved
        self.defaults = _defaults(resolved, space)
        self.idle_with = resolve_strategy(resolved.strategy).Options.idle_with
        self.study: optuna.Study

    @contextmanager
    def opened(self, splits: int, *, begun: bool = False) -> Iterator[None]:
        """Open the study, or begin it. A usage error that shows before any trial has ended leaves no folder behind.

        Args:
            begun: another process has begun it, so that without its journal there is nothing to take part in.

        Raises:
            StoreError: the folder cannot be written, holds what no search writes, or is removed meanwhile.
        """
        optuna, journal = self.optuna, self.folder / JOURNAL_FILE
        if begun and not journal.exists():
            raise removed(journal)
        made = [parent for parent in self.folder.parents if not parent.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from None
        locks = (file.name for file in self.folder.glob(".*.lock"))
        for name in (JOURNAL_FILE, BEST_FILE, TUNING_FILE, SETTINGS_FILE, *locks):
            refuse_links(self.folder / name, self.folder.parent)
        with ExitStack() as stack:
            try:
                if journal.exists():
                    check_regular(journal)
                self.claims = filelock.FileLock(self.folder / ".claims.lock")
                with self.claims:
                    if (self.folder / TUNING_FILE).exists() and not (journal.exists() and journal.stat().st_size):
                        raise ValueError(f"it is empty or gone, and {TUNING_FILE} is there")
                    self.backend = stack.enter_context(open_journal(journal, self.folder.name, optuna))
                    self._begin_or_continue(splits)
            except (*JOURNAL_ERRORS, optuna.exceptions.OptunaError) as error:
                raise damaged(journal, error) from None
            except OSError as error:
                raise unwritable(journal, error) from None
            try:
                yield
            except json.JSONDecodeError as error:
                raise damaged(journal, error) from None
            except UsageError:
                if not begun:
                    with suppress(StoreError):
                        self._remove_untried(made)
                raise
            finally:
                with suppress(StoreError), self._alone():
                    for file in self.folder.glob(".trial-*.lock"):
                        if not self._is_held(file):
                            file.unlink(missing_ok=True)

    def _begin_or_continue(self, splits: int) -> None:
        """Make the study of the journal, or load it, and write the settings.

        Raises:
            ValueError: it is not a study of this search.
            StoreError: it has been begun with other code of a user's own, or on other official splits.
        """
        # Students may exchange from a quarter of the epochs on only, so nothing is pruned in the first half.
        pruner = self.optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=self.epochs // 2)
        self.study = self.optuna.create_study(
            storage=self.optuna.storages.JournalStorage(self.backend),
            study_name=self.folder.name,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
        check_study(self.study, self.space)
        if not self.study.get_trials(deepcopy=False):
            self._enqueue_defaults()
        code = own_code(self.resolved)
        self._check_begun(code)
        settings = {
            "given": self.given,
            "splits": splits,
            "first_seed": FIRST_SEED,
            "space": described(self.space),
            **({"code": code} if code else {}),
            **({"official": self.official} if self.official else {}),
        }
        write_text(self.folder / SETTINGS_FILE, yaml.safe_dump(settings, sort_keys=False))

    def _remove_untried(self, made: Sequence[Path]) -> None:
        """Remove the folder, and those made above it, if no trial has ended and no process runs one."""
        with self._alone():
            self._release_abandoned()
            if self._counted():
                return
            names = (JOURNAL_FILE, BEST_FILE, TUNING_FILE, SETTINGS_FILE)
            remove_files(self.folder, "|".join([*map(re.escape, names), r"\..+\.lock"]))
        with suppress(OSError):  # another process has put something there
            for parent in made:
                parent.rmdir()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from claiming trials and writing files.

        Raises:
            StoreError: the journal is gone. The lock would make a folder in the place of one that is gone.
        """
        self.backend.check()
        with self.claims:
            yield

    def _check_begun(self, code: Mapping[str, str]) -> None:
        """Refuse a search that has begun with other code of a user's own, or on other official splits.

        Raises:
            StoreError: see above.
        """
        file = self.folder / SETTINGS_FILE
        try:
            before = read_yaml_file(file) if self.trials() else None
        except (OSError, UnicodeDecodeError, yaml.YAMLError):  # it is only written, for people to read
            before = None
        known = before if isinstance(before, dict) else {}
        changed = changed_code(known["code"], code) if isinstance(known.get("code"), dict) else []
        others = bool(self.official) and known.get("official", self.official) != self.official
        if changed or others:
            what = "official split" if others else f"code of {', '.join(changed)}"
            raise StoreError(
                f"The {what} has changed since the search in {str(self.folder)!r} began, and its trials cannot be compared with new ones. "
                "Remove the folder to begin anew, or choose another one with --out."
            )

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        found: list[optuna.trial.FrozenTrial] = self.study.get_trials(deepcopy=False)
        return [trial for trial in found if trial.state.name != "WAITING"]

    def num_counted(self) -> int:
        """Trials that are finished, or that a living process runs."""
        with self._alone():
            self._release_abandoned()
            return len(self._counted())

    def claim(self, most: int) -> AbstractContextManager[optuna.Trial] | None:
        """A new trial as a context that holds it against other processes, its options drawn; None where there are `most` of them."""
        with self._alone():
            if (number := self.num_counted()) >= most:
                return None
            self.study.sampler, keys = self._sampler(number)
            trial = self.study.ask()
            # A trial that waited has options of its own; with the defaults of an earlier version it has none.
            if "keys" not in trial.user_attrs:
                trial.set_user_attr("keys", [] if "defaults" in trial.user_attrs else keys)
            for key in trial.user_attrs["keys"]:
                if not self._is_idle(key, trial.params):
                    _suggest(trial, key, self.space[key])
            held = filelock.FileLock(self._lock_of(trial.number))
            held.acquire(timeout=0)
        return _holding(trial, held)

    def _is_idle(self, key: str, drawn: Mapping[str, Any]) -> bool:
        """Whether an option has no effect beside what a trial has drawn before it."""
        group, _, name = key.partition(".")
        if group != "strategy_options" or name not in self.idle_with:
            return False
        others = self.idle_with[name].items()
        return any(drawn.get(f"{group}.{other}", self.resolved.strategy_options.get(other)) in values for other, values in others)

    def _enqueue_defaults(self) -> None:
        self.study.enqueue_trial(self.defaults, user_attrs={"defaults": True, "keys": list(self.defaults)})

    def _sampler(self, number: int) -> tuple[optuna.samplers.BaseSampler, list[str]]:
        """The sampler of a trial, and the options that the trial has values of.

        Every second trial samples all options. The others sample a third of them, and take the rest from the best trial so far: most
        options have good defaults, and few trials that change all of them at once would be better. The result depends on the trials
        before, not on whether the search was interrupted.
        """
        seed = derive(FIRST_SEED, "tune", number) % 2**32
        sampler = self.optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=STARTUP_TRIALS)
        best = self.best_trial()
        if number % 2 == 0 or best is None:
            return sampler, list(self.space)
        varied = random.Random(seed).sample(list(self.space), max(1, round(len(self.space) / 3)))
        fixed = {key: value for key, value in best.params.items() if key in self.space and key not in varied}
        return self.optuna.samplers.PartialFixedSampler(fixed, sampler), [
            key for key in self.space if key in varied or key in fixed or key.rpartition(".")[2] in self.idle_with
        ]

    def run(
        self,
        trial: optuna.Trial,
        parts: Sequence[tuple[int, int, Split]],
        dataset: Dataset,
        device: str,
        shown: Trial,
        on_epoch: OnEpoch | None,
    ) -> str | None:
        """Train what a trial asks for, and record how it ended: the message, if it failed."""
        optuna = self.optuna
        state, value, error = optuna.trial.TrialState.FAIL, None, None
        try:
            value = self._value(trial, parts, dataset, device, shown, on_epoch)
            state = optuna.trial.TrialState.COMPLETE
        except optuna.TrialPruned:
            state = optuna.trial.TrialState.PRUNED
        except UsageError as fault:
            if "defaults" in trial.user_attrs:
                trial.set_user_attr("interrupted", True)
                self._enqueue_defaults()
                self.study.tell(trial, state=state)
                raise
            error = str(fault)
        except StoreError:  # of the journal, and no fault of the trial, which runs again
            raise
        except DglMutualError as fault:
            error = str(fault)
        except Exception as fault:  # a fault of ours in one trial must not cost the others
            error = not_enough_memory(fault) if is_out_of_memory(fault) else f"{type(fault).__name__}: {fault}"
        if error is not None:
            trial.set_user_attr("error", error[:2000])
        self.study.tell(trial, value, state=state)
        self.write()
        return error

    def _value(
        self,
        trial: optuna.Trial,
        parts: Sequence[tuple[int, int, Split]],
        dataset: Dataset,
        device: str,
        shown: Trial,
        on_epoch: OnEpoch | None,
    ) -> float:
        config = resolve(point_of(self.given, self.drawn(trial)), dataset)
        values: list[float] = []
        for index, (seed, fold, split) in enumerate(parts):
            data = without_labels(dataset, split.test)  # a search sees no label of a test part
            if config.noise is not None:
                data = add_noise(data, split, NoiseSpec.parse(config.noise), seed=derive(seed, "noise", fold))

            def report(one: EpochReport, index: int = index) -> None:
                if on_epoch is not None:
                    on_epoch(shown, EpochReport(index * one.epochs + one.epoch, len(parts) * one.epochs, one.loss, one.val))

            with freed_memory() as kept:
                callbacks = [*kept, EpochReports(report), PruningReports(trial, values, index * self.epochs)]
                result = fit_resolved(config, data, split, seed=seed, fold=fold, callbacks=callbacks, device=device)
            values.append(result["mean"].val)
        value = sum(values) / len(values)
        if math.isnan(value):
            raise TrainingError("The metric is not defined on the validation part, so there is nothing to choose by. Choose another split.")
        return value

    def best_trial(self, first: int | None = None) -> optuna.trial.FrozenTrial | None:
        """The best complete trial; of equals, the first.

        Args:
            first: consider only the first `first` trials, so that a longer search does not change the answer.
        """
        complete = [trial for trial in self._counted()[:first] if trial.state.name == "COMPLETE"]
        return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)

    def default_value(self) -> float:
        """The validation metric of the trial with what was given and all other defaults; NaN if it is not complete."""
        values = [trial.value for trial in self._counted() if "defaults" in trial.user_attrs and trial.state.name == "COMPLETE"]
        return math.nan if not values or values[0] is None else values[0]

    def _counted(self) -> list[optuna.trial.FrozenTrial]:
        return [trial for trial in self.trials() if "interrupted" not in trial.user_attrs]

    def layer(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        """The layer of configuration of a trial."""
        return merge(self.given, unflatten(self.drawn(trial)))

    def drawn(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> dict[str, Any]:
        """The values that a trial has drawn, by dotted key, as in a configuration; none for the trial of the defaults."""
        params = {} if "defaults" in trial.user_attrs else trial.params
        drawn = {key: (domain, params[key]) for key, domain in self.space.items() if key in params}
        return {key: domain.value(value) if isinstance(domain, Choice) else value for key, (domain, value) in drawn.items()}

    def seconds_left(self, missing: int, jobs: int) -> float | None:
        """Estimated seconds of missing trials, from the finished ones; None if there are none."""
        finished = [trial for trial in self._counted() if trial.state.is_finished()]
        ended = [trial.duration.total_seconds() for trial in finished if trial.duration is not None]
        return missing * sum(ended) / len(ended) / min(jobs, max(1, missing)) if ended else None

    def write(self) -> pd.DataFrame:
        """Bring best.yaml and tuning.csv up to date with the study."""
        with self._alone():
            history = _history(self.trials(), list(self.space))
            write_text(self.folder / TUNING_FILE, plain_csv(history.map(csv_cell)))
            best = self.best_trial()
            if best is not None:
                write_text(self.folder / BEST_FILE, yaml.safe_dump(self.layer(best), sort_keys=False))
        return history

    def _release_abandoned(self) -> None:
        """Trials of processes that have ended are to be run again."""
        for frozen in self.trials():
            if frozen.state.name == "RUNNING" and not self._is_held(self._lock_of(frozen.number)):
                self.study._storage.set_trial_user_attr(frozen._trial_id, "interrupted", True)
                drawn = {**frozen.system_attrs.get("fixed_params", {}), **frozen.params}
                keys = frozen.user_attrs.get("keys", list(drawn))  # earlier versions named no keys
                if "defaults" in frozen.user_attrs:
                    self.study.enqueue_trial(drawn, user_attrs={"defaults": True, "keys": keys})
                # What was killed while its options were drawn draws all of them anew, as the trial of its number does.
                elif drawn and all(key in drawn or self._is_idle(key, drawn) for key in keys):
                    self.study.enqueue_trial(drawn, user_attrs={"keys": keys})
                self.study.tell(frozen.number, state=self.optuna.trial.TrialState.FAIL)

    def _lock_of(self, number: int) -> Path:
        return self.folder / f".trial-{number}.lock"

    @staticmethod
    def _is_held(file: Path) -> bool:
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


def _defaults(resolved: RunConfig, space: SearchSpace) -> dict[str, Any]:
    """The defaults of what is searched, as Optuna stores them, without those that differ between students or are outside of their range."""
    values, found = plain(resolved), {}
    declared = resolve_strategy(resolved.strategy).Options.model_fields
    for key, domain in space.items():
        group, name = key.split(".", 1)
        if group == "student":
            each = [student.get(name) for student in values["students"]]
            value = each[0] if all(one == each[0] for one in each) else None
        else:
            value = value_at(values, key)
        stored = domain.stored(value)
        if stored is None and group == "strategy_options" and name in declared and declared[name].default is None:
            stored = domain.stored(None)  # a default that is resolved by the number of epochs
        if stored is not None:
            found[key] = stored
    return found


def _suggest(trial: optuna.Trial, key: str, domain: Any) -> None:
    if isinstance(domain, Real):
        trial.suggest_float(key, domain.low, domain.high, log=domain.log)
    elif isinstance(domain, Choice):
        trial.suggest_categorical(key, [domain.category(index) for index in range(len(domain.values))])
    else:
        trial.suggest_int(key, domain.low, domain.high)


def _history(trials: Sequence[optuna.trial.FrozenTrial], keys: Sequence[str]) -> pd.DataFrame:
    rows, best = [], math.nan
    for trial in trials:
        state = {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())
        reported = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        value = trial.value if state == "complete" else reported[-1] if reported and state == "pruned" else math.nan
        if state == "complete":
            assert value is not None
            best = value if math.isnan(best) else max(best, value)
        row = {
            "trial": trial.number,
            "state": "interrupted" if "interrupted" in trial.user_attrs else state,
            "value": value,
            "best": best,
            "seconds": trial.duration.total_seconds() if trial.duration is not None else math.nan,
            "error": trial.user_attrs.get("error", ""),
        }
        rows.append({**row, **{key: trial.params.get(key) for key in keys}})
    history = pd.DataFrame(rows, columns=[*TUNING_COLUMNS, *keys], dtype=object)  # a whole number beside an empty cell stays one
    return history.astype({"trial": int, **dict.fromkeys(("value", "best", "seconds"), float)})
