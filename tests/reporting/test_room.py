"""Figures have room for their panels and for all of their text, however many methods there are and however long their names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import pytest

from dgl_mutual.reporting.plots import draw
from dgl_mutual.reporting.plots.style import drawing
from dgl_mutual.reporting.runs import load_runs
from tests.reporting.folders import write_run, write_suite

pytest.importorskip("matplotlib")

_LONG = "mutual learning with class prior and weights by agreement, variant {}"
#: Inches of a panel in height, at least.
_LEAST = {"gains": 0.59, "weights": 0.79, "exchange": 1.7, "curves": 1.7, "time": 1.7, "noise": 1.7, "cohort-size": 1.2}


def texts(figure: Any) -> Iterator[Any]:
    """Every text that can be seen: of ticks those within the axes."""
    from matplotlib.text import Text

    ticks, seen = set(), set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        ticks |= {label for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()) for label in (tick.label1, tick.label2)}
        seen |= {label for tick in axis._update_ticks() for label in (tick.label1, tick.label2)}
    yield from (
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and (text in seen or text not in ticks)
    )


def faults(figure: Any) -> list[tuple[str, ...]]:
    """Texts outside the figure, and pairs of which one lies on the other, as the figure was last drawn."""
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
