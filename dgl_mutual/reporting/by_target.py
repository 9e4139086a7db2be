"""Tables by target: the results of a method on a target learned alone, and together with others."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting.labels import data_name
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import gather
from dgl_mutual.utils.wording import counted

#: Protocols that draw splits stratified by labels.
_STRATIFIED = ("nested", "random", "holdout")


def gather_by_target(runs: Sequence[Run]) -> pd.DataFrame:
    """`dgl_mutual.reporting.runs.gather` with a row for each target: ``data`` is ``digits-multi: even``, and ``method`` has the number
    of targets that were learned together, ``gml (1 target)`` or ``gml (3 targets)``.

    If some targets were learned alone, the others are left out, since they cannot be compared. Runs are paired by seed and
    fold only: the columns `split` and `schema` are cleared, since they depend on the labels, which differ here. Splits that are stratified
    by labels can differ between targets.

    Raises:
        UsageError: no run has a target with a name.
        StoreError: see `gather`.
    """
    named = [run for run in runs if run.config.get("targets")]
    if not named:
        raise UsageError(
            "None of these runs has several targets, or one chosen by name, so there is no table by target. Give runs of several targets, "
            "for example of digits-multi, or runs with --targets."
        )
    tables = [_of_run(run) for run in named]
    alone = {data for run, table in zip(named, tables, strict=True) if len(run.config["targets"]) == 1 for data in table["data"]}
    trials = pd.concat(tables, ignore_index=True)
    trials["unsplit"] = trials["data"]
    return trials[trials["data"].isin(alone)].reset_index(drop=True) if alone else trials


def drawn_by_labels(trials: pd.DataFrame) -> list[str]:
    """The data of `gather_by_target` whose splits may differ between methods, since they are stratified by the learned labels."""
    differ = _num_counts(trials, "data", "protocol") > 1
    return list(dict.fromkeys(trials["data"][differ & trials["protocol"].isin(_STRATIFIED)]))


def apart_by_protocol(trials: pd.DataFrame) -> list[str]:
    """The data of `gather_by_target` that were learned with different numbers of targets, but only under different protocols."""
    together = set(trials["data"][_num_counts(trials, "data", "protocol") > 1])
    return [data for data in dict.fromkeys(trials["data"][_num_counts(trials, "data") > 1]) if data not in together]


def _num_counts(trials: pd.DataFrame, *keys: str) -> pd.Series[int]:
    """For each row, how many different numbers of targets the rows with the same keys have."""
    numbers = trials["method"].astype(str).str.extract(r"\((\d+) targets?\)$", expand=False)
    return numbers.groupby([trials[key] for key in keys]).transform("nunique")


def _of_run(run: Run) -> pd.DataFrame:
    targets, data = [str(name) for name in run.config["targets"]], data_name(run)
    figures = gather([run], each_target=True).assign(method=f"{run.method} ({counted(len(targets), 'target')})", split="", schema="{}")
    if len(targets) == 1:
        return figures.assign(data=f"{data}: {targets[0]}")
    parts = [(name, figures[figures["metric"].astype(str).str.endswith(f"({name})")]) for name in targets]
    return pd.concat(
        [rows.assign(data=f"{data}: {name}", metric=rows["metric"].astype(str).str.removesuffix(f"({name})")) for name, rows in parts],
        ignore_index=True,
    )
