"""Several processes: the same losses and weights as one, and what they refuse."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dgl_mutual.data.label_rate import hide_labels
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.distributed.ranks import DividedSamples, DividedStudents, Ranks
from dgl_mutual.training.options import TrainingOptions
from tests import forked
from tests.cohorts import train_cohort
from tests.training.custom_students import Counting, TwoWays
from tests.training.divided import train_together
from tests.training.small_data import Data, graphs, multi_label_graphs, nodes

TWO = DividedSamples(rank=1, size=2)


def options(
    strategy: str = "gml", batch_size: int | None = 7, norm: str = "batch", dropout: float = 0.0, epochs: int = 2, **more: Any
) -> dict[str, Any]:
    """Four students, by default without dropout; batches of 7 are uneven shares for two processes."""
    sampled = {"sampler": "neighbor", "fanout": more.pop("fanout", (-1, -1))} if more.pop("sampled", False) else {}
    average = more.pop("average", "none")
    views = {key: more.pop(key) for key in ("feature_mask", "edge_drop", "node_drop", "own_views") if key in more}
    architectures = more.pop("students", ("gcn", "gat", "gin", "sage"))
    return {
        "students": [StudentOptions(architecture=name, hidden=8, dropout=dropout, norm=norm) for name in architectures],
        "strategy": strategy,
        "training": TrainingOptions(epochs=epochs, batch_size=batch_size, average=average, **views, **sampled),
        "strategy_options": {} if strategy == "independent" else {"exchange_warmup": (1, 1), **more},
    }


def own(**more: Any) -> dict[str, Any]:
    """Batches of three graphs for a student of which one process may use parameters that the other does not."""
    chosen = options(batch_size=3, **more)
    return {**chosen, "students": [StudentOptions(architecture=TwoWays), *chosen["students"][:1]]}


def few(data: Data) -> Data:
    """The same with 40 % of the labels."""
    dataset, split = data
    return dataset, hide_labels(dataset, split, 0.4, seed=0)


def cases_of_samples() -> list[Any]:
    return [
        (*graphs(), options()),
        (*graphs(), options(direction="best", held_out=0.3)),
        (*graphs(), options(exchange_on="transductive", targets="ema", entropy_weight=-0.1)),
        (*multi_label_graphs(), options("dml", norm="none", feature_mask=0.3, own_views=True)),
        (*graphs(), options("okddip", leader={"dropout": 0.0, "hidden": 8})),
        (*graphs(), options("bgnn", norm="none")),
        (*nodes(), options("gml", batch_size=9, norm="none", sampled=True)),
        (*nodes(), options("kd", batch_size=24, norm="none", sampled=True, teacher={"dropout": 0.0, "hidden": 8})),
        (*nodes(), options("kdcl", batch_size=9, norm="none", sampled=True, exchange_on="labelled")),
        (*few(graphs()), options(targets="eval", batch_size=4)),
        (*few(graphs()), options(targets="best", batch_size=4)),
        (*few(nodes()), options("dml", targets="eval", batch_size=5, norm="none", sampled=True)),
        (*few(nodes()), options("dml", targets="best", batch_size=5, norm="none", sampled=True)),
        (*few(graphs()), options("mean-teacher", batch_size=4)),
        (*few(graphs()), options("pseudo-label", batch_size=4, threshold=0.6)),
        (*graphs(), options(targets="eval", average="swa")),
        (*graphs(), options("independent", average="ema")),
        (*graphs(), options(weighting="consensus", weighting_options={"memory": 30})),
        (*graphs(), options(weighting="cross-fitted", targets="eval")),
        (*graphs(), own(epochs=4)),
        (*graphs(), own(targets="average", average="swa")),
    ]


def cases_of_students() -> list[Any]:
    three = ("gat", "gcn", "sage")  # uneven shares
    return [
        (*graphs(), options(dropout=0.5, epochs=9, edge_drop=0.2, node_drop=0.2, own_views=True)),
        (*graphs(), options(dropout=0.5, direction="best", held_out=0.3, students=three)),
        (*graphs(), options("dml", exchange_on="transductive", targets="ema", dropout=0.5)),
        (*graphs(), options("bgnn")),
        (*multi_label_graphs(), options("kdcl", norm="none", batch_size=None, dropout=0.5, target="naive")),
        (*nodes(), options(norm="none", batch_size=None, dropout=0.5, entropy_weight=0.1, epochs=9)),
        (*nodes(), options("kd", norm="none", batch_size=None, dropout=0.5, teacher={"hidden": 8})),
        (*nodes(), options("kd", norm="none", batch_size=9, dropout=0.5, sampled=True, fanout=(2, 2), teacher={"hidden": 8})),
        (*nodes(), options(norm="none", batch_size=9, dropout=0.5, sampled=True, fanout=(2, 2), students=three)),
        (*nodes(), options(norm="none", batch_size=9, dropout=0.5, sampled=True, fanout=(2, 2), targets="train")),
        (*nodes(), options(norm="none", batch_size=9, dropout=0.5, sampled=True, fanout=(2, 2), targets="best", students=three)),
        (*few(graphs()), options(targets="eval", batch_size=4, dropout=0.5)),
        (*few(graphs()), options(targets="best", batch_size=4, dropout=0.5, students=three)),
        (*few(nodes()), options(targets="best", exchange_on="all", norm="none", batch_size=None)),
        (*few(nodes()), options(norm="none", batch_size=None, dropout=0.5)),
        (*few(graphs()), options("mean-teacher", batch_size=4, dropout=0.5)),
        (*few(graphs()), options("self-distillation", batch_size=4, dropout=0.5)),
        (*graphs(), options(dropout=0.5, average="swa")),
        (*few(graphs()), options("mean-teacher", batch_size=4, dropout=0.5, average="ema")),
        (*nodes(), options(norm="none", batch_size=None, dropout=0.5, weighting="consensus")),
        (*graphs(), {**options(), "students": [StudentOptions(architecture="gcn", hidden=8), StudentOptions(architecture=Counting)]}),
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each of two processes says came of the cases, by what they divide: (history, weights) for each case."""
    folder = tmp_path_factory.mktemp("divided")
    counting = {**options(), "students": [StudentOptions(architecture=Counting), StudentOptions(architecture="gcn", hidden=8)]}
    cases = {"samples": cases_of_samples(), "students": cases_of_students(), "own state": [(*graphs(), counting)]}
    (folder / "cases.pkl").write_bytes(pickle.dumps(cases))
    logs = [folder / f"{rank}.txt" for rank in range(2)]
    processes = [
        forked.start(train_together, folder / "cases.pkl", folder, log=log, environment=environment)
        for log, environment in zip(logs, forked.ranks(2, *forked.free_ports(1)), strict=True)
    ]
    assert forked.statuses(processes, seconds=300) == [0, 0], "".join(log.read_text() for log in logs)
    found = [pickle.loads((folder / f"{rank}.pkl").read_bytes()) for rank in range(2)]
    return {divided: [rank[divided] for rank in found] for divided in cases}


def test_two_processes_that_divide_samples_are_one(found: dict[str, Any]) -> None:
    first, second = found["samples"]
    for (dataset, split, chosen), (history, weights), (other_history, other_weights) in zip(cases_of_samples(), first, second, strict=True):
        alone = train_cohort(dataset, split, **chosen, dtype=torch.float64)
        assert len(history) == len(alone.history)
        for row, expected in zip(history, alone.history, strict=True):
            assert row == pytest.approx(expected, rel=1e-8, abs=1e-9)
        assert history == other_history
        torch.testing.assert_close(weights, other_weights, rtol=0, atol=0)
        torch.testing.assert_close(weights, alone.cohort.state_dict(), rtol=1e-6, atol=1e-8)


def test_two_processes_that_divide_students_are_one_bit_for_bit(found: dict[str, Any], set_threads: Callable[[int], None]) -> None:
    first, second = found["students"]
    set_threads(1)
    for (dataset, split, chosen), one, other in zip(cases_of_students(), first, second, strict=True):
        alone = train_cohort(dataset, split, **chosen, dtype=torch.float64)
        for history, weights in (one, other):
            assert repr(history) == repr(alone.history)
            torch.testing.assert_close(weights, alone.cohort.state_dict(), rtol=0, atol=0)


def test_processes_have_the_same_student_whatever_state_it_keeps(found: dict[str, Any]) -> None:
    """One process would have counted all nodes; here all have the count of the first."""
    (history, weights), (other_history, other_weights) = (rank[0] for rank in found["own state"])
    assert repr(history) == repr(other_history)
    torch.testing.assert_close(weights, other_weights, rtol=0, atol=0)


def test_shares_make_up_the_batch_and_differ_by_one_at_most() -> None:
    samples = np.arange(11)
    shares = [DividedSamples(rank, 4).share(samples) for rank in range(4)]
    assert np.concatenate(shares).tolist() == samples.tolist()
    assert {len(share) for share in shares} == {2, 3}


def test_a_step_on_the_whole_graph_is_refused(node_data: Data) -> None:
    with pytest.raises(
        UsageError,
        match=r"cannot be divided among processes.*--divide students, or samples of .* --sampler neighbor",
    ):
        train_cohort(*node_data, **{**options(), "training": TrainingOptions(epochs=2)}, ranks=TWO)


def test_more_processes_than_samples_in_a_batch_are_refused(node_data: Data, graph_data: Data) -> None:
    # 20 training graphs in batches of at most 3 make 7 steps of 2 or 3.
    with pytest.raises(UsageError, match=r"3 processes cannot divide a batch of 2 graphs.*--nproc-per-node 2 or less"):
        train_cohort(*graph_data, **options(batch_size=3), ranks=DividedSamples(0, 3))
    with pytest.raises(UsageError, match=r"2 processes cannot divide a batch of 1 node "):
        train_cohort(*node_data, **options(batch_size=1, sampled=True), ranks=TWO)


def test_more_processes_than_students_are_refused(graph_data: Data) -> None:
    with pytest.raises(UsageError, match=r"5 processes cannot divide 4 students.*--nproc-per-node 4 or less, or leave out --divide"):
        train_cohort(*graph_data, **options(), ranks=DividedStudents(0, 5))


def test_students_in_several_processes_cannot_be_compared(graph_data: Data) -> None:
    training = TrainingOptions(epochs=2, diversity=True)
    with pytest.raises(UsageError, match=r"no two of them to compare \(training.diversity\). Leave out --divide students"):
        train_cohort(*graph_data, **{**options(), "training": training}, ranks=DividedStudents(0, 2))
    with pytest.raises(UsageError, match=r"Strategy 'okddip' reads the embeddings of all students.*Leave out --divide"):
        train_cohort(*graph_data, **options("okddip", leader={}), ranks=DividedStudents(0, 2))


@pytest.mark.parametrize("ranks", [TWO, DividedStudents(1, 2)])
@pytest.mark.parametrize("strategy", ["oad", "alignahead"])
def test_strategies_that_need_the_states_of_all_nodes_are_refused(strategy: str, ranks: Ranks, graph_data: Data) -> None:
    with pytest.raises(UsageError, match=f"Strategy '{strategy}' reads the states of all nodes of a step"):
        train_cohort(*graph_data, **options(strategy), ranks=ranks)


def test_what_a_student_keeps_of_its_samples_is_that_of_the_first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: tensor.fill_(7 + src))
    monkeypatch.setattr(torch.distributed, "all_gather", lambda parts, x: [part.copy_(x) for part in parts])
    student = Counting(4, 2)
    weights = student.last.weight.clone()
    TWO.share_buffers([student])
    assert (student.seen.item(), student.also.item()) == (7, 7)
    assert torch.equal(student.last.weight, weights)
