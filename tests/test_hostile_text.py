"""Functions of text take a time that grows with its length, also where the text was made to prevent that.

Each is given a million characters: with a step for each pair of them it would not end within hours.
"""

from __future__ import annotations

import pandas as pd
import pytest

from dgl_mutual.data.files.csv_table import plain_integers
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.environment import without_folders
from dgl_mutual.reporting.pages import fill
from dgl_mutual.utils.exact_numbers import is_number
from dgl_mutual.utils.safe_text import MAX_NAME, csv_cell, latex_text, lost_in_latex, path_name

N = 10**6
MARKS = "\u0301\u0323" * (N // 2)


@pytest.mark.parametrize("text", ["a" + "\t" * N, "\t " * N, ";" * N + "a", "=" * N, " " * N + "a"])
def test_cells_of_csv(text: str) -> None:
    assert csv_cell(text) == (f"'{text}" if text[0] == "=" else text)


@pytest.mark.parametrize("cell", ["0" * N + "x", "1." + "0" * N + "x"])
def test_identifiers(cell: str) -> None:
    assert plain_integers(pd.Series([cell]))[0] == cell


@pytest.mark.parametrize("text", ["1" * N + "x", "1." + "1" * N + "x"])
def test_numbers(text: str) -> None:
    assert not is_number(text)


@pytest.mark.parametrize("text", ["x" * N, " -->" * N + "x", " " * N + "x", "x -->\n" + "text\n" * N, "x -->\n<!-- table: " * (N // 10)])
def test_pages(text: str) -> None:
    with pytest.raises(UsageError, match="A table is marked incorrectly: line 1: "):
        fill(f"<!-- table: {text}", lambda _: "")


def test_what_looks_like_a_fence_in_pages() -> None:
    line = "`" * N + "x`"
    page = f"{line}\n<!-- table: x -->\n<!-- end of table -->\n"
    assert fill(page, lambda _: "table").startswith(f"{line}\n<!-- table: x -->\n")


@pytest.mark.parametrize("mark", [MARKS, "\u0f73" * N])  # the latter is a letter to `unicodedata.combining`, and becomes two marks
def test_names_of_marks(mark: str) -> None:
    assert len(path_name(f"e{mark}").encode()) <= MAX_NAME
    assert latex_text(f"e{mark}").endswith("?") and lost_in_latex(f"e{mark}")


@pytest.mark.parametrize("text", ["/a" * N, "/" * N, " /a/" * N])
def test_folders_in_messages(text: str) -> None:
    assert len(without_folders(text)) <= len(text) + 3 * N
