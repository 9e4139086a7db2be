from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.usefixtures("elsewhere")

SMALL = ("--students", "gcn,sage", "--set", "student.hidden=8", "--epochs", "3", "--seeds", "1", "--jobs", "1")
MLP = ("--mlp-hidden", "8", "--set", "distill.epochs=3")


def the_run(elsewhere: Path) -> tuple[pd.DataFrame, dict[str, object]]:
    (folder,) = (elsewhere / "results").iterdir()
    return pd.read_csv(folder / "trials.csv"), yaml.safe_load((folder / "config.yaml").read_text())["resolved"]


def test_the_mlp_is_one_more_member_of_the_run(command_line: Callable[..., object], elsewhere: Path) -> None:
    status, out, _ = command_line("distill", *SMALL, *MLP, "--positions", "2")
    assert status == 0
    rows, config = the_run(elsewhere)
    assert list(rows["member"]) == ["gcn-0", "sage-1", "mean", "best_by_val", "ensemble", "mlp"]
    assert set(rows["protocol"]) == {"random"}
    assert (config["distill"]["positions"], config["distill"]["hidden"], config["distill"]["epochs"]) == (2, 8, 3)
    assert out.splitlines()[-2].split()[0] == "mlp"
    # The same configuration by 'run' is the same run: nothing is left to do.
    (folder,) = (elsewhere / "results").iterdir()
    assert command_line("run", "--config", folder / "config.yaml")[:2] == (0, out)


def test_unseen_nodes_are_a_protocol_of_their_own(command_line: Callable[..., object], elsewhere: Path) -> None:
    assert command_line("distill", *SMALL, *MLP, "--unseen", "0.2")[0] == 0
    assert set(the_run(elsewhere)[0]["protocol"]) == {"random-inductive"}


def test_a_transductive_weighting_is_refused_before_training(command_line: Callable[..., object], elsewhere: Path) -> None:
    weighting = ("--set", "strategy_options.weighting=transductive")
    status, _, err = command_line("distill", *SMALL, *MLP, "--unseen", "0.2", *weighting)
    assert status == 2 and "strategy_options.weighting = transductive only has weights for the nodes that it was trained on" in err
    assert not (elsewhere / "results").exists()
    assert command_line("distill", *SMALL, *MLP, *weighting)[0] == 0


def test_an_invalid_share_is_refused(command_line: Callable[..., object]) -> None:
    status, _, err = command_line("distill", *SMALL, "--unseen", "1.5")
    assert status == 2
    assert "distill.unseen" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mlp-hidden", "64", "--set", "distill.hidden=32"), "distill.hidden was given twice, as 64 and as 32"),
        (("--positions", "3", "--set", "distill=null"), "distill was given twice"),
        (("--set", "distill=null"), "distill was given twice"),
        (("--divide", "students"), "No such option '--divide'"),
        (("--servers", "servers.txt"), "No such option '--servers'"),
    ],
)
def test_contradictions_are_refused(arguments: tuple[str, ...], message: str, command_line: Callable[..., object]) -> None:
    status, out, err = command_line("distill", *SMALL, *arguments)
    assert (status, out) == (2, "") and message in err


def test_an_mlp_that_no_memory_holds_is_named(command_line: Callable[..., object]) -> None:
    status, _, err = command_line("distill", *SMALL, "--set", f"distill.hidden={10**12}")
    assert status == 1
    assert f"The MLP has distill.hidden = {10**12}" in err and "Lower distill.hidden or" in err


def test_noise_is_part_of_the_run_and_of_the_split(command_line: Callable[..., object], elsewhere: Path) -> None:
    splits, prints = [], []
    for noise in ([], ["--noise", "feature:0.20"], ["--noise", "label:0.2"]):
        before = {*(elsewhere / "results").glob("*")}
        assert command_line("run", *SMALL, *noise)[0] == 0
        (folder,) = {*(elsewhere / "results").glob("*")} - before
        row = pd.read_csv(folder / "trials.csv", dtype=str).iloc[0]
        splits.append(row["split"])
        prints += [row["fingerprint"], yaml.safe_load((folder / "config.yaml").read_text())["resolved"]["fingerprint"]]
        assert yaml.safe_load((folder / "config.yaml").read_text())["resolved"]["noise"] == (
            noise[1].replace("0.20", "0.2") if noise else None
        )
    assert (len(set(splits)), len(set(prints))) == (3, 1)


def test_a_wrong_noise_is_one_message(command_line: Callable[..., object]) -> None:
    status, out, err = command_line("run", "--noise", "feature:2")
    assert (status, out) == (2, "")
    assert err == "Error: Noise 'feature:2' has no amount between 0 and 1. The form is KIND:AMOUNT, for example feature:0.2.\n"
