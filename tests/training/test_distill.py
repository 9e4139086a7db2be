from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.scaling import column_scales, with_scaled_columns
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.distill import distill
from dgl_mutual.training.feeds import Feed, make_feed
from dgl_mutual.training.options import DistillOptions, TrainingOptions
from dgl_mutual.training.seeds import TrialSeed
from dgl_mutual.training.trial_data import make_trial_data
from tests.cohorts import train_cohort
from tests.strategies.cases import SMALL, make_dataset

STUDENTS = [StudentOptions(architecture=name, **SMALL) for name in ("gcn", "sage")]
QUICK = {"hidden": 16, "dropout": 0.0, "epochs": 60, "weight_decay": 0.0}


def split_of(dataset):
    order = np.random.default_rng(0).permutation(dataset.num_samples)
    return Split(*(np.sort(order[start::3]) for start in range(3)))


def fit_and_distill(dataset, *, strategy_options=None, unseen=0.0, **options):
    scene = make_trial_data(dataset, split_of(dataset), unseen, seed=1)
    training = TrainingOptions(epochs=5, batch_size=6)
    result = train_cohort(
        scene.seen, scene.seen_split, students=STUDENTS, strategy="gml", strategy_options=strategy_options, training=training
    )
    return result, distill(result, scene, DistillOptions(**{**QUICK, **options}), seed=TrialSeed(), batch_size=6), scene


def ensemble_that_says(probabilities):
    return mock.patch("dgl_mutual.training.distill.Predictor", return_value=lambda data: probabilities)


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_the_mlp_joins_the_members_and_leaves_them_as_they_were(task, kind):
    before, after, _ = fit_and_distill(make_dataset(task, kind))
    assert after.members[:-1] == before.members
    mlp = after["mlp"]
    num_outputs, width = 3, 5
    assert mlp.parameters == (width + 1) * 16 + (16 + 1) * num_outputs
    assert mlp.inference_ms > 0
    assert all(0 <= value <= 1 for value in (mlp.train, mlp.val, mlp.test))


def test_the_mlp_learns_what_the_ensemble_says_not_the_labels():
    """Validation labels, which choose the epoch, are what the ensemble says, and training labels are others."""
    dataset = make_dataset("node", "single-label")
    scene = make_trial_data(dataset, split_of(dataset), 0.0, seed=1)
    result = train_cohort(dataset, scene.split, students=STUDENTS, training=TrainingOptions(epochs=5))
    ensemble = torch.as_tensor(result.predict()).argmax(-1).numpy()
    split, labels = scene.seen_split, ensemble.copy()
    labels[split.train] = (labels[split.train] + 1) % 3
    judged = replace(dataset, labels=labels)
    scene = replace(scene, seen=judged, dataset=judged)
    after = distill(result, scene, DistillOptions(**{**QUICK, "epochs": 400, "patience": 400}), seed=TrialSeed())
    assert after["mlp"].val > 0.9 and after["mlp"].train < 0.1
    said = after.mlp.forward_batch(Collator(dataset).all()).logits.argmax(-1).numpy()
    assert (said == ensemble)[split.train].mean() > 0.9


def test_the_mlp_ends_at_its_best_epoch_by_validation():
    dataset = make_dataset("node", "single-label")
    scene = make_trial_data(dataset, split_of(dataset), 0.0, seed=1)
    result = train_cohort(dataset, scene.split, students=STUDENTS, training=TrainingOptions(epochs=5))
    long = distill(result, scene, DistillOptions(**{**QUICK, "epochs": 30, "learning_rate": 0.3}), seed=TrialSeed())
    best = long["mlp"].best_epoch
    assert best < 29
    short = distill(result, scene, DistillOptions(**{**QUICK, "epochs": best + 1, "learning_rate": 0.3}), seed=TrialSeed())
    torch.testing.assert_close(long.mlp.state_dict(), short.mlp.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_weight_moves_the_mlp_from_the_ensemble_to_the_labels(weight):
    dataset = make_dataset("graph", "single-label")
    split = split_of(dataset)
    result = train_cohort(dataset, split, students=STUDENTS, training=TrainingOptions(epochs=2, batch_size=6))
    labels = dataset.labels.copy()
    labels[split.train] = (labels[split.train] + 1) % 3
    said = result.predict(dataset)
    found = {}
    for name, data, teacher in (
        ("plain", dataset, said),
        ("other labels", replace(dataset, labels=labels), said),
        ("other teacher", dataset, np.roll(said, 1, axis=1)),
    ):
        scene = make_trial_data(data, split, 0.0, seed=1)
        with ensemble_that_says(teacher):
            options = DistillOptions(**{**QUICK, "epochs": 1, "supervised_weight": weight})
            found[name] = distill(result, scene, options, seed=TrialSeed(), batch_size=6).mlp.weight
    assert torch.equal(found["plain"], found["other labels"]) == (weight == 0)
    assert torch.equal(found["plain"], found["other teacher"]) == (weight == 1)


def test_the_mlp_sees_no_sums_of_edge_features():
    dataset = make_dataset("graph", "single-label")
    kinds = ("number", "edge-sum", "number", "edge-sum", "number")
    summed = np.asarray(dataset.features) * np.float32([1, 7, 1, -3, 1])
    found = []
    for features in (dataset.features, summed):
        data = replace(dataset, features=features, feature_kinds=kinds)
        scene = make_trial_data(data, split_of(data), 0.0, seed=1)
        result = train_cohort(dataset, scene.split, students=STUDENTS, training=TrainingOptions(epochs=2, batch_size=6))
        with ensemble_that_says(result.predict(dataset)):
            mlp = distill(result, scene, DistillOptions(**QUICK), seed=TrialSeed(), batch_size=6).mlp
        found.append(mlp.forward_batch(Collator(data).all()).logits)
        assert not mlp.weight[[1, 3]].any()
    assert torch.equal(*found)


@pytest.mark.parametrize("ratio", [None, 0.5])
def test_graphs_with_hidden_labels_are_learned_from(monkeypatch, ratio):
    seen = []

    class Recording(Feed):
        def __init__(self, feed):
            self._feed = feed

        def training_batches(self):
            for batch in self._feed.training_batches():
                seen.append(batch)
                yield batch

        def add_unlabelled(self, samples, ratio=None):
            self._feed.add_unlabelled(samples, ratio)

        def evaluation_batches(self, samples):
            return self._feed.evaluation_batches(samples)

    dataset = make_dataset("graph", "single-label")
    split = split_of(dataset)
    split = Split(split.train[:2], split.val, split.test, split.train[2:])
    expected = len(split.seen) if ratio is None else 3
    scene = make_trial_data(dataset, split, 0.0, seed=1)
    result = train_cohort(dataset, split, students=STUDENTS, training=TrainingOptions(epochs=2, batch_size=6))
    monkeypatch.setattr("dgl_mutual.training.distill.make_feed", lambda *args, **options: Recording(make_feed(*args, **options)))
    distill(result, scene, DistillOptions(**{**QUICK, "epochs": 1}), seed=TrialSeed(), batch_size=6, unlabelled_ratio=ratio)
    assert sum(len(batch.samples) for batch in seen) == expected
    labelled = torch.cat([batch.samples[batch.labelled] for batch in seen])
    assert sorted(labelled.tolist()) == split.train.tolist()


def test_a_repeat_is_bit_equal_and_seeds_differ():
    dataset = make_dataset("graph", "single-label")
    scene = make_trial_data(dataset, split_of(dataset), 0.0, seed=1)
    result = train_cohort(dataset, scene.split, students=STUDENTS, training=TrainingOptions(epochs=2, batch_size=6))
    options = DistillOptions(**{**QUICK, "dropout": 0.5, "positions": 2, "supervised_weight": 0.5})
    first, again, other = (distill(result, scene, options, seed=TrialSeed(seed)) for seed in (3, 3, 4))
    assert replace(first["mlp"], inference_ms=0.0) == replace(again["mlp"], inference_ms=0.0)
    assert torch.equal(first.mlp.weight, again.mlp.weight)
    assert not torch.equal(first.mlp.weight, other.mlp.weight)


@pytest.mark.parametrize("task", ["node", "graph"])
def test_an_mlp_that_learned_from_scaled_inputs_takes_plain_ones(task):
    dataset = make_dataset(task, "single-label")
    dataset = replace(dataset, features=np.asarray(dataset.features) * np.float32([1e-3, 300, 1, 1, 300]))
    scene = make_trial_data(dataset, split_of(dataset), 0.0, seed=1)
    result = train_cohort(dataset, scene.split, students=STUDENTS, training=TrainingOptions(epochs=2, batch_size=6))
    scaled = with_scaled_columns(dataset, column_scales(dataset, scene.split))
    options = DistillOptions(**QUICK)
    # The cohort takes features as they are, so what it says of them is what the other MLP learns from, too.
    said = result.predict(dataset)
    with ensemble_that_says(said):
        there = distill(result, replace(scene, seen=scaled, dataset=scaled), options, seed=TrialSeed(3), batch_size=6)["mlp"]
    here, plain = (distill(result, scene, options, seed=TrialSeed(3), batch_size=6, scale_inputs=on) for on in (True, False))
    assert replace(here["mlp"], inference_ms=0.0) == replace(there, inference_ms=0.0)
    assert not torch.equal(here.mlp.weight, plain.mlp.weight)
    logits = here.mlp.forward_batch(Collator(dataset).all()).logits
    assert here["mlp"].train == (logits.argmax(1).numpy() == dataset.labels)[scene.split.train].mean()


class TestUnseen:
    def test_training_sees_neither_the_nodes_nor_their_edges(self):
        dataset = make_dataset("node", "single-label")
        split = split_of(dataset)
        split = replace(split, train=split.train[::2], unlabelled=split.train[1::2])
        scene = make_trial_data(dataset, split, 0.4, seed=1)
        hidden = set(scene.split.test)
        assert len(hidden) == 4 and hidden < set(split.test)
        assert scene.seen.num_nodes == 26
        assert {int(scene.nodes[v]) for v in scene.seen_split.test} == set(split.test) - hidden
        expected = {(u, v) for u, v in dataset.edges.T if u not in hidden and v not in hidden}
        assert {tuple(scene.nodes[edge]) for edge in scene.seen.edges.T} == expected
        assert np.array_equal(scene.seen.features, dataset.features[scene.nodes])
        for part in ("train", "val", "unlabelled"):
            assert np.array_equal(scene.nodes[getattr(scene.seen_split, part)], getattr(split, part))

    def test_degrees_that_stand_for_features_are_those_that_training_sees(self):
        dataset = make_dataset("node", "single-label")
        dataset = Dataset.from_arrays(edges=dataset.edges, features=None, labels=dataset.labels, task="node")
        scene = make_trial_data(dataset, split_of(dataset), 0.4, seed=1)
        for data in (scene.seen, scene.dataset):
            degrees = np.bincount(data.edges[1], minlength=data.num_nodes)
            assert np.array_equal(sparse.csr_matrix(data.features).toarray().argmax(1), degrees)
        assert scene.seen.num_features == dataset.num_features

    def test_every_member_is_assessed_on_them_in_the_whole_graph(self):
        dataset = make_dataset("node", "single-label")
        _, after, scene = fit_and_distill(dataset, unseen=0.4)
        unseen = scene.split.test
        for member in ("gcn-0", "sage-1", "ensemble"):
            right = after.predict(dataset, member=member).argmax(-1)[unseen] == dataset.labels[unseen]
            assert after[member].test == pytest.approx(right.mean())
        assert after["mean"].test == pytest.approx((after["gcn-0"].test + after["sage-1"].test) / 2)

    @pytest.mark.parametrize("positions", [0, 3])
    def test_nothing_of_them_reaches_what_validation_chooses(self, positions):
        dataset = make_dataset("node", "single-label")
        scene = make_trial_data(dataset, split_of(dataset), 0.4, seed=1)
        result = train_cohort(scene.seen, scene.seen_split, students=STUDENTS, training=TrainingOptions(epochs=5, positions=positions))
        features = dataset.features.copy()
        features[scene.split.test] = 100.0  # neighbours see it, and validation would, in the whole graph
        changed = make_trial_data(dataset.replaced(features=features), split_of(dataset), 0.4, seed=1)
        options = DistillOptions(**{**QUICK, "epochs": 2, "positions": positions})
        plain, other = distill(result, scene, options, seed=TrialSeed()), distill(result, changed, options, seed=TrialSeed())
        assert plain["ensemble"].nll != other["ensemble"].nll
        for one, two in zip(plain.members, other.members, strict=True):
            assert (one.member, one.train, one.val) == (two.member, two.train, two.val)
            if one.member != "mlp":
                assert (one.train, one.val) == (result[one.member].train, result[one.member].val)
        assert plain["best_by_val"].parameters == other["best_by_val"].parameters == result["best_by_val"].parameters

    @pytest.mark.parametrize("edge_features", [None, False])
    @pytest.mark.parametrize("positions", [0, 3])
    def test_students_are_assessed_with_all_of_their_inputs(self, positions, edge_features):
        dataset = make_dataset("node", "single-label")
        values = np.random.default_rng(0).normal(size=(dataset.num_edges, 2)).astype(np.float32)
        dataset = dataset.replaced(edge_features=values, edge_feature_names=("a", "b"))
        scene = make_trial_data(dataset, split_of(dataset), 0.4, seed=1)
        students = [student.model_copy(update={"edge_features": edge_features}) for student in STUDENTS]
        training = TrainingOptions(epochs=5, positions=positions)
        result = train_cohort(scene.seen, scene.seen_split, students=students, strategy="independent", training=training)
        after = distill(result, scene, DistillOptions(**{**QUICK, "epochs": 2}), seed=TrialSeed())
        unseen = scene.split.test
        for member in ("gcn-0", "sage-1", "ensemble"):
            right = after.predict(dataset, member=member).argmax(-1)[unseen] == dataset.labels[unseen]
            assert after[member].test == pytest.approx(right.mean())

    @pytest.mark.parametrize(("task", "unseen"), [("graph", 0.4), ("node", 0.01), ("node", 0.99)])
    def test_a_share_that_cannot_be_removed_is_refused(self, task, unseen):
        dataset = make_dataset(task, "single-label")
        with pytest.raises(UsageError, match=r"distill\.unseen"):
            make_trial_data(dataset, split_of(dataset), unseen, seed=1)

    def test_a_coordinator_that_knows_the_nodes_by_number_is_refused(self):
        with pytest.raises(UsageError, match="has weights only for the nodes that it was trained on"):
            fit_and_distill(make_dataset("node", "single-label"), unseen=0.4, strategy_options={"weighting": "transductive"})
