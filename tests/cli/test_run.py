from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.usefixtures("elsewhere")

NARROW = ("--set", "student.hidden=8", "--jobs", "1")
ANY_SEEDS = ("--students", "gcn,sage", "--epochs", "3", *NARROW)
SMALL = (*ANY_SEEDS, "--seeds", "2")


def test_a_run_shows_a_table_and_where_its_rows_are(command_line: Callable[..., object], elsewhere: Path) -> None:
    status, out, err = command_line("run", *SMALL)
    assert status == 0
    *table, last = out.splitlines()
    assert [line.split()[0] for line in table] == ["member", "gcn-0", "sage-1", "mean", "best_by_val", "ensemble"]
    rows = pd.read_csv(elsewhere / last.removeprefix("Written to "))
    test = rows[rows["member"] == "gcn-0"]["test"]
    assert table[1].split()[-3:] == [f"{test.mean():.4f}", "+-", f"{test.std(ddof=1):.4f}"]
    assert "seed-1-fold-0  finished  [2/2]" in err
    # Again: nothing is left to do, and the same is shown.
    assert command_line("run", *SMALL)[:2] == (0, out)


def test_a_small_graph_runs_on_random_shares_of_its_nodes(command_line: Callable[..., object], elsewhere: Path) -> None:
    """Zachary's karate club: 34 nodes in two groups of 17."""
    club, folder = nx.karate_club_graph(), elsewhere / "karate"
    folder.mkdir()
    (folder / "meta.yaml").write_text("dataset_name: karate\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n")
    nodes = [{"node_id": node, "label": values["club"], "degree": club.degree(node)} for node, values in club.nodes(data=True)]
    pd.DataFrame(nodes).to_csv(folder / "nodes.csv", index=False)
    pd.DataFrame([*club.edges, *((b, a) for a, b in club.edges)], columns=["src_id", "dst_id"]).to_csv(folder / "edges.csv", index=False)
    for strategy in ("independent", "gml"):
        status, _, err = command_line("run", "--dataset", "./karate", "--strategy", strategy, *SMALL)  # type: ignore[misc]  # three parts
        assert status == 0, err
    folders = sorted((elsewhere / "results").iterdir())
    resolved = yaml.safe_load((folders[0] / "config.yaml").read_text())["resolved"]
    assert (resolved["protocol"], resolved["folds"], resolved["seeds"]) == ("holdout", None, 2)
    rows = pd.read_csv(folders[0] / "trials.csv")
    assert set(rows["protocol"]) == {"holdout"} and rows["split"].nunique() == 2
    students = rows[rows["member"] == "gcn-0"]
    assert all(((students[part] * 7).round(9) % 1 == 0).all() for part in ("val", "test"))  # accuracies on seven nodes
    status, out, err = command_line("export", "results", "--format", "markdown")  # type: ignore[misc]  # three parts
    assert status == 0 and "Protocol holdout, n = 2 seeds" in out, err


def test_file_and_flags_give_the_same_configuration(command_line: Callable[..., object], elsewhere: Path) -> None:
    (elsewhere / "mine.yaml").write_text("students: [gcn, sage]\nstudent: {hidden: 8}\nseeds: 5\ntraining: {epochs: 3}\n")
    assert command_line("run", "--config", "mine.yaml", "--seeds", "2", "--jobs", "1")[0] == 0
    assert command_line("run", *SMALL)[0] == 0
    (folder,) = (elsewhere / "results").iterdir()
    assert command_line("run", "--config", folder / "config.yaml")[0] == 0
    assert list((elsewhere / "results").iterdir()) == [folder]
    config = yaml.safe_load((folder / "config.yaml").read_text())["resolved"]
    assert (config["seeds"], config["training"]["epochs"], config["students"][1]["hidden"]) == (2, 3, 8)


def test_a_kept_configuration_can_be_changed_and_what_followed_from_it_follows_anew(
    command_line: Callable[..., object], elsewhere: Path
) -> None:
    assert command_line("run", *SMALL)[0] == 0
    (first,) = (elsewhere / "results").iterdir()
    for arguments, expected in (
        (("--set", "student.hidden=16"), {"hidden": 16, "epochs": 3, "warmup": [0, 0]}),
        (("--epochs", "9"), {"hidden": 8, "epochs": 9, "warmup": [2, 2]}),
        (("--strategy", "independent"), {"hidden": 8, "epochs": 3, "warmup": None}),
    ):
        before = {*(elsewhere / "results").iterdir()}
        assert command_line("run", "--config", first / "config.yaml", *arguments, "--seeds", "1", "--jobs", "1")[0] == 0
        (folder,) = {*(elsewhere / "results").iterdir()} - before
        values = yaml.safe_load((folder / "config.yaml").read_text())
        config = values["resolved"]
        assert {student["hidden"] for student in config["students"]} == {expected["hidden"]}
        assert (config["training"]["epochs"], config["strategy_options"].get("exchange_warmup")) == (expected["epochs"], expected["warmup"])
        assert "exchange_warmup" not in values["given"].get("strategy_options", {})


def test_the_metric_is_chosen_and_the_run_has_a_folder_of_its_own(command_line: Callable[..., object], elsewhere: Path) -> None:
    assert command_line("run", *SMALL)[0] == 0
    (usual,) = (elsewhere / "results").iterdir()
    assert command_line("run", *SMALL, "--metric", "accuracy")[0] == 0
    assert [*(elsewhere / "results").iterdir()] == [usual]
    status, out, _ = command_line("run", *SMALL, "--metric", "macro-f1")
    assert status == 0 and "(macro-f1; n = 2 seeds)" in out
    (folder,) = {*(elsewhere / "results").iterdir()} - {usual}
    for file in ("trials.csv", "summary.csv", "reliability.csv"):
        assert set(pd.read_csv(folder / file)["metric"]) == {"macro-f1"}
    assert command_line("run", "--config", folder / "config.yaml")[:2] == (0, out)
    assert command_line("run", "--config", folder / "config.yaml", "--metric", "accuracy")[0] == 0
    assert {*(elsewhere / "results").iterdir()} == {usual, folder}
    status, table, _ = command_line("export", "results")
    assert status == 0 and "digits (macro-f1)" in table


def test_seeds_add_up_in_one_folder(command_line: Callable[..., object], elsewhere: Path) -> None:
    shown = {}
    for seeds in ("2", "3", "1"):
        status, shown[seeds], err = command_line("run", *ANY_SEEDS, "--seeds", seeds)
        assert status == 0
        assert ("finished already" in err) == (seeds != "2")
    (folder,) = (elsewhere / "results").iterdir()
    assert pd.read_csv(folder / "trials.csv").groupby("member")["seed"].apply(list).tolist() == [[0, 1, 2]] * 5
    assert yaml.safe_load((folder / "config.yaml").read_text())["given"]["seeds"] == 3
    assert "n = 3 seeds" in shown["3"] and "one trial" in shown["1"]
    assert command_line("status", folder)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "parts"),
    [
        (("--dataset", "Croa"), 2, ["Unknown dataset 'Croa'. Did you mean 'Cora'?", "MUTAG"]),
        (("--students", "gcn,gnn"), 2, ["Unknown student 'gnn'", "gcn, gat, gin, sage"]),
        (("--students", ""), 2, ["students = '' names nothing", "gcn,gat"]),
        (("--strategy", "gmll"), 2, ["Unknown strategy 'gmll'. Did you mean 'gml'?", "independent"]),
        (("--protocol", "publik"), 2, ["Unknown protocol 'publik'", "nested"]),
        (("--protocol", "nested"), 2, ["'nested'", "digits", "random"]),
        (("--task", "edge"), 2, ["'task' = 'edge'", "node, graph."]),
        (("--task", "graph", "--dataset", "Cora"), 2, ["Cora", "node"]),
        (("--metric", "f1"), 2, ["Unknown metric 'f1'. Choose from: accuracy, balanced-accuracy, macro-f1."]),
        (("--metric", "rocauc"), 2, ["'rocauc' does not fit a target of 10 classes", "accuracy, balanced-accuracy, macro-f1."]),
        (("--metric", "ap", "--dataset", "digits-multi"), 2, ["several (digit, even, ink)", "--targets"]),
        (("--task", "graph", "--folds", "1"), 2, ["Cross-validation needs at least 2 folds, found 1"]),
        (("--students", "gcn"), 2, ["'gml' needs at least 2 students", "independent"]),
        (("--task", "graph", "--set", "strategy_options.weighting=transductive"), 2, ["transductive", "full-batch"]),
        (("--set", "training.epoch=3"), 2, ["'training.epoch'", "epochs"]),
        (("--set", "training.epochs"), 2, ["KEY=VALUE"]),
        (("--set", "strategy_options.wieght=3"), 2, ["'strategy_options.wieght'. Did you mean 'weight'?"]),
        (("--config", "missing.yaml"), 2, ["'missing.yaml' cannot be read"]),
        (("--device", "tpu"), 2, ["Unknown device 'tpu'", "auto, cpu, cuda"]),
        (("--device", "GPU:0"), 2, ["Unknown device 'GPU:0'. Did you mean 'cuda'?"]),
        (("--dataset", "./nowhere"), 1, ["nowhere", "does not exist"]),
        (("--dataset", "Cora", "--offline"), 1, ["ind.cora.x", "data/planetoid", "data fetch Cora"]),
        (("--data-dir", "nowhere", "--dataset", "Cora"), 1, ["nowhere", "--data-dir"]),
        (("--out", "file/below"), 1, ["Cannot write 'file/below'", "Choose another place"]),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(
    command_line: Callable[..., object], elsewhere: Path, arguments: tuple[str, ...], status: int, parts: list[str]
) -> None:
    (elsewhere / "file").touch()
    ended, out, err = command_line("run", "--jobs", "1", "--epochs", "2", *arguments)
    assert (ended, out) == (status, ""), err
    assert [part for part in parts if part not in err] == []
    assert "Traceback" not in err
    assert [path.name for path in elsewhere.rglob("*")] == ["file"]


def test_a_failed_trial_is_status_1_and_named(command_line: Callable[..., object], elsewhere: Path) -> None:
    status, out, err = command_line("run", *SMALL, "--set", "training.learning_rate=1e30")
    assert status == 1
    assert "Written to" not in out  # there is no trials.csv
    assert "2 trials failed (results/" in err and "failures.csv):" in err
    assert "seed 0, fold 0: The loss is not finite in epoch 0: the validation loss of gcn-0, sage-1, ensemble. " in err
    assert "Likely causes are a learning rate that is too large (training.learning_rate = 1e+30)" in err
    (folder,) = (elsewhere / "results").iterdir()
    assert pd.read_csv(folder / "failures.csv")["seed"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--folds", "5"), "does not apply under the protocol 'random'"),
        (("--servers", "nowhere.txt"), "'digits' is not a partition"),
        (("--divide", "students"), "torchrun --nproc-per-node 2"),
        (("--sampler", "neighbor", "--fanout", "0,0"), "sees no graph"),
        (("--students", "gcn,gat,"), "Did you mean 'gcn,gat'?"),
        (("--targets", "a,,b"), "Did you mean 'a,b'?"),
        (("--set", "hidden=3"), "Did you mean 'student.hidden' or 'distill.hidden'?"),
        (("--set", "epochs=3"), "Did you mean 'training.epochs' or 'distill.epochs'?"),
        (("--set", "seeds=1.5"), "'seeds' = 1.5"),
        (("--seeds", "1000000000000"), "at most 10000 "),
        (("--jobs", "1025"), "1025 is not in the range 1<=x<=1024"),
        (
            ("--task", "graph", "--seeds", "10000", "--folds", "11"),
            "seeds = 10000 and folds = 11 make 110000 trials, whose splits are all drawn before the first. A run has at most 100000",
        ),
        (("--set", f"{'a.' * 5000}b=1"), "5001 levels"),
        (("--set", "training={epochs: 1, epochs: 2}"), "is not YAML"),
        (("--epochs", "3", "--set", "training.epochs=4"), "training.epochs was given twice, as 3 and as 4"),
        (
            ("--students", "gcn,mypkg.nets:MyNet", "--set", "students.1.options.hidden=4"),
            "students.1 cannot be set: the cohort is a list, and is given as a whole",
        ),
        (("--noise", "feature:0.2", "--noise", "edge:0.1"), "--noise was given 2 times, and takes one value."),
        (("--set", "student.hidden=8", "--set", "student={hidden: 9}"), "student.hidden was given twice, as 8 and as 9"),
        (("--epochs", "5", "--set", "strategy_options.exchange_warmup=[50,10]"), "they never would"),
        (("--set", "grid={training.epochs: [5, 90]}", "--set", "strategy_options.exchange_warmup=[50,10]"), "they never would"),
        (("--threads", "100000"), "100000 is not in the range 1<=x<=1024"),
        (("--set", "student.hidden=99999999999999999999"), "student.hidden' = 99999999999999999999: the number is too large"),
        (("--sampler", "neighbor", "--fanout", "99999999999999999999,5"), "training.fanout"),
        (("--set", f"strategy_options.weighting_options.memory={10**20}"), "memory' = 100000000000000000000: at most 10000000 is needed"),
        (("--set", "students.0.hidden=8"), "the cohort is a list, and is given as a whole"),
    ],
)
def test_invalid_options_and_options_without_effect_are_refused(
    arguments: tuple[str, ...], said: str, command_line: Callable[..., object], elsewhere: Path
) -> None:
    status, out, err = command_line("run", "--offline", *arguments)
    assert (status, out) == (2, "")
    assert said in err and len(err) < 1000
    assert not (elsewhere / "results").exists()


def test_a_student_that_no_memory_holds_is_a_failed_trial_that_says_so(command_line: Callable[..., object], elsewhere: Path) -> None:
    status, _, err = command_line("run", "--epochs", "1", "--seeds", "1", "--jobs", "1", "--set", f"student.hidden={10**18}")
    assert status == 1
    assert "not enough memory for this" in err and "Lower student.hidden" in err and "RuntimeError" not in err
    (failures,) = Path("results").glob("*/failures.csv")
    assert "Traceback" in failures.read_text()


def test_hidden_labels_are_part_of_a_run_and_of_its_rows(command_line: Callable[..., object], elsewhere: Path) -> None:
    short = (*NARROW, "--task", "graph", "--folds", "2", "--seeds", "1", "--epochs", "1", "--students", "gcn,gin")
    transductive = ("--set", "strategy_options.exchange_on=transductive")
    for rate in (("--label-rate", "0.1"), ("--label-rate", "2"), ("--label-rate", "0.1", *transductive), ("--label-rate", "1.0"), ()):
        assert command_line("run", *short, *rate)[0] == 0
    runs = {}
    for folder in (elsewhere / "results").iterdir():
        values = yaml.safe_load((folder / "config.yaml").read_text())
        found = values["resolved"]["label_rate"], values["resolved"]["strategy_options"]["exchange_on"]
        (runs[found],) = pd.read_csv(folder / "trials.csv")["protocol"].unique()
    assert runs == {
        (0.1, "training"): "nested",
        (2, "training"): "nested",
        (0.1, "transductive"): "nested-transductive",
        (None, "all"): "nested",  # 1.0 is all labels: the same run as without a rate
    }


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("0", "give a share of the labels in (0, 1]"),
        ("1.5", "give a share of the labels in (0, 1]"),
        ("ten", "give a share of the labels in (0, 1]"),
        ("0.001", "without a labelled training sample"),
        ("4000", "hides no label of digits"),
    ],
)
def test_an_invalid_label_rate_ends_a_run_before_it_starts(
    rate: str, message: str, command_line: Callable[..., object], elsewhere: Path
) -> None:
    status, _, err = command_line("run", *SMALL, "--label-rate", rate)
    assert status == 2 and message in " ".join(err.split())
    assert not (elsewhere / "results").exists()


def test_a_pool_of_unlabelled_graphs_is_joined_and_what_it_shares_is_counted(
    command_line: Callable[..., object], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "molecules_of_mine.py").write_text(
        """
import numpy as np
from dgl_mutual import Dataset


def make(seed, graphs, names=("x", "y")):
    features = np.random.default_rng(seed).normal(size=(3 * graphs, 2)).astype(np.float32)
    first = np.repeat(3 * np.arange(graphs), 2)
    edges = np.stack([first, first + np.tile([1, 2], graphs)])
    offsets = 3 * np.arange(graphs + 1)
    return features, dict(edges=edges, labels=np.arange(graphs) % 2, node_offsets=offsets, symmetric=True, feature_names=names)


def data():
    features, rest = make(0, 12)
    return Dataset.from_arrays(features=features, **rest)


def pool():
    features, rest = make(1, 30)
    features[:6] = make(0, 12)[0][:6]
    return Dataset.from_arrays(features=features, **rest)


def other():
    features, rest = make(1, 30, ("x", "z"))
    return Dataset.from_arrays(features=features, **rest)
"""
    )
    monkeypatch.syspath_prepend(str(elsewhere))
    short = ("--dataset", "molecules_of_mine:data", *NARROW, "--students", "gcn,gin", "--epochs", "1", "--seeds", "1", "--folds", "2")
    status, _, err = command_line("run", *short, "--unlabelled", "molecules_of_mine:pool", "--unlabelled-ratio", "2")
    assert status == 0
    assert "2 of 30 graphs are in" in " ".join(err.split()) and "28 are left" in err
    (folder,) = (elsewhere / "results").iterdir()
    values = yaml.safe_load((folder / "config.yaml").read_text())["resolved"]
    assert values["unlabelled"] == "molecules_of_mine:pool" and values["training"]["unlabelled_ratio"] == 2
    status, _, err = command_line("run", *short, "--unlabelled", "molecules_of_mine:other")
    assert status == 1 and "has another schema than" in " ".join(err.split()) and "x, y" in err and "x, z" in err
    status, _, err = command_line("run", *short, "--unlabelled", "molecules_of_mine:pool", "--unlabelled-ratio", "50")
    assert status == 2 and "there are 28" in " ".join(err.split())
    status, _, err = command_line("run", *SMALL, "--unlabelled", "molecules_of_mine:pool")
    assert status == 2 and "is for graph tasks" in " ".join(err.split())
