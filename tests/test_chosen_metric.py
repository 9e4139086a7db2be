"""A metric that is chosen: what validation selects by, what is reported, and what keeps runs apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

import dgl_mutual
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.runner import run
from dgl_mutual.experiments.tuning.search import tune
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.snapshots import Snapshots

N = 240
SHORT: dict[str, Any] = {
    "students": "gcn,mlp",
    "strategy": "gml",
    "student": {"hidden": 8},
    "training": {"epochs": 40, "learning_rate": 0.1},
}


def unbalanced(**given: Any) -> Dataset:
    """A node task with 7 nodes of one class for each of the other, which features and neighbours tell, more or less."""
    random = np.random.default_rng(0)
    labels = (np.arange(N) % 8 == 0).astype(int)
    features = random.normal(size=(N, 4)) + labels[:, None]
    source = random.integers(0, N, 500)
    alike = np.array([random.choice(np.flatnonzero(labels == labels[node])) for node in source])
    alike = np.where(random.random(500) < 0.6, alike, random.integers(0, N, 500))
    split = Split(*(np.arange(N)[np.arange(N) // 8 % 3 == part] for part in range(3)))
    given = {"labels": labels, "split": split, "name": "unbalanced", "symmetric": True, **given}
    return Dataset.from_arrays([source, alike], features, **given)


def figures(result: Any) -> dict[str, tuple[float, ...]]:
    return {member.member: (member.train, member.val, member.test) for member in result.members}


def test_validation_selects_by_it_and_it_is_reported() -> None:
    results = {
        metric: dgl_mutual.fit(unbalanced(), **SHORT, metric=metric) for metric in ("accuracy", "macro-f1", "balanced-accuracy", "rocauc")
    }
    truth = unbalanced().labels
    score = {
        "accuracy": lambda true, found: float((true == found.argmax(1)).mean()),
        "macro-f1": lambda true, found: f1_score(true, found.argmax(1), average="macro", zero_division=0),
        "balanced-accuracy": lambda true, found: balanced_accuracy_score(true, found.argmax(1)),
        "rocauc": lambda true, found: roc_auc_score(true, found[:, 1]),
    }
    for metric, result in results.items():
        assert result.dataset.target.metric == metric and f"node task, {metric})" in repr(result)
        for name in ("gcn-0", "mlp-1"):
            curve = [row[f"val/{name}"] for row in result.history]
            assert result[name].val == max(curve) == curve[result[name].best_epoch or 0]
        for name in ("gcn-0", "mlp-1", "ensemble"):
            found = result.predict(member=name)
            expected = [score[metric](truth[part], found[part]) for part in (result.split.train, result.split.val, result.split.test)]
            assert figures(result)[name] == pytest.approx(expected, abs=1e-6)
    # The trainings are the same; what is kept of them is not.
    first, second = results["accuracy"], results["macro-f1"]
    shared = min(first.epochs, second.epochs)
    for key in ("loss/supervised/gcn-0", "loss/supervised/mlp-1"):
        assert [row[key] for row in first.history[:shared]] == [row[key] for row in second.history[:shared]]
    # By accuracy the MLP is kept where it always predicts the larger class.
    truth = truth[first.split.test]
    by_accuracy, by_f1 = (result.predict(member="mlp-1")[result.split.test].argmax(1) for result in (first, second))
    assert not by_accuracy.any() and by_f1.any() and first["mlp-1"].best_epoch != second["mlp-1"].best_epoch


def test_it_is_the_same_for_the_dataset_and_for_the_run() -> None:
    made = unbalanced(metric="macro-f1")
    by_run, by_dataset = dgl_mutual.fit(unbalanced(), **SHORT, metric="macro-f1"), dgl_mutual.fit(made, **SHORT)
    by_file = dgl_mutual.fit(unbalanced(), config=by_dataset.config)
    assert figures(by_run) == figures(by_dataset) == figures(by_file)
    assert by_run.config == by_dataset.config == by_file.config and by_run.config["metric"] == "macro-f1"
    back, usual = dgl_mutual.fit(made, **SHORT, metric="accuracy"), dgl_mutual.fit(unbalanced(), **SHORT)
    assert figures(back) == figures(usual) and usual.config["metric"] is None
    # Told, since the dataset has another one: the configuration gives the same result on it.
    assert back.config["metric"] == "accuracy" and figures(dgl_mutual.fit(made, config=back.config)) == figures(back)


def test_labels_are_scored_by_it_as_classes_are() -> None:
    labels = np.stack([unbalanced().labels, 1 - unbalanced().labels], axis=1).astype(float)
    labels[::7, 1] = np.nan
    for metric in ("macro-f1", "rocauc", "ap"):
        result = dgl_mutual.fit(unbalanced(labels=labels), **SHORT, metric=metric)
        assert result.dataset.target.metric == metric
        assert result["gcn-0"].val == max(row["val/gcn-0"] for row in result.history)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metric": "nonsense"}, r"^Unknown metric 'nonsense'\. Choose from: accuracy, balanced-accuracy, macro-f1, rocauc\.$"),
        ({"metric": "Macro-F1"}, r"^Unknown metric 'Macro-F1'\. Did you mean 'macro-f1'\? Choose from: accuracy, .*"),
        ({"config": {"metric": "balanced"}}, "^Unknown metric 'balanced'. Did you mean 'balanced-accuracy'"),
        (
            {"metric": "micro-f1"},
            "'micro-f1' does not fit a target of 2 classes. Choose from: accuracy, balanced-accuracy, macro-f1, rocauc.",
        ),
        ({"metric": "mean"}, "'mean'.*accuracy"),
        (
            {"metric": f1_score},
            r"^metric = <function f1_score .* is not the name of a metric\. Choose from: accuracy, .* ap\.$",
        ),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dgl_mutual.fit(unbalanced(), **{**SHORT, **given})


def test_an_unknown_one_is_the_same_mistake_everywhere() -> None:
    mistake = r"Unknown metric 'nonsense'\. Choose from: accuracy, balanced-accuracy, macro-f1, rocauc\."
    with pytest.raises(UsageError, match=f"^{mistake}"):
        unbalanced(metric="nonsense")
    with pytest.raises(UsageError, match=f"^{mistake}"):
        unbalanced().with_metric("nonsense")
    with pytest.raises(UsageError, match=f"^gml on unbalanced: {mistake}"):
        dgl_mutual.experiment(unbalanced(), "gml", metric="nonsense")


def test_several_targets_have_none() -> None:
    digits = dgl_mutual.load("digits-multi")
    with pytest.raises(UsageError, match=r"there are several \(digit, even, ink\).*Leave the metric out"):
        dgl_mutual.fit(digits, **SHORT, metric="macro-f1")
    even = dgl_mutual.load("digits-multi", targets="even")
    assert (even.target.metric, even.with_metric("ap").target.default_metric) == ("rocauc", "rocauc")


def test_students_are_saved_with_it_and_files_without_it_are_as_before(tmp_path: Path) -> None:
    for metric in (None, "macro-f1"):
        result = dgl_mutual.fit(unbalanced(), **SHORT, metric=metric)
        result.save(tmp_path / str(metric))
        target = json.loads((tmp_path / str(metric) / "gcn-0.json").read_text())["target"]
        usual = {"kind": "single-label", "names": ["0", "1"], "metric": "accuracy"}
        assert target == (usual if metric is None else {**usual, "metric": metric, "default_metric": "accuracy"})
        for member in ("gcn-0", "ensemble"):
            loaded = dgl_mutual.load_student(tmp_path / str(metric), member)
            assert loaded.target == result.dataset.target
            np.testing.assert_array_equal(loaded.predict(unbalanced()), result.predict(member=member))


def test_a_training_that_was_cut_off_goes_on_with_it(tmp_path: Path) -> None:
    from dgl_mutual.experiments.configuration.resolve import resolve
    from dgl_mutual.experiments.trial import Trial, fit_resolved

    class Stop(Callback):
        def on_epoch_end(self, state: Any) -> None:
            if state.current.epochs_done == 20:
                raise KeyboardInterrupt

    dataset = unbalanced(metric="macro-f1")
    config = resolve(parse_config({**SHORT, "dataset": "unbalanced"}), dataset)
    assert dataset.official_split is not None
    trial, snapshots = Trial(0, 0, dataset.official_split), Snapshots(tmp_path / "0.safetensors", 5)
    with pytest.raises(KeyboardInterrupt):
        fit_resolved(trial, config, dataset, callbacks=[Stop()], snapshots=snapshots)
    assert (tmp_path / "0.safetensors").is_file()
    resumed = fit_resolved(trial, config, dataset, snapshots=snapshots)
    assert figures(resumed) == figures(fit_resolved(trial, config, dataset))


def test_methods_of_several_metrics_have_columns_of_their_own(tmp_path: Path) -> None:
    methods = {"gml": None, "independent": None, "gml by F1": {"strategy": "gml", "metric": "macro-f1"}}
    options: dict[str, Any] = {"students": "gcn,mlp", "training": {"epochs": 3}, "seeds": 1, "jobs": 1, "device": "cpu"}
    found = dgl_mutual.experiment(unbalanced(), methods, out=tmp_path, **options)
    assert len([*tmp_path.glob("node-unbalanced-gml-*")]) == 2
    assert {(row.data, row.metric) for row in found.summary("none").itertuples()} == {
        ("unbalanced", "accuracy"),
        ("unbalanced (macro-f1)", "macro-f1"),
    }
    before = len([*tmp_path.glob("node-*")])
    for given in ({"metric": "macro-f1"}, {}):
        again = dgl_mutual.experiment(
            unbalanced(metric="macro-f1"), ["gml", "label-propagation"], out=tmp_path, name="again", **options, **given
        )
        assert set(again.trials["metric"]) == {"macro-f1"}
    assert len([*tmp_path.glob("node-*")]) == before + 1  # of gml there is one already
    with pytest.raises(UsageError, match="gml on unbalanced: metric = 'ap' does not fit"):
        dgl_mutual.experiment(unbalanced(), ["gml"], out=tmp_path, metric="ap", **options)


def test_strategies_without_training_are_scored_by_it_too() -> None:
    for strategy in ("label-propagation", "correct-and-smooth"):
        options: dict[str, Any] = {} if strategy == "label-propagation" else {"students": "mlp", "training": {"epochs": 5}}
        for metric in ("macro-f1", "rocauc"):
            result = dgl_mutual.fit(unbalanced(), strategy=strategy, metric=metric, **options)
            found = result.predict(member="ensemble")[result.split.test]
            truth = unbalanced().labels[result.split.test]
            macro = f1_score(truth, found.argmax(1), average="macro", zero_division=0)
            expected = macro if metric == "macro-f1" else roc_auc_score(truth, np.log(found[:, 1]) - np.log(found[:, 0]))
            assert result["ensemble"].test == pytest.approx(expected, abs=1e-6)


def test_a_search_is_by_it(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is of the extra tune")
    values = {**SHORT, "training": {"epochs": 4}, "dataset": "unbalanced"}
    searches = {
        metric: tune(
            parse_config({**values, **({"metric": metric} if metric else {})}), unbalanced(), trials=1, out=tmp_path, in_memory=True
        )
        for metric in (None, "macro-f1")
    }
    assert searches[None].folder != searches["macro-f1"].folder
    assert searches["macro-f1"].best is not None and searches["macro-f1"].best["metric"] == "macro-f1"
    assert searches["macro-f1"].default_value != searches[None].default_value


def test_a_run_of_a_folder_with_an_mlp_distilled(tmp_path: Path) -> None:
    dataset, folder = unbalanced(), tmp_path / "mine"
    folder.mkdir()
    (folder / "meta.yaml").write_text(
        "dataset_name: mine\nmetric: macro-f1\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n"
    )
    assert dataset.official_split is not None
    masks = {
        f"{part}_mask": np.isin(np.arange(N), rows)
        for part, rows in zip(("train", "val", "test"), dataset.official_split.parts.values(), strict=False)
    }
    features = {f"x{column}": values for column, values in enumerate(np.asarray(dataset.features).T)}
    pd.DataFrame({"node_id": range(N), "label": dataset.labels, **features, **masks}).to_csv(folder / "nodes.csv", index=False)
    pd.DataFrame(dict(zip(("src_id", "dst_id"), dataset.edges, strict=True))).to_csv(folder / "edges.csv", index=False)
    values = {**SHORT, "dataset": str(folder), "seeds": 1, "training": {"epochs": 5}, "distill": {"epochs": 5}}
    reports = {
        metric: run(parse_config({**values, "metric": metric}), out=tmp_path / "out", compute=Compute(jobs=1))
        for metric in (None, "accuracy")
    }
    assert reports[None].folder != reports["accuracy"].folder
    for metric, report in reports.items():
        trials = pd.read_csv(report.folder / "trials.csv")
        assert set(trials["metric"]) == {metric or "macro-f1"} and "mlp" in set(trials["member"])


def test_runs_of_other_metrics_have_a_dataset_of_their_own() -> None:
    source = DataSource()
    configs = [parse_config({"dataset": "digits", "metric": metric}) for metric in (None, "macro-f1", "balanced-accuracy")]
    assert [source.load(config).target.metric for config in configs] == ["accuracy", "macro-f1", "balanced-accuracy"]
