from __future__ import annotations

import re
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.reporting.comparison import compare
from dgl_mutual.reporting.runs import chosen_runs, gather, load_runs, preferred_baseline
from dgl_mutual.reporting.status import status_of
from dgl_mutual.reporting.suite_tables import write_suite_tables
from tests.reporting.folders import write_run, write_suite


def labels(*paths: Path) -> set[tuple[str, str]]:
    return {(run.data, run.method) for run in load_runs(paths)}


def test_a_run_folder_or_one_that_holds_them(tmp_path: Path) -> None:
    run = write_run(tmp_path, strategy="gml")
    write_run(tmp_path, strategy="dml")
    (tmp_path / "plots").mkdir()
    assert labels(run) == {("Cora", "gml")}
    assert labels(tmp_path) == labels(tmp_path, run) == {("Cora", "gml"), ("Cora", "dml")}


def test_runs_of_one_strategy_are_named_by_what_differs(tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent")
    for weight in (0.5, 1.0):
        write_run(tmp_path, config={"strategy_options": {"weight": weight, "temperature": 1.0}})
    assert labels(tmp_path) == {("Cora", "independent"), ("Cora", "gml (weight=0.5)"), ("Cora", "gml (weight=1.0)")}


def test_runs_are_chosen_by_their_names_in_tables_in_the_given_order(tmp_path: Path) -> None:
    for dataset, strategy in (("Cora", "dml"), ("Cora", "gml"), ("CiteSeer", "gml"), ("PubMed", "gml")):
        write_run(tmp_path, dataset, strategy)
    runs = load_runs([tmp_path])
    assert chosen_runs(runs) == runs

    def names(*chosen: list[str]) -> list[tuple[str, str]]:
        return [(run.data, run.method) for run in chosen_runs(runs, *chosen)]

    assert names(["PubMed", "Cora"], ["gml"]) == [("PubMed", "gml"), ("Cora", "gml")]
    assert names(["Cora"]) == [("Cora", "dml"), ("Cora", "gml")]
    assert names([], ["gml", "dml"]) == [("CiteSeer", "gml"), ("Cora", "gml"), ("PubMed", "gml"), ("Cora", "dml")]
    for wrong, message in (
        ((["Corra"],), "Unknown dataset 'Corra'. Did you mean 'Cora'"),
        (([], ["glm"]), "Unknown method 'glm'. Did you mean 'gml'"),
        ((["PubMed"], ["dml"]), r"methods \(dml\) was run on the chosen datasets \(PubMed\)"),
    ):
        with pytest.raises(UsageError, match=message):
            names(*wrong)


def test_noise_cohort_and_task_belong_to_the_data(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_run(tmp_path, config={"noise": "edge:0.1"})
    write_run(tmp_path / "k", "PubMed", students=["gcn"])
    write_run(tmp_path / "k", "PubMed", students=["gcn", "gat"])
    write_run(tmp_path / "t", "digits")
    write_run(tmp_path / "t", "digits", folds=2)
    assert {data for data, _ in labels(tmp_path)} == {"Cora", "Cora (edge:0.1)"}
    assert {data for data, _ in labels(tmp_path / "k")} == {"PubMed (gcn)", "PubMed (gcn+gat)"}
    assert {data for data, _ in labels(tmp_path / "t")} == {"digits (node)", "digits (graph)"}


def test_the_label_rate_belongs_to_the_data(tmp_path: Path) -> None:
    for rate in (None, 0.1, 0.015, 1, 20):
        write_run(tmp_path, "NCI1", folds=2, config={"label_rate": rate})
    write_run(tmp_path, "NCI1", folds=2, config={"label_rate": 0.1, "noise": "label:0.2"})
    write_run(tmp_path / "pool", "NCI1", folds=2, config={"label_rate": 0.1, "unlabelled": "/some/where/NCI109"})
    assert labels(tmp_path / "pool") == {("NCI1 (10% labels, and NCI109)", "gml")}
    write_run(tmp_path / "pool", "NCI1", "independent", folds=2, config={"label_rate": 0.1, "unlabelled": "/some/where/NCI109"})
    assert labels(tmp_path / "pool") == {("NCI1 (10% labels, and NCI109)", method) for method in ("gml", "independent")}
    write_run(tmp_path / "pool", "NCI1", "dml", folds=2, config={"label_rate": 0.1})
    pooled = {(f"{method} (unlabelled=/some/where/NCI109)") for method in ("gml", "independent")}
    assert labels(tmp_path / "pool") == {("NCI1 (10% labels)", method) for method in ("dml", *pooled)}
    expected = {"NCI1", "NCI1 (10% labels)", "NCI1 (1.5% labels)", "NCI1 (1 label a class)", "NCI1 (20 labels a class)"}
    assert labels(tmp_path) == {(data, "gml") for data in (*expected, "NCI1 (10% labels, label:0.2)")}


def test_protocol_and_folds_belong_to_the_data(tmp_path: Path) -> None:
    for folds in (5, 10):
        write_run(tmp_path, "MUTAG", folds=folds)
    for protocol in ("public", "random"):
        write_run(tmp_path / "p", protocol=protocol)
    write_run(tmp_path / "p", config={"distill": {"unseen": 0.2}})
    assert labels(tmp_path) == {("MUTAG (5 folds)", "gml"), ("MUTAG (10 folds)", "gml")}
    assert {data for data, _ in labels(tmp_path / "p")} == {"Cora (public)", "Cora (random)", "Cora (public-inductive)"}


def test_the_metric_belongs_to_the_data(tmp_path: Path) -> None:
    write_run(tmp_path)
    for strategy in ("gml", "independent"):
        write_run(tmp_path, strategy=strategy, metric="macro-f1", config={"metric": "macro-f1"})
    assert labels(tmp_path) == {("Cora", "gml"), ("Cora (macro-f1)", "gml"), ("Cora (macro-f1)", "independent")}


@pytest.mark.parametrize("recording", [{"diversity": True}, {"checkpoint_every": 5}])
def test_options_that_only_record_do_not_distinguish_methods(recording: dict[str, Any], tmp_path: Path) -> None:
    for training in ({"epochs": 6}, {"epochs": 6, **recording}):
        write_run(tmp_path, config={"training": training})
    runs = load_runs([tmp_path])
    assert [run.method for run in runs] == ["gml", "gml"]
    with pytest.raises(UsageError, match=r"Several runs are 'gml' on Cora: .* Give one of them"):
        compare(gather(runs))


def test_a_part_that_only_one_run_has_is_one_word(tmp_path: Path) -> None:
    write_run(tmp_path, config={"distill": None})
    for hidden in (64, 128):
        write_run(tmp_path, config={"distill": {"hidden": hidden, "depth": 2, "epochs": 500}})
        one = {"gml", "gml (distill)"} if hidden == 64 else {"gml", "gml (distill, hidden=64)", "gml (distill, hidden=128)"}
        assert {method for _, method in labels(tmp_path)} == one


def test_consequences_of_given_options_are_not_in_labels(tmp_path: Path) -> None:
    for epochs in (6, 7):
        config = {"strategy_options": {"exchange_warmup": [epochs // 4, epochs // 3]}}
        given = {"training": {"epochs": epochs}, "students": ["gcn", {"architecture": "gat"}]}
        write_run(tmp_path, epochs=epochs, config=config, given=given)
    assert {method for _, method in labels(tmp_path)} == {"gml (epochs=6)", "gml (epochs=7)"}


def test_a_label_says_what_its_run_was_given(tmp_path: Path) -> None:
    def write(data: str, width: int, rate: float, **given: object) -> None:
        config = {"students": [{"architecture": "gcn", "hidden": width, "dropout": rate}]}
        write_run(tmp_path, data, config=config, given={"dataset": data, "student": given})

    write("Cora", 64, 0.5)
    write("Cora", 8, 0.5, hidden=8)
    write("Cora", 128, 0.3, hidden=128, dropout=0.3)
    write("CiteSeer", 32, 0.5)
    assert labels(tmp_path) == {
        ("Cora", "gml"),
        ("Cora", "gml (hidden=8)"),
        ("Cora", "gml (hidden=128, dropout=0.3)"),
        ("CiteSeer", "gml"),
    }
    write("CiteSeer", 16, 0.5)  # whose default was another: what was given is not enough
    assert {method for data, method in labels(tmp_path) if data == "CiteSeer"} == {
        "gml (hidden=16, dropout=0.5)",
        "gml (hidden=32, dropout=0.5)",
    }


def test_options_of_a_custom_student_are_told_one_by_one(tmp_path: Path) -> None:
    def write(*options: dict[str, object]) -> None:
        own = [{"architecture": "nets:Mine", "options": one} for one in options]
        write_run(tmp_path, config={"students": [{"architecture": "gcn", "hidden": 8}, *own]})

    write({"width": 4, "layers": {"kinds": ["a", "b"]}}, {"width": 5})
    write({"width": 4, "layers": {"kinds": ["a"]}}, {})
    assert labels(tmp_path) == {
        ("Cora", f"gml (width={width}, kinds={kinds}/default)") for width, kinds in (("4/5", "['a', 'b']"), ("4/default", "['a']"))
    }


def test_given_values_of_any_form_are_read(tmp_path: Path) -> None:
    write_run(tmp_path, given={"students": 3, "targets": 4})
    assert labels(tmp_path) == {("Cora", "gml")}


def test_labels_are_short_and_stay_different(tmp_path: Path) -> None:
    for index in range(3):
        write_run(tmp_path, config={"strategy_options": {f"a_long_name_of_an_option_{k}": 10 * k + index for k in range(12)}})
    methods = {method for _, method in labels(tmp_path)}
    assert len(methods) == 3
    assert max(map(len, methods)) <= 60


def test_a_label_that_is_too_long_has_whole_entries_and_rounded_numbers(tmp_path: Path) -> None:
    for index in range(2):
        options = {"dropout": 0.328102459609 + 1e-9 * index, "temperature": index, **{f"another_option_{k}": index for k in range(5)}}
        write_run(tmp_path, config={"strategy_options": options})
    methods = sorted({method for _, method in labels(tmp_path)})
    assert len(methods) == 2 and max(map(len, methods)) <= 60
    assert all(re.fullmatch(r"gml \(dropout=0\.328, temperature=[01], \.\.\. [0-9a-f]{6}\)", method) for method in methods)


def test_a_suite_reads_only_its_own_seeds(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=5)
    suite = write_suite(tmp_path, "mine", [(run, "few", "here"), (run, "all", "here")])
    values = yaml.safe_load((suite / "suite.yaml").read_text())
    values["runs"][0]["seeds"], values["runs"][1]["seeds"] = 2, 10**9
    (suite / "suite.yaml").write_text(yaml.safe_dump(values))
    few, every = load_runs([suite])
    assert (set(few.trials["seed"]), few.num_planned, set(few.history["seed"])) == ({0, 1}, 2, {0, 1})
    assert (set(every.trials["seed"]), every.num_planned) == (set(range(5)), 5)
    entry = values["runs"][0]
    for wrong in (*({"seeds": seeds} for seeds in (0, "2", None)), {"method": "m" * 201}, {"data": 5}):
        values["runs"][0] = {**entry, **wrong}
        (suite / "suite.yaml").write_text(yaml.safe_dump(values))
        with pytest.raises(StoreError, match=r"suite\.yaml' is no list of runs"):
            load_runs([suite])


def test_all_trials_of_a_suite_are_one_table(tmp_path: Path) -> None:
    runs = [(write_run(tmp_path, strategy=strategy, seeds=2), f"my {strategy}", "here") for strategy in ("gml", "independent")]
    suite = write_suite(tmp_path, "mine", runs)
    write_suite_tables(suite)
    table = pd.read_csv(suite / "all.csv")
    assert list(table.columns[:3]) == ["data", "method", "run"]
    for folder, method, _ in runs:
        alone = pd.read_csv(folder / "trials.csv")
        there = table[table["method"] == method][alone.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(there, alone, check_dtype=False)


def test_a_dataset_of_ones_own_is_named_by_its_folder(tmp_path: Path) -> None:
    write_run(tmp_path, "/somewhere/my-graphs")
    assert labels(tmp_path) == {("my-graphs", "gml")}


def test_a_suite_names_its_runs_and_its_baseline(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    suite = write_suite(tmp_path, "mine", [(run, "one", "here"), (run, "two", "there"), (tmp_path / "gone", "three", "x")], baseline="one")
    assert labels(suite) == labels(suite, run) == {("here", "one"), ("there", "two")}
    assert preferred_baseline([suite]) == "one"
    assert preferred_baseline([suite, run]) is None
    assert set(gather(load_runs([suite]))["method"]) == {"one", "two"}


@pytest.mark.parametrize("where", ["method", "data", "baseline", "missing"])
@pytest.mark.parametrize("end", ["\n", "\r", "\x1b[2J", "\u2028"])
def test_names_of_a_suite_are_one_line(where: str, end: str, tmp_path: Path) -> None:
    name = f"one{end}two"
    entry = (write_run(tmp_path), name if where == "method" else "gml", name if where == "data" else "Cora")
    keys = {"baseline": name} if where == "baseline" else {"missing": {name: "gone"}} if where == "missing" else {}
    suite = write_suite(tmp_path, "mine", [entry], **keys)
    for read in (load_runs, lambda paths: status_of(*paths)):
        with pytest.raises(StoreError, match=rf"suite.yaml' holds a name with a line end or control character, {re.escape(repr(name))}"):
            read([suite])


@pytest.mark.parametrize("named", ["../../elsewhere/{}", "..", ".", "", "{}/", "/{}", "..\\{}", "C:{}"])
def test_a_suite_cannot_reach_outside_its_folder(named: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "elsewhere")
    shutil.copytree(run, tmp_path / "results" / run.name)
    shutil.copy(run / "config.yaml", tmp_path / "config.yaml")
    suite = write_suite(tmp_path / "results", "mine", [(run, "one", "here")])
    values = yaml.safe_load((suite / "suite.yaml").read_text())
    values["runs"][0]["folder"] = named.format(run.name)
    (suite / "suite.yaml").write_text(yaml.safe_dump(values))
    for read in (load_runs, lambda paths: status_of(*paths)):
        with pytest.raises(StoreError, match=rf"suite.yaml' names {re.escape(repr(named.format(run.name)))} as the folder of a run"):
            read([suite])


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no folder '.*nowhere'"):
        load_runs([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="No run folder was given"):
        load_runs([])
    with pytest.raises(StoreError, match="is neither a run folder"):
        load_runs([tmp_path])
    (tmp_path / "holiday.jpg").write_bytes(b"\xff\xd8")
    for path in (tmp_path, tmp_path / "holiday.jpg"):
        with pytest.raises(StoreError, match="is neither a run folder"):
            load_runs([path])


def test_a_run_without_a_finished_trial_says_how_to_go_on(tmp_path: Path) -> None:
    run = write_run(tmp_path, keys=[])
    with pytest.raises(StoreError, match=r"no trial has finished: it was interrupted early.*dgl-mutual run --config .*config.yaml"):
        gather(load_runs([run]))
    (run / "trials.csv").unlink()
    (run / "failures.csv").write_text("seed,fold,error,details\n0,0,it burns,\n")
    with pytest.raises(StoreError, match="1 failed"):
        gather(load_runs([run]))
    with pytest.raises(UsageError, match="In none of these runs"):
        gather([])


def test_status_counts_done_failed_and_missing(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=4, keys=[(0, 0), (2, 0)])
    (run / "failures.csv").write_text("seed,fold,error,details\n3,0,it burns,\n")
    (status,) = status_of(run).runs
    assert (status.num_done, status.failed, status.num_missing) == (2, ("seed 3, fold 0: it burns",), 1)
    assert status.missing == ("seed 1, fold 0",)
    assert not status.is_complete
    assert status_of(write_run(tmp_path, strategy="dml")).is_complete


def test_trials_are_counted_and_not_listed(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=2)
    config = run / "config.yaml"
    values = yaml.safe_load(config.read_text())
    values["resolved"] |= {"seeds": 333_333, "folds": 3}
    config.write_text(yaml.safe_dump(values))
    tracemalloc.start()
    try:
        (status,) = status_of(run).runs
        assert gather(load_runs([run]))["planned"].unique() == [999_999]
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert (status.num_done, status.num_missing, len(status.missing)) == (2, 999_997, 20)
    assert status.missing[:2] == ("seed 0, fold 1", "seed 0, fold 2")
    suite = write_suite(tmp_path, "x", [(run, "gml", "Cora"), (run, "other", "Cora")])
    with pytest.raises(StoreError, match=r"suite.yaml' ask for 1999998 trials, and a suite has at most 1000000: it was edited"):
        status_of(suite)


def test_status_of_a_suite_names_what_has_not_begun_or_cannot_be_had(tmp_path: Path) -> None:
    runs = [(write_run(tmp_path, strategy=name), name, "Cora") for name in ("independent", "gml")]
    suite = write_suite(tmp_path, "mine", runs, missing={"PubMed": "its files are not here"})
    shutil.rmtree(runs[1][0])
    status = status_of(suite)
    assert [run.name for run in status.runs] == ["independent on Cora"]
    assert status.not_begun == {"gml on Cora": "not begun", "PubMed": "its files are not here"}
    assert not status.is_complete


def test_the_larger_number_of_seeds_of_two_suites_counts(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=5)
    suites = [write_suite(tmp_path, str(seeds), [(run, "gml", "here")]) for seeds in (2, 5)]
    file = suites[0] / "suite.yaml"
    values = yaml.safe_load(file.read_text())
    values["runs"][0]["seeds"] = 2
    file.write_text(yaml.safe_dump(values))
    for order in (suites, suites[::-1]):
        with pytest.warns(UserWarning, match=r"For gml on here one suite requests 2 seeds and another 5\. All 5 are used"):
            (found,) = load_runs(order)
        assert found.num_planned == len(found.finished) == 5
