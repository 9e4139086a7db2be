from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from dgl_mutual.data import Dataset, Split, Target, default_protocol, load_dataset, make_splits
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


@pytest.mark.parametrize(("task", "protocol"), [("graph", "nested"), ("node", "random")])
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


def test_multi_label_folds_leave_out_unlabelled_graphs() -> None:
    labels = np.zeros((30, 2), dtype=np.float32)
    labels[4] = np.nan
    splits = make_splits(toy("graph", labels), "nested", seed=0, folds=3)
    assert sorted(np.concatenate([split.test for split in splits])) == [*range(4), *range(5, 30)]
    assert all(4 not in np.concatenate(parts(split)) for split in splits)


OFFICIAL = Split(np.array([0]), np.array([1]), np.array([2]))


def test_default_protocols() -> None:
    labels = np.arange(200) % 2
    assert default_protocol(toy("node", labels)) == "random"
    assert default_protocol(toy("graph", labels)) == "nested"
    assert default_protocol(toy("node", labels, official_split=OFFICIAL)) == "public"
    assert default_protocol(toy("graph", labels, official_split=OFFICIAL, evaluator="ogbg-molhiv")) == "scaffold"
    with pytest.raises(UsageError, match=r"in Python split=dgl_mutual.Split\(train, val, test\), .* train_mask"):
        default_protocol(toy("node", np.zeros((3, 2), dtype=np.float32)))


def test_official_split_whatever_the_seed() -> None:
    dataset = toy("node", np.arange(200) % 2, official_split=OFFICIAL)
    assert make_splits(dataset, "public", seed=0) == make_splits(dataset, "public", seed=9) == [OFFICIAL]


ERRORS = [
    (GRAPHS, "nestd", {}, r"Unknown protocol 'nestd'\. Did you mean 'nested'\? Choose from: public, scaffold, random, nested"),
    (GRAPHS, "random", {}, r"'random' does not fit toy .* Choose from: nested"),
    (GRAPHS, "public", {}, r"without an official split\). Choose from: nested"),
    (GRAPHS, "nested", {"folds": 1}, "at least 2 folds, found 1"),
    (toy("graph", np.zeros(40, dtype=np.int64)), "nested", {}, "All samples of toy are of one class"),
    (GRAPHS, "nested", {"folds": 41}, r"Class 'class 2' of toy has 40 samples, but 41 are needed"),
    (GRAPHS, "nested", {"seed": -1}, "must not be negative, found -1"),
    (
        toy("graph", np.array([0, 0, 0, 1, 1, 1])),
        "nested",
        {"folds": 2},
        r"has 3 samples, but 4 are needed .* Ask for 3 folds \(--folds 3\)\. Or merge",
    ),
    (toy("graph", np.arange(8) % 4), "nested", {}, r"has 2 samples, but 10 are needed .* Merge or remove rare classes\.$"),
    (toy("graph", np.arange(10) % 2), "nested", {}, r"has 5 samples.* Ask for 5 folds \(--folds 5\) or fewer\. Or merge"),
    (toy("graph", np.zeros((3, 2), dtype=np.float32)), "nested", {"folds": 2}, r"3 labelled samples, but 4 are needed .* Ask for 3 folds"),
    (toy("node", np.arange(100) % 2), "random", {}, r"has 50 samples, but 51 are needed \(20 train.* split=dgl_mutual.Split"),
    (toy("node", np.arange(100) % 2), "nested", {}, "Choose from: random"),
    (toy("node", np.full(9, -1), target=Target("single-label", ("a",), "accuracy")), "random", {}, "has no labels: all are unknown"),
    (toy("graph", np.full((9, 2), np.nan, dtype=np.float32)), "nested", {}, "has no labels: all are unknown"),
    (toy("node", np.zeros((9, 2), dtype=np.float32)), "random", {}, r"does not fit toy .* No other does, either.* split=dgl_mutual.Split"),
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
