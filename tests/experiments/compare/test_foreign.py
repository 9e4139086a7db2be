from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.compare.foreign import pair, read_results
from dgl_mutual.utils.safe_text import csv_text, plain_csv


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "theirs.csv"


def trials(seeds: int = 3, folds: int = 1) -> pd.DataFrame:
    """Our side: two members, `test` = seed / 10 + fold / 100, one more for the second member."""
    rows = [
        ("Cora", "print", f"split-{seed}", seed, fold, member, seed / 10 + fold / 100 + index)
        for seed in range(seeds)
        for fold in range(folds)
        for index, member in enumerate(["gcn-0", "best_by_val"])
    ]
    return pd.DataFrame(rows, columns=["dataset", "fingerprint", "split", "seed", "fold", "member", "test"])


def test_fractions_stay_and_percent_becomes_fractions(written: Path) -> None:
    written.write_text("dataset,seed,test\nCora,0,0.5\nCora,1,1\n")
    table, percent = read_results(written, {})
    assert not percent and table["test"].tolist() == [0.5, 1.0]
    written.write_text("dataset,seed,test\nCora,0,50\nCora,1,81.5\n")
    table, percent = read_results(written, {})
    assert percent and table["test"].tolist() == [0.5, 0.815]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("data,run,acc", {"dataset": "data", "seed": "run", "test": "acc"}),
        ("dataset,fold,test", {"seed": "fold"}),
        ("fold,seed,test", {"dataset": "fold"}),
        ("dataset,test,seed", {"seed": "test", "test": "seed"}),
    ],
)
def test_columns_have_whatever_names_they_are_mapped_to(header: str, columns: dict[str, str], written: Path) -> None:
    written.write_text(f"{header}\nCora,1,1\n")
    table, _ = read_results(written, columns)
    assert table.to_dict("records") == [{"dataset": "cora", "seed": 1, "test": 1.0}]


def test_a_mapped_column_goes_before_one_that_has_our_name(written: Path) -> None:
    written.write_text("dataset,seed,test,accuracy,loss\nCora,0,0.1,0.9,7\n")
    assert read_results(written, {"test": "accuracy"})[0]["test"].tolist() == [0.9]


@pytest.mark.parametrize("name", ["=cmd()", "'=cmd()", "-x", " Cora ", "NA", "0.10"])
def test_a_name_is_the_same_as_it_is_and_as_tables_have_it(name: str, written: Path) -> None:
    ours = trials(1).assign(dataset=name)
    for text in (csv_text(ours), plain_csv(ours)) if not name.startswith("'") else (csv_text(ours),):
        written.write_text(text)
        assert len(pair(ours, read_results(written, {})[0], member="gcn-0").table) == 2


def test_spaces_a_byte_order_mark_and_quotes_do_no_harm(written: Path) -> None:
    written.write_text('\ufeff"dataset" , seed, test \n "Cora" , 0 , 0.5 \n', encoding="utf-8")
    assert read_results(written, {})[0].to_dict("records") == [{"dataset": "cora", "seed": 0, "test": 0.5}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as CSV"),
        ("dataset,seed,test\n", "a header and no rows"),
        ("seed,test\n0,0.5\n", "no column dataset; they have: seed, test. Add it, or say what yours is called: --column dataset=NAME"),
        ("dataset,test\nCora,0.5\n", "no column seed or fold"),
        ("dataset;seed;test\nCora;0;0.5\n", "they have: dataset;seed;test"),
        ('dataset,seed,test,note\nCora,0,0.5,"a\nCora,1,0.6,b\n', "cannot be read as CSV"),
        ("dataset,seed,test\nCora,0,0.5,7\n", "have 4 cells in line 2, and 3 columns"),  # not a column of row names
        ("dataset,seed,test,test\nCora,0,0.5,0.6\n", "several columns called 'test'"),
        ("dataset,seed,test\nCora,0,0.5\nCora,1,n/a\n", r"test is not a number in 1 rows \(row 2: 'n/a'\)"),
        ("dataset,seed,test\nCora,0\n", "have 2 cells in line 2, and 3 columns"),
        ("dataset,seed,test\nCora,0,\n", r"test is not a number in 1 rows \(row 1: ''\)"),
        (f"dataset,seed,test{',x,y,z,w,v' * 2}\n", "several columns called 'x', 'y', 'z' and 2 more"),
        (f"seed,test,{','.join(map(str, range(99)))}\n", "they have: seed, test, 0, .*, 17 and 81 more"),
        ("dataset,seed,test\nCora,0,inf\n", "test is not a number"),
        ("dataset,seed,test\nCora,0.5,0.5\n", r"seed is not an integer below 2\*\*53 in 1 rows \(row 1: '0.5'\)"),
        *((f"dataset,seed,test\nCora,{seed},0.5\n", r"seed is not an integer below 2\*\*53") for seed in (2**53 + 1, 2**63, -(2**53))),
        ("dataset,seed,test\nCora,0,-0.5\n", "ranges from -0.5 to -0.5"),
        ("dataset,seed,test\nCora,0,815\n", "ranges from 815 to 815"),
        ("dataset,seed,test\nCora,0,81.5\nCora,1,0.8\n", "1 values of test are above 1, up to 81.5, and 1 are not, down to 0.8"),
        ("dataset,seed,test\nCora,0,0.5\ncora ,0,0.6\n", r"1 rows more than once, by dataset, seed \(dataset cora, seed 0\)"),
    ],
)
def test_a_file_that_cannot_be_meant(text: str, said: str, written: Path) -> None:
    written.write_text(text)
    with pytest.raises(DataError, match=said):
        read_results(written, {})


def test_columns_without_a_name_are_passed_over(written: Path) -> None:
    """Row numbers have none, nor has what a spreadsheet exports of empty columns."""
    written.write_text(",dataset,seed,test,,\n0,Cora,0,0.5,,\n\n1,Cora,1,0.6,,\n")
    assert read_results(written, {})[0].to_dict("list") == {"dataset": ["cora", "cora"], "seed": [0, 1], "test": [0.5, 0.6]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"dataset,seed,test{',' * 5000}\n" + "digits\n" * 20_000, "have 1 cell in line 2, and 5003 columns"),
        (f"dataset,seed,test{',' * 300_000}\n", "have 300003 columns, more than 20000. Keep those that are needed"),
    ],
    ids=["rows", "columns"],
)
def test_a_small_file_takes_no_more_than_its_size(text: str, said: str, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that are not there took gigabytes, and columns without a name minutes and megabytes of message."""
    monkeypatch.setattr("pandas.read_csv", lambda *_, **__: pytest.fail("read"))
    written.write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        read_results(written, {})
    assert len(str(caught.value)) < 500


def test_a_mapping_that_cannot_be_meant(written: Path) -> None:
    written.write_text("dataset,seed,test\nCora,0,0.5\n")
    with pytest.raises(UsageError, match=r"Unknown column 'tset'.*Did you mean 'test'"):
        read_results(written, {"tset": "acc"})
    with pytest.raises(UsageError, match="seed=run, fold=run"):
        read_results(written, {"seed": "run", "fold": "run"})
    with pytest.raises(DataError, match="no column acc; they have: dataset, seed, test"):
        read_results(written, {"test": "acc"})


def foreign(rows: list[tuple[object, ...]], *columns: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["dataset", *columns, "test"])


def test_rows_are_paired_by_seed_and_the_rest_is_named() -> None:
    theirs = foreign([("cora", 2, 0.3), ("cora", 0, 0.1), ("cora", 9, 0.9), ("pubmed", 1, 0.8)], "seed")
    pairing = pair(trials(), theirs, member="gcn-0")
    assert pairing.table.sort_values("seed").to_dict("list") == {
        "seed": [0, 2],
        "fold": [0, 0],
        "member": ["gcn-0", "gcn-0"],
        "ours": [0.0, 0.2],
        "reference": [0.1, 0.3],
    }
    of_file, of_ours = pairing.unmatched
    assert of_file.startswith("2 rows of the file have no partner") and "seed 9" in of_file and "dataset pubmed, seed 1" in of_file
    assert of_ours == "1 rows of ours have no partner in the file (dataset cora, seed 1, member gcn-0)"


def test_members_of_the_file_are_paired_with_ours_of_that_name() -> None:
    pairing = pair(trials(1), foreign([("cora", 0, "best_by_val", 0.5), ("cora", 0, "mlp", 0.4)], "seed", "member"), member="gcn-0")
    assert pairing.table[["member", "ours", "reference"]].values.tolist() == [["best_by_val", 1.0, 0.5]]
    assert len(pairing.unmatched) == 2 and "member mlp" in pairing.unmatched[0] and "member gcn-0" in pairing.unmatched[1]


def test_folds_of_several_seeds_need_both() -> None:
    with pytest.raises(DataError, match=r"no column 'seed', and ours have 2 seeds.*--seeds 1"):
        pair(trials(2, 2), foreign([("cora", 0, 0.5)], "fold"), member="gcn-0")
    with pytest.raises(DataError, match="no column 'fold', and ours have 2 folds") as caught:
        pair(trials(2, 2), foreign([("cora", 0, 0.5)], "seed"), member="gcn-0")
    assert "--folds 1" not in str(caught.value)  # there is no such thing
    table = pair(trials(2, 2), foreign([("cora", 1, 1, 0.5)], "seed", "fold"), member="gcn-0").table
    assert table[["seed", "fold", "ours"]].values.tolist() == [[1, 1, pytest.approx(0.11)]]


def test_a_row_of_other_data_is_no_partner() -> None:
    told = "1 rows were made from other data or another split: their fingerprint or split differs (dataset cora, seed 1, member gcn-0)"
    for columns, here, there in (
        (["fingerprint"], ["print"], ["another"]),
        (["split"], ["split-0"], ["split-0"]),
        (["fingerprint", "split"], ["print", "split-0"], ["print", "split-0"]),
        (["fingerprint", "split"], ["print", "split-0"], ["another", "split-1"]),
    ):
        theirs = foreign([("cora", 0, *here, 0.1), ("cora", 1, *there, 0.2)], "seed", *columns)
        pairing = pair(trials(2), theirs, member="gcn-0")
        assert pairing.table["seed"].tolist() == [0]
        assert pairing.unmatched == (told,)


def test_a_row_of_ours_without_a_test_metric_is_no_partner() -> None:
    ours = trials(2)
    ours.loc[ours["seed"] == 1, "test"] = math.nan
    theirs = foreign([("cora", 0, 0.1), ("cora", 1, 0.2)], "seed")
    pairing = pair(ours, theirs, member="gcn-0")
    assert pairing.table["seed"].tolist() == [0]
    assert pairing.unmatched == (
        "1 rows of ours have no test metric, since no label of their test part is known (dataset cora, seed 1, member gcn-0)",
    )
    with pytest.raises(DataError, match=r"2 rows of ours have no test metric.*Give the labels of the test part\."):
        pair(ours.assign(test=math.nan), theirs, member="gcn-0")


def test_many_rows_without_a_partner_are_counted_and_some_are_named() -> None:
    theirs = foreign([("cora", seed, 0.5) for seed in range(20)], "seed")
    (line,) = pair(trials(1), theirs, member="gcn-0").unmatched
    assert line.startswith("19 rows of the file") and line.count("seed") == 5 and line.endswith("; ...)")


def test_without_any_pair_there_is_nothing_to_compare() -> None:
    with pytest.raises(DataError, match=r"1 rows of the file.*; 3 rows of ours.*Check dataset names, seeds and folds"):
        pair(trials(), foreign([("pubmed", 0, 0.5)], "seed"), member="gcn-0")
    with pytest.raises(UsageError, match=r"Unknown member 'gin-2'.*gcn-0, best_by_val"):
        pair(trials(), foreign([("cora", 0, 0.5)], "seed"), member="gin-2")
