from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from torch import Tensor

from dgl_mutual.strategies import BASELINES, STRATEGIES
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.weightings.uniform import Uniform

ALL = {**STRATEGIES, **BASELINES}


class Derived(STRATEGIES["gml"]):  # type: ignore[misc]  # no docstring of its own
    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        return {"supervised": self.supervised(step)}


def test_every_strategy_is_listed_with_formula_and_source(command_line: Callable[..., object]) -> None:
    status, out, _ = command_line("strategies")
    assert status == 0
    paragraphs = dict(zip(ALL, out.split("\n\n"), strict=True))
    for name, kind in ALL.items():
        assert paragraphs[name].split()[0] == name
        assert kind.citation.formula in paragraphs[name]
        assert kind.citation.title in paragraphs[name]


def test_the_markdown_table_has_a_row_a_strategy_and_three_cells_a_row(command_line: Callable[..., object]) -> None:
    status, out, _ = command_line("strategies", "--format", "markdown")
    assert status == 0
    _, rule, *rows = [line.replace("\\|", "/") for line in out.splitlines()]
    assert rule == "|---|---|---|"
    assert [row.split("|")[1].strip() for row in rows] == [f"`{name}`" for name in ALL]
    assert {row.count("|") for row in rows} == {4}


@pytest.mark.parametrize("name", ALL)
def test_a_strategy_is_shown_with_all_its_options(command_line: Callable[..., object], name: str) -> None:
    status, out, _ = command_line("strategies", name)
    assert status == 0
    assert out.startswith(f"{name}\n")
    for option in ALL[name].Options.model_fields:
        assert f"\n{option}: " in out
    status, out, _ = command_line("strategies", name, "--format", "markdown")
    assert [line.split("`")[1] for line in out.splitlines()[2:]] == list(ALL[name].Options.model_fields)


def test_without_docstrings_it_says_why_there_are_none(command_line: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    """As with -OO, under which all libraries would be compiled anew."""
    monkeypatch.setattr(Uniform, "__doc__", None)
    monkeypatch.setattr("dgl_mutual.experiments.strategy_table.sys", SimpleNamespace(flags=SimpleNamespace(optimize=2)))
    status, out, _ = command_line("strategies", "gml")
    assert status == 0 and "uniform: no description (docstrings are removed by PYTHONOPTIMIZE or -OO)\n" in out


def test_an_unknown_strategy_is_refused_with_a_suggestion(command_line: Callable[..., object]) -> None:
    status, _, err = command_line("strategies", "gmll")
    assert status == 2
    assert "Did you mean 'gml'?" in err


def test_a_derived_strategy_does_not_have_the_source_and_text_of_its_base(command_line: Callable[..., object]) -> None:
    status, out, _ = command_line("strategies", f"{__name__}:Derived")
    assert status == 0 and out.startswith("Derived\nderived from gml\nfrom import path\n\nOptions (")
    citation = STRATEGIES["gml"].citation
    assert citation.title not in out and citation.url not in out
