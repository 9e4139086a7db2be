from __future__ import annotations

import gc
import gzip
import os
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.data.files.number_tables import NumberTable, read_numbers
from dgl_mutual.data.values.faults import Faults


def read(path: Path, content: bytes, **rules: object) -> tuple[NumberTable | None, str]:
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    faults = Faults()
    table = read_numbers(path, faults, **rules)  # type: ignore[arg-type]  # any rules
    return table, "; ".join(map(str, faults.found))


#: Some kilobytes each: what they decompress to, and the rule that they break.
BOMBS = {
    "one line": (b"," * 20_000_000, "expected at most 100000 numbers per line, found more in line 1"),
    "one line of numbers": (b"1," * 8_000_000, "expected at most 100000 numbers per line"),
    "a wide line before short ones": (
        b"1," * 90_000 + b"1\n" + b"\n" * 4_000_000 + b"1",
        "expected 90001 values per line, found a blank line",
    ),
    "a wide line before Macintosh's short ones": (
        b"1," * 90_000 + b"1\r" + b"\r" * 4_000_000 + b"1",
        "expected 90001 values per line, found a blank line",
    ),
    "blank lines": (b"\n" * 15_000_000, "the file holds more than .* numbers"),
    "one cell": (b"1" * 60_000_000, "the file decompresses to more than 200 times its size"),
    "zeros": (bytes(10_000_000), "expected text, found a zero byte"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_small_files_that_decompress_to_large_tables_are_refused(tmp_path: Path, kind: str) -> None:
    content, rule = BOMBS[kind]
    start = time.process_time()
    table, found = read(tmp_path / "edge.csv.gz", content)
    assert table is None and (tmp_path / "edge.csv.gz").stat().st_size < 120_000
    assert re.search(rule, found)
    assert time.process_time() - start < 8


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_values_are_exact(tmp_path: Path, suffix: str, newline: str) -> None:
    values = np.random.default_rng(0).normal(size=(7_000, 3))
    text = newline.join(",".join(map(repr, row)) for row in values.tolist()) + newline
    table, found = read(tmp_path / f"a.{suffix}", text.encode(), columns=3)
    assert table is not None and not found and table.valid.all()
    np.testing.assert_array_equal(table.values, values)
    table, found = read(tmp_path / f"b.{suffix}", (text + newline + newline).encode())  # blank lines at the end: not read by pandas
    assert table is not None and not found
    np.testing.assert_array_equal(table.values, values)


def test_faults_of_large_files_are_found_without_reading_on(tmp_path: Path) -> None:
    lines = [b"1,2"] * 800_000
    lines[3], lines[-2] = b"1,x", b"1"
    table, found = read(tmp_path / "a.csv", b"\n".join(lines))
    assert table is None and found == f"{tmp_path / 'a.csv'}, line 4: expected numbers only, found '1,x'"


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_files_are_closed_where_they_are_refused(tmp_path: Path, suffix: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for content, rule in (
            (b"1,2\nx,3\n", "expected numbers only"),
            (b"1,2\n3\n", "expected 2 values per line"),
            (b"\xff", "truncated or damaged"),
        ):
            assert rule in read(tmp_path / f"table{suffix}", content)[1]
        gc.collect()
    assert not [str(one.message) for one in caught]


def test_all_faults_of_small_files(tmp_path: Path) -> None:
    table, found = read(tmp_path / "a.csv", b"1,2\n1\n1,x\n3,\n1,2,3\n5,6\n\n\n")
    assert table is not None and table.valid.tolist() == [True, False, False, False, False, True]
    of_ragged = "line 2: expected 2 values per line, as in the lines before: lines of different lengths"
    for rule in (of_ragged, "(2 lines break", "line 3: expected numbers only, found '1,x'", "line 4: expected finite"):
        assert rule in found


@pytest.mark.parametrize("digits", ["9" * 5_000, "-" + "9" * 5_000, "1e999", "1" * 400 + ".5"])
def test_numbers_beyond_all_measure(tmp_path: Path, digits: str) -> None:
    _, found = read(tmp_path / "a.csv", f"1\n{digits}\n".encode())
    assert re.search("line 2: expected (finite numbers|numbers only)", found)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    (tmp_path / "nowhere.csv").symlink_to(tmp_path / "missing")
    for name, rule in (
        ("pipe.csv", "a pipe"),
        ("folder.csv", "it is not a file but a folder"),
        ("device.csv", "a device"),
        ("nowhere.csv", "it is a link to "),
        ("pipe.csv/a", "is missing"),
        ("n" * 300, "cannot be opened"),
        ("a\0b", "no file can have this name"),
    ):
        faults = Faults()
        assert read_numbers(tmp_path / name, faults) is None
        assert rule in faults.found[0].rule, name


def test_large_files_of_holes_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("wb") as file:
        file.write(b"1,2\n")
        file.truncate(1 << 40)
    faults = Faults()
    assert read_numbers(tmp_path / "a.csv", faults) is None
    assert any(rule in faults.found[0].rule for rule in ("holes", "a zero byte"))  # a file system may not know its holes


def test_leading_blank_lines_and_byte_order_marks(tmp_path: Path) -> None:
    table, found = read(tmp_path / "a.csv", b"\n \n1,2\n3,4\n")
    assert (
        table is not None
        and found == f"{tmp_path / 'a.csv'}, line 1: expected 2 values per line, found a blank line (2 lines break this rule)"
    )
    table, found = read(tmp_path / "a.csv", b"\xef\xbb\xbf1,2\n3,4\n\n\n")
    assert table is not None and not found and table.values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\r\n \n", b"\xef\xbb\xbf"])
def test_empty_files(tmp_path: Path, content: bytes) -> None:
    for name in ("a.csv", "a.csv.gz"):
        table, found = read(tmp_path / name, content)
        assert table is None and found == f"{tmp_path / name}: the file is empty"


def test_labels_of_which_most_are_missing(tmp_path: Path) -> None:
    """As in ogbg-molchembl: 1,310 tasks, of which a molecule has 13 labels."""
    labels = np.full((3_500, 1_310), np.nan)
    known = np.random.default_rng(0).random(labels.shape) < 13 / 1_310
    labels[known] = 1
    lines = ("".join("1," if there else "," for there in row)[:-1] for row in known.tolist())
    table, found = read(tmp_path / "graph-label.csv.gz", "\n".join(lines).encode(), columns=1_310, allow_missing=True)
    assert table is not None and not found
    np.testing.assert_array_equal(table.values, labels)
