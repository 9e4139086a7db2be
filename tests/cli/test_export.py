from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd
import pytest

from dgl_mutual.cli.main import COMMANDS, cli
from tests.reporting.folders import write_run, write_suite

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for strategy, level in (("independent", 0.7), ("gml", 0.8)):
        write_run(tmp_path / "results", strategy=strategy, level=level)
    return tmp_path / "results"


def test_csv_is_the_default_and_tests_against_independent(command_line: CommandLine, results: Path) -> None:
    status, out, err = command_line("export", results)
    assert (status, err) == (0, "")
    table = pd.read_csv(io.StringIO(out))
    assert set(table["baseline"]) == {"independent"}
    assert set(table["member"]) == {"mean", "best_by_val", "ensemble"}
    assert table["p"].notna().sum() == 3


def test_options_reach_the_table(command_line: CommandLine, results: Path) -> None:
    options = ("--members", "gcn-0, ensemble", "--baseline", "none", "--percent", "--precision", "2")
    out = command_line("export", results, *options)[1]
    table = pd.read_csv(io.StringIO(out))
    assert list(table["member"]) == ["gcn-0", "gcn-0", "ensemble", "ensemble"]
    assert table["p"].isna().all()
    assert (table["mean"] > 1).all()
    assert (table["mean"] == table["mean"].round(2)).all()
    wide = pd.read_csv(io.StringIO(command_line("export", results, "--wide", "--metric", "accuracy")[1]))
    assert list(wide.columns) == ["member", "method", "Cora mean", "Cora std", "Cora n"]
    write_run(results, "CiteSeer", "gml")
    two = pd.read_csv(io.StringIO(command_line("export", results, "--wide", "--dataset", "CiteSeer", "--dataset", "Cora")[1]))
    assert list(two.columns[2:]) == [f"{data} {what}" for data in ("CiteSeer", "Cora") for what in ("mean", "std", "n")]
    three = write_run(results, "Cora", "dml").parent
    tests = [
        command_line("export", three, "--dataset", "Cora", "--members", "mean", *more)[1]
        for more in ((), ("--method", "independent", "--method", "gml"))
    ]
    p_holm = [pd.read_csv(io.StringIO(text)).set_index("method").at["gml", "p_holm"] for text in tests]
    assert p_holm[0] == pytest.approx(2 * p_holm[1])  # adjusted over what is shown
    alone = command_line("export", results, "--method", "gml", "--dataset", "Cora", "--members", "mean")
    assert (alone[0], alone[2]) == (0, "")
    assert list(pd.read_csv(io.StringIO(alone[1]))["method"]) == ["gml"]
    costs = command_line("export", results, "--format", "markdown", "--value", "train_seconds")[1]
    assert "Training time in seconds of the whole cohort" in costs


def test_a_suites_baseline_is_the_default(command_line: CommandLine, tmp_path: Path) -> None:
    runs = [(write_run(tmp_path, strategy=strategy), strategy, "Cora") for strategy in ("independent", "gml")]
    suite = write_suite(tmp_path, "x", runs, baseline="gml")
    assert "better / worse than gml" in command_line("export", suite, "--format", "markdown")[1]
    assert "better / worse than independent" in command_line("export", suite, "--format", "markdown", "--baseline", "independent")[1]


def test_a_suites_baseline_that_is_left_out_gives_way_to_independent(command_line: CommandLine, tmp_path: Path) -> None:
    runs = [(write_run(tmp_path, data, strategy), strategy, data) for strategy in ("independent", "gml") for data in ("Cora", "CiteSeer")]
    suite = write_suite(tmp_path, "x", [*runs, (write_run(tmp_path, "Cora", "dml"), "dml", "Cora")], baseline="dml")
    for chosen in (("--dataset", "CiteSeer"), ("--method", "gml", "--method", "independent")):
        status, out, err = command_line("export", suite, "--format", "markdown", *chosen)
        assert (status, err) == (0, "") and "better / worse than independent" in out
    assert "better / worse than dml" in command_line("export", suite, "--format", "markdown", "--dataset", "Cora")[1]


def test_a_table_goes_to_a_file_and_never_in_the_place_of_a_folder(command_line: CommandLine, results: Path, tmp_path: Path) -> None:
    file = tmp_path / "tables" / "x.tex"
    assert command_line("export", results, "--format", "latex", "-o", file)[:2] == (0, f"Written to {file}\n")
    assert file.read_text().startswith("% needs \\usepackage{booktabs}")
    for command in ("export", "report"):
        status, _, err = command_line(command, results, "-o", results)
        assert (status, err) == (1, f"Error: Cannot write '{results}': it is a folder. Name a file, for example one in it.\n")
    assert len(list(results.glob("*/trials.csv"))) == 2


def test_the_ending_of_the_file_says_the_format(command_line: CommandLine, results: Path, tmp_path: Path) -> None:
    for name, kind in (("x.tex", "latex"), ("x.md", "markdown"), ("x.CSV", "csv"), ("x.txt", "csv"), ("x", "csv")):
        assert command_line("export", results, "-o", tmp_path / name)[0] == 0
        assert (tmp_path / name).read_text() == command_line("export", results, "--format", kind)[1]
    assert command_line("export", results, "--format", "latex", "-o", tmp_path / "x.txt")[0] == 0
    assert (tmp_path / "x.txt").read_text() == (tmp_path / "x.tex").read_text()


@pytest.mark.usefixtures("without_layout")
@pytest.mark.parametrize("name", ["-o", "--out"])
def test_what_writes_one_file_has_the_same_names_for_it(command_line: CommandLine, results: Path, tmp_path: Path, name: str) -> None:
    for command, file in (("export", tmp_path / "x.csv"), ("report", tmp_path / "x.html")):
        assert command_line(command, results, name, file)[:2] == (0, f"Written to {file}\n")
        assert file.stat().st_size


def test_every_command_that_writes_where_it_is_told_says_out() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        told = [option for option in command.params if {"-o", "--out", "--output"} & {*option.opts}]
        assert all("--out" in option.opts for option in told)


def test_where_seeds_do_not_pair_tests_that_nobody_asked_for_are_left_out(command_line: CommandLine, tmp_path: Path) -> None:
    for strategy, seeds in (("gml", 3), ("independent", 2)):
        write_run(tmp_path, strategy=strategy, seeds=seeds)
    status, out, err = command_line("export", tmp_path)
    assert status == 0
    assert pd.read_csv(io.StringIO(out))["p"].isna().all()
    assert "Nothing is tested. 'gml' and the baseline 'independent' are not paired on Cora" in err
    status, _, err = command_line("export", tmp_path, "--baseline", "independent")
    assert status == 2 and "are not paired on Cora" in err


def test_an_unfinished_run_is_told_beside_any_format(command_line: CommandLine, tmp_path: Path) -> None:
    write_run(tmp_path, keys=[(0, 0), (1, 0)])
    status, _, err = command_line("export", tmp_path)
    assert (status, err) == (0, "Warning: Not finished: gml on Cora (2 of 10 trials).\n")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nowhere",), 2, "There is no folder 'nowhere'"),
        (("empty",), 1, "'empty' is neither a run folder"),
        (("results", "--baseline", "dml"), 2, "baseline 'dml' is not among the methods"),
        (("results", "--members", "gcn-7"), 2, "Unknown member 'gcn-7'. Did you mean 'gcn-0'"),
        (("results", "--wide", "--format", "latex"), 2, "latex is always wide. Leave out wide (on the command line: --wide)"),
        (("results", "--format", "pdf"), 2, "'pdf' is not one of"),
        (("results", "--value", "parameters", "--percent"), 2, "'parameters' is not a fraction"),
        (("results", "--format", "csv", "-o", "x.tex"), 2, "'x.tex' has the suffix of latex, but --format is csv"),
        (("results", "-o", "x.xlsx"), 2, "'x.xlsx' ends in .xlsx, but the output is .csv or .tex or .md"),
        (("results", "--precision", "99"), 2, "99 is not in the range"),
        (("results", "other"), 2, "different data or splits on Cora"),
        ((), 2, "Missing argument 'RUN...'"),
    ],
)
def test_a_mistake_is_one_message(
    command_line: CommandLine,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(results.parent)
    Path("empty").mkdir()
    write_run(Path("other"), strategy="dml", fingerprint="other")
    ended, out, err = command_line("export", *arguments)
    assert (ended, out) == (status, "")
    assert message in err
    assert "Traceback" not in err
