"""Tables of run folders as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting.baseline import compare_with_baseline, warn_of_gaps
from dgl_mutual.reporting.by_target import apart_by_protocol, drawn_by_labels, gather_by_target
from dgl_mutual.reporting.formats import to_csv, to_latex, to_markdown
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import chosen_runs, gather
from dgl_mutual.reporting.tables import places, text_table
from dgl_mutual.store.outputs import refuse_other_endings
from dgl_mutual.utils.user_warnings import warn

Format: TypeAlias = Literal["csv", "latex", "markdown"]
#: Suffix of a file -> format of its table.
FORMATS: Mapping[str, Format] = {".csv": "csv", ".tex": "latex", ".md": "markdown"}


def format_of(file: Path | None, asked: Format | None) -> Format:
    """Return the format of a table that is written to a file: the requested one, else that of the file's suffix, else CSV.

    Raises:
        UsageError: the suffix is that of another format than requested, or of no table format.
    """
    ending = "" if file is None else file.suffix.lower()
    named = FORMATS.get(ending)
    if asked is not None:
        if named not in (None, asked):
            raise UsageError(f"{str(file)!r} has the suffix of {named}, but --format is {asked}. Change one of the two.")
        return asked
    refuse_other_endings(file, (*FORMATS, ".txt"))
    return named or "csv"


def export(
    runs: Sequence[Run],
    kind: Format,
    *,
    preferred: str | None = None,
    wide: bool = False,
    baseline: str | None = None,
    value: str = "test",
    metric: str | None = None,
    members: str | Sequence[str] | None = None,
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    precision: int | None = None,
    percent: bool = False,
    by_target: bool = False,
) -> str:
    """Return the table of some runs as text.

    Args:
        preferred: the baseline of the suite of these runs, see `dgl_mutual.reporting.runs.preferred_baseline`.
        wide: see `to_csv`; other formats are always wide.
        baseline: a method, or ``none`` (default: `preferred`, unless `datasets` or `methods` leave it out, else independent if it is one
            of several methods; if it has no runs here, or its trials do not pair with those of others, nothing is tested, with a warning).
        value, metric, members: see `compare`.
        datasets, methods: see `chosen_runs`; tests are adjusted over the shown comparisons.
        precision, percent: see `to_csv` and `text_table`.
        by_target: see `gather_by_target`; the default baseline is then independent on one target.

    Raises:
        UsageError, StoreError: see `chosen_runs`, `gather`, `gather_by_target`, `compare` and `text_table`.
    """
    if wide and kind != "csv":
        raise UsageError(f"Only CSV has two forms, and {kind} is always wide. Leave out wide (on the command line: --wide).")
    chosen = chosen_runs(runs, datasets, methods)
    trials = gather_by_target(chosen) if by_target else gather(chosen, metric)
    if by_target or preferred in {run.method for run in runs} - {run.method for run in chosen}:  # left out on purpose
        preferred = None
    comparison = compare_with_baseline(trials, baseline, preferred, value=value, metric=metric, members=members)
    if by_target and comparison.baseline is not None and (drawn := drawn_by_labels(trials)):
        warn(
            f"On {', '.join(drawn)} splits are stratified by the learned targets. So a seed or fold can have other test samples for one "
            "target than for several, and the significance tests between these are not strictly paired."
        )
    if by_target and (apart := apart_by_protocol(trials)):
        warn(
            f"On {', '.join(apart)} nothing is compared: runs of different numbers of targets have no protocol in common, since the "
            "defaults can differ. Give all runs one --protocol, for example holdout."
        )
    warn_of_gaps(comparison)
    if kind == "csv":
        if without := places(comparison.measured, 0):  # captions of other tables say so
            warn(f"Without a value of {value!r}: {without}.")
        return to_csv(comparison, wide=wide, precision=precision, percent=percent)
    table = text_table(comparison, precision=precision, percent=percent)
    return to_latex(table) if kind == "latex" else to_markdown(table)
