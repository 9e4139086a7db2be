"""Means over the trials of each method, and significance tests against a baseline, paired by dataset, split, seed and fold."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dgl_mutual.errors import UsageError, listed, unknown
from dgl_mutual.statistics import (
    FEWEST_FOLDS,
    NO_TEST,
    Array,
    PairedTest,
    Ranking,
    corrected_resampled_t,
    effect_size,
    held_out_ratio,
    holm,
    rank_methods,
    rounded,
    signed_rank,
)
from dgl_mutual.store.members import BEST, ENSEMBLE, MEAN
from dgl_mutual.store.summary import what_n_counts
from dgl_mutual.store.tables import KEY
from dgl_mutual.utils.arguments import names_in

DEFAULT_MEMBERS = (MEAN, BEST, ENSEMBLE)
#: Values for tables: fractions (higher is better), costs (lower is better), and fractions that are neither good nor bad.
FRACTIONS = ("test", "val", "train")
COSTS = ("seconds_per_epoch", "train_seconds", "peak_mib", "inference_ms", "parameters", "epochs", "best_epoch")
NEUTRAL = ("disagreement",)
#: Errors of predicted probabilities (lower is better); ece is a fraction.
CALIBRATION = ("nll", "ece")
LOWER_IS_BETTER = (*COSTS, *CALIBRATION)
_VALUES = (*FRACTIONS, *CALIBRATION, *COSTS, *NEUTRAL)
#: Values of the whole cohort, the same for all members.
SHARED = ("seconds_per_epoch", "train_seconds", "peak_mib", "epochs", *NEUTRAL)
ALPHA = 0.05
_PAIR = ["data", *KEY]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A comparison of methods.

    Attributes:
        rows: a row per data, member and method: ``data, dataset, protocol, metric, member, method, value, mean, std`` (ddof = 1), ``n,
            counts, folds, is_best``; against the baseline ``difference, low, high`` (95 % interval by Student's t, see `PairedTest`),
            ``effect`` (Cohen's d of pairs), ``wins, losses, test, p, p_holm, smallest_p``: nan for the baseline itself and without a test.
            ``wins`` and ``losses`` count the trials in which the method is better and worse than the baseline; for costs, nll and ece,
            lower is better.
        value: the compared column of trials.csv.
        baseline: the method that the others are compared with, if any.
        rankings: per member, the methods ranked over datasets; only for fractions, and if every method was run on all of several datasets.
        tuned: by data and method, number of trials of the search that chose the options; 0 without a search, empty if no method has one.
        grids: by data and method, number of combinations of options from which each trial chose on validation; 0 without a grid, empty
            if no method has one.
        unfinished: runs with missing trials, and the number of finished ones: ``gml on Cora (7 of 10 trials)``.
        unpaired: methods that are not tested on a dataset, since their trials differ from those of the baseline, and the missing
            trials: ``gml on Cora (independent lacks seed 2 fold 0)``.
        blocks: for each dataset under several protocols, its columns, ``Cora (public)`` and ``Cora (random)``.
        objection: why nothing is tested although tests were not disabled; else empty.
    """

    rows: pd.DataFrame
    value: str
    baseline: str | None
    rankings: dict[str, Ranking]
    unfinished: tuple[str, ...]
    tuned: Mapping[tuple[str, str], int] = field(default_factory=dict)
    grids: Mapping[tuple[str, str], int] = field(default_factory=dict)
    unpaired: tuple[str, ...] = ()
    blocks: tuple[tuple[str, ...], ...] = ()
    objection: str = ""

    @property
    def measured(self) -> dict[tuple[str, str], int]:
        """By data and method, number of trials with the value, of the member with most."""
        most = self.rows.groupby(["data", "method"], sort=False)["n"].max().reset_index()
        return {(str(data), str(method)): int(n) for data, method, n in zip(most["data"], most["method"], most["n"], strict=True)}

    @property
    def num_comparisons(self) -> int:
        """Number of tests in Holm's adjustment."""
        return int(self.rows["p"].notna().sum())


def compare(
    trials: pd.DataFrame,
    *,
    value: str = "test",
    metric: str | None = None,
    members: str | Sequence[str] | None = None,
    baseline: str | None = None,
) -> Comparison:
    """Compare the methods in `trials` (see `dgl_mutual.reporting.runs.gather`).

    Args:
        value: a fraction (test, val, train), ``nll`` or ``ece``, a cost (seconds_per_epoch, ...), or ``disagreement``.
        metric: only datasets scored by it (accuracy, rocauc, ...); default: all.
        members: members to show, also as a string, ``"mean,gcn-0"``; default: mean, best_by_val and ensemble, or only mean for values of
            the whole cohort.
        baseline: a method (see `dgl_mutual.reporting.baseline`); None: no tests.

    Raises:
        UsageError: an unknown name, runs that must not be combined in one table, or a baseline whose trials pair with those of no
            other method on any dataset.
    """
    if not isinstance(value, str) or value not in _VALUES:
        raise unknown("value", value, _VALUES)
    _refuse_unmeasured(trials, value)
    trials = split_by(split_by(_of_metric(trials, metric), "protocol"), "metric")
    _refuse_mixtures(trials)
    trials = _of_members(trials, DEFAULT_MEMBERS[:1] if members is None and value in SHARED else members)
    unpaired = {} if baseline is None else _unpaired(trials, baseline)
    rows = _means(trials, value, baseline)
    rows["is_best"] = _is_best(rows, value)
    tests = _tests(trials, rows, value, baseline, unpaired)
    rows = pd.concat([rows, tests], axis=1)
    rows["p_holm"] = holm(rows["p"].to_numpy(dtype=float))
    return Comparison(
        rows=rows,
        value=value,
        baseline=baseline,
        rankings=_rankings(rows, value),
        unfinished=tuple(_unfinished(trials)),
        tuned=_counts(trials, "tuned"),
        grids=_counts(trials, "combinations"),
        unpaired=tuple(f"{method} on {data} ({lacking})" for (data, method), lacking in unpaired.items()),
        blocks=tuple(_blocks(trials)),
    )


def _refuse_unmeasured(trials: pd.DataFrame, value: str) -> None:
    if not trials[value].isna().all():
        return
    if value in ("test", *CALIBRATION) and trials["test"].isna().all():
        raise UsageError(
            f"None of these runs has a {value!r}: no sample of their test parts has a known label. Compare them on validation: export with "
            '--value val (in Python: value="val").'
        )
    why = {"disagreement": "a single student has none", "peak_mib": "some systems do not report it"}.get(value)
    raise UsageError(
        f"None of these runs has a {value!r}: {f'{why}, or ' if why else ''}the version that made them did not measure it. Choose another "
        "one with --value (in Python: value=...), or run them again into another folder."
    )


def _unfinished(trials: pd.DataFrame) -> Iterator[str]:
    for (data, method), table in trials.groupby(["data", "method"], sort=False):
        finished, planned = len(table[KEY].drop_duplicates()), table["planned"].iloc[0]
        if finished < planned:
            yield f"{method} on {data} ({finished} of {planned} trials)"


def _counts(trials: pd.DataFrame, column: str) -> dict[tuple[str, str], int]:
    """A column of `gather` by data and method; empty if it is 0 for all."""
    if not trials[column].any():
        return {}
    runs = trials[["data", "method", column]].drop_duplicates()
    return {(str(data), str(method)): int(count) for data, method, count in runs.itertuples(index=False)}


def _blocks(trials: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    for _, table in trials.groupby("unsplit", sort=False):
        if table["protocol"].nunique() > 1:
            yield tuple(dict.fromkeys(map(str, table["data"])))


def _of_metric(trials: pd.DataFrame, metric: str | None) -> pd.DataFrame:
    if metric is None:
        return trials
    if not isinstance(metric, str) or metric not in set(trials["metric"]):
        raise unknown("metric", metric, sorted(set(trials["metric"])))
    return trials[trials["metric"] == metric]


def _of_members(trials: pd.DataFrame, members: str | Sequence[str] | None) -> pd.DataFrame:
    known = list(dict.fromkeys(trials["member"]))
    if members is None:
        members = [member for member in DEFAULT_MEMBERS if member in known] or known
    if isinstance(members, str):
        members = [member.strip() for member in members.split(",")]
    members = list(dict.fromkeys(names_in("members", members, "['mean', 'ensemble']")))
    for member in members:
        if member not in known:
            raise unknown("member", member, known)
    shown = trials[trials["member"].isin(members)]
    return shown.assign(member=pd.Categorical(shown["member"], pd.Index(members)))


def split_by(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """Split data with several values of a column into separate data: by `protocol`, ``Cora (public)`` and ``Cora (random)``."""
    several = trials.groupby("data", sort=False)[column].transform("nunique") > 1
    return trials.assign(data=trials["data"].where(~several, trials["data"].astype(str) + " (" + trials[column].astype(str) + ")"))


def _refuse_mixtures(trials: pd.DataFrame) -> None:
    mixed = trials.groupby(_PAIR, sort=False)["split"].nunique()
    if (mixed > 1).any():
        place = mixed[mixed > 1].index[0]
        here = trials[(trials[_PAIR] == list(place)).all(axis=1)]
        name_of = _folder_names(here["run"])
        shown = "; ".join(f"{split}: {', '.join(sorted({name_of[run] for run in rows['run']}))}" for split, rows in here.groupby("split"))
        where = f"{place[0]}, seed {place[1]}, fold {place[2]}"
        raise UsageError(
            f"Runs of different data or splits on {where} cannot be compared in one table. By the column 'split' of trials.csv: {shown}. "
            "Give those of one split."
        )
    for data, rows in trials[["data", "run", "schema"]].drop_duplicates().groupby("data", sort=False):
        name_of = _folder_names(rows["run"])
        _refuse_meanings(str(data), [(name_of[run], json.loads(schema)) for run, schema in zip(rows["run"], rows["schema"], strict=True)])
    double = trials[trials.duplicated([*_PAIR, "method", "member"])]
    if len(double):
        data, method = double[["data", "method"]].iloc[0]
        runs = sorted(_folder_names(trials["run"][(trials["data"] == data) & (trials["method"] == method)]).values())
        raise UsageError(
            f"Several runs are {method!r} on {data}: {', '.join(runs)}. Give one of them. What is only recorded, such as "
            "training.diversity, does not make another method."
        )


def _folder_names(runs: Iterable[str]) -> dict[str, str]:
    """Names of run folders for messages: their names, or their paths if several have the same name."""
    folders = dict.fromkeys(map(str, runs))
    counts = Counter(Path(folder).name for folder in folders)
    return {folder: Path(folder).name if counts[Path(folder).name] == 1 else folder for folder in folders}


def _refuse_meanings(data: str, schemas: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """Refuse runs whose columns or labels have the same numbers and mean something else.

    Args:
        schemas: the folder of each run, and its schema (see `Run.schema`). What not all of them have is compared among those that do.
    """
    first: dict[str, tuple[str, str]] = {}
    for run, schema in schemas:
        for part, value in schema.items():
            other, before = first.setdefault(part, (run, value))
            if value != before:
                raise UsageError(
                    f"Runs on {data} cannot be compared in one table, since their data do not mean the same: the {part} are {before} in "
                    f"{other}, and {value} in {run}. Give those of one meaning."
                )


def _unpaired(trials: pd.DataFrame, baseline: str) -> dict[tuple[str, str], str]:
    """By data and method, the trials that the method or the baseline lacks: such a method is not tested on these data.

    Raises:
        UsageError: no such baseline, or no method is paired with it anywhere.
    """
    methods = list(dict.fromkeys(trials["method"]))
    if not isinstance(baseline, str) or baseline not in methods:
        raise UsageError(
            f"The baseline {baseline!r} is not among the methods of these runs: {', '.join(methods)}. "
            "Choose one of these as the baseline (on the command line: --baseline METHOD), or add runs of it."
        )
    keys = {place: set(map(tuple, table[KEY].to_numpy())) for place, table in trials.groupby(["data", "method"], sort=False, observed=True)}
    pairs = [(data, method) for data, method in keys if method != baseline and (data, baseline) in keys]
    unpaired: dict[tuple[str, str], str] = {}
    for data, method in pairs:
        reference, own = keys[data, baseline], keys[data, method]
        missing = ((method, reference - own), (baseline, own - reference))
        if parts := [f"{name} lacks {_trial_names(lacking)}" for name, lacking in missing if lacking]:
            unpaired[str(data), str(method)] = "; ".join(parts)
    if unpaired and len(unpaired) == len(pairs):
        (data, method), lacking = next(iter(unpaired.items()))
        raise UsageError(
            f"{method!r} and the baseline {baseline!r} are not paired on {data}: {lacking}. "
            "Run what is missing (the same command or call goes on), ask for the same seeds and folds, or do without tests: baseline "
            "'none' (on the command line: --baseline none)."
        )
    return unpaired


def _trial_names(keys: set[tuple[Any, ...]]) -> str:
    return listed([f"seed {seed} fold {fold}" for seed, fold in sorted(keys)], 10)


def _means(trials: pd.DataFrame, value: str, baseline: str | None) -> pd.DataFrame:
    first = trials.groupby("data", sort=False)[["dataset", "protocol", "metric", "folds"]].first()
    counts = pd.Series({data: what_n_counts(table) for data, table in trials.groupby("data", sort=False)}, name="counts")
    rows = trials.groupby(["data", "member", "method"], sort=False, observed=True)[value].agg(["mean", "std", "count"]).reset_index()
    rows = rows.rename(columns={"count": "n"}).join(first, on="data").join(counts, on="data").assign(value=value)
    datas, methods = list(dict.fromkeys(trials["data"])), list(dict.fromkeys(trials["method"]))
    order = {name: index for names in (datas, methods) for index, name in enumerate(names)} | {baseline: -1}
    rows = rows.sort_values(["data", "member", "method"], key=lambda column: column.map(order) if column.name != "member" else column)
    columns = ["data", "dataset", "protocol", "metric", "member", "method", "value", "mean", "std", "n", "counts", "folds"]
    # The last bits depend on the order of summation, and may change the rounding in a table.
    return rows[columns].astype({"mean": float, "std": float}).round({"mean": 14}).reset_index(drop=True)


def _is_best(rows: pd.DataFrame, value: str) -> pd.Series[bool]:
    """Whether a method has the best mean on its dataset; never if all means are equal, or the value is neither good nor bad."""
    mean = rows["mean"]
    groups = mean.groupby([rows["data"], rows["member"]], observed=True)
    best = groups.transform("min" if value in LOWER_IS_BETTER else "max")
    return (mean == best) & (groups.transform("nunique") > 1) & (value not in NEUTRAL)


_TEST_COLUMNS = ["difference", "low", "high", "effect", "wins", "losses", "test", "p", "smallest_p"]


def _tests(
    trials: pd.DataFrame, rows: pd.DataFrame, value: str, baseline: str | None, unpaired: Collection[tuple[str, str]]
) -> pd.DataFrame:
    # A column for each method, with NaN for missing trials.
    figures = trials.astype({value: float}).pivot(index=KEY, columns=["data", "member", "method"], values=value)
    column_of: dict[object, Array] = dict(zip(figures.columns, figures.to_numpy().T, strict=True))
    ratios = trials.groupby("data")["test_to_train"].mean()
    results: list[dict[str, Any]] = []
    for data, member, method, protocol, folds in rows[["data", "member", "method", "protocol", "folds"]].itertuples(index=False):
        reference = column_of.get((data, member, baseline))
        if reference is None or method == baseline or (data, method) in unpaired:
            results.append(dict.fromkeys(_TEST_COLUMNS, math.nan) | {"test": ""})
            continue
        differences = column_of[data, member, method] - reference
        differences = differences[~np.isnan(differences)]
        gains = rounded(-differences if value in LOWER_IS_BETTER else differences)  # as in the tests; ties count as neither
        test = _paired_test(differences, held_out_ratio(protocol, folds, ratios[data]))
        results.append(
            {
                "difference": differences.mean() if len(differences) else math.nan,
                "low": test.low,
                "high": test.high,
                "effect": effect_size(differences),
                "wins": int((gains > 0).sum()),
                "losses": int((gains < 0).sum()),
                "test": test.name,
                "p": test.p,
                "smallest_p": test.smallest_p,
            }
        )
    return pd.DataFrame(results, columns=_TEST_COLUMNS)


def _paired_test(differences: Array, test_to_train: float | None) -> PairedTest:
    if test_to_train is None:
        return signed_rank(differences)
    if math.isnan(test_to_train) or len(differences) < FEWEST_FOLDS:
        return NO_TEST
    return corrected_resampled_t(differences, test_to_train)


def _rankings(rows: pd.DataFrame, value: str) -> dict[str, Ranking]:
    # Several conditions of a dataset are not independent datasets.
    if value not in FRACTIONS or rows["dataset"].nunique() < 2 or rows["data"].nunique() > rows["dataset"].nunique():
        return {}
    rankings = {}
    for member, table in rows.groupby("member", sort=False, observed=True):
        scores = table.pivot(index="data", columns="method", values="mean")[list(dict.fromkeys(table["method"]))]
        if scores.shape[1] > 1 and scores.shape[0] > 1 and not scores.isna().any(axis=None):
            rankings[str(member)] = rank_methods(scores.to_numpy(), list(scores.columns))
    return rankings
