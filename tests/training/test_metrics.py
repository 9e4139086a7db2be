"""Scores against scikit-learn and OGB's own evaluators."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.sources import ogb_package
from dgl_mutual.data.sources.ogb_package import make_evaluator
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import MetricName
from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.training.evaluation.metrics import accuracy, make_metric
from dgl_mutual.training.evaluation.task_metrics import Scorer, refuse_undefined, undefined_metrics
from dgl_mutual.training.result import FitResult

MEMBERS, N, C = 3, 60, 4


def one_task(metric: MetricName, evaluator: str | None = None) -> Scorer:
    return Scorer({"": (None, make_metric(metric, evaluator))})


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(MEMBERS, N, C, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def many_labels() -> Tensor:
    """Four labels with unknown entries; the last has no positive among the known."""
    random = torch.Generator().manual_seed(1)
    labels = (torch.rand(N, C, generator=random) < 0.4).float()
    labels[torch.rand(N, C, generator=random) < 0.3] = torch.nan
    labels[:, 3] = torch.where(labels[:, 3].isnan(), torch.nan, 0.0)
    return labels


def test_accuracy_equals_sklearn_over_known_labels(logits: Tensor) -> None:
    labels = torch.randint(-1, C, (N,), generator=torch.Generator().manual_seed(1))
    known = labels >= 0
    assert 0 < known.sum() < N
    expected = [accuracy_score(labels[known], member.argmax(-1)[known]) for member in logits]
    assert accuracy(logits, labels) == pytest.approx(expected, rel=1e-12)
    assert make_metric("accuracy")(logits, labels) == accuracy(logits, labels)


@pytest.mark.parametrize("name", ["acuracy", "mean"])
def test_an_unknown_metric_is_refused(name) -> None:
    with pytest.raises(UsageError, match=f"Unknown metric '{name}'.*accuracy, balanced-accuracy"):
        make_metric(name)


@pytest.mark.parametrize("metric", ["accuracy", "balanced-accuracy", "macro-f1"])
def test_metrics_of_classes_without_known_labels_are_nan(metric, logits: Tensor) -> None:
    assert np.isnan(make_metric(metric)(logits, torch.full((N,), -1))).all()


@pytest.mark.parametrize("shares", [(0.25, 0.25, 0.25, 0.25), (0.95, 0.05, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)])
@pytest.mark.parametrize("hidden", [0.0, 0.4])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_of_unbalanced_classes_equal_sklearn(shares: tuple[float, ...], hidden: float, logits: Tensor) -> None:
    """Classes that are never true, never predicted, or neither, among them."""
    random = np.random.default_rng(1)
    labels = random.choice(C, N, p=shares)
    labels[random.random(N) < hidden] = -1
    known = labels >= 0
    logits[1, :, 2:] -= 100  # a member that never predicts the last two
    decided = logits.argmax(-1).numpy()
    expected = {
        "balanced-accuracy": [balanced_accuracy_score(labels[known], member[known]) for member in decided],
        "macro-f1": [f1_score(labels[known], member[known], average="macro", zero_division=0) for member in decided],
    }
    for metric, values in expected.items():
        assert make_metric(metric)(logits, torch.as_tensor(labels)) == pytest.approx(values, rel=1e-12)


def test_macro_f1_of_labels_equals_sklearn(logits: Tensor, many_labels: Tensor) -> None:
    """Over the known entries of each label; the last label has no positive, and is never predicted by one member."""
    logits[1, :, 3] = -1
    expected = []
    for member in logits:
        known = ~many_labels.isnan()
        columns = [(many_labels[known[:, c], c], member[known[:, c], c] > 0) for c in range(C)]
        expected.append(np.mean([f1_score(true, found, zero_division=0) for true, found in columns]))
    assert make_metric("macro-f1")(logits, many_labels) == pytest.approx(expected, rel=1e-12)
    complete = many_labels.nan_to_num(nan=0.0)
    expected = [f1_score(complete, member > 0, average="macro", zero_division=0) for member in logits]
    assert make_metric("macro-f1")(logits, complete) == pytest.approx(expected, rel=1e-12)


def test_macro_f1_leaves_out_labels_without_known_values(logits: Tensor, many_labels: Tensor) -> None:
    macro_f1 = make_metric("macro-f1")
    before = macro_f1(logits[..., :2], many_labels[:, :2])
    many_labels[:, 2] = torch.nan
    assert macro_f1(logits[..., :3], many_labels[:, :3]) == pytest.approx(before, rel=1e-12)
    assert all(math.isnan(value) for value in macro_f1(logits, torch.full((N, C), math.nan)))


def test_rocauc_of_two_classes_equals_sklearn(logits: Tensor) -> None:
    labels = torch.randint(-1, 2, (N,), generator=torch.Generator().manual_seed(1))
    known, two = labels >= 0, logits[..., :2]
    expected = [roc_auc_score(labels[known], member.softmax(-1)[known, 1]) for member in two]
    assert make_metric("rocauc")(two, labels) == pytest.approx(expected, rel=1e-12)
    assert all(math.isnan(value) for value in make_metric("rocauc")(two, torch.full((N,), -1)))
    with pytest.raises(TrainingError, match=f"not defined on these {N} samples"):
        make_metric("rocauc")(two, torch.ones(N, dtype=torch.long))


@pytest.mark.parametrize(("metric", "function"), [("rocauc", roc_auc_score), ("ap", average_precision_score)])
def test_ranking_metrics_are_means_over_labels_with_both_classes(metric, function, logits: Tensor, many_labels: Tensor) -> None:
    expected = []
    for member in logits.numpy():
        columns = []
        for column in range(3):
            truth = many_labels.numpy()[:, column]
            rows = [row for row in range(N) if truth[row] == truth[row]]
            columns.append(function(truth[rows], member[rows, column]))
        expected.append(sum(columns) / 3)
    assert make_metric(metric)(logits, many_labels) == pytest.approx(expected, rel=1e-12)


def test_rocauc_equals_sklearn_where_scores_are_tied() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randint(-3, 4, (MEMBERS, 501, 2), generator=random) / 7
    logits[1] = 0.25
    labels = (torch.rand(501, 2, generator=random) < torch.tensor([0.02, 0.5])).float()
    labels[::5, 1] = torch.nan
    known = ~labels[:, 1].isnan()
    expected = [(roc_auc_score(labels[:, 0], member[:, 0]) + roc_auc_score(labels[known, 1], member[known, 1])) / 2 for member in logits]
    assert expected[1] == 0.5
    assert make_metric("rocauc")(logits, labels) == pytest.approx(expected, rel=1e-12)


def test_rocauc_by_hand() -> None:
    """Of four pairs (positive, negative) three stand in the right order."""
    logits = torch.tensor([[[0.9], [0.1], [0.5], [0.4], [9.0]]])
    labels = torch.tensor([[1.0], [0.0], [0.0], [1.0], [torch.nan]])
    assert make_metric("rocauc")(logits, labels) == [0.75]


def test_micro_f1_equals_sklearn(logits: Tensor, many_labels: Tensor) -> None:
    known = ~many_labels.isnan()
    expected = [f1_score(many_labels[known], member[known] > 0) for member in logits]
    assert make_metric("micro-f1")(logits, many_labels) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "metric"), [("ogbg-molbbbp", "rocauc"), ("ogbg-moltox21", "rocauc"), ("ogbg-molpcba", "ap")])
def test_ogb_sets_are_scored_by_ogb_and_like_our_own_metric(name: str, metric) -> None:
    from ogb.graphproppred import Evaluator

    judge = Evaluator(name)
    random = torch.Generator().manual_seed(0)
    labels = (torch.rand(N, judge.num_tasks, generator=random) < 0.4).float()
    labels[::7, 0] = torch.nan
    logits = torch.randn(MEMBERS, N, judge.num_tasks, generator=random)
    expected = [judge.eval({"y_true": labels.numpy(), "y_pred": member.numpy()})[metric] for member in logits]
    assert make_metric(metric, evaluator=name)(logits, labels) == pytest.approx(expected, rel=1e-12)
    assert make_metric(metric)(logits, labels) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["ogbg-molhiv", "ogbn-arxiv", "ogbn-proteins"])
def test_ogb_evaluators_print_nothing(name: str) -> None:
    with redirect_stdout(io.StringIO()) as said:
        judge = make_evaluator(name)
    assert said.getvalue() == ""
    assert (judge.name, judge.eval_metric) == (name, "acc" if name == "ogbn-arxiv" else "rocauc")
    truth = np.arange(6).reshape(3, 2) % 2 if judge.num_tasks == 2 else np.tile(np.arange(4)[:, None] % 2, (1, judge.num_tasks))
    assert judge.eval({"y_true": truth, "y_pred": truth.copy()}) == {judge.eval_metric: 1.0}


def test_reported_metrics_are_those_of_ogbs_evaluator(
    fit: Callable[..., FitResult], multi_label_data: tuple[Dataset, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once, after training; every epoch has the same metric without it."""
    judge = SimpleNamespace(eval_metric="rocauc", eval=lambda given: {"rocauc": 0.125})
    monkeypatch.setattr(ogb_package, "make_evaluator", lambda name: judge)
    dataset, split = multi_label_data
    result = fit((dataset.replaced(evaluator="ogbg-moltox21"), split), ["gcn"], 3, strategy="independent")
    plain = fit(multi_label_data, ["gcn"], 3, strategy="independent")
    assert all((member.train, member.val, member.test) == (0.125,) * 3 for member in result.members)
    assert [row["val/gcn-0"] for row in result.history] == [row["val/gcn-0"] for row in plain.history]
    assert plain.members[0].val != 0.125


@pytest.mark.parametrize("evaluator", [None, "ogbg-molbbbp"])
def test_a_metric_that_is_not_defined_is_an_error(evaluator: str | None) -> None:
    rocauc = make_metric("rocauc", evaluator)
    for labels in (torch.zeros(5, 1), torch.tensor([[1.0], [torch.nan], [1.0]]), torch.zeros(0, 1)):
        with pytest.raises(TrainingError, match=f"not defined on these {len(labels)} samples.*choose another split"):
            rocauc(torch.zeros(1, len(labels), 1), labels)


@pytest.mark.parametrize(("part", "metric"), [("train", "accuracy"), ("val", "accuracy"), ("train", "rocauc"), ("val", "rocauc")])
def test_undefined_metrics_are_refused_before_training(
    part: str, metric, node_data: tuple[Dataset, Split], multi_label_data: tuple[Dataset, Split]
) -> None:
    dataset, split = node_data if metric == "accuracy" else multi_label_data
    labels = dataset.labels.copy()
    scorer = one_task(metric)
    refuse_undefined(scorer, torch.as_tensor(labels), split, dataset.target.num_outputs)
    labels[getattr(split, part)] = -1 if metric == "accuracy" else np.nan
    with pytest.raises(TrainingError, match="not defined on"):
        refuse_undefined(scorer, torch.as_tensor(labels), split, dataset.target.num_outputs)


@pytest.mark.parametrize(("part", "name"), [("train", "training"), ("val", "validation"), ("test", "test")])
def test_the_part_in_which_no_label_has_both_classes_is_named(part: str, name: str, multi_label_data: tuple[Dataset, Split]) -> None:
    dataset, split = multi_label_data
    labels = torch.as_tensor(dataset.labels).clone()
    labels[torch.as_tensor(getattr(split, part))] = 1.0
    with pytest.raises(TrainingError, match=f"On the {name} part of the split: The metric is not defined on these"):
        refuse_undefined(one_task("ap"), labels, split, dataset.target.num_outputs)


def test_unknown_test_labels_do_not_stop_a_training(node_data: tuple[Dataset, Split]) -> None:
    dataset, split = node_data
    labels = torch.as_tensor(dataset.labels).clone()
    labels[torch.as_tensor(split.test)] = -1
    refuse_undefined(one_task("accuracy"), labels, split, 3)


@pytest.mark.parametrize("evaluator", [None, "ogbg-molbbbp"])
@pytest.mark.parametrize("one_class", [False, True])
def test_labels_of_one_class_stop_a_training_and_unknown_test_labels_do_not(
    multi_label_data: tuple[Dataset, Split], evaluator: str | None, one_class: bool
) -> None:
    dataset, split = multi_label_data
    width = 1 if evaluator else dataset.target.num_outputs
    labels, scorer = torch.as_tensor(dataset.labels).clone()[:, :width], one_task("rocauc", evaluator)
    labels[torch.as_tensor(split.test)] = 1.0 if one_class else torch.nan
    if one_class:
        with pytest.raises(TrainingError, match="not defined on"):
            refuse_undefined(scorer, labels, split, width)
    else:
        refuse_undefined(scorer, labels, split, width)
        assert undefined_metrics(scorer, labels, split, width) == [""]


def test_micro_f1_of_nothing() -> None:
    micro_f1 = make_metric("micro-f1")
    assert micro_f1(torch.full((2, 3, 2), -1.0), torch.zeros(3, 2)) == [0.0, 0.0]
    assert all(math.isnan(value) for value in micro_f1(torch.ones(2, 3, 2), torch.full((3, 2), math.nan)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sample", [0, N - 1], ids=["known", "unknown"])
@pytest.mark.parametrize(
    ("metric", "evaluator"),
    [
        *(("accuracy", None), ("accuracy", "ogbn-arxiv"), ("balanced-accuracy", None), ("classes' macro-f1", None)),
        *(("micro-f1", None), ("macro-f1", None), ("rocauc", None), ("ap", None)),
    ],
)
def test_no_metric_takes_a_logit_that_is_not_finite(metric, evaluator: str | None, sample: int, value: float, logits: Tensor) -> None:
    """Not even on a sample without a label: of NaN, the decision is always the first class."""
    of_classes = "accuracy" in metric or "classes" in metric
    labels = torch.arange(N) % C if of_classes else (torch.rand(N, C, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    labels[-1] = -1 if of_classes else math.nan
    scorer = one_task(metric.removeprefix("classes' "), evaluator)
    assert len(scorer.scores(logits, labels, ["gcn", "gat", "gin"]).overall) == MEMBERS
    logits[1, sample, 2] = value
    with pytest.raises(TrainingError, match=rf"Logits are not finite.*: gat \(1 of {N} samples\)\. Likely causes"):
        scorer.scores(logits, labels, ["gcn", "gat", "gin"])
