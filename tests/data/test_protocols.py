from __future__ import annotations

import re
import warnings
from dataclasses import replace

import dgl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, StratifiedKFold

from dgl_mutual.data import Dataset, Split, Target, available_protocols, default_protocol, describe_dataset, load_dataset, make_splits
from dgl_mutual.data.protocols import splits_whole_graphs
from dgl_mutual.errors import UsageError


def toy(task: str, labels: np.ndarray, **changed: object) -> Dataset:
    samples = len(labels)
    names = tuple(f"class {label}" for label in range(int(np.nanmax(labels)) + 1)) if labels.ndim == 1 else ("a", "b")
    dataset = Dataset(
        name="toy",
        task="node" if task == "node" else "graph",
        edges=np.zeros((2, 0), dtype=np.int64),
        features=np.ones((samples, 1), dtype=np.float32),
        labels=labels,
        node_offsets=np.array([0, samples]) if task == "node" else np.arange(samples + 1),
        target=Target("single-label" if labels.ndim == 1 else "multi-label", names, "accuracy" if labels.ndim == 1 else "rocauc"),
        feature_names=("one",),
    )
    return replace(dataset, **changed)


def parts(split: Split) -> list[np.ndarray]:
    return [split.train, split.val, split.test]


def same(left: Split, right: Split) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(parts(left), parts(right), strict=True))


GRAPHS = toy("graph", np.arange(200) % 5 // 2)  # classes of 80, 80, 40


def test_nested_folds_cover_once_and_are_disjoint_and_stratified() -> None:
    splits = make_splits(GRAPHS, "nested", seed=1)
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(200))
    for split in splits:
        assert sorted(np.concatenate(parts(split))) == list(range(200))
        assert [np.bincount(GRAPHS.labels[part]).tolist() for part in parts(split)] == [[64, 64, 32], [8, 8, 4], [8, 8, 4]]


def test_nested_outer_folds_are_scikit_learns() -> None:
    folds = StratifiedKFold(10, shuffle=True, random_state=3).split(GRAPHS.labels, GRAPHS.labels)
    for split, (_, held_out) in zip(make_splits(GRAPHS, "nested", seed=3), folds, strict=True):
        np.testing.assert_array_equal(split.test, held_out)


@pytest.mark.parametrize(("task", "protocol"), [("graph", "nested"), ("graph", "holdout"), ("node", "random"), ("node", "holdout")])
def test_splits_depend_on_the_seed_alone(task: str, protocol: str) -> None:
    dataset = toy(task, np.arange(300) % 4)
    first, again, other = (make_splits(dataset, protocol, seed=seed) for seed in (0, 0, 1))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not any(same(a, b) for a, b in zip(first, other, strict=True))
    assert make_splits(dataset, protocol, seed=2**62)  # seeds of any stream fit


def test_random_takes_twenty_and_thirty_of_each_class() -> None:
    labels = np.arange(300) % 4
    labels[:7] = -1
    [split] = make_splits(toy("node", labels), "random", seed=0)
    assert np.bincount(labels[split.train]).tolist() == [20] * 4
    assert np.bincount(labels[split.val]).tolist() == [30] * 4
    assert sorted(np.concatenate(parts(split))) == list(range(7, 300))


@pytest.mark.filterwarnings("ignore:.* without a label, in no part of the split")
def test_multi_label_folds_leave_out_unlabelled_graphs() -> None:
    labels = np.zeros((30, 2), dtype=np.float32)
    labels[4] = np.nan
    splits = make_splits(toy("graph", labels), "nested", seed=0, folds=3)
    assert sorted(np.concatenate([split.test for split in splits])) == [*range(4), *range(5, 30)]
    assert all(4 not in np.concatenate(parts(split)) for split in splits)


@pytest.mark.filterwarnings("ignore:.* without a label, in no part of the split")
@pytest.mark.parametrize("task", ["node", "graph"])
def test_holdout_takes_a_fifth_of_each_class_twice_and_leaves_out_unlabelled_samples(task: str) -> None:
    labels = np.repeat([0, 1, 2, -1], [100, 50, 10, 7])
    [split] = make_splits(toy(task, labels), "holdout", seed=0)
    assert [np.bincount(labels[part]).tolist() for part in parts(split)] == [[60, 30, 6], [20, 10, 2], [20, 10, 2]]
    assert np.concatenate(parts(split)).tolist() != list(range(160))
    assert sorted(np.concatenate(parts(split))) == list(range(160))


@pytest.mark.filterwarnings("ignore:.* without a label, in no part of the split")
@pytest.mark.parametrize("task", ["node", "graph"])
def test_holdout_draws_samples_with_several_labels_without_strata(task: str) -> None:
    labels = (np.arange(80).reshape(40, 2) % 3 == 0).astype(np.float32)
    labels[4], labels[5, 0] = np.nan, np.nan
    dataset = toy(task, labels)
    [split] = make_splits(dataset, "holdout", seed=0)
    assert [len(part) for part in parts(split)] == [23, 8, 8]
    assert sorted(np.concatenate(parts(split))) == [*range(4), *range(5, 40)]
    assert not same(split, make_splits(dataset, "holdout", seed=1)[0])


def test_holdout_is_stratified_by_a_single_binary_label() -> None:
    labels = (np.arange(100) < 5).astype(np.float32).reshape(-1, 1)  # an unstratified test part lacks the five in one of three draws
    dataset = replace(toy("graph", np.repeat(labels, 2, axis=1)), labels=labels, target=Target("multi-label", ("rare",), "rocauc"))
    for seed in range(20):
        [split] = make_splits(dataset, "holdout", seed=seed)
        assert [int(labels[part].sum()) for part in parts(split)] == [3, 1, 1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=30).filter(lambda sizes: np.count_nonzero(sizes) > 1 and sum(sizes) >= 3))
def test_holdout_splits_classes_of_any_size(sizes: list[int]) -> None:
    """Parts cover all samples, and no class with enough of them is missing in one, unless rare ones are drawn with it."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    [split] = make_splits(toy("node", labels), "holdout", seed=0)
    assert sorted(np.concatenate(parts(split))) == list(range(len(labels)))
    assert len(split.val) == len(split.test) == max(1, round(len(labels) / 5)) and len(split.train)
    rare = sum(size for size in sizes if size < 5)
    apart = [label for label, size in enumerate(sizes) if size >= 5 and not (0 < rare < 5 and label == np.argmax(sizes))]
    assert all(set(apart) <= set(labels[part]) for part in parts(split))


def test_holdout_draws_rare_classes_as_one_class_into_every_part_in_turn() -> None:
    labels = np.concatenate([np.repeat([0, 1], 40), np.arange(2, 22)])  # twenty classes of one node each
    where = []
    for seed in range(30):
        [split] = make_splits(toy("node", labels), "holdout", seed=seed)
        counts = [(int((labels[part] < 2).sum()), int((labels[part] >= 2).sum())) for part in parts(split)]
        assert counts == [(48, 12), (16, 4), (16, 4)]
        where.append(next(index for index, part in enumerate(parts(split)) if 81 in part))
    assert set(where) == {0, 1, 2}


def test_holdout_of_several_graphs_draws_nodes_from_all_of_them() -> None:
    dataset = toy("node", np.arange(90) % 2, node_offsets=np.array([0, 30, 60, 90]))
    [split] = make_splits(dataset, "holdout", seed=0)
    assert not splits_whole_graphs(dataset, split)
    assert all(set(part // 30) == {0, 1, 2} for part in parts(split))


OFFICIAL = Split(np.array([0]), np.array([1]), np.array([2]))


def test_default_protocols() -> None:
    labels = np.arange(200) % 2
    assert default_protocol(toy("node", labels)) == "random"
    assert default_protocol(toy("graph", labels)) == "nested"
    assert default_protocol(toy("node", labels, official_splits=(OFFICIAL,))) == "public"
    assert default_protocol(toy("graph", labels, official_splits=(OFFICIAL,), evaluator="ogbg-molhiv")) == "scaffold"
    # Where no other protocol splits the nodes:
    several = np.zeros((3, 2), dtype=np.float32)
    assert available_protocols(toy("node", several)) == ("holdout",)
    assert available_protocols(toy("node", np.arange(101) % 2)) == ("holdout",)
    assert available_protocols(toy("node", np.arange(102) % 2)) == ("random", "holdout")
    assert available_protocols(toy("node", several, official_splits=(OFFICIAL,))) == ("public", "holdout")


def test_no_class_is_too_small_for_the_default_of_nodes_and_the_advice_works() -> None:
    dataset = toy("node", np.array([0] * 60 + [1]))
    with pytest.raises(UsageError, match=r"Class 'class 1' of toy has 1 sample, but 51 are needed .* Use --protocol holdout"):
        make_splits(dataset, "random", seed=0)
    assert len(make_splits(dataset, "holdout", seed=0)) == 1 and default_protocol(dataset) == "holdout"


def test_official_split_whatever_the_seed() -> None:
    dataset = toy("node", np.arange(200) % 2, official_splits=(OFFICIAL,))
    assert make_splits(dataset, "public", seed=0) == make_splits(dataset, "public", seed=9) == [OFFICIAL]


ERRORS = [
    (GRAPHS, "nestd", {}, r"Unknown protocol 'nestd'\. Did you mean 'nested'\? Choose from: public, scaffold, splits, random, nested"),
    *((GRAPHS, wrong, {}, "Unknown protocol") for wrong in (["nested"], np.array(["nested", "random"]))),
    (GRAPHS, "random", {}, r"'random' does not fit toy .* Choose from: nested"),
    (GRAPHS, "public", {}, r"with 0 official splits\). Choose from: nested"),
    (GRAPHS, "nested", {"folds": 1}, "at least 2 folds, found 1"),
    (toy("graph", np.zeros(40, dtype=np.int64)), "nested", {}, "All samples of toy are of one class"),
    (GRAPHS, "nested", {"folds": 41}, r"Class 'class 2' of toy has 40 samples, but 41 are needed"),
    (GRAPHS, "nested", {"seed": -1}, r"seed = -1"),
    (
        toy("graph", np.array([0, 0, 0, 1, 1, 1])),
        "nested",
        {"folds": 2},
        r"has 3 samples, but 4 are needed .* Ask for 3 folds \(--folds 3\)\. Or use --protocol holdout.* or remove rare classes\.$",
    ),
    (toy("graph", np.arange(8) % 4), "nested", {}, r"has 2 samples, but 10 are needed .*\)\. Use --protocol holdout, for which"),
    (toy("graph", np.arange(10) % 2), "nested", {}, r"has 5 samples.* Ask for 5 folds \(--folds 5\) or fewer\. Or use --protocol holdout"),
    (toy("graph", np.zeros((3, 2), dtype=np.float32)), "nested", {"folds": 2}, r"3 labelled samples, but 4 are needed .* Ask for 3 folds"),
    (toy("node", np.arange(100) % 2), "random", {}, r"has 50 samples, but 51 are needed \(20 train.* Use --protocol holdout"),
    (
        toy("node", np.arange(100) % 2, official_splits=(OFFICIAL,)),
        "random",
        {},
        r"Train on the official split \(--protocol public\)\. Or use --protocol holdout",
    ),
    (toy("node", np.arange(100) % 2), "nested", {}, r"Choose from: holdout\."),
    (toy("node", np.arange(102) % 2), "nested", {}, r"Choose from: random, holdout\."),
    (toy("node", np.full(9, -1), target=Target("single-label", ("a",), "accuracy")), "random", {}, "has no labels: all are unknown"),
    (toy("graph", np.full((9, 2), np.nan, dtype=np.float32)), "nested", {}, "has no labels: all are unknown"),
    (toy("node", np.zeros((9, 2), dtype=np.float32)), "random", {}, r"does not fit toy .* Choose from: holdout\."),
    (toy("graph", np.array([0, 1, -1])), "holdout", {}, r"toy has 2 labelled samples, but 3 are needed \(one each.* Label more samples"),
    (toy("graph", np.zeros(9, dtype=np.int64)), "holdout", {}, "All samples of toy are of one class"),
    (toy("node", np.full((9, 2), np.nan, dtype=np.float32)), "holdout", {}, "has no labels: all are unknown"),
]


@pytest.mark.parametrize(("dataset", "protocol", "options", "message"), ERRORS)
def test_errors(dataset: Dataset, protocol: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_splits(dataset, protocol, **{"seed": 0, **options})


@pytest.mark.parametrize("folds", range(2, 7))
@pytest.mark.parametrize("num_classes", [2, 7, 40])
def test_the_smallest_classes_that_are_accepted_can_be_split(folds: int, num_classes: int) -> None:
    """One sample fewer is refused, with advice that works: no validation part is too small for its classes."""
    count = max(folds, 4 if folds == 2 else 0)
    for split in make_splits(toy("graph", np.arange(num_classes * count) % num_classes), "nested", seed=0, folds=folds):
        assert len(split.val) >= num_classes <= len(split.train)
        assert sorted(np.concatenate(parts(split))) == list(range(num_classes * count))
    fewer = toy("graph", (np.arange(num_classes * count) % num_classes)[:-1])
    with pytest.raises(UsageError, match=f"has {count - 1} samples, but {count} are needed") as refused:
        make_splits(fewer, "nested", seed=0, folds=folds)
    advice = re.search(r"--folds (\d+)", str(refused.value))
    assert (advice is not None) == (count > 3)
    if advice is not None:
        assert make_splits(fewer, "nested", seed=0, folds=int(advice[1]))


def test_classes_without_any_sample_do_not_count() -> None:
    """Labels 0 and 7 of a dataset whose classes are numbered."""
    names = tuple(str(label) for label in range(8))
    dataset = toy("graph", 7 * (np.arange(20) % 2), target=Target("single-label", names, "accuracy"))
    assert len(make_splits(dataset, "nested", seed=0)) == 10
    with pytest.raises(UsageError, match="of one class"):
        make_splits(replace(dataset, labels=np.full(20, 7)), "nested", seed=0)


def test_digits_work_under_their_defaults() -> None:
    [split] = make_splits(load_dataset("digits", "node"), "random", seed=0)
    assert [len(part) for part in parts(split)] == [200, 300, 1297]


def test_functions_of_a_dataset_take_graphs_and_refuse_names() -> None:
    graph = dgl.graph((torch.arange(40), torch.arange(40).roll(1)))
    graph.ndata["feat"], graph.ndata["label"] = torch.rand(40, 3), torch.arange(40) % 2
    dataset = Dataset.from_dgl(graph)
    assert available_protocols(graph) == available_protocols(dataset) and default_protocol(graph) == "holdout"
    assert describe_dataset(graph) == describe_dataset(dataset)
    [ours], [theirs] = (make_splits(data, "holdout", seed=0) for data in (graph, dataset))
    assert all(map(np.array_equal, parts(ours), parts(theirs)))
    for use in (available_protocols, default_protocol, describe_dataset, lambda data: make_splits(data, "holdout", seed=0)):
        with pytest.raises(UsageError, match=r"found the name of one, 'digits'\. Load it: dgl_mutual\.load\('digits'\)"):
            use("digits")


@pytest.mark.parametrize(("given", "said"), [({"folds": "3"}, "folds = '3'"), ({"folds": 2.0}, "folds = 2.0"), ({"folds": 0}, "folds = 0")])
def test_folds_and_sizes_are_whole_numbers(given: dict[str, object], said: str) -> None:
    official = Split([0], [1], [2])
    for dataset, protocol in ((GRAPHS, "nested"), (replace(GRAPHS, official_splits=(official, official)), "splits")):
        with pytest.raises(UsageError, match=f"{said} is not an integer from 1"):
            make_splits(dataset, protocol, seed=0, **given)
    with pytest.raises(UsageError, match="num_samples = '3' is not an integer"):
        official.check("3")


@pytest.mark.parametrize("protocol", ["nested", "holdout", "public"])
def test_graphs_without_a_label_cause_a_warning(protocol: str) -> None:
    labels = np.where(np.arange(30) % 3 == 0, np.arange(30) % 2, np.nan)
    split = Split([0, 3, 6], [9], [12]) if protocol == "public" else None
    dataset = Dataset.from_arrays([[0], [1]], np.ones((60, 1)) / 2, labels, node_offsets=np.arange(0, 61, 2), split=split, name="mine")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_splits(dataset, protocol, seed=0, folds=3 if protocol == "nested" else None)
    told = [str(one.message) for one in caught]
    if protocol == "public":
        assert told == []
    else:
        assert told[0].startswith("mine has 20 graphs of 30 without a label, in no part of the split. To train on")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make_splits(dataset.replaced(evaluator="ogbg-molmuv"), protocol, seed=0, folds=3)


def test_multi_label_outer_folds_are_scikit_learns() -> None:
    labels = np.random.default_rng(0).integers(2, size=(30, 2)).astype(np.float32)
    folds = KFold(3, shuffle=True, random_state=1).split(np.zeros(30))
    for split, (_, held_out) in zip(make_splits(toy("graph", labels), "nested", seed=1, folds=3), folds, strict=True):
        np.testing.assert_array_equal(split.test, held_out)


def test_unlabelled_nodes_in_graphs_of_another_part_prevent_a_split_by_graph() -> None:
    dataset = replace(toy("node", np.arange(12) % 2), node_offsets=np.array([0, 4, 8, 12]))
    whole = Split(np.arange(4), np.arange(4, 6), np.arange(8, 12))
    assert splits_whole_graphs(dataset, whole)
    assert not splits_whole_graphs(dataset, replace(whole, unlabelled=np.arange(6, 8)))


def test_no_two_seeds_have_the_same_split_because_they_are_far_apart() -> None:
    firsts = [make_splits(GRAPHS, "holdout", seed=seed)[0] for seed in (1, 1 + 2**8, 1 + 2**16, 1 + 2**31)]
    assert not any(same(firsts[0], other) for other in firsts[1:])
