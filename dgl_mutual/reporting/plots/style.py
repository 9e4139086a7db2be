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
#: One that grows evenly in lightness, in print too (Nunez et al., PLoS ONE 2018).
COLOUR_MAP = "cividis"
#: A diverging colour map with a light middle, suited to colour blindness.
DIVERGING_MAP = "PuOr"
#: Widths of a column and of a page in inches.
COLUMN, PAGE = 3.5, 7.0
#: Inches that a panel with curves has in height at least: the longest label of an axis fits beside it.
PANEL = 1.75
#: Inches that a line of text takes in the size of tick labels.
LINE = 0.125
#: Inches in which every legend, note and title has room, so that the layout never collapses where heights are measured.
_TALL = 20.0
#: Font size of notes.
_NOTE = 6.5
#: Inches that the handle and the space around an entry of a legend need, and each letter of it, at most.
_LEGEND_HANDLE, _LEGEND_LETTER = 0.55, 0.06
#: Inches that names may take, however long they are.
MOST_TEXT = 7.0
_SETTINGS: dict[Any, Any] = {
    **{"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.5},
    **{"axes.axisbelow": True, "lines.linewidth": 1.3, "lines.markersize": 4, "legend.frameon": False, "figure.dpi": 150},
    # A dollar in a name is a dollar.
    **{"text.parse_math": False},
    # Fonts of a kind that publishers accept.
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
    """The style, for the length of a block. A figure is the same whatever settings of matplotlib the user has.

    Raises:
        UsageError: see `import_matplotlib`.
    """
    matplotlib = import_matplotlib()
    # To name the backend, even as it is, may load it.
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}
    with matplotlib.rc_context(defaults | _SETTINGS):
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def line_style(place: int) -> dict[str, Any]:
    """Colour, dashes and marker of the series at this place. Where colours begin again, dashes and markers are other ones."""
    turn, place = divmod(place, len(COLOURS))
    return {
        "color": COLOURS[place],
        "linestyle": _DASHES[(place + turn) % len(_DASHES)],
        "marker": _MARKERS[(place + turn) % len(_MARKERS)],
    }


def marker(place: int) -> str:
    """Marker of the kind at this place."""
    return _MARKERS[place % len(_MARKERS)]


def cohort_order(name: str) -> float:
    """Sorts ``gcn-0``, ``val/gat-1``, ... as they stand in the cohort; all else comes last."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdigit() else math.inf


def title(axes: Axes, text: str) -> None:
    """Set the title of a figure of one column, on as many lines as it needs."""
    axes.set_title(textwrap.fill(text, 52))


def whole_numbers(axes: Axes, label: str = "epoch") -> None:
    """Label the horizontal axis, and mark integers alone on it."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def text_width(texts: Iterable[str]) -> float:
    """Inches that the longest of these needs, in the size of labels and as an upper bound."""
    return min(0.07 * max(map(len, texts), default=0), MOST_TEXT)


def legend_below(drawn: Figure, panels: Iterable[Axes], columns: int = 4, more: Sequence[Artist] = ()) -> None:
    """One legend below all panels, no wider than the figure. Its rows take height: see `finished`.

    Args:
        panels: what they show has an entry a label. Lines with the same label must have the same style in all panels.
        columns: of the legend, at most.
        more: what has an entry besides, in this order.
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
    """Inches that a legend needs at most; matplotlib makes the first columns longer by one entry where they cannot be even."""
    length, longer = divmod(len(labels), columns)
    width, first = 0.0, 0
    for column in range(columns):
        last = first + length + (column < longer)
        width += _LEGEND_HANDLE + _LEGEND_LETTER * max(len(line) for label in labels[first:last] for line in label.splitlines())
        first = last
    return width


def plain_powers(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers: text is not parsed as mathematics here.

    Within two decades, also those at 2 and 5 have numbers.
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
    """The same figure with a note and a legend below all panels, long enough for the panels beside these, titles and labels.

    Call it when all else is there. Where panels have equal aspect, only the layout after one of this height gives titles room of their own:
    hence three rounds.

    Args:
        panels: all of them, of equal height.
        columns, more: see `legend_below`.
        least: inches that each panel has in height.
        rows: of panels.
    """
    panels, wrapped = list(panels), textwrap.fill(note, int(drawn.get_figwidth() * 17))
    if more or any(axes.get_legend_handles_labels()[1] for axes in panels):
        legend_below(drawn, panels, columns, more)
        drawn.legends[0].set_title(wrapped)
        drawn.legends[0].get_title().set(multialignment="center", fontsize=_NOTE)
    else:
        drawn.supxlabel(wrapped, fontsize=_NOTE)
    asked, layout = drawn.get_figheight(), drawn.get_layout_engine()
    assert layout is not None  # that of `figure`
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of missing glyphs: what is wrong is said once, where the figure is written
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
    """Text without byte order marks, which nobody sees, and which matplotlib cannot write as PDF. `save` takes care of all but ticks."""
    return text.replace("\ufeff", "")


def save(drawn: Figure, folder: Path, name: str, kinds: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Write a figure in each format; the same figure gives the same bytes.

    Raises:
        UsageError: one of the files is there already, and is not a figure of this program.
        StoreError: the disk does not take it.
    """
    from matplotlib.text import Text

    for text in drawn.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(without_mark(text.get_text()))
    files = [folder / f"{name}.{kind}" for kind in kinds]
    for file in files:
        refuse_foreign(file)
    for file, kind in zip(files, kinds, strict=True):
        content = BytesIO()  # on a full disk matplotlib raises an error of its own where it closes the file
        drawn.savefig(content, format=kind, dpi=300, metadata=_METADATA[kind])
        with replacing(file) as temporary:
            temporary.write_bytes(content.getvalue())
    return files
