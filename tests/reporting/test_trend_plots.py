"""Plots of accuracy by the size of the cohort, and by noise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dgl_mutual.reporting.plots import draw
from dgl_mutual.reporting.plots.style import drawing
from dgl_mutual.reporting.runs import load_runs
from tests.reporting.folders import write_run, write_suite
from tests.reporting.test_plots import drawn, lines

pytestmark = pytest.mark.usefixtures("without_layout")


def test_cohort_sizes_are_in_place_and_panels_without_figures_are_left_out(everything: Path, tmp_path: Path) -> None:
    figure = drawn(everything / "k", "cohort-size")["cohort-size-Cora"]
    assert len(figure.axes) == 5
    runs = {run.method: [] for run in load_runs([everything / "k"])}
    for run in sorted(load_runs([everything / "k"]), key=lambda run: run.num_students):
        runs[run.method].append(run.trials.loc[run.trials["member"] == "mean", "test"].mean())
    assert {method: pytest.approx(heights) for method, heights in lines(figure).items()} == runs
    for students in (["gcn"], ["gcn"] * 3):
        trials = write_run(tmp_path / "plain", students=students) / "trials.csv"
        pd.read_csv(trials).assign(disagreement="").to_csv(trials, index=False)
    assert len(drawn(tmp_path / "plain", "cohort-size")["cohort-size-Cora"].axes) == 4


def test_only_runs_that_differ_in_nothing_but_the_cohort_are_joined(tmp_path: Path) -> None:
    for students in (["gcn"], ["gcn", "gat"]):
        write_run(tmp_path, students=students, seeds=2)
    write_run(tmp_path, students=["gcn"] * 3, seeds=2, epochs=7)
    write_run(tmp_path, students=["gcn"] * 4, seeds=3, config={"training": {"epochs": 6, "learning_rate": 0.01, "diversity": True}})
    with pytest.warns(UserWarning, match="Left out of the plot cohort-size, since no other run differs in its students alone: gml"):
        (heights,) = lines(drawn(tmp_path, "cohort-size")["cohort-size-Cora"]).values()
    assert len(heights) == 3  # the run of 7 epochs is another experiment
    write_run(tmp_path, students=["gcn"], seeds=2, epochs=7)
    assert sorted(map(len, lines(drawn(tmp_path, "cohort-size")["cohort-size-Cora"]).values())) == [2, 3]


def test_a_student_that_is_not_in_the_cohort_is_no_smaller_cohort(tmp_path: Path) -> None:
    for students in (["mlp"], ["gcn", "gat"]):
        write_run(tmp_path, strategy="independent", students=students, seeds=2)
    assert drawn(tmp_path, "cohort-size") == {}
    write_run(tmp_path, strategy="independent", students=["gat"], seeds=2)
    with pytest.warns(UserWarning, match="no other run differs in its students alone: independent"):
        (heights,) = lines(drawn(tmp_path, "cohort-size")["cohort-size-Cora"]).values()
    assert len(heights) == 2


def test_a_second_cohort_of_the_same_size_is_named(tmp_path: Path) -> None:
    for students in (["gcn"], ["gcn", "gat"], ["gcn", "gin"]):
        run = write_run(tmp_path, students=students, seeds=2)
    suite = write_suite(
        tmp_path, "twice", [(folder.parent, name, "Cora") for folder in tmp_path.glob("*/trials.csv") for name in ("a", "b")]
    )
    message = (
        r"Left out of the plot cohort-size, since there is another run with a cohort of the same size: \S+ \(node-Cora-gml-\w+\)\. Give"
    )
    with pytest.warns(UserWarning, match=message):
        assert [len(heights) for heights in lines(drawn(suite, "cohort-size")["cohort-size-Cora"]).values()] == [2]
    shutil.rmtree(run)
    drawn(suite, "cohort-size")  # nothing is left out: warnings are errors


def test_a_second_run_with_the_same_noise_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seeds=2)
    for place in ("a", "b"):
        write_run(tmp_path / place, seeds=2, config={"noise": "edge:0.2"})
    runs = load_runs([tmp_path / "a", tmp_path / "b"])
    with (
        drawing(),
        pytest.warns(UserWarning, match="Left out of the plot noise, since there is another run of the same configuration: gml"),
    ):
        assert [len(heights) for heights in lines(dict(draw(runs, ["noise"]))["noise-Cora"]).values()] == [2]


def test_students_at_the_default_depth_of_their_architecture_are_joined(tmp_path: Path) -> None:
    for students, given in ((["gcn"], {"seeds": 2}), (["gcn", "sgc"], {"students": "gcn,sgc"}), (["gcn", "gat", "sgc"], None)):
        resolved = [{"architecture": name, "hidden": 64, "depth": 1 if name == "sgc" else 2} for name in students]
        write_run(tmp_path, students=students, seeds=2, config={"students": resolved}, given=given)
    deep = [{"architecture": "gcn", "hidden": 64, "depth": 5}] * 4
    write_run(tmp_path, students=["gcn"] * 4, seeds=2, config={"students": deep}, given={"students": deep})
    gat = [{"architecture": "gat", "hidden": 64, "depth": 2}]
    write_run(tmp_path, students=["gat"], seeds=2, config={"students": gat}, given={"students": "gat"}, strategy="independent")
    message = r"Left out of the plot cohort-size, since no other run differs in its students alone: gml .*\(node-Cora-gml-.*independent"
    with pytest.warns(UserWarning, match=message):
        (heights,) = lines(drawn(tmp_path, "cohort-size")["cohort-size-Cora"]).values()
    assert len(heights) == 3  # gat is of a run without what was given, and at the default that another run tells


def test_runs_of_several_metrics_do_not_share_an_axis(tmp_path: Path) -> None:
    configs: list[tuple[str, dict[str, str]]] = [("accuracy", {}), ("macro-f1", {"metric": "macro-f1"})]
    for metric, config in configs:
        for students in (["gcn"], ["gcn", "gat"]):
            write_run(tmp_path, students=students, seeds=2, metric=metric, config=config)
    figures = drawn(tmp_path, "cohort-size")
    assert {name: figure.axes[0].get_title().splitlines()[0] for name, figure in figures.items()} == {
        "cohort-size-Cora-accuracy": "test accuracy,",
        "cohort-size-Cora-macro-f1": "test macro-averaged F1,",
    }


def test_each_kind_of_noise_has_a_panel_that_starts_without_noise(everything: Path) -> None:
    figure = drawn(everything / "noise", "noise")["noise-Cora"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["edge noise", "label noise"]
    (clean, noisy), (also_clean, _) = lines(figure)["gml"], lines(figure, 1)["gml"]
    assert clean == also_clean == pytest.approx(0.8, abs=0.03)
    assert noisy == pytest.approx(0.5, abs=0.03)


def test_lines_of_one_method_are_named_by_what_differs(tmp_path: Path) -> None:
    for config in ({}, {"noise": "label:0.3"}, {"noise": "feature:0.2", "label_rate": 5}, {"noise": "feature:0.2", "label_rate": 0.1}):
        write_run(tmp_path, config=config)
    figure = drawn(tmp_path, "noise")["noise-Cora"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(names) == ["gml", "gml (10% labels)", "gml (5 labels a class)"]
    two = [write_run(tmp_path / "two", config={"noise": "edge:0.1", "training": {"epochs": epochs}}) for epochs in (6, 7)]
    same = [write_run(tmp_path / "same", config={"noise": "edge:0.1"}, fingerprint=fingerprint) for fingerprint in "fg"]
    for runs, names in ((two, {"mine (epochs=6)", "mine (epochs=7)"}), (same, {f"mine ({run.name})" for run in same})):
        suite = write_suite(runs[0].parent, "x", [(run, "mine", "Cora") for run in runs])
        assert set(lines(drawn(suite, "noise")["noise-Cora"])) == names


@pytest.mark.parametrize(("options", "joined"), [([{"width": 4}] * 2, 1), ([{"width": 4}, {"width": 5}], 0), ([{}, {}], 1)])
def test_cohorts_of_custom_students_are_joined_by_their_options(tmp_path: Path, options: list[dict[str, int]], joined: int) -> None:
    for size, own in enumerate(options, start=1):
        students = [{"architecture": "nets:Mine", "options": own}] * size
        write_run(tmp_path, students=["gcn"] * size, config={"students": students})
    assert len(drawn(tmp_path, "cohort-size")) == joined


def test_noise_joins_only_runs_that_differ_in_nothing_else(tmp_path: Path) -> None:
    for config in ({}, {"noise": "edge:0.2"}, {"label_rate": 0.1}, {"training": {"epochs": 7}}):
        write_run(tmp_path, config=config, level=0.4 if "label_rate" in config else 0.8)
    (line,) = lines(drawn(tmp_path, "noise")["noise-Cora"]).values()
    assert len(line) == 2 and line[0] == pytest.approx(0.8, abs=0.03)
    write_run(tmp_path, config={"noise": "edge:0.4", "training": {"epochs": 6, "learning_rate": 0.01, "diversity": True}})
    assert [len(line) for line in lines(drawn(tmp_path, "noise")["noise-Cora"]).values()] == [3]  # which only records more
    write_run(tmp_path, config={"label_rate": 0.1, "noise": "edge:0.2"}, level=0.3)
    assert sorted(map(len, lines(drawn(tmp_path, "noise")["noise-Cora"]).values())) == [2, 3]
