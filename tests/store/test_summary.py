from __future__ import annotations

import statistics

import pandas as pd
import pytest

from dgl_mutual.store.summary import summarise_trials, table, what_n_counts


def trials(values: dict[tuple[int, int], list[float | None]]) -> pd.DataFrame:
    """Rows of two members; the second is a different architecture in every trial, as `best_by_val` may be."""
    common = {"task": "node", "dataset": "ring", "strategy": "gml", "protocol": "public", "metric": "rocauc", "train": 1.0, "val": 0.5}
    return pd.DataFrame(
        [
            {**common, "member": member, "architecture": f"a{seed}", "seed": seed, "fold": fold, "test": value}
            for (seed, fold), pair in values.items()
            for member, value in zip(["gcn-0", "best_by_val"], pair, strict=True)
        ]
    )


def test_mean_and_sample_deviation_of_each_member() -> None:
    summary = summarise_trials(trials({(0, 0): [0.1, 0.5], (1, 0): [0.2, 0.5], (2, 0): [0.6, 0.8]}))
    test = summary[summary["part"] == "test"].set_index("member")
    assert list(test.index) == ["gcn-0", "best_by_val"]
    assert test.loc["gcn-0", "mean"] == pytest.approx(0.3)
    assert test.loc["gcn-0", "std"] == pytest.approx(statistics.stdev([0.1, 0.2, 0.6]))
    assert test.loc["best_by_val", "std"] == pytest.approx(statistics.stdev([0.5, 0.5, 0.8]))
    assert list(test["n"]) == [3, 3]
    assert set(summary["part"]) == {"train", "val", "test"}


def test_one_trial_has_no_deviation() -> None:
    assert summarise_trials(trials({(0, 0): [0.1, 0.2]}))["std"].isna().all()


def test_an_undefined_metric_is_not_counted() -> None:
    summary = summarise_trials(trials({(0, 0): [0.1, 0.5], (0, 1): [None, 0.7], (0, 2): [0.3, 0.9]}))
    test = summary[summary["part"] == "test"].set_index("member")
    assert test.loc["gcn-0", "n"] == 2
    assert test.loc["gcn-0", "mean"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("keys", "counts"),
    [([(0, 0)], "seeds"), ([(0, 0), (1, 0)], "seeds"), ([(0, 0), (0, 1)], "folds"), ([(0, 0), (0, 1), (1, 0), (1, 1)], "seeds x folds")],
)
def test_what_n_counts(keys: list[tuple[int, int]], counts: str) -> None:
    rows = trials({key: [0.5, 0.5] for key in keys})
    assert what_n_counts(rows) == counts
    assert set(summarise_trials(rows)["counts"]) == {counts}


def test_table_shows_members_in_their_order() -> None:
    lines = table(summarise_trials(trials({(0, 0): [0.1, 0.5], (1, 0): [0.2, 0.5]}))).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["gcn-0", "0.5000", "+-", "0.0000", "0.1500", "+-", "0.0707"],
        ["best_by_val", "0.5000", "+-", "0.0000", "0.5000", "+-", "0.0000"],
    ]
    assert "rocauc; n = 2 seeds" in lines[0]


def test_columns_of_the_table_end_in_one_place_beside_long_names() -> None:
    rows = trials({(0, 0): [0.1, 0.5], (1, 0): [0.2, 0.5]}).replace("gcn-0", "MyVeryLongNetwork-0")
    head, *lines = table(summarise_trials(rows)).splitlines()
    (width,) = set(map(len, lines))
    assert head[:width].endswith("  test")
