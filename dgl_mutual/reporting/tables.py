"""Comparisons as tables of text cells, the same for every format, with a caption."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting.comparison import ALPHA, CALIBRATION, COSTS, LOWER_IS_BETTER, NEUTRAL, SHARED, Comparison
from dgl_mutual.statistics import Ranking, datasets_to_reject, holm
from dgl_mutual.store.columns import NUM_BINS
from dgl_mutual.store.members import BEST, ENSEMBLE, MEAN
from dgl_mutual.store.summary import n_text
from dgl_mutual.utils.wording import counted

#: Marks of significantly better and worse methods than the baseline.
BETTER, WORSE = "†", "‡"
#: Name of the mark of the best method in captions.
BOLD = "Bold"
_DECIMALS = {"parameters": 0, "epochs": 0, "best_epoch": 0, "seconds_per_epoch": 4, "train_seconds": 1, "peak_mib": 0, "inference_ms": 2}
_NAMES = {
    "seconds_per_epoch": "seconds per epoch",
    "train_seconds": "training time in seconds",
    "inference_ms": "inference time in milliseconds",
    "peak_mib": "peak memory in MiB",
    "best_epoch": "best epoch",
    "disagreement": "disagreement of students on test samples",
    "nll": "test negative log-likelihood in nats",
    "ece": f"test expected calibration error ({NUM_BINS} bins)",
}
_METRICS = {
    "accuracy": "accuracy",
    "balanced-accuracy": "balanced accuracy",
    "macro-f1": "macro-averaged F1",
    "rocauc": "ROC-AUC",
    "ap": "average precision",
    "micro-f1": "micro-averaged F1",
    "mean": "mean over tasks",
}
_MEMBERS = {MEAN: "mean student", BEST: "best student by validation", ENSEMBLE: "ensemble"}


@dataclass(frozen=True)
class Cell:
    """Text, or a mean with its spread and marks."""

    text: str
    spread: str = ""
    bold: bool = False
    mark: str = ""


@dataclass(frozen=True)
class TextTable:
    """Rows of cells.

    Attributes:
        groups: the rows, in groups that are separated by rules.
        num_labels: number of label columns at the start; the others are numbers.
        caption: sentences.
    """

    header: tuple[str, ...]
    groups: tuple[tuple[tuple[Cell, ...], ...], ...]
    num_labels: int
    caption: tuple[str, ...]


def text_table(comparison: Comparison, *, precision: int | None = None, percent: bool = False) -> TextTable:
    """Format a comparison with methods as rows and datasets as columns, and a group of rows for each member.

    Args:
        precision: number of decimals (default: 1 for percent, 3 for fractions, depending on the value for costs).
        percent: show fractions times 100.

    Raises:
        UsageError: percent of a cost.
    """
    rows, value = comparison.rows, comparison.value
    factor = scale(comparison, percent)
    decimals = _DECIMALS.get(value, 1 if percent else 3) if precision is None else precision
    datas, members = list(dict.fromkeys(rows["data"])), list(dict.fromkeys(rows["member"]))
    ranked = bool(comparison.rankings)
    cells = {(row["data"], row["member"], row["method"]): _cell(row, factor, decimals) for row in rows.to_dict("records")}
    groups = []
    for member in members:
        group = []
        for method in dict.fromkeys(rows["method"][rows["member"] == member]):
            label = (Cell(member_name(member)), Cell(method)) if len(members) > 1 else (Cell(method),)
            figures = tuple(cells.get((data, member, method), Cell("-")) for data in datas)
            group.append((*label, *figures, *((_rank_cell(comparison, member, method),) if ranked else ())))
        groups.append(tuple(group))
    header = (*(("member",) if len(members) > 1 else ()), "method", *datas, *(("rank",) if ranked else ()))
    return TextTable(header, tuple(groups), 2 if len(members) > 1 else 1, tuple(caption(comparison, percent=percent)))


def is_fraction(value: str) -> bool:
    """Whether a value can be shown in percent."""
    return value not in (*COSTS, "nll")


def scale(comparison: Comparison, percent: bool) -> int:
    """The factor of displayed numbers.

    Raises:
        UsageError: percent of a cost.
    """
    if percent and not is_fraction(comparison.value):
        raise UsageError(
            f"{comparison.value!r} is not a fraction, so it has no percentage. Leave out percent (on the command line: --percent)."
        )
    return 100 if percent else 1


def member_name(member: str) -> str:
    """``mean student`` for ``mean``; the names of students do not change."""
    return _MEMBERS.get(member, member)


def metric_name(metric: str) -> str:
    """``ROC-AUC`` for ``rocauc``, ``ROC-AUC (even)`` for ``rocauc(even)``."""
    name, parenthesis, task = metric.partition("(")
    return f"{_METRICS.get(name, name)} ({task}" if parenthesis else _METRICS.get(metric, metric)


def value_name(comparison: Comparison, *, percent: bool = False) -> str:
    """``test accuracy (%)``."""
    name = _NAMES.get(comparison.value, comparison.value)
    if comparison.value in COSTS:
        return name
    metrics = (
        [] if comparison.value in (*NEUTRAL, *CALIBRATION) else dict.fromkeys(metric_name(metric) for metric in comparison.rows["metric"])
    )
    return f"{name} {' or '.join(metrics)}".rstrip() + (" (%)" if percent else "")


def caption(comparison: Comparison, *, percent: bool = False) -> Iterator[str]:
    """The sentences that are needed to interpret the numbers: n, ddof, protocol, marks and tests."""
    rows = comparison.rows
    members = list(dict.fromkeys(rows["member"]))
    whose = "whole cohort" if comparison.value in SHARED else member_name(members[0])
    of = f" of the {whose}" if len(members) == 1 else ""
    spread = "mean ± standard deviation (ddof = 1)" if (rows["n"] > 1).any() else "one trial"
    yield f"{_capital(value_name(comparison, percent=percent))}{of}: {spread}."
    yield _protocols(rows)
    for columns in comparison.blocks:
        yield f"One dataset under several protocols, which are not compared with each other: {', '.join(columns)}."
    if comparison.tuned:
        yield from _searches(comparison)
    for count in sorted(set(comparison.grids.values()) - {0}):
        yield f"Options chosen on validation within each trial, from {count} combinations: {places(comparison.grids, count)}."
    if comparison.unfinished:
        yield f"Not finished: {', '.join(comparison.unfinished)}."
    if without := places(comparison.measured, 0):
        yield f"Not measured: {without}."
    if rows["is_best"].any():
        yield f"{BOLD}: the best method of a column" + (", for each member." if len(members) > 1 else ".")
    if comparison.baseline is not None:
        yield from _tests(comparison)
    if comparison.rankings:
        yield from _ranks(comparison)


def _protocols(rows: pd.DataFrame) -> str:
    """Protocols and n, with datasets of the same protocol and n named together."""
    parts: dict[str, list[str]] = {}
    for data, table in rows[rows["n"] > 0].groupby("data", sort=False):
        low, high = int(table["n"].min()), int(table["n"].max())
        number = low if low == high else f"{low} to {high}"
        text = f"protocol {table['protocol'].iloc[0]}, {n_text(number, table['counts'].iloc[0])}"
        parts.setdefault(text, []).append(str(data))
    texts = [f"{', '.join(datas)}: {text}" if len(parts) > 1 else text for text, datas in parts.items()]
    return ("; ".join(texts) if len(parts) > 1 else _capital(texts[0])) + "."


def _searches(comparison: Comparison) -> Iterator[str]:
    """The searches of tuned methods, and their overlap with the test parts of other trials."""
    by_data: dict[str, set[int]] = {}
    for (data, _), count in comparison.tuned.items():
        if count:
            by_data.setdefault(data, set()).add(count)
    by_count: dict[str, list[str]] = {}
    for data, counts in by_data.items():
        by_count.setdefault(" to ".join(map(str, sorted({min(counts), max(counts)}))), []).append(data)
    sizes = "; ".join(f"{counts} trials" + (f" ({', '.join(datas)})" if len(by_count) > 1 else "") for counts, datas in by_count.items())
    yield f"Tuned: the options of each method on each dataset, by a search of {sizes}, on validation and with other seeds."
    if without := places(comparison.tuned, 0):
        yield f"Not tuned: {without}."
    tuned = comparison.rows[comparison.rows["data"].astype(str).isin(by_data)]
    shared = [str(protocol) for protocol in dict.fromkeys(tuned["protocol"]) if protocol not in ("public", "scaffold")]
    if shared:
        yield (
            f"Under the protocol {' and '.join(shared)}, samples that a search trains and validates on may be test samples of other seeds "
            "or folds; this is so for every method."
        )


def places(counts: Mapping[tuple[str, str], int], wanted: int) -> str:
    """The methods with this count, by method or by data, whichever is shorter: ``dml; gml on Cora``, ``each method on Cora; gml``."""
    having = [place for place, count in counts.items() if count == wanted]
    if len(having) == len(counts):
        return "each method"
    other = {data for (data, _), count in counts.items() if count != wanted}
    by_data = dict.fromkeys((data, method if data in other else "each method") for data, method in having)
    num_datas = Counter(method for _, method in counts)
    return min((_by_method(places, num_datas) for places in (having, by_data)), key=len)


def _by_method(places: Iterable[tuple[str, str]], num_datas: Mapping[str, int]) -> str:
    """Methods with their data, which are omitted if they are all data of the method."""
    datas: dict[str, list[str]] = {}
    for data, method in places:
        datas.setdefault(method, []).append(data)
    names = (method if len(of) == num_datas.get(method) else f"{method} on {', '.join(of)}" for method, of in datas.items())
    return "; ".join(names)


def _tests(comparison: Comparison) -> Iterator[str]:
    rows = comparison.rows
    without = [str(data) for data, table in rows.groupby("data", sort=False) if comparison.baseline not in set(table["method"])]
    if without:
        yield f"No {comparison.baseline} on {', '.join(without)}, so nothing is tested there."
    if comparison.unpaired:
        yield f"Not tested, since the trials are not paired: {', '.join(comparison.unpaired)}."
    tested = rows[rows["p"].notna()]
    if tested.empty:
        differ = rows["difference"].notna().any()
        why = "too few trials, or the same difference in each" if differ else "no trials in which it and another method have this value"
        yield f"Baseline: {comparison.baseline}; no test: {why}."
        return
    tests = {str(name): list(dict.fromkeys(table["data"])) for name, table in tested.groupby("test", sort=False)}
    named = "; ".join(f"{name} ({', '.join(map(str, datas))})" if len(tests) > 1 else name for name, datas in tests.items())
    up, down = ("more", "less") if comparison.value in NEUTRAL else ("better", "worse")
    yield (
        f"{BETTER} / {WORSE}: significantly {up} / {down} than {comparison.baseline} (p < {ALPHA}: {named}, two-sided, "
        f"paired by seed and fold; Holm's adjustment over {counted(comparison.num_comparisons, 'comparison')})."
    )
    place = int(np.argmax(tested["smallest_p"]))
    least = float(tested["smallest_p"].iloc[place])
    p = tested["p"].to_numpy(dtype=float).copy()
    p[place] = least
    bound = float(holm(p)[place])  # adjusted together with the other p of the table
    if bound >= ALPHA:
        yield (
            f"The smallest that so few seeds can give is {p_text(least)}, after the adjustment {p_text(bound)}: no mark may only mean too "
            "few seeds."
        )


def _ranks(comparison: Comparison) -> Iterator[str]:
    """One sentence for all members with the same numbers of datasets and methods, on which the tests depend."""
    alike: dict[tuple[int, int], dict[str, Ranking]] = {}
    for member, ranking in comparison.rankings.items():
        alike.setdefault((ranking.num_datasets, len(ranking.ranks)), {})[member] = ranking
    for (num_datasets, num_methods), rankings in alike.items():
        whose = f" ({', '.join(map(member_name, rankings))})" if len(alike) > 1 else ""
        yield f"Rank{whose}: average over {num_datasets} datasets, 1 is best."
        first = next(iter(rankings.values()))
        if not math.isnan(first.p):
            tests = ", ".join(f"{p_text(ranking.p)} ({member_name(member)})" for member, ranking in rankings.items())
            yield f"Friedman test: {tests}; Nemenyi critical difference {first.critical_difference:.2f} at {ALPHA}."
        elif num_methods >= 3:
            yield (
                f"{num_datasets} datasets are too few to test the ranks of {num_methods} methods: Friedman's and Nemenyi's tests "
                f"can reject nothing at {ALPHA} with fewer than {datasets_to_reject(num_methods)}."
            )


def _cell(row: Mapping[Hashable, Any], factor: int, decimals: int) -> Cell:
    if math.isnan(row["mean"]):
        return Cell("-")
    significant = row["p_holm"] < ALPHA
    better = (row["difference"] < 0) if row["value"] in LOWER_IS_BETTER else (row["difference"] > 0)
    return Cell(
        f"{factor * row['mean']:.{decimals}f}",
        "" if math.isnan(row["std"]) else f"{factor * row['std']:.{decimals}f}",
        bool(row["is_best"]),
        "" if not significant else BETTER if better else WORSE,
    )


def _rank_cell(comparison: Comparison, member: str, method: str) -> Cell:
    ranking = comparison.rankings.get(member)
    if ranking is None or method not in ranking.ranks:
        return Cell("-")
    return Cell(f"{ranking.ranks[method]:.2f}", bold=ranking.ranks[method] == min(ranking.ranks.values()))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def p_text(value: float) -> str:
    """``p = 0.012``."""
    return f"p = {value:.2g}" if value >= 1e-4 else "p < 0.0001"


def flat_rows(table: TextTable) -> Sequence[Sequence[Cell]]:
    """All rows, without their groups."""
    return [row for group in table.groups for row in group]
