"""The extensions that generate the documentation, and the names on its pages."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from dgl_mutual.cli.main import COMMANDS, cli
from tests.markdown import markdown_pages

DOCS = Path(__file__).parents[1] / "docs"
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_commands_have_the_names_that_users_type() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None and command.name == name


def test_files_that_are_named_exist() -> None:
    root = DOCS.parent
    here = {
        str(file.relative_to(root))
        for top in ("benchmarks", "dgl_mutual", "docs", "tests", "results")
        for file in (root / top).rglob("*.*")
    }
    here |= {file.name for file in root.iterdir()}
    found: dict[Path, list[str]] = {}
    for page, text in markdown_pages().items():
        found[page] = re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|yaml|md))`", text)
        for named in found[page]:
            assert any(Path(file).match(named.replace("NAME", "*")) for file in here), f"{page.name} names {named}"
    assert any(names for page, names in found.items() if page.is_relative_to(DOCS))


def test_every_formula_can_be_shown_without_a_script() -> None:
    pytest.importorskip("latex2mathml", reason="latex2mathml is of the extra docs")
    pytest.importorskip("docutils", reason="docutils is of the extra docs")
    maths = extension("maths")
    formulas = [block or inline for file in sorted(DOCS.glob("maths/*.md")) for block, inline in FORMULA.findall(file.read_text("utf-8"))]
    assert len(formulas) > 50
    for formula in formulas:
        assert maths.as_mathml(formula).startswith("<math")
    with pytest.raises(ValueError, match="not supported"):
        maths.as_mathml(r"\nosuchcommand x")


def test_attributes_that_share_a_text_have_an_entry_each() -> None:
    lines = ["A thing.", "", "Attributes:", "    a, b: numbers,", "        in metres", "    c: another", "", "Raises:", "    A, b: never"]
    extension("generated_pages").one_attribute_each(None, "", "", None, None, lines)
    assert lines[3:8] == ["    a: numbers,", "        in metres", "    b: numbers,", "        in metres", "    c: another"]
    assert lines[-1] == "    A, b: never"


def test_help_of_a_command_as_a_page() -> None:
    pages = extension("generated_pages")
    lines = [
        "With --out it goes to a file.",
        "",
        "| Examples:",
        "|   dgl-mutual run --seeds 1",
        "",
        ".. option:: --out <out>",
        "   PosixPath('results')",
    ]
    context: Any = None
    pages.examples_as_code(None, context, lines)
    pages.options_as_code(None, context, lines)
    assert lines[0] == "With ``--out`` it goes to a file."
    assert lines[2:7] == ["Examples:", "", ".. code-block:: console", "", "   $ dgl-mutual run --seeds 1"]
    assert lines[-2:] == [".. option:: --out <out>", "   results"]
