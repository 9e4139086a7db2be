from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dgl_mutual.reporting.plots import PLOTS, plots_need
from dgl_mutual.reporting.run import Run
from tests.reporting.folders import write_run, write_suite

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure  # where it is installed

pytestmark = pytest.mark.usefixtures("without_layout")
CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("results"), weights=True, inference=True)


def test_each_plot_is_written_twice_and_named(command_line: CommandLine) -> None:
    status, out, err = command_line("plot", "results", "--kind", "curves,weights", "--kind", "time", "--out", "here")
    assert (status, err) == (0, "")
    names = [f"here/{name}.{kind}" for name in ("curves-Cora-gml", "weights-Cora-gml", "time-Cora") for kind in ("pdf", "png")]
    assert out.splitlines() == names
    assert all(Path(name).stat().st_size > 1000 for name in names)


def test_a_kind_that_is_named_twice_is_drawn_once(command_line: CommandLine) -> None:
    status, out, _ = command_line("plot", "results", "--kind", "curves,curves", "--kind", "curves", "--out", "here")
    assert (status, out.splitlines()) == (0, ["here/curves-Cora-gml.pdf", "here/curves-Cora-gml.png"])


def test_figures_of_chosen_runs(command_line: CommandLine) -> None:
    write_run(Path("results"), strategy="dml")
    assert (
        command_line("plot", "results", "--kind", "curves", "--method", "gml", "--dataset", "Cora")[1].splitlines()[0]
        == "plots/curves-Cora-gml.pdf"
    )
    status, _, err = command_line("plot", "results", "--method", "glm")
    assert status == 2 and "Unknown method 'glm'. Did you mean 'gml'" in err


@pytest.mark.parametrize("name", ["curves-Cora-gml.pdf", "curves-Cora-gml.png"])
def test_figures_take_the_place_of_earlier_ones_and_of_no_other_file(name: str, command_line: CommandLine) -> None:
    drawing = ("plot", "results", "--kind", "curves", "--out", "here")
    assert [command_line(*drawing)[0] for _ in range(2)] == [0, 0]
    before = {file.name: file.read_bytes() for file in Path("here").iterdir()}
    Path("here", name).write_bytes(b"mine")
    status, out, err = command_line(*drawing)
    assert (status, out) == (2, "")
    assert f"'here/{name}' already exists, and was not made by this command" in err
    assert {file.name: file.read_bytes() for file in Path("here").iterdir()} == {**before, name: b"mine"}


def test_gains_are_over_the_baseline_of_the_suite_or_another_one(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def gains(runs: Sequence[Run], baseline: str | None) -> Iterator[tuple[str, Figure]]:
        asked.append(baseline)
        yield "gains", Figure()

    monkeypatch.setitem(PLOTS, "gains", replace(PLOTS["gains"], draw=gains))
    runs = [(write_run(Path("results"), strategy=name, seeds=6), name, "Cora") for name in ("independent", "dml", "kd")]
    suite = write_suite(Path("results"), "mine", runs, baseline="dml")
    plot = ("plot", str(suite), "--kind", "gains", "--out", "here")
    for further in ((), ("--baseline", "kd"), ("--method", "independent", "--method", "kd")):
        assert command_line(*plot, *further)[0] == 0
    assert asked == ["dml", "kd", None]
    status, _, err = command_line(*plot, "--baseline", "gml")
    assert status == 2 and "Unknown method 'gml'. Did you mean 'dml'? Choose from: independent, dml, kd" in err


def test_help_names_options_of_its_own_alone(command_line: CommandLine) -> None:
    assert "--by-target" not in command_line("plot", "--help")[1]


def test_every_kind_says_what_it_needs() -> None:
    for kind in PLOTS:
        assert plots_need([kind]).lower().startswith(f"{kind} need")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("results", "--kind", "curve"), 2, "Unknown plot 'curve'. Did you mean 'curves'"),
        (("results", "--kind", "noise"), 2, "no data for the plot 'noise'. Noise needs several runs that differ in it.\n"),
        (
            ("results", "--kind", "noise,cohort-size"),
            2,
            "'noise' or 'cohort-size'. Noise needs several runs that differ in it; cohort-size needs",
        ),
        (("results", "--kind", "cka"), 2, "training.diversity = true"),
        (("results", "--out", "file"), 1, "Cannot write 'file'"),
        (("nowhere",), 2, "There is no folder 'nowhere'"),
        (("unfinished",), 2, "no data for any plot"),
        ((), 2, "Missing argument 'RUN...'"),
    ],
)
def test_a_mistake_is_one_message(command_line: CommandLine, arguments: tuple[str, ...], status: int, message: str) -> None:
    Path("file").touch()
    write_run(Path("unfinished"), keys=[])
    ended, out, err = command_line("plot", *arguments)
    assert (ended, out) == (status, "")
    assert message in err
