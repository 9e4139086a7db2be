"""Datasets that come with several splits: each is a fold of the protocol ``splits``."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import dgl_mutual
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.describe import describe_dataset
from dgl_mutual.data.protocols import available_protocols, make_splits, splits_whole_graphs_under
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.data.sources.partition import write_partition
from dgl_mutual.data.values.split import Split
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DataError, UsageError

NODES, SPLITS = 40, 4
#: (nodes, splits): which part a node is in, 0 to 3; the last is none.
PARTS = np.stack([np.random.default_rng(number).permutation(NODES) // 10 for number in range(SPLITS)], axis=1)
MASKS = {"train_mask": PARTS == 0, "val_mask": PARTS == 1, "test_mask": PARTS == 2}


def graph(**masks: Any) -> dgl.DGLGraph:
    made = dgl.graph((np.arange(NODES), np.roll(np.arange(NODES), 1)), num_nodes=NODES)
    made.ndata["feat"] = torch.eye(NODES)
    made.ndata["label"] = torch.arange(NODES) % 2
    for name, mask in {**MASKS, **masks}.items():
        made.ndata[name] = torch.as_tensor(mask)
    return made


def parts(split: Split) -> list[list[int]]:
    return [part.tolist() for part in (split.train, split.val, split.test)]


def expected(number: int) -> list[list[int]]:
    return [np.flatnonzero(PARTS[:, number] == part).tolist() for part in range(3)]


def test_columns_of_masks_are_folds() -> None:
    dataset = Dataset.from_dgl(graph())
    assert available_protocols(dataset) == ("splits", "holdout") and dataset.official_split is None
    found = make_splits(dataset, "splits", seed=3)
    assert [parts(split) for split in found] == [expected(number) for number in range(SPLITS)]
    assert [parts(split) for split in make_splits(dataset, "splits", seed=0, folds=2)] == [expected(0), expected(1)]
    assert "4 of its own, the first of 10 train, 10 val, 10 test" in repr(dataset)
    assert describe_dataset(dataset)["official_splits"] == [{"train": 10, "val": 10, "test": 10}] * SPLITS


def test_a_mask_without_columns_is_the_same_in_all_splits() -> None:
    # As in WikiCS: one test part, and several of the others.
    test = np.arange(NODES) >= 35
    masks = {name: mask & ~test[:, None] for name, mask in MASKS.items()} | {"test_mask": test}
    dataset = Dataset.from_dgl(graph(**masks))
    for number, split in enumerate(dataset.official_splits):
        assert parts(split)[0] == [node for node in expected(number)[0] if node < 35] and split.test.tolist() == list(range(35, 40))


def test_one_column_is_one_split() -> None:
    dataset = Dataset.from_dgl(graph(**{name: mask[:, :1] for name, mask in MASKS.items()}))
    assert available_protocols(dataset)[0] == "public"
    assert dataset.official_split is not None and parts(dataset.official_split) == expected(0)


def test_a_list_of_splits_is_the_same_as_masks() -> None:
    own = graph()
    for name in MASKS:
        del own.ndata[name]
    splits = [Split(*(np.flatnonzero(PARTS[:, number] == part) for part in range(3))) for number in range(SPLITS)]
    dataset = Dataset.from_dgl(own, split=splits)
    assert [parts(split) for split in dataset.official_splits] == [expected(number) for number in range(SPLITS)]


def written(folder: Path, masks: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "meta.yaml").write_text("dataset_name: ring\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n")
    nodes = {"node_id": range(NODES), "label": np.arange(NODES) % 2, "feat": [float(node) for node in range(NODES)], **masks}
    pd.DataFrame(nodes).to_csv(folder / "nodes.csv", index=False)
    edges = {"src_id": np.arange(NODES), "dst_id": np.roll(np.arange(NODES), 1)}
    pd.DataFrame(edges).to_csv(folder / "edges.csv", index=False)
    return folder


@pytest.mark.parametrize("brackets", [False, True])
def test_cells_of_a_folder_have_a_value_for_each_split(tmp_path: Path, brackets: bool) -> None:
    cells = {name: [str(row.tolist()) if brackets else ",".join(map(str, row)) for row in mask] for name, mask in MASKS.items()}
    dataset = load_dataset(written(tmp_path / "ring", cells))
    assert [parts(split) for split in dataset.official_splits] == [expected(number) for number in range(SPLITS)]


@pytest.mark.parametrize("feat", [True, False])
@pytest.mark.parametrize("first", [0, 1])
def test_numbered_columns_of_a_folder_are_splits(tmp_path: Path, feat: bool, first: int) -> None:
    """Without a column feat, other columns are features; these are not. Those of the test are one column here, the same in all splits."""
    test = PARTS[:, 0] == 2
    columns = {f"{name}_{first + number}": MASKS[name][:, number] & ~test for name in ("val_mask", "train_mask") for number in (3, 2, 1, 0)}
    folder = written(tmp_path / "ring", {**columns, "test_mask": test})
    if not feat:
        nodes = pd.read_csv(folder / "nodes.csv")
        nodes.rename(columns={"feat": "age"}).to_csv(folder / "nodes.csv", index=False)
    dataset = load_dataset(folder)
    assert dataset.feature_names == ("feature 0" if feat else "age",)
    for number, split in enumerate(dataset.official_splits):
        train, val = ([node for node in expected(number)[part] if not test[node]] for part in (0, 1))
        assert parts(split) == [train, val, np.flatnonzero(test).tolist()]
    assert len(dataset.official_splits) == SPLITS


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            {"val_mask": ["True,True,False,False"] * 39 + ["True"]},
            r"line 41: val_mask: expected 4 values, one for each split, found 'True'",
        ),
        (
            {"val_mask": ["1,0"] * NODES},
            r"The masks are for different numbers of splits: train_mask 4, val_mask 2, test_mask 4",
        ),
        ({"val_mask": ["1,0,0,maybe"] * NODES}, r"val_mask: expected True or False, found '1,0,0,maybe' \(40 lines"),
        ({"val_mask": ["1,0,0,"] * NODES}, r"val_mask: expected True or False, found '1,0,0,'"),
        ({name: ["1"] * (NODES - 1) + [""] for name in MASKS}, r"train_mask: expected True or False, found an empty cell"),
        ({"val_mask_0": [1] * NODES, "test_mask_1": [0] * NODES}, "same numbers for each part, found val_mask_0, test_mask_1"),
        ({"val_mask_0": [1] * NODES}, "expected either the column val_mask or val_mask_0, which are masks of several splits, found both"),
        (
            {"val_mask": [",".join(map(str, row)) for row in MASKS["train_mask"]]},
            r"masks: expected each sample in one part of the split only in split 0",
        ),
        ({"val_mask": ["0"] * NODES}, r"val_mask: expected at least one sample in split 0"),
    ],
)
def test_wrong_cells(tmp_path: Path, masks: dict[str, Any], message: str) -> None:
    cells = {name: [",".join(map(str, row)) for row in mask] for name, mask in MASKS.items()}
    with pytest.raises(DataError, match=message):
        load_dataset(written(tmp_path / "ring", {**cells, **masks}))


def test_one_long_cell_makes_no_table_of_its_width(tmp_path: Path) -> None:
    masks = {name: [",".join(map(str, row)) for row in mask] for name, mask in MASKS.items()}
    masks["val_mask"][7] = ",".join(["False"] * 100_000)
    folder = written(tmp_path / "ring", masks)
    tracemalloc.start()
    try:
        with pytest.raises(
            DataError, match=r"val_mask: expected 100000 values, one for each split, found 'True.*' \(39 lines break this rule\)"
        ):
            load_dataset(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * folder.joinpath("nodes.csv").stat().st_size


def test_a_cell_with_very_many_values_ends_at_once(tmp_path: Path) -> None:
    masks = {name: [",".join(["1" if name == "train_mask" else "0"] * 2000)] * NODES for name in MASKS}
    with pytest.raises(DataError, match="masks are for 2000 splits"):
        load_dataset(written(tmp_path / "ring", masks))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"val_mask": MASKS["val_mask"][:, :3]}, r"masks are for different numbers of splits: train_mask 4, val_mask 3, test_mask 4"),
        ({"val_mask": MASKS["train_mask"]}, r"'val' of the split shares samples with an earlier part"),
        ({"val_mask": MASKS["val_mask"] & (np.arange(SPLITS) != 2)}, r"'val' of the split is empty"),
        ({"val_mask": np.zeros((NODES, 2, 2), dtype=bool)}, r"val_mask has the shape \(40, 2, 2\)"),
        ({name: np.zeros((NODES, 1001), dtype=bool) for name in MASKS}, r"masks are for 1001 splits. Give at most 1000"),
    ],
)
def test_wrong_masks(masks: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.from_dgl(graph(**masks))


@pytest.mark.parametrize(("folds", "told"), [(5, "4 official splits, so there are no 5 folds"), (-1, "folds = -1"), (0, "folds = 0")])
def test_other_folds_than_splits(folds: int, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        make_splits(Dataset.from_dgl(graph()), "splits", seed=0, folds=folds)


def test_other_protocols_know_the_number_of_splits() -> None:
    several, none = Dataset.from_dgl(graph()), Dataset.from_dgl(graph()).replaced(official_splits=())
    with pytest.raises(UsageError, match=r"'public' does not fit .*, with 4 official splits\). Choose from: splits, holdout"):
        make_splits(several, "public", seed=0)
    with pytest.raises(UsageError, match=r"'splits' does not fit .*, with 0 official splits\). Choose from: holdout"):
        make_splits(none, "splits", seed=0)


def test_splits_by_graph_are_inductive() -> None:
    graphs = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
    by_graph = [Split(*graphs), Split(graphs[1], graphs[2], graphs[0])]
    arrays: dict[str, Any] = {"node_offsets": [0, 2, 4, 6], "task": "node"}
    dataset = Dataset.from_arrays([[0, 2, 4], [1, 3, 5]], np.eye(6), [0, 1] * 3, split=by_graph, **arrays)
    assert splits_whole_graphs_under(dataset, "splits") and not splits_whole_graphs_under(dataset, "holdout")
    across = Dataset.from_arrays([[0, 2, 4], [1, 3, 5]], np.eye(6), [0, 1] * 3, split=[Split([0, 2], [1, 3], [4, 5])] * 2, **arrays)
    assert not splits_whole_graphs_under(across, "splits")


def test_splits_are_checked_when_they_are_replaced() -> None:
    dataset = Dataset.from_dgl(graph())
    with pytest.raises(DataError, match="names sample 40; there are 40"):
        dataset.replaced(official_splits=(Split([0], [1], [40]),))


def test_only_splits_are_accepted_as_splits() -> None:
    with pytest.raises(DataError, match=r"Give dgl_mutual\.Split\(train, val, test\), or a list of them"):
        Dataset.from_dgl(graph(), split=[[0, 1, 2]])  # type: ignore[list-item]


def test_a_partition_keeps_one_split(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 4 official splits, but a partition keeps one"):
        write_partition(Dataset.from_dgl(graph()), 2, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_fit_trains_on_the_split_of_its_fold_and_an_experiment_on_all(tmp_path: Path) -> None:
    options: dict[str, Any] = {"students": "gcn,sage", "training": {"epochs": 2}, "student": {"hidden": 4}}
    dataset = Dataset.from_dgl(graph(), name="ring")
    result = dgl_mutual.fit(dataset, fold=2, **options)
    assert parts(result.split) == expected(2)
    with pytest.raises(UsageError, match=r"no fold 4: protocol 'splits' has the folds 0 to 3"):
        dgl_mutual.fit(dataset, fold=4, **options)
    experiment = dgl_mutual.experiment(dataset, ["independent", "gml"], jobs=1, out=tmp_path, **options)
    trials = experiment.trials
    assert set(trials["protocol"]) == {"splits"} and sorted(set(trials["fold"])) == [0, 1, 2, 3] and set(trials["seed"]) == {0}
    assert trials["split"].nunique() == SPLITS and set(trials["test_to_train"]) == {0.5}
    [row] = trials[(trials["fold"] == 2) & (trials["method"] == "gml") & (trials["member"] == "mean")].to_dict("records")
    assert row["test"] == pytest.approx(result["mean"].test)


def test_fit_checks_the_split_of_its_fold_alone_and_names_it() -> None:
    labels = np.arange(NODES) % 2
    labels[np.flatnonzero(PARTS[:, 1] == 0)[:2]] = 2  # in the training part of split 1, and not in that of some others
    made = graph()
    made.ndata["label"] = torch.as_tensor(labels)
    dataset = Dataset.from_dgl(made)
    trained = [int((labels[split.train] == 2).sum()) for split in dataset.official_splits]
    assert trained[1] == 2 and 0 in trained
    quick: dict[str, Any] = {"students": "gcn,gin", "training": {"epochs": 1}, "student": {"hidden": 4}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dgl_mutual.fit(dataset, fold=1, **quick)
    with pytest.warns(UserWarning, match=rf"The training part of graph \(fold {trained.index(0)}\) has no sample with the class '2'"):
        dgl_mutual.fit(dataset, fold=trained.index(0), **quick)
    with pytest.raises(UsageError, match=r"leaves the class '2' of graph \(fold 1\) without a labelled training sample"):
        dgl_mutual.fit(dataset, fold=1, label_rate=0.2, **quick)
    one = dataset.replaced(official_splits=dataset.official_splits[1:2])
    with pytest.raises(UsageError, match="leaves the class '2' of graph without a labelled training sample"):
        dgl_mutual.fit(one, label_rate=0.2, **quick)


def test_the_first_of_several_splits_can_be_chosen(tmp_path: Path) -> None:
    options: dict[str, Any] = {"students": "gcn,sage", "training": {"epochs": 1}, "student": {"hidden": 4}, "folds": 1}
    experiment = dgl_mutual.experiment(Dataset.from_dgl(graph()), ["independent", "gml"], jobs=1, out=tmp_path, **options)
    assert set(experiment.trials["fold"]) == {0} and "nan" not in repr(experiment)
