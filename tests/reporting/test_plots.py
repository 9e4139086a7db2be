from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.reporting.plot_names import PLOT_NAMES
from dgl_mutual.reporting.plots import PLOTS, draw
from dgl_mutual.reporting.plots.curves import over_trials
from dgl_mutual.reporting.plots.reliability import pooled_bins
from dgl_mutual.reporting.plots.similarity import cka_matrix
from dgl_mutual.reporting.plots.style import COLOURS, COLUMN, cohort_order, drawing, figure, file_name, line_style, save
from dgl_mutual.reporting.plots.tuning import tuning_history
from dgl_mutual.reporting.runs import load_runs
from dgl_mutual.store.tables import RELIABILITY_COLUMNS, TUNING_COLUMNS
from tests.reporting.folders import write_run, write_suite

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("without_layout")


def drawn(folder: Path, *kinds: str) -> dict[str, Any]:
    with drawing():
        return dict(draw(load_runs([folder]), kinds))


@pytest.fixture(scope="module")
def drawn_once(everything: Path) -> Callable[[str, str], dict[str, Any]]:
    """`drawn` of a folder of `everything` and one kind, cached: tests must not change the figures."""
    return cache(lambda where, kind: drawn(everything / where, kind))


def lines(figure: Any, panel: int = 0) -> dict[str, list[float]]:
    """Label -> heights of each line with a label, bars of deviation or not."""
    handles, labels = figure.axes[panel].get_legend_handles_labels()
    return {
        label: np.asarray(getattr(handle, "lines", [handle])[0].get_ydata()).tolist() for handle, label in zip(handles, labels, strict=True)
    }


@pytest.mark.parametrize(
    ("kind", "where", "names"),
    [
        ("gains", "", ["gains"]),
        ("ranks", "", ["ranks-mean"]),
        ("time", "", ["time-Cora", "time-CiteSeer"]),
        ("curves", "", [f"curves-{data}-{method}" for data in ("Cora", "CiteSeer") for method in ("dml", "gml", "independent")]),
        ("weights", "", ["weights-Cora-gml", "weights-CiteSeer-gml"]),
        ("cka", "", ["cka-Cora", "cka-CiteSeer"]),
        ("exchange", "", ["exchange-Cora", "exchange-CiteSeer"]),
        ("cohort-size", "k", ["cohort-size-Cora"]),
        ("noise", "noise", ["noise-Cora"]),
    ],
)
def test_each_plot_is_drawn_from_runs_that_have_its_figures(
    drawn_once: Callable[[str, str], dict[str, Any]], kind: str, where: str, names: Sequence[str]
) -> None:
    assert set(names) <= set(drawn_once(where, kind))


def test_a_plot_is_saved_as_pdf_with_truetype_fonts_and_as_png(everything: Path, tmp_path: Path) -> None:
    with drawing():
        pdf, png = save(next(draw(load_runs([everything]), ["weights"]))[1], tmp_path, "weights")
    assert b"/FontFile2" in pdf.read_bytes()  # TrueType; Type 3 has none
    assert b"/Type3" not in pdf.read_bytes()
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_full_disk_is_one_message(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    write_run(tmp_path / "out", seeds=2, epochs=3)
    usual, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    with drawing():
        ((name, drawn),) = draw(load_runs([tmp_path / "out"]), ["curves"])
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
            with pytest.raises(StoreError, match=r"too large\. Make room on the disk"):
                save(drawn, tmp_path / "plots", name, ["pdf"])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, usual)


def test_curves_are_means_over_trials_in_the_cohorts_order(tmp_path: Path) -> None:
    run = write_run(tmp_path, students=["gin", "gat"], seeds=3)
    shown = lines(drawn(tmp_path, "curves")["curves-Cora-gml"])
    history = pd.read_csv(run / "history.csv")
    assert list(shown) == ["gin-0", "gat-1"]
    assert shown["gat-1"] == pytest.approx(history.groupby("epoch")["val/gat-1"].mean().tolist())


def test_a_mean_over_trials_ends_where_fewer_than_half_of_them_go_on() -> None:
    history = pd.DataFrame({"epoch": [0, 1, 2, 0, 1, 0, 1, 0], "x": [0.0, 1, 2, 0, 3, 0, 5, 0]})
    means = over_trials(history, ["x"])["x"]
    assert means["mean"].tolist() == [0, 3]
    assert means["std"].tolist() == [0, 2]


def test_students_sort_by_number_and_sums_come_last() -> None:
    names = ["val/ensemble", "val/gcn-10", "val/gat-9", "val/sage-0"]
    assert sorted(names, key=cohort_order) == ["val/sage-0", "val/gat-9", "val/gcn-10", "val/ensemble"]


def test_times_are_measured_ones_with_quartiles_and_no_line_joins_members(tmp_path: Path) -> None:
    for strategy in ("independent", "gml"):
        write_run(tmp_path, strategy=strategy, students=["gcn", "gat"], inference=True)
    write_run(tmp_path, strategy="dml")  # not timed
    (axes,) = drawn(tmp_path, "time")["time-Cora"].axes
    bars = [container for container in axes.containers if container.has_xerr]
    assert len(bars) == 2 * 3
    assert all(len(line.get_xdata()) == 1 for line in axes.lines)
    middles = sorted(float(container.lines[0].get_xdata()[0]) for container in bars)
    assert middles == [1, 1, 2, 2, 3, 3]
    low, high = (float(x) for x in bars[0].lines[2][0].get_segments()[0][:, 0])
    assert (low, high) == (pytest.approx(0.9), pytest.approx(1.3))
    assert "trials" in drawn(tmp_path, "time")["time-Cora"].legends[0].get_title().get_text().replace("\n", " ")


def test_times_of_two_runs_whose_folders_have_one_name_stay_apart(tmp_path: Path) -> None:
    for place, faster in (("a", 1), ("b", 10)):
        file = write_run(tmp_path / place, level=0.9 - 0.01 * faster, inference=True) / "inference.csv"
        table = pd.read_csv(file)
        table.filter(like="_ms").div(faster).combine_first(table)[table.columns].to_csv(file, index=False)
    with drawing():
        (axes,) = dict(draw(load_runs([tmp_path / "a", tmp_path / "b"]), ["time"]))["time-Cora"].axes
    points = [container.lines[0].get_xydata().tolist() for container in axes.containers]
    assert [[x for x, _ in found] for found in points] == [[1, 0.1], [2, 0.2], [3, pytest.approx(0.3)]]
    assert all(first[1] > second[1] for first, second in points)


@pytest.mark.parametrize("fault", [{"median_ms": 2.0}, {"quartile_1_ms": -1.0}, {"member": "gcn-0"}])
def test_times_that_nobody_measured_are_refused(tmp_path: Path, fault: dict[str, Any]) -> None:
    run = write_run(tmp_path, inference=True)
    table = pd.read_csv(run / "inference.csv")
    table.assign(**fault).to_csv(run / "inference.csv", index=False)
    with pytest.raises(StoreError, match=r"inference.csv.*(Measure again|quartile_1_ms = -1 in row 1)"):
        drawn(tmp_path, "time")


def test_weights_fill_the_scale_around_uniform_ones(tmp_path: Path) -> None:
    write_run(tmp_path, students=["gcn", "gat", "gin"], weights=True)
    history = next(tmp_path.glob("*/history.csv"))
    table = pd.read_csv(history)
    own = [name for name in table if name.startswith("weights/") and len(set(name.split("/")[1:])) == 1]
    table.loc[table["epoch"] == 0, own] = np.nan  # before the exchange begins
    table.to_csv(history, index=False)
    figure = drawn(tmp_path, "weights")["weights-Cora-gml"]
    axes, bar = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()][:2] == ["gcn-0 ← gat-1", "gcn-0 ← gin-2"] and len(axes.get_yticks()) == 6
    (image,) = axes.collections
    assert sum(image.get_clim()) / 2 == pytest.approx(0.5)
    values = table[[name for name in table if name.startswith("weights/") and name not in own]].to_numpy()
    assert bar.get_ylim() == (pytest.approx(values.min()), pytest.approx(values.max()))
    assert bar.lines[-1].get_ydata()[0] == pytest.approx(0.5)
    columns = image.get_coordinates()[0, :, 0]
    assert ((columns[:-1] + columns[1:]) / 2).tolist() == sorted(set(table["epoch"]))  # the middle of a cell is its epoch
    flat = {name: 0.5 for name in table if name.startswith("weights/") and name not in own}
    table.assign(**flat).to_csv(history, index=False)
    assert drawn(tmp_path, "weights") == {}


@pytest.mark.parametrize(("where", "kind"), [*(("", kind) for kind in PLOTS), ("k", "cohort-size"), ("noise", "noise")])
def test_no_legend_lies_in_a_panel_and_a_note_says_n(drawn_once: Callable[[str, str], dict[str, Any]], where: str, kind: str) -> None:
    for each in drawn_once(where, kind).values():
        assert all(axes.get_legend() is None for axes in each.axes)
        note = each.legends[0].get_title().get_text() if each.legends else getattr(each._supxlabel, "get_text", str)()
        ranks = any("average rank" in axes.get_title() for axes in each.axes)
        assert ranks or "n = " in note.replace("\n", " ") or "n:" in note or "trials" in note


def test_methods_of_one_rank_have_lines_of_their_own(tmp_path: Path) -> None:
    for data in ("Cora", "CiteSeer", "PubMed", "Photo"):
        for strategy, level in (("independent", 0.6), ("dml", 0.8), ("gml", 0.8), ("kd", 0.7)):
            write_run(tmp_path, data, strategy, scores=[level] * 3, seeds=3)
    (axes,) = drawn(tmp_path, "ranks")["ranks-mean"].axes
    feet = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 3]
    assert len(feet) == len(set(feet)) == 4


def test_two_datasets_are_too_few_for_a_rank_diagram(tmp_path: Path) -> None:
    for data in ("Cora", "CiteSeer"):
        for index, strategy in enumerate(("independent", "dml", "gml")):
            write_run(tmp_path, data, strategy, level=0.7 + 0.05 * index)
    assert drawn(tmp_path, "ranks") == {}


def test_similarity_is_symmetric_and_of_the_last_epoch(tmp_path: Path) -> None:
    run = write_run(tmp_path, students=["gcn", "gat", "gin"], seeds=2, diversity=True)
    names, matrix = cka_matrix(load_runs([run])[0])
    history = pd.read_csv(run / "history.csv")
    assert names == ["gcn-0", "gat-1", "gin-2"]
    assert (matrix == matrix.T).all()
    assert np.diag(matrix).tolist() == [1, 1, 1]
    assert matrix[0, 2] == pytest.approx(history.groupby("seed")["diversity/cka/gcn-0/gin-2"].last().mean())


def test_ranks_are_left_out_of_all_plots_where_runs_cannot_stand_in_one_table(tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent", fingerprint="a")
    write_run(tmp_path, strategy="gml", fingerprint="b")
    assert set(drawn(tmp_path)) == {"curves-Cora-gml", "curves-Cora-independent", "exchange-Cora"}
    with pytest.raises(UsageError, match="data or splits"):
        drawn(tmp_path, "ranks")


def test_runs_without_a_finished_trial_have_no_plots(tmp_path: Path) -> None:
    write_run(tmp_path, keys=[])
    assert drawn(tmp_path) == {}


def test_names_are_neither_formulas_nor_paths(tmp_path: Path) -> None:
    name = "$\\frac{1}$ ../../x <b> " + "long " * 20
    suite = write_suite(tmp_path, "x", [(write_run(tmp_path, diversity=True, weights=True), name, name)])
    with drawing():
        for title, figure in draw(load_runs([suite])):
            for file in save(figure, tmp_path / "plots", title, ["png"]):
                assert file.parent == tmp_path / "plots"
                assert file.exists()
    assert file_name("a/b", "../c d") == "a-b-..-c-d"


def test_no_two_figures_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for names in different scripts, nor for names that become equal as file names."""
    monkeypatch.setattr("dgl_mutual.reporting.plots.curves._draw", lambda run, columns: figure(COLUMN, 2))
    runs = [
        (write_run(tmp_path, f"d{place}", f"s{number}"), method, data)
        for place, data in enumerate(("数据", "图形", "a b"))
        for number, method in enumerate(("gml 1", "\u044e", "\u044f", "gml_1"))
    ]
    names = list(drawn(write_suite(tmp_path, "x", runs), "curves"))
    assert len(names) == len(runs)
    assert {"curves-数据-\u044e", "curves-图形-\u044f", "curves-a-b-gml-1", "curves-a-b-gml-1-2"} <= set(names)


def test_no_two_of_many_series_look_alike() -> None:
    looks = {str(line_style(index)) for index in range(5 * len(COLOURS))}
    assert len(looks) == 5 * len(COLOURS)


def test_an_unknown_plot_names_the_others(tmp_path: Path) -> None:
    write_run(tmp_path)
    with pytest.raises(UsageError, match=r"Unknown plot 'curve'\. Did you mean 'curves'"):
        drawn(tmp_path, "curve")
    assert tuple(PLOTS) == PLOT_NAMES


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'dgl-mutual\[plot\]'"), drawing():
        pass


def write_reliability(run: Path, rows: Sequence[tuple[int, str, int, int, float, float]]) -> Path:
    """reliability.csv of a run of accuracy: seed, member, bin, count, accuracy, confidence."""
    table = pd.DataFrame(rows, columns=["seed", "member", "bin", "count", "accuracy", "confidence"])
    table.assign(fold=0, metric="accuracy")[RELIABILITY_COLUMNS].to_csv(run / "reliability.csv", index=False)
    return run


def test_a_reliability_diagram_pools_students_and_trials_by_their_decisions(tmp_path: Path) -> None:
    rows = [(0, "gcn-0", 14, 30, 1.0, 0.98), (0, "gat-1", 14, 10, 0.6, 0.94), (1, "gcn-0", 14, 40, 0.5, 0.96)]
    few = [(0, "gcn-0", 7, 3, 0.0, 0.5), (0, "ensemble", 14, 50, 0.7, 0.95), (5, "gcn-0", 14, 99, 0.0, 0.99)]
    write_reliability(write_run(tmp_path, strategy="gml", seeds=2), [*rows, *few])
    write_run(tmp_path, strategy="dml", seeds=2)  # has none
    figure = drawn(tmp_path, "reliability")["reliability-Cora"]
    assert len(figure.axes) == 1
    shown = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[0].lines}
    assert shown["students"] == pytest.approx([(30 + 6 + 20) / 80])
    assert shown["ensemble"] == pytest.approx([0.7])
    (run,) = (run for run in load_runs([tmp_path]) if run.method == "gml")
    assert pooled_bins(run, "accuracy")["students"]["count"].to_dict() == {7: 3, 14: 80}


def test_a_line_looks_the_same_in_all_reliability_panels(tmp_path: Path) -> None:
    rows = [(0, member, 14, 30, 0.9, 0.95) for member in ("gcn-0", "leader", "ensemble")]
    write_reliability(write_run(tmp_path, strategy="okddip"), rows)
    write_reliability(write_run(tmp_path, strategy="gml"), [row for row in rows if row[1] != "leader"])
    figure = drawn(tmp_path, "reliability")["reliability-Cora"]
    looks = [{line.get_label(): line.get_color() for line in axes.lines[1:]} for axes in figure.axes]
    assert len(looks) == 2 and {"students", "ensemble", "leader"} in [set(look) for look in looks]
    assert looks[0]["ensemble"] == looks[1]["ensemble"] and len(set((looks[0] | looks[1]).values())) == 3
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"students", "ensemble", "leader"}


@pytest.mark.parametrize("row", [(0, "gcn-0", 15, 3, 0.5, 0.5), (0, "gcn-0", 1, 0, 0.5, 0.1), (0, "gcn-0", 1, 3, 1.5, 0.1)])
def test_rows_outside_of_all_bins_are_refused(tmp_path: Path, row: tuple[int, str, int, int, float, float]) -> None:
    write_reliability(write_run(tmp_path, seeds=1), [row])
    with pytest.raises(StoreError, match=r"reliability.csv.*(belongs to no bin|accuracy = 1.5 in row 1)"):
        drawn(tmp_path, "reliability")


def axis_numbers(axes: Any) -> list[str]:
    low, high = axes.get_ylim()
    axes.figure.canvas.draw()
    labels = [*axes.yaxis.get_majorticklabels(), *axes.yaxis.get_minorticklabels()]
    return [label.get_text() for label in labels if label.get_text() and low <= label.get_position()[1] <= high]


@pytest.mark.parametrize("nats", [(0.3, 0.8), (0.15, 0.9), (0.004, 0.9)])
def test_an_axis_of_exchanged_information_has_numbers_whatever_its_range(tmp_path: Path, nats: tuple[float, float]) -> None:
    folder = write_run(tmp_path, strategy="gml")
    table = pd.read_csv(folder / "history.csv")
    for name in (name for name in table if name.startswith("exchange/")):
        table[name] = np.linspace(*nats, len(table))[table["epoch"] * len(table) // (table["epoch"].max() + 1)]
    table.to_csv(folder / "history.csv", index=False)
    assert len(axis_numbers(drawn(folder, "exchange")["exchange-Cora"].axes[0])) >= 2


def test_a_name_with_a_byte_order_mark_is_drawn(tmp_path: Path) -> None:
    runs = [
        (write_run(tmp_path, strategy=strategy, level=level, seeds=6, weights=True), method, "\ufeffCora")
        for strategy, method, level in (("independent", "independent", 0.7), ("gml", "\ufeffgml", 0.8))
    ]
    suite = write_suite(tmp_path, "marked", runs)
    with drawing():
        drawn = dict(draw(load_runs([suite])))
        assert {name.partition("-")[0] for name in drawn} >= {"gains", "curves", "weights"}
        for name, shown in drawn.items():
            assert save(shown, tmp_path / "plots", name, ["pdf"])[0].stat().st_size


def test_a_plot_of_a_search_explains_its_points(tmp_path: Path) -> None:
    rows = [(0, "complete", 0.5, 0.5, 1.0, ""), (1, "pruned", 0.4, 0.5, 1.0, "")]
    pd.DataFrame(rows, columns=TUNING_COLUMNS).to_csv(tmp_path / "tuning.csv", index=False)
    with drawing():
        shown = tuning_history(tmp_path, "gml on Cora", 3)
    assert shown.axes[0].get_title() == "gml on Cora: search on validation"
    note = shown.legends[0].get_title().get_text().replace("\n", " ")
    assert "n = 3 trainings" in note and "Of a pruned trial" in note
