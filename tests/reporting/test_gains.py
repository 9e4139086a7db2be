"""The figure of gains over the baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting.plots import draw
from dgl_mutual.reporting.plots.gains import differences
from dgl_mutual.reporting.plots.style import drawing
from dgl_mutual.reporting.runs import load_runs
from tests.reporting.folders import write_run

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("without_layout")


def test_gains_are_paired_differences_with_marks_of_significance(tmp_path: Path) -> None:
    """One method gains the same on every seed, another at random."""
    base = 0.7 + 0.01 * np.arange(10)
    noise = 0.01 * np.array([1, -2, 3, -1, 2, -3, 1, -1, 2, -2])
    for strategy, scores in {"independent": base, "gml": base + 0.05 + 0.001 * np.arange(10), "dml": base + noise}.items():
        write_run(tmp_path, strategy=strategy, scores=scores.tolist())
    rows = differences(load_runs([tmp_path])).query("member == 'mean'").set_index("method")
    assert set(rows.index) == {"gml", "dml"}
    assert rows.loc["gml", "difference"] == pytest.approx(0.0545) and rows.loc["gml", "p_holm"] < 0.05
    assert rows.loc["dml", "difference"] == pytest.approx(noise.mean()) and rows.loc["dml", "p_holm"] > 0.05
    with drawing():
        axes = dict(draw(load_runs([tmp_path]), ["gains"]))["gains"].axes[0]
    filled = [line for line in axes.lines if line.get_markerfacecolor() != "white" and len(line.get_xdata())]
    assert [line.get_xdata().tolist() for line in filled if line.get_linestyle() == "None"] == [pytest.approx([5.45])]


def test_gains_leave_out_what_is_not_paired_and_adjust_within_a_dataset(tmp_path: Path) -> None:
    for data, seeds in (("A", 10), ("B", 7)):
        for strategy, gain in {"independent": 0.0, "gml": 0.05, "dml": 0.02}.items():
            number = seeds if strategy == "gml" else 10
            scores = [0.7 + gain + 0.01 * seed + 0.001 * gain * seed for seed in range(number)]
            write_run(tmp_path, strategy=strategy, dataset=data, scores=scores, seeds=number)
    with pytest.warns(UserWarning, match=r"not paired: gml on B \(gml lacks seed 7 fold 0"):
        rows = differences(load_runs([tmp_path])).query("member == 'mean'")
    assert set(zip(rows["data"], rows["method"], strict=True)) == {("A", "gml"), ("A", "dml"), ("B", "dml")}
    both, alone = rows.query("data == 'A'"), rows.query("data == 'B'")
    assert (both["p_holm"] > both["p"]).all() and (both["p_holm"] >= alone["p_holm"].iloc[0]).all()


@pytest.mark.parametrize(("folds", "protocol", "corrected"), [(None, "public", False), (None, "holdout", True), (10, "nested", True)])
def test_the_caption_says_which_standard_error_the_intervals_have(
    tmp_path: Path, folds: int | None, protocol: str, corrected: bool
) -> None:
    for strategy, gain in {"independent": 0.0, "gml": 0.01}.items():
        scores = (0.7 + gain * np.arange(10)).tolist()
        write_run(tmp_path, strategy=strategy, scores=scores, seeds=1 if folds else 10, folds=folds, protocol=protocol)
    with drawing():
        figure = dict(draw(load_runs([tmp_path]), ["gains"]))["gains"]
    told = " ".join(figure.legends[0].get_title().get_text().split())
    assert ("by Student's t, over folds and seeds of holdout with the corrected standard error" in told) == corrected


def test_without_the_control_there_are_no_gains(tmp_path: Path) -> None:
    write_run(tmp_path, strategy="gml")
    with drawing():
        assert not dict(draw(load_runs([tmp_path]), ["gains"]))


@pytest.mark.parametrize("baseline", ["gml", "dml"])
def test_gains_over_another_method(tmp_path: Path, baseline: str) -> None:
    for strategy, level in {"gml": 0.7, "dml": 0.75, "kd": 0.8}.items():
        write_run(tmp_path, strategy=strategy, scores=[level + 0.001 * seed for seed in range(10)])
    rows = differences(load_runs([tmp_path]), baseline).query("member == 'mean'").set_index("method")
    assert set(rows.index) == {"gml", "dml", "kd"} - {baseline}
    assert rows.loc["kd", "difference"] == pytest.approx(0.1 if baseline == "gml" else 0.05)
    with drawing():
        axes = dict(draw(load_runs([tmp_path]), ["gains"], baseline))["gains"].axes[0]
    assert axes.get_xlabel().endswith(f"difference to {baseline} (points)")
    with pytest.raises(UsageError, match="method 'nobody'"):
        dict(draw(load_runs([tmp_path]), None, "nobody"))


def test_many_datasets_are_on_several_pages_on_which_a_method_looks_the_same(tmp_path: Path) -> None:
    """The first dataset alone has the method dml."""
    for index in range(60):
        for strategy in ("independent", *(("dml",) if index == 0 else ()), "gml"):
            write_run(tmp_path, dataset=f"D{index:02}", strategy=strategy, seeds=2)
    with drawing():
        figures = dict(draw(load_runs([tmp_path]), ["gains"]))
    assert len(figures) == 2
    names = [label.get_text().split()[0] for figure in figures.values() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"D{index:02}" for index in range(60)]
    looks = [
        {line.get_label(): (line.get_color(), line.get_marker()) for line in figure.axes[0].lines if not line.get_label().startswith("_")}
        for figure in figures.values()
    ]
    assert set(looks[0]) == {"gml", "dml"} and set(looks[1]) == {"gml"} and looks[0]["gml"] == looks[1]["gml"]
