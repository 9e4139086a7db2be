from __future__ import annotations

import io
import json
import math
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.suites.tune_suite import SuiteTuning
from dgl_mutual.reporting.baseline import default_baseline
from dgl_mutual.reporting.comparison import Comparison, compare
from dgl_mutual.reporting.experiment import Experiment
from dgl_mutual.reporting.export import export
from dgl_mutual.reporting.runs import gather, load_runs, suite_runs
from dgl_mutual.reporting.suite_tables import write_suite_tables
from dgl_mutual.reporting.tables import BETTER as MARK
from dgl_mutual.reporting.tables import WORSE, Cell, caption, text_table, value_name
from dgl_mutual.store.tables import NAME_COLUMNS, TUNING_COLUMNS
from tests.reporting.folders import write_run, write_suite

ALONE = [0.80, 0.81, 0.79, 0.82, 0.80]
BETTER = [0.83, 0.82, 0.82, 0.86, 0.84]


def compared(folder: Path, **options: Any) -> Comparison:
    return compare(gather(load_runs([folder])), **options)


def row(comparison: Comparison, method: str, data: str = "Cora", member: str = "mean") -> dict[str, Any]:
    rows = comparison.rows
    (found,) = rows[(rows["method"] == method) & (rows["data"] == data) & (rows["member"] == member)].to_dict("records")
    return found


def test_seeds_are_paired_and_compared_by_wilcoxon(tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent", seeds=5, scores=ALONE)
    write_run(tmp_path, strategy="gml", seeds=5, scores=BETTER)
    found = row(compared(tmp_path, baseline="independent"), "gml")
    differences = np.subtract(BETTER, ALONE)
    assert found["mean"] == pytest.approx(np.mean(BETTER))
    assert found["std"] == pytest.approx(np.std(BETTER, ddof=1))
    assert (found["n"], found["counts"], found["is_best"]) == (5, "seeds", True)
    assert found["difference"] == pytest.approx(differences.mean())
    assert found["effect"] == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert (found["wins"], found["losses"]) == (5, 0)
    assert found["test"] == "Wilcoxon signed-rank test"
    assert found["p"] == found["smallest_p"] == 2 / 2**5


@pytest.mark.parametrize(("value", "counts"), [("test", (5, 0)), ("nll", (0, 5)), ("seconds_per_epoch", (0, 5))])
def test_wins_are_the_trials_in_which_a_method_is_better(value: str, counts: tuple[int, int], tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent", seeds=5, scores=ALONE)
    write_run(tmp_path, strategy="gml", seeds=5, scores=BETTER)
    for file in tmp_path.glob("*/trials.csv"):
        table = pd.read_csv(file)
        table[value] = table["test"]
        table.to_csv(file, index=False)
    found = row(compared(tmp_path, value=value, baseline="independent"), "gml")
    assert found["difference"] > 0
    assert (found["wins"], found["losses"]) == counts


def test_a_tie_is_neither_won_nor_lost(tmp_path: Path) -> None:
    """0.1 + 0.2 is 0.3, but not in its last bit."""
    write_run(tmp_path, strategy="independent", seeds=5, scores=[0.3, 0.1 + 0.2, 0.3, 0.4, 0.3])
    write_run(tmp_path, strategy="gml", seeds=5, scores=[0.1 + 0.2, 0.3, 0.3, 0.3, 0.4])
    found = row(compared(tmp_path, baseline="independent"), "gml")
    assert (found["wins"], found["losses"], found["n"]) == (1, 1, 5)


def test_folds_are_compared_by_the_corrected_t_test(tmp_path: Path) -> None:
    write_run(tmp_path, "MUTAG", "independent", seeds=1, folds=5, scores=ALONE)
    write_run(tmp_path, "MUTAG", "gml", seeds=1, folds=5, scores=BETTER)
    found = row(compared(tmp_path, baseline="independent"), "gml", "MUTAG")
    differences = np.subtract(BETTER, ALONE)
    t = differences.mean() / math.sqrt((1 / 5 + 1 / 4) * differences.var(ddof=1))
    assert found["test"] == "corrected resampled t-test"
    assert found["p"] == pytest.approx(2 * stats.t.sf(t, 4))
    assert (found["counts"], found["smallest_p"]) == ("folds", 0)


@pytest.mark.parametrize("protocol", ["holdout", "holdout-transductive"])
def test_seeds_of_holdout_are_compared_by_the_corrected_t_test(protocol: str, tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent", seeds=5, protocol=protocol, scores=ALONE)
    write_run(tmp_path, strategy="gml", seeds=5, protocol=protocol, scores=BETTER)
    found = row(compared(tmp_path, baseline="independent"), "gml")
    differences = np.subtract(BETTER, ALONE)
    t = differences.mean() / math.sqrt((1 / 5 + 0.2 / 0.8) * differences.var(ddof=1))
    assert (found["test"], found["counts"]) == ("corrected resampled t-test", "seeds")
    assert found["p"] == pytest.approx(2 * stats.t.sf(t, 4))


@pytest.mark.parametrize("ratio", [0.4, math.nan])
def test_official_splits_are_tested_with_their_own_ratio_or_not_at_all(ratio: float, tmp_path: Path) -> None:
    for strategy, scores in (("independent", ALONE), ("gml", BETTER)):
        folder = write_run(tmp_path, strategy=strategy, seeds=1, folds=5, protocol="splits", scores=scores, config={"task": "node"})
        pd.read_csv(folder / "trials.csv").assign(test_to_train=ratio).to_csv(folder / "trials.csv", index=False)
    found = row(compared(tmp_path, baseline="independent"), "gml")
    differences = np.subtract(BETTER, ALONE)
    t = differences.mean() / math.sqrt((1 / 5 + ratio) * differences.var(ddof=1))
    assert found["test"] == ("none" if math.isnan(ratio) else "corrected resampled t-test")
    assert found["p"] == pytest.approx(2 * stats.t.sf(t, 4), nan_ok=True)


@pytest.mark.parametrize(("folds", "better"), [(2, [0.81, 0.84]), (4, [0.82, 0.83, 0.81, 0.84])])
def test_two_folds_and_folds_that_differ_alike_are_not_tested(folds: int, better: list[float], tmp_path: Path) -> None:
    write_run(tmp_path, "MUTAG", "independent", seeds=1, folds=folds, scores=ALONE[:folds])
    write_run(tmp_path, "MUTAG", "gml", seeds=1, folds=folds, scores=better)
    comparison = compared(tmp_path, baseline="independent")
    found = row(comparison, "gml", "MUTAG")
    assert math.isnan(found["p"]) and math.isnan(found["low"])
    assert "Baseline: independent; no test: too few trials, or the same difference in each." in list(caption(comparison))


def test_pairs_are_made_by_seed_and_fold_not_by_their_order(tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent", seeds=5, scores=ALONE)
    write_run(tmp_path, strategy="gml", seeds=5, keys=[(4, 0), (2, 0), (0, 0), (1, 0), (3, 0)], scores=[BETTER[i] for i in (4, 2, 0, 1, 3)])
    found = row(compared(tmp_path, baseline="independent"), "gml")
    assert found["effect"] == pytest.approx(np.subtract(BETTER, ALONE).mean() / np.subtract(BETTER, ALONE).std(ddof=1))


def test_holm_counts_every_test_of_the_table(tmp_path: Path) -> None:
    for data in ("Cora", "CiteSeer"):
        for index, strategy in enumerate(("independent", "dml", "gml")):
            write_run(tmp_path, data, strategy, level=0.7 + 0.05 * index)
    comparison = compared(tmp_path, baseline="independent")
    assert comparison.num_comparisons == 2 * 2 * 3  # methods, datasets, members
    assert row(comparison, "gml")["p_holm"] == pytest.approx(12 * 2 / 2**10)
    assert math.isnan(row(comparison, "independent")["p"])
    only = compared(tmp_path, baseline="independent", members=["mean"])
    assert only.num_comparisons == 4
    assert compared(tmp_path).num_comparisons == 0


def test_methods_are_ranked_over_several_datasets(tmp_path: Path) -> None:
    for data in ("Cora", "CiteSeer", "PubMed"):
        for level, strategy in ((0.7, "independent"), (0.8, "dml"), (0.9, "gml")):
            write_run(tmp_path, data, strategy, level=level)
    ranking = compared(tmp_path).rankings["mean"]
    assert ranking.ranks == {"independent": 3, "dml": 2, "gml": 1}
    assert ranking.num_datasets == 3
    # A method that lacks a dataset, or one dataset under several conditions, gives no ranks; nor do costs.
    assert compared(tmp_path, value="seconds_per_epoch").rankings == {}
    write_run(tmp_path, "CiteSeer", "kd")
    assert compared(tmp_path).rankings == {}


def test_members_that_are_ranked_over_other_methods_have_a_sentence_each(tmp_path: Path) -> None:
    for data in "ABCDEFGH":
        for level, strategy in ((0.7, "independent"), (0.8, "dml"), (0.9, "gml")):
            file = write_run(tmp_path, data, strategy, level=level) / "trials.csv"
            if strategy == "dml":
                table = pd.read_csv(file)
                table[table["member"] != "ensemble"].to_csv(file, index=False)
    found = compared(tmp_path)
    rankings, text = found.rankings, " ".join(caption(found))
    assert [len(ranking.ranks) for ranking in rankings.values()] == [3, 3, 2]
    difference = rankings["mean"].critical_difference
    assert (
        "Rank (mean student, best student by validation): average over 8 datasets, 1 is best. Friedman test: p = 0.00034 (mean student), "
        f"p = 0.00034 (best student by validation); Nemenyi critical difference {difference:.2f} at 0.05. "
        "Rank (ensemble): average over 8 datasets, 1 is best."
    ) in text
    assert text.count("Nemenyi") == 1
    assert "Rank: average over 8 datasets, 1 is best." in list(caption(compared(tmp_path, members="mean")))


def test_one_dataset_under_several_conditions_is_not_several(tmp_path: Path) -> None:
    for strategy in ("independent", "dml", "gml"):
        write_run(tmp_path, strategy=strategy)
        write_run(tmp_path, strategy=strategy, config={"noise": "edge:0.2"}, fingerprint="n")
    assert compared(tmp_path).rankings == {}


def test_lower_costs_are_better_and_shared_by_the_cohort(tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent", students=["gcn"])
    write_run(tmp_path, strategy="gml", students=["gcn"], epochs=9)
    comparison = compared(tmp_path, value="train_seconds")
    assert set(comparison.rows["member"]) == {"mean"}
    assert row(comparison, "independent")["is_best"]
    assert not row(comparison, "gml")["is_best"]


def test_disagreement_is_neither_good_nor_bad(tmp_path: Path) -> None:
    for strategy, score in (("independent", 0.7), ("gml", 0.9)):
        for dataset in ("Cora", "CiteSeer"):
            write_run(tmp_path, dataset, strategy, scores=[score] * 10)
    comparison = compared(tmp_path, value="disagreement", baseline="independent")
    assert (set(comparison.rows["member"]), comparison.rankings) == ({"mean"}, {})
    assert not comparison.rows["is_best"].any()
    text = text_table(comparison, percent=True)
    assert text.caption[0].startswith("Disagreement of students on test samples (%) of the whole cohort: mean")
    assert "significantly more / less than independent" in " ".join(text.caption)
    assert text.groups[0][1][1] == Cell("5.0", "0.0", mark=WORSE)


def test_unmeasured_values_are_refused_or_left_blank(tmp_path: Path) -> None:
    file = write_run(tmp_path, strategy="independent") / "trials.csv"
    pd.read_csv(file).assign(disagreement="", peak_mib="", nll="", ece="", test_to_train="").to_csv(file, index=False)
    assert row(compared(tmp_path), "independent")["n"] == 10
    for value, why in (("peak_mib", "some systems do not report it, or "), ("disagreement", "a single student has none, or "), ("nll", "")):
        with pytest.raises(UsageError, match=rf"None of these runs has a '{value}': {why}the version.*--value"):
            compared(tmp_path, value=value)
    write_run(tmp_path, strategy="gml")
    comparison = compared(tmp_path, value="peak_mib")
    assert (row(comparison, "independent")["n"], row(comparison, "gml")["mean"]) == (0, 420)
    write_run(tmp_path, "CiteSeer", "independent", students=["gcn"])
    caption = " ".join(text_table(compared(tmp_path, value="disagreement", baseline="independent")).caption)
    assert "n = 10 seeds" in caption and "CiteSeer: protocol" not in caption
    assert "Not measured: independent." in caption
    assert "no test: no trials in which it and another method have this value." in caption
    with pytest.warns(UserWarning, match="Without a value of 'peak_mib': independent on Cora"):
        export(load_runs([tmp_path]), "csv", value="peak_mib")


def test_hidden_test_labels_are_named_and_validation_is_compared(tmp_path: Path) -> None:
    runs = [(write_run(tmp_path, strategy=strategy), strategy, "here") for strategy in ("independent", "gml")]
    for folder, _, _ in runs:
        table = pd.read_csv(folder / "trials.csv")
        table.assign(test="", nll="", ece="").to_csv(folder / "trials.csv", index=False)
    suite = write_suite(tmp_path, "hidden", runs)
    for value in ("test", "nll"):
        with pytest.raises(UsageError, match=rf"has a '{value}': no sample of their test parts has a known label.*--value val"):
            compared(suite, value=value)
    assert row(compared(suite, value="val"), "gml", "here")["n"] == 10
    with pytest.raises(UsageError, match="known label"):
        write_suite_tables(suite)
    assert len(pd.read_csv(suite / "all.csv")) == sum(len(pd.read_csv(folder / "trials.csv")) for folder, _, _ in runs)


def test_methods_that_are_all_alike_are_not_best(tmp_path: Path) -> None:
    for strategy in ("independent", "gml"):
        write_run(tmp_path, strategy=strategy, scores=[0.5] * 10)
    assert not compared(tmp_path).rows["is_best"].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "tset"}, "Unknown value 'tset'. Did you mean 'test'"),
        ({"metric": "rocauc"}, "Unknown metric 'rocauc'.*accuracy"),
        ({"members": ["gcn-1"]}, "Unknown member 'gcn-1'.*gcn-0"),
        ({"baseline": "dml"}, "baseline 'dml' is not among the methods of these runs: gml, independent.*--baseline"),
    ],
)
def test_unknown_names_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    for strategy in ("independent", "gml"):
        write_run(tmp_path, strategy=strategy)
    with pytest.raises(UsageError, match=message):
        compared(tmp_path, **options)


def test_each_protocol_has_its_own_columns_and_tests(tmp_path: Path) -> None:
    for protocol in ("public", "random"):
        for strategy in ("independent", "gml"):
            write_run(tmp_path, strategy=strategy, protocol=protocol, level=0.7 if strategy == "gml" else 0.5)
    write_run(tmp_path, strategy="gml", protocol="nested")
    comparison = compared(tmp_path, baseline="independent")
    assert set(comparison.rows["data"]) == {"Cora (public)", "Cora (random)", "Cora (nested)"}
    tested = comparison.rows[comparison.rows["p"].notna()]
    assert set(tested["data"]) == {"Cora (public)", "Cora (random)"}
    told = " ".join(caption(comparison))
    assert comparison.blocks == (tuple(dict.fromkeys(comparison.rows["data"])),)
    assert "One dataset under several protocols, which are not compared with each other: " in told
    assert "No independent on Cora (nested), so nothing is tested there." in told


def test_protocols_under_one_name_of_a_suite_have_separate_columns(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, protocol=protocol) for protocol in ("public", "random")]
    trials = gather(load_runs([write_suite(tmp_path, "mine", [(runs[0], "a", "here"), (runs[1], "b", "here")])]))
    assert set(compare(trials).rows["data"]) == {"here (public)", "here (random)"}
    assert compare(trials).blocks == (("here (public)", "here (random)"),)


@pytest.mark.parametrize(
    ("other", "blocks"),
    [({}, (("one", "other"),)), ({"targets": ["even"]}, ()), ({"label_rate": 0.1}, ()), ({"metric": "macro-f1"}, ())],
)
def test_columns_are_of_one_dataset_where_they_differ_in_their_protocol_alone(
    tmp_path: Path, other: dict[str, Any], blocks: tuple[tuple[str, ...], ...]
) -> None:
    one, two = write_run(tmp_path, protocol="public"), write_run(tmp_path, protocol="random", config=other)
    comparison = compare(gather(load_runs([write_suite(tmp_path, "mine", [(one, "gml", "one"), (two, "gml", "other")])])))
    assert comparison.blocks == blocks
    assert any(sentence.startswith("One dataset under several protocols") for sentence in caption(comparison)) == bool(blocks)


def test_metrics_under_one_name_have_separate_columns(tmp_path: Path) -> None:
    configs: list[tuple[str, dict[str, str]]] = [("accuracy", {}), ("macro-f1", {"metric": "macro-f1"})]
    runs = [write_run(tmp_path, metric=metric, config=config) for metric, config in configs]
    one = write_suite(tmp_path, "mine", [(runs[0], "a", "here"), (runs[1], "b", "here")])
    assert set(compare(gather(load_runs([one]))).rows["data"]) == {"here", "here (macro-f1)"}
    two = [write_suite(tmp_path, name, [(run, name, "here")]) for name, run in zip("ab", runs, strict=True)]
    rows = compare(gather(load_runs(two))).rows
    assert {(row.data, row.metric) for row in rows.itertuples()} == {("here (accuracy)", "accuracy"), ("here (macro-f1)", "macro-f1")}
    assert set(compare(gather(load_runs(two), "macro-f1"), metric="macro-f1").rows["data"]) == {"here"}


def test_different_fingerprints_are_refused(tmp_path: Path) -> None:
    first, second = write_run(tmp_path, strategy="independent", fingerprint="aa"), write_run(tmp_path, strategy="gml", fingerprint="bb")
    with pytest.raises(UsageError, match="different data or splits on Cora, seed 0, fold 0") as caught:
        compared(tmp_path)
    assert f"aa0.0: {first.name}; bb0.0: {second.name}" in str(caught.value)


def test_columns_without_the_baseline_are_not_tested(tmp_path: Path) -> None:
    for strategy in ("independent", "gml"):
        write_run(tmp_path, "MUTAG", strategy, seeds=1, folds=5)
    write_run(tmp_path, "MUTAG", "gml", seeds=1, folds=3)
    comparison = compared(tmp_path, baseline="independent")
    assert set(comparison.rows["data"][comparison.rows["p"].notna()]) == {"MUTAG (5 folds)"}
    assert "No independent on MUTAG (3 folds), so nothing is tested there." in list(caption(comparison))


def test_tables_of_tuned_suites_say_so(tmp_path: Path) -> None:
    runs = [
        (write_run(tmp_path, data, method, protocol=protocol), method, data)
        for data, protocol in (("Cora", "public"), ("digits", "random"))
        for method in ("gml", "label-propagation")
    ]
    suite = write_suite(tmp_path, "peers-tuned", runs)
    assert not any("uned" in sentence for sentence in caption(compared(suite)))
    rows = [
        (data, "gml", f"tune-{data}", trial, state, 0.5, 0.5, 1.0, "")
        for data, states in (("Cora", ["complete", "pruned", "running"]), ("digits", ["complete", "failed", "complete"]))
        for trial, state in enumerate(states)
    ]
    pd.DataFrame(rows, columns=[*NAME_COLUMNS, *TUNING_COLUMNS]).to_csv(suite / "tuning.csv", index=False)
    told = list(caption(compared(suite)))
    assert (
        "Tuned: the options of each method on each dataset, by a search of 2 trials (Cora); 3 trials (digits), on validation and with "
        "other seeds."
    ) in told
    assert "Not tuned: label-propagation." in told
    assert any(
        sentence.startswith("Under the protocol random, samples that a search trains and validates on may be test") for sentence in told
    )
    comparison = compared(suite)
    assert comparison.tuned["Cora", "gml"] == 2 and comparison.tuned["Cora", "label-propagation"] == 0


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({("Cora", "gml"): 1, ("Cora", "dml"): 0}, []),
        ({("Cora", "gml"): 2, ("Cora", "dml"): 2}, ["2 combinations: each method."]),
        ({("Cora", "gml"): 6, ("MUTAG", "gml"): 6, ("Cora", "dml"): 2}, ["2 combinations: dml.", "6 combinations: gml."]),
        ({("Cora", "gml"): 2, ("MUTAG", "gml"): 1, ("Cora", "dml"): 0}, ["2 combinations: gml on Cora."]),
        ({("Cora", "gml"): 2, ("Cora", "dml"): 2, ("A", "gml"): 0, ("A", "dml"): 0}, ["2 combinations: each method on Cora."]),
    ],
)
def test_tables_of_suites_with_a_grid_say_so(counts: dict[tuple[str, str], int], told: list[str], tmp_path: Path) -> None:
    grids = {0: None, 1: {"training.epochs": [5]}, 2: {"training.epochs": [5, 6]}, 6: {"a": [1, 2], "b": [1, 2, 3]}}
    runs = [(write_run(tmp_path, data, method, config={"grid": grids[count]}), method, data) for (data, method), count in counts.items()]
    sentences = list(caption(compared(write_suite(tmp_path, "mine", runs))))
    start = "Options chosen on validation within each trial, from "
    assert [sentence for sentence in sentences if sentence.startswith(start)] == [start + end for end in told]


@pytest.mark.parametrize(
    "names",
    [
        *(["=gml", "'=gml"], ["+a", "@b", "-c", "a;=d"], ["NA", "None", "nan", "null"], ["0.10", "0.1", "007", "7", "1e3"], ["a,b", 'a"b']),
        *([" a", "\ufeffa"], ["True", "1"]),
    ],
)
def test_the_searches_of_methods_are_found_whatever_those_are_called(names: list[str], tmp_path: Path) -> None:
    columns = [*TUNING_COLUMNS, "student.norm"]
    history = pd.DataFrame([[0, "complete", 0.5, 0.5, 1.0, "", "None"]], columns=columns)
    searches: Any = {(data, method): SimpleNamespace(history=history, folder=Path("tune")) for data in names for method in names}
    run = write_run(tmp_path, "Cora", "gml", seeds=1)
    suite = write_suite(tmp_path, "named", [(run, method, data) for data, method in searches])
    SuiteTuning({}, searches, {}).write(suite)
    assert [(run.data, run.method, run.tuned) for run in suite_runs(suite)] == [(*key, 1) for key in searches]
    found = Experiment(suite).searches
    assert [*zip(found["data"], found["method"], strict=True)] == list(searches) and set(found["student.norm"]) == {"None"}


def test_unpaired_trials_are_refused_and_named(tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent", seeds=5)
    write_run(tmp_path, strategy="gml", seeds=4)
    with pytest.raises(UsageError, match=r"not paired on Cora: gml lacks seed 4 fold 0\. .*--baseline none"):
        compared(tmp_path, baseline="independent")
    assert row(compared(tmp_path), "gml")["n"] == 4


def test_only_unpaired_methods_are_not_tested(tmp_path: Path) -> None:
    for data, seeds in (("Cora", 6), ("CiteSeer", 5)):
        write_run(tmp_path, data, "independent", seeds=6)
        write_run(tmp_path, data, "gml", seeds=seeds, level=0.7)
        write_run(tmp_path, data, "dml", seeds=6, level=0.6)
    comparison = compared(tmp_path, baseline="independent")
    rows = comparison.rows[comparison.rows["member"] == "mean"]
    tested = rows[rows["p"].notna()]
    assert set(zip(tested["data"], tested["method"], strict=True)) == {
        ("Cora", "gml"),
        ("Cora", "dml"),
        ("CiteSeer", "dml"),
    }
    unpaired = row(comparison, "gml", "CiteSeer")
    assert unpaired["n"] == 5 and math.isnan(unpaired["difference"]) and math.isnan(unpaired["p_holm"])
    assert comparison.unpaired == ("gml on CiteSeer (gml lacks seed 5 fold 0)",)
    assert "Not tested, since the trials are not paired: gml on CiteSeer (gml lacks seed 5 fold 0)." in list(caption(comparison))


def test_a_suite_whose_methods_do_not_pair_has_a_table_without_tests(tmp_path: Path) -> None:
    runs = [(write_run(tmp_path, "Cora", method, seeds=seeds), method, "Cora") for method, seeds in (("independent", 3), ("gml", 2))]
    with pytest.warns(UserWarning, match="Nothing is tested. .* not paired on Cora"):
        text, _ = write_suite_tables(write_suite(tmp_path, "s", runs))
    assert re.search(r"^mean student  +gml  ", text, re.MULTILINE) and "independent" in text


@pytest.mark.parametrize("missing", [True, False])
def test_a_suites_baseline_that_is_missing_or_does_not_pair_gives_way_to_no_other(tmp_path: Path, missing: bool) -> None:
    there = [("independent", 10), ("gml", 10), *([] if missing else [("dml", 9)])]
    runs = [(write_run(tmp_path, "Cora", method, seeds=seeds), method, "Cora") for method, seeds in there]
    suite = write_suite(tmp_path, "s", runs, baseline="dml")
    experiment = Experiment(suite)
    told = "'dml' is not among the methods of these runs: independent, gml" if missing else "the baseline 'dml' are not paired on Cora"
    with pytest.warns(UserWarning, match=f"Nothing is tested. .*{told}"):
        assert experiment.summary()["p"].isna().all()
    with pytest.warns(UserWarning, match=told):
        assert "independent" not in experiment.table().attrs["caption"]
    with pytest.warns(UserWarning, match=told):
        assert pd.read_csv(experiment.export(tmp_path / "own.csv"))["p"].isna().all()
    with pytest.warns(UserWarning, match=told):
        assert pd.read_csv(io.StringIO(export(load_runs([suite]), "csv", preferred="dml")))["p"].isna().all()
    with pytest.warns(UserWarning, match=told):
        write_suite_tables(suite)
    assert pd.read_csv(suite / "table.csv")["p"].isna().all()
    exported = partial(export, load_runs([suite]), "csv")
    for asked in (experiment.summary, experiment.table, exported, partial(experiment.export, tmp_path / "x.csv")):
        with pytest.raises(UsageError, match=told):
            asked(baseline="dml")


def test_only_data_whose_methods_differ_are_distinguished(tmp_path: Path) -> None:
    settings: list[tuple[str, str, dict[str, Any]]] = [
        ("Cora", "independent", {"label_rate": 0.1}),
        ("Cora", "gml", {"label_rate": 0.1}),
        ("CiteSeer", "independent", {}),
        ("CiteSeer", "gml", {"label_rate": 5, "noise": "label:0.2"}),
    ]
    runs = [(write_run(tmp_path, data, method, config=config), method, data) for data, method, config in settings]
    found = suite_runs(write_suite(tmp_path, "s", runs))
    assert [run.data for run in found] == ["Cora", "Cora", "CiteSeer", "CiteSeer (5 labels a class, label:0.2)"]


def test_an_experiment_compares_what_is_paired(tmp_path: Path) -> None:
    runs = [
        (write_run(tmp_path, data, method, seeds=seeds, level=level), method, data)
        for data, method, seeds, level in (
            ("Cora", "a", 6, 0.5),
            ("Cora", "b", 6, 0.7),
            ("CiteSeer", "a", 6, 0.5),
            ("CiteSeer", "b", 5, 0.7),
        )
    ]
    experiment = Experiment(write_suite(tmp_path, "s", runs))
    with pytest.warns(UserWarning, match="b on CiteSeer \\(b lacks seed 5 fold 0\\)"):
        found = experiment.compare("b", "a")
    assert set(found["data"]) == {"Cora"} and found["wins"].tolist() == [6] * len(found)


def test_one_trial_is_of_one_seed(tmp_path: Path) -> None:
    write_run(tmp_path, seeds=1)
    assert any("n = 1 seed." in sentence for sentence in caption(compared(tmp_path)))


def test_a_dataset_that_the_baseline_lacks_is_not_tested_and_the_others_are(tmp_path: Path) -> None:
    for data, strategy in (("Cora", "independent"), ("Cora", "gml"), ("CiteSeer", "gml")):
        write_run(tmp_path, data, strategy, level=0.7 if strategy == "gml" else 0.5)
    comparison = compared(tmp_path, baseline="independent")
    assert set(comparison.rows["data"][comparison.rows["p"].notna()]) == {"Cora"}
    assert "No independent on CiteSeer, so nothing is tested there." in list(caption(comparison))


def test_several_runs_of_one_method_are_refused(tmp_path: Path) -> None:
    a, b = (write_run(tmp_path / name) for name in ("a", "b"))
    with pytest.raises(UsageError, match=re.escape(f"Several runs are 'gml' on Cora: {a}, {b}. Give one of them.")):
        compare(gather(load_runs([tmp_path / "a", tmp_path / "b"])))


def test_runs_of_data_that_mean_something_else_are_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, strategy=strategy) for strategy in ("independent", "gml", "dml")]
    schemas: list[dict[str, str]] = [{"classes": "a, b (1)", "edge feature columns": "x (2)"}, {"classes": "a, b (1)"}, {}]
    for folder, schema in zip(runs, schemas, strict=True):
        file = folder / "environment.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "resumed": [{"schema": schema}]}))
    compared(tmp_path)  # one takes no edge features, and one has not recorded it
    file.write_text(json.dumps({"schema": {"classes": "b, a (3)"}}))
    with pytest.raises(
        UsageError, match=r"Runs on Cora cannot .* the classes are b, a \(3\) in \S+dml\S+, and a, b \(1\) in \S+gml\S+\. Give"
    ):
        compared(tmp_path)


def test_unfinished_runs_are_named(tmp_path: Path) -> None:
    keys = [(seed, 0) for seed in range(7)]
    write_run(tmp_path, strategy="independent", keys=keys)
    write_run(tmp_path, strategy="gml", keys=keys)
    assert compared(tmp_path).unfinished == ("gml on Cora (7 of 10 trials)", "independent on Cora (7 of 10 trials)")
    write_run(tmp_path, "CiteSeer", "gml")
    assert len(compared(tmp_path).unfinished) == 2


def test_the_default_baseline_needs_another_method(tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent")
    assert default_baseline(gather(load_runs([tmp_path]))) is None
    write_run(tmp_path, strategy="gml")
    assert default_baseline(gather(load_runs([tmp_path]))) == "independent"


@pytest.mark.parametrize(("value", "percent"), [("nll", False), ("ece", True)])
def test_lower_calibration_errors_are_better(tmp_path: Path, value: str, percent: bool) -> None:
    for strategy, level in (("independent", 0.3), ("gml", 0.1)):
        file = write_run(tmp_path, strategy=strategy) / "trials.csv"
        trials = pd.read_csv(file)
        trials.assign(**{value: level + trials["seed"] / 1000}).to_csv(file, index=False)
    comparison = compared(tmp_path, value=value, baseline="independent")
    assert set(comparison.rows["member"]) == {"mean", "best_by_val", "ensemble"}
    assert row(comparison, "gml")["is_best"] and not row(comparison, "independent")["is_best"]
    text = text_table(comparison, percent=percent)
    assert text.groups[0][1][2].mark == MARK and value_name(comparison).startswith("test ")
    if not percent:
        with pytest.raises(UsageError, match="not a fraction"):
            text_table(comparison, percent=True)


def test_a_mean_does_not_depend_on_the_order_of_its_trials(tmp_path: Path) -> None:
    """The last bits of a sum do, and they decide whether 34.05 is shown as 34.0 or 34.1."""
    scores = np.array([0.318, 0.319, 0.356, 0.359, 0.303, 0.325, 0.39, 0.328, 0.316, 0.391])
    means = set()
    for index in range(12):
        folder = tmp_path / str(index)
        write_run(folder, scores=np.random.default_rng(index).permutation(scores).tolist())
        means |= set(compared(folder, members=("mean",)).rows["mean"])
    assert len(means) == 1


def test_a_member_of_one_dataset_alone_has_no_ranks(tmp_path: Path) -> None:
    for data in ("Cora", "CiteSeer"):
        for level, strategy in ((0.7, "independent"), (0.8, "dml")):
            file = write_run(tmp_path, data, strategy, level=level) / "trials.csv"
            if data == "Cora":
                table = pd.read_csv(file)
                table[table["member"] != "ensemble"].to_csv(file, index=False)
    assert set(compared(tmp_path).rankings) == {"mean", "best_by_val"}


def test_an_experiment_adjusts_over_the_methods_that_are_compared(tmp_path: Path) -> None:
    levels = {"a": 0.5, "b": 0.7, "c": 0.6}
    runs = [(write_run(tmp_path, "Cora", method, seeds=6, level=level), method, "Cora") for method, level in levels.items()]
    found = Experiment(write_suite(tmp_path, "s", runs)).compare("b", "a", members="mean")
    assert found["p_holm"].tolist() == found["p"].tolist() == [2 / 2**6]


def test_nothing_is_ranked_where_one_of_several_datasets_counts_twice(tmp_path: Path) -> None:
    for method in ("gml", "dml", "independent"):
        for data, noise in (("Cora", None), ("Cora", "edge:0.2"), ("CiteSeer", None)):
            write_run(tmp_path, data, method, seeds=3, config={"noise": noise})
    comparison = compare(gather(load_runs([tmp_path])))
    assert comparison.rows["data"].nunique() == 3 and comparison.rankings == {}


def test_the_ratio_of_several_splits_is_their_mean(tmp_path: Path) -> None:
    scores = {"independent": [0.80, 0.81, 0.79, 0.82], "gml": [0.83, 0.82, 0.82, 0.86]}
    for strategy, own in scores.items():
        folder = write_run(tmp_path, strategy=strategy, seeds=1, folds=4, protocol="splits", scores=own, config={"task": "node"})
        table = pd.read_csv(folder / "trials.csv")
        table.assign(test_to_train=0.1 * (1 + table["fold"])).to_csv(folder / "trials.csv", index=False)
    rows = compare(gather(load_runs([tmp_path])), baseline="independent", members=["mean"]).rows
    differences = np.subtract(scores["gml"], scores["independent"])
    t = differences.mean() / np.sqrt((1 / 4 + 0.25) * differences.var(ddof=1))
    assert rows["p"].dropna().tolist() == pytest.approx([2 * stats.t.sf(t, 3)])
