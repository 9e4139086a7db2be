from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dgl_mutual.errors import SplitError, UsageError

CommandLine = Callable[..., tuple[int, str, str]]
MINE = """
description: two methods on the digits
base: {students: "gcn,sage", seeds: 2, student: {hidden: 4}, training: {epochs: 2}}
datasets: [digits]
methods: [independent, dml]
"""


@pytest.fixture(autouse=True)
def mine(elsewhere: Path) -> None:
    (elsewhere / "mine.yaml").write_text(MINE)


def test_without_a_name_the_suites_are_listed(command_line: CommandLine) -> None:
    status, out, _ = command_line("suite")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "ablation",
        "cohort-size",
        "entropy",
        "few-labels",
        "graph",
        "molhiv",
        "node",
        "noise",
        "peers",
        "pool",
        "smoke",
        "students",
        "tasks",
        "unequal",
        "unseen",
        "views",
    ]


def test_a_suite_of_ones_own_from_plan_to_table(command_line: CommandLine) -> None:
    status, out, _ = command_line("suite", "mine.yaml", "--dry-run", "--jobs", "1")
    assert status == 0
    assert "2 trials,   2 to run" in out
    assert out.splitlines()[-1].startswith("4 trials to run: at most")
    assert not Path("results").exists()
    status, out, err = command_line("suite", "mine.yaml", "--jobs", "1")
    assert status == 0
    assert re.search(r"^mean student  +independent  ", out, re.MULTILINE)
    assert "finished  [4/4]" in err
    assert "description: two methods on the digits\n" in Path("results/suite-mine/suite.yaml").read_text()
    assert command_line("status", "results/suite-mine")[0] == 0
    exported = command_line("export", "results/suite-mine", "--format", "markdown", "--percent")[1]
    assert exported == Path("results/suite-mine/table.md").read_text()
    # Again: nothing is left to do, and the same comes out.
    status, again, err = command_line("suite", "mine.yaml", "--jobs", "1")
    assert (status, again) == (0, out)
    assert "4 of 4 trials are finished already" in err
    dry = ("suite", "mine.yaml", "--dry-run", "--jobs", "1")
    assert command_line(*dry)[1].endswith("0 trials to run: at most 0 s with 1 at a time\n")
    assert "\n4 trials to run: " in command_line(*dry, "--no-resume")[1]


def test_data_that_cannot_be_had_is_reported_and_the_rest_goes_on(command_line: CommandLine) -> None:
    Path("mine.yaml").write_text(MINE.replace("[digits]", "[Cora, digits]"))
    status, out, err = command_line("suite", "mine.yaml", "--jobs", "1", "--offline", "--set", "seeds=1")
    assert status == 1
    assert "Cora was left out: The dataset Cora is not complete" in err
    assert out.splitlines()[0].split() == ["member", "method", "digits"]
    assert command_line("status", "results/suite-mine")[0] == 1


def test_a_dry_run_downloads_nothing(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr("dgl_mutual.data.sources.download.fetch", refused)
    Path("mine.yaml").write_text(MINE.replace("[digits]", "[Cora, digits]"))
    status, out, err = command_line("suite", "mine.yaml", "--dry-run", "--jobs", "1")
    assert (status, out.count("\n")) == (0, 3)
    assert "not counted: Cora. The dataset Cora is not complete" in err
    assert command_line("suite", "mine.yaml", "--dry-run", "--jobs", "1", "--offline")[0] == 1  # then it will not be there later, either
    assert not Path("data").exists()


def test_a_dry_run_ends_as_the_run_where_labels_do_not_allow_the_splits(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.yaml").write_text(MINE.replace("base: {", "base: {label_rate: 0.001, "))
    why = "independent on digits: A label rate of 0.001 leaves the class"
    for more in (("--dry-run", "--jobs", "1"), ("--dry-run", "--jobs", "1", "--offline"), ("--jobs", "1")):
        status, _, err = command_line("suite", "mine.yaml", *more)
        assert status == 1 and why in err
    Path("mine.yaml").write_text(MINE)

    def refused(*arguments: object, **options: object) -> None:
        raise SplitError("no such split")

    monkeypatch.setattr("dgl_mutual.experiments.suites.suite_estimate.plan_search", refused)
    status, out, err = command_line("suite", "mine.yaml", "--dry-run", "--jobs", "1", "--tuned", "1")
    assert status == 1 and "0 trials to run" in out and "not counted: digits. independent on digits: no such split" in err


def test_a_dry_run_names_what_would_fail_and_goes_on(command_line: CommandLine) -> None:
    Path("mine.yaml").write_text(MINE.replace("[independent, dml]", "{independent: {students: gcn}, dml: {students: gcn}, gml: {}}"))
    status, out, err = command_line("suite", "mine.yaml", "--dry-run", "--jobs", "1")
    assert status == 1
    assert "not counted: dml on digits, which would fail. Strategy 'dml' needs at least 2 students" in err
    assert out.count("s each") == 2
    assert "4 trials to run" in out


def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("dgl_mutual.experiments.loading.load_dataset", lambda *_, **__: pytest.fail("data are loaded"))
    Path("mine.yaml").write_text(MINE)
    for more in ((), ("--dry-run", "--jobs", "1")):
        status, _, err = command_line("suite", "mine.yaml", "--device", "cuda", *more)
        assert status == 2 and "Device 'cuda' cannot be used" in err


def test_a_suite_goes_on_after_what_fails_and_says_so(command_line: CommandLine) -> None:
    methods = MINE.replace("[independent, dml]", "{independent: {students: gcn}, dml: {students: gcn}, label-propagation: {}}")
    Path("mine.yaml").write_text(methods)
    status, out, err = command_line("suite", "mine.yaml", "--jobs", "1", "--set", "seeds=1")
    assert status == 1 and "  independent  " in out
    assert "Strategy 'dml' needs at least 2 students" in err.partition("1 trial failed")[2]


def test_a_suite_without_any_of_its_data_says_so(command_line: CommandLine) -> None:
    Path("mine.yaml").write_text(MINE.replace("[digits]", "[Cora]"))
    status, out, err = command_line("suite", "mine.yaml", "--jobs", "1", "--offline")
    assert (status, out) == (1, "")
    assert "No tables: In none of these runs has a trial finished" in err
    assert "Cora was left out" in err


def test_failed_trials_are_rows_and_the_exit_status_is_1(command_line: CommandLine) -> None:
    # One student has no peer: dml cannot train it, independent can.
    Path("mine.yaml").write_text(MINE.replace('"gcn,sage"', "gcn"))
    status, out, err = command_line("suite", "mine.yaml", "--jobs", "1")
    assert status == 1
    assert "2 trials failed" in err
    assert "  independent  " in out
    (failures,) = Path("results").glob("*/failures.csv")
    assert list(pd.read_csv(failures)["seed"]) == [0, 1]


def test_methods_of_other_label_rates_make_a_table_and_no_table_is_an_error(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = "methods: {independent: , few: {strategy: independent, label_rate: 0.3}}"
    Path("mine.yaml").write_text(MINE.replace("methods: [independent, dml]", few))
    status, out, _ = command_line("suite", "mine.yaml", "--jobs", "1", "--set", "seeds=1")
    assert status == 0 and re.search(r"^member .*  digits  +digits \(30% labels\)$", out, re.MULTILINE)

    def refused(*arguments: object, **options: object) -> None:
        raise UsageError("They cannot be combined in one table.")

    monkeypatch.setattr("dgl_mutual.reporting.suite_tables.compare_with_baseline", refused)
    status, out, err = command_line("suite", "mine.yaml", "--jobs", "1", "--set", "seeds=1")
    assert status == 1 and "No tables: They cannot" in err and out.splitlines()[-1].endswith("all.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nod",), "Unknown suite 'nod'. Did you mean 'node'"),
        (("gone.yaml",), "'gone.yaml' cannot be read"),
        (
            ("empty.yaml",),
            "'empty.yaml' is empty. Write a mapping from names to values into it, for example {datasets: [digits], methods: [",
        ),
        (("half.yaml",), "The option 'methods' is missing. Give it, for example methods: [independent, gml]."),
        (("grid.yaml",), "Option 'grid.strategy_options.temperature' = 1: a list is needed, for example [1]."),
        (("word.yaml",), "a list is needed, for example [Cora]"),
        (("number.yaml",), "names of strategies are needed"),
        (("one.yaml",), "not 'gml': give a list, [gml]"),
        (("key.yaml",), "names of methods are strings, and 1 is not: write it in quotes, '1'"),
        (("line.yaml",), r"'gml\nError: forged' is not a name of a method: it is empty, starts or ends with a space, or has control"),
        (("space.yaml",), "'gml ' is not a name of a method"),
        (("no-name.yaml",), "'' is not a name of a method: it is empty"),
        (("spaced.yaml",), "'a ' is not a name of a dataset: it is empty, starts or ends with a space"),
        (("on.yaml",), "YAML reads yes, no, on and off as true or false: write it in quotes, 'on'"),
        (("--quick",), "--quick was given, and no suite. Name one"),
        (("data.yaml",), r"'a\rb' is not a name of a dataset: it is empty, starts or ends with a space, or has control characters in it"),
        (
            ("mine",),
            "There is no suite 'mine' in this package, but there is a file mine.yaml. If you mean it, give its full name: mine.yaml.",
        ),
        (
            ("null.yaml",),
            "no strategy is called 'gml uniform', and the method with this name sets none. Set one, for example gml uniform: {",
        ),
        (("prefix.yaml",), "for example 'kdcl: tuned': {strategy: gml}, or correct the name"),
        (
            ("typo.yaml",),
            "no strategy is called 'gmll', and the method with this name sets none. Set one, for example gmll: {strategy: gml}, or correct",
        ),
        (
            ("mine.yaml", "--set", "strategy.weight=2"),
            "Give its options as 'strategy_options', for example strategy_options.weight=2, and",
        ),
        (("mine.yaml", "--set", "seeds"), "the form is KEY=VALUE"),
        (("mine.yaml", "--set", "training.epoch=3"), "independent on digits: Unknown option 'training.epoch'"),
        (("mine.yaml", "--jobs", "0"), "0 is not in the range"),
        (("mine.yaml", "more"), "unexpected extra argument"),
    ],
)
def test_a_mistake_is_one_message(command_line: CommandLine, arguments: tuple[str, ...], message: str) -> None:
    Path("empty.yaml").touch()
    Path("null.yaml").write_text("datasets: [digits]\nmethods: {gml: null, gml uniform: null}\n")
    Path("prefix.yaml").write_text("datasets: [digits]\nmethods: {gml: null, 'kdcl: tuned': null}\n")
    Path("typo.yaml").write_text("datasets: [digits]\nmethods: {gmll: null}\n")
    Path("half.yaml").write_text("datasets: [digits]\n")
    Path("grid.yaml").write_text("datasets: [digits]\nmethods: [gml]\nbase: {grid: {strategy_options.temperature: 1}}\n")
    Path("one.yaml").write_text("datasets: [digits]\nmethods: gml\n")
    Path("key.yaml").write_text("datasets: [digits]\nmethods: {1: {strategy: gml}}\n")
    Path("line.yaml").write_text('datasets: [digits]\nmethods: {"gml\\nError: forged": {strategy: gml}}\n')
    Path("space.yaml").write_text('datasets: [digits]\nmethods: {"gml ": {strategy: gml}}\n')
    Path("data.yaml").write_text('datasets: [{dataset: digits, name: "a\\rb"}]\nmethods: [gml]\n')
    Path("no-name.yaml").write_text('datasets: [digits]\nmethods: {"": {strategy: gml}}\n')
    Path("spaced.yaml").write_text("datasets: [{dataset: digits, name: a}, {dataset: Cora, name: 'a '}]\nmethods: [gml]\n")
    Path("on.yaml").write_text("datasets: [digits]\nmethods: {on: {strategy: gml}}\n")
    Path("word.yaml").write_text("datasets: Cora\nmethods: [gml]\n")
    Path("number.yaml").write_text("datasets: [Cora]\nmethods: 3\n")
    ended, out, err = command_line("suite", *arguments)
    assert (ended, out) == (2, "")
    assert message in err
    assert not Path("results").exists()


def test_a_cluster_has_its_own_number_of_processes(command_line: CommandLine) -> None:
    status, _, err = command_line("suite", "mine.yaml", "--jobs", "2", "--cluster", "local:2")
    assert status == 2
    assert "--jobs counts processes of this machine" in err


def test_a_dry_run_refuses_a_file_in_the_place_of_the_folder(command_line: CommandLine) -> None:
    ended = [command_line("suite", "mine.yaml", "--jobs", "1", "--out", "mine.yaml", *more) for more in ((), ("--dry-run",))]
    assert ended[0] == ended[1] and ended[0][0] == 1 and "Not a directory" in ended[0][2]


@pytest.mark.parametrize(("option", "value"), [("--cluster", "10.0.0.7"), ("--track", "tensorbord")])
def test_errors_after_a_search_are_found_before_it(option: str, value: str, command_line: CommandLine) -> None:
    status, out, err = command_line("suite", "smoke", "--tuned", 1, option, value)
    assert (status, out) == (2, "") and value in err
    assert not Path("results").exists()
