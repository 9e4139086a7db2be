from __future__ import annotations

import math

import pandas as pd

from dgl_mutual.experiments.compare import certificate
from dgl_mutual.experiments.compare.checks import Check
from dgl_mutual.statistics import compare_pairs


def cells_of(table: certificate.Table | str) -> list[list[str]]:
    assert isinstance(table, certificate.Table)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.markdown.splitlines()[2:]]


def test_the_verdict_names_what_is_out_of_bounds() -> None:
    fine, broken = Check("gcn-0", "logits, training", "float64", 1e-12, 1e-10), Check("gat-1", "gradients", "float32", 0.25, 1e-4)
    assert certificate.verdict([fine]).body == "Parity holds: all 1 quantities are within their bounds."
    *_, line = certificate.verdict([fine, broken]).body.splitlines()
    assert line == "- gat-1, gradients, float32: apart by 2.50e-01, bound 1e-04"
    assert "1 of 2" in certificate.verdict([fine, broken]).body


def test_the_largest_difference_of_a_kind_counts() -> None:
    checks = [
        Check("gcn-0", "logits, training", "float64", 1e-12, 1e-10),
        Check("gcn-0", "logits, evaluation", "float64", 1e-3, 1e-10),
        Check("gcn-0", "loss: mutual", "float64", math.inf, 1e-10),
        Check("gcn-0", "gradients", "float32", 1e-6, 1e-4),
        Check("ensemble", "logits, evaluation", "float32", 1e-7, 1e-4),
    ]
    assert cells_of(certificate.largest(checks).body) == [
        ["gcn-0", "float64", "1.0e-03 **out of bounds**", "inf **out of bounds**", "-"],
        ["gcn-0", "float32", "-", "-", "1.0e-06"],
        ["ensemble", "float64", "-", "-", "-"],
        ["ensemble", "float32", "1.0e-07", "-", "-"],
    ]


def test_accuracy_is_mean_and_sample_deviation_with_difference_and_tests() -> None:
    ours, theirs = [0.5, 0.7], [0.4, 0.7]
    pairs = pd.DataFrame({"member": "gcn-0", "ours": ours, "reference": theirs})
    paired = compare_pairs([0.1, 0.0], 0.02)
    section = certificate.accuracy(pairs, {"gcn-0": paired}, "accuracy", "seeds")
    assert section.title == "Test accuracy side by side (n = 2 seeds)"
    row = section.markdown.splitlines()[-1]
    for text in (
        "0.6000 ± 0.1414",
        "0.5500 ± 0.2121",
        "+0.0500",
        f"[{paired.low:+.4f}, {paired.high:+.4f}]",
        "(not shown)",
        f"{paired.p_difference:.3g}",
    ):
        assert text in row
    assert "p (within 0.02)" in section.markdown


def test_one_pair_has_no_interval_and_no_test() -> None:
    pairs = pd.DataFrame({"member": "gcn-0", "ours": [0.5], "reference": [0.4]})
    section = certificate.accuracy(pairs, {"gcn-0": compare_pairs([0.1], 0.02)}, "rocauc", "seeds", foreign=True)
    assert section.title == "Test rocauc side by side (one pair)"
    (cells,) = cells_of(section.body)
    assert cells == ["gcn-0", "0.5000", "0.4000", "+0.1000", "-", "-", "- (one pair says nothing)"]


def test_equal_differences_are_no_test() -> None:
    pairs = pd.DataFrame({"member": "gcn-0", "ours": [0.5, 0.6], "reference": [0.5, 0.6]})
    (cells,) = cells_of(certificate.accuracy(pairs, {"gcn-0": compare_pairs([0.0, 0.0], 0.02)}, "rocauc", "seeds").body)
    assert cells[3:] == ["+0.0000", "-", "1", "- (equal differences say nothing)"]


def test_a_pair_without_a_figure_is_named_so() -> None:
    pairs = pd.DataFrame({"member": "gcn-0", "ours": [0.5, 0.6], "reference": [0.5, 0.5]})
    (cells,) = cells_of(certificate.accuracy(pairs, {"gcn-0": compare_pairs([math.nan, 0.1], 0.02)}, "rocauc", "seeds").body)
    assert cells[-1] == "- (a pair is without a number)"


def test_cost_is_a_ratio_where_both_sides_are_known() -> None:
    rows = [("seconds an epoch", 0.5, 1.25), ("peak memory, MiB", None, 300.0), ("parameters", 60395.0, 60395.0)]
    cells = cells_of(certificate.cost(rows, 7).body)
    assert cells == [
        ["seconds an epoch", "0.5", "1.25", "2.50"],
        ["peak memory, MiB", "-", "300", "-"],
        ["parameters", "60395", "60395", "1.00"],
    ]


def test_bars_that_would_end_a_cell_are_escaped() -> None:
    assert certificate.facts({"command": "a | b"}).markdown.splitlines()[-1] == "| command | a \\| b |"


def test_a_screen_shows_plain_text() -> None:
    section = certificate.unmatched(["<a_b> | 1"])
    assert section.text == "Rows without a partner\n- <a_b> | 1" and section.markdown.endswith("- \\<a\\_b\\> \\| 1")
    checks = [Check("best_by_val", "gradients", "float64", 1.0, 1e-10)]
    title, *lines = certificate.largest(checks).text.splitlines()
    assert title == "Largest differences at the same weights"
    assert lines == [
        "member       precision  logits  loss terms  gradients",
        "-----------------------------------------------------------------",
        "best_by_val  float64    -       -           1.0e+00 out of bounds",
        "best_by_val  float32    -       -           -",
    ]
