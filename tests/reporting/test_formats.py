from __future__ import annotations

import io
import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting.comparison import Comparison, compare
from dgl_mutual.reporting.formats import to_csv, to_latex, to_markdown, to_text
from dgl_mutual.reporting.runs import gather, load_runs
from dgl_mutual.reporting.tables import Cell, p_text, text_table
from dgl_mutual.utils.safe_text import latex_text
from tests.reporting.folders import write_run, write_suite

#: Special characters of LaTeX, Markdown and spreadsheets.
WICKED = "a_b % & # $ {x} ~^\\ <i> | *b* `c` [d](e) ±ü"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on two datasets with three methods; gml is significantly better, dml worse."""
    tmp_path = tmp_path_factory.mktemp("runs")
    for data, low in (("Cora", 0.0), ("CiteSeer", 0.1)):
        for strategy, level in (("independent", 0.7), ("dml", 0.6), ("gml", 0.8)):
            write_run(tmp_path, data, strategy, level=level - low)
    return tmp_path


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    """Of all members."""
    return compare(gather(load_runs([folder])), baseline="independent")


@pytest.fixture(scope="module")
def wicked(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    tmp_path = tmp_path_factory.mktemp("wicked")
    runs = [(write_run(tmp_path, strategy=name), WICKED if name == "gml" else name, WICKED) for name in ("independent", "gml")]
    return compare(gather(load_runs([write_suite(tmp_path, "wicked", runs)])), members=["mean"])


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def test_long_csv_has_every_figure_with_all_its_digits(comparison: Comparison) -> None:
    table = read(to_csv(comparison))
    assert len(table) == 2 * 3 * 3
    merged = table.merge(comparison.rows, on=["data", "member", "method"], suffixes=("", "_rows"))
    for name in ("mean", "std", "difference", "low", "high", "effect", "p", "p_holm"):
        pd.testing.assert_series_equal(merged[name], merged[f"{name}_rows"], check_names=False, rtol=1e-12)
    assert set(table["baseline"]) == {"independent"}


def test_percent_and_precision_change_shown_numbers_but_no_test(comparison: Comparison) -> None:
    plain, percent = read(to_csv(comparison)), read(to_csv(comparison, percent=True, precision=2))
    for name in ("mean", "std", "difference", "low", "high"):
        assert percent[name].tolist() == pytest.approx([float(f"{100 * figure:.2f}") for figure in plain[name]], nan_ok=True)
    pd.testing.assert_series_equal(percent["p"], plain["p"])
    pd.testing.assert_series_equal(percent["effect"], plain["effect"])


def test_csv_and_markdown_round_alike(tmp_path: Path) -> None:
    names = ("Cora", "CiteSeer", "PubMed", "Coauthor-CS", "Amazon-Computers")
    for name, score in zip(names, (0.5055, 0.5115, 0.5135, 0.5155, 0.5195), strict=True):
        write_run(tmp_path, name, seeds=2, scores=(score, score))
    found = compare(gather(load_runs([tmp_path])), members=["mean"])
    long, wide = (read(to_csv(found, wide=wide, percent=True, precision=1)) for wide in (False, True))
    line = to_markdown(text_table(found, percent=True, precision=1)).splitlines()[2]
    shown = [float(cell.split("±")[0]) for cell in line.split("|")[2:-1]]
    assert long["mean"].tolist() == [wide[f"{name} mean"].item() for name in long["data"]] == shown


def test_wide_csv_has_a_row_per_method_and_columns_per_dataset(comparison: Comparison) -> None:
    table = read(to_csv(comparison, wide=True))
    figures = [f"{data} {figure}" for data in ("CiteSeer", "Cora") for figure in ("mean", "std", "n")]
    assert list(table.columns) == ["member", "method", *figures]
    assert len(table) == 3 * 3
    long = read(to_csv(comparison)).set_index(["member", "method", "data"])["mean"]
    for _, line in table.iterrows():
        assert line["Cora mean"] == long[line["member"], line["method"], "Cora"]


def test_csv_is_no_formula(wicked: Comparison) -> None:
    rows = wicked.rows.assign(method=["=1+1", "@x"], data="-2")
    table = read(to_csv(Comparison(rows, "test", None, {}, ())))
    assert list(table["method"]) == ["'=1+1", "'@x"]


def test_markdown_marks_best_and_significant(comparison: Comparison) -> None:
    lines = to_markdown(text_table(comparison, percent=True)).splitlines()
    assert lines[0] == "| member | method | CiteSeer | Cora | rank |"
    assert lines[1] == "|---|---|---:|---:|---:|"
    independent, dml, gml = lines[2:5]
    mean = comparison.rows.set_index(["data", "member", "method"]).loc[("Cora", "mean", "gml")]
    assert f"| **{100 * mean['mean']:.1f}** ± {100 * mean['std']:.1f}† |" in gml
    assert "‡" in dml
    assert "†" not in independent + dml
    assert "**" not in independent + dml
    assert [line.count("|") for line in lines[:11]] == [6] * 11


def test_a_screen_shows_plain_text(comparison: Comparison) -> None:
    table = text_table(comparison, percent=True)
    header, rule, *lines = to_text(table).splitlines()
    assert header.split() == ["member", "method", "CiteSeer", "Cora", "rank"] and rule == "-" * len(rule)
    mean = comparison.rows.set_index(["data", "member", "method"]).loc[("Cora", "mean", "gml")]
    assert lines[2].startswith("mean student ") and f" {100 * mean['mean']:.1f} ± {100 * mean['std']:.1f}*†" in lines[2]
    assert lines[3] == "", "a line between members"
    assert "*: the best method of a column, for each member." in lines[-1] and "Bold" not in lines[-1]


def test_a_screen_shows_names_as_they_are(wicked: Comparison) -> None:
    shown = to_text(text_table(wicked))
    assert f"\n{WICKED} " in shown and WICKED in shown.splitlines()[0]


def test_the_caption_explains_the_numbers(comparison: Comparison) -> None:
    told = " ".join(text_table(comparison, percent=True).caption)
    for part in (
        "Test accuracy (%): mean ± standard deviation (ddof = 1).",
        "Protocol public, n = 10 seeds.",
        "Bold: the best method of a column, for each member.",
        "† / ‡: significantly better / worse than independent (p < 0.05: Wilcoxon signed-rank test, two-sided, paired by seed and fold; "
        "Holm's adjustment over 12 comparisons).",
        "Rank: average over 2 datasets, 1 is best.",
        "2 datasets are too few to test the ranks of 3 methods: Friedman's and Nemenyi's tests can reject nothing at 0.05 with fewer "
        "than 3.",
    ):
        assert part in told
    assert "too few seeds" not in told


def test_the_caption_says_that_so_few_seeds_can_prove_nothing(tmp_path: Path) -> None:
    for strategy, level in (("independent", 0.7), ("gml", 0.8)):
        write_run(tmp_path, strategy=strategy, level=level, seeds=4)
    comparison = compare(gather(load_runs([tmp_path])), baseline="independent", members=["mean", "ensemble"])
    told = " ".join(text_table(comparison).caption)
    assert "The smallest that so few seeds can give is p = 0.12, after the adjustment p = 0.25: no mark may only mean too few" in told
    assert "†" not in to_markdown(text_table(comparison)).splitlines()[3]


def test_the_smallest_p_of_few_seeds_is_not_multiplied_by_tests_with_smaller_ones(tmp_path: Path) -> None:
    """Three tests over folds whose differences hardly vary, and one over six seeds: Holm multiplies its p, 2 / 2^6, by one."""
    gains = 0.01 * np.arange(1, 7)
    for strategy, gain in (("independent", 0 * gains), ("gml", gains)):
        write_run(tmp_path, strategy=strategy, seeds=6, scores=(0.7 + gain).tolist())
        for data in ("A", "B", "C"):
            write_run(tmp_path, data, strategy, seeds=1, folds=6, scores=(0.7 + 0.1 * (gain > 0) + 0.001 * gain).tolist())
    comparison = compare(gather(load_runs([tmp_path])), baseline="independent", members=["mean"])
    assert comparison.num_comparisons == 4 and (comparison.rows["p_holm"].dropna() < 0.05).all()
    assert "too few seeds" not in " ".join(text_table(comparison).caption)


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    comparison = compare(gather(load_runs([write_run(tmp_path, seeds=1)])), members=["mean"])
    table = to_markdown(text_table(comparison))
    assert "nan" not in table and "±" not in table and "one trial" in table


def test_the_caption_names_protocols_and_tests_that_differ(tmp_path: Path) -> None:
    for strategy in ("independent", "gml"):
        write_run(tmp_path, strategy=strategy, seeds=3)
        write_run(tmp_path, "MUTAG", strategy, seeds=1, folds=5)
    told = " ".join(text_table(compare(gather(load_runs([tmp_path])), baseline="independent", members=["mean"])).caption)
    assert "MUTAG: protocol nested, n = 5 folds; Cora: protocol public, n = 3 seeds." in told
    assert "corrected resampled t-test (MUTAG); Wilcoxon signed-rank test (Cora)" in told
    assert "Test accuracy of the mean student" in told


def test_the_caption_names_unfinished_runs(tmp_path: Path) -> None:
    write_run(tmp_path, keys=[(seed, 0) for seed in range(9)])
    assert "Not finished: gml on Cora (9 of 10 trials)." in text_table(compare(gather(load_runs([tmp_path])))).caption


def test_costs_have_their_own_names_and_digits(folder: Path) -> None:
    costs = compare(gather(load_runs([folder])), value="seconds_per_epoch")
    table = text_table(costs)
    assert table.caption[0] == "Seconds per epoch of the whole cohort: mean ± standard deviation (ddof = 1)."
    assert table.groups[0][0][1].text == "0.0200"
    with pytest.raises(UsageError, match=r"not a fraction.*--percent"):
        text_table(costs, percent=True)


def test_names_are_text_in_markdown(wicked: Comparison) -> None:
    header = to_markdown(text_table(wicked)).splitlines()[0]
    assert header == r"| method | a\_b % \& \# \$ {x} \~^\\ \<i\> \| \*b\* \`c\` \[d\](e) ±ü |"


def test_names_are_text_in_latex() -> None:
    assert latex_text("a_b % & # $ {x}") == r"a\_b \% \& \# \$ \{x\}"
    assert latex_text("~^\\<>|±†") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}$<$$>$$|$$\pm$$\dagger$"
    assert latex_text("\\input{x}") == r"\textbackslash{}input\{x\}"
    assert latex_text("Größe Łódź Ağaoğlu Õ e\u0301 \u01df\n日") == "Größe Łódź Ağaoğlu Õ é ???"
    assert latex_text("\u03c3\u03bb\u0394\u0391\u00b5") == r"$\sigma$$\lambda$$\Delta$?$\mu$"


def test_unprintable_characters_of_latex_are_named_once(comparison: Comparison) -> None:
    table = text_table(comparison)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "Größe $\\sigma$" in to_latex(replace(table, header=("Größe \u03c3", *table.header[1:])))
    with pytest.warns(UserWarning) as caught:
        assert "?? é? &" in to_latex(replace(table, header=("数据 é\u0105", *table.header[1:])))
    assert [str(warning.message).partition(":")[0] for warning in caught] == ["pdflatex cannot print '数', '据', '\u0105'"]


def test_latex_marks_best_and_significant(comparison: Comparison) -> None:
    text = to_latex(text_table(comparison, percent=True), "tab:mine")
    mean = comparison.rows.set_index(["data", "member", "method"]).loc[("Cora", "mean", "gml")]
    assert rf"$\mathbf{{{100 * mean['mean']:.1f}}} \pm {100 * mean['std']:.1f}^{{\dagger}}$" in text
    assert r"^{\ddagger}$" in text
    assert r"\label{tab:mine}" in text
    assert text.count(r"\midrule") == 3
    assert r"\begin{tabular}{llccc}" in text


@pytest.mark.parametrize("name", ["[2pt] mine", "*mine", " [mine]"])
def test_a_latex_row_does_not_start_with_a_bracket_or_star(name: str, comparison: Comparison) -> None:
    table = text_table(comparison)
    rows = tuple((Cell(name), *row[1:]) for row in table.groups[0])
    lines = to_latex(replace(table, groups=(rows,), header=(name, *table.header[1:]))).splitlines()
    assert [line.startswith("{}") for line in lines if name in line] == [True] * (1 + len(rows))


@pytest.mark.parametrize("name", ["comparison", "wicked"])
def test_latex_compiles(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    compiler = shutil.which("pdflatex") or shutil.which("tectonic")
    if compiler is None:
        pytest.skip("needs a TeX: neither pdflatex nor tectonic is installed")
    table = to_latex(text_table(request.getfixturevalue(name), percent=True))
    page = ["\\documentclass{article}", "\\usepackage{booktabs}", "\\begin{document}", table, "\\end{document}"]
    (tmp_path / "page.tex").write_text("\n".join(page))
    stop = ["-halt-on-error", "-interaction=nonstopmode"] if compiler.endswith("pdflatex") else []
    ended = subprocess.run([compiler, *stop, "page.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
    assert "Missing character" not in ended.stdout


def test_p_values_are_short() -> None:
    assert [p_text(value) for value in (1.0, 0.0432, 0.00195, 1e-9)] == ["p = 1", "p = 0.043", "p = 0.0019", "p < 0.0001"]


def test_a_mark_is_of_the_adjusted_p(tmp_path: Path) -> None:
    """Six seeds give 2 / 2^6 = 0.031 at the least, and twice that in a table of two tests."""
    gains = 0.01 * np.arange(1, 7)
    for strategy, gain in (("independent", 0 * gains), ("dml", gains), ("gml", 2 * gains)):
        write_run(tmp_path, strategy=strategy, seeds=6, scores=(0.7 + gain).tolist())
    comparison = compare(gather(load_runs([tmp_path])), baseline="independent", members=["mean"])
    assert (comparison.rows["p"].dropna() < 0.05).all() and (comparison.rows["p_holm"].dropna() > 0.05).all()
    table = to_markdown(text_table(comparison)).partition("\n\n")[0]
    assert "†" not in table and "‡" not in table
    assert "p = 0.031, after the adjustment p = 0.062: no mark may only mean too few" in " ".join(text_table(comparison).caption)


def test_the_caption_says_it_of_seeds_beside_folds(tmp_path: Path) -> None:
    gains = 0.01 * np.arange(1, 5)
    for strategy, gain in (("independent", 0 * gains), ("gml", gains)):
        write_run(tmp_path, strategy=strategy, seeds=4, scores=(0.7 + gain).tolist())
        write_run(tmp_path, "A", strategy, seeds=1, folds=4, scores=(0.7 + gain).tolist())
    comparison = compare(gather(load_runs([tmp_path])), baseline="independent", members=["mean"])
    assert "The smallest that so few seeds can give is p = 0.12" in " ".join(text_table(comparison).caption)
