from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

import dgl_mutual
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import parse_config, read_config
from dgl_mutual.experiments.configuration.given import given_values
from dgl_mutual.experiments.configuration.trust import check_trust, import_paths, trusted_config
from tests.cli.conftest import command_line  # noqa: F401  # a fixture
from tests.reporting.folders import write_run

#: Every place of a configuration in which an import path is imported.
PLACES = [
    {"strategy": "evil_code:Run"},
    {"dataset": "evil_code:Run"},
    {"students": "gcn, evil_code:Run"},
    {"students": ["gcn", "evil_code:Run"]},
    {"students": [{"architecture": "evil_code:Run"}]},
    {"strategy_options": {"weighting": "evil_code:Run"}},
    {"strategy_options": {"weighting": {"name": "evil_code:Run"}}},
    {"grid": {"strategy": ["gml", "evil_code:Run"]}},
    {"grid": {"strategy_options.weighting": ["uniform", "evil_code:Run"]}},
]


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module that leaves a file behind when it is imported."""
    (tmp_path / "evil_code.py").write_text("open('executed', 'w').close()\nRun = None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("evil_code", None)


@pytest.mark.parametrize("values", PLACES)
@pytest.mark.parametrize("of_a_run", [False, True])
def test_a_file_that_names_code_is_refused_and_nothing_is_imported(values: dict, of_a_run: bool, evil: Path) -> None:
    file = evil / "config.yaml"
    file.write_text(yaml.safe_dump({"given": values, "resolved": {"fingerprint": "x"} | values} if of_a_run else values))
    with pytest.raises(UsageError, match=r"names custom code: evil_code:Run.*executes it.*--trust"):
        trusted_config(file, {}, trust=False)
    assert given_values(trusted_config(file, {}, trust=True)) == given_values(parse_config(read_config(file)))
    typed = {"training": {"epochs": 3}, "strategy_options": {"mine": "evil_code:Run"}}
    assert trusted_config(file, typed, trust=False).training.epochs == 3
    assert not (evil / "executed").exists()


def test_the_configuration_of_an_earlier_version_is_read_without_an_import(evil: Path) -> None:
    values = {"task": "node", "fingerprint": "x", "strategy": "evil_code:Run", "training": {}, "strategy_options": {}}
    for students in ([{"architecture": "gcn"}], [{"architecture": "evil_code:Run"}]):
        (evil / "old.yaml").write_text(yaml.safe_dump({**values, "students": students}))
        read_config(evil / "old.yaml")
    assert not (evil / "executed").exists()


@pytest.mark.parametrize("values", PLACES)
@pytest.mark.parametrize("part", ["given", "resolved"])
@pytest.mark.filterwarnings("ignore:Options of gml that dml does not take over")
def test_neither_part_of_a_run_s_file_is_imported(values: dict, part: str, evil: Path) -> None:
    """The run's own configuration is resolved to compare its defaults, also where the command line replaces what it names."""
    parts = {"given": {}, "resolved": {"fingerprint": "x", "dataset": "digits", "strategy": "gml", "targets": ["x:Y"]}}
    (evil / "config.yaml").write_text(yaml.safe_dump({**parts, part: parts[part] | values}))
    typed = {"strategy": "dml", "students": "gcn", "dataset": "digits", "strategy_options": {}, "grid": {}}
    with pytest.raises(UsageError, match=r"names custom code: evil_code:Run\. .*--trust"):
        trusted_config(evil / "config.yaml", typed, trust=False)
    with pytest.raises(UsageError, match=r"names custom code: evil_code:Run\. .*trust=True"):
        dgl_mutual.fit("digits", config=evil / "config.yaml")
    assert not (evil / "executed").exists()
    (evil / "config.yaml").write_text(yaml.safe_dump(parts))
    trusted_config(evil / "config.yaml", typed, trust=False)


def test_bytes_hide_no_import_path(evil: Path) -> None:
    (evil / "mine.yaml").write_text(yaml.safe_dump({"unlabelled": b"evil_code:Run"}))
    with pytest.raises(UsageError, match=r"bytes \(!!binary\)"):
        dgl_mutual.experiment("digits", {"a": "mine.yaml"})
    assert not (evil / "executed").exists()


def test_code_that_the_command_line_replaces_needs_no_trust(evil: Path) -> None:
    (evil / "mine.yaml").write_text("strategy: evil_code:Run\n")
    assert trusted_config(evil / "mine.yaml", {"strategy": "dml"}, trust=False).strategy == "dml"


def test_names_of_what_is_installed_and_other_texts_with_colons_are_no_code() -> None:
    config = parse_config({"students": "gcn,gat", "noise": "feature:0.2", "strategy": "dml", "dataset": "/data/a:b/set"})
    check_trust([config], "mine.yaml", {})
    assert [*import_paths({"a": [1, None, {"b": "x.y:Z, tcp://host:80"}], "c": "label:0.2"})] == ["x.y:Z"]


@pytest.mark.parametrize("arguments", [("run", "--config"), ("distill", "--config"), ("compare", "--config"), ("suite",)])
def test_no_command_imports_what_a_file_names(command_line, arguments, evil: Path) -> None:  # noqa: F811  # the fixture
    method = {"strategy": "evil_code:Run"}
    values = {"datasets": ["digits"], "methods": {"theirs": method}} if arguments == ("suite",) else method
    (evil / "theirs.yaml").write_text(yaml.safe_dump(values))
    status, _, err = command_line(*arguments, "theirs.yaml", *(("--dry-run",) if arguments == ("suite",) else ()))
    assert status == 2
    assert "evil_code:Run" in err
    assert "--trust" in err
    assert not (evil / "executed").exists()
    # With the user's word it is imported, and found to be no strategy.
    assert command_line(*arguments, "theirs.yaml", "--trust")[0] in (1, 2)
    assert (evil / "executed").exists()


def test_a_suite_whose_method_is_a_file_that_names_code_is_refused(command_line, evil: Path) -> None:  # noqa: F811  # the fixture
    (evil / "theirs.yaml").write_text("strategy: evil_code:Run\n")
    (evil / "suite.yaml").write_text("datasets: [digits]\nmethods: {dml: null, theirs: theirs.yaml}\n")
    status, _, err = command_line("suite", "suite.yaml", "--dry-run")
    assert (status, "evil_code:Run" in err) == (2, True)
    assert not (evil / "executed").exists()


@pytest.mark.usefixtures("without_layout")
@pytest.mark.parametrize("command", [("status",), ("export",), ("report",), ("plot", "--kind", "curves")])
def test_reading_commands_import_nothing(command_line, command: tuple[str, ...], evil: Path) -> None:  # noqa: F811  # the fixture
    folder = write_run(evil)
    resolved = {"task": "node", "dataset": "evil_code:Run", "strategy": "evil_code:Run", "seeds": 1, "protocol": "random"}
    resolved |= {"fingerprint": "x", "training": {"epochs": 1}, "strategy_options": {}, "students": [{"architecture": "evil_code:Run"}]}
    unset = dict.fromkeys(("label_rate", "unlabelled", "noise", "grid"))
    (folder / "config.yaml").write_text(yaml.safe_dump({"given": resolved, "resolved": unset | resolved}))
    for runs in (folder, evil):
        assert command_line(*command, runs)[0] == 0
    assert not (evil / "executed").exists()
