"""ogbg-moltox21's form, several binary columns with unknown labels, from the raw files to OGB's evaluator, with every strategy."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgl_mutual.data import load_dataset
from dgl_mutual.data.sources.ogb_package import make_evaluator
from dgl_mutual.strategies import STRATEGIES

NUM_GRAPHS, NUM_TASKS = 60, 12
SMALL = ("--students", "gcn,sage", "--set", "student.hidden=8", "--epochs", "2", "--seeds", "1", "--jobs", "1")
OPTIONS = {"kdcl": ("--set", "strategy_options.target=naive")}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Molecules that are rings and chains of few atoms; a quarter of the labels is unknown, as OGB writes it: nothing between commas."""
    random = np.random.default_rng(0)
    sizes = random.integers(3, 8, size=NUM_GRAPHS)
    bonds = [[(atom, atom + 1) for atom in range(size - 1)] + ([(size - 1, 0)] if graph % 2 else []) for graph, size in enumerate(sizes)]
    widths = [119, 5, 12, 12, 10, 6, 6, 2, 2]
    labels = random.integers(2, size=(NUM_GRAPHS, NUM_TASKS)).astype(float)
    labels[:, 0] = np.arange(NUM_GRAPHS) % 2
    labels[random.random(labels.shape) < 0.25] = np.nan
    tables = {
        "raw/num-node-list": sizes[:, None],
        "raw/num-edge-list": np.array([[len(listed)] for listed in bonds]),
        "raw/edge": np.array([bond for listed in bonds for bond in listed]),
        "raw/node-feat": random.integers(widths, size=(sizes.sum(), len(widths))),
        "raw/edge-feat": random.integers([5, 6, 2], size=(sum(map(len, bonds)), 3)),
        "raw/graph-label": labels,
        "split/scaffold/train": np.arange(30)[:, None],
        "split/scaffold/valid": np.arange(30, 45)[:, None],
        "split/scaffold/test": np.arange(45, 60)[:, None],
    }
    root = tmp_path_factory.mktemp("data")
    for name, table in tables.items():
        path = root / "ogb" / "ogbg_moltox21" / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(pd.DataFrame(table).to_csv(header=False, index=False).encode()))
    return root


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trains_and_ogbs_evaluator_judges(
    command_line: Callable[..., object], data_dir: Path, tmp_path: Path, strategy: str
) -> None:
    where = ("--data-dir", data_dir, "--offline")
    asked = ("--dataset", "ogbg-moltox21", "--strategy", strategy, *OPTIONS.get(strategy, ()), *SMALL)
    assert command_line("run", *asked, *where, "--out", tmp_path)[0] == 0
    (run,) = (path for path in tmp_path.iterdir() if path.is_dir())
    rows = pd.read_csv(run / "trials.csv").set_index("member")
    assert set(rows["metric"]) == {"rocauc"} and set(rows["protocol"]) == {"scaffold"}
    labels = load_dataset("ogbg-moltox21", data_dir=data_dir, offline=True).labels
    assert 0.2 < np.isnan(labels).mean() < 0.3
    for member in ("gcn-0", "ensemble"):
        table = tmp_path / f"{member}.csv"
        assert (
            command_line("predict", run / "checkpoints/seed-0-fold-0", "ogbg-moltox21", *where, "--member", member, "--out", table)[0] == 0
        )
        scores = pd.read_csv(table)[[f"p(task {task})" for task in range(NUM_TASKS)]].to_numpy()
        judged = make_evaluator("ogbg-moltox21").eval({"y_true": labels[45:], "y_pred": scores[45:]})["rocauc"]
        assert rows.loc[member, "test"] == pytest.approx(judged, abs=1e-6)


def test_minlogit_is_refused(command_line: Callable[..., object], data_dir: Path, tmp_path: Path) -> None:
    asked = ("--dataset", "ogbg-moltox21", "--strategy", "kdcl", *SMALL, "--data-dir", data_dir, "--offline", "--out", tmp_path)
    status, _, err = command_line("run", *asked)
    assert status == 2 and "target=naive or mean" in err
