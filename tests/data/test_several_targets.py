from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dgl
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dgl_mutual.data import load_dataset
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.describe import describe_dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.noise import NoiseSpec, add_noise
from dgl_mutual.data.protocols import available_protocols, make_splits
from dgl_mutual.data.several_targets import one_by_one, select_targets, strata, target_names
from dgl_mutual.data.sources.verify import verify_dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import Target, join_targets, parts_of
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.loading import DataSource

KIND = Target("single-label", ("x", "y"), "accuracy", "kind")
MARK = Target("multi-label", ("mark",), "rocauc", "mark")
MANY = Target("multi-label", ("p", "q"), "ap", "many")
LABELS = [np.array([0, -1, 1]), np.array([[1.0], [np.nan], [0.0]]), np.array([[1, 0], [0, np.nan], [np.nan, 1]], dtype=np.float32)]


@pytest.fixture(scope="module", params=["node", "graph"])
def digits(request: pytest.FixtureRequest) -> Dataset:
    return load_dataset("digits-multi", request.param)


def with_labels(dataset: Dataset, labels: np.ndarray) -> Dataset:
    return Dataset(**{**vars(dataset), "labels": labels})


def test_outputs_of_targets_never_share_a_name() -> None:
    """The class b=c of the target a, and the class c of the target a=b."""
    targets = [Target("single-label", ("b=c", "q"), "accuracy", "a"), Target("single-label", ("c", "q"), "accuracy", "a=b")]
    _, target = join_targets(targets, [np.array([0, 1]), np.array([1, 0])])
    assert target.names == ("'a'='b=c'", "'a'='q'", "'a=b'='c'", "'a=b'='q'")


@pytest.mark.parametrize("offsets", [None, [0, 1, 2, 3]])
def test_targets_stand_side_by_side_and_come_apart_again(offsets: list[int] | None) -> None:
    labels, target = join_targets([KIND, MARK, MANY], LABELS)
    assert target.names == ("kind=x", "kind=y", "mark", "many: p", "many: q")
    assert [(part.outputs, part.columns) for part in parts_of(target)] == [
        (slice(0, 2), slice(0, 1)),
        (slice(2, 3), slice(1, 2)),
        (slice(3, 5), slice(2, 4)),
    ]
    assert [part.metric for part in parts_of(target)] == ["accuracy(kind)", "rocauc(mark)", "ap(many)"]
    apart = one_by_one(replace(Dataset.from_arrays([[], []], np.ones((3, 1)), node_offsets=offsets), labels=labels, target=target))
    for one, alone, own in zip(apart, (KIND, MARK, MANY), LABELS, strict=True):
        assert one.target == alone
        np.testing.assert_array_equal(one.labels, own)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "joint"}, "has parts"),
        ({"parts": (KIND,)}, "no other target"),
        ({"kind": "joint", "parts": (Target("single-label", ("a", "b"), "accuracy"),)}, "with names"),
        ({"kind": "joint", "parts": (KIND, MARK)}, "outputs of all its parts"),
    ],
)
def test_a_target_that_contradicts_itself_is_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Target(**{"kind": "single-label", "names": ("a", "b"), "metric": "accuracy", **fields})


def test_the_digits_targets_are_what_they_say(digits: Dataset) -> None:
    digit, even, ink = one_by_one(digits)
    bunch = load_digits()
    assert target_names(digits.target) == ("digit", "even", "ink")
    np.testing.assert_array_equal(digit.labels, bunch.target)
    np.testing.assert_array_equal(even.labels[:, 0], bunch.target % 2 == 0)
    quadrants = [bunch.images[:, rows, columns].sum((1, 2)) for rows in (slice(4), slice(4, 8)) for columns in (slice(4), slice(4, 8))]
    for quadrant, labels in zip(quadrants, ink.labels.T, strict=True):
        np.testing.assert_array_equal(labels, quadrant > np.median(quadrant))
    assert fingerprint(load_dataset("digits-multi", digits.task)) == fingerprint(digits)
    assert fingerprint(load_dataset("digits-multi", digits.task, targets=["digit"])) == fingerprint(load_dataset("digits", digits.task))


def test_labels_of_a_multi_label_set_are_targets_once_they_are_chosen() -> None:
    labels = np.array([[1, 0, np.nan], [0, np.nan, 1], [1, 1, 0]], dtype=np.float32)
    many = replace(
        Dataset.from_arrays([[], []], np.ones((3, 1)), node_offsets=[0, 1, 2, 3]),
        labels=labels,
        target=Target("multi-label", ("p", "q", "r"), "ap"),
        evaluator="ogbg-molpcba",
    )
    one = select_targets(many, ["q"])
    assert one.target == Target("multi-label", ("q",), "ap", "q")
    np.testing.assert_array_equal(one.labels, labels[:, 1:2], strict=True)
    two = select_targets(many, ["r", "p"])
    assert (two.target.kind, target_names(two.target), two.target.names) == ("joint", ("r", "p"), ("r", "p"))
    np.testing.assert_array_equal(two.labels, labels[:, [2, 0]], strict=True)
    assert select_targets(two, ["r"]).target.name == "r"
    with pytest.raises(UsageError, match=r"Unknown target 's'.*Choose from: p, q, r"):
        select_targets(many, ["s"])
    with pytest.raises(UsageError, match="named twice"):
        select_targets(many, ["p", "p"])
    with pytest.raises(UsageError, match="one target only"):
        select_targets(one, ["q"])


def test_targets_are_chosen_by_name_and_in_order(digits: Dataset) -> None:
    chosen = select_targets(digits, ["ink", "digit"])
    assert target_names(chosen.target) == ("ink", "digit")
    np.testing.assert_array_equal(chosen.labels, digits.labels[:, [2, 3, 4, 5, 0]], strict=True)
    alone = select_targets(digits, ["even"])
    assert (alone.target.kind, alone.target.metric, alone.labels.shape) == ("multi-label", "rocauc", (1797, 1))
    with pytest.raises(UsageError, match=r"Unknown target 'odd'.*Choose from: digit, even, ink"):
        select_targets(digits, ["odd"])
    with pytest.raises(UsageError, match="named twice"):
        select_targets(digits, ["even", "even"])
    with pytest.raises(UsageError, match="one target only"):
        select_targets(alone, ["even"])


def test_names_of_targets_may_come_from_an_iterator_and_are_strings(digits: Dataset) -> None:
    names = target_names(digits.target)
    assert target_names(select_targets(digits, (name for name in names[:2])).target) == names[:2]  # type: ignore[arg-type]  # an iterator
    wrong_ones = ((5, "targets = 5 is an int. Give names"), ([1], "are not names"), (None, "targets = None is None"), ([], "names nothing"))
    no_lists = (({"digit", "even"}, "is a set, which has no order"), ({"digit": 0}, "is a dict"), (np.array("digit"), "is an ndarray"))
    for wrong, message in (*wrong_ones, *no_lists):
        with pytest.raises(UsageError, match=message):
            select_targets(digits, wrong)  # type: ignore[arg-type]  # what a user may give


def test_splits_follow_the_classes_of_one_target(digits: Dataset) -> None:
    digit = select_targets(digits, ["digit"])
    for protocol in available_protocols(digits):
        for ours, theirs in zip(make_splits(digits, protocol, seed=3), make_splits(digit, protocol, seed=3), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(vars(ours).values(), vars(theirs).values(), strict=True))


@pytest.mark.filterwarnings("ignore:.* without a label, in no part of the split")
def test_a_target_with_unknown_classes_does_not_divide_the_samples(digits: Dataset) -> None:
    labels = digits.labels.copy()
    labels[0, 0] = np.nan
    unknown = with_labels(digits, labels)
    assert strata(unknown) is None and strata(digits) is not None
    if digits.task == "node":
        assert available_protocols(unknown) == ("holdout",)
        with pytest.raises(UsageError, match="joint dataset"):
            make_splits(unknown, "random", seed=0)
    for protocol in available_protocols(unknown):  # without strata, and the sample takes part
        split = make_splits(unknown, protocol, seed=0)[0]
        assert 0 in np.concatenate([split.train, split.val, split.test])
    # A sample without any label is in no part, and does not count.
    labels[0] = np.nan
    assert strata(with_labels(digits, labels)) is not None
    split = make_splits(with_labels(digits, labels), available_protocols(digits)[0], seed=0)[0]
    assert 0 not in np.concatenate([split.train, split.val, split.test])


def test_label_noise_disturbs_each_target(digits: Dataset) -> None:
    labels = digits.labels.copy()
    labels[:100, 0] = np.nan
    split = Split(np.arange(1000), np.arange(1000, 1200), np.arange(1200, 1797))
    noisy = add_noise(with_labels(digits, labels), split, NoiseSpec("label", 0.2), seed=0).labels
    changed = ~np.isnan(labels) & (noisy != labels)
    assert changed[:1000, 0].sum() == 180 and changed[:1000, 1].sum() == 200 and changed[:1000, 2:].sum() == 800
    assert not changed[1000:].any() and np.isnan(noisy[:100, 0]).all()


def test_description_and_verification_take_each_target(digits: Dataset) -> None:
    counts = describe_dataset(digits)["label_counts"]
    assert isinstance(counts, dict)
    assert counts["digit=3"] == 183 and counts["even"] == 891 and list(counts)[-1] == "ink: bottom right"
    assert verify_dataset("digits-multi", digits.task, targets=["ink"]) == []


FILES = {
    "graphs.csv": 'graph_id,colour,size,marks\n3,red,2,"1,0"\n7,blue,10,\n8,,2,",1"\n',
    "nodes.csv": "graph_id,node_id,x\n7,a,1\n7,b,0\n3,a,4\n8,a,2\n",
    "edges.csv": "graph_id,src_id,dst_id\n7,a,b\n7,b,a\n",
}


def test_label_columns_of_a_folder(build_csv: Callable[..., Path]) -> None:
    folder = build_csv(**{name.replace(".", "_"): content for name, content in FILES.items()})
    dataset = load_dataset(folder, targets=["colour", "size", "marks"])
    assert dataset.target.names == ("colour=blue", "colour=red", "size=2", "size=10", "marks: label 0", "marks: label 1")
    nan = np.nan
    np.testing.assert_array_equal(dataset.labels, np.array([[1, 0, 1, 0], [0, 1, nan, nan], [nan, 0, nan, 1]]))
    assert fingerprint(load_dataset(folder, targets="colour, size,marks")) == fingerprint(dataset)
    alone = load_dataset(folder, targets=["size"])
    assert (alone.target, alone.labels.tolist()) == (Target("single-label", ("2", "10"), "accuracy", "size"), [0, 1, 0])
    with pytest.raises(UsageError, match=r"Unknown target 'coluor'. Did you mean 'colour'\? Choose from: colour, size, marks\."):
        load_dataset(folder, targets=["coluor"])
    with pytest.raises(DataError, match="a column label"):
        load_dataset(folder)


def test_label_columns_of_nodes_are_no_features(build_csv: Callable[..., Path]) -> None:
    meta = "dataset_name: toy\nnode_data:\n- file_name: nodes.csv\nedge_data:\n- file_name: edges.csv\n"
    nodes = "node_id,x,colour,size\na,1,red,5\nb,2,blue,6\n"
    folder = build_csv(meta_yaml=meta, nodes_csv=nodes, edges_csv="src_id,dst_id\na,b\n", graphs_csv=None)
    dataset = load_dataset(folder, targets=["colour", "size"])
    assert dataset.feature_names == ("x",) and target_names(dataset.target) == ("colour", "size")
    assert load_dataset(folder, targets=["colour"]).feature_names == ("x", "size")
    unlabelled = load_dataset(folder, targets=["colour", "weight"], require_labels=False)
    assert np.isnan(unlabelled.labels[:, 1]).all() and unlabelled.feature_names == ("x", "size")


def test_a_row_of_labels_must_be_whole(build_csv: Callable[..., Path]) -> None:
    graphs = 'graph_id,marks\n3,"1,0"\n7,"1,2"\n8,"1"\n'
    folder = build_csv(nodes_csv=FILES["nodes.csv"], edges_csv=FILES["edges.csv"], graphs_csv=graphs)
    rules = [fault.rule for fault in verify_dataset(folder, targets=["marks"])]
    assert "marks: expected 2 numbers as in line 2, found '1'" in rules and any("0 or 1" in rule for rule in rules)


def test_labels_by_name_are_several_targets(tmp_path: Path) -> None:
    """The same as columns of a folder in CSV form."""
    colour, marks = ["red", "blue", "red", None], [[1, 0], [0, 1], [1, np.nan], [0, 0]]
    (tmp_path / "meta.yaml").write_text("dataset_name: own\nnode_data: [{file_name: n.csv}]\nedge_data: [{file_name: e.csv}]\n")
    (tmp_path / "n.csv").write_text('node_id,feat,colour,marks\n0,1,red,"1,0"\n1,2,blue,"0,1"\n2,3,red,"1,"\n3,4,,"0,0"\n')
    (tmp_path / "e.csv").write_text("src_id,dst_id\n0,1\n1,2\n")
    of_files = load_dataset(tmp_path, targets="colour,marks")
    given = {"colour": colour, "marks": np.array(marks)}
    made = Dataset.from_arrays([[0, 1], [1, 2]], np.arange(1.0, 5.0)[:, None], given)
    assert made.target == of_files.target and fingerprint(made) == fingerprint(of_files)
    graph = dgl.graph(([0, 1], [1, 2]), num_nodes=4)
    graph.ndata["feat"] = torch.arange(1.0, 5.0)[:, None]
    assert fingerprint(Dataset.from_dgl(graph, labels=given)) == fingerprint(made)
    alone = Dataset.from_arrays([[0, 1], [1, 2]], None, {"colour": colour}).target
    assert (alone.name, alone.parts, alone.names) == ("colour", None, ("blue", "red"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, r"the keys \[\]. Give each target a name"),
        ({1: [0, 1]}, r"the keys \[1\]"),
        ({"a": [0, 1], "b": [0]}, r"labels\['b'\] has 1 label for 2 samples"),
        ({"a": [0.5, 1]}, r"labels\['a'\], sample 0: expected classes"),
        ({"a": 3}, r"labels\['a'\]: expected shape"),
    ],
)
def test_labels_by_name_are_checked(labels: dict[object, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.from_arrays([[0], [1]], np.ones((2, 1)), labels)


def test_one_number_is_no_labels() -> None:
    with pytest.raises(DataError, match=r"The labels are an int\. Give a list"):
        Dataset.from_dgl(dgl.graph(([0], [1])), 3, feat=None)


def test_runs_of_other_targets_have_a_dataset_of_their_own() -> None:
    source = DataSource()
    configs = [parse_config({"dataset": "digits-multi", "targets": targets}) for targets in ("digit", "even", "digit,even")]
    assert [source.load(config).target.num_outputs for config in configs] == [10, 1, 11]
