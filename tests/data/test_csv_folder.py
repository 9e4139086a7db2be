from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import dgl_mutual
from dgl_mutual.data import load_dataset, verify_dataset
from dgl_mutual.data.files.csv_table import read_csv
from dgl_mutual.data.values.faults import Faults
from dgl_mutual.errors import DataError, UsageError

Build = Callable[..., Path]

META = "dataset_name: toy\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\ngraph_data: {file_name: graphs.csv}\n"
NODE_META = "dataset_name: toy\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n"
NODE_FILES = {
    "meta_yaml": NODE_META,
    "nodes_csv": "node_id,label,age,train_mask,val_mask,test_mask\n10,2,1,True,False,False\n30,,2,False,False,False\n"
    "20,10,0,False,True,False\n5,2,0,False,False,True\n",
    "edges_csv": "src_id,dst_id\n10,20\n20,30\n30,10\n",
    "graphs_csv": None,
}


def test_graphs_in_the_order_of_their_file(build_csv: Build) -> None:
    dataset = load_dataset(build_csv())
    assert dataset.name == "toy" and dataset.task == "graph"
    assert dataset.node_offsets.tolist() == [0, 1, 4]
    assert dataset.edges.tolist() == [[1, 2], [2, 3]]  # directed as listed; the duplicate and the loop are gone
    np.testing.assert_array_equal(dataset.features, [[4, 0], [1, 0.5], [0, 2], [0, 0]])
    assert dataset.feature_names == ("feature 0", "feature 1")
    assert dataset.target.names == ("no", "yes") and dataset.labels.tolist() == [1, 0]


def test_empty_lines_take_no_memory(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("node_id\n" + "\n" * (1 << 17))
    tracemalloc.start()
    try:
        assert read_csv(tmp_path / "nodes.csv", ",", ["node_id"], Faults()) is None
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_node_task_with_masks(build_csv: Build) -> None:
    dataset = load_dataset(build_csv(**NODE_FILES))
    assert dataset.task == "node" and dataset.num_graphs == 1
    assert dataset.target.names == ("2", "10") and dataset.labels.tolist() == [0, -1, 1, 0]  # classes in numeric order
    assert dataset.feature_names == ("age",)
    assert dataset.edges.tolist() == [[1, 2, 0], [0, 1, 2]]
    split = dataset.official_split
    assert split is not None and [split.train.tolist(), split.val.tolist(), split.test.tolist()] == [[0], [2], [3]]


def test_columns_of_truth_values_are_indicators(build_csv: Build) -> None:
    nodes = 'node_id,label,age,member,two\n1,0,0,True,"1,true"\n2,1,1,false,"0,FALSE"\n3,1,1,TRUE,"[2, False]"\n'
    edges = 'src_id,dst_id,feat\n1,2,"true,0.5"\n2,3,"false,0"\n'
    dataset = load_dataset(build_csv(meta_yaml=NODE_META, nodes_csv=nodes, edges_csv=edges, graphs_csv=None))
    assert dataset.feature_names == ("age", "member", "two 0", "two 1")
    assert dataset.feature_kinds == ("number", "indicator", "number", "indicator")
    np.testing.assert_array_equal(dataset.features, [[0, 1, 1, 1], [1, 0, 0, 0], [1, 1, 2, 0]])
    assert dataset.edge_feature_kinds == ("indicator", "number")


def test_a_column_with_leading_zeros_is_a_warning(build_csv: Build) -> None:
    files = {**NODE_FILES, "nodes_csv": "node_id,label,zip\n10,2,01234\n30,2,1240\n20,10,0100\n5,2,0\n"}
    with pytest.warns(
        UserWarning, match=r"nodes\.csv, column zip: '01234' is treated as a numerical value, and has leading zeros, as codes have"
    ):
        assert load_dataset(build_csv(**files)).features.ravel().tolist() == [1234, 1240, 100, 0]
    load_dataset(build_csv(**{**files, "nodes_csv": "node_id,label,zip\n10,2,0.5\n30,2,0\n20,10,-0.5\n5,2,00.5\n"}))


@pytest.mark.parametrize(
    ("graphs", "graph_ids", "moved", "order"),
    [
        (None, (0, 1, 0, 1, 0, 1), 4, r"graph by graph\."),
        ("graph_id,label\n1,x\n0,y\n", (0, 0, 0, 1, 1, 1), 6, r"graph by graph, in the order of graphs\.csv\."),
        (None, (1, 1, 0, 0, 0, 7), 0, ""),
        ("graph_id,label\n0,x\n1,y\n", (0, 0, 0, 1, 1, 1), 0, ""),
    ],
)
def test_nodes_with_other_numbers_than_their_rows_are_a_warning(
    build_csv: Build, graphs: str | None, graph_ids: tuple[int, ...], moved: int, order: str
) -> None:
    nodes = "graph_id,node_id,label\n" + "".join(f"{graph},{node},{'ab'[node % 2]}\n" for node, graph in enumerate(graph_ids))
    meta = NODE_META if graphs is None else META
    folder = build_csv(meta_yaml=meta, nodes_csv=nodes, edges_csv="graph_id,src_id,dst_id\n", graphs_csv=graphs)
    told = pytest.warns(UserWarning, match=rf"nodes\.csv: {moved} of 6 rows are not sorted {order}.*sample_ids")
    used = pytest.warns(UserWarning, match="label is not used") if graphs is not None else nullcontext()
    with told if moved else nullcontext(), used:
        dataset = load_dataset(folder, task="node")
    assert [int(name.split("/")[1]) % 2 for name in dataset.sample_ids or ()] == dataset.labels.tolist()
    if graphs is not None:
        with pytest.warns(UserWarning, match="label is not used"):
            assert load_dataset(folder).num_graphs == 2


def test_the_metric_of_meta_yaml(build_csv: Build) -> None:
    folder = build_csv(**{**NODE_FILES, "meta_yaml": NODE_META + "metric: macro-f1\n"})
    target = load_dataset(folder).target
    assert (target.metric, target.default_metric) == ("macro-f1", "accuracy")
    assert load_dataset(folder).with_metric("accuracy").target.metric == "accuracy"
    assert load_dataset(folder, require_labels=False).target == target
    assert load_dataset(folder, targets=["label"]).target.metric == "macro-f1"
    assert load_dataset(folder, targets=["age"]).target.default_metric is None, "it is the metric of the column label"
    for metric, message in (
        (
            "micro-f1",
            "meta.yaml: metric = 'micro-f1' does not fit a target of 2 classes. Choose from: accuracy, balanced-accuracy, macro-f1",
        ),
        ("f1", "meta.yaml: Unknown metric 'f1'. Choose from: accuracy, balanced-accuracy, macro-f1"),
    ):
        folder = build_csv(**{**NODE_FILES, "meta_yaml": NODE_META + f"metric: {metric}\n"})
        with pytest.raises(DataError, match=message):
            load_dataset(folder)
        assert any("metric" in fault.rule for fault in verify_dataset(folder))


def test_new_data_without_labels_need_not_fit_the_metric(build_csv: Build) -> None:
    nodes = "node_id,age\n10,1\n20,0\n30,2\n"
    folder = build_csv(**{**NODE_FILES, "meta_yaml": NODE_META + "metric: rocauc\n", "nodes_csv": nodes})
    assert load_dataset(folder, require_labels=False).target.default_metric is None


def test_the_same_graph_as_dgl(build_csv: Build) -> None:
    dgl_data = pytest.importorskip("dgl.data", reason="DGL is not needed by this room")
    files = {
        **NODE_FILES,
        "nodes_csv": 'node_id,label,feat\n0,1,"1,2"\n1,0,"3,4"\n2,1,"5,6"\n',
        "edges_csv": "src_id,dst_id\n0,1\n2,1\n2,0\n",
    }
    folder = build_csv(**files)
    theirs = dgl_data.CSVDataset(str(folder), force_reload=True)[0]
    ours = load_dataset(folder)
    np.testing.assert_array_equal(ours.features, theirs.ndata["feat"].numpy())
    np.testing.assert_array_equal(ours.labels, theirs.ndata["label"].numpy())
    assert set(zip(*ours.edges.tolist(), strict=True)) == set(zip(*(end.tolist() for end in theirs.edges()), strict=True))


def test_multi_label(build_csv: Build) -> None:
    dataset = load_dataset(build_csv(graphs_csv='graph_id,label\n3,"0,1"\n7,"1,1"\n'))
    assert dataset.target.kind == "multi-label" and dataset.labels.tolist() == [[0, 1], [1, 1]]


def test_degrees_without_features(build_csv: Build) -> None:
    dataset = load_dataset(build_csv(nodes_csv="graph_id,node_id\n7,a\n7,b\n3,a\n7,c\n"))
    assert dataset.feature_names == ("degree=0", "degree=1")


def test_task_that_the_folder_does_not_have(build_csv: Build) -> None:
    with pytest.raises(UsageError, match="node task"):
        load_dataset(build_csv(**NODE_FILES), "graph")


def test_labels_may_be_absent_where_allowed(build_csv: Build) -> None:
    folder = build_csv(graphs_csv="graph_id\n3\n7\n")
    assert load_dataset(folder, require_labels=False).labels.tolist() == [-1, -1]
    assert dgl_mutual.load(folder, require_labels=False).labels.tolist() == [-1, -1]
    with pytest.raises(DataError, match=r"expected a column label.*require_labels=False"):
        dgl_mutual.load(folder)
    with pytest.raises(DataError, match=r"graphs\.csv, line 1: expected a column label"):
        load_dataset(folder)


FAULTS = [
    ({"edges_csv": "graph_id,src_id,dst_id\n7,a,b\n3,a,c\n"}, r"edges\.csv, line 3: dst_id: expected dst_id to be a node of the edge's"),
    ({"nodes_csv": "graph_id,node_id\n7,a\n7,a\n3,a\n7,c\n"}, r"line 3: node_id: expected each node of a graph once, found 'a'"),
    ({"graphs_csv": "graph_id,label\n3,yes\n7,no\n7,no\n"}, r"graphs\.csv, line 4: graph_id: expected each graph once, found '7'"),
    (
        {"nodes_csv": 'graph_id,node_id,feat\n7,a,"1,2"\n7,b,"1"\n3,a,"1,2"\n7,c,"0,0"\n'},
        r"feat: expected 2 numbers as in line 2, found '1'",
    ),
    ({"nodes_csv": "graph_id,node_id,feat\n7,a,1\n7,b,nan\n3,a,2\n7,c,4\n"}, r"nodes\.csv, line 3: feat: expected finite numbers"),
    ({"nodes_csv": "graph_id,node_id,feat\n7,a,1\n7,b,x\n3,a,2\n7,c,4\n"}, r"line 3: feat: expected numbers; encode words .*, found 'x'"),
    *(
        ({"nodes_csv": f"graph_id,node_id,feat\n7,a,1\n7,b,{cell}\n3,a,2\n7,c,4\n"}, f"line 3: feat: {rule}, found '{re.escape(cell)}'")
        for rule, cells in {
            "expected numbers alone, with commas between several": ("1x", "1 2", "$5", "2020-01-01"),
            r"expected finite numbers, .* \(the range of float32\)": ("-inf", "+infinity", "1e99", "NA"),
        }.items()
        for cell in cells
    ),
    ({"nodes_csv": "graph_id,node_id,feat\n7,a,1\n7,b,True\n3,a,2\n7,c,4\n"}, r"line 3: feat: expected either finite numbers in all lines"),
    ({"nodes_csv": "graph_id,node_id,feat\n7,a,True\n7,b,2\n3,a,2\n7,c,4\n"}, r"line 2: feat: expected either finite numbers in all lines"),
    (
        {"nodes_csv": "graph_id,node_id,feat\n7,a,1\n7,b,red\n3,a,2\n7,c,4\n"},
        r"line 3: feat: expected numbers; encode words .*, found 'red'",
    ),
    ({"nodes_csv": 'graph_id,node_id,feat\n7,a,"1,2"\n7,b,\n3,a,"1,2"\n7,c,"0,0"\n'}, r"line 3: feat: expected 2 numbers .*; fill in what"),
    ({"nodes_csv": "graph_id,node_id,feat\n7,a,1\n7,b\n3,a,2\n7,c,4\n"}, r"nodes\.csv, line 3: expected 3 cells as in the header"),
    ({"nodes_csv": "graph_id,node_id,feat\n7,a,1\n7,b,2,3\n3,a,2\n7,c,4\n"}, r"nodes\.csv, line 3: expected 3 cells as in the header"),
    ({"nodes_csv": "graph_id,node_id,feat\n7,a,1,9\n7,b,2,9\n"}, r"nodes\.csv, line 2: expected 3 cells as in the header \(2 lines"),
    ({"nodes_csv": "graph_id,feat\n7,1\n"}, r"nodes\.csv, line 1: expected a column node_id, found graph_id, feat"),
    ({"graphs_csv": "graph_id,label\n3,yes\n7,no\n8,no\n"}, r"graphs\.csv, line 4: graph_id: expected the nodes of this .*, found '8'"),
    ({"graphs_csv": "graph_id,label\n7,no\n"}, r"nodes\.csv, line 4: graph_id: expected a graph that graphs\.csv lists, found '3'"),
    ({"edges_csv": "graph_id,src_id,dst_id\n7,a,b\n3,a,c\n"}, r"line 3: dst_id: .*, found 'c'"),
    ({"graphs_csv": "graph_id,Label\n3,1\n7,0\n"}, r"expected a column label .*, found graph_id, Label \(--targets names another column; "),
    ({"nodes_csv": "graph_id,node_id\n"}, r"nodes\.csv: expected at least one line after the header"),
    ({"edges_csv": None}, r"edges\.csv: the file is missing"),
    ({"edges_csv": ""}, r"edges\.csv: the file is empty"),
    ({"meta_yaml": "dataset_name: [\n"}, r"meta\.yaml, line 2: expected YAML"),
    ({"meta_yaml": META.replace("toy", "''")}, r"meta\.yaml: dataset_name: '' is not a valid name for a dataset: .* Choose another name"),
    (
        {"meta_yaml": META.replace("toy", "' toy'")},
        r"meta\.yaml: dataset_name: ' toy' is not a valid name for a dataset: .*starts nor ends",
    ),
    (
        {"meta_yaml": META.replace("edges.csv", "edges.csv, src_id_field: src_id, dst_id_field: src_id")},
        r"meta\.yaml: edge_data\.0: src_id_field and dst_id_field are both 'src_id'\. Name a column of its own for each",
    ),
    (
        {"meta_yaml": META.replace("nodes.csv", "nodes.csv, node_id_field: graph_id")},
        "graph_id_field and node_id_field are both 'graph_id'",
    ),
    (
        {"meta_yaml": META.replace("edges.csv", "edges.csv, dst_id_field: label")},
        "dst_id_field = 'label' names a column that holds no ident",
    ),
    ({"meta_yaml": META.replace("graphs.csv", "graphs.csv, graph_id_field: val_mask")}, "graph_id_field = 'val_mask' names a column that"),
    (
        {"meta_yaml": META.replace("nodes.csv", "nodes.csv, graph_id_feild: mol")},
        r"meta\.yaml: node_data\.0: Unknown key 'graph_id_feild'\. Did you mean 'graph_id_field'\? Choose from: file_name, graph_id_field",
    ),
    ({"meta_yaml": f"{META}\nseperator: ;"}, "content: Unknown key 'seperator'. Did you mean 'separator'"),
    ({"meta_yaml": META.replace("nodes.csv", "nodes.csv, graph_id_field: mol")}, r"nodes\.csv, line 1: expected a column mol, found"),
    *(
        ({"meta_yaml": META.replace(f"{part}.csv", f"{part}.csv, {key}: '{name}'")}, f"{key} = '{name}' is a column without a name.*{part}")
        for part, key in (("nodes", "node_id_field"), ("edges", "src_id_field"), ("edges", "dst_id_field"), ("graphs", "graph_id_field"))
        for name in ("", "Unnamed: 0")
    ),
    ({"meta_yaml": "dataset_name: toy\n"}, r"meta\.yaml: node_data: it is missing"),
    (
        {"graphs_csv": "graph_id,label,train_mask\n3,yes,1\n7,no,0\n"},
        r"graphs\.csv, line 1: expected train_mask, val_mask, test_mask together",
    ),
]


@pytest.mark.parametrize(("changed", "message"), FAULTS)
def test_faults(build_csv: Build, changed: dict[str, str | None], message: str) -> None:
    folder = build_csv(**changed)
    with pytest.raises(DataError, match=message):
        load_dataset(folder)
    faults = verify_dataset(folder)
    assert faults and not any(fault.rule.endswith(".") for fault in faults), "the message puts the full stop"


def test_a_folder_may_have_no_edges(build_csv: Build) -> None:
    for header in ("graph_id,src_id,dst_id\n", "graph_id,src_id,dst_id,feat\n"):
        dataset = load_dataset(build_csv(edges_csv=header))
        assert dataset.num_edges == 0 and dataset.edge_features is None and dataset.num_samples == 2


def test_only_what_pandas_calls_unnamed_is_left_out(build_csv: Build) -> None:
    rows = "".join(f"{row},{row}.5,7,{graph},{node}\n" for row, (graph, node) in enumerate(("7a", "7b", "3a", "7c")))
    dataset = load_dataset(build_csv(nodes_csv=f"Unnamed: 0,Unnamed_pressure,Unnamed: 0.1,graph_id,node_id\n{rows}"))
    assert dataset.feature_names == ("Unnamed_pressure",)


def test_types_of_nodes_and_edges_may_be_named(build_csv: Build) -> None:
    meta = META.replace("nodes.csv", "nodes.csv, ntype: atom").replace("edges.csv", "edges.csv, etype: [atom, bond, atom]")
    assert load_dataset(build_csv(meta_yaml=meta)).num_graphs == 2


def test_booleans_in_one_column_or_several(build_csv: Build) -> None:
    for cells in (("True", "False"), ('"True,False"', '"false, TRUE"'), ('"True,0"', '"False,1"')):
        rows = f"7,a,b,{cells[0]}\n7,b,c,{cells[1]}\n"
        features = load_dataset(build_csv(edges_csv=f"graph_id,src_id,dst_id,feat\n{rows}")).edge_features
        assert features is not None and np.asarray(features).tolist() == ([[1], [0]] if "," not in cells[0] else [[1, 0], [0, 1]])


@pytest.mark.parametrize("linked", ["nodes.csv", "meta.yaml", "folder"])
def test_a_file_that_a_link_leads_out_to_is_read_but_not_shown(build_csv: Build, linked: str, tmp_path: Path) -> None:
    """Who made the folder may have meant a file that is not theirs to see."""
    folder, away = build_csv(**NODE_FILES), tmp_path / "away"
    away.mkdir()
    if linked == "folder":
        (folder / "meta.yaml").write_text(NODE_META.replace("nodes.csv", "below/nodes.csv"))
        place, target = folder / "below", away / "nodes.csv"
        (folder / "nodes.csv").rename(target)
        place.symlink_to(away)
    else:
        place, target = folder / linked, away / linked
        place.rename(target)
        place.symlink_to(target)
    named = tmp_path / "named"
    named.symlink_to(folder)
    assert verify_dataset(named) == []
    target.write_text("secret:x:1\n")
    for name in (folder, named):
        told = "\n".join(map(str, verify_dataset(name)))
        assert "secret" not in told and f"a link out of the dataset's folder, to {str(target)!r}; put a copy in its place" in told
    if linked == "nodes.csv":
        place.unlink()
        target.rename(place)
        assert "secret" in str(verify_dataset(named)[0])


def test_a_name_of_a_file_that_is_too_long(build_csv: Build) -> None:
    meta = NODE_META.replace("nodes.csv", f"{'n' * 5000}.csv")
    assert meta != NODE_META
    with pytest.raises(DataError, match="File name too long"):
        load_dataset(build_csv(**{**NODE_FILES, "meta_yaml": meta}))


def test_nodes_keep_their_order_in_each_of_two_graphs_that_take_turns(build_csv: Build) -> None:
    rows = [f"{graph},{node},{node}" for node in range(500) for graph in (7, 3)]
    nodes = "\n".join(["graph_id,node_id,feat", *rows, ""])
    dataset = load_dataset(build_csv(nodes_csv=nodes, edges_csv="graph_id,src_id,dst_id\n7,0,1\n"))
    np.testing.assert_array_equal(dataset.features, [[node] for _ in range(2) for node in range(500)])


def test_several_labels_of_graphs_are_scored_by_roc_auc_and_of_nodes_by_f1(build_csv: Build) -> None:
    assert load_dataset(build_csv(graphs_csv='graph_id,label\n3,"1,1"\n7,"0,1"\n')).target.metric == "rocauc"
    nodes = 'node_id,label,age\n10,"1,0",1\n30,"0,1",2\n20,"1,1",0\n5,"0,0",0\n'
    assert load_dataset(build_csv(**{**NODE_FILES, "nodes_csv": nodes})).target.metric == "micro-f1"


def test_numbered_masks_are_folds_in_the_order_of_their_numbers(build_csv: Build) -> None:
    numbers = (2, 10)
    columns = {f"{part}_mask_{number}": place for part, place in (("train", 0), ("val", 1), ("test", 2)) for number in numbers}
    rows = [[int((place + int(name.endswith("_10"))) % 3 == node) for name, place in columns.items()] for node in range(3)]
    lines = [f"{node},{node % 2},{','.join(map(str, row))}" for node, row in enumerate(rows)]
    nodes = "\n".join([f"node_id,label,{','.join(columns)}", *lines, ""])
    dataset = load_dataset(build_csv(**{**NODE_FILES, "nodes_csv": nodes, "edges_csv": "src_id,dst_id\n0,1\n1,2\n"}))
    assert [split.train.tolist() for split in dataset.official_splits] == [[0], [1]]
