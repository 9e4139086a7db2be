"""Several processes: the same losses and weights as one, and what they refuse."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dgl_mutual.data.dataset import Dataset, Split
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.distributed import Ranks
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.trainer import fit_cohort

Data = tuple[Dataset, Split]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
TWO = Ranks(rank=1, size=2)


def options(strategy: str = "gml", batch_size: int = 7, norm: str = "batch", **more: Any) -> dict[str, Any]:
    """Four students without dropout; batches of 7 are uneven shares for two processes."""
    sampled = {"sampler": "neighbor", "fanout": (-1, -1)} if more.pop("sampled", False) else {}
    return {
        "students": [StudentOptions(architecture=name, hidden=8, dropout=0.0, norm=norm) for name in ("gcn", "gat", "gin", "sage")],
        "strategy": strategy,
        "training": TrainingOptions(epochs=4, batch_size=batch_size, **sampled),
        "strategy_options": {} if strategy == "independent" else {"exchange_warmup": (1, 1), **more},
    }


def test_two_processes_are_one(tmp_path: Path, node_data: Data, graph_data: Data, multi_label_data: Data) -> None:
    cases = [
        (*graph_data, options()),
        (*graph_data, options(direction="best", held_out=0.3)),
        (*graph_data, options(exchange_on="transductive", targets="ema", entropy_weight=0.1)),
        (*multi_label_data, options("dml", norm="none")),
        (*graph_data, options("okddip", leader={"dropout": 0.0, "hidden": 8})),
        (*graph_data, options("bgnn", norm="none")),
        (*node_data, options("gml", batch_size=9, norm="none", sampled=True)),
        (*node_data, options("kd", batch_size=24, norm="none", sampled=True, teacher={"dropout": 0.0, "hidden": 8})),
        (*node_data, options("kdcl", batch_size=9, norm="none", sampled=True, exchange_on="labelled")),
    ]
    (tmp_path / "cases.pkl").write_bytes(pickle.dumps(cases))
    script = Path(__file__).with_name("divided.py")
    ended = subprocess.run([*TORCHRUN, "2", script, tmp_path / "cases.pkl", tmp_path], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    first, second = (pickle.loads((tmp_path / f"{rank}.pkl").read_bytes()) for rank in range(2))
    for (dataset, split, chosen), (history, weights), (other_history, other_weights) in zip(cases, first, second, strict=True):
        alone = fit_cohort(dataset, split, **chosen, dtype=torch.float64)
        assert len(history) == len(alone.history)
        for row, expected in zip(history, alone.history, strict=True):
            assert row == pytest.approx(expected, rel=1e-8, abs=1e-9)
        assert history == other_history
        torch.testing.assert_close(weights, other_weights, rtol=0, atol=0)
        torch.testing.assert_close(weights, alone.cohort.state_dict(), rtol=1e-6, atol=1e-8)


def test_shares_make_up_the_batch_and_differ_by_one_at_most() -> None:
    samples = np.arange(11)
    shares = [Ranks(rank, 4).share(samples) for rank in range(4)]
    assert np.concatenate(shares).tolist() == samples.tolist()
    assert {len(share) for share in shares} == {2, 3}


def test_a_step_on_the_whole_graph_is_refused(node_data: Data) -> None:
    with pytest.raises(UsageError, match=r"cannot be divided among processes.*--sampler neighbor, or leave torchrun out"):
        fit_cohort(*node_data, **{**options(), "training": TrainingOptions(epochs=1)}, ranks=TWO)


def test_more_processes_than_samples_in_a_batch_are_refused(node_data: Data, graph_data: Data) -> None:
    # 20 training graphs in batches of at most 3 make 7 steps of 2 or 3.
    with pytest.raises(UsageError, match=r"3 processes cannot divide a batch of 2 graphs.*--nproc-per-node 2 or less"):
        fit_cohort(*graph_data, **options(batch_size=3), ranks=Ranks(0, 3))
    with pytest.raises(UsageError, match=r"2 processes cannot divide a batch of 1 nodes"):
        fit_cohort(*node_data, **options(batch_size=1, sampled=True), ranks=TWO)


@pytest.mark.parametrize("strategy", ["oad", "alignahead"])
def test_strategies_that_need_the_states_of_all_nodes_are_refused(strategy: str, graph_data: Data) -> None:
    with pytest.raises(UsageError, match=f"Strategy '{strategy}' looks at the states of all nodes of a step"):
        fit_cohort(*graph_data, **options(strategy), ranks=TWO)
