"""Columns of a folder in CSV form that may have been meant to be used, and are not, are named in a warning."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from dgl_mutual.data import load_dataset
from tests.data.test_other_tools import FEATURES, LIST, Written, graphs, nodes, plain, written


def test_unused_columns_cause_a_warning(tmp_path: Path) -> None:
    edges = "src_id,dst_id,weight,type\n0,1,0.5,1\n1,2,0.5,1\n2,3,0.5,1\n3,0,0.5,1\n"
    with pytest.warns(UserWarning, match=r"edges\.csv: weight, type are not used\. Edge features are read from the column feat"):
        load_dataset(written(tmp_path / "toy", Written(plain(LIST), edges=edges)))
    with pytest.warns(UserWarning, match=r"graphs\.csv: feat is not used\. Graphs have no features"):
        load_dataset(graphs(tmp_path / "graphs", graphs='graph_id,label,feat\n1,0,"1,2"\n2,1,"3,4"\n'))
    with pytest.warns(UserWarning, match=r"graphs\.csv: weight is not used\. Graphs have no features"):
        load_dataset(graphs(tmp_path / "graphs", graphs="graph_id,label,weight\n1,0,1\n2,1,3\n"))


def test_columns_of_nodes_that_are_not_used_are_a_warning(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"nodes\.csv: x, y are not used\. Node features are read from the column feat, since there is one"
    ):
        assert (
            load_dataset(written(tmp_path / "toy", Written(plain(nodes(x=[1, 2, 3, 4], y=[1, 2, 3, 4]))))).num_features == FEATURES.shape[1]
        )
    without = nodes(x=[1, 2, 3, 4]).drop(columns="feat")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_dataset(written(tmp_path / "others", Written(plain(without)))).feature_names == ("x",)


@pytest.mark.filterwarnings("ignore:.* (is|are) not used")  # the others of each call
def test_labels_and_masks_that_are_not_those_of_samples_are_a_warning(tmp_path: Path) -> None:
    columns = "graph_id,node_id,x,label,train_mask,val_mask,test_mask"
    rows = "1,0,5,0,1,0,0\n1,1,6,1,0,1,0\n2,0,7,0,0,0,1\n2,1,8,1,0,0,1\n"
    folder = graphs(tmp_path / "graphs", nodes=f"{columns}\n{rows}")
    hint = "On a graph task labels and masks are those of graphs: put them into graphs.csv"
    with pytest.warns(UserWarning, match=rf"nodes\.csv: label, train_mask, val_mask, test_mask are not used\. {hint}"):
        assert load_dataset(folder).feature_names == ("x",)
    for numbered in ("train_mask_0,val_mask_0,test_mask_0", "train_mask_0,val_mask_1,train_mask"):
        others = columns.replace("train_mask,val_mask,test_mask", numbered)
        with pytest.warns(UserWarning, match=rf"nodes\.csv: train_mask_0, val_mask_.* are not used\. {hint}"):
            assert load_dataset(graphs(tmp_path / numbered, nodes=f"{others}\n{rows}"), "graph").feature_names == ("x",)
    hint = "On a node task labels and masks are those of nodes: put them into nodes.csv"
    of_graphs = graphs(tmp_path / "of-graphs", graphs="graph_id,label,train_mask_0\n1,0,1\n2,1,0\n", nodes=f"{columns}\n{rows}")
    with pytest.warns(UserWarning, match=rf"graphs\.csv: train_mask_0 is not used\. {hint}"):
        load_dataset(of_graphs, "node")
    with pytest.warns(UserWarning, match=rf"graphs\.csv: label is not used\. {hint}"):
        load_dataset(folder, "node")


def test_columns_that_are_spelled_almost_as_those_with_a_meaning_are_a_warning(tmp_path: Path) -> None:
    columns = nodes(x=[1, 2, 3, 4]).drop(columns="feat").assign(Train_Mask=[1, 0, 0, 1])
    with pytest.warns(UserWarning, match=r"nodes\.csv: the column Train_Mask is not read as train_mask\. If it should be, rename it"):
        assert load_dataset(written(tmp_path / "toy", Written(plain(columns)))).feature_names == ("x", "Train_Mask")


@pytest.mark.parametrize(
    ("names", "cells"),
    [
        (["train", "val", "test"], [1, 0, 0, 1]),
        (["is_train", "Is_Valid"], [True, False, False, True]),
        (["train_set", "test nodes"], [1, 0, 0, 1]),
        (["split"], [0, 1, 2, 0]),
        (["fold"], [3, 1, 2, 0]),
        (["mask"], [1, 0, 0, 1]),
    ],
)
def test_columns_that_look_like_masks_are_a_warning(tmp_path: Path, names: list[str], cells: list[int]) -> None:
    columns = nodes(x=[1, 2, 3, 4]).drop(columns="feat").assign(**{name: cells for name in names})
    message = rf"nodes\.csv: {', '.join(names)} looks? like .*used as features.* called train_mask, val_mask and test_mask"
    with pytest.warns(UserWarning, match=message):
        assert load_dataset(written(tmp_path / "toy", Written(plain(columns)))).feature_names == ("x", *names)
    with pytest.warns(UserWarning, match=rf"nodes\.csv: {', '.join(names)} looks? like .*not used"):
        load_dataset(written(tmp_path / "feat", Written(plain(nodes(**{name: cells for name in names})))))
    rows = "".join(f"{graph},{graph % 2},{','.join([str(cells[graph])] * len(names))}\n" for graph in (1, 2))
    with pytest.warns(UserWarning, match=rf"graphs\.csv: {', '.join(names)} looks? like .*not used.* called train_mask") as shown:
        load_dataset(graphs(tmp_path / "graphs", graphs=f"graph_id,label,{','.join(names)}\n{rows}"))
    assert not any("Graphs have no features" in str(one.message) for one in shown)


@pytest.mark.parametrize(("name", "cells"), [("test", [71, 64, 80, 92]), ("validity", [1, 0, 0, 1]), ("age", [1, 0, 0, 1])])
def test_other_columns_are_features_without_a_warning(tmp_path: Path, name: str, cells: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        columns = nodes(x=[1, 2, 3, 4]).drop(columns="feat").assign(**{name: cells})
        assert load_dataset(written(tmp_path / "toy", Written(plain(columns)))).feature_names == ("x", name)
