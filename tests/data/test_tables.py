from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dgl_mutual.data import tables
from dgl_mutual.data.faults import Faults
from dgl_mutual.data.tables import read_table


@pytest.mark.parametrize(("lines", "is_bomb"), [(2_000_000, True), (20_000, False)])
def test_a_table_that_unfolds_to_many_times_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int, is_bomb: bool
) -> None:
    monkeypatch.setattr(tables, "_MAX_UNFOLDED", 100_000)
    file = tmp_path / "bomb.csv.gz"
    file.write_bytes(gzip.compress(b"0\n" * lines))
    faults = Faults()
    assert (read_table(file, faults) is None) == is_bomb
    assert [fault.rule for fault in faults.found] == ["the file unfolds to more than 200 times its size"] * is_bomb


def test_a_large_table_of_honest_numbers_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MAX_UNFOLDED", 100_000)
    file = tmp_path / "numbers.csv.gz"
    file.write_bytes(gzip.compress("".join(f"{number * 7919 % 100003}\n" for number in range(50_000)).encode()))
    faults = Faults()
    table = read_table(file, faults)
    assert table is not None and len(table) == 50_000
    assert not faults.found
