"""Several targets from the command line, on the set that ships with the package."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dgl_mutual.store.tables import TRIAL_COLUMNS

pytestmark = pytest.mark.usefixtures("elsewhere")

SMALL = ("--students", "gcn,sage", "--set", "student.hidden=8", "--epochs", "2", "--seeds", "2", "--jobs", "1")
METRICS = ["mean", "accuracy(digit)", "rocauc(even)", "micro-f1(ink)"]


def only_run(folder: Path) -> Path:
    (run,) = (folder / "results").iterdir()
    return run


def test_a_run_has_rows_for_each_target_and_their_mean(command_line: Callable[..., object], elsewhere: Path) -> None:
    status, out, _ = command_line("run", "--dataset", "digits-multi", *SMALL)
    assert status == 0
    run = only_run(elsewhere)
    rows = pd.read_csv(run / "trials.csv")
    assert list(rows.columns) == TRIAL_COLUMNS and list(dict.fromkeys(rows["metric"])) == METRICS
    for _, trial in rows.groupby(["seed", "member"]):
        assert len(trial) == 4
        for part in ("train", "val", "test"):
            assert trial[part].iloc[0] == pytest.approx(trial[part].iloc[1:].mean())
        assert trial[["best_epoch", "parameters", "inference_ms"]].nunique().max() <= 1
        apart = trial["disagreement"]
        assert apart.nunique() == 4 and apart.iloc[0] == pytest.approx(np.average(apart.iloc[1:], weights=[1, 1, 4]))  # labels of each
    summary = pd.read_csv(run / "summary.csv")
    assert set(summary["metric"]) == set(METRICS) and len(summary) == 4 * 5 * 3 and set(summary["n"]) == {2}
    assert [line.split("(", 1)[1].split(";")[0] for line in out.splitlines() if line.startswith("member")] == METRICS
    history = pd.read_csv(run / "history.csv")
    assert {"val/gcn-0", "accuracy(digit)/val/gcn-0", "micro-f1(ink)/train/sage-1"} <= set(history.columns)
    config = yaml.safe_load((run / "config.yaml").read_text())["resolved"]
    assert (config["targets"], config["task_weights"]) == (["digit", "even", "ink"], "equal")
    # The configuration repeats the run, and nothing is left to do.
    assert command_line("run", "--config", run / "config.yaml")[:2] == (0, out)


def test_targets_are_chosen_and_weighed(command_line: Callable[..., object], elsewhere: Path) -> None:
    chosen = ("--targets", "even,digit", "--set", "task_weights=uncertainty")
    assert command_line("run", "--dataset", "digits-multi", *chosen, *SMALL)[0] == 0
    rows = pd.read_csv(only_run(elsewhere) / "trials.csv")
    assert list(dict.fromkeys(rows["metric"])) == ["mean", "rocauc(even)", "accuracy(digit)"]
    assert {"task_weight/digit", "task_weight/even"} <= set(pd.read_csv(only_run(elsewhere) / "history.csv").columns)


def test_one_target_is_an_ordinary_run(command_line: Callable[..., object], elsewhere: Path) -> None:
    assert command_line("run", "--dataset", "digits-multi", "--targets", "digit", *SMALL)[0] == 0
    assert command_line("run", *SMALL)[0] == 0
    runs = [pd.read_csv(run / "trials.csv") for run in sorted((elsewhere / "results").iterdir())]
    same = ["fingerprint", "split", "member", "metric", "seed", "train", "val", "test", "best_epoch", "parameters"]
    pd.testing.assert_frame_equal(runs[0][same], runs[1][same])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "digits-multi", "--targets", "digit,odd"), "Unknown target 'odd'. Choose from: digit, even, ink."),
        (("--dataset", "digits-multi", "--targets", "digit,digit"), "named twice"),
        (("--targets", "digit"), "digits has one target only"),
        (("--set", "task_weights=uncertainty"), "applies to several targets"),
        (("--dataset", "digits-multi", "--set", "task_weights=mine"), "'task_weights' = 'mine'"),
        (("--dataset", "digits-multi", "--strategy", "kdcl"), "target=naive or mean"),
    ],
)
def test_wrong_targets_end_a_run_before_it_starts(
    command_line: Callable[..., object], elsewhere: Path, arguments: tuple[str, ...], message: str
) -> None:
    status, _, err = command_line("run", *arguments, *SMALL)
    assert status == 2 and message in err and "Traceback" not in err
    assert not list((elsewhere / "results").glob("*")) if (elsewhere / "results").exists() else True


def test_runs_on_other_targets_are_runs_on_other_data(command_line: Callable[..., object], elsewhere: Path) -> None:
    for targets in ("even,digit", "digit"):
        assert command_line("run", "--dataset", "digits-multi", "--targets", targets, *SMALL)[0] == 0
    status, out, _ = command_line("export", "results")
    assert status == 0
    table = pd.read_csv(StringIO(out))
    assert set(table["data"]) == {"digits-multi (even+digit)", "digits-multi (digit)"} and set(table["method"]) == {"gml"}


@pytest.mark.usefixtures("without_layout")
def test_tables_show_the_mean_or_one_task(command_line: Callable[..., object], elsewhere: Path) -> None:
    for strategy in ("dml", "independent"):
        assert command_line("run", "--dataset", "digits-multi", "--strategy", strategy, *SMALL)[0] == 0
    runs = [pd.read_csv(run / "trials.csv") for run in sorted((elsewhere / "results").iterdir())]
    for metric, name in (("mean", "mean over tasks"), ("accuracy(digit)", "accuracy (digit)")):
        asked = () if metric == "mean" else ("--metric", metric)
        status, out, err = command_line("export", "results", *asked)
        assert status == 0, err
        table = pd.read_csv(StringIO(out))
        shown = table[(table["member"] == "mean") & (table["method"] == "dml")]["mean"].iloc[0]
        assert shown == pytest.approx(runs[0][(runs[0]["member"] == "mean") & (runs[0]["metric"] == metric)]["test"].mean(), abs=1e-4)
        assert f"test {name}".lower() in command_line("export", "results", *asked, "--format", "markdown")[1].lower()
    status, _, err = command_line("export", "results", "--metric", "accuracy(odd)")
    assert status == 2 and "accuracy(digit)" in err
    assert command_line("status", "results")[0] == 0
    assert command_line("plot", "results", "--kind", "gains", "--out", "plots")[0] == 0
    assert command_line("report", "results", "-o", "report.html")[0] == 0


def test_predictions_have_columns_for_each_target(command_line: Callable[..., object], elsewhere: Path) -> None:
    assert command_line("run", "--dataset", "digits-multi", *SMALL)[0] == 0
    checkpoint = only_run(elsewhere) / "checkpoints" / "seed-0-fold-0"
    for data in ("digits-multi", "digits"):  # the same nodes, with and without these targets
        assert command_line("predict", checkpoint, data, "--out", f"{data}.csv")[0] == 0
    table = pd.read_csv("digits-multi.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(table, pd.read_csv("digits.csv", keep_default_na=False))
    digits = table[[f"p(digit={digit})" for digit in range(10)]].to_numpy()
    np.testing.assert_allclose(digits.sum(1), 1, atol=1e-5)
    assert table["prediction(digit)"].tolist() == digits.argmax(1).tolist()
    assert table["prediction(even)"].tolist() == ["even" if p >= 0.5 else "" for p in table["p(even)"]]
    first = [name for name in ("top left", "top right", "bottom left", "bottom right") if table.loc[0, f"p(ink: {name})"] >= 0.5]
    assert table.loc[0, "prediction(ink)"] == ";".join(first)
    assert list(table.columns[:5]) == ["node", "prediction(digit)", "prediction(even)", "prediction(ink)", "p(digit=0)"]


def test_a_folder_with_label_columns(command_line: Callable[..., object], elsewhere: Path) -> None:
    folder = elsewhere / "mine"
    folder.mkdir()
    random = np.random.default_rng(0)
    colour, side = random.integers(3, size=120), random.integers(2, size=120)
    nodes = pd.DataFrame(
        {"node_id": np.arange(120), "x": colour + random.normal(size=120), "y": side + random.normal(size=120), "colour": colour}
    )
    nodes["side"] = np.where(random.random(120) < 0.2, "", np.where(side, "left", "right"))
    for index, part in enumerate(("train", "val", "test")):
        nodes[f"{part}_mask"] = np.arange(120) % 3 == index
    nodes.to_csv(folder / "nodes.csv", index=False)
    pd.DataFrame(random.integers(120, size=(300, 2)), columns=["src_id", "dst_id"]).to_csv(folder / "edges.csv", index=False)
    (folder / "meta.yaml").write_text("dataset_name: mine\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n")
    assert command_line("run", "--dataset", "mine", "--targets", "colour,side", *SMALL)[0] == 0
    assert set(pd.read_csv(only_run(elsewhere) / "trials.csv")["metric"]) == {"mean", "accuracy(colour)", "accuracy(side)"}
    status, _, err = command_line("run", "--dataset", "mine", "--targets", "colour,sides", *SMALL)
    assert status == 2 and "Did you mean 'side'? Choose from: x, y, colour, side." in err
    # Label columns are no features of new data, whether they are there or not.
    nodes[["node_id", "x", "y"]].to_csv(folder / "nodes.csv", index=False)
    checkpoint = only_run(elsewhere) / "checkpoints" / "seed-0-fold-0"
    assert command_line("predict", checkpoint, "mine", "--out", "mine.csv")[0] == 0
    assert set(pd.read_csv("mine.csv")["prediction(side)"]) <= {"left", "right"}
    status, _, err = command_line("data", "describe", "mine", "--targets", "x")
    assert status == 1 and "regression" in err  # measurements are no classes
