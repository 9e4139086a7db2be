"""Any text at all, on its way into a path, a table, a page or a terminal. With ``--stress N``, N hundred inputs a test."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from hypothesis import strategies as st

from dgl_mutual.utils.files import write_text
from dgl_mutual.utils.safe_text import csv_cell, csv_text, latex_label, latex_text, markdown_text, path_name, plain_cell, terminal_text

#: What has a meaning somewhere, among what has none.
PIECES = ["=", "+", "-", "@", ";", "\t", "\r", "\n", " ", "'", '"', "\x1b", "\x07", "..", "/", "\\", "\0", "|", "<", ">", "`", "*"]
PIECES += ["_", "[", "]", "&", "#", "$", "{", "}", "%", "^", "~", "1", "a", "cmd()", "\uff1d", "\u202e", "\ud800", "é", "日"]
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(max_size=30))


def test_texts(fuzz: Callable[..., None], tmp_path: Path) -> None:
    def test(text: str) -> None:
        name = path_name(text)
        assert Path(name).name == name and not name.startswith(".") and len(name.encode()) <= 150
        cell = str(csv_cell(text))
        assert plain_cell(cell) == text
        for part in re.split(r"[;\t\r\n]", cell):
            if part.strip().startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20")) and part.strip() != "-":
                float(part)
        assert cell.replace("'", "") == text.replace("'", "")
        for shown in (terminal_text(text), markdown_text(text), latex_text(text)):
            shown.encode()
            assert not [each for each in shown if unicodedata.category(each) == "Cc" and each not in "\n\t"]
        line = markdown_text(text)
        assert "\n" not in line and not re.search(r"(?<!\\)(\\\\)*[<|`*_\[\]]", line)
        assert re.fullmatch(r"[A-Za-z0-9:.-]*", latex_label(text))

    fuzz(test, TEXTS)


def test_tables_of_texts(fuzz: Callable[..., None], tmp_path: Path) -> None:
    """What is written is read back: a quote more at most, and as many rows and columns."""

    def test(cells: list[str], header: str) -> None:
        table = pd.DataFrame({header: cells, "n": range(len(cells))})
        write_text(tmp_path / "t.csv", csv_text(table))
        with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert [len(row) for row in rows] == [2] * (len(cells) + 1)
        assert [row[0] for row in rows] == [str(csv_cell(text)) for text in (header, *cells)]
        assert pd.read_csv(io.StringIO(csv_text(table)), keep_default_na=False, dtype=str).shape == table.shape

    encodable = TEXTS.filter(lambda text: "\ud800" not in text and "\0" not in text)
    fuzz(test, st.lists(encodable, min_size=1, max_size=3), encodable.filter(lambda text: text != "n"), share=0.25)
