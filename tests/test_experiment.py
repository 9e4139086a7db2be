"""`dgl_mutual.experiment`: methods x datasets from Python."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner
from scipy import stats

import dgl_mutual
from dgl_mutual.cli.main import cli
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DataError, SplitError, StoreError, UsageError
from dgl_mutual.experiments import trial
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.runner import run
from dgl_mutual.experiments.suites.suite import configurations
from dgl_mutual.experiments.suites.suite_file import Suite
from dgl_mutual.options import parse_options
from dgl_mutual.reporting.comparison import compare
from dgl_mutual.reporting.export import export
from dgl_mutual.reporting.runs import gather, load_runs
from dgl_mutual.training.trackers import Tracker
from dgl_mutual.utils.exact_numbers import EXACT_NUMBERS
from tests.reporting.folders import write_run, write_suite

SMALL: dict[str, Any] = {"students": "gcn,sage", "student": {"hidden": 4}, "training": {"epochs": 4}, "seeds": 3, "jobs": 1}
TIMES = ["train_seconds", "seconds_per_epoch", "inference_ms", "peak_mib"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dgl_mutual.Experiment:
    methods = {"alone": "independent", "teach": {"strategy": "gml", "strategy_options": {"weight": 2.0}}}
    return dgl_mutual.experiment("digits", methods, baseline="alone", out=tmp_path_factory.mktemp("out"), **SMALL)


def test_rows_are_those_of_run(found: dgl_mutual.Experiment, tmp_path: Path) -> None:
    assert list(found.trials.columns[:2]) == ["data", "method"]
    given = {key: value for key, value in SMALL.items() if key != "jobs"}
    alone = pd.read_csv(
        run(parse_config({**given, "strategy": "independent"}), out=tmp_path, compute=Compute(jobs=1)).folder / "trials.csv",
        **EXACT_NUMBERS,
    )
    mine = found.trials[found.trials["method"] == "alone"][alone.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine.drop(columns=TIMES), alone.drop(columns=TIMES), check_dtype=False, check_exact=True)


def test_warnings_of_options_without_effect_point_to_the_line_that_gave_them() -> None:
    given: dict[str, Any] = {"students": "gcn,sage", "student": {"hidden": 4}, "training": {"epochs": 1, "average_decay": 0.9}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dgl_mutual.fit("digits", **given)
        dgl_mutual.experiment("digits", "independent", seeds=1, jobs=1, **given)
    idle = [one for one in caught if "training.average_decay = 0.9 has no effect" in str(one.message)]
    assert [one.filename for one in idle] == [__file__] * 2 and idle[0].lineno + 1 == idle[1].lineno


def test_arguments_of_tables_are_checked(found: dgl_mutual.Experiment, tmp_path: Path) -> None:
    once = found.table(members="mean")
    pd.testing.assert_frame_equal(found.table(members=["mean", "mean"]), once)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"members": 3}, "members = 3 is an int. Give names"),
        ({"members": []}, r"members = \[\] names nothing\. Give names, for example members=\['mean', 'ensemble'\]; or leave it out"),
        ({"members": ()}, r"members = \(\) names nothing"),
        ({"precision": -1}, "precision = -1 is not an integer from 0"),
        ({"precision": 2.5}, "precision = 2.5 is not an integer"),
        ({"precision": 13}, "more than the maximum 12"),
        ({"percent": "yes"}, "percent = 'yes' is neither True nor False"),
        ({"members": {"mean"}}, "members = {'mean'} is a set, which has no order. Give names"),
        ({"metric": ["test"]}, "Unknown metric .* Choose from: accuracy"),
        ({"value": np.array(["val", "test"])}, "Unknown value .* Choose from: test"),
        ({"baseline": np.array(["a", "b"])}, r"(?s)The baseline .* is not among the methods of these runs: alone, teach"),
    ]
    for arguments, message in wrong:
        for table in (found.table, lambda **given: found.export(tmp_path / "table.md", **given)):
            with pytest.raises(UsageError, match=message):
                table(**arguments)
    for name in ("datasets", "methods"):
        assert found.export(tmp_path / "all.csv", **{name: None}).is_file()
        for none in ([], (), 3, [["a"]], np.array("a")):
            with pytest.raises(UsageError, match=rf"^{name} = .* (nothing|is an \w+|not names)\..* for example {name}=\['\w+'\]"):
                found.export(tmp_path / "none.csv", **{name: none})
    with pytest.raises(UsageError, match=r"members = \[\] names nothing"):
        found.compare("alone", "teach", members=[])
    with pytest.raises(UsageError, match=r"Unknown plot .* Choose from: gains"):
        found.plot("")
    for text in ([], ["curves"], pd.Series(["curves", "gains"])):
        with pytest.raises(UsageError, match=r"Unknown plot .* Choose from: gains"):
            found.plot(text)  # type: ignore[arg-type]  # what a user may give
        with pytest.raises(UsageError, match=r"Unknown method .* Choose from: alone, teach"):
            found.compare(text, "alone")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["trust", "resume", "progress", "offline"])
def test_a_string_is_not_accepted_as_a_boolean(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} = 'no' is neither True nor False"):
        dgl_mutual.experiment("digits", ["independent"], **SMALL, **{name: "no"})
    if name in ("trust", "progress"):
        with pytest.raises(UsageError, match=f"{name} = 'no' is neither True nor False"):
            dgl_mutual.fit("digits", "gcn,sage", **{name: "no"})
    assert dgl_mutual.load("digits", offline=np.bool_(True)).name == "digits"
    if name == "offline":
        with pytest.raises(UsageError, match="offline = 'no' is neither"):
            dgl_mutual.load("digits", offline="no")


def test_a_dataset_is_called_by_a_text() -> None:
    with pytest.raises(UsageError, match=r"The name 1 of a dataset is an int\. Give a string, for example '1'"):
        dgl_mutual.experiment({1: "digits", "1": "Cora"}, ["independent"], **SMALL)


def test_the_paired_test_is_that_of_the_differences(found: dgl_mutual.Experiment) -> None:
    rows = found.compare("teach", "alone", members=["mean"])
    assert rows.equals(found.compare("teach", "alone", members="mean"))
    trials = found.trials[found.trials["member"] == "mean"].pivot(index="seed", columns="method", values="test")
    differences = trials["teach"] - trials["alone"]
    assert rows["difference"].item() == pytest.approx(differences.mean())
    assert rows["mean_a"].item() == pytest.approx(trials["teach"].mean())
    assert rows["p"].item() == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
    back = found.compare("alone", "teach", members=["mean"])
    assert back["difference"].item() == pytest.approx(-differences.mean())
    for a, b in (("teach", "dml"), ("teach", "teach")):
        with pytest.raises(UsageError, match="alone"):
            found.compare(a, b)


def test_tables_are_those_of_export_and_a_notebook_shows_one(found: dgl_mutual.Experiment) -> None:
    table = found.table()
    assert list(table.columns) == ["digits"]
    assert ("mean student", "teach") in table.index
    mean = found.trials.query("member == 'mean' and method == 'teach'")["test"].mean()
    assert table.loc[("mean student", "teach"), "digits"].startswith(f"{100 * mean:.1f} ± ")
    assert "n = 3 seeds" in table.attrs["caption"] and "alone" in table.attrs["caption"]
    assert "alone" not in found.table("none").attrs["caption"]
    assert found.summary("alone")["difference"].notna().sum() == 3
    shown = found._repr_html_()
    assert "<table" in shown and "teach" in shown and "n = 3 seeds" in shown
    assert "6 trials" in repr(found) and re.search(r"^mean student  +teach  ", repr(found), re.MULTILINE)
    # A star stands for bold type, and a frame, which has neither, does not speak of it.
    assert "*: the best method" in repr(found) and "best method" not in table.attrs["caption"] + shown


def test_what_is_changed_in_a_table_of_trials_is_in_no_other(found: dgl_mutual.Experiment) -> None:
    for name in ("trials", "failures"):
        columns = list(getattr(found, name).columns)
        del getattr(found, name)[columns[0]]
        assert list(getattr(found, name).columns) == columns


def test_a_suite_of_which_no_run_folder_is_there_has_no_trials_and_no_failures(tmp_path: Path) -> None:
    kept = dgl_mutual.Experiment.load(write_suite(tmp_path, "x", [(tmp_path / "gone", "gml", "Cora")]))
    for table in (kept.trials, kept.failures):
        assert list(table.columns) == ["data", "method"] and table.empty


def test_a_table_is_in_percent_where_the_value_is_a_fraction(tmp_path: Path) -> None:
    runs = [(write_run(tmp_path, strategy=strategy, seeds=3), strategy, "Cora") for strategy in ("independent", "gml")]
    for folder, *_ in runs:
        table = pd.read_csv(folder / "trials.csv").assign(nll=0.5, ece=0.25)
        table.to_csv(folder / "trials.csv", index=False)
    kept = dgl_mutual.Experiment.load(write_suite(tmp_path, "x", runs))
    for value, shown in (("nll", "0.500 ± 0.000"), ("ece", "25.0 ± 0.0"), ("epochs", "6 ± 0")):
        assert set(kept.table(value=value)["Cora"]) == {shown}
    assert set(kept.table(value="ece", percent=False)["Cora"]) == {"0.250 ± 0.000"}
    with pytest.raises(UsageError, match=r"'nll' is not a fraction.* Leave out percent \(on the command line: --percent\)"):
        kept.table(value="nll", percent=True)


@pytest.mark.parametrize(("suffix", "kind"), [(".csv", "csv"), (".tex", "latex"), (".MD", "markdown")])
def test_a_table_is_written_as_export_writes_it(suffix: str, kind: str, found: dgl_mutual.Experiment, tmp_path: Path) -> None:
    file = tmp_path / "tables" / f"x{suffix}"
    assert found.export(file) == file
    shown = CliRunner().invoke(cli, ["export", str(found.folder), "--format", kind])
    assert shown.exit_code == 0 and file.read_text(encoding="utf-8") == shown.stdout
    options: dict[str, Any] = {"baseline": "none", "value": "val", "members": ["mean"], "percent": True, "precision": 2}
    found.export(str(file), **options, methods=["teach"], datasets=["digits"])
    arguments = ["--baseline", "none", "--value", "val", "--members", "mean", "--percent", "--precision", "2"]
    shown = CliRunner().invoke(cli, ["export", str(found.folder), "--format", kind, *arguments, "--method", "teach", "--dataset", "digits"])
    assert shown.exit_code == 0 and file.read_text(encoding="utf-8") == shown.stdout
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_table_that_cannot_be_written_leaves_everything_as_it_was(found: dgl_mutual.Experiment, tmp_path: Path) -> None:
    file = tmp_path / "x.tex"
    file.write_text("mine")
    for name, options, message in (
        ("x.tex", {"baseline": "dml"}, "baseline 'dml' is not among the methods"),
        ("x.tex", {"wide": True}, r"latex is always wide.*--wide"),
        ("x.tex", {"value": "parameters", "percent": True}, "'parameters' is not a fraction"),
        ("x.pdf", {}, r"x\.pdf' does not end in \.csv, \.tex, \.md"),
        ("csv", {}, "Name a file such as 'table.csv'"),
    ):
        with pytest.raises(UsageError, match=message):
            found.export(tmp_path / name, **options)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StoreError, match="it is a folder"):
        found.export(tmp_path / "folder.csv")
    assert file.read_text() == "mine" and {path.name for path in tmp_path.iterdir()} == {"x.tex", "folder.csv"}


def test_methods_are_tuned_alike_before_they_are_assessed(found: dgl_mutual.Experiment, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    mine = dgl_mutual.load("digits")
    given = {**SMALL, "seeds": 2, "training": {"epochs": 2}}
    tuned = dgl_mutual.experiment({"mine": mine}, ["independent", "dml"], tuned=2, out=tmp_path, **given)
    searches = tuned.searches
    assert searches.groupby(["data", "method"]).size().to_dict() == {("mine", "independent"): 2, ("mine", "dml"): 2}
    assert set(tuned.trials["seed"]) == {0, 1} and "independent" in tuned.table().attrs["caption"]
    best = searches.loc[searches[searches["method"] == "dml"]["value"].idxmax()]
    (run,) = (run for run in tuned.runs if run.method == "dml")
    rate = best["training.learning_rate"]
    assert run.config["training"]["learning_rate"] == (0.01 if pd.isna(rate) else pytest.approx(rate))
    kept = dgl_mutual.Experiment.load(tuned.save(tmp_path / "kept"))
    pd.testing.assert_frame_equal(kept.searches, searches)
    with pytest.raises(UsageError, match="not tuned"):
        _ = found.searches


def test_figures_by_kind(found: dgl_mutual.Experiment) -> None:
    pytest.importorskip("matplotlib")
    assert set(found.plot("curves")) == {"curves-digits-alone", "curves-digits-teach"}
    with pytest.raises(UsageError, match=r"no data for the plot 'cka'.*training.diversity = true"):
        found.plot("cka")
    with pytest.raises(UsageError, match="Unknown plot 'curve'"):
        found.plot("curve")


def test_it_is_saved_and_loaded_and_overwrites_nothing(found: dgl_mutual.Experiment, tmp_path: Path) -> None:
    again = dgl_mutual.Experiment.load(found.save(tmp_path / "kept"))
    pd.testing.assert_frame_equal(again.trials, found.trials)
    assert repr(again).splitlines()[2:] == repr(found).splitlines()[2:]
    assert list((tmp_path / "kept").glob("*/checkpoints/seed-2-fold-0/gcn-0.safetensors"))
    with pytest.raises(StoreError, match="exists already"):
        found.save(tmp_path / "kept")
    with pytest.raises(StoreError, match=r"is in .*, which would be copied\. Name a folder outside of it\."):
        found.save(found.folder / "kept")
    assert not (found.folder / "kept").exists()
    with pytest.raises(UsageError, match="There is no folder"):
        dgl_mutual.Experiment.load(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="there is no suite"):
        dgl_mutual.Experiment.load(tmp_path)


def test_an_experiment_stays_what_it_was_where_another_one_uses_its_folder(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "out", strategy=strategy, seeds=2) for strategy in ("independent", "gml")]
    suite = write_suite(tmp_path / "out", "x", [(run, run.name, "Cora") for run in runs])
    found = dgl_mutual.Experiment.load(suite)
    shutil.rmtree(suite)
    write_suite(tmp_path / "out", "x", [(runs[0], runs[0].name, "Cora")])
    assert found.methods == [run.name for run in runs] and len(found.table()) > 0
    with pytest.raises(StoreError, match=r"Another experiment has since used the folder .*suite-x'"):
        found.save(tmp_path / "kept")
    assert dgl_mutual.Experiment.load(dgl_mutual.Experiment.load(suite).save(tmp_path / "kept")).methods == [runs[0].name]


def test_an_experiment_is_found_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "out", seeds=2)
    suite = write_suite(tmp_path / "out", "x", [(run, run.name, "Cora")])
    monkeypatch.chdir(tmp_path)
    found = dgl_mutual.Experiment.load("out")
    assert found.folder == suite
    monkeypatch.chdir(tmp_path / "out")
    assert found.failures.empty and found.save("kept") == Path("kept") and (tmp_path / "out" / "kept").is_dir()


@pytest.mark.parametrize("kind", ["link", "device", "pipe"])
def test_only_files_are_copied_and_a_copy_is_whole_or_not_there(kind: str, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "out", strategy=strategy, seeds=2) for strategy in ("independent", "gml")]
    suite = write_suite(tmp_path / "out", "x", [(run, run.name, "Cora") for run in runs])
    found, strange = dgl_mutual.Experiment.load(suite), runs[1] / "checkpoints" / "x"
    strange.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(strange)
    else:
        strange.symlink_to("/dev/zero" if kind == "device" else tmp_path)
    with pytest.raises(StoreError, match=r"x' cannot be copied: it is "):
        found.save(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    strange.unlink()
    (tmp_path / "kept").mkdir()
    assert dgl_mutual.Experiment.load(found.save(tmp_path / "kept")).methods == found.methods
    with pytest.raises(UsageError, match="cannot be used"):
        found.save(tmp_path / ("n" * 300))


def test_seeds_add_up_and_the_same_trials_are_not_trained_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = {**SMALL, "out": tmp_path}
    dgl_mutual.experiment("digits", ["independent"], **{**small, "seeds": 1})
    trained: list[int] = []
    fit = trial.fit_cohort

    def counted(*arguments: Any, **options: Any) -> Any:
        trained.append(options["seed"].seed)
        return fit(*arguments, **options)

    monkeypatch.setattr("dgl_mutual.experiments.trial.fit_cohort", counted)
    assert set(dgl_mutual.experiment("digits", ["independent"], **{**small, "seeds": 2}).trials["seed"]) == {0, 1}
    assert trained == [1]
    assert set(dgl_mutual.experiment("digits", ["independent"], **{**small, "seeds": 1}).trials["seed"]) == {0}
    assert trained == [1]


def test_methods_with_and_without_edge_features_are_compared() -> None:
    nodes = np.arange(24)
    edges, split = np.stack([nodes, (nodes + 1) % 24]), dgl_mutual.Split(nodes[:12], nodes[12:18], nodes[18:])
    data = dgl_mutual.Dataset.from_arrays(
        edges, np.eye(24, 5, dtype=np.float32), nodes % 3, edge_features=np.ones((24, 2), dtype=np.float32), name="ring", split=split
    )
    methods = {"bonds": "independent", "none": {"strategy": "independent", "students": ["mlp"]}}
    found = dgl_mutual.experiment(data, methods, baseline="bonds", students="gcn", training={"epochs": 2}, seeds=3, jobs=1)
    assert found.trials.groupby("seed")["split"].nunique().tolist() == [1, 1, 1]
    assert found.table().shape[0] >= 2


def test_an_experiment_has_its_runs_before_another_one_takes_its_folder(tmp_path: Path) -> None:
    small = {**SMALL, "seeds": 1, "out": tmp_path}
    first = dgl_mutual.experiment("digits", {"a": "independent", "b": "dml"}, **small)
    second = dgl_mutual.experiment("digits", {"a": "independent", "c": "gml"}, **small)
    assert (first.methods, second.methods) == (["a", "b"], ["a", "c"])
    with pytest.raises(UsageError, match=r"that of another suite, with a on digits among others.*name=\.\.\."):
        dgl_mutual.experiment("digits", {"d": "dml"}, **{**small, "training": {"epochs": 3}})


def test_other_graphs_of_the_same_name_do_not_take_the_folder(tmp_path: Path) -> None:
    graphs = []
    for shift in (1, 2):
        graph = dgl.graph((torch.arange(200), (torch.arange(200) + shift) % 200), num_nodes=200)
        graph.ndata["feat"], graph.ndata["label"] = torch.eye(200)[:, :5], torch.arange(200) % 2
        graphs.append(graph)
    small = {**SMALL, "seeds": 1, "out": tmp_path}
    first = dgl_mutual.experiment(graphs[0], "independent", **small)
    table = (first.folder / "table.csv").read_text()
    with pytest.raises(UsageError, match=r"that of another suite, .* its runs have other data under the same names\..*name=\.\.\."):
        dgl_mutual.experiment(graphs[1], "independent", **small)
    assert (first.folder / "table.csv").read_text() == table
    dgl_mutual.experiment(graphs[0], "independent", **{**small, "training": {"epochs": 3}})
    dgl_mutual.experiment(graphs[1], "independent", name="second", **small)


def test_methods_that_learn_on_other_samples_have_columns_of_their_own(tmp_path: Path) -> None:
    methods = {name: {"strategy": "independent", **layer} for name, layer in (("all", {}), ("few", {"label_rate": 0.3}))}
    found = dgl_mutual.experiment("digits", methods, out=tmp_path, **{**SMALL, "seeds": 1})
    columns = list(found.table().columns)
    assert columns == ["digits", "digits (30% labels)"]
    without_suite = export(load_runs([tmp_path]), "csv", wide=True).splitlines()[0]
    assert all(column in without_suite for column in columns)
    assert "digits (30% labels)" in (found.folder / "table.md").read_text()
    with pytest.raises(UsageError, match="no data in common"):
        found.compare("all", "few")
    alone = dgl_mutual.fit("digits", strategy="independent", label_rate=0.3, students="gcn", training={"epochs": 1})
    trials = found.trials[found.trials["method"] == "few"]
    assert set(trials["split"]) == {fingerprint(alone.dataset, alone.split)}, "with the labels that are left"


def resolved(found: dgl_mutual.Experiment) -> dict[str, dict[str, Any]]:
    """By method, the configuration of its run."""
    return {run.method: run.config for run in found.runs}


def test_it_takes_what_fit_takes(tmp_path: Path) -> None:
    names = inspect.signature(dgl_mutual.experiment).parameters
    alone = {"strategy", "config", "split", "seed", "fold", "callbacks"}  # of one training
    assert set(inspect.signature(dgl_mutual.fit).parameters) - alone <= set(names)
    options: dict[str, Any] = {"label_rate": 0.3, "strategy_options": {"weight": 2.5}}
    small = {**SMALL, "seeds": 1}
    with pytest.warns(UserWarning, match=r"Options of gml that independent does not take over: weight=2\.5"):
        found = dgl_mutual.experiment("digits", ["independent", "gml"], out=tmp_path / "a", **options, **small)
    mine = found.trials.query("method == 'gml'").set_index("member")["test"]
    result = dgl_mutual.fit(dgl_mutual.load("digits"), **{key: small[key] for key in ("students", "student", "training")}, **options)
    assert mine["mean"] == result["mean"].test
    joint = dgl_mutual.experiment("digits-multi", ["independent"], task_weights="uncertainty", out=tmp_path / "b", **small)
    assert resolved(joint)["independent"]["task_weights"] == "uncertainty"


def test_it_starts_from_a_recipe_and_so_does_a_method(tmp_path: Path) -> None:
    small = {"student": {"hidden": 8}, "training": {"epochs": 2}, "seeds": 1, "jobs": 1}
    with pytest.warns(UserWarning, match=r"mutag-small that the node task of digits does not take over: training\.batch_size=32"):
        found = dgl_mutual.experiment("digits", ["independent"], recipe="mutag-small", out=tmp_path / "a", **small)
    config = resolved(found)["independent"]
    assert (config["protocol"], config["training"]["patience"], config["training"]["epochs"]) == ("random", 50, 2)
    methods = {"large": {"recipe": "citeseer-reference", "training": {"epochs": 3}, "student": {"hidden": 4}}, "small": "independent"}
    found = dgl_mutual.experiment("digits", methods, out=tmp_path / "b", **small)
    large, other = (resolved(found)[name] for name in ("large", "small"))
    assert (large["strategy"], large["training"]["patience"], large["training"]["epochs"]) == ("independent", 500, 3)
    assert len(large["students"]) == 1 and large["protocol"] == other["protocol"] == "random"
    for options in ({"recipe": "cora"}, {"methods": {"mine": {"recipe": "cora"}}}):
        with pytest.raises(UsageError, match="Unknown recipe 'cora'"):
            dgl_mutual.experiment("digits", **{**small, **options})


def rings(count: int) -> dgl_mutual.Dataset:
    nodes, offsets = np.arange(5 * count), 5 * np.arange(count + 1)
    edges = np.stack([nodes, nodes // 5 * 5 + (nodes + 1) % 5])
    features = np.random.default_rng(count).standard_normal((5 * count, 3)).astype(np.float32)
    return dgl_mutual.Dataset.from_arrays(edges, features, np.arange(count) % 2, node_offsets=offsets, name=f"{count} rings")


def test_a_pool_of_graphs_in_memory_is_a_pool_of_each_dataset() -> None:
    some, pool = rings(40), rings(30)
    shared: dict[str, Any] = {**{key: SMALL[key] for key in ("students", "student", "training")}, "folds": 2}
    found = dgl_mutual.experiment(some, ["gml"], unlabelled=pool, jobs=1, **shared)
    mine = found.trials.query("fold == 1").set_index("member")["test"]
    result = dgl_mutual.fit(some, unlabelled=pool, fold=1, **shared)
    assert len(result.split.unlabelled) == 30 and mine["mean"] == result["mean"].test
    assert resolved(found)["gml"]["unlabelled"] == "30 rings"
    with pytest.raises(DataError, match="3 feature columns"):
        dgl_mutual.experiment({"other": "digits"}, ["gml"], unlabelled=pool, **SMALL)


@pytest.mark.parametrize(
    ("label_rate", "noise"), [(None, None), (0.5, None), (0.5, "edge:0.3"), (None, "edge-remove:0.3"), (None, "feature:0.2")]
)
def test_methods_with_a_pool_are_compared_with_those_without(label_rate: float | None, noise: str | None, tmp_path: Path) -> None:
    some, pool = rings(40), rings(30)
    shared = {**SMALL, "seeds": 1, "folds": 3, "label_rate": label_rate}
    for options in ({}, {"unlabelled": pool}):
        dgl_mutual.experiment(some, {"gml": {"noise": noise}}, out=tmp_path, name=f"pool-{len(options)}", **shared, **options)
    runs = load_runs([path.parent for path in tmp_path.glob("*/trials.csv")])
    trials = gather(runs)
    assert set(trials["method"]) == {"gml", "gml (unlabelled=30 rings)"}
    assert trials.groupby("fold")[["split", "test_to_train"]].nunique().eq(1).all(axis=None)
    rows = compare(trials, baseline="gml", members="mean").rows
    assert rows["data"].nunique() == 1 and rows["n"].tolist() == [3, 3] and np.isfinite(rows["p"].iloc[1])


def test_trials_that_make_no_table_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise UsageError("They cannot be combined in one table.")

    monkeypatch.setattr("dgl_mutual.reporting.suite_tables.compare_with_baseline", refused)
    monkeypatch.setattr("dgl_mutual.reporting.experiment.compare_with_baseline", refused)
    with pytest.warns(UserWarning, match=r"No table of all methods: They cannot .* The trials are in \.trials"):
        found = dgl_mutual.experiment("digits", ["independent"], **{**SMALL, "seeds": 1})
    assert len(found.trials) and "No table: They cannot" in repr(found) and "They cannot" in found._repr_html_()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["gmll"]}, "Unknown strategy 'gmll'"),
        ({"baseline": "dml"}, "baseline 'dml' is not among the methods"),
        ({"training": {"epoch": 3}}, "Did you mean 'epochs'"),
        ({"seeds": 0}, "'seeds' = 0"),
        ({"protocol": ""}, "Unknown protocol ''"),
        ({"dataset": "digitz"}, "Unknown dataset 'digitz'"),
        ({"methods": ["gml", "gml"]}, "'gml' is named twice"),
        ({"methods": "gml,gml"}, "'gml' is named twice"),
        ({"methods": " "}, "methods = ' ' names nothing. Give names, for example independent,gml"),
        ({"methods": "gml,,dml"}, "Did you mean 'gml,dml'"),
        ({"methods": ["a/best.yaml"]}, r"'a/best.yaml' is a file.* for example \{tuned: a/best.yaml\}"),
        ({"methods": {"tuned": "best.yaml"}}, "The configuration 'best.yaml' cannot be read: there is no such file"),
        (
            {"methods": ["independent", dgl_mutual.Strategy]},
            r"a class has no name for tables, so give \{'independent': 'independent', 'strategy': Strategy\}",
        ),
        ({"methods": {"gml uniform": None}}, r"no strategy is called 'gml uniform'.* Set one, for example gml uniform: \{strategy: gml\}"),
        ({"methods": []}, r"names of strategies are needed.*not \[\]"),
        ({"methods": np.array("gml")}, "names of strategies are needed.*not array"),
        ({"methods": {"gml": {"targets": {"digit", "even"}}}}, r"'targets' = \{.*: a set has no order: give a list"),
        ({"students": {"gcn"}}, "is a set, which has no order"),
        ({"jobs": 1.5}, "jobs = 1.5 is not an integer from 1"),
        ({"jobs": 10**9}, "jobs = 1000000000 is more than the maximum 1024"),
        ({"jobs": 0}, "jobs = 0 is not an integer from 1"),
        ({"jobs": 0, "tuned": 1}, "jobs = 0 is not an integer from 1"),
        ({"threads": None}, "threads = None is not an integer from 1"),
        ({"threads": 100_000}, "threads = 100000 is more than the maximum 1024"),
        ({"device": 5}, "Unknown device '5'"),
        ({"track": "tensorbord", "tuned": 1}, "Unknown tracker 'tensorbord'. Did you mean 'tensorboard'"),
        ({"track": {"tensorboard"}}, r"track = \{'tensorboard'\} is a set, which has no order\. Give a list"),
        ({"track": 3}, "The tracker 3 is not a class"),
        ({"track": np.array(3)}, "The tracker ndarray.* is not a class"),
        ({"track": ""}, "track = '' names nothing"),
        ({"data_dir": 5}, "Expected a path, found 5"),
        ({"out": 5}, "Expected a path, found 5"),
        ({"out": ""}, "The path is empty"),
        ({"name": ""}, "name = '' is not a name"),
        (
            {"methods": {"independent": None, "dml": {"grid": {"training.epochs": [1, 2]}}}, "tuned": 1},
            "dml on digits: The configuration has a grid",
        ),
    ],
)
def test_errors_are_found_before_anything_runs(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        dgl_mutual.experiment(**{"dataset": "digits", "out": tmp_path / "out", **SMALL, **options})
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("tuned", [None, 1])
def test_a_split_that_labels_do_not_allow_is_a_split_error(tuned: int | None, tmp_path: Path) -> None:
    few = {**SMALL, "label_rate": 0.001}
    with pytest.raises(SplitError, match=r"independent on digits: A label rate of 0\.001"):
        dgl_mutual.experiment("digits", ["independent"], out=tmp_path, tuned=tuned, **few)
    with pytest.raises(DataError, match="Cora") as other:  # that another one is missing has another cause
        dgl_mutual.experiment(["digits", "Cora"], ["independent"], tuned=tuned, offline=True, data_dir=tmp_path, **few)
    assert not isinstance(other.value, UsageError)
    assert not [*tmp_path.iterdir()]


class Lines(Tracker):
    """Writes each epoch's loss of the first student, and whether the training failed, into the folder of the run."""

    def open(self) -> None:
        self.file = (self.run.folder / f"{self.run.name}.txt").open("w")

    def log(self, figures: Mapping[str, float], step: int) -> None:
        print(step, *[name for name in figures if "loss" in name][:1], file=self.file)

    def close(self, failed: bool) -> None:
        print(failed, file=self.file)
        self.file.close()


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("jobs", [1, 2])
def test_trackers_follow_each_training(jobs: int, tmp_path: Path) -> None:
    settings = {**SMALL, "seeds": 2, "jobs": jobs, "training": {"epochs": 2}}
    dgl_mutual.experiment("digits", ["independent"], out=tmp_path, track=Lines, **settings)
    (run,) = [folder for folder in tmp_path.iterdir() if folder.name != "suite-experiment"]
    logged = {file.name: file.read_text().splitlines() for file in run.glob("*.txt")}
    assert {*logged} == {"seed-0-fold-0.txt", "seed-1-fold-0.txt"}
    for lines in logged.values():
        assert [line.split()[0] for line in lines] == ["0", "1", "2", "False"]


def test_values_of_numpy_torch_and_iterators_are_taken() -> None:
    few = {**SMALL, "seeds": np.int64(1), "jobs": np.int64(1), "device": torch.device("cpu"), "methods": np.array(["independent", "dml"])}
    found = dgl_mutual.experiment("digits", **{**few, "students": (name for name in ("gcn", "sage"))})
    assert {*found.trials["method"]} == {"independent", "dml"} and {"gcn-0", "sage-1"} < {*found.trials["member"]}
    methods = {name: {"strategy": name, "students": (one for one in ("gcn", "sage"))} for name in ("independent", "dml")}
    assert dgl_mutual.experiment({"a": "digits", "b": "digits"}, **{**few, "methods": methods}).trials["data"].nunique() == 2


def test_methods_are_a_text_with_commas_or_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    best = {"dataset": "Cora", "task": "node", "seeds": 7, "strategy": "dml", "training": {"learning_rate": 0.02}}
    Path("best.yaml").write_text(yaml.safe_dump(best))
    small = {**SMALL, "seeds": 1}
    assert set(dgl_mutual.experiment("digits", "gml, independent", **small).methods) == {"gml", "independent"}
    with pytest.warns(UserWarning, match=r"does not take over from .*best.yaml': seeds=7\. These options belong to the data"):
        found = dgl_mutual.experiment("digits", {"tuned": "best.yaml", "again": tmp_path / "best.yaml", "plain": "dml"}, **small)
    of = {run.method: run.config for run in found.runs}
    assert {name: (config["strategy"], config["training"]["learning_rate"]) for name, config in of.items()} == {
        "tuned": ("dml", 0.02),
        "again": ("dml", 0.02),
        "plain": ("dml", 0.01),
    }
    assert {(config["dataset"], config["seeds"], config["training"]["epochs"]) for config in of.values()} == {("digits", 1, 4)}


def test_code_that_a_file_names_is_imported_with_trust_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("code_of_a_file.py").write_text(
        "from dgl_mutual.strategies.independent import Independent\nopen('executed', 'w').close()\nclass Mine(Independent):\n    pass\n"
    )
    Path("best.yaml").write_text("strategy: code_of_a_file:Mine\n")
    with pytest.raises(UsageError, match=r"'best.yaml' names custom code: code_of_a_file:Mine.*trust=True"):
        dgl_mutual.experiment("digits", {"theirs": "best.yaml"}, **SMALL)
    assert not Path("executed").exists()
    found = dgl_mutual.experiment("digits", {"theirs": "best.yaml"}, trust=True, **{**SMALL, "seeds": 1})
    assert found.methods == ["theirs"] and Path("executed").exists()


def test_a_suite_of_the_command_line_is_an_experiment(tmp_path: Path) -> None:
    runs = [(write_run(tmp_path, strategy=strategy, seeds=3), strategy, "Cora") for strategy in ("gml", "independent")]
    folder = write_suite(tmp_path, "mine", runs)
    for path in (folder, tmp_path):
        assert dgl_mutual.Experiment.load(path).methods == ["gml", "independent"]
    write_suite(tmp_path, "other", runs)
    with pytest.raises(UsageError, match="several suites: suite-mine, suite-other"):
        dgl_mutual.Experiment.load(tmp_path)


def test_a_method_is_the_strategy_of_its_name_whatever_its_recipe() -> None:
    """The recipe's strategy options count only for its own strategy."""
    recipe = {"recipe": "cora-few-labels"}
    other = {"dataset": "CiteSeer", "methods": {"independent": {"recipe": "citeseer-few-labels"}}}
    suite = {"methods": {"independent": recipe, "gml": recipe, "mine": recipe}, "datasets": ["Cora", other]}
    with pytest.warns(UserWarning, match="Options of gml that independent does not take over"):
        found = {(entry.data, entry.method): entry.config for entry in configurations(parse_options(Suite, suite))}
    assert {key: config.strategy for key, config in found.items()} == {
        ("Cora", "independent"): "independent",
        ("Cora", "gml"): "gml",
        ("Cora", "mine"): "gml",
        ("CiteSeer", "independent"): "independent",
    }
    assert not found["Cora", "independent"].strategy_options and found["Cora", "gml"].strategy_options["class_prior_weight"] == 3
    assert all(config.label_rate for config in found.values())
    plain = parse_options(Suite, {"methods": {"dml": {"training": {"epochs": 3}}}, "datasets": ["Cora"]})
    assert [entry.config.strategy for entry in configurations(plain)] == ["dml"]


@pytest.mark.parametrize("layer", ["text", 3, ["independent"]])
def test_a_method_under_a_strategys_name_is_checked_as_any_other(layer: Any) -> None:
    for name in ("independent", "mine"):
        with pytest.raises(UsageError, match=f"methods.{name}"):
            parse_options(Suite, {"methods": {name: layer}, "datasets": ["Cora"]})


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("options", [{}, {"tuned": 2}])
def test_without_gradients_it_trains_nothing_whatever_the_number_of_jobs(jobs: int, options: dict[str, Any], tmp_path: Path) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # none of runs that would fail
        with pytest.raises(UsageError, match="Gradients are switched off"):
            dgl_mutual.experiment("digits", ["independent", "gml"], out=tmp_path, **{**SMALL, "jobs": jobs}, **options)


def test_what_is_finished_needs_no_gradients(found: dgl_mutual.Experiment, tmp_path: Path) -> None:
    shutil.copytree(found.folder.parent, tmp_path / "out")
    methods = {"alone": "independent", "teach": {"strategy": "gml", "strategy_options": {"weight": 2.0}}}
    with torch.no_grad():
        again = dgl_mutual.experiment("digits", methods, baseline="alone", out=tmp_path / "out", **SMALL)
    pd.testing.assert_frame_equal(again.trials, found.trials)
