"""Figures as they are laid out: with room for their panels and for all of their text, however many methods there are and however long their
names, and the same every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import pytest

from dgl_mutual.reporting.plots import draw
from dgl_mutual.reporting.plots.style import COLUMN, drawing, finished, legend_below, save
from dgl_mutual.reporting.plots.style import figure as new_figure
from dgl_mutual.reporting.runs import load_runs
from tests.reporting.folders import write_run, write_suite
from tests.reporting.test_plots import drawn, write_reliability

matplotlib = pytest.importorskip("matplotlib")

_LONG = "mutual learning with class prior and weights by agreement, variant {}"
#: Minimum height of a panel in inches.
_LEAST = {"gains": 0.59, "weights": 0.79, "exchange": 1.7, "curves": 1.7, "time": 1.7, "noise": 1.7, "cohort-size": 1.2}


def texts(figure: Any) -> Iterator[Any]:
    """Every visible text; for ticks, those within the axes."""
    from matplotlib.text import Text

    ticks, seen = set(), set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        ticks |= {label for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()) for label in (tick.label1, tick.label2)}
        seen |= {label for tick in axis._update_ticks() for label in (tick.label1, tick.label2)}
    yield from (
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and (text in seen or text not in ticks)
    )


def faults(figure: Any) -> list[tuple[str, ...]]:
    """Texts outside the figure, and pairs of overlapping texts, as the figure was last drawn."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    whole = figure.bbox.padded(1)
    outside = [(text,) for text, box in boxes if not (whole.contains(*box.min) and whole.contains(*box.max))]
    return outside + [(a, b) for (a, first), (b, second) in combinations(boxes, 2) if first.padded(-0.5).overlaps(second.padded(-0.5))]


@pytest.fixture(scope="module", params=[2, 10])
def methods(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Suites ``all``, ``sizes`` and ``noise`` of one dataset and so many methods with long names, and ``datasets`` of eight."""
    folder = tmp_path_factory.mktemp("methods")
    suites: dict[str, list[tuple[Path, str, str]]] = {name: [] for name in ("all", "sizes", "noise", "datasets")}
    for index in range(request.param):
        method = _LONG.format(index) if index else "independent"
        same: dict[str, Any] = {"strategy": "gml" if index else "independent", "seeds": 2, "level": 0.7 + 0.01 * index}
        training = {"training": {"epochs": 6, "learning_rate": 0.01 * (index + 1)}}
        for suite, more in (
            ("all", {"weights": index > 0, "inference": True}),
            *(("sizes", {"students": ["gcn"] * size}) for size in (2, 4)),
            *(("noise", {"config": {**training, **noise}}) for noise in ({}, {"noise": "edge:0.2"})),
        ):
            run = write_run(folder / suite, **{**same, "config": training, **more})
            suites[suite].append((run, method, "Cora, largest component, row-normalised features"))
        for number in range(8 if request.param == 2 else 0):
            suites["datasets"].append(
                (write_run(folder / "datasets", f"D{number}", **same), method, f"Cora, split {number} of a long name")
            )
    for suite, runs in suites.items():
        if runs:
            write_suite(folder / suite, suite, runs)
    return folder


@pytest.mark.parametrize(
    ("suite", "kind"),
    [
        *(("all", kind) for kind in ("gains", "weights", "exchange", "curves", "time")),
        *(("sizes", "cohort-size"), ("noise", "noise"), ("datasets", "gains")),
    ],
)
def test_panels_and_texts_have_room(methods: Path, suite: str, kind: str) -> None:
    if not (methods / suite).exists():
        pytest.skip("eight datasets with two methods say enough")
    with drawing():
        figures = [figure for _, figure in islice(draw(load_runs([methods / suite / f"suite-{suite}"]), [kind]), 2)]
    assert figures
    for figure in figures:
        figure.draw_without_rendering()
        heights = [axes.get_window_extent().height / figure.dpi for axes in figure.axes]
        assert min(heights) >= _LEAST[kind]
        assert not faults(figure)


def overlapping(figure: Any) -> list[tuple[str, str]]:
    """Overlapping pairs of titles, panel titles, axis labels and notes, as the figure was last drawn."""
    note = figure.legends[0].get_title() if figure.legends else figure._supxlabel
    texts = [figure._suptitle, note, *(text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label))]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    return [(a, b) for (a, first), (b, second) in combinations(boxes, 2) if first.overlaps(second)]


@pytest.mark.parametrize("number", [2, 3, 4, 6])
def test_no_text_lies_on_another_where_panels_have_equal_aspect(tmp_path: Path, number: int) -> None:
    rows = [(0, member, place, 30, 0.9, 0.95) for member in ("gcn-0", "ensemble") for place in range(7, 15)]
    for strategy in ("independent", "dml", "gml", "kd", "okddip", "oad")[:number]:
        write_reliability(write_run(tmp_path, strategy=strategy, diversity=True), rows)
    for shown in drawn(tmp_path, "reliability", "cka").values():
        shown.draw_without_rendering()  # once, as where it is written to a single file
        assert not overlapping(shown)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_figure_has_at_least_the_requested_height_and_room_for_its_panels(rows: int) -> None:
    with drawing():
        short, long = (new_figure(COLUMN, height) for height in (1, 9))
        for shown in (short, long):
            panels = shown.subplots(rows, squeeze=False).ravel()
            finished(shown, panels, "A note of several words. " * 9, least=1.3, rows=rows).draw_without_rendering()
    assert [axes.get_window_extent().height / short.dpi for axes in short.axes] == pytest.approx([1.3] * rows, abs=0.02)
    assert long.get_figheight() == 9


def test_a_legend_is_no_wider_than_its_figure() -> None:
    with drawing():
        shown = new_figure(COLUMN, 2)
        axes = shown.subplots()
        for label in ("students", "ensemble", "share of all decisions of students", "mlp"):
            axes.plot([0, 1], label=label)
        legend_below(shown, [axes])
        shown.canvas.draw()
        assert shown.legends[0].get_window_extent().width <= shown.bbox.width
        few = new_figure(COLUMN, 2)
        other = few.subplots()
        for label in "abcd":
            other.plot([0, 1], label=label)
        legend_below(few, [other])
    assert few.legends[0]._ncols == 4


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    write_run(tmp_path)
    with drawing():
        first, second = (
            [file.read_bytes() for file in save(drawn(tmp_path, "curves")["curves-Cora-gml"], tmp_path, "x")] for _ in range(2)
        )
    assert first == second


def test_a_figure_does_not_depend_on_the_users_settings(tmp_path: Path) -> None:
    runs = load_runs([write_run(tmp_path)])

    def images() -> list[bytes]:
        with drawing():
            return [save(figure, tmp_path, "x", ("svg",))[0].read_bytes() for _, figure in draw(runs, ["curves"])]

    before = images()
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "axes.facecolor": "red", "savefig.bbox": "tight"}):
        assert images() == before
        assert matplotlib.rcParams["font.size"] == 30
