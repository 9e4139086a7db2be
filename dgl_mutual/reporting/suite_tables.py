"""The tables that a suite leaves in its folder."""

from __future__ import annotations

from pathlib import Path

from dgl_mutual.files import write_text
from dgl_mutual.reporting.comparison import compare, default_baseline
from dgl_mutual.reporting.formats import to_csv, to_latex, to_markdown
from dgl_mutual.reporting.runs import gather, preferred_baseline, suite_runs
from dgl_mutual.reporting.tables import text_table


def suite_tables(folder: Path) -> dict[Path, str]:
    """table.csv, table.md and table.tex of a suite's runs that have finished trials, as they belong into its folder.

    Raises:
        UsageError, StoreError: the runs cannot stand in one table, or there are none.
    """
    trials = gather([run for run in suite_runs(folder) if len(run.trials)])
    comparison = compare(trials, baseline=preferred_baseline([folder]) or default_baseline(trials))
    table = text_table(comparison, percent=True)
    return {
        folder / "table.csv": to_csv(comparison),
        folder / "table.md": to_markdown(table),
        folder / "table.tex": to_latex(table, f"tab:{folder.name}"),
    }


def write_suite_tables(folder: Path) -> tuple[str, list[Path]]:
    """Write the tables of a suite; see `suite_tables`.

    Returns:
        The table as Markdown, and the files.
    """
    texts = suite_tables(folder)
    for file, text in texts.items():
        write_text(file, text)
    return texts[folder / "table.md"], list(texts)
