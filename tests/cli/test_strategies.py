from __future__ import annotations

from collections.abc import Callable

from dgl_mutual.strategies import STRATEGIES


def test_every_strategy_is_listed_with_formula_and_source(command_line: Callable[..., object]) -> None:
    status, out, _ = command_line("strategies")
    assert status == 0
    paragraphs = dict(zip(STRATEGIES, out.split("\n\n"), strict=True))
    for name, kind in STRATEGIES.items():
        assert paragraphs[name].split()[0] == name
        assert kind.citation.formula in paragraphs[name]
        assert kind.citation.title in paragraphs[name]


def test_the_markdown_table_has_a_row_a_strategy_and_three_cells_a_row(command_line: Callable[..., object]) -> None:
    status, out, _ = command_line("strategies", "--format", "markdown")
    assert status == 0
    _, rule, *rows = [line.replace("\\|", "/") for line in out.splitlines()]
    assert rule == "|---|---|---|"
    assert [row.split("|")[1].strip() for row in rows] == [f"`{name}`" for name in STRATEGIES]
    assert {row.count("|") for row in rows} == {4}
