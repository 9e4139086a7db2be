"""Label propagation and Correct & Smooth: equal to scikit-learn's and torch_geometric's, and blind to test labels."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dgl_mutual
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.configuration.resolve import resolve
from dgl_mutual.experiments.configuration.without_effect import refuse_untrained
from dgl_mutual.experiments.tuning.search import tune
from dgl_mutual.strategies import BASELINES
from dgl_mutual.strategies.base.propagation import LabelledGraph, Matrix, labelled_graph_of
from dgl_mutual.strategies.correct_and_smooth import CorrectAndSmooth, correct, smooth
from dgl_mutual.strategies.label_propagation import LabelPropagation
from dgl_mutual.training.callbacks import Callback
from tests.strategies.cases import make_dataset

ALPHAS = (0.0, 0.4, 0.9)


@pytest.fixture
def data() -> tuple[Dataset, Split]:
    dataset = make_dataset("node", "single-label")
    order = np.random.default_rng(0).permutation(dataset.num_samples)
    return dataset, Split(*(np.sort(order[start::3]) for start in range(3)))


def trained(strategy: str, **options: Any) -> dict[str, Any]:
    """The strategy and, if it trains students, these options."""
    return {"strategy": strategy, **({} if strategy == "label-propagation" else options)}


def graph_of(dataset: Dataset, split: Split) -> LabelledGraph:
    return labelled_graph_of(dataset, split, lambda candidates: 0)


def propagated(dataset: Dataset, split: Split, **options: Any) -> Matrix:
    chosen = LabelPropagation.Options(**options)
    (found,) = LabelPropagation.propagate(chosen, [], graph_of(dataset, split))
    return found


def test_label_propagation_is_scikit_learn_s(data: tuple[Dataset, Split]) -> None:
    from sklearn.semi_supervised import LabelPropagation as Theirs

    dataset, split = data
    adjacency = graph_of(dataset, split).adjacency.toarray()
    known = np.full(dataset.num_samples, -1)
    known[split.train] = dataset.labels[split.train]
    # Its rows must have neighbours; a loop at a node without any changes nothing else.
    adjacency[np.diag_indices_from(adjacency)] = adjacency.sum(1) == 0
    theirs = Theirs(kernel=lambda x, y=None: adjacency, max_iter=2000, tol=1e-12).fit(np.zeros((len(known), 1)), known)
    ours = propagated(dataset, split, alphas=[1.0], steps=2000)
    reached = theirs.label_distributions_.sum(1) > 0
    np.testing.assert_allclose(ours[reached], theirs.label_distributions_[reached], atol=1e-8)
    assert reached.sum() > len(split.train)


def test_nodes_that_no_label_reaches_get_the_shares_of_the_classes() -> None:
    dataset = Dataset.from_arrays(edges=np.array([[0, 1], [1, 0]]), features=np.eye(4), labels=np.array([0, 1, 1, 0]), task="node")
    found = propagated(dataset, Split(np.array([0, 2]), np.array([1]), np.array([3])), alphas=[0.5])
    np.testing.assert_allclose(found, [[1, 0], [1, 0], [0, 1], [0.5, 0.5]])


def test_a_node_that_is_reached_by_classes_alike_does_not_get_their_shares() -> None:
    edges = np.array([[0, 1], [2, 2]])
    dataset = Dataset.from_arrays(edges=edges, features=np.eye(5), labels=np.array([0, 1, 0, 1, 1]), task="node")
    found = propagated(dataset, Split(np.array([0, 1, 3]), np.array([2]), np.array([4])), alphas=[0.5])
    np.testing.assert_allclose(found[[2, 4]], [[1 / 2, 1 / 2], [1 / 3, 2 / 3]])


def test_a_label_spreads_along_a_path_and_an_edge_counts_in_both_directions() -> None:
    edges = np.array([[0, 1, 2, 3], [1, 2, 3, 4]])
    dataset = Dataset.from_arrays(edges=edges, features=np.eye(5), labels=np.array([0, 0, 1, 1, 1]), task="node")
    found = propagated(dataset, Split(np.array([0, 4]), np.array([1]), np.array([2, 3])), alphas=[1.0], steps=1000)
    np.testing.assert_allclose(found[:, 0], [1, 0.75, 0.5, 0.25, 0], atol=1e-9)


@pytest.mark.skipif(importlib.util.find_spec("torch_geometric") is None, reason="torch_geometric is not installed (extra: reference)")
@pytest.mark.parametrize("alpha_1", ALPHAS[1:])
@pytest.mark.parametrize("alpha_2", ALPHAS[1:])
def test_correct_and_smooth_is_torch_geometric_s(alpha_1: float, alpha_2: float, data: tuple[Dataset, Split]) -> None:
    from torch_geometric.nn import CorrectAndSmooth as Theirs

    dataset, split = data
    graph = graph_of(dataset, split)
    prediction = torch.rand(
        dataset.num_samples, graph.num_classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).softmax(1)
    coo = graph.adjacency.tocoo()
    edges = torch.as_tensor(np.stack([coo.row, coo.col]), dtype=torch.int64)
    train = torch.as_tensor(split.train)
    theirs = Theirs(20, alpha_1, 20, alpha_2, autoscale=True)
    y = torch.as_tensor(dataset.labels[split.train])
    degrees = torch.as_tensor(graph.adjacency.sum(1)).flatten()
    weight = degrees.pow(-0.5)[edges[0]] * degrees.pow(-0.5)[edges[1]]
    corrected = theirs.correct(prediction, y, train, edges, weight)
    np.testing.assert_allclose(correct(prediction.numpy(), graph, alpha_1, 20), corrected, atol=1e-9)
    guess = corrected.clone()
    guess[train] = torch.nn.functional.one_hot(y, graph.num_classes).double()
    # `Theirs.smooth` clamps each step to [0, 1], which the paper does not.
    smoothed = theirs.prop2(guess, edges, edge_weight=weight, post_step=lambda x: x)
    np.testing.assert_allclose(smooth(corrected.numpy(), graph, alpha_2, 20), smoothed, atol=1e-9)


def test_without_spreading_nothing_is_smoothed_but_training_nodes(data: tuple[Dataset, Split]) -> None:
    dataset, split = data
    graph = graph_of(dataset, split)
    prediction = np.random.default_rng(1).dirichlet(np.ones(graph.num_classes), dataset.num_samples)
    rest = np.setdiff1d(np.arange(dataset.num_samples), split.train)
    np.testing.assert_array_equal(smooth(prediction, graph, 0.0, 5)[rest], prediction[rest])
    np.testing.assert_array_equal(correct(prediction, graph, 0.0, 5)[rest], prediction[rest])
    perfect = prediction.copy()
    perfect[split.train] = graph.labels[split.train]  # nothing is missed, so nothing is corrected
    np.testing.assert_array_equal(correct(perfect, graph, 0.9, 5), perfect)


@pytest.mark.parametrize("strategy", BASELINES)
def test_validation_chooses_and_test_labels_reach_nothing(strategy: str, data: tuple[Dataset, Split]) -> None:
    dataset, split = data
    options = {"seed": 0, "split": split, **trained(strategy, students="gcn,mlp", training={"epochs": 5})}
    result = dgl_mutual.fit(dataset, **options)
    labels = np.array(dataset.labels)
    labels[split.test] = (labels[split.test] + 1) % dataset.target.num_outputs
    other = dgl_mutual.fit(replace(dataset, labels=labels), **options)
    for member in result.members:
        if member.member not in ("mean",):
            name = member.member
            np.testing.assert_array_equal(result.predict(member=name), other.predict(member=name))
        assert (member.train, member.val) == (other[member.member].train, other[member.member].val)


@pytest.mark.parametrize("strategy", BASELINES)
def test_figures_are_of_the_predictions(strategy: str, data: tuple[Dataset, Split]) -> None:
    dataset, split = data
    result = dgl_mutual.fit(dataset, split=split, **trained(strategy, students="gcn,mlp", training={"epochs": 5}))
    for name in ["ensemble", "best_by_val", *result.cohort.names]:
        probabilities = result.predict(member=name)
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
        right = probabilities.argmax(1) == dataset.labels
        assert result[name].test == pytest.approx(right[split.test].mean())
        assert result[name].val == pytest.approx(right[split.val].mean())
    with pytest.raises(UsageError, match="none for other data"):
        result.predict(make_dataset("node", "single-label"))
    assert "label-propagation" not in [member.member for member in result.members] or result.members[0].parameters == 0
    assert repr(result)


class _Chosen:
    """The best of candidates by accuracy on some nodes."""

    def __init__(self, labels: Any, nodes: Any) -> None:
        self.labels, self.nodes = labels, nodes

    def __call__(self, candidates: Sequence[Matrix]) -> int:
        return int(np.argmax([(one.argmax(1) == self.labels)[self.nodes].mean() for one in candidates]))


def test_each_student_is_changed_by_the_alphas_that_are_best_for_it(data: tuple[Dataset, Split]) -> None:
    dataset, split = data
    best = _Chosen(dataset.labels, split.val)
    graph = labelled_graph_of(dataset, split, best)
    predictions = [np.random.default_rng(seed).dirichlet(np.ones(graph.num_classes), dataset.num_samples) for seed in range(3)]
    options = CorrectAndSmooth.Options(correct_alphas=ALPHAS, smooth_alphas=ALPHAS)
    for changed, prediction in zip(CorrectAndSmooth.propagate(options, predictions, graph), predictions, strict=True):
        all_pairs = [smooth(correct(prediction, graph, one, 50), graph, other, 50) for one in ALPHAS for other in ALPHAS]
        np.testing.assert_array_equal(changed.argmax(1), all_pairs[best(all_pairs)].argmax(1))


def test_saved_students_are_those_that_were_trained(data: tuple[Dataset, Split], tmp_path: Path) -> None:
    dataset, split = data
    same = {"students": "gcn", "split": split, "training": {"epochs": 5}}
    result = dgl_mutual.fit(dataset, strategy="correct-and-smooth", **same)  # type: ignore[arg-type]  # plain values
    plain = dgl_mutual.fit(dataset, strategy="independent", **same)  # type: ignore[arg-type]
    result.save(tmp_path / "saved")
    loaded = dgl_mutual.load_student(tmp_path / "saved" / "gcn-0.safetensors")
    np.testing.assert_array_equal(loaded.predict(dataset), plain.predict(member="gcn-0"))
    untrained = dgl_mutual.fit(dataset, strategy="label-propagation", split=split)
    with pytest.raises(UsageError, match="no students to save"):
        untrained.save(tmp_path / "other")
    with pytest.raises(UsageError, match="no students, so there are no hidden states"):
        untrained.embeddings()


def test_a_custom_baseline_may_be_derived(data: tuple[Dataset, Split]) -> None:
    class Mine(LabelPropagation):
        pass

    dataset, split = data
    assert dgl_mutual.fit(dataset, strategy=Mine, split=split, seed=0).members[0].member == "Mine"


@pytest.mark.parametrize("strategy", BASELINES)
def test_unsupported_data_and_options_are_refused(strategy: str, data: tuple[Dataset, Split], tmp_path: Path) -> None:
    dataset, _ = data
    with pytest.raises(UsageError, match="is a graph task"):
        resolve(parse_config({"strategy": strategy}), make_dataset("graph", "single-label"))
    several, parts = make_dataset("node", "multi-label"), Split(*np.split(np.arange(30), 3))
    with pytest.raises(UsageError, match="is multi-label"):
        dgl_mutual.fit(several, split=parts, **trained(strategy, students="gcn", training={"epochs": 1}))
    with pytest.raises(UsageError, match="Leave out 'distill'"):
        resolve(parse_config({"strategy": strategy, "distill": {}}), dataset)
    if strategy == "label-propagation":
        with pytest.raises(UsageError, match="cannot be tuned"):
            tune(parse_config({"strategy": strategy, "protocol": "public"}), dataset, trials=1, out=tmp_path)


class _Watching(Callback):
    pass


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"students": "gcn"}, "students"),
        ({"students": ["gcn", "mlp"], "callbacks": _Watching()}, "students, callbacks"),
        ({"training": {"epochs": 5, "learning_rate": 0.1}}, r"training\.epochs, training\.learning_rate"),
        ({"student": {"hidden": 8}}, r"student\.hidden"),
    ],
)
def test_what_is_of_no_use_without_training_is_refused(given: dict[str, Any], named: str, data: tuple[Dataset, Split]) -> None:
    dataset, split = data
    with pytest.raises(UsageError, match=f"'label-propagation' trains nothing, so .* no effect: {named}\\. Leave them out"):
        dgl_mutual.fit(dataset, strategy="label-propagation", split=split, **given)
    dgl_mutual.fit(dataset, strategy="label-propagation", split=split, config={"students": "gcn"}, callbacks=[])  # of another run, perhaps


def test_commands_refuse_it_too() -> None:
    flags = {"students": "gcn", "noise": "feature:0.2"}
    with pytest.raises(UsageError, match="students, noise in features, --track"):
        refuse_untrained("label-propagation", flags, ["--track"])
    refuse_untrained("label-propagation", {"noise": "edge:0.2", "seeds": 2, "strategy_options": {"steps": 3}})
    refuse_untrained("correct-and-smooth", flags, ["--track"])


def _one_node(value: float) -> Callable[[Matrix], Any]:
    def change(p: Matrix) -> Any:
        changed = p.copy()
        changed[0] = value
        return [changed]

    return change


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda p: 1 / 0, UsageError, r"raised an error: ZeroDivisionError: .*test_baselines\.py, line"),
        (lambda p: p, UsageError, "returns an ndarray. It must return a list of 1"),
        (lambda p: p[None], UsageError, "returns an ndarray. It must return a list of 1"),
        (lambda p: None, UsageError, "returns None. It must return a list of 1"),
        (lambda p: [p, p], UsageError, "returns 2 values. It must return a list of 1"),
        (lambda p: [p.tolist()], UsageError, "returns a list for a member"),
        (lambda p: [p[:, :2]], UsageError, r"returns an array \(\d+, 2\) of float64 for a member.*of the shape \(\d+, 3\)"),
        (lambda p: [p > 0.5], UsageError, "of bool for a member"),
        (lambda p: [p - 1], UsageError, "numbers that are not probabilities"),
        (lambda p: [2 * p], UsageError, "numbers that are not probabilities"),
        (_one_node(np.nan), TrainingError, "not finite, first for node 0"),
        (_one_node(np.inf), TrainingError, "not finite, first for node 0"),
    ],
)
@pytest.mark.parametrize("base", [LabelPropagation, CorrectAndSmooth])
def test_predictions_of_a_custom_strategy_are_checked(
    base: type[Any], change: Callable[[Matrix], Any], error: type[Exception], said: str, data: tuple[Dataset, Split]
) -> None:
    """Also for nodes that belong to no part of the split."""
    dataset, split = data
    split = Split(np.setdiff1d(split.train, [0]), np.setdiff1d(split.val, [0]), np.setdiff1d(split.test, [0]))

    class Mine(base):  # type: ignore[misc]  # a class of the parameters
        @classmethod
        def propagate(cls, options: Any, predictions: Any, graph: LabelledGraph) -> Any:
            return change(np.full((graph.num_nodes, graph.num_classes), 1 / graph.num_classes))

    options = {} if base is LabelPropagation else {"students": "gcn", "training": {"epochs": 1}}
    with pytest.raises(error, match=f"propagate of the strategy 'Mine' .*{said}"):
        dgl_mutual.fit(dataset, strategy=Mine, split=split, **options)
