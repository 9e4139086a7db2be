from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from dgl_mutual.errors import StoreError
from dgl_mutual.store.tables import KEY, TRIAL_COLUMNS, TUNING_COLUMNS, read_table, read_text, read_trials, read_tuning


def wide(file: Path, first: list[str], more: int) -> Path:
    """A table with so many further columns, and a row of zeros."""
    columns = [*first, *(f"x{index}" for index in range(more))]
    file.write_text(f"{','.join(columns)}\n{','.join('0' * len(columns))}\n")
    return file


def test_tables_with_too_many_columns_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pandas.read_csv", lambda *_, **__: pytest.fail("read"))
    wide(tmp_path / "trials.csv", TRIAL_COLUMNS, 150_000)
    with pytest.raises(StoreError, match=r"trials.csv' has 150025 columns, more than 20000: it was changed. Restore it"):
        read_trials(tmp_path)
    with pytest.raises(StoreError, match="150025 columns, more than 100000"):
        read_text(tmp_path / "trials.csv")
    wide(tmp_path / "tuning.csv", TUNING_COLUMNS, 50_000)
    with pytest.raises(StoreError, match="50006 columns, more than 20000"):
        read_tuning(tmp_path)


def test_a_wide_table_is_read_and_a_number_that_no_trial_has_is_named(tmp_path: Path) -> None:
    history = wide(tmp_path / "history.csv", [*KEY, "epoch"], 1000)
    assert read_table(history, [*KEY, "epoch"]).shape == (1, 1003)
    history.write_text(history.read_text().removesuffix("0\n") + "-1e300\n")
    with pytest.raises(StoreError, match=r"has x999 = -1e\+300 in row 1, outside of -3\.5e\+38 to 3\.5e\+38: it was changed"):
        read_table(history, [*KEY, "epoch"])
    history.write_text(history.read_text().replace(",0", ",a"))
    with pytest.raises(StoreError, match="in fold, epoch, x0, x1, x2 and 996 more: it was changed"):
        read_table(history, [*KEY, "epoch"])


def test_columns_that_a_strategy_or_callback_has_logged_have_no_range(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("seed,fold,epoch,nll,disagreement,test\n0,0,0,-1.5,1.7,-3e17\n")
    assert read_table(tmp_path / "history.csv", [*KEY, "epoch"]).shape == (1, 6)
    assert read_trials(trials(tmp_path / "trials.csv", nll=1.19e29).parent)["nll"].max() == 1.19e29, "of a far too large learning rate"
    (tmp_path / "history.csv").write_text("seed,fold,epoch\n0,0,-1\n")
    with pytest.raises(StoreError, match=r"epoch = -1 in row 1, outside of 0 to 1e\+15: it was changed"):
        read_table(tmp_path / "history.csv", [*KEY, "epoch"])


def trials(file: Path, **values: object) -> Path:
    """trials.csv of two rows, the second with these values."""
    first: dict[str, object] = dict.fromkeys(TRIAL_COLUMNS, 0)
    first |= {"task": "node", "dataset": "ring", "strategy": "gml", "member": "gcn-0", "protocol": "public", "metric": "accuracy"}
    pd.DataFrame([first, {**first, "seed": 1, **values}]).to_csv(file, index=False)
    return file


FRACTIONS = ("train", "val", "test", "ece", "disagreement")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in FRACTIONS for value in (1.7, -0.1)),
        *((name, -1) for name in ("nll", "best_epoch", "epochs", "seconds_per_epoch", "train_seconds", "inference_ms", "parameters")),
        *((name, value) for name in ("peak_mib", "test_to_train") for value in (-0.5, 1e16)),
        ("seed", 1e16),
        ("nll", 1e39),
    ],
)
def test_a_figure_that_no_trial_can_have_is_named(name: str, value: float, tmp_path: Path) -> None:
    trials(tmp_path / "trials.csv", **{name: value})
    most = "1" if name in FRACTIONS else "3.5e+38" if name == "nll" else "1e+15"
    with pytest.raises(
        StoreError, match=re.escape(f"trials.csv' has {name} = {value:g} in row 2, outside of 0 to {most}: it was changed.")
    ):
        read_trials(tmp_path)


def test_the_ends_of_ranges_and_what_is_not_defined_are_read(tmp_path: Path) -> None:
    trials(tmp_path / "trials.csv", test=1.0, val=None, train=0, nll=17.5, ece=1.0 + 2**-52, best_epoch=None, epochs=0)
    assert read_trials(tmp_path)["test"].tolist() == [0, 1]


@pytest.mark.parametrize(("column", "value"), [("value", "1.5"), ("best", "-0.5"), ("seconds", "-1"), ("trial", "-1"), ("trial", "2e+06")])
def test_a_figure_that_no_search_can_have_is_named(column: str, value: str, tmp_path: Path) -> None:
    row = {"trial": "0", "state": "complete", "value": "0.5", "best": "0.5", "seconds": "1", "error": "", column: value}
    (tmp_path / "tuning.csv").write_text(f"{','.join(TUNING_COLUMNS)}\n{','.join(row[name] for name in TUNING_COLUMNS)}\n")
    with pytest.raises(StoreError, match=rf"tuning.csv' has {column} = {re.escape(value)} in row 1, outside of 0 to "):
        read_tuning(tmp_path)
