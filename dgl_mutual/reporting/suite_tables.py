"""The tables in the folder of a suite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from dgl_mutual.reporting.baseline import compare_with_baseline
from dgl_mutual.reporting.formats import to_csv, to_latex, to_markdown, to_text
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import gather, preferred_baseline, suite_runs
from dgl_mutual.reporting.tables import TextTable, text_table
from dgl_mutual.store.files import ALL_FILE
from dgl_mutual.utils.files import write_text
from dgl_mutual.utils.safe_text import csv_text

_NAMES = ["data", "method", "run"]


def suite_tables(folder: Path, runs: Iterable[Run]) -> dict[Path, str]:
    """Return the files of a suite's tables, from its runs with finished trials: table.csv, table.md, table.tex and all.csv.

    all.csv has all rows of trials.csv of all runs, with the names of their data and method in tables.

    Raises:
        UsageError, StoreError: the runs cannot be combined in one table, or there are none.
    """
    finished = [run for run in runs if len(run.trials)]
    trials = gather(finished)
    return {folder / ALL_FILE: _all_rows(finished), **_tables(folder, trials)[1]}


def _all_rows(runs: Sequence[Run]) -> str:
    """The text of all.csv."""
    rows = pd.concat([run.trials.assign(data=run.data, method=run.method, run=run.folder.name) for run in runs])
    return csv_text(rows[[*_NAMES, *(name for name in rows if name not in _NAMES)]])


def _tables(folder: Path, trials: pd.DataFrame) -> tuple[TextTable, dict[Path, str]]:
    """The table of a suite, and its files."""
    comparison = compare_with_baseline(trials, of_suite=preferred_baseline([folder]))
    table = text_table(comparison, percent=True)
    return table, {
        folder / "table.csv": to_csv(comparison),
        folder / "table.md": to_markdown(table),
        folder / "table.tex": to_latex(table, f"tab:{folder.name}"),
    }


def write_suite_tables(folder: Path) -> tuple[str, list[Path]]:
    """Write the tables of a suite; see `suite_tables`. all.csv is written even if the runs cannot be combined in one table.

    Returns:
        The table as text for a screen, and the files.

    Raises:
        UsageError, StoreError: see `suite_tables`.
    """
    runs = [run for run in suite_runs(folder) if len(run.trials)]
    trials = gather(runs)
    write_text(folder / ALL_FILE, _all_rows(runs))
    table, texts = _tables(folder, trials)
    for file, text in texts.items():
        write_text(file, text)
    return to_text(table), [folder / ALL_FILE, *texts]
