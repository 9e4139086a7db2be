"""The training loop: repeatable, blind to test labels, and equal to the step that a reader would write by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

import dgl_mutual
from dgl_mutual.data.scaling import column_scales, with_scaled_columns
from dgl_mutual.data.values.features import integer_columns
from dgl_mutual.data.values.split import Split
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student
from dgl_mutual.training import seeds
from dgl_mutual.training.callbacks import EpochReports
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.options import TrainingOptions, resolve_training
from dgl_mutual.training.result import FitResult
from tests.training.conftest import Fit
from tests.training.small_data import Data

ARCHITECTURES = ("gcn", "gat", "gin", "sage")
TASKS = pytest.mark.parametrize("task", ["node", "graph"])
FIGURES = ("member", "train", "val", "test", "best_epoch", "parameters")


def weights(result: FitResult, member: int | None = None) -> dict[str, Tensor]:
    module = result.cohort if member is None else result.cohort.members[member]
    return module.state_dict()


def figures(result: FitResult, *, without: str = "") -> list[tuple[Any, ...]]:
    return [tuple(getattr(member, name) for name in FIGURES if name != without) for member in result.members]


def assert_same_weights(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


# --- scaled inputs ---------------------------------------------------------------------------------------------------------------------


def test_measurements_are_scaled_and_words_are_not(node_data: Data, graph_data: Data) -> None:
    words = replace(node_data[0], features=sparse.csr_matrix(node_data[0].features))
    scaled = [resolve_training(TrainingOptions(), dataset).scale_inputs for dataset in (node_data[0], words, graph_data[0])]
    assert scaled == [True, False, True]
    assert resolve_training(TrainingOptions(scale_inputs=True), words).scale_inputs


@pytest.mark.parametrize(("num_codes", "num_bonds"), [(20, 4), (20, 2), (2, 2)])
@TASKS
def test_a_custom_student_gets_codes_as_they_are_and_its_peers_scaled_columns(task: str, num_codes: int, num_bonds: int) -> None:
    seen: dict[str, set[float]] = {"codes": set(), "measured": set(), "binary": set(), "bonds": set()}

    class Embeds(nn.Module):
        def __init__(self, in_features: int, num_outputs: int) -> None:
            super().__init__()
            self.rows = nn.Embedding(20, num_outputs)

        def forward(self, graph: Any, feat: Tensor) -> Tensor:
            seen["codes"].update(feat[:, 0].tolist())
            seen["measured"].update(feat[:, 1].tolist())
            seen["binary"].update(feat[:, 2].tolist())
            seen["bonds"].update(graph.edata["feat"][:, 0].tolist())
            rows = self.rows(feat[:, 0].long())
            return rows if task == "node" else dgl.ops.segment_reduce(graph.batch_num_nodes(), rows, "mean")

    random = np.random.default_rng(0)
    features = np.stack([np.arange(60) % num_codes, 100 * random.random(60), np.arange(60) % 5 == 0], axis=1).astype(np.float32)
    edges = np.stack([np.arange(60), np.arange(60) ^ 1])
    bonds = (np.minimum(*edges) // 2 % num_bonds).astype(np.float32)[:, None]
    graphs = {} if task == "node" else {"node_offsets": np.arange(0, 61, 2)}
    labels = np.arange(60 if task == "node" else 30) % 2
    data = dgl_mutual.Dataset.from_arrays(edges, features, labels, edge_features=bonds, **graphs)
    student = {"architecture": Embeds, "edge_features": True}
    result = dgl_mutual.fit(data, [student, "gcn"], "independent", protocol="holdout", training={"epochs": 2, "scale_inputs": True})
    assert seen["codes"] == {*range(num_codes)} and seen["bonds"] == {*range(num_bonds)} and seen["binary"] == {0, 1}
    scale = column_scales(data, result.split)[1]
    assert scale < 1 and {float(scale * value) for value in features[:, 1]} == seen["measured"] - {0.0}
    alone = dgl_mutual.fit(data, ["gcn", "gcn"], "independent", protocol="holdout", training={"epochs": 2, "scale_inputs": True})
    assert [row["loss/supervised/gcn-1"] for row in result.history] == [row["loss/supervised/gcn-1"] for row in alone.history]


@pytest.mark.parametrize("where", ["features", "edge_features"])
def test_test_graphs_do_not_decide_which_columns_of_a_custom_student_are_scaled(where: str) -> None:
    class Sums(nn.Module):
        def __init__(self, in_features: int, num_outputs: int) -> None:
            super().__init__()
            self.rows = nn.Linear(in_features + 1, num_outputs)

        def forward(self, graph: Any, feat: Tensor) -> Tensor:
            rows = self.rows(torch.cat([feat, dgl.ops.copy_e_sum(graph, graph.edata["feat"])], dim=1))
            return dgl.ops.segment_reduce(graph.batch_num_nodes(), rows, "mean")

    codes = (np.arange(60) * 7 % 30).astype(np.float32)[:, None]
    edges = np.stack([np.arange(60), np.arange(60) ^ 1])
    split = Split(train=np.arange(20), val=np.arange(20, 25), test=np.arange(25, 30))
    histories = []
    for last in (29.0, 3.5):
        arrays = {"features": codes.copy(), "edge_features": codes.copy()}
        arrays[where][-1] = last
        data = dgl_mutual.Dataset.from_arrays(edges, labels=np.arange(30) % 2, node_offsets=np.arange(0, 61, 2), **arrays)
        student = {"architecture": Sums, "edge_features": True}
        result = dgl_mutual.fit(data, [student], "independent", split=split, training={"epochs": 2, "scale_inputs": True})
        histories.append([row["loss/supervised/Sums-0"] for row in result.history])
    assert histories[0] == histories[1]


@pytest.mark.parametrize("is_sparse", [False, True])
def test_codes_are_integers_from_0(is_sparse: bool) -> None:
    columns = np.array([[0, 1, 5, 2], [0, 1, 0, 1], [0, -1, 5, 2], [0, 1, 1.5, 2], [0, 3, 3, 3]], dtype=np.float32).T
    features = sparse.csr_matrix(columns) if is_sparse else columns
    assert integer_columns(features, ["number"] * 5).tolist() == [True, True, False, False, True]
    assert integer_columns(features, ["indicator"] + ["number"] * 4).tolist() == [False, True, False, False, True]


@TASKS
def test_students_that_learned_from_scaled_inputs_take_plain_ones(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    dataset, split = data_of(task)
    dataset = replace(dataset, features=np.asarray(dataset.features) * np.float32([1e-3, 1.0, *[300.0] * (dataset.num_features - 2)]))
    scaled = with_scaled_columns(dataset, column_scales(dataset, split))
    ours = fit((dataset, split), ARCHITECTURES, training={"scale_inputs": True})
    theirs = fit((scaled, split), ARCHITECTURES, training={"scale_inputs": False})
    assert ours.history == theirs.history
    assert figures(ours) == figures(theirs)
    for member in (*ours.cohort.names, "ensemble"):
        np.testing.assert_array_equal(ours.predict(member=member), theirs.predict(member=member))
    unscaled = fit((dataset, split), ARCHITECTURES, training={"scale_inputs": False})
    assert unscaled.history != ours.history


# --- the same result again -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["node", "graph", "multi-label"])
def test_a_repeat_is_equal_to_the_bit(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    torch.manual_seed(1)
    first = fit(data_of(task), ARCHITECTURES)
    torch.manual_seed(2)
    second = fit(data_of(task), ARCHITECTURES)
    assert_same_weights(weights(first), weights(second))
    assert first.history == second.history
    assert figures(first) == figures(second)
    np.testing.assert_array_equal(first.predict(), second.predict())


@TASKS
def test_seeds_and_folds_may_run_in_any_order(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    pairs = [(0, 0), (0, 1), (1, 0)]
    forwards = {pair: fit(data_of(task), epochs=2, seed=pair[0], fold=pair[1]) for pair in pairs}
    backwards = {pair: fit(data_of(task), epochs=2, seed=pair[0], fold=pair[1]) for pair in reversed(pairs)}
    for pair in pairs:
        assert_same_weights(weights(forwards[pair]), weights(backwards[pair]))
        assert forwards[pair].history == backwards[pair].history
    distinct = {tuple(weights(result)["_members.0.convolutions.0.weight"].flatten().tolist()) for result in forwards.values()}
    assert len(distinct) == len(pairs)


def test_training_leaves_the_global_stream_alone(fit: Fit, node_data: Data) -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    fit(node_data, epochs=1)
    assert torch.equal(torch.rand(2), expected)


@TASKS
def test_no_student_sees_another_ones_randomness(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    """One more student, or another kind of it, changes nothing for those who do not listen to it."""
    small, large, other = (
        fit(data_of(task), students, strategy="independent", dtype=torch.float64)
        for students in (("gcn", "gat"), ("gcn", "gat", "gin"), ("gcn", "sage", "gin"))
    )
    for member in range(2):
        torch.testing.assert_close(weights(small, member), weights(large, member), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(weights(small, 0), weights(other, 0), rtol=1e-9, atol=1e-12)
    assert small["gat-1"].val == large["gat-1"].val


@TASKS
def test_an_exchange_with_zero_weight_equals_independent_training(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    apart = fit(data_of(task), strategy="independent", dtype=torch.float64)
    last = fit(data_of(task), strategy_options={"weighting": "uniform", "exchange_warmup": (3, 0)}, dtype=torch.float64)
    nothing = fit(data_of(task), strategy_options={"weighting": "uniform", "weight": 0.0}, dtype=torch.float64)
    taught = fit(data_of(task), strategy_options={"weighting": "uniform"}, dtype=torch.float64)
    for member in range(2):
        torch.testing.assert_close(weights(nothing, member), weights(apart, member), rtol=1e-9, atol=1e-12)
    assert not torch.allclose(*(weights(r, 0)["convolutions.0.weight"] for r in (taught, apart)), rtol=1e-6, atol=1e-9)
    for before, row in zip(apart.history[:3], last.history, strict=False):
        assert row["val/gcn-0"] == before["val/gcn-0"] and "loss/mutual/gcn-0" not in row
        assert row["loss/supervised/gcn-0"] == pytest.approx(before["loss/supervised/gcn-0"], rel=1e-9)
    assert "loss/mutual/gcn-0" in last.history[3] and "loss/mutual/gcn-0" in taught.history[0]


# --- who sees which labels -------------------------------------------------------------------------------------------------------------


def relabelled(data: Data, part: str, how: str) -> Data:
    dataset, split = data
    labels = dataset.labels.copy()
    rows = getattr(split, part)
    if how == "unknown":
        labels[rows] = -1 if dataset.target.kind == "single-label" else np.nan
    elif dataset.target.kind == "single-label":
        labels[rows] = (labels[rows] + 1) % dataset.target.num_outputs
    else:
        labels[rows] = 1 - labels[rows]
    return replace(dataset, labels=labels), split


@pytest.mark.parametrize(
    ("task", "how"), [("node", "wrong"), ("node", "unknown"), ("graph", "wrong"), ("graph", "unknown"), ("multi-label", "wrong")]
)
@pytest.mark.parametrize("strategy", ["gml", "dml", "independent"])
def test_test_labels_reach_the_test_column_alone(strategy: str, task: str, how: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    honest = fit(data_of(task), strategy=strategy, epochs=6)
    scrambled = fit(relabelled(data_of(task), "test", how), strategy=strategy, epochs=6)
    assert_same_weights(weights(honest), weights(scrambled))
    assert honest.history == scrambled.history
    assert figures(honest, without="test") == figures(scrambled, without="test")
    tests = [member.test for member in scrambled.members]
    assert np.isnan(tests).all() if how == "unknown" else tests != [member.test for member in honest.members]


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("task", ["node", "graph", "multi-label"])
def test_the_class_prior_is_that_of_training_labels(task: str, part: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    options = {"entropy_weight": -0.3, "class_prior_weight": 3.0}
    honest = fit(data_of(task), strategy_options=options, epochs=4)
    priors = [row[f"loss/class_prior/{name}"] for row in honest.history for name in honest.cohort.names]
    assert max(priors) > 0
    scrambled = fit(relabelled(data_of(task), part, "wrong"), strategy_options=options, epochs=4)
    assert priors == [row[f"loss/class_prior/{name}"] for row in scrambled.history for name in scrambled.cohort.names]


@TASKS
def test_validation_labels_choose_and_teach_nothing(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    honest = fit(data_of(task), epochs=6)
    scrambled = fit(relabelled(data_of(task), "val", "wrong"), epochs=6)
    for ours, theirs in zip(honest.history, scrambled.history, strict=True):
        assert {k: v for k, v in ours.items() if not k.startswith("val/")} == {k: v for k, v in theirs.items() if not k.startswith("val/")}
    assert honest.history != scrambled.history


@TASKS
def test_unknown_training_labels_count_as_absent(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    """In the supervised term: the loss of a cohort whose unknown samples are left out of the split is the same."""
    dataset, split = data_of(task)
    labels = dataset.labels.copy()
    labels[split.train[::4]] = -1
    fewer = replace(split, train=np.setdiff1d(split.train, split.train[::4]))
    students = [StudentOptions(architecture="gcn", hidden=8, norm="none", dropout=0.0)] * 2
    runs = [
        fit(
            (replace(dataset, labels=labels), part),
            students,
            epochs=2,
            strategy="independent",
            training={"batch_size": 100, "scale_inputs": False},
        )
        for part in (split, fewer)
    ]
    for name in ("loss/supervised/gcn-0", "train/gcn-0", "val/gcn-1"):
        assert [row[name] for row in runs[0].history] == pytest.approx([row[name] for row in runs[1].history], rel=1e-5)


# --- the step ---------------------------------------------------------------------------------------------------------------------------


def by_hand(
    data: Data, architectures: tuple[str, ...], epochs: int, peers: Callable[[Tensor, int], Tensor]
) -> list[list[dict[str, Tensor]]]:
    """Plain full-batch mutual learning in plain torch: the students' weights after each epoch."""
    dataset, split = data
    batch = Collator(dataset, dtype=torch.float64).all()
    train, labels = torch.as_tensor(split.train), torch.as_tensor(dataset.labels)
    students, streams = [], []
    for index, name in enumerate(architectures):
        with seeds.seeded_globally(0, "initialisation", 0, index):
            options = StudentOptions(architecture=name, hidden=8, heads=2)  # type: ignore[arg-type]  # a name out of a literal
            students.append(Student(options, dataset.task, dataset.num_features, dataset.target.num_outputs).double())
        streams.append(seeds.generator(0, "dropout", 0, index))
    optimizer = torch.optim.Adam([p for student in students for p in student.parameters()], lr=0.01, weight_decay=5e-4)
    history = []
    for _ in range(epochs):
        optimizer.zero_grad()
        logits = torch.stack([student.forward_batch(batch, stream).logits for student, stream in zip(students, streams, strict=True)])
        loss = torch.zeros((), dtype=torch.float64)
        for i in range(len(students)):
            loss = loss + F.cross_entropy(logits[i, train], labels[train])
            loss = loss + F.kl_div(F.log_softmax(logits[i], dim=-1), peers(logits.detach(), i), reduction="batchmean")
        loss.backward()
        optimizer.step()
        history.append([{name: value.clone() for name, value in student.state_dict().items()} for student in students])
    return history


def test_uniform_gml_with_noisy_targets_is_mutual_learning_with_the_mean_peer(fit: Fit, node_data: Data) -> None:
    options = {"weighting": "uniform", "mix": "logits", "targets": "train", "target_temperature": 1.0}
    result = fit(node_data, ARCHITECTURES, epochs=5, strategy_options=options, dtype=torch.float64)

    def mean_peer(logits: Tensor, i: int) -> Tensor:
        return F.softmax(logits[[j for j in range(len(logits)) if j != i]].mean(0), dim=-1)

    expected = by_hand(node_data, ARCHITECTURES, 5, mean_peer)
    for k, student in enumerate(result.members[:4]):
        assert student.best_epoch is not None
        torch.testing.assert_close(weights(result, k), expected[student.best_epoch][k], rtol=1e-8, atol=1e-10)


def test_dml_of_two_is_mutual_learning_with_the_other(fit: Fit, node_data: Data) -> None:
    result = fit(node_data, ("gcn", "sage"), epochs=5, strategy="dml", dtype=torch.float64)
    expected = by_hand(node_data, ("gcn", "sage"), 5, lambda logits, i: F.softmax(logits[1 - i], dim=-1))
    for k, student in enumerate(result.members[:2]):
        assert student.best_epoch is not None
        torch.testing.assert_close(weights(result, k), expected[student.best_epoch][k], rtol=1e-8, atol=1e-10)


def test_graph_batches_are_steps_of_their_own(fit: Fit, graph_data: Data) -> None:
    """Smaller batches make more and other steps; an epoch's loss is the mean over them."""
    one, many = (fit(graph_data, ("gin", "gcn"), epochs=3, training={"batch_size": size}) for size in (20, 4))
    assert weights(one, 0)["norms.0.num_batches_tracked"] == one["gin-0"].best_epoch + 1
    assert weights(many, 0)["norms.0.num_batches_tracked"] == 5 * (many["gin-0"].best_epoch + 1)


@pytest.mark.parametrize("task", ["node", "graph", "multi-label"])
def test_training_learns(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    result = fit(data_of(task), ("gcn", "gin"), epochs=30, training={"learning_rate": 0.05})
    for name in result.cohort.names:
        assert result.history[-1][f"loss/supervised/{name}"] < 0.8 * result.history[0][f"loss/supervised/{name}"]
    assert result["ensemble"].train > 0.65


# --- edges ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["node", "multi-label"])
def test_a_loss_that_is_not_finite_names_student_epoch_and_term(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    dataset, split = data_of(task)
    features = np.array(dataset.features)
    features[0] = 3e38
    with pytest.raises(TrainingError, match=r"(?s)not finite in epoch 0: .*the term 'supervised' of gcn-0, sage-1.*learning_rate = 0\.01"):
        fit((replace(dataset, features=features), split), training={"scale_inputs": False})


@pytest.mark.parametrize("task", ["node", "multi-label"])
def test_a_step_that_is_far_too_large_ends_in_the_same_error(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    with pytest.raises(TrainingError, match=r"not finite in epoch \d.*learning_rate = 1e\+30"):
        fit(data_of(task), epochs=2, training={"learning_rate": 1e30}, strategy="independent")


def test_only_the_broken_student_is_named(fit: Fit, node_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    from dgl_mutual.nn.convolutions import SAGEConvolution

    plain = SAGEConvolution.reset_parameters

    def broken(self: SAGEConvolution) -> None:
        plain(self)
        torch.nn.init.constant_(self.bias, torch.nan)

    monkeypatch.setattr(SAGEConvolution, "reset_parameters", broken)
    with pytest.raises(TrainingError) as caught:
        fit(node_data, strategy="independent")
    assert "the term 'supervised' of sage-1. " in str(caught.value) and "gcn-0" not in str(caught.value)


@TASKS
def test_many_students_and_repeats(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    result = fit(data_of(task), ARCHITECTURES * 4, epochs=1)
    assert len(result.cohort) == 16 and result.cohort.names[13] == "gat-13"
    first, last = (weights(result, k)["convolutions.0.weight"] for k in (0, 12))
    assert first.shape == last.shape and not torch.equal(first, last), "repeats start apart"


@TASKS
def test_the_smallest_students(task: str, fit: Fit, data_of: Callable[[str], Data]) -> None:
    students = [StudentOptions(architecture=name, hidden=1, heads=1, depth=1) for name in ARCHITECTURES]  # type: ignore[arg-type]  # names out of a literal
    assert np.isfinite(fit(data_of(task), students, epochs=2).predict()).all()


def test_one_student_alone(fit: Fit, node_data: Data) -> None:
    result = fit(node_data, ("gcn",), strategy="independent")
    assert figures(result)[0][1:4] == figures(result)[-1][1:4], "its ensemble is itself"
    with pytest.raises(UsageError, match="'gml' needs at least 2 students, and the cohort has 1"):
        fit(node_data, ("gcn",))


def test_transductive_weights_are_for_nodes(fit: Fit, node_data: Data, graph_data: Data) -> None:
    assert fit(node_data, strategy_options={"weighting": "transductive"}).cohort.coordinator.chi.shape == (2, 48, 16)
    with pytest.raises(UsageError, match="full-batch node task"):
        fit(graph_data, strategy_options={"weighting": "transductive"})


def test_a_part_without_known_labels_is_refused_at_once(fit: Fit, node_data: Data) -> None:
    epochs: list[EpochReport] = []
    with pytest.raises(TrainingError, match="validation part of the split"):
        fit(relabelled(node_data, "val", "unknown"), callbacks=[EpochReports(epochs.append)])
    assert epochs == []


def test_an_unknown_option_of_a_strategy_is_refused(fit: Fit, node_data: Data) -> None:
    with pytest.raises(UsageError, match=r"Unknown option 'strategy_options.wieght'. Did you mean 'weight'"):
        fit(node_data, strategy_options={"wieght": 1.0})


def test_a_virtual_node_needs_two_layers(fit: Fit, graph_data: Data) -> None:
    one, two = (fit(graph_data, [StudentOptions(hidden=4, depth=depth, virtual_node=True)] * 2, 1) for depth in (1, 2))
    assert [student.options.virtual_node for result in (one, two) for student in result.cohort.students] == [False] * 2 + [True] * 2
