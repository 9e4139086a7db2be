"""Style of plots: colours that remain distinct for colour-blind readers and in black and white, each with its own line and marker."""

from __future__ import annotations

import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgl_mutual.store.outputs import MADE_BY, refuse_foreign
from dgl_mutual.utils.files import replacing
from dgl_mutual.utils.plotting import import_matplotlib
from dgl_mutual.utils.safe_text import path_name

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

#: Okabe and Ito, 2008, without yellow, which is illegible in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: A colour map of uniformly increasing lightness, also in print (Nunez et al., PLoS ONE 2018).
COLOUR_MAP = "cividis"
#: A diverging colour map with a light middle, suited to colour blindness.
DIVERGING_MAP = "PuOr"
#: Widths of a column and of a page in inches.
COLUMN, PAGE = 3.5, 7.0
#: Minimum height in inches of a panel with curves, for the longest axis label.
PANEL = 1.75
#: Height in inches of a line of text in the size of tick labels.
LINE = 0.125
#: Height in inches with room for every legend, note and title, so that the layout does not collapse while heights are measured.
_TALL = 20.0
#: Font size of notes.
_NOTE = 6.5
#: Maximum width in inches of the handle and space of a legend entry, and of each letter.
_LEGEND_HANDLE, _LEGEND_LETTER = 0.55, 0.06
#: Maximum width in inches of names.
MOST_TEXT = 7.0
_SETTINGS: dict[Any, Any] = {
    **{"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.5},
    **{"axes.axisbelow": True, "lines.linewidth": 1.3, "lines.markersize": 4, "legend.frameon": False, "figure.dpi": 150},
    # No mathematics between dollar signs in names.
    **{"text.parse_math": False},
    # TrueType fonts, which publishers accept.
    **{"pdf.fonttype": 42, "svg.hashsalt": "dgl-mutual"},
}

#: Metadata of files: no creation date, so that files are reproducible.
_METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"CreationDate": None, "Creator": MADE_BY},
    "png": {"Software": MADE_BY},
    "svg": {"Date": None, "Creator": MADE_BY},
}


@contextmanager
def drawing() -> Iterator[None]:
    """Use the style of this package within the block, regardless of the user's matplotlib settings.

    Raises:
        UsageError: see `import_matplotlib`.
    """
    matplotlib = import_matplotlib()
    # Setting the backend, even to its current value, may load it.
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}
    with matplotlib.rc_context(defaults | _SETTINGS):
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def line_style(place: int) -> dict[str, Any]:
    """Colour, dashes and marker of the series at this index. When colours repeat, dashes and markers differ."""
    turn, place = divmod(place, len(COLOURS))
    return {
        "color": COLOURS[place],
        "linestyle": _DASHES[(place + turn) % len(_DASHES)],
        "marker": _MARKERS[(place + turn) % len(_MARKERS)],
    }


def marker(place: int) -> str:
    """Marker of the kind at this index."""
    return _MARKERS[place % len(_MARKERS)]


def cohort_order(name: str) -> float:
    """Sort key for ``gcn-0``, ``val/gat-1``, ... in the order of the cohort; other names come last."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdigit() else math.inf


def title(axes: Axes, text: str) -> None:
    """Set the title of a figure of one column, wrapped to several lines if needed."""
    axes.set_title(textwrap.fill(text, 52))


def whole_numbers(axes: Axes, label: str = "epoch") -> None:
    """Label the horizontal axis, with ticks at integers only."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def text_width(texts: Iterable[str]) -> float:
    """Upper bound of the width in inches of the longest text, in the size of labels."""
    return min(0.07 * max(map(len, texts), default=0), MOST_TEXT)


def legend_below(drawn: Figure, panels: Iterable[Axes], columns: int = 4, more: Sequence[Artist] = ()) -> None:
    """Add one legend below all panels, no wider than the figure. `finished` makes room for its height.

    Args:
        panels: panels whose labels have one entry each. Lines with the same label must have the same style in all panels.
        columns: maximum number of columns of the legend.
        more: further entries, in this order.
    """
    shown: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        shown = {**dict(zip(labels, handles, strict=True)), **shown}
    most = int((drawn.get_figwidth() - _LEGEND_HANDLE) / _LEGEND_LETTER)
    texts = [textwrap.fill(label, most) for label in (*shown, *(str(handle.get_label()) for handle in more))]
    columns = min(columns, max(1, len(texts)))
    while columns > 1 and _legend_width(texts, columns) > drawn.get_figwidth():
        columns -= 1
    drawn.legend([*shown.values(), *more], texts, loc="outside lower center", ncols=columns)


def _legend_width(labels: Sequence[str], columns: int) -> float:
    """Maximum width in inches of a legend; if columns cannot be equal, matplotlib makes the first ones longer by one entry."""
    length, longer = divmod(len(labels), columns)
    width, first = 0.0, 0
    for column in range(columns):
        last = first + length + (column < longer)
        width += _LEGEND_HANDLE + _LEGEND_LETTER * max(len(line) for label in labels[first:last] for line in label.splitlines())
        first = last
    return width


def plain_powers(axis: Axis) -> None:
    """Label ticks of a logarithmic axis with plain numbers, since text is not parsed as mathematics.

    Within two decades, ticks at 2 and 5 are also labelled.
    """
    from matplotlib.ticker import FuncFormatter

    def between(value: float, _: int) -> str:
        low, high = axis.get_view_interval()
        leading = round(value / 10 ** math.floor(math.log10(value))) if value > 0 else 0
        return f"{value:g}" if leading in (2, 5) and 0 < low < high < 100 * low else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(between))


def finished(
    drawn: Figure,
    panels: Iterable[Axes],
    note: str,
    *,
    columns: int = 4,
    more: Sequence[Artist] = (),
    least: float = PANEL,
    rows: int = 1,
) -> Figure:
    """Add a note and a legend below all panels, and adapt the height of the figure to them, the panels, titles and labels.

    Call it last. If panels have equal aspect, only the layout after one at this height makes room for titles: hence three rounds.

    Args:
        panels: all panels, of equal height.
        columns, more: see `legend_below`.
        least: minimum height of each panel in inches.
        rows: number of rows of panels.
    """
    panels, wrapped = list(panels), textwrap.fill(note, int(drawn.get_figwidth() * 17))
    if more or any(axes.get_legend_handles_labels()[1] for axes in panels):
        legend_below(drawn, panels, columns, more)
        drawn.legends[0].set_title(wrapped)
        drawn.legends[0].get_title().set(multialignment="center", fontsize=_NOTE)
    else:
        drawn.supxlabel(wrapped, fontsize=_NOTE)
    asked, layout = drawn.get_figheight(), drawn.get_layout_engine()
    assert layout is not None  # set by `figure`
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # missing glyphs, of which `save` warns once
        drawn.set_figheight(_TALL + asked + rows * least)
        layout.execute(drawn)
        for _ in range(3):
            panel = min(axes.get_position(original=True).height for axes in panels) * drawn.get_figheight()
            drawn.set_figheight(max(asked, drawn.get_figheight() + rows * (least - panel)))
            layout.execute(drawn)
    return drawn


def file_name(*parts: str) -> str:
    """``curves-Cora-gml`` from parts of any text."""
    return path_name("-".join(re.sub(r"(?:[^\w.]|_)+", "-", part).strip("-") for part in parts))


def without_mark(text: str) -> str:
    """Remove byte order marks, which are invisible, and which matplotlib cannot write as PDF. `save` does this for all text but ticks."""
    return text.replace("\ufeff", "")


def save(drawn: Figure, folder: Path, name: str, kinds: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Write a figure in each format; equal figures give equal bytes.

    Raises:
        UsageError: one of the files exists, and is not a figure of this program.
        StoreError: writing fails.
    """
    from matplotlib.text import Text

    for text in drawn.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(without_mark(text.get_text()))
    files = [folder / f"{name}.{kind}" for kind in kinds]
    for file in files:
        refuse_foreign(file)
    for file, kind in zip(files, kinds, strict=True):
        content = BytesIO()  # on a full disk, matplotlib would raise another error while closing the file
        drawn.savefig(content, format=kind, dpi=300, metadata=_METADATA[kind])
        with replacing(file) as temporary:
            temporary.write_bytes(content.getvalue())
    return files
