from __future__ import annotations

from pathlib import Path

import pytest

from dgl_mutual.errors import StoreError
from dgl_mutual.store.tables import KEY, TRIAL_COLUMNS, TUNING_COLUMNS, read_table, read_text, read_trials, read_tuning


def wide(file: Path, first: list[str], more: int) -> Path:
    """A table with so many further columns, and a row of zeros."""
    columns = [*first, *(f"x{index}" for index in range(more))]
    file.write_text(f"{','.join(columns)}\n{','.join('0' * len(columns))}\n")
    return file


def test_tables_with_more_columns_than_any_run_writes_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pandas.read_csv", lambda *_, **__: pytest.fail("read"))
    wide(tmp_path / "trials.csv", TRIAL_COLUMNS, 150_000)
    with pytest.raises(StoreError, match=r"trials.csv' has 150019 columns, more than 20000: it was changed. Restore it"):
        read_trials(tmp_path)
    with pytest.raises(StoreError, match="150019 columns, more than 100000"):
        read_text(tmp_path / "trials.csv")
    wide(tmp_path / "tuning.csv", TUNING_COLUMNS, 50_000)
    with pytest.raises(StoreError, match="50006 columns, more than 20000"):
        read_tuning(tmp_path)


def test_a_wide_table_is_read_and_a_number_that_no_trial_has_is_named(tmp_path: Path) -> None:
    history = wide(tmp_path / "history.csv", [*KEY, "epoch"], 1000)
    assert read_table(history, [*KEY, "epoch"]).shape == (1, 1003)
    history.write_text(history.read_text().removesuffix("0,0\n") + f"{'9' * 30},-1e300\n")
    with pytest.raises(StoreError, match="no number where one belongs, in x998, x999: it was changed"):
        read_table(history, [*KEY, "epoch"])
    history.write_text(history.read_text().replace(",0", ",a"))
    with pytest.raises(StoreError, match="in fold, epoch, x0, x1, x2 and 997 more: it was changed"):
        read_table(history, [*KEY, "epoch"])
