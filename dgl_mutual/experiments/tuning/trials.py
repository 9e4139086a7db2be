"""The trials of a search, one after another in this process, or several at a time in processes of this machine."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import joblib
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.executors.local import in_processes, kept_datasets, read_kept
from dgl_mutual.experiments.processes import end_with
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.resolve import splits_of
from dgl_mutual.experiments.trial import OnEpoch, Trial
from dgl_mutual.experiments.tuning.objective import Objective
from dgl_mutual.experiments.tuning.proposals import FIRST_SEED
from dgl_mutual.experiments.tuning.study import Search
from dgl_mutual.search_space import SearchSpace
from dgl_mutual.store.files import TUNING_FILE
from dgl_mutual.store.tables import TUNING_ENDED, read_tuning


@dataclass(frozen=True)
class TuningTrial(Trial):
    """A trial of a search, as a display names it; its seed is its number."""

    @property
    def name(self) -> str:
        return f"trial-{self.seed}"


#: A trial that has ended, and why it failed, if it did.
Ended: TypeAlias = tuple[TuningTrial, str | None]


@dataclass(frozen=True, eq=False)
class SearchJob:
    """A search that several processes can take part in.

    Attributes:
        given, resolved: the configuration as it was given, and resolved.
        splits: number of trainings of each configuration.
        trials: number of trials of the whole search.
        label: name in displays.
        deadline: time after which no trial is started, on the clock of `time.monotonic`: all processes of a machine share it, and nobody
            sets it.
        official: digests of the splits (see `split_digest`) where they are official ones, of which the fingerprint does not know.
        schema: what columns and labels mean (see `schema_of`).
    """

    folder: Path
    given: RunConfig
    resolved: RunConfig
    space: SearchSpace
    splits: int
    trials: int
    label: str
    deadline: float | None = None
    official: tuple[str, ...] = ()
    schema: Mapping[str, str] = field(default_factory=dict)

    def search(self) -> Search:
        """The folder of the search, to be opened."""
        return Search(self.folder, self.given, self.resolved, self.space, import_optuna(), self.official, self.schema)

    def parts(self, dataset: Dataset) -> list[tuple[int, int, Split]]:
        """Seed, fold and split of each training of a configuration.

        Raises:
            UsageError: there are fewer folds, or a split has no validation part.
        """
        folds = self.resolved.folds
        if folds is None:
            seeds = range(FIRST_SEED, FIRST_SEED + self.splits)
            return [(seed, 0, splits_of(self.resolved, dataset, seed)[0]) for seed in seeds]
        if self.splits > folds:
            raise UsageError(f"There are {folds} folds, so each configuration can be trained on no more than that, not on {self.splits}.")
        return [(FIRST_SEED, fold, split) for fold, split in enumerate(splits_of(self.resolved, dataset, FIRST_SEED)[: self.splits])]

    def progress(self) -> tuple[int, float | None]:
        """The number of missing trials, and the mean seconds of the finished ones, if there are any. Writes nothing."""
        history = read_tuning(self.folder) if (self.folder / TUNING_FILE).exists() else None
        if history is None:
            return self.trials, None
        ended = history[history["state"].isin(TUNING_ENDED)]
        return max(0, self.trials - len(ended)), float(ended["seconds"].mean()) if len(ended) else None

    def outcomes(
        self, search: Search, dataset: Dataset, *, compute: Compute, missing: int, progress: Progress
    ) -> Generator[Ended, None, None]:
        """Run trials until there are as many as were asked for.

        Args:
            search: opened.
            compute: with one job, trials run in this process, and each depends only on those before it.
            missing: number of trials to run.

        Raises:
            TrainingError: a process was killed; trials that have ended are kept.
        """
        jobs = min(compute.num_jobs, missing)
        if jobs <= 1:
            torch.set_num_threads(compute.threads)
            while (outcome := self.one(search, dataset, compute.device, progress.epoch)) is not None:
                yield outcome
            return
        with kept_datasets([dataset]) as files:
            calls = (
                joblib.delayed(_elsewhere)(self, files[id(dataset)], compute, progress.remote_epoch, os.getpid()) for _ in range(missing)
            )
            with closing(in_processes(calls, jobs, compute.threads)) as outcomes:
                yield from (outcome for outcome in outcomes if outcome is not None)

    def one(self, search: Search, dataset: Dataset, device: str, on_epoch: OnEpoch | None) -> Ended | None:
        """Run the next trial; None if no trial is left."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return None
        claimed = search.claims.claim(self.trials)
        if claimed is None:
            return None
        parts = self.parts(dataset)
        with claimed as trial:
            shown = TuningTrial(trial.number, 0, parts[0][2], self.label)
            return shown, Objective(search, parts, dataset, device).run(trial, shown, on_epoch)


def _elsewhere(job: SearchJob, file: Path, compute: Compute, on_epoch: OnEpoch | None, parent: int) -> Ended | None:
    """Run a trial in a worker process; None if no trial is left."""
    end_with(parent)
    torch.set_num_threads(compute.threads)
    search = job.search()
    with search.opened(job.splits, begun=True):
        return job.one(search, read_kept(file), compute.device, on_epoch)


def import_optuna() -> Any:
    """Optuna, without its messages.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise UsageError("Tuning needs optuna, which is not installed. Install it: pip install 'dgl-mutual[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna
