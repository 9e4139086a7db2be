from __future__ import annotations

import csv
import io

import pandas as pd
import pytest

from dgl_mutual.utils.safe_text import (
    MAX_NAME,
    csv_cell,
    csv_text,
    latex_label,
    latex_text,
    markdown_text,
    path_name,
    plain_cell,
    plain_csv,
    terminal_text,
)


@pytest.mark.parametrize(
    "text", ["../../x", "a/b", "..", ".", "", "/etc/passwd", ".hidden", "a\\b", "a\0b", "\u202e", "x" * 5000, "数" * 100, "~user", "\udcff"]
)
def test_a_path_name_is_one_name_in_its_folder(text: str) -> None:
    name = path_name(text)
    assert name not in ("", ".", "..") and not name.startswith(".")
    assert len(name.encode()) <= MAX_NAME and not set(name) & set("/\\\0~")


def test_valid_names_stay_and_long_names_stay_different() -> None:
    assert path_name("Cora-v1.2_x") == "Cora-v1.2_x"
    assert path_name("x" * 300 + "a") != path_name("x" * 300 + "b")
    assert path_name("Größe 数据") == "Größe-数据"
    assert path_name("suite-का") == "suite-का" != path_name("suite-कि")
    assert path_name("数" * 60 + "a") != path_name("数" * 60 + "b")


@pytest.mark.parametrize(
    "text",
    [
        "=1",
        "+x",
        "-x",
        "@x",
        "\t=1",
        "\n=1",
        "\r=1",
        " =1",
        "a;=1",
        "a; @x",
        "a\n+1+1",
        "\uff1d1",
        "-1+cmd|' /C calc'!A0",
        "-1;=x",
        "\ufeff=1+1",
        "a;\u200b=1",
        "\x00\xad\u2060@x",
    ],
)
def test_no_cell_is_a_formula_wherever_a_spreadsheet_divides(text: str) -> None:
    safe = str(csv_cell(text))
    for part in safe.replace("\n", ";").replace("\r", ";").replace("\t", ";").split(";"):
        part = part.strip(" \0\xad\u200b\u2060\ufeff")
        assert not part.strip().startswith(("=", "+", "@", "\uff1d")) and (not part.strip().startswith("-") or part.strip() == "-1")
    assert plain_cell(safe) == text and plain_cell(csv_cell(safe)) == safe


@pytest.mark.parametrize("entry", ["-1", "-1.5e3", "-", "plain", "a-b", "a=b", "1;-1;2", "", 3, None, 1.5, "gml (alpha=-1)"])
def test_harmless_cells_stay(entry: object) -> None:
    assert csv_cell(entry) == entry


def test_a_table_has_neither_cells_nor_columns_that_are_formulas() -> None:
    table = pd.DataFrame([["=a", 1.5], [None, -2.0]], columns=["@name", "n"])
    rows = list(csv.reader(io.StringIO(csv_text(table))))
    assert rows == [["'@name", "n"], ["'=a", "1.5"], ["", "-2.0"]]
    assert table.columns[0] == "@name"


def test_markdown_shows_markup_and_html_as_text() -> None:
    assert markdown_text("<img src=x>|a\n# b `c` [d](e) *f* &lt; ~g~ $h$") == (
        r"\<img src=x\>\|a \# b \`c\` \[d\](e) \*f\* \&lt; \~g\~ \$h\$"
    )


def test_a_latex_label_cannot_end_its_argument() -> None:
    assert latex_label(r"tab:suite-a}\input{/etc/passwd}%_b") == "tab:suite-a-input-etc-passwd-b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x1b[2J\x9b1m", r"\x1b[2J\x9b1m"),
        ("a\rb\x08\x7f", r"a\x0db\x08\x7f"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("\udcff", r"\udcff"),
        ("line\n\tnext ± é 日本", "line\n\tnext ± é 日本"),
    ],
)
def test_nothing_controls_a_terminal(text: str, shown: str) -> None:
    assert terminal_text(text) == shown


def test_a_lone_carriage_return_does_not_end_a_line() -> None:
    table = pd.DataFrame([["a\rb", 1.5]], columns=["name", "n"])
    for text in (csv_text(table), plain_csv(table)):
        assert list(csv.reader(io.StringIO(text, newline=""))) == [["name", "n"], ["a\rb", "1.5"]]
        pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), table)


def test_a_letter_and_its_marks_are_one_letter() -> None:
    assert path_name("e\u0301" * 40) == "\u00e9" * 40
    assert path_name("e\u0323\u0301") == path_name("e\u0301\u0323")
    assert latex_text("u\u0308ber") == "\u00fcber"
