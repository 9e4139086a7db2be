"""Label rates: which and how many labels are hidden, and which rates are refused."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dgl_mutual
from dgl_mutual.data import Dataset, Split, make_splits
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.label_rate import (
    _rarest_value,
    hide_labels,
    parse_label_rate,
    separate_unlabelled,
    warn_of_unlearned,
    without_labels,
)
from dgl_mutual.data.noise import NoiseSpec, add_noise
from dgl_mutual.errors import DataError, SplitError, UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.trial import Trial, split_digest, trial_data
from tests.data.test_pool import dataset_of, graphs

SAMPLES = 200
CLASSES = np.repeat([0, 1, 2], [120, 60, 20])
ONE_COLUMN = pytest.mark.filterwarnings("ignore:labels. the shape .samples, 1. is read as one binary label:UserWarning")


def toy(labels: Any = CLASSES, task: str = "graph") -> tuple[Dataset, Split]:
    """Samples without edges, of which the first 160 of a fixed order are for training."""
    order = np.random.default_rng(0).permutation(SAMPLES)
    offsets = np.arange(SAMPLES + 1) if task == "graph" else None
    edges = np.empty((2, 0), dtype=np.int64)
    dataset = Dataset.from_arrays(edges, np.ones((SAMPLES, 1), dtype=np.float32), labels, node_offsets=offsets, name="toy")
    return dataset, Split(order[:160], order[160:180], order[180:])


def marks(seed: int = 0) -> np.ndarray:
    """Four labels, the last of them rare; some are unknown, and for some samples all."""
    random = np.random.default_rng(seed)
    labels = (random.random((SAMPLES, 4)) < [0.5, 0.4, 0.3, 0.05]).astype(np.float32)
    labels[random.random(labels.shape) < 0.2] = np.nan
    labels[::25] = np.nan
    return labels


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.33, 0.5])
def test_each_class_keeps_its_share(rate: float, task: str) -> None:
    dataset, split = toy(task=task)
    few = hide_labels(dataset, split, rate, seed=3)
    before, after = (np.bincount(dataset.labels[part], minlength=3) for part in (split.train, few.train))
    assert np.abs(after - rate * before).max() <= 0.5
    np.testing.assert_array_equal(np.sort(few.seen), np.sort(split.train))
    np.testing.assert_array_equal(few.val, split.val)
    np.testing.assert_array_equal(few.test, split.test)
    few.check(SAMPLES)


@pytest.mark.parametrize(("rate", "kept"), [(0.29, 15), (0.57, 29), (0.03, 2), (0.01, 1)])
def test_halves_are_rounded_up(rate: float, kept: int) -> None:
    dataset = Dataset.from_arrays(np.zeros((2, 0), dtype=int), np.eye(120), np.arange(120) % 2)
    few = hide_labels(dataset, Split(np.arange(100), np.arange(100, 110), np.arange(110, 120)), rate, seed=0)
    assert np.bincount(dataset.labels[few.train]).tolist() == [kept, kept]


def test_an_integer_is_a_number_per_class_as_in_scikit_learn() -> None:
    dataset, split = toy()
    assert np.bincount(dataset.labels[hide_labels(dataset, split, 1, seed=0).train]).tolist() == [1, 1, 1]
    have = np.bincount(dataset.labels[split.train])
    assert have[2] < 30
    with pytest.warns(UserWarning, match=rf"keeps all labels of classes that have fewer .* of toy: {have[2]} of '2'\.$"):
        few = hide_labels(dataset, split, 30, seed=0)
    assert np.bincount(dataset.labels[few.train]).tolist() == [30, 30, have[2]]


@pytest.mark.parametrize("labels", [CLASSES, marks()], ids=["single-label", "multi-label"])
def test_a_lower_rate_is_part_of_a_higher_one(labels: np.ndarray) -> None:
    dataset, split = toy(labels)
    rates = [0.05, 0.1, 0.2, 0.5, 0.9]
    kept = [set(hide_labels(dataset, split, rate, seed=5).train) for rate in rates]
    assert all(lower < higher for lower, higher in itertools.pairwise(kept))


def test_numbers_per_class_are_nested_in_each_other_and_in_shares() -> None:
    dataset, split = toy()
    one, five, most = (set(hide_labels(dataset, split, rate, seed=5).train) for rate in (1, 5, 0.9))
    assert one < five < most


def test_the_seed_decides_and_nothing_else() -> None:
    dataset, split = toy()
    first, again, other = (hide_labels(dataset, split, 0.2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train, again.train)
    np.testing.assert_array_equal(first.unlabelled, again.unlabelled)
    assert set(first.train) != set(other.train)


def test_several_labels_each_keep_about_their_share() -> None:
    dataset, split = toy(marks())
    few = hide_labels(dataset, split, 0.3, seed=0)
    for column in dataset.labels.T:
        for value in (0, 1):
            before, after = (int((column[part] == value).sum()) for part in (split.train, few.train))
            assert abs(after - 0.3 * before) <= 0.12 * before + 2
    assert (dataset.labels[few.train, 3] == 1).any(), "the rare label, too"


def test_samples_without_any_label_train_without_one() -> None:
    dataset, split = toy(marks())
    few = hide_labels(dataset, split, 0.9, seed=0)
    bare = np.flatnonzero(np.isnan(dataset.labels).all(axis=1))
    assert set(bare) & set(split.train) == set(bare) & set(few.unlabelled) != set()


def test_unlabelled_samples_of_a_split_stay_unlabelled() -> None:
    dataset, split = toy()
    apart = replace(split, train=split.train[:120], unlabelled=split.train[120:])
    few = hide_labels(dataset, apart, 0.5, seed=0)
    assert set(few.unlabelled) == set(split.train) - set(few.train) and len(few.train) < 120


@ONE_COLUMN
def test_one_binary_label_is_stratified_by_its_two_classes() -> None:
    labels = np.where(CLASSES == 2, 1.0, 0.0).astype(np.float32)[:, None]
    dataset, split = toy(labels)
    positive = int(labels[split.train].sum())
    few = hide_labels(dataset, split, 0.25, seed=0)
    assert abs(labels[few.train].sum() - 0.25 * positive) <= 0.5
    assert labels[hide_labels(dataset, split, 3, seed=0).train].ravel().tolist().count(1.0) == 3


def test_several_targets_are_hidden_together() -> None:
    dataset, split = toy({"kind": CLASSES, "marks": marks()})
    few = hide_labels(dataset, split, 0.2, seed=0)
    assert 0.1 * 160 <= len(few.train) <= 0.3 * 160
    masked = without_labels(dataset, few.unlabelled)
    assert np.isnan(masked.labels[few.unlabelled]).all()
    np.testing.assert_array_equal(masked.labels[few.train], dataset.labels[few.train])


@pytest.mark.parametrize("labels", [CLASSES, marks()], ids=["single-label", "multi-label"])
def test_hidden_labels_are_unknown_and_all_others_stay(labels: np.ndarray) -> None:
    dataset, split = toy(labels)
    few = hide_labels(dataset, split, 0.2, seed=0)
    masked = without_labels(dataset, few.unlabelled)
    hidden = masked.labels[few.unlabelled]
    assert (hidden == -1).all() if labels.ndim == 1 else np.isnan(hidden).all()
    rest = np.setdiff1d(np.arange(SAMPLES), few.unlabelled)
    np.testing.assert_array_equal(masked.labels[rest], dataset.labels[rest])
    np.testing.assert_array_equal(dataset.labels, labels.astype(dataset.labels.dtype))
    assert without_labels(dataset, split.unlabelled) is dataset


def test_label_noise_acts_on_labelled_samples_alone() -> None:
    dataset, split = toy()
    few = hide_labels(dataset, split, 0.5, seed=0)
    noisy = add_noise(dataset, few, NoiseSpec.parse("label:1"), seed=0)
    assert set(np.flatnonzero(noisy.labels != dataset.labels)) == set(few.train)


def test_hidden_labels_change_the_fingerprint_of_a_split() -> None:
    dataset, split = toy()
    few = hide_labels(dataset, split, 0.5, seed=0)
    without = Split(few.train, few.val, few.test)
    assert len({fingerprint(dataset, one) for one in (split, few, without)}) == 3


@ONE_COLUMN
@pytest.mark.parametrize(
    ("labels", "rate", "message"),
    [
        (
            CLASSES,
            0.01,
            r"leaves the class '2' .* without a labelled training sample.*--label-rate 0.0\d+.*or a number of labels per class",
        ),
        (CLASSES, 500, r"500 hides no label of toy: .* Give a lower rate"),
        (CLASSES, 0.999, r"0.999 hides no label of toy"),
        (marks(), 5, r"5 labels per class has no meaning for toy, whose samples have 4 labels each. Give a share"),
        (np.where(CLASSES == 2, 1.0, 0.0).astype(np.float32)[:, None], 0.02, r"leaves the class '1' .*--label-rate 0.0\d+"),
        (np.where(np.arange(SAMPLES)[:, None] < [SAMPLES, 3], 1.0, np.nan).astype(np.float32), 0.1, r"leaves the label 'label 1' .*share"),
    ],
    ids=["rare class", "a number that no class has", "a share of all", "several labels", "binary", "a label nobody knows"],
)
def test_an_impossible_rate_is_refused_with_a_mend(labels: np.ndarray, rate: float, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        hide_labels(*toy(labels), rate, seed=1)
    assert isinstance(refusal.value, SplitError) is ("no meaning" not in message), "a suite leaves out data that another rate fits"


def test_the_share_that_is_proposed_works() -> None:
    dataset, split = toy()
    with pytest.raises(UsageError) as refusal:
        hide_labels(dataset, split, 0.004, seed=0)
    proposed = float(str(refusal.value).partition("--label-rate ")[2].partition(",")[0])
    few = hide_labels(dataset, split, proposed, seed=0)
    assert (np.bincount(dataset.labels[few.train], minlength=3) > 0).all()


@pytest.mark.parametrize("rate", [0, 0.0, -1, -0.1, 1.5, "many", "", "nan", float("inf"), True, [0.1], "0", "1.01"])
def test_an_invalid_label_rate_is_refused(rate: object) -> None:
    with pytest.raises(ValueError, match=r"the label rate is .* give a share of the labels in \(0, 1\]"):
        parse_label_rate(rate)


@pytest.mark.parametrize(("given", "rate"), [("0.1", 0.1), ("20", 20), (1, 1), (1.0, 1.0), ("1", 1), ("1.0", 1.0), (np.int64(3), 3)])
def test_numbers_and_text_are_label_rates(given: object, rate: float) -> None:
    assert parse_label_rate(given) == rate and type(parse_label_rate(given)) is type(rate)


def test_a_split_with_hidden_labels_is_checked_as_any_other() -> None:
    split = Split([0, 1], [2], [3], [4, 5])
    assert repr(split.check(6)) == "Split(train: 2, val: 1, test: 1, unlabelled: 2)"
    assert repr(Split([0, 1], [2], [3])) == "Split(train: 2, val: 1, test: 1)"
    mask = np.zeros(6, dtype=bool)
    mask[4:] = True
    np.testing.assert_array_equal(replace(split, unlabelled=mask).unlabelled, [4, 5])
    for wrong, message in (([1, 4], "shares samples"), ([6], "names sample 6"), ([4, 4], "names sample 4 twice")):
        with pytest.raises(DataError, match=f"part 'unlabelled' .*{message}"):
            Split([0, 1], [2], [3], wrong).check(6)


@pytest.mark.parametrize(("task", "protocol"), [("graph", "nested"), ("node", "random"), ("node", "holdout")])
def test_protocols_are_the_same_without_their_labels(task: str, protocol: str) -> None:
    """Hiding labels comes after a split is drawn, so validation and test parts do not depend on the rate."""
    dataset, _ = toy(np.arange(SAMPLES) % 3, task=task)
    for split in make_splits(dataset, protocol, seed=0, folds=3):
        few = hide_labels(dataset, split, 0.2, seed=0)
        np.testing.assert_array_equal(few.test, split.test)
        np.testing.assert_array_equal(few.val, split.val)


def test_training_samples_without_any_label_are_unlabelled_ones() -> None:
    dataset, split = toy()
    labels = dataset.labels.copy()
    labels[split.train[:3]] = -1
    labels[split.val[0]] = -1
    some = replace(dataset, labels=labels)
    apart = separate_unlabelled(some, replace(split, train=split.train[1:], unlabelled=split.train[:1]))
    assert apart.train.tolist() == split.train[3:].tolist() and apart.unlabelled.tolist() == sorted(split.train[:3])
    np.testing.assert_array_equal(apart.val, split.val)
    assert separate_unlabelled(dataset, split) is split
    labels[split.train] = -1
    none = replace(dataset, labels=labels)
    assert separate_unlabelled(none, split) is split
    with pytest.raises(UsageError, match=rf"A label rate of 5 has nothing to keep: none of the {len(split.train)} training samples"):
        hide_labels(none, split, 5, seed=0)


def test_the_share_that_a_message_suggests_works_for_parts_of_about_this_size() -> None:
    dataset, split = toy()
    rare = np.flatnonzero(dataset.labels[split.train] == 2)
    for count in (7, len(rare)):
        part = replace(split, train=np.delete(split.train, rare[count:]))
        with pytest.raises(UsageError, match="leaves the class '2'") as refused:
            hide_labels(dataset, part, 0.1 / count, seed=0)
        share = float(str(refused.value).split("for example --label-rate ")[1].split(",")[0])
        for fewer in (count, count - 1):
            hide_labels(dataset, replace(split, train=np.delete(split.train, rare[fewer:])), share, seed=0)


def test_values_that_the_training_part_lacks_cause_a_warning() -> None:
    labels = np.zeros((40, 3))
    labels[::2, 0], labels[7, 1], labels[1:, 2] = 1, 1, 1
    labels[5:9, 0] = np.nan
    classes = np.where(np.arange(40) == 7, 2, np.arange(40) % 2)
    with_7, without_7 = ([7, *range(10, 30)], [0, *range(10, 30)])
    given: dict[str, Any] = {"training": {"epochs": 1}, "students": "gcn,mlp"}
    for own, train, told in (
        (labels, with_7, "'label 2' = 0"),
        (labels, without_7, "'label 1' = 1"),
        (labels, range(10, 30), "'label 1' = 1, 'label 2' = 0"),
        (classes, without_7, "the class '2'"),
        (classes, with_7, None),
        ({"kind": classes, "marks": labels}, without_7, "'kind' = 2, 'label 1' = 1"),
    ):
        dataset = Dataset.from_arrays([np.arange(39), np.arange(1, 40)], np.eye(40), labels=own, name="mine")
        rest = np.setdiff1d(np.arange(40), list(train))
        split = Split(list(train), rest[:9], rest[9:])
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            dgl_mutual.fit(dataset, split=split, **given)
        texts = [str(one.message) for one in shown if "cannot be learned" in str(one.message)]
        assert len(texts) == (told is not None), texts
        assert told is None or texts[0].startswith(f"The training part of mine has no sample with {told}, but the parts for"), texts


def test_labels_that_keep_only_one_value_cause_a_warning() -> None:
    labels = np.zeros((400, 2))
    labels[::2, 0], labels[:8, 1] = 1, 1
    dataset = Dataset.from_arrays([np.arange(399), np.arange(1, 400)], np.eye(400), labels=labels, name="mine")
    numbers = np.arange(400)
    split = Split(numbers[numbers % 4 < 2], numbers[numbers % 4 == 2], numbers[numbers % 4 == 3])
    with pytest.warns(UserWarning, match=r"The training part of mine has no sample with 'label 1' = 1, but"):
        dgl_mutual.fit(dataset, split=split, label_rate=0.03, training={"epochs": 1}, students="gcn,mlp")


def test_a_rate_that_leaves_the_metric_undefined_is_refused_before_training() -> None:
    labels = np.zeros((400, 1))
    labels[:12] = 1
    several = np.concatenate([labels, np.roll(labels, 50)], axis=1)
    dataset = Dataset.from_arrays([np.arange(399), np.arange(1, 400)], np.eye(400), labels=several, name="mine", metric="rocauc")
    few = np.arange(400)
    split = Split(few[::2], few[1::4], few[3::4])
    with pytest.raises(UsageError, match=r"A label rate of 0\.01 leaves \d+ labelled .* of mine, on which rocauc is not defined"):
        dgl_mutual.fit(dataset, split=split, label_rate=0.01, training={"epochs": 1}, students="gcn,mlp")


def test_a_test_part_without_labels_causes_a_warning() -> None:
    classes = np.where(np.arange(40) < 30, np.arange(40) % 2, np.nan)
    dataset = Dataset.from_arrays([np.arange(39), np.arange(1, 40)], np.eye(40), labels=classes, name="mine")
    split = Split(np.arange(20), np.arange(20, 30), np.arange(30, 40))
    with pytest.warns(UserWarning, match=r"None of 10 test samples of mine has a known label, so the test metrics are nan"):
        result = dgl_mutual.fit(dataset, split=split, training={"epochs": 1}, students="gcn,mlp")
    assert np.isnan([member.test for member in result.members]).all()


def test_values_in_no_part_of_a_split_cause_no_warning() -> None:
    classes = np.where(np.arange(40) == 7, 2, np.arange(40) % 2)
    dataset = Dataset.from_arrays([np.arange(39), np.arange(1, 40)], np.eye(40), labels=classes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unlearned(dataset, Split(np.arange(10, 30), np.arange(6), np.arange(30, 40)))


def test_the_class_of_a_sample_is_its_rarest_known_value() -> None:
    nan = np.nan
    columns = np.array([[0, 0], [0, 1], [0, nan], [nan, 1], [1, 0], [1, nan], [0, 0], [nan, nan]], dtype=np.float32)
    # The first label is 0 four times and 1 twice; the second is 0 three times and 1 twice. Named by label and value:
    expected = ["10", "11", "00", "11", "01", "01", "10", None]
    found = _rarest_value(columns)
    for a in range(8):
        for b in range(8):
            assert (found[a] == found[b]) == (expected[a] == expected[b]), (a, b, found)
    assert found[7] == -1


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_in_only_one_other_part_causes_a_warning(part: str) -> None:
    dataset, _ = toy()
    rare, rest = np.flatnonzero(CLASSES == 2), np.flatnonzero(CLASSES != 2)
    parts = {"train": rest[20:], "val": rest[:10], "test": rest[10:20], part: rare}
    with pytest.warns(UserWarning, match="no sample with the class '2'"):
        warn_of_unlearned(dataset, Split(**parts))


def test_hidden_labels_do_not_distinguish_splits() -> None:
    dataset, split = dataset_of(graphs(0)), Split(np.array([0, 1]), np.array([2]), np.array([3]), np.array([4, 5]))
    assert split_digest(dataset, split) == split_digest(without_labels(dataset, split.unlabelled), split)


def test_a_trial_trains_on_no_hidden_label() -> None:
    dataset, split = dataset_of(graphs(0)), Split(np.array([0, 1]), np.array([2]), np.array([3]), np.array([4, 5]))
    seen = trial_data(Trial(0, 0, split), parse_config({}), dataset).seen
    assert seen.labels[[4, 5]].tolist() == [-1, -1] and np.array_equal(seen.labels[:4], dataset.labels[:4])
