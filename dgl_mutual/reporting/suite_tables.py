"""The tables that a suite leaves in its folder."""

from __future__ import annotations

from pathlib import Path

from dgl_mutual.experiments.files import write_text
from dgl_mutual.reporting.comparison import compare, default_baseline
from dgl_mutual.reporting.formats import to_csv, to_latex, to_markdown
from dgl_mutual.reporting.runs import gather, preferred_baseline, suite_runs
from dgl_mutual.reporting.tables import text_table


def write_suite_tables(folder: Path) -> tuple[str, list[Path]]:
    """Write table.csv, table.md and table.tex of the runs that have finished trials.

    Returns:
        The table as Markdown, and the files.

    Raises:
        UsageError, StoreError: the runs cannot stand in one table.
    """
    trials = gather([run for run in suite_runs(folder) if len(run.trials)])
    comparison = compare(trials, baseline=preferred_baseline([folder]) or default_baseline(trials))
    table = text_table(comparison, percent=True)
    texts = {"table.csv": to_csv(comparison), "table.md": to_markdown(table), "table.tex": to_latex(table, f"tab:{folder.name}")}
    for name, text in texts.items():
        write_text(folder / name, text)
    return texts["table.md"], [folder / name for name in texts]
