"""The examples of the README and the documentation run. Tutorials run when the documentation is built."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from dgl_mutual.cli.main import COMMANDS as ALL_COMMANDS
from dgl_mutual.cli.main import main
from dgl_mutual.experiments.strategy_table import as_markdown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, *(file.read_text(encoding="utf-8") for file in sorted((ROOT / "docs").glob("*.md")))]
#: Command -> options that replace its own, for a small run.
SMALL: dict[str, dict[str, str]] = {
    "run": {"--epochs": "2", "--seeds": "1", "--jobs": "1"},
    "distill": {"--epochs": "2", "--seeds": "1", "--jobs": "1"},
    "compare": {"--seeds": "1", "--parity-epochs": "1"},
}
#: Further arguments.
MORE = {"run": ["--offline"], "distill": ["--set", "distill.epochs=2", "--offline"], "compare": ["--parity-only", "--offline"]}


def blocks(language: str) -> list[str]:
    """The blocks of all pages in this language, each once."""
    found = (re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL) for page in PAGES)
    return list(dict.fromkeys(block for page in found for block in page))


def small(arguments: list[str]) -> list[str]:
    """The arguments of a command, changed to a small run."""
    options = dict(SMALL.get(arguments[0], {}))
    if "label-propagation" in arguments:  # it trains nothing
        del options["--epochs"]
    others = [word for index, word in enumerate(arguments) if word not in options and (index == 0 or arguments[index - 1] not in options)]
    return [*others, *(part for option in options.items() for part in option), *MORE.get(arguments[0], [])]


COMMANDS = list(dict.fromkeys(line for block in blocks("bash") for line in block.splitlines() if line))


def test_there_are_examples() -> None:
    assert len(COMMANDS) > 3
    assert blocks("python")
    assert all(command.startswith("dgl-mutual ") for command in COMMANDS)


def test_the_table_of_strategies_is_that_of_their_citations() -> None:
    assert as_markdown() in README


def test_every_command_is_named() -> None:
    named = set(re.findall(r"`([a-z-]+)`", README.split("## All commands")[1]))
    assert set(ALL_COMMANDS) <= named


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = shlex.split(command, comments=True)[1:]
    made = [maker for maker in COMMANDS if maker.startswith("dgl-mutual data generate ") and f"./{shlex.split(maker)[-1]}" in arguments]
    real = "--recipe" in arguments or ("--dataset" in arguments and "digits-multi" not in arguments and not made)
    if real and not os.environ.get("DGL_MUTUAL_DATA"):
        pytest.skip("needs real datasets: set DGL_MUTUAL_DATA to the data folder that holds them")
    monkeypatch.chdir(tmp_path)
    folds = ("--folds", "2") if "graph" in arguments and arguments[0] == "run" else ()
    for steps in (*(shlex.split(maker)[1:] for maker in made), [*small(arguments), *folds]):
        with pytest.raises(SystemExit) as caught:
            main(steps)
        assert caught.value.code == 0


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
