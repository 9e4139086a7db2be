"""What other tools write, read here: equal to DGL's or torch_geometric's reading where they can read it, or refused for the true reason."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dgl_mutual.data import Dataset, load_dataset, verify_dataset
from dgl_mutual.data.files import csv_table
from dgl_mutual.errors import DataError, UsageError

META = "dataset_name: toy\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n"
EDGES = "src_id,dst_id\n0,1\n1,2\n2,3\n3,0\n"
FEATURES = np.array([[0.25, 1.0], [0.5, -2.0], [1e-3, 3.0], [0.0, 1e5]])
LABELS = [0, 1, 2, 1]


def nodes(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"node_id": range(4), "label": LABELS, "feat": list(FEATURES.tolist()), **columns})


def plain(frame: pd.DataFrame, **options: Any) -> str:
    return frame.to_csv(**{"index": False, **options})


@dataclass(frozen=True)
class Written:
    """What a tool writes, and what it means.

    Attributes:
        nodes: the file of nodes, as text or bytes.
        labels, names: as they are to be read.
        features: as they are to be read.
        dgl: whether DGL's `CSVDataset` can read it; then its reading is compared, too.
        warns: part of the warning that reading it gives.
    """

    nodes: str | bytes
    labels: list[int] = field(default_factory=lambda: LABELS)
    names: tuple[str, ...] = ("0", "1", "2")
    features: Any = field(default_factory=lambda: FEATURES)
    edges: str = EDGES
    meta: str = META
    dgl: bool = True
    warns: str | None = None


def text_of(features: np.ndarray, separator: str = ",", brackets: str = "") -> list[str]:
    return [f"{brackets[:1]}{separator.join(str(value) for value in row)}{brackets[1:]}" for row in features]


COLUMNS = {"a": FEATURES[:, 0], "b": FEATURES[:, 1]}
LIST = nodes(feat=text_of(FEATURES))
UNKNOWN = [0.0, np.nan, 2.0, 1.0]
WRITTEN: dict[str, Written] = {
    "DGL's documentation: numbers with commas": Written(plain(LIST)),
    "DGL's documentation: a blank after each comma": Written(plain(nodes(feat=text_of(FEATURES, ", ")))),
    "pandas: lists": Written(plain(nodes())),
    "pandas: tuples": Written(plain(nodes(feat=list(map(tuple, FEATURES.tolist()))))),
    "pandas: numpy arrays": Written(plain(nodes(feat=list(FEATURES))), dgl=False),
    "pandas: one number in brackets": Written(plain(nodes(feat=[[1], [2], [3], [4]])), features=[[1], [2], [3], [4]]),
    "pandas: a tuple of one": Written(plain(nodes(feat=[(1,), (2,), (3,), (4,)])), features=[[1], [2], [3], [4]]),
    "pandas: labels as lists of one": Written(plain(nodes(label=[[label] for label in LABELS])), dgl=False),
    "pandas: the index, too": Written(plain(LIST, index=True)),
    "pandas: everything in quotes": Written(plain(LIST, quoting=csv.QUOTE_ALL)),
    "pandas: columns of numbers": Written(plain(nodes(**COLUMNS).drop(columns="feat")), dgl=False),
    "pandas: columns of booleans": Written(
        plain(nodes(a=[True, False, True, True]).drop(columns="feat")), features=[[1], [0], [1], [1]], dgl=False
    ),
    "pandas: tabs": Written(plain(LIST, sep="\t"), meta=META + 'separator: "\\t"\n', edges=EDGES.replace(",", "\t")),
    "pandas: labels with gaps become floats": Written(plain(nodes(label=UNKNOWN, feat=text_of(FEATURES))), labels=[0, -1, 2, 1]),
    "pandas: nullable integers": Written(plain(nodes(label=pd.array([0, None, 2, 1], dtype="Int64"))), labels=[0, -1, 2, 1]),
    "pandas: na_rep": Written(plain(nodes(label=UNKNOWN), na_rep="NaN"), labels=[0, -1, 2, 1], warns="'NaN' in 1 cell is read as unknown"),
    "pandas: booleans": Written(plain(nodes(label=[True, False, True, True])), labels=[1, 0, 1, 1], names=("False", "True")),
    "pandas: categories": Written(
        plain(nodes(label=pd.Categorical(["low", "high", None, "low"]))), labels=[1, 0, -1, 1], names=("high", "low"), dgl=False
    ),
    "pandas: float identifiers in one file": Written(plain(LIST), edges="src_id,dst_id\n0.0,1.0\n1.0,2.0\n2.0,3.0\n3.0,0.0\n"),
    "Python: csv.writer": Written(plain(LIST, lineterminator="\r\n")),
    "Excel: CSV UTF-8": Written(b"\xef\xbb\xbf" + plain(LIST, lineterminator="\r\n").encode()),
    "Excel: semicolons": Written(plain(LIST, sep=";"), meta=META + 'separator: ";"\n', edges=EDGES.replace(",", ";")),
    "Excel: a line that names the separator": Written("sep=,\r\n" + plain(LIST), dgl=False),
    "Excel: booleans": Written(
        plain(nodes(label=["TRUE", "FALSE", "TRUE", "#N/A"])),
        labels=[1, 0, 1, -1],
        names=("False", "True"),
        dgl=False,
        warns="'#N/A' in 1 cell is read as unknown",
    ),
    "Excel: numbers with exponents": Written(plain(nodes(label=["0.00E+00", "1.00E+00", "2.00E+00", "1"]))),
    "Excel: columns without a name": Written("\n".join(f"{line},," for line in plain(LIST).splitlines())),
    "R: write.csv": Written(
        plain(nodes(label=["a", "b", "NA", "b"]), quoting=csv.QUOTE_NONNUMERIC, index=True),
        labels=[0, 1, -1, 1],
        names=("a", "b"),
        dgl=False,
        warns="'NA' in 1 cell is read as unknown",
    ),
    "Weka": Written(plain(nodes(label=[0, "?", 2, 1])), labels=[0, -1, 2, 1], dgl=False, warns="'\\?' in 1 cell is read as unknown"),
    "SQL": Written(plain(nodes(label=[0, "NULL", 2, 1])), labels=[0, -1, 2, 1], warns="'NULL' in 1 cell is read as unknown"),
    "several tools: 2 and 2.0": Written(plain(nodes(label=["0", "1.0", "2.0", "1"]))),
    "an editor: blank lines": Written("\n" + plain(LIST).replace("\n", "\n\n")),
    "an editor: an old Mac's line ends": Written(plain(LIST, lineterminator="\r"), dgl=False),
    "an editor: numbers with zeros before them, in brackets": Written(
        plain(nodes(feat=["[1,02]", "(3,04)", "[5,06]", "(7,08)"])), features=[[1, 2], [3, 4], [5, 6], [7, 8]], dgl=False
    ),
    "an editor: long lists of numbers with zeros before them": Written(
        plain(nodes(feat=[",".join(["01", "02"] * 5)] * 4)), features=[[1, 2] * 5] * 4, dgl=False
    ),
    "an image: numbers of three digits": Written(
        plain(nodes(feat=["137,190,243", "240,137,190", "100,255,128", "190,190,191"])),
        features=[[137, 190, 243], [240, 137, 190], [100, 255, 128], [190, 190, 191]],
    ),
    "an editor: tabs between lists": Written(
        plain(nodes(feat=["3,12", "12,3", "4,15", "10,1"]), sep="\t"),
        features=[[3, 12], [12, 3], [4, 15], [10, 1]],
        meta=META + 'separator: "\t"\n',
        edges=EDGES.replace(",", "\t"),
    ),
    "Excel: semicolons between lists": Written(
        plain(nodes(feat=["3,12", "12,3", "4,15", "10,1"]), sep=";"),
        features=[[3, 12], [12, 3], [4, 15], [10, 1]],
        meta=META + 'separator: ";"\n',
        edges=EDGES.replace(",", ";"),
        warns="each cell, such as '3,12', is read as 2 numbers. If it is one, write it without commas",
    ),
    "amounts or lists": Written(
        plain(nodes(feat=["1,190,243", "240,137,190", "1,255,128", "19,190,191"])),
        features=[[1, 190, 243], [240, 137, 190], [1, 255, 128], [19, 190, 191]],
        warns="each cell, such as '1,190,243', is read as 3 numbers",
    ),
    "identifiers with a zero before them": Written(plain(LIST), edges="src_id,dst_id\n00,01\n01,02\n02,03\n03,00\n"),
}


def written(folder: Path, case: Written) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "meta.yaml").write_text(case.meta)
    (folder / "edges.csv").write_text(case.edges)
    (folder / "nodes.csv").write_bytes(case.nodes if isinstance(case.nodes, bytes) else case.nodes.encode())
    return folder


def edge_set(source: Any, destination: Any) -> set[tuple[int, int]]:
    return set(zip(np.asarray(source).tolist(), np.asarray(destination).tolist(), strict=True))


@pytest.mark.parametrize("name", WRITTEN)
def test_nodes_as_tools_write_them(name: str, tmp_path: Path) -> None:
    case = WRITTEN[name]
    folder = written(tmp_path / "toy", case)
    with warnings.catch_warnings() if case.warns is None else pytest.warns(UserWarning, match=case.warns):
        if case.warns is None:
            warnings.simplefilter("error")
        dataset = load_dataset(folder)
    assert dataset.labels.tolist() == case.labels and dataset.target.names == case.names
    np.testing.assert_array_equal(dataset.features, np.asarray(case.features, dtype=np.float32))
    assert edge_set(*dataset.edges) == {(0, 1), (1, 2), (2, 3), (3, 0)}
    if case.dgl:
        compare_with_dgl(dataset, folder)


def compare_with_dgl(dataset: Dataset, folder: Path) -> None:
    data = pytest.importorskip("dgl.data", reason="DGL is not needed by this room")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = data.CSVDataset(str(folder), force_reload=True, verbose=False)[0]
    theirs = graph.ndata["label"].numpy()
    known = dataset.labels >= 0
    np.testing.assert_array_equal(np.isnan(theirs.astype(float)), ~known)
    np.testing.assert_array_equal(np.array([number_of(name) for name in dataset.target.names])[dataset.labels[known]], theirs[known])
    np.testing.assert_array_equal(dataset.features, graph.ndata["feat"].numpy().reshape(len(known), -1))
    assert edge_set(*graph.edges()) == edge_set(*dataset.edges)


def number_of(name: str) -> float:
    return float(name == "True") if name in ("True", "False") else float(name)


#: What the nodes hold, and why it is refused.
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "a decimal comma": (
        plain(nodes(a=["0,25", "0,5", "0,75", "1,0"]).drop(columns="feat")),
        "a: expected numbers with a decimal point",
    ),
    "commas between thousands": (
        plain(nodes(a=["1,000", "2,500", "1,000", "1,250,000"]).drop(columns="feat")),
        "a: expected numbers without commas between thousands, or several numbers in brackets, found '1,000'",
    ),
    "features with commas between thousands": (
        plain(nodes(feat=["1,200", "2,500", "1,000", "1,250"])),
        "line 4: feat: expected numbers without commas between thousands, or several numbers in brackets, found '1,000'",
    ),
    "features with several commas between thousands": (
        plain(nodes(feat=["1,200", "2,500", "1,100", "1,250,100"])),
        "feat: expected numbers without commas between thousands, or several numbers in brackets, found '1,200'",
    ),
    "features with a decimal comma": (
        plain(nodes(feat=["0,25", "0,5", "0,05", "1,0"])),
        "line 4: feat: expected numbers with a decimal point, or two numbers in brackets, found '0,05'",
    ),
    "a decimal comma in lists": (
        plain(nodes(feat=["0,25,1", "0,5,1", "0,05,1", "1,0,2"])),
        "line 4: feat: expected numbers without commas between thousands or before decimals, or several numbers .*, found '0,05,1'",
    ),
    "labels with commas between thousands": (
        plain(nodes(label=["1,000", "1,001", "", "1,000"])),
        "line 2: label: expected numbers without commas between thousands",
    ),
    "labels with a decimal comma": (
        plain(nodes(label=["0,0", "1,0", "", "1,0"])),
        "line 2: label: expected classes without a decimal comma, or two labels in brackets, found '0,0'",
    ),
    "UTF-16": (plain(LIST).encode("utf-16"), "it is text in UTF-16; save it as CSV in UTF-8"),
    "Windows-1252": (
        plain(nodes(label=["é", "b", "b", "b"])).encode("cp1252"),
        r"not text in UTF-8: .*0xe9 at byte 21; save it as CSV",
    ),
    "another separator": (plain(LIST, sep=";"), "expected a column node_id.*separated by ';': set separator in meta.yaml"),
    "a shortened array": (plain(nodes(feat=["[0. 1. ... 9. 9.]"] * 4)), "numpy shortens long arrays"),
    "a tensor": (plain(nodes(feat=["tensor([1., 2.])"] * 4)), r"feat: expected numbers alone, .*found 'tensor\(\[1\., 2\.\]\)'"),
    "a matrix a node": (plain(nodes(feat=[[[1, 2], [3, 4]]] * 4)), r"feat: expected numbers alone, .*found '\[\[1, 2\], \[3, 4\]\]'"),
    "a formula that failed": (plain(nodes(label=[0, "#REF!", 1, 1])), "line 3: label: .*a spreadsheet's error '#REF!'"),
    "rows of empty cells": (plain(LIST) + ",,\n", "line 6: node_id: expected an identifier, found an empty cell"),
    "missing features": (plain(nodes(feat=["1,2", "1,", "1,2", "1,2"])), "line 3: feat: expected finite numbers.*found '1,'"),
    "missing numbers": (plain(nodes(a=UNKNOWN).drop(columns="feat")), "line 3: a: expected finite numbers.*found an empty cell"),
    "words for features": (plain(nodes(a=["x", "y", "x", "y"]).drop(columns="feat")), "line 2: a: expected numbers; encode.*found 'x'"),
    "features beyond float32": (plain(nodes(feat=["1,2", "1,1e39", "1,2", "1,2"])), r"line 3: feat: .*3\.4e\+38.*found '1,1e39'"),
    "infinite features": (plain(nodes(feat=["1,2", "1,inf", "1,2", "1,2"])), "line 3: feat: expected finite numbers"),
    "a continuous target": (plain(nodes(label=[0.1, 0.7, 1.3, 2.9])), r"line 2: label: .*continuous target \(regression\).*found '0\.1'"),
    "several continuous targets": (
        plain(nodes(label=["0,0.7", "1,0", "0,1", "1,1"])),
        r"line 2: label: expected 0 or 1.*0\.7.*regression",
    ),
    "a file that is cut off in a cell": (plain(LIST)[:-2], "unexpected end of data"),
    "a file that is cut off in a line": (plain(nodes(**COLUMNS).drop(columns="feat"))[:-10], "line 5: expected 4 cells as in the header"),
    "a column twice": (plain(LIST).replace("feat", "label", 1), "line 1: expected each column once, found label twice"),
    "no labels at all": (plain(nodes(label=[None] * 4)), "label: expected at least one label, all cells are empty"),
    "more labels for some": (plain(nodes(label=["0,1", "1,1", "0", "1,1"])), "line 4: label: expected 2 numbers as in line 2"),
    "features for some": (
        plain(nodes(feat=[None, "nan", "1,1", "2"])),
        "line 2: feat: expected 2 numbers as in line 4; fill in.*empty cell",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unreadable_files_are_refused_for_the_true_reason(name: str, tmp_path: Path) -> None:
    content, reason = REFUSED[name]
    folder = written(tmp_path / "toy", Written(content))
    with pytest.raises(DataError, match=reason):
        load_dataset(folder)
    assert verify_dataset(folder)


def test_a_continuous_target_of_many_values(tmp_path: Path) -> None:
    """Prices in integers, one for each house."""
    frame = pd.DataFrame({"node_id": range(40), "label": np.arange(40) * 7919 % 100_003, "a": 1.0})
    folder = written(tmp_path / "toy", Written(plain(frame)))
    with pytest.raises(DataError, match=r"nodes\.csv: label: .*40 different values among 40 samples.*continuous target \(regression\)"):
        load_dataset(folder)
    assert load_dataset(folder, require_labels=False).labels.tolist() == [-1] * 40  # who only predicts needs none


@pytest.mark.parametrize("rows", [1, 3, 1024])
def test_labels_of_several_kinds(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "_ROWS", rows)

    def labels(*cells: str) -> Dataset:
        return load_dataset(written(tmp_path / "toy", Written(plain(nodes(label=list(cells))))))

    assert labels("a, b", "c", "a, b", "c").target.names == ("a, b", "c")  # a name with a comma, and no list
    assert labels("(x)", "[y]", "(x)", "[y]").target.names == ("(x)", "[y]")
    for lists in (("0,1", "1,NA", "", "1,1"), ("[0, 1]", "[1, nan]", "None", "[1, 1]"), ("[0 1]", "[ 1 nan]", "?", "(1, 1)")):
        found = labels(*lists)
        assert found.target.kind == "multi-label"
        np.testing.assert_array_equal(found.labels, np.array([[0, 1], [1, np.nan], [np.nan, np.nan], [1, 1]], dtype=np.float32))


def test_integers_from_2_to_the_53_on(tmp_path: Path) -> None:
    large = [2**53, 2**53 + 1, 2**53, 10**25]
    edges = "src_id,dst_id\n" + "".join(f"{source},{destination}\n" for source, destination in [(2**53, 2**53 + 1), (2**53 + 1, 5), (5, 6)])
    content = plain(nodes(node_id=[2**53, 2**53 + 1, 5, 6], label=[str(value) for value in large], feat=text_of(FEATURES)))
    dataset = load_dataset(written(tmp_path / "toy", Written(content, edges=edges)))
    assert dataset.labels.tolist() == [0, 1, 0, 2] and dataset.target.names == tuple(str(value) for value in sorted(set(large)))
    assert edge_set(*dataset.edges) == {(0, 1), (1, 2), (2, 3)}


def test_a_cell_of_any_width(tmp_path: Path) -> None:
    """Python's CSV reader takes 131,072 characters by default, and keeps that for others."""
    wide = np.random.default_rng(0).random((4, 8_000))
    dataset = load_dataset(written(tmp_path / "toy", Written(plain(nodes(feat=text_of(wide))))))
    np.testing.assert_array_equal(dataset.features, wide.astype(np.float32))
    assert csv.field_size_limit() == 131_072


def test_masks_as_tools_write_them(tmp_path: Path) -> None:
    for true, false in (("True", "False"), ("TRUE", "FALSE"), ("1", "0"), ("1.0", "0.0"), ("true", "false")):
        masks = {
            f"{part}_mask": [true if row == index else false for row in range(4)] for index, part in enumerate(("train", "val", "test"))
        }
        split = load_dataset(written(tmp_path / "toy", Written(plain(nodes(**masks))))).official_split
        assert split is not None and [split.train.tolist(), split.val.tolist(), split.test.tolist()] == [[0], [1], [2]]


GRAPH_FILES = {
    "meta.yaml": META + "graph_data: {file_name: graphs.csv}\n",
    "nodes.csv": 'graph_id,node_id,feat\n1,0,"1,2"\n1,1,"3,4"\n2,0,"5,6"\n2,1,"7,8"\n',
    "edges.csv": "graph_id,src_id,dst_id\n1,0,1\n2,1,0\n",
    "graphs.csv": "graph_id,label\n1,0\n2,1\n",
}


def graphs(folder: Path, **changed: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in {**GRAPH_FILES, **{f"{name}.csv": content for name, content in changed.items()}}.items():
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    "changed",
    [{}, {"graphs": "graph_id,label\n1.0,0\n2.0,1\n"}, {"edges": "graph_id,src_id,dst_id\n1.0,0,1\n2.0,1,0\n"}],
    ids=["plain", "float graph numbers of graphs", "float graph numbers of edges"],
)
def test_graphs_as_dgl_reads_them(changed: dict[str, str], tmp_path: Path) -> None:
    data = pytest.importorskip("dgl.data", reason="DGL is not needed by this room")
    folder = graphs(tmp_path / "toy", **changed)
    dataset = load_dataset(folder)
    theirs = data.CSVDataset(str(folder), force_reload=True, verbose=False)
    assert dataset.labels.tolist() == theirs.data["label"].flatten().tolist()
    assert dataset.node_offsets.tolist() == [0, *np.cumsum([theirs[graph][0].num_nodes() for graph in range(2)]).tolist()]
    np.testing.assert_array_equal(dataset.features, np.concatenate([theirs[graph][0].ndata["feat"].numpy() for graph in range(2)]))
    assert edge_set(*dataset.edges) == {(0, 1), (3, 2)}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"edges": "src_id,dst_id\n0,1\n"}, r"edges\.csv, line 1: expected a column graph_id, as in nodes\.csv"),
        ({"nodes": "node_id\n0\n1\n"}, r"nodes\.csv, line 1: expected a column graph_id, which distinguishes the graphs of graphs\.csv"),
        ({"graphs": "graph_id,label\n1,0\n2,1\n3,1\n"}, r"graphs\.csv, line 4: .*nothing can be predicted for a graph without nodes"),
        ({"graphs": "graph_id,label\n1,0\n1.0,0\n2,1\n"}, r"graphs\.csv, line 3: graph_id: expected each graph once"),
    ],
)
def test_graphs_that_do_not_fit_together(changed: dict[str, str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        load_dataset(graphs(tmp_path / "toy", **changed))


#: TU sets: files beside or in place of those of `TU_FILES`.
TU_SETS: dict[str, dict[str, str | None]] = {
    "labels and attributes": {},
    "negative labels": {"graph_labels": "-1\n-7\n", "node_labels": "-2\n3\n-2\n3\n3\n"},
    "labels alone": {"node_attributes": None},
    "attributes alone": {"node_labels": None},
    "several labels per node": {"node_labels": "0, 5\n3, 5\n0, 4\n3, 4\n3, 5\n"},
    "one attribute": {"node_attributes": "0.5\n1e-3\n-2\n3.25E2\n.5\n"},
    "labels and attributes of edges": {"edge_labels": "0\n0\n1\n1\n0\n0\n", "edge_attributes": "0.5\n0.5\n1\n1\n2\n2\n"},
    "duplicates and self-loops": {"A": "1, 2\n2, 1\n2, 1\n1, 2\n2, 3\n3, 2\n3, 3\n4, 5\n5, 4\n"},
    "no blank after the comma": {"A": "1,2\n2,1\n2,3\n3,2\n4,5\n5,4\n"},
    "blanks everywhere": {"A": " 1 ,  2 \n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n", "graph_labels": " 1\n -1 \n"},
    "large integers": {"graph_labels": f"{2**53 + 1}\n{2**53}\n", "node_labels": f"{2**60}\n{2**60 + 1}\n{2**60}\n{2**60}\n{2**60}\n"},
}


@pytest.mark.parametrize("name", TU_SETS)
def test_tu_sets_as_torch_geometric_reads_them(name: str, build_tu: Callable[..., Path]) -> None:
    compare_with_pyg(build_tu(**TU_SETS[name]), "TOY")


def test_a_real_tu_set_as_torch_geometric_reads_it(data_dir: Path) -> None:
    compare_with_pyg(data_dir / "tu" / "MUTAG", "MUTAG")


def compare_with_pyg(folder: Path, name: str) -> None:
    io = pytest.importorskip("torch_geometric.io", reason="the reference is optional")
    data, slices, sizes = io.read_tu_data(str(folder), name)
    dataset = load_dataset(folder)
    np.testing.assert_array_equal(dataset.labels, data.y.numpy())
    np.testing.assert_array_equal(dataset.node_offsets, slices["x"].numpy())
    shift = np.repeat(slices["x"].numpy()[:-1], np.diff(slices["edge_index"].numpy()))
    assert edge_set(*dataset.edges) == edge_set(*(data.edge_index.numpy() + shift))
    features = np.asarray(dataset.features)
    attributes, labels = sizes["num_node_attributes"], sizes["num_node_labels"]
    np.testing.assert_array_equal(features[:, features.shape[1] - attributes :], data.x[:, :attributes].numpy())
    one_hot = data.x[:, attributes : attributes + labels].numpy()
    np.testing.assert_array_equal(features[:, : features.shape[1] - attributes], one_hot[:, one_hot.any(axis=0)])


#: TU sets that torch_geometric does not read, or reads as something else, and why they are refused here.
TU_REFUSED: dict[str, tuple[Mapping[str, str | None], str]] = {
    "a regression set": ({"graph_labels": None, "graph_attributes": "0.5\n1.5\n"}, r"graph_attributes\.txt is a continuous target"),
    "continuous labels": ({"graph_labels": "0.5\n1.5\n"}, r"continuous target \(regression\)"),
    "several labels per graph": ({"graph_labels": "0, 1\n1, 1\n"}, "line 1: expected 1 value per line"),
    "a missing label": ({"graph_labels": "1\nnan\n"}, "line 2: expected finite numbers"),
    "a blank first line": ({"graph_labels": "\n1\n-1\n"}, "line 1: expected 1 value per line, found a blank line"),
    "a missing attribute": ({"node_attributes": "1, 2\n1, nan\n1, 2\n1, 2\n1, 2\n"}, "line 2: expected finite numbers"),
    "an attribute beyond float32": ({"node_attributes": "1\n2\n1e39\n4\n5\n"}, r"line 3: .*3\.4e\+38.*found '1e\+39'"),
    "a label beyond int64": ({"graph_labels": f"{10**19}\n1\n"}, r"line 1: expected integers from -2\^63 to 2\^63 - 1"),
    "words": ({"graph_labels": "a\nb\n"}, "line 1: expected numbers only, found 'a'"),
    "nodes counted from 0": ({"A": "0, 1\n1, 0\n1, 2\n2, 1\n3, 4\n4, 3\n"}, r"line 1: expected node indices 1 \.\.\. 5"),
    "graphs counted from 0": ({"graph_indicator": "0\n0\n0\n1\n1\n"}, "line 1: expected a graph index from 1 on"),
}


@pytest.mark.parametrize("name", TU_REFUSED)
def test_tu_sets_that_are_refused(name: str, build_tu: Callable[..., Path]) -> None:
    changed, reason = TU_REFUSED[name]
    with pytest.raises(DataError, match=reason):
        load_dataset(build_tu(**changed))


@pytest.mark.parametrize(
    ("cells", "separator", "doubtful"),
    [
        (["0,5", "1,2", "0,5", "2,0"], ";", True),
        (["0,1", "1,0", "0,1", "1,1"], ";", False),
        (["0.5,1", "1,2", "0,5", "2,0"], ";", False),
        (["[0,5]", "[1,2]", "[0,5]", "[2,0]"], ";", False),
        (["0,5", "1,2", "0,5", "2,0"], ",", False),
        (["-0,5", "1,2", "0,5", "2,0"], ",", True),
        (["0,4821", "1,3312", "0,55", "2,20"], ",", True),
        (["0,48", "12,33", "0,5", "2,2"], ",", False),
        (["1,200", "2,500", "1,100", "1,250"], ",", True),
        (["1,200,5", "2,500,6", "1,100,7", "1,250,8"], ",", False),
    ],
)
def test_lists_that_may_be_one_number_each_are_a_warning(tmp_path: Path, cells: list[str], separator: str, doubtful: bool) -> None:
    folder = written(
        tmp_path / "toy",
        Written(plain(nodes(feat=cells), sep=separator), meta=f"{META}separator: '{separator}'\n", edges=EDGES.replace(",", separator)),
    )
    with pytest.warns(UserWarning, match="is read as 2 numbers") if doubtful else nullcontext():
        assert load_dataset(folder).num_features == cells[0].count(",") + 1


def test_lists_that_look_like_numbers_with_commas(tmp_path: Path) -> None:
    cells = ["100,200", "300,400", "100,200", "300,400"]
    with pytest.warns(UserWarning, match=r"column feat: each cell, such as '100,200', is read as 2 numbers\. If it is one"):
        assert load_dataset(written(tmp_path / "a", Written(plain(nodes(feat=cells))))).num_features == 2
    bracketed = nodes(a=[f"[{cell}]" for cell in cells], label=["[0, 0]", "[1, 0]", "", "[1, 0]"]).drop(columns="feat")
    dataset = load_dataset(written(tmp_path / "b", Written(plain(bracketed))))
    assert dataset.num_features == 2 and dataset.target.kind == "multi-label"


@pytest.mark.filterwarnings("ignore:.*nodes.csv. other is not used")
def test_labels_of_a_multi_label_column_are_targets_by_name(tmp_path: Path) -> None:
    folder = written(tmp_path / "toy", Written(plain(nodes(label=["0,1", "1,NA", "", "1,1"], other=[1, 2, 1, 2]))))
    one = load_dataset(folder, targets=["label 1"])
    assert one.target.names == ("label 1",) and one.target.kind == "multi-label"
    np.testing.assert_array_equal(one.labels, np.array([[1], [np.nan], [np.nan], [1]], dtype=np.float32))
    both = load_dataset(folder, targets=["label 1", "label 0"])
    assert [part.name for part in both.target.parts or ()] == ["label 1", "label 0"]
    np.testing.assert_array_equal(both.labels[:2], np.array([[1, 0], [np.nan, 1]], dtype=np.float32))
    assert load_dataset(folder, targets=["other"]).target.kind == "single-label"
    with pytest.raises(UsageError, match=r"Unknown target 'label 7'.*Choose from: label 0, label 1"):
        load_dataset(folder, targets=["label 7"])
