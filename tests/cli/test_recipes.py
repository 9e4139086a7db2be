from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dgl_mutual.experiments.recipes import recipe_text, recipes


def test_the_command_lists_and_shows(command_line: Callable[..., Any]) -> None:
    status, out, _ = command_line("recipes", "list")
    assert status == 0 and [line.split()[0] for line in out.splitlines()] == list(recipes())
    status, out, _ = command_line("recipes", "show", "mutag-small")
    assert status == 0 and out.strip() == recipe_text("mutag-small").strip()
    status, _, err = command_line("recipes", "show", "mutag")
    assert status == 2 and "mutag-small" in err
