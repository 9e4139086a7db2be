"""Means over the trials of a run."""

from __future__ import annotations

import pandas as pd

from dgl_mutual.utils.wording import aligned

PARTS = ["train", "val", "test"]
_GROUP = ["task", "dataset", "strategy", "protocol", "member", "metric"]


def summarise_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Compute summary.csv from trials.csv: one row per member and part of the split, members in the cohort's order.

    Columns: the names of run and member, `metric`, `part` (train, val or test), `mean`, `std` (ddof = 1; empty for one trial), `n` (number
    of trials with a defined metric) and `counts` (what n counts).
    """
    long = trials.melt(id_vars=[*_GROUP, "seed", "fold"], value_vars=PARTS, var_name="part", value_name="value")
    order = list(dict.fromkeys(trials["member"]))
    summary = long.groupby([*_GROUP, "part"], sort=False)["value"].agg(["mean", "std", "count"]).reset_index()
    summary = summary.rename(columns={"count": "n"}).assign(counts=what_n_counts(trials))
    return summary.sort_values("member", key=lambda names: names.map(order.index), kind="stable").reset_index(drop=True)


def what_n_counts(trials: pd.DataFrame) -> str:
    """``seeds``, ``folds`` or ``seeds x folds``, depending on which of them there are several."""
    names = [name for name in ("seed", "fold") if trials[name].nunique() > 1]
    return " x ".join(f"{name}s" for name in names) or "seeds"


def n_text(n: int | str, counts: str) -> str:
    """``n = 10 seeds``, ``n = 1 seed``."""
    return f"n = {n} {counts.removesuffix('s') if n == 1 else counts}"


def table(summary: pd.DataFrame) -> str:
    """The table at the end of a run: one line per member, with mean +- std of validation and test; one table per metric."""
    return "\n\n".join(_table_of_metric(rows) for _, rows in summary.groupby("metric", sort=False))


def _table_of_metric(summary: pd.DataFrame) -> str:
    n, metric, counts = summary["n"].max(), summary["metric"].iloc[0], summary["counts"].iloc[0]
    cells = summary.assign(cell=[_cell(mean, std) for mean, std in zip(summary["mean"], summary["std"], strict=True)])
    wide = cells.pivot(index="member", columns="part", values="cell").loc[list(dict.fromkeys(summary["member"]))]
    head, *lines = aligned([("member", "validation", "test"), *zip(wide.index, wide["val"], wide["test"], strict=True)])
    return "\n".join([f"{head}   ({metric}; {'one trial' if n == 1 else n_text(n, counts)})", *lines])


def _cell(mean: float, std: float) -> str:
    return f"{mean:.4f}" + ("" if pd.isna(std) else f" +- {std:.4f}")
