from __future__ import annotations

import csv
import os
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dgl_mutual.experiments.compare import folder as comparison_folder
from dgl_mutual.experiments.run_folders.folder_lock import lock
from dgl_mutual.reference import mapping
from dgl_mutual.reference.requirement import INSTALL
from tests import forked
from tests.stress.crashing import make_scene

pytestmark = pytest.mark.usefixtures("toy")

ANY_FOLDS = ("--dataset", "TOY", "--epochs", "3", "--set", "student.hidden=8", "--set", "student.heads=2")
SMALL = (*ANY_FOLDS, "--folds", "2")
EARLY = ("--set", "strategy_options.exchange_warmup=[1,1]")
PARITY = (*SMALL, *EARLY, "--parity-only", "--parity-epochs", "2")
STUDENTS = ("gcn-0", "gat-1", "gin-2", "sage-3")


@pytest.fixture
def needs_reference() -> None:
    pytest.importorskip("torch_geometric", reason="needs torch_geometric")


def parity_rows(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "compare.csv")
    return rows[rows["kind"] == "parity"].astype({"holds": bool})


@pytest.mark.usefixtures("needs_reference", "forked_apart")
def test_both_sides_in_full(command_line: Callable[..., object], elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("compare", *SMALL, *EARLY, "--parity-epochs", "3", "--out", "mine")
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dgl-mutual", *arguments, "--data-dir", "/somewhere/data"])
    status, out, err = command_line(*arguments)
    assert status == 0
    titles = [
        "Verdict",
        "What was compared",
        "Largest differences",
        "3 epochs from",
        "Test accuracy side by side (n = 2 folds)",
        "Cost side by",
    ]
    assert [out.index(title) for title in titles] == sorted(out.index(title) for title in titles)
    assert out.endswith("Written to mine/certificate.md\n") and "Parity holds" in out
    assert "training both sides" in err
    certificate = (elsewhere / "mine" / "certificate.md").read_text()
    assert "dgl-mutual compare --dataset TOY" in certificate and "/somewhere" not in certificate
    assert {path.name for path in (elsewhere / "mine").iterdir()} == {
        ".lock",
        "certificate.md",
        "compare.csv",
        "config.yaml",
        "trajectory.csv",
    }
    rows = pd.read_csv(elsewhere / "mine" / "compare.csv")
    assert set(rows["dataset"]) == {"TOY"}
    accuracy = rows[rows["kind"] == "accuracy"]
    assert accuracy["member"].drop_duplicates().tolist() == [*STUDENTS, "mean", "best_by_val", "ensemble"]
    assert accuracy["difference"].tolist() == pytest.approx((accuracy["ours"] - accuracy["reference"]).tolist())
    paired = rows[rows["kind"] == "accuracy, paired"].set_index("member")
    assert paired.loc["gcn-0", "difference"] == pytest.approx(accuracy[accuracy["member"] == "gcn-0"]["difference"].mean())
    cost = rows[rows["kind"] == "cost"].set_index("quantity")[["ours", "reference"]]
    assert (cost.drop("of it to train, MiB") > 0).all(axis=None)
    assert cost.loc["parameters, all students", "ours"] == cost.loc["parameters, all students", "reference"]
    assert (cost.loc["of it to train, MiB"] < cost.loc["peak memory, MiB"]).all()
    followed = pd.read_csv(elsewhere / "mine" / "trajectory.csv")
    assert followed.groupby("precision")["epoch"].apply(list).to_dict() == {"float64": [1, 2, 3], "float32": [1, 2, 3]}


@pytest.mark.usefixtures("needs_reference")
def test_its_own_configuration_repeats_a_comparison(command_line: Callable[..., object], elsewhere: Path) -> None:
    assert command_line("compare", *PARITY, "--students", "gcn,sage")[0] == 0
    first = elsewhere / "results" / "compare" / "TOY"
    assert command_line("compare", "--config", first / "config.yaml", "--parity-only", "--parity-epochs", "2", "--out", "again")[0] == 0
    assert (elsewhere / "again" / "trajectory.csv").read_text() == (first / "trajectory.csv").read_text()
    again, before = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (elsewhere / "again", first))
    assert again["resolved"] == before["resolved"]
    assert again["given"] == {**before["given"], "strategy": "gml"}  # options of a strategy are given for a strategy


@pytest.mark.usefixtures("needs_reference")
def test_no_temporary_files_are_left(elsewhere: Path, tmp_path: Path) -> None:
    """In a process in which no layer of torch_geometric has been made before."""
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "dgl_mutual", "compare", *PARITY, "--students", "gcn,sage"]
    ran = subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not [path.name for path in (tmp_path / "temporary").iterdir()]


@pytest.mark.usefixtures("needs_reference", "forked_apart")
def test_both_sides_have_the_chosen_metric(command_line: Callable[..., object], elsewhere: Path) -> None:
    chosen = ("--students", "gcn,sage", "--metric", "macro-f1", "--parity-epochs", "2")
    status, out, _ = command_line("compare", *SMALL, *EARLY, *chosen)
    assert status == 0 and "Parity holds" in out and "Test macro-f1 side by side" in out
    config = yaml.safe_load((elsewhere / "results" / "compare" / "TOY" / "config.yaml").read_text())
    assert config["resolved"]["metric"] == config["given"]["metric"] == "macro-f1"


def reversed_rows(rule: mapping.Rule) -> mapping.Rule:
    """The same weight, its outputs in the wrong order; the way back undoes it."""
    return replace(rule, to_reference=lambda weight: rule.to_reference(weight).flip(0), to_ours=lambda weight: rule.to_ours(weight.flip(0)))


def exchanged(architecture: str, *ours: str) -> Sequence[mapping.Rule]:
    """The rules, those of two of our weights pointing at each other's weight."""
    rules = list(mapping.RULES[architecture])
    first, second = (next(index for index, rule in enumerate(rules) if rule.ours == name) for name in ours)
    a, b = rules[first], rules[second]
    rules[first], rules[second] = replace(a, reference=b.reference), replace(b, reference=a.reference)
    return rules


BROKEN = {
    "gcn": [reversed_rows(mapping.RULES["gcn"][0]), *mapping.RULES["gcn"][1:]],
    "gat": exchanged("gat", "attention_source", "attention_destination"),  # attention of source and destination
    "gin": exchanged("gin", "bias", "last.bias"),  # the two biases of the MLP
    "sage": exchanged("sage", "self_weight", "neighbour_weight"),
}


@pytest.mark.usefixtures("needs_reference")
@pytest.mark.parametrize(("architecture", "student"), list(zip(BROKEN, STUDENTS, strict=True)))
def test_a_wrong_weight_mapping_fails_the_certificate(
    architecture: str, student: str, command_line: Callable[..., object], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mapping.RULES, architecture, BROKEN[architecture])
    status, out, _ = command_line("compare", *PARITY)
    assert status == 1
    assert "Parity is broken" in out and f"{student}, logits, evaluation, float64" in out
    assert "Parity is broken" in (elsewhere / "results" / "compare" / "TOY" / "certificate.md").read_text()
    rows = parity_rows(elsewhere / "results" / "compare" / "TOY")
    logits = rows[rows["quantity"].str.startswith("logits") & (rows["member"] != "ensemble")]
    assert set(logits["member"][~logits["holds"]]) == {student}


@pytest.mark.usefixtures("needs_reference")
@pytest.mark.parametrize(
    ("function", "broken"), [("supervised", {"loss: supervised", "loss: coordinator"}), ("divergence", {"loss: mutual"})]
)
def test_a_wrong_loss_term_fails_the_certificate(
    function: str, broken: set[str], command_line: Callable[..., object], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dgl_mutual.reference import losses

    right = getattr(losses, function)
    monkeypatch.setattr(losses, function, lambda *arguments: right(*arguments) * 1.001)
    status, out, _ = command_line("compare", *PARITY)
    assert status == 1 and "Parity is broken" in out
    rows = parity_rows(elsewhere / "results" / "compare" / "TOY")
    quantities = set(rows["quantity"][~rows["holds"]])
    assert {name for name in quantities if name.startswith("loss: ")} == broken
    assert {"gradients", "trajectory of the losses", "trajectory of the weights"} <= quantities
    assert not any(name.startswith("logits") for name in quantities)


@pytest.mark.usefixtures("needs_reference")
def test_other_graphs_fail_the_certificate(command_line: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    from dgl_mutual.reference import graphs

    def lossy(*arguments: object) -> list[object]:
        found = right(*arguments)
        found[0].edge_index = found[0].edge_index[:, 2:]
        return found

    right = graphs.to_graphs
    monkeypatch.setattr(graphs, "to_graphs", lossy)
    status, out, _ = command_line("compare", *PARITY, "--students", "gcn,sage")
    assert status == 1 and "data, fingerprint" in out


def without_torch_geometric(*arguments: str) -> None:
    sys.modules["torch_geometric"] = None  # type: ignore[assignment]  # Python's sign that there is no such module
    for more in ([], ["--reference", "theirs.csv", "--jobs", "1"]):
        with pytest.raises(SystemExit) as ended:
            forked.command("compare", *arguments, *more)
        print("status", ended.value.code)


def test_without_torch_geometric_files_can_still_be_compared(elsewhere: Path) -> None:
    """In a process of its own, in which nothing of ours has imported it yet."""
    (elsewhere / "theirs.csv").write_text("dataset,fold,test\nTOY,0,0.5\nTOY,1,0.75\n")
    process = forked.start(without_torch_geometric, *SMALL, "--students", "gcn,sage", log=elsewhere / "said.txt", folder=elsewhere)
    assert forked.statuses([process]) == [0]
    said = (elsewhere / "said.txt").read_text()
    without, with_a_file = said.split("status 1\n")
    (line,) = without.splitlines()
    assert "torch_geometric" in line and INSTALL in line
    assert with_a_file.endswith("status 0\n") and "None: every row has its partner." in with_a_file


def test_another_version_of_torch_geometric_is_named(command_line: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch_geometric")
    module.__version__ = "1.7.2"  # type: ignore[attr-defined]  # a module may have any attribute
    monkeypatch.setitem(sys.modules, "torch_geometric", module)
    status, out, err = command_line("compare", *SMALL)
    assert (status, out) == (1, "")
    assert "1.7.2" in err and INSTALL in err


@pytest.mark.usefixtures("needs_reference")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--strategy", "okddip"), "no strategy 'okddip'"),
        (("--set", "grid={training.learning_rate: [0.1, 0.01]}"), "grid"),
        (("--set", "noise=label:0.2"), "noise"),
        (("--set", "training.edge_drop=0.2"), "training.edge_drop=0.2"),
        (("--set", "strategy_options.exchange_on=transductive"), "exchange_on=transductive"),
        (("--column", "test=accuracy"), "--column has no effect"),
        (("--jobs", "2"), "--jobs has no effect"),
        (("--margin", "0"), "--margin"),
        (("--parity-only", "--margin", "0.5"), "--margin has no effect with --parity-only"),
    ],
)
def test_options_that_the_reference_lacks_are_refused(arguments: tuple[str, ...], said: str, command_line: Callable[..., object]) -> None:
    status, out, err = command_line("compare", *SMALL, *arguments)
    assert (status, out) == (2, "")
    assert said in err


@pytest.mark.usefixtures("needs_reference")
def test_a_dataset_that_only_one_side_can_load_is_refused(
    command_line: Callable[..., object], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = command_line("compare", "--dataset", "digits-multi", "--task", "graph")
    assert (status, out) == (1, "")
    assert "The reference cannot learn digits-multi: its target is joint" in err
    from dgl_mutual.reference import graphs

    monkeypatch.setattr(graphs.os, "sysconf", lambda name: 1024 if name == "SC_PAGE_SIZE" else 2)
    status, out, err = command_line("compare", *SMALL)
    assert (status, out) == (1, "")
    assert "The reference cannot load TOY" in err and "dense features" in err
    assert not (elsewhere / "results").exists()


THEIRS = ("--reference", "theirs.csv", "--jobs", "1", "--students", "gcn,sage")


def test_beside_somebodys_results(command_line: Callable[..., object], elsewhere: Path) -> None:
    (elsewhere / "theirs.csv").write_text("data,fold,model,acc\ntoy,0,gcn-0,50\ntoy,1,gcn-0,75\ntoy,2,gcn-0,75\nother,0,gcn-0,80\n")
    columns = [option for text in ("dataset=data", "member=model", "test=acc") for option in ("--column", text)]
    status, out, _ = command_line("compare", *SMALL, *THEIRS, *columns)
    assert status == 0
    assert (
        "2 rows of the file have no partner among our trials (dataset other, fold 0, member gcn-0; dataset toy, fold 2, member gcn-0)"
        in out
    )
    assert "8 rows of ours have no partner in the file" in out
    folder = elsewhere / "results" / "compare" / "TOY-theirs"
    assert "theirs.csv, in percent" in (folder / "certificate.md").read_text()
    rows = pd.read_csv(folder / "compare.csv")
    pairs = rows[rows["kind"] == "accuracy"]
    assert pairs["reference"].tolist() == [0.5, 0.75]
    (run,) = (path for path in (elsewhere / "results").iterdir() if path.name.startswith("graph-TOY"))
    trials = pd.read_csv(run / "trials.csv")
    assert pairs["ours"].tolist() == trials[trials["member"] == "gcn-0"]["test"].tolist()
    # Our side is taken up, not run again.
    before = (run / "trials.csv").stat().st_mtime_ns
    assert command_line("compare", *SMALL, *THEIRS, *columns)[:2] == (0, out)
    assert (run / "trials.csv").stat().st_mtime_ns == before


DIGITS = ("--dataset", "digits", "--students", "gcn,gcn", "--epochs", "2", "--set", "student.hidden=4", "--jobs", "1")


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        (("--set", "noise=feature:0.1"), []),
        (("--set", "noise=label:0.1"), []),
        (("--set", "label_rate=0.5"), []),
        (("--set", "distill.unseen=0.2"), ["mlp"]),
        (("--strategy", "kd"), ["teacher"]),
        (("--strategy", "okddip"), ["leader"]),
    ],
)
def test_every_row_of_our_own_trials_has_its_partner(
    options: tuple[str, ...], extra: list[str], command_line: Callable[..., object], elsewhere: Path
) -> None:
    assert command_line("run", *DIGITS, "--seeds", "1", *options, "--out", "runs")[0] == 0
    (file,) = (elsewhere / "runs").glob("*/trials.csv")
    beside = ("compare", *DIGITS, "--seeds", "1", *options, "--runs", "runs", "--reference")
    status, out, err = command_line(*beside, file)
    assert status == 0, err
    assert "None: every row has its partner." in out
    members = list(pd.read_csv(file)["member"])
    assert set(extra) <= set(members)
    for member in extra:  # as a file that knows no members is compared with it
        (elsewhere / "theirs.csv").write_text("dataset,seed,test\ndigits,0,0.5\n")
        assert command_line(*beside, "theirs.csv", "--member", member)[0] == 0


UNKNOWN = """
import numpy as np
from dgl_mutual import Dataset, Split


def arrays():
    nodes = np.arange(60)
    split = Split(nodes[:20], nodes[20:40], nodes[40:])
    labels = np.where(nodes < 40, nodes % 2, -1)
    return Dataset.from_arrays([nodes, nodes[::-1]], np.eye(60), labels=labels, split=split, symmetric=True, name="mine")
"""


@pytest.mark.filterwarnings("ignore:None of 20 test samples")
@pytest.mark.parametrize("reference", ["theirs.csv", "pyg"])
def test_unknown_test_labels_are_told_before_anything_is_trained(
    reference: str, command_line: Callable[..., object], elsewhere: Path, request: pytest.FixtureRequest
) -> None:
    if reference == "pyg":
        request.getfixturevalue("needs_reference")
    (elsewhere / "data_without_test_labels.py").write_text(UNKNOWN)
    (elsewhere / "theirs.csv").write_text("dataset,seed,test\ndata_without_test_labels:arrays,0,0.5\n")
    data = ("--task", "node", "--dataset", "data_without_test_labels:arrays", "--protocol", "public")
    status, _, err = command_line("compare", *data, *DIGITS[2:-2], "--seeds", "1", "--reference", reference)
    assert status != 0
    told = "no accuracy to compare" if reference == "pyg" else "no test metric, since no label of their test part is known"
    assert told in " ".join(err.split())
    assert not (elsewhere / "results").exists()


def test_trials_that_were_not_asked_for_are_left_out(command_line: Callable[..., object], elsewhere: Path) -> None:
    """The run folder may have those of more seeds."""
    assert command_line("run", *DIGITS, "--seeds", "3", "--out", "runs")[0] == 0
    (file,) = (elsewhere / "runs").glob("*/trials.csv")
    status, out, _ = command_line("compare", *DIGITS, "--seeds", "2", "--reference", file, "--runs", "runs")
    assert status == 0
    assert "n = 2 seeds" in out and "rows of the file have no partner" in out
    rows = pd.read_csv(elsewhere / "results" / "compare" / "digits-trials" / "compare.csv")
    assert set(rows["seed"].dropna()) == {0, 1}


def test_a_pool_is_loaded_on_our_side(command_line: Callable[..., object], elsewhere: Path) -> None:
    pool = elsewhere / "POOL"
    pool.mkdir()
    for file in (elsewhere / "TOY").iterdir():
        (pool / file.name.replace("TOY", "POOL")).write_text(file.read_text())
    nodes = (pool / "POOL_node_labels.txt").read_text().splitlines()
    (pool / "POOL_node_labels.txt").write_text("".join(f"{1 - int(label)}\n" for label in nodes))
    (elsewhere / "theirs.csv").write_text("dataset,fold,test\nTOY,0,0.5\nTOY,1,0.75\n")
    status, out, err = command_line("compare", *SMALL, *THEIRS, "--set", "unlabelled=POOL")
    assert status == 0, err
    assert "n = 2 folds" in out


@pytest.mark.parametrize(
    ("text", "options", "expected", "said"),
    [
        ("dataset,seed,accuracy\nTOY,0,0.5\n", (), 1, "no column test; they have: dataset, seed, accuracy"),
        ("dataset,fold,test\nTOY,0,0.5\nTOY,0,0.6\n", (), 1, "1 rows more than once, by dataset, fold (dataset toy, fold 0)"),
        ("dataset,fold,test\nTOY,0,0.5\nTOY,1,81.5\n", (), 1, "percent and fractions are mixed"),
        ("dataset,fold,test\nCora,0,0.5\nCora,1,0.6\n", (), 1, "No row of the results matches a trial of ours"),
        ("dataset,seed,test\nTOY,0,0.5\n", (), 1, "no column 'fold', and ours have 2 folds"),
        ("dataset,fold,test\nTOY,0,0.5\n", ("--column", "score=test"), 2, "Unknown column 'score'"),
        ("dataset,fold,test\nTOY,0,0.5\n", ("--column", "test"), 2, "the form is OURS=THEIRS"),
        (
            "dataset,fold,test,a\nTOY,0,0.5,1\n",
            ("--column", "test=test", "--column", "test=a"),
            2,
            "--column test was given twice, as 'test' and as 'a'",
        ),
        ("dataset,fold,test\nTOY,0,0.5\n", ("--member", "gin-2"), 2, "Unknown member 'gin-2'"),
        ("dataset,fold,test\nTOY,0,0.5\n", ("--parity-only",), 2, "--parity-only has no effect"),
        (None, (), 1, "cannot be read: there is no such file. Correct the path, or compare with pyg."),
    ],
)
def test_a_file_that_cannot_be_meant_ends_before_anything_is_trained(
    text: str | None, options: tuple[str, ...], expected: int, said: str, command_line: Callable[..., object], elsewhere: Path
) -> None:
    if text is not None:
        (elsewhere / "theirs.csv").write_text(text)
    status, out, err = command_line("compare", *SMALL, *THEIRS, *options)
    assert (status, out) == (expected, "")
    assert said in err and "Traceback" not in err
    assert not (elsewhere / "results").exists()


def test_a_dataset_of_any_name_stays_in_the_folder_of_comparisons(command_line: Callable[..., object], elsewhere: Path) -> None:
    """Its name is in a file of the dataset, which somebody else may have written."""
    name = "=../../../<img src=x>|\n\x1b]0;x\x07"
    data = make_scene(elsewhere / "work").folder / "toy"
    meta = yaml.safe_load((data / "meta.yaml").read_text())
    (data / "meta.yaml").write_text(yaml.safe_dump({**meta, "dataset_name": name}))
    with (elsewhere / "work" / "theirs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("dataset", "seed", "test"), (name, 0, 0.5)])
    before = {path for path in elsewhere.rglob("*") if "work" not in path.parts}
    small = ("--seeds", "1", "--epochs", "2", "--students", "gcn,sage", "--set", "student.hidden=4", "--jobs", "1")
    status, out, err = command_line("compare", "--dataset", data, "--reference", elsewhere / "work" / "theirs.csv", *small)
    assert (status, err.count("\x1b"), out.count("\x1b")) == (0, 0, 0), err
    new = {path for path in elsewhere.rglob("*") if "work" not in path.parts} - before
    assert all(path.is_relative_to(elsewhere / "results") for path in new)
    (folder,) = (elsewhere / "results" / "compare").iterdir()
    certificate = (folder / "certificate.md").read_text()
    assert r"\<img" in certificate and certificate.count("<img") == certificate.count(r"\<img") and "\x1b" not in certificate
    rows = pd.read_csv(folder / "compare.csv")
    assert rows["dataset"].str.startswith("'=").all()


def test_a_comparison_does_not_overwrite_another(command_line: Callable[..., object], elsewhere: Path) -> None:
    (elsewhere / "theirs.csv").write_text("dataset,fold,test\nTOY,0,0.5\nTOY,1,0.75\n")
    (elsewhere / "others.csv").write_text("dataset,fold,test\nTOY,0,0.6\nTOY,1,0.65\n")
    of_theirs, folds = THEIRS[:2], ("--folds", "2")
    same = ("compare", *ANY_FOLDS, *THEIRS[2:], "--out", "kept")
    first = (*same, *of_theirs, *folds)
    assert command_line(*first)[0] == 0
    certificate = (elsewhere / "kept" / "certificate.md").read_text()
    for other in (
        ("--reference", "others.csv", *folds),
        (*of_theirs, *folds, "--set", "training.patience=7"),
        (*of_theirs, "--folds", "3"),
        (*of_theirs, *folds, "--margin", "0.02"),
        (*of_theirs, *folds, "--member", "ensemble"),
    ):
        status, out, err = command_line(*same, *other)
        assert (status, out) == (1, "")
        assert (
            "holds another comparison, one of an earlier version, a run, or files of your own (config.yaml, compare.csv, certificate.md)"
            in err
            and "--out" in err
        )
    with lock(elsewhere / "kept"):
        assert "Another process is working in 'kept'" in command_line(*first)[2]
    assert (elsewhere / "kept" / "certificate.md").read_text() == certificate
    assert command_line(*first)[0] == 0


@pytest.mark.parametrize("name", ["compare.csv", "trajectory.csv", "certificate.md", "config.yaml"])
def test_a_comparison_does_not_overwrite_a_users_files(name: str, command_line: Callable[..., object], elsewhere: Path) -> None:
    (elsewhere / "theirs.csv").write_text("dataset,fold,test\nTOY,0,0.5\nTOY,1,0.75\n")
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / name).write_text("mine")
    (elsewhere / "mine" / "notes.txt").write_text("mine")
    status, out, err = command_line("compare", *SMALL, *THEIRS, "--out", "mine")
    assert (status, out) == (1, "") and f"files of your own ({name})" in err
    assert {file.name: file.read_text() for file in (elsewhere / "mine").iterdir() if file.name[0] != "."} == {
        name: "mine",
        "notes.txt": "mine",
    }


def test_a_comparison_that_was_cut_off_while_it_was_written_goes_on(
    command_line: Callable[..., object], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "theirs.csv").write_text("dataset,fold,test\nTOY,0,0.5\nTOY,1,0.75\n")
    first = ("compare", *SMALL, *THEIRS, "--out", "kept")
    write = comparison_folder.write_text

    def cut_off(file: Path, text: str) -> None:
        if file.suffix == ".md":
            raise KeyboardInterrupt
        write(file, text)

    with monkeypatch.context() as killed:
        killed.setattr(comparison_folder, "write_text", cut_off)
        assert command_line(*first)[0] != 0
    kept = sorted(file.name for file in (elsewhere / "kept").iterdir() if file.name[0] != ".")
    assert kept == ["compare.csv", "config.yaml"]
    for other in (("--set", "training.patience=7"), ("--margin", "0.02")):
        assert "holds another comparison" in command_line(*first, *other)[2]
    assert command_line(*first)[0] == 0
    assert (elsewhere / "kept" / "certificate.md").exists()


def test_a_comparison_is_not_written_into_the_folder_of_a_run(command_line: Callable[..., object], elsewhere: Path) -> None:
    (elsewhere / "theirs.csv").write_text("dataset,fold,test\nTOY,0,0.5\nTOY,1,0.75\n")
    assert command_line("run", *SMALL, "--jobs", "1", "--students", "gcn,sage", "--out", "runs")[0] == 0
    (run,) = (elsewhere / "runs").iterdir()
    assert "a run, or files of your own (config.yaml)" in command_line("compare", *SMALL, *THEIRS, "--out", run)[2]
    assert command_line("compare", *SMALL, *THEIRS, "--out", "apart")[0] == 0
    marker, text = (elsewhere / "apart" / "config.yaml").read_text().split("\n", 1)
    assert marker == r"# dgl_mutual beside theirs.csv: margin 0.01, member best\_by\_val"
    assert text == (run / "config.yaml").read_text()
