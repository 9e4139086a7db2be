"""Tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

import pandas as pd

from dgl_mutual.reporting.comparison import Comparison
from dgl_mutual.reporting.tables import BETTER, BOLD, WORSE, Cell, TextTable, flat_rows, scale
from dgl_mutual.utils.safe_text import csv_text, latex_label, latex_text, lost_in_latex, markdown_text
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import aligned, pipe_table

_LONG = [
    *("data", "dataset", "protocol", "metric", "member", "method", "value", "mean", "std", "n", "counts"),
    *("baseline", "difference", "low", "high", "effect", "wins", "losses", "test", "p", "p_holm", "smallest_p"),
]


def to_csv(comparison: Comparison, *, wide: bool = False, precision: int | None = None, percent: bool = False) -> str:
    """Format a comparison as CSV: a row per data, member and method with all tests, or (wide) a row per member and method with three
    columns per dataset.

    Numbers are fractions with all digits unless `percent` or `precision` are given. Text never starts like a formula.

    Raises:
        UsageError: percent of a cost.
    """
    rows = comparison.rows.assign(baseline=comparison.baseline or "")
    scaled = ["mean", "std", "difference", "low", "high"]
    rows[scaled] = rows[scaled] * scale(comparison, percent)
    if precision is not None:
        # Round like the text tables: pandas rounds 51.15 up, although the nearest double is smaller.
        rows[scaled] = rows[scaled].astype(float).map(lambda figure: round(float(figure), precision))
    table = _wide(rows) if wide else rows[_LONG].astype({"wins": "Int64", "losses": "Int64"})
    return csv_text(table)


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    keys = ["member", "method"]
    wide = rows[keys].drop_duplicates().sort_values("member", kind="stable").reset_index(drop=True).astype(str)
    for data, table in rows.groupby("data", sort=False):
        figures = table[[*keys, "mean", "std", "n"]].astype({"member": str, "n": "Int64"})
        wide = wide.merge(figures.rename(columns={name: f"{data} {name}" for name in ("mean", "std", "n")}), on=keys, how="left")
    return wide


def to_markdown(table: TextTable) -> str:
    """Format a table as a Markdown pipe table with its caption below."""
    rows = [[_markdown_cell(cell) for cell in row] for row in flat_rows(table)]
    lines = pipe_table([markdown_text(name) for name in table.header], rows, table.num_labels)
    return f"{lines}\n\n{' '.join(map(markdown_text, table.caption))}\n"


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    return f"{f'**{text}**' if cell.bold else text}{f' ± {cell.spread}' if cell.spread else ''}{cell.mark}"


def to_text(table: TextTable) -> str:
    """Format a table for a screen, with its caption below. A star marks bold cells."""
    rows = aligned([table.header, *([cell_text(cell, star="*") for cell in row] for row in flat_rows(table))], table.num_labels)
    lines, first = [rows[0], "-" * max(map(len, rows))], 1
    for number, group in enumerate(table.groups):
        lines += [*([""] if number else []), *rows[first : first + len(group)]]
        first += len(group)
    caption = [f"*{text.removeprefix(BOLD)}" if text.startswith(f"{BOLD}:") else text for text in table.caption]
    return "\n".join([*lines, "", " ".join(caption)]) + "\n"


def cell_text(cell: Cell, *, star: str = "") -> str:
    """A cell without markup; `star` follows a bold number."""
    return f"{cell.text}{f' ± {cell.spread}' if cell.spread else ''}{star if cell.bold else ''}{cell.mark}"


def to_latex(table: TextTable, label: str = "tab:results") -> str:
    """Format a table as a LaTeX `table` with its caption above; needs booktabs only. A warning names unsupported characters."""
    texts = (*table.caption, *table.header, *(cell.text for group in table.groups for row in group for cell in row))
    lost = lost_in_latex("".join(texts))
    if lost:
        warn(
            f"pdflatex cannot print {', '.join(map(repr, lost))}: question marks stand for them in the LaTeX table. Rename the "
            "datasets or methods, or write the table as Markdown or CSV."
        )
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{' '.join(latex_text(sentence) for sentence in table.caption)}}}",
        rf"\label{{{latex_label(label)}}}",
        rf"\begin{{tabular}}{{{'l' * table.num_labels}{'c' * (len(table.header) - table.num_labels)}}}",
        r"\toprule",
        _latex_row([latex_text(name) for name in table.header]),
        r"\midrule",
    ]
    for index, group in enumerate(table.groups):
        lines += [r"\midrule"] if index else []
        lines += [_latex_row([_latex_cell(cell) for cell in row]) for row in group]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _latex_row(cells: list[str]) -> str:
    row = " & ".join(cells)
    # LaTeX would attach a leading bracket (a length) or star to the end of the previous line.
    return ("{}" if row.lstrip().startswith(("[", "*")) else "") + row + r" \\"


def _latex_cell(cell: Cell) -> str:
    if not cell.spread and not cell.mark:
        return rf"\textbf{{{latex_text(cell.text)}}}" if cell.bold else latex_text(cell.text)
    mean = rf"\mathbf{{{cell.text}}}" if cell.bold else cell.text
    spread = rf" \pm {cell.spread}" if cell.spread else ""
    mark = {"": "", BETTER: r"^{\dagger}", WORSE: r"^{\ddagger}"}[cell.mark]
    return f"${mean}{spread}{mark}$"
