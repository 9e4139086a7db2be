"""Several tasks at once, trained: what a run of them says of each, and that one task alone is what it always was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.several_targets import one_by_one, select_targets
from dgl_mutual.data.values.target import Target, join_targets
from dgl_mutual.errors import DataError, StoreError, TrainingError, UsageError
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.distill import distill
from dgl_mutual.training.evaluation.task_metrics import scorer_of
from dgl_mutual.training.options import DistillOptions
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.seeds import TrialSeed
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.trial_data import make_trial_data
from tests.training.conftest import Data, Fit

MARKS = ("p", "q", "r")


@pytest.fixture(params=["node", "graph"])
def several(request: pytest.FixtureRequest) -> Data:
    """Classes of which some are unknown, and three labels each, a fifth of them unknown."""
    dataset, split = request.getfixturevalue(f"{request.param}_data")
    random = np.random.default_rng(2)
    marks = (random.random((dataset.num_samples, 3)) < 0.2 + 0.6 * (dataset.labels[:, None] == 1)).astype(np.float32)
    marks[random.random(marks.shape) < 0.2] = np.nan
    classes = np.where(random.random(dataset.num_samples) < 0.1, -1, dataset.labels)
    targets = [replace(dataset.target, name="kind"), Target("multi-label", MARKS, "rocauc", "marks")]
    labels, target = join_targets(targets, [classes, marks])
    return replace(dataset, target=target, labels=labels), split


def strategy_options(strategy: str) -> dict[str, object]:
    return {"target": "naive"} if strategy == "kdcl" else {}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trains_all_tasks_and_says_how_well_each_does(several: Data, fit: Fit, strategy: str) -> None:
    dataset, split = several
    result = fit(several, strategy=strategy, strategy_options=strategy_options(strategy), epochs=3)
    assert list(result.tasks) == ["accuracy(kind)", "rocauc(marks)"]
    kind, marks = one_by_one(dataset)
    for index, member in enumerate(result.members):
        in_tasks = [members[index] for members in result.tasks.values()]
        assert {found.member for found in in_tasks} == {member.member}
        for part in ("train", "val", "test"):
            assert getattr(member, part) == pytest.approx(fmean(getattr(found, part) for found in in_tasks), abs=1e-9)
        if member.member in result.cohort.names:
            p = result.predict(member=member.member)[split.test]
            classes, labels = kind.labels[split.test], marks.labels[split.test]
            known = classes >= 0
            assert in_tasks[0].test == pytest.approx(accuracy_score(classes[known], p[known][:, : len(kind.target.names)].argmax(1)))
            seen = ~np.isnan(labels)
            areas = [roc_auc_score(labels[seen[:, c], c], p[seen[:, c], len(kind.target.names) + c]) for c in range(3)]
            assert in_tasks[1].test == pytest.approx(np.mean(areas))
    best = next(member for member in result.members if member.member == "best_by_val")
    assert best.val == max(member.val for member in result.members[: result.cohort.num_students])


def test_history_follows_each_task_and_their_mean(several: Data, fit: Fit) -> None:
    for row in fit(several).history:
        for name in ("train/gcn-0", "val/sage-1", "val/ensemble"):
            assert row[name] == pytest.approx(fmean(row[f"{metric}/{name}"] for metric in ("accuracy(kind)", "rocauc(marks)")))


@pytest.mark.parametrize("strategy", ["gml", "bgnn", "dml", "kdcl"])
@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_a_joint_of_one_task_is_that_task(request: pytest.FixtureRequest, fit: Fit, strategy: str, kind: str) -> None:
    data: Data = request.getfixturevalue("node_data" if kind == "single-label" else "multi_label_data")
    dataset, split = data
    labels, target = join_targets([replace(dataset.target, name="only")], [dataset.labels])
    # In double precision: rounding would turn decisions between labels that are as likely as not, differently on each processor.
    options = {"strategy": strategy, "strategy_options": strategy_options(strategy), "dtype": torch.float64}
    alone, joint = fit(data, **options), fit((replace(dataset, target=target, labels=labels), split), **options)
    # Not the weights: a bias before a batch norm has a gradient of zero but for rounding, which Adam makes a step of.
    for ours, theirs in zip(alone.history, joint.history, strict=True):
        assert {name: theirs[name] for name in ours} == pytest.approx(ours, rel=1e-5)
    assert [member.test for member in alone.members] == [member.test for member in joint.members]


def test_the_order_of_tasks_permutes_metrics(several: Data) -> None:
    dataset, _ = several
    turned = select_targets(dataset, ["marks", "kind"])
    logits = torch.randn(2, dataset.num_samples, dataset.target.num_outputs)
    width = len(dataset.target.names) - 3
    moved = torch.cat([logits[..., width:], logits[..., :width]], dim=-1)
    scores = scorer_of(dataset).scores(logits, torch.as_tensor(dataset.labels), ["a", "b"])
    permuted = scorer_of(turned).scores(moved, torch.as_tensor(turned.labels), ["a", "b"])
    assert list(permuted.by_task) == list(scores.by_task)[::-1]
    assert permuted.by_task == scores.by_task and permuted.overall == pytest.approx(scores.overall)


def test_uncertainty_learns_weights_that_the_history_tells(several: Data, fit: Fit) -> None:
    history = fit(several, epochs=5, task_weights="uncertainty").history
    assert [history[0][f"task_weight/{name}"] for name in ("kind", "marks")] == [1.0, 1.0]
    assert all(history[-1][f"task_weight/{name}"] != 1.0 for name in ("kind", "marks"))
    assert not any(name.startswith("task_weight") for name in fit(several, epochs=1).history[0])


def test_a_snapshot_of_a_training_with_other_weights_of_tasks_is_refused(several: Data, fit: Fit, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "s", 1)
    fit(several, epochs=2, snapshots=snapshots)
    with pytest.raises(StoreError, match=r"a different training: it has other task weights\. Remove it"):
        fit(several, epochs=2, task_weights="uncertainty", snapshots=snapshots)


def test_students_come_back_from_files_and_predict_all_tasks(several: Data, fit: Fit, tmp_path: Path) -> None:
    dataset, split = several
    result = distill(
        fit(several, task_weights="uncertainty"),
        make_trial_data(dataset, split, 0.0, seed=0),
        DistillOptions(epochs=2),
        seed=TrialSeed(),
    )
    assert [members[-1].member for members in result.tasks.values()] == ["mlp", "mlp"]
    assert result["mlp"].val == pytest.approx(fmean(members[-1].val for members in result.tasks.values()))
    result.save(tmp_path)
    for member in ("gcn-0", "ensemble"):
        loaded = load_student(tmp_path, member)
        assert loaded.target == dataset.target
        np.testing.assert_array_equal(loaded.predict(dataset), result.predict(member=member))
    p = load_student(tmp_path, "mlp").predict(dataset)
    width = dataset.target.num_outputs - 3
    np.testing.assert_allclose(p[:, :width].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(("old", "new"), [('"name": "marks"', '"name": ""'), ('"kind": "joint"', '"kind": "multi-label"')])
def test_a_description_that_contradicts_itself_is_refused(several: Data, fit: Fit, tmp_path: Path, old: str, new: str) -> None:
    fit(several, epochs=1).save(tmp_path)
    description = tmp_path / "gcn-0.json"
    text = description.read_text()
    assert old in text
    description.write_text(text.replace(old, new))
    with pytest.raises(DataError, match="not a description"):
        load_student(tmp_path / "gcn-0.safetensors")


@pytest.mark.parametrize(
    ("columns", "message"), [(slice(0, 1), "none of its 20 samples has a known label"), (slice(1, 4), r"rocauc\(marks\) is not defined")]
)
def test_a_task_that_cannot_be_scored_is_named_before_training(
    request: pytest.FixtureRequest, fit: Fit, columns: slice, message: str
) -> None:
    dataset, split = request.getfixturevalue("graph_data")
    marks = np.stack([np.arange(40) % 2, np.arange(40) // 2 % 2, np.arange(40) // 4 % 2], axis=1).astype(np.float32)
    targets = [replace(dataset.target, name="kind"), Target("multi-label", MARKS, "rocauc", "marks")]
    labels, target = join_targets(targets, [dataset.labels, marks])
    labels[split.train, columns] = np.nan
    with pytest.raises(TrainingError, match=message):
        fit((replace(dataset, target=target, labels=labels), split))


def apart(result: FitResult, samples: np.ndarray) -> list[float]:
    """How far two students disagree on the classes, and on the three labels."""
    a, b = (result.predict(member=name)[samples] for name in result.cohort.names)
    return [(a[:, :-3].argmax(1) != b[:, :-3].argmax(1)).mean(), ((a[:, -3:] > 0.5) != (b[:, -3:] > 0.5)).mean()]


def test_disagreement_is_that_of_each_task_and_overall_that_of_all_labels(several: Data, fit: Fit) -> None:
    result = fit(several, ("gcn", "sage"), epochs=1, strategy="independent")
    kind, marks = apart(result, several[1].test)
    assert kind != marks
    assert result.disagreement_by_task == {"accuracy(kind)": pytest.approx(kind), "rocauc(marks)": pytest.approx(marks)}
    assert result.disagreement == pytest.approx((kind + 3 * marks) / 4)


def test_minlogit_needs_classes_everywhere(several: Data, fit: Fit) -> None:
    with pytest.raises(UsageError, match="target=naive or mean"):
        fit(several, strategy="kdcl")


def test_a_label_of_an_ogb_set_is_scored_by_itself() -> None:
    """The set's own evaluator asks for all of its labels."""
    target = Target("multi-label", ("task 0", "task 1"), "rocauc")
    labels = np.array([[1, 0], [0, np.nan], [1, 1], [0, 0]], dtype=np.float32)
    both = replace(Dataset.from_arrays([[], []], np.ones((4, 1))), labels=labels, target=target, evaluator="ogbg-molclintox")
    one = select_targets(both, ["task 1"])
    logits = torch.tensor([[[0.3], [0.9], [0.1], [0.2]]])
    assert scorer_of(one).scores(logits, torch.as_tensor(one.labels), ["a"]).overall == [0.0]
    assert scorer_of(both).scores(torch.cat([-logits, -logits], -1), torch.as_tensor(labels), ["a"]).overall == [(0.75 + 1.0) / 2]
