from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.features_of_edges import with_features_of_edges
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.label_rate import hide_labels
from dgl_mutual.data.noise import NOISES, NoiseSpec, add_noise
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import Target
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.trial import Trial, trial_data
from tests.data.test_pool import dataset_of, graphs


def make_dataset(*, graphs: int = 4, nodes: int = 30, symmetric: bool = True, task: str = "graph", multi_label: bool = False) -> Dataset:
    random = np.random.default_rng(0)
    total = graphs * nodes
    ends = random.integers(nodes, size=(2, graphs * 60)) + np.repeat(np.arange(graphs) * nodes, 60)
    num_samples = graphs if task == "graph" else total
    labels = random.integers(3, size=num_samples)
    if multi_label:
        labels = random.integers(2, size=(num_samples, 3)).astype(np.float32)
        labels[0, 1] = np.nan
    features = random.standard_normal((total, 5)).astype(np.float32)
    offsets = np.arange(graphs + 1) * nodes
    return Dataset.from_arrays(ends, features, labels, node_offsets=offsets, task=task, symmetric=symmetric)  # type: ignore[arg-type]  # a parameter of tests


def split_of(dataset: Dataset) -> Split:
    return Split(*np.array_split(np.arange(dataset.num_samples), [dataset.num_samples // 2, dataset.num_samples * 3 // 4]))


def noisy(dataset: Dataset, text: str, seed: int = 0) -> Dataset:
    return add_noise(dataset, split_of(dataset), NoiseSpec.parse(text), seed=seed)


def edge_set(dataset: Dataset) -> set[tuple[int, int]]:
    return set(map(tuple, dataset.edges.T.tolist()))


def test_noise_is_parsed_and_formatted():
    assert NoiseSpec.parse("feature:0.2") == NoiseSpec("feature", 0.2)
    assert str(NoiseSpec.parse("edge-add:0.50")) == "edge-add:0.5"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("featur:0.2", "feature"),
        ("feature", "feature:0.2"),
        ("label:1.5", "'label:1.5'"),
        ("feature:0.2,edge:0.1", r"several kinds\. Give one, for example feature:0\.2\."),
        ("feature:0,2", "no amount"),
        ("edge:x", "'edge:x'"),
        ("edge:nan", "'edge:nan'"),
    ],
)
def test_an_invalid_noise_is_refused_with_a_mend(text, part):
    with pytest.raises(UsageError, match=part):
        NoiseSpec.parse(text)


@pytest.mark.parametrize("kind", NOISES)
def test_no_noise_changes_nothing(kind):
    dataset = make_dataset()
    same = noisy(dataset, f"{kind}:0")
    assert np.array_equal(same.edges, dataset.edges)
    assert np.array_equal(same.features, dataset.features)
    assert np.array_equal(same.labels, dataset.labels)


@pytest.mark.parametrize("kind", NOISES)
def test_the_seed_decides(kind):
    dataset = make_dataset(task="node")
    first, again, other = (noisy(dataset, f"{kind}:0.5", seed) for seed in (1, 1, 2))
    same = [np.array_equal(getattr(first, part), getattr(again, part)) for part in ("edges", "features", "labels")]
    differs = [not np.array_equal(getattr(first, part), getattr(other, part)) for part in ("edges", "features", "labels")]
    assert all(same) and sum(differs) == 1


def test_feature_noise_is_the_stated_mixture():
    dataset = make_dataset(graphs=100)
    drawn = (noisy(dataset, "feature:0.25").features - 0.75 * dataset.features) / 0.25
    assert abs(drawn.mean()) < 0.03 and abs(drawn.std() - 1) < 0.03
    assert abs(np.corrcoef(drawn.ravel(), dataset.features.ravel())[0, 1]) < 0.03


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("kind", "num_removed", "num_added"), [("edge", 1, 1), ("edge-add", 0, 1), ("edge-remove", 1, 0)])
def test_edge_noise_changes_the_stated_share_within_graphs(kind, num_removed, num_added, symmetric):
    dataset = make_dataset(symmetric=symmetric)
    before, after = edge_set(dataset), edge_set(result := noisy(dataset, f"{kind}:0.2"))
    step = 2 if symmetric else 1
    expected = round(0.2 * len(before) / step) * step
    assert len(before - after) == num_removed * expected
    assert len(after - before) == num_added * expected
    assert all(u // 30 == v // 30 and u != v for u, v in after)
    assert not symmetric or {(v, u) for u, v in after} == after
    assert np.array_equal(result.edges, canonical_edges(*result.edges, dataset.num_nodes, symmetric=False))


def test_label_noise_flips_training_labels_alone():
    dataset = make_dataset(task="node")
    split, changed = split_of(dataset), np.flatnonzero(noisy(dataset, "label:0.3").labels != dataset.labels)
    assert len(changed) == round(0.3 * len(split.train))
    assert set(changed) <= set(split.train)
    assert set(noisy(dataset, "label:1").labels) <= {0, 1, 2}


def test_asymmetric_label_noise_makes_the_next_class_of_a_training_label():
    dataset = make_dataset(task="node")
    split, labels = split_of(dataset), noisy(dataset, "label-asymmetric:0.3").labels
    changed = np.flatnonzero(labels != dataset.labels)
    assert len(changed) == round(0.3 * len(split.train)) and set(changed) <= set(split.train)
    assert np.array_equal(labels[changed], (dataset.labels[changed] + 1) % 3)
    assert set(dataset.labels[changed]) == {0, 1, 2}


def test_asymmetric_noise_of_two_classes_takes_ones_away_alone():
    three = make_dataset(task="node")
    dataset = replace(three, target=Target("single-label", ("a", "b"), "accuracy"), labels=np.minimum(three.labels, 1))
    ones = (dataset.labels[split_of(dataset).train] == 1).sum()
    labels = noisy(dataset, "label-asymmetric:0.4").labels
    changed = labels != dataset.labels
    assert changed.sum() == round(0.4 * ones)
    assert (dataset.labels[changed] == 1).all() and (labels[changed] == 0).all()


def test_asymmetric_multi_label_noise_takes_known_marks_away_alone():
    dataset = make_dataset(task="node", multi_label=True)
    train, labels = split_of(dataset).train, noisy(dataset, "label-asymmetric:0.4").labels
    changed = ~np.isnan(dataset.labels) & (labels != dataset.labels)
    assert changed.sum() == changed[train].sum() == round(0.4 * (dataset.labels[train] == 1).sum())
    assert (dataset.labels[changed] == 1).all() and (labels[changed] == 0).all()


@pytest.mark.parametrize("kind", ["label", "label-asymmetric"])
def test_hidden_labels_get_no_noise(kind):
    dataset = make_dataset(task="node")
    whole = split_of(dataset)
    split = hide_labels(dataset, whole, 0.2, seed=0)
    changed = np.flatnonzero(add_noise(dataset, split, NoiseSpec(kind, 0.5), seed=0).labels != dataset.labels)
    assert len(changed) == round(0.5 * len(split.train)) and set(changed) <= set(split.train)


@pytest.mark.parametrize("kind", ["label", "label-asymmetric"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_label_noise_that_changes_no_label_is_refused(kind, multi_label):
    with pytest.raises(UsageError, match=r"Label noise of 0\.001 changes no label of graph: its training part has 60"):
        noisy(make_dataset(task="node", multi_label=multi_label), f"{kind}:0.001")


def test_multi_label_noise_inverts_known_training_labels_alone():
    dataset = make_dataset(task="node", multi_label=True)
    split, labels = split_of(dataset), noisy(dataset, "label:0.4").labels
    known = ~np.isnan(dataset.labels)
    assert np.array_equal(np.isnan(labels), ~known)
    changed = known & (labels != dataset.labels)
    assert changed.sum() == round(0.4 * known[split.train].sum())
    assert not changed[split.val].any() and not changed[split.test].any()
    assert np.array_equal(labels[changed], 1 - dataset.labels[changed])


@pytest.mark.parametrize("kind", ["edge", "edge-add", "edge-remove"])
def test_sums_of_edge_features_are_those_of_the_noisy_edges(kind):
    plain = make_dataset()
    bonds = np.random.default_rng(1).integers(0, 2, size=(plain.num_edges, 2)).astype(np.float32)

    def with_sums(dataset, edges, bonds):
        sums = np.zeros((dataset.num_nodes, 2), dtype=np.float32)
        np.add.at(sums, edges[1], bonds)
        return np.concatenate([sums[:, :1], np.asarray(dataset.features)[:, :3], sums[:, 1:]], axis=1)

    dataset = plain.replaced(
        features=with_sums(plain, plain.edges, bonds),
        feature_names=("a", "v", "w", "x", "b"),
        feature_kinds=("edge-sum", "number", "number", "number", "edge-sum"),
        edge_features=bonds,
        edge_feature_names=("a", "b"),
        edge_feature_kinds=("indicator", "indicator"),
    )
    found = noisy(dataset, f"{kind}:0.5")
    assert found.num_edges != 0 and not np.array_equal(found.edges, dataset.edges)
    np.testing.assert_array_equal(found.features, with_sums(plain, found.edges, np.asarray(found.edge_features)))
    with pytest.raises(UsageError, match=r"Node features of graph are sums over edges .for example 'a'.*same names"):
        noisy(dataset.without_edge_features(), f"{kind}:0.5")


def test_degrees_are_those_of_the_noisy_edges():
    plain = make_dataset()
    dataset = Dataset.from_arrays(plain.edges, None, plain.labels, node_offsets=plain.node_offsets)
    found = noisy(dataset, "edge-remove:0.5")
    np.testing.assert_array_equal(found.features.argmax(1).ravel(), np.bincount(found.edges[1], minlength=dataset.num_nodes))
    more = noisy(dataset, "edge-add:1.0").features
    assert more.shape == dataset.features.shape and (more.sum(1) == 1).all()


@pytest.mark.parametrize("kind", ["edge", "edge-add", "edge-remove"])
def test_edge_noise_that_changes_no_edge_is_refused(kind):
    dataset = make_dataset(task="node")
    with pytest.raises(UsageError, match=r"Noise of 0\.001 in edges changes no edge of graph: it has \d+ of them"):
        noisy(dataset, f"{kind}:0.001")
    with pytest.raises(UsageError, match="it has 0 of them"):
        noisy(dataset.replaced(edges=np.zeros((2, 0), dtype=np.int64)), f"{kind}:1")


def test_new_edges_need_free_pairs():
    ends = np.indices((6, 6)).reshape(2, -1)
    complete = make_dataset(graphs=1, nodes=6).replaced(edges=canonical_edges(*ends, 6, symmetric=True))
    with pytest.raises(UsageError, match="no pair of nodes is free"):
        noisy(complete, "edge-add:0.5")
    assert noisy(complete, "edge:0.5").num_edges < complete.num_edges


def test_new_edges_are_all_different_where_few_pairs_are_free() -> None:
    pairs = np.stack(np.triu_indices(40, 1))[:, np.random.default_rng(0).permutation(780)[:300]]
    dataset = Dataset.from_arrays(np.concatenate([pairs, pairs[::-1]], axis=1), np.eye(40), np.arange(40) % 2)
    split = Split(np.arange(20), np.arange(20, 30), np.arange(30, 40))
    assert dataset.edges.shape[1] == 600
    for seed in range(3):
        assert add_noise(dataset, split, NoiseSpec.parse("edge-add:1"), seed=seed).edges.shape[1] == 1200


def test_each_trial_has_its_own_noise() -> None:
    dataset, split = dataset_of(graphs(0)), Split(np.array([0, 1]), np.array([2]), np.array([3]))
    config = parse_config({"noise": "feature:0.2"})
    noisy = [fingerprint(trial_data(Trial(seed, fold, split), config, dataset).seen) for seed, fold in ((0, 0), (1, 0), (0, 1), (0, 0))]
    assert noisy[0] == noisy[3] and len(set(noisy)) == 3


def test_degrees_of_a_directed_graph_are_those_of_incoming_edges() -> None:
    ends = np.array([[0, 0, 0, 1], [1, 2, 3, 3]])
    dataset = Dataset.from_arrays(ends, None, [0, 1, 0, 1])
    np.testing.assert_array_equal(with_features_of_edges(dataset, "a test").features, dataset.features)
