"""The trials of a study: those that count, the best one, and their table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dgl_mutual.store.tables import TUNING_COLUMNS, TUNING_ENDED, read_tuning
from dgl_mutual.training.evaluation.metrics import as_compared

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def begun_trials(study: optuna.Study) -> list[FrozenTrial]:
    """All trials except waiting ones, by number."""
    trials: list[FrozenTrial] = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state.name != "WAITING"]


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count towards the requested number, without interrupted ones, which are repeated under another number."""
    return [trial for trial in begun_trials(study) if "interrupted" not in trial.user_attrs]


def best_trial(study: optuna.Study, first: int | None = None) -> FrozenTrial | None:
    """The best complete trial; ties go to the first. None if no trial is complete.

    Args:
        first: only consider the first `first` trials, so that a longer search does not change the result.
    """
    complete = [trial for trial in counted_trials(study)[:first] if trial.state.name == "COMPLETE"]
    return max(complete, key=_merit, default=None)


def _merit(trial: FrozenTrial) -> tuple[float, int]:
    """A sort key, greater for the better of two complete trials."""
    assert trial.value is not None
    return as_compared(trial.value), -trial.number


def default_value(study: optuna.Study) -> float:
    """Validation metric of the trial with the given options and all other defaults; NaN if it is not complete."""
    values = [trial.value for trial in counted_trials(study) if "defaults" in trial.user_attrs and trial.state.name == "COMPLETE"]
    return math.nan if not values or values[0] is None else values[0]


def seconds_left(study: optuna.Study, missing: int, jobs: int) -> float | None:
    """Estimated seconds of missing trials, with `jobs` in parallel, from finished ones; None if there are none."""
    finished = [trial for trial in counted_trials(study) if trial.state.is_finished()]
    ended = [trial.duration.total_seconds() for trial in finished if trial.duration is not None]
    return missing * sum(ended) / len(ended) / min(jobs, max(1, missing)) if ended else None


def history(study: optuna.Study, keys: Sequence[str]) -> pd.DataFrame:
    """Content of tuning.csv: one row per trial, with a column for each of the options `keys` (see `Tuning.history`)."""
    rows, best = [], math.nan
    for trial in begun_trials(study):
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
    table = pd.DataFrame(rows, columns=[*TUNING_COLUMNS, *keys], dtype=object)  # an integer beside an empty cell stays one
    return table.astype({"trial": int, **dict.fromkeys(("value", "best", "seconds"), float)})


def ended_rows(folder: Path) -> pd.DataFrame:
    """The rows of ended trials in tuning.csv; none if there is no such file.

    Raises:
        StoreError: the file cannot be read.
    """
    table = read_tuning(folder)
    return table[table["state"].isin(TUNING_ENDED)]
