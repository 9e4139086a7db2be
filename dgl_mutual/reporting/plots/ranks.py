"""The critical-difference diagram (Demsar, JMLR 7, 2006, figure 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dgl_mutual.reporting.comparison import compare
from dgl_mutual.reporting.plots.style import COLUMN, figure, file_name, text_width
from dgl_mutual.reporting.run import Run
from dgl_mutual.reporting.runs import gather
from dgl_mutual.reporting.tables import member_name, p_text
from dgl_mutual.statistics import Ranking

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Length of the scale of ranks in inches.
_SCALE = 2.0
#: Inches between the lines of methods with the same rank.
_ASIDE = 0.03


def critical_differences(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """A figure per member: average ranks of the methods over datasets; bars join methods that do not differ by Nemenyi's test.

    No figure if there are too few datasets for any rejection (see `dgl_mutual.statistics.datasets_to_reject`).

    Raises:
        UsageError: the runs cannot be combined in one table.
    """
    for member, ranking in compare(gather(runs)).rankings.items() if runs else ():
        if not math.isnan(ranking.critical_difference):
            yield file_name("ranks", member), _draw(ranking, member_name(member))


def _draw(ranking: Ranking, member: str) -> Figure:
    order = sorted(ranking.ranks, key=ranking.ranks.__getitem__)
    last, half, groups = len(order), math.ceil(len(order) / 2), ranking.groups
    left, right = (0.45 + text_width(names) for names in (order[:half], order[half:]))
    inch = (last - 1) / _SCALE
    first_label = 0.55 + 0.3 * len(groups)
    bottom = first_label + 0.42 * half
    drawn = figure(max(COLUMN, _SCALE + left + right), 0.9 + 0.42 * bottom)
    axes = drawn.subplots()
    axes.axis("off")
    axes.set_xlim(1 - left * inch, last + right * inch)
    axes.set_ylim(bottom, -1.15)
    black: dict[str, Any] = {"color": "black", "solid_capstyle": "butt"}
    axes.plot([1, last], [0, 0], linewidth=1, **black)
    for rank in range(1, last + 1):
        axes.plot([rank, rank], [0, -0.14], linewidth=1, **black)
        axes.text(rank, -0.2, str(rank), ha="center", va="bottom")
    axes.plot([1, 1 + ranking.critical_difference], [-0.75, -0.75], linewidth=2, **black)
    axes.text(1, -0.82, f"critical difference {ranking.critical_difference:.2f} (Nemenyi, 0.05)", ha="left", va="bottom", fontsize=7)
    for index, group in enumerate(groups):
        level, reach = 0.3 + 0.3 * index, 0.02 * inch
        axes.plot([ranking.ranks[group[0]] - reach, ranking.ranks[group[-1]] + reach], [level, level], linewidth=3, **black)
    for index, method in enumerate(order):
        # Methods with the same rank have lines next to each other.
        tied = [name for name in order if ranking.ranks[name] == ranking.ranks[method]]
        aside = _ASIDE * inch * (tied.index(method) - (len(tied) - 1) / 2)
        average, is_left = ranking.ranks[method], index < half
        height = first_label + 0.42 * (index if is_left else last - 1 - index)
        edge = 1 - 0.08 * inch if is_left else last + 0.08 * inch
        axes.plot([average + aside, average + aside, edge], [0, height, height], linewidth=0.8, **black)
        text = f"{method}  {average:.2f} " if is_left else f" {average:.2f}  {method}"
        axes.text(edge, height, text, ha="right" if is_left else "left", va="center")
    axes.set_title(f"{member}: average rank over {ranking.num_datasets} datasets\n(Friedman {p_text(ranking.p)})")
    return drawn
