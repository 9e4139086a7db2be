from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.data import load_dataset, verify_dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.values.features import MAX_DEGREE
from dgl_mutual.errors import DataError

Build = Callable[..., Path]


def test_reads_graphs_in_file_order(build_tu: Build) -> None:
    dataset = load_dataset(build_tu())
    assert dataset.name == "TOY" and dataset.task == "graph"
    assert dataset.edges.tolist() == [[1, 0, 2, 1, 4, 3], [0, 1, 1, 2, 3, 4]]
    assert dataset.node_offsets.tolist() == [0, 3, 5]
    assert dataset.target.names == ("-1", "1")
    assert dataset.labels.tolist() == [1, 0]


def test_features_are_labels_beside_attributes(build_tu: Build) -> None:
    dataset = load_dataset(build_tu())
    assert dataset.feature_names == ("label=0", "label=3", "attribute 0", "attribute 1")
    np.testing.assert_array_equal(dataset.features, [[1, 0, 0.5, 1], [0, 1, 0.25, 2], [1, 0, 0, 3], [0, 1, 1, 4], [0, 1, 2, 5]])
    assert dataset.features.dtype == np.float32


def test_a_warning_says_that_float32_loses_digits_of_attributes(build_tu: Build) -> None:
    seconds = "".join(f"{1_600_000_000 + node}\n" for node in range(5))
    with pytest.warns(UserWarning, match="can hardly be distinguished in float32"):
        load_dataset(build_tu(node_labels=None, node_attributes=seconds))


def test_degrees_without_other_features(build_tu: Build) -> None:
    folder = build_tu()
    for part in ("node_labels", "node_attributes"):
        (folder / f"TOY_{part}.txt").unlink()
    dataset = load_dataset(folder)
    assert dataset.feature_names == ("degree=0", "degree=1", "degree=2")
    np.testing.assert_array_equal(dataset.features, [[0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 1, 0]])


def test_degrees_are_capped(build_tu: Build) -> None:
    leaves = MAX_DEGREE + 5
    star = "".join(f"1, {leaf}\n" for leaf in range(2, leaves + 2))
    folder = build_tu(A=star, graph_indicator="1\n" * (leaves + 1), graph_labels="0\n", node_labels=None, node_attributes=None, name="STAR")
    dataset = load_dataset(folder)
    assert dataset.num_features == MAX_DEGREE + 1
    assert dataset.features[0, MAX_DEGREE] == 1 and dataset.features[1, 1] == 1


def test_duplicates_self_loops_and_order_of_edges_do_not_matter(build_tu: Build) -> None:
    plain = load_dataset(build_tu())
    messy = load_dataset(build_tu(A="5, 4\n5, 4\n4, 5\n3, 3\n3, 2\n2, 1\n1, 1\n", name="MESSY"))
    np.testing.assert_array_equal(messy.edges, plain.edges)


def test_labels_may_be_absent_where_allowed(build_tu: Build) -> None:
    folder = build_tu(graph_labels=None)
    dataset = load_dataset(folder, require_labels=False)
    assert dataset.labels.tolist() == [-1, -1] and dataset.target.names == ()
    with pytest.raises(DataError, match=r"TOY_graph_labels\.txt: the file is missing\.\nAdd the file\."):
        load_dataset(folder)


@pytest.mark.parametrize("part", ["graph_labels", "node_labels", "node_attributes", "edge_labels", "edge_attributes"])
def test_a_link_to_nothing_or_a_folder_is_not_an_absent_file(build_tu: Build, part: str) -> None:
    folder = build_tu(**{part: None})
    place = folder / f"TOY_{part}.txt"
    place.symlink_to("nowhere")
    with pytest.raises(DataError, match=rf"TOY_{part}\.txt: it is a link to nowhere, which does not exist"):
        load_dataset(folder, require_labels=False)
    place.unlink()
    place.mkdir()
    with pytest.raises(DataError, match=rf"TOY_{part}\.txt: it is not a file but a folder"):
        load_dataset(folder, require_labels=False)


def test_a_link_to_nothing_still_names_a_continuous_target(build_tu: Build) -> None:
    folder = build_tu(graph_labels=None)
    (folder / "TOY_graph_attributes.txt").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"TOY_graph_attributes\.txt is a continuous target"):
        load_dataset(folder)


FAULTS = [
    ("A", "1, 2\n2, 4\n", 2, "both ends of an edge in one graph, found '2, 4'"),
    ("A", "1, 2\n2, 6\n", 2, r"node indices 1 \.\.\. 5"),
    ("A", "0, 2\n", 1, r"node indices 1 \.\.\. 5"),
    ("A", "1, 2\n\n2, 1\n", 2, "expected 2 values per line"),
    ("A", "1, 2\n2\n", 2, "expected 2 values per line"),
    ("A", "1, 2\n2, 1, 3\n", 2, "expected 2 values per line"),
    ("A", "1, 2\nx, 1\n", 2, "expected numbers only, found 'x, 1'"),
    ("A", "1, 2\n1.5, 1\n", 2, "expected integers"),
    ("graph_indicator", "", None, "the file is empty"),
    ("node_labels", "\n\n", None, "the file is empty"),
    ("edge_labels", "", 1, "expected 6 lines, one for each edge of TOY_A.txt, found 0"),
    ("graph_indicator", "1\n1\n2\n1\n2\n", 4, "order of their graphs"),
    ("graph_indicator", "1\n1\n1\n2\n3\n", 5, r"graph index 1 \.\.\. 2"),
    ("graph_indicator", "1\n1\n1\n2\n", 5, r"expected node indices 1 \.\.\. 4"),
    (
        "graph_indicator",
        "1\n1\n1\n3\n3\n",
        4,
        r"the graph indices 1 \.\.\. 2, one for each line of TOY_graph_labels\.txt, but a graph index is missing",
    ),
    ("graph_indicator", "0\n0\n0\n1\n1\n", 1, "expected a graph index from 1 on"),
    ("graph_labels", "\n1\n-1\n", 1, "expected 1 value per line, found a blank line"),
    ("graph_labels", "0.5\n1.5\n", 1, r"continuous target \(regression\).*found '0.5'"),
    ("graph_labels", "1\n10000000000000000000\n", 2, r"integers from -2\^63 to 2\^63 - 1"),
    ("graph_labels", "1\nNA\n", 2, "expected finite numbers, found an empty cell, NaN"),
    ("node_attributes", "0.5, 1\n0.25, 2\n0, 1e39\n1, 4\n2, 5\n", 3, r"at most 3\.4e\+38.*found '0, 1e\+39'"),
    ("graph_labels", "1\nnan\n", 2, "expected finite numbers"),
    ("graph_labels", "1, 2\n1, 2\n", 1, "expected 1 value per line"),
    ("node_labels", "0\n3\n0\n3\n", 5, "expected 5 lines, one for each node, found 4"),
    ("node_labels", "0, 1\n0, 1, 4, 2\n0, 1\n0, 1\n0, 1\n", 2, "expected 2 values per line.*as in temporal datasets, are not supported"),
    ("node_labels", '"0"3\n3\n0\n3\n3\n', 1, "expected numbers only, found '\"0\"3'"),
    ("node_labels", "0\n3\n0.5\n3\n3\n", 3, "expected integers"),
    ("node_attributes", "0.5, 1\n0.25, nan\n0, 3\n1, 4\n2, 5\n", 2, "expected finite numbers"),
    ("node_attributes", "0.5, 1\n0.25, 2\n0, 3\n1\n2, 5\n", 4, "expected 2 values per line"),
    ("node_attributes", "0.5, 1\n0.25, 2\n0, 3\n1, 4\n2, inf\n", 5, "expected finite numbers"),
]


@pytest.mark.parametrize(("part", "content", "line", "rule"), FAULTS)
def test_fault_names_file_line_and_rule(build_tu: Build, part: str, content: str, line: int | None, rule: str) -> None:
    folder = build_tu(**{part: content})
    place = "" if line is None else f", line {line}"
    with pytest.raises(DataError, match=rf"TOY_\w+\.txt{place}: .*{rule}"):
        load_dataset(folder)
    assert any(fault.line == line for fault in verify_dataset(folder))


def test_graphs_without_nodes_are_left_out_with_their_labels(build_tu: Build) -> None:
    """As in the published Fingerprint. Of six graphs the third and the fifth have nodes; class 5 has no other graph than empty ones."""
    plain = load_dataset(build_tu())
    numbers = "3\n3\n3\n5\n5\n"
    folder = build_tu(graph_indicator=numbers, graph_labels="5\n5\n1\n5\n-1\n5\n")
    with pytest.warns(UserWarning, match=r"TOY_graph_indicator\.txt: 4 of 6 graphs have no nodes.*renumbered, 0 \.\.\. 1, in splits"):
        dataset = load_dataset(folder)
    assert fingerprint(dataset) == fingerprint(plain) and dataset.target == plain.target
    assert dataset.sample_ids == ("3", "5") and plain.sample_ids is None
    with pytest.warns(UserWarning, match=r"3 of 5 graphs have no nodes"):
        (folder / "TOY_graph_labels.txt").unlink()
        assert load_dataset(folder, require_labels=False).sample_ids == ("3", "5")


@pytest.mark.parametrize("empty", ["", "\n\n"])
def test_graphs_need_no_edges(build_tu: Build, empty: str) -> None:
    dataset = load_dataset(build_tu(A=empty, edge_labels=empty, edge_attributes=empty))
    assert dataset.num_edges == 0 and dataset.edge_features is None
    assert dataset.node_offsets.tolist() == [0, 3, 5] and dataset.num_features == 4
    lone = build_tu("LONE", A=empty, graph_indicator="1\n", graph_labels=None, node_labels=None, node_attributes=None)
    assert load_dataset(lone, require_labels=False).feature_names == ("degree=0",)


def test_labels_that_look_like_identifiers_are_named(build_tu: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgl_mutual.data.values.label_rules._MANY_CLASSES", 3)
    graphs = 24
    lines = {"graph_indicator": "".join(f"{graph + 1}\n" for graph in range(graphs)), "node_labels": "0\n" * graphs}
    folder = build_tu(A="1, 1\n", **lines, graph_labels="".join(f"{graph % 8}\n" for graph in range(graphs)), node_attributes=None)
    with pytest.warns(
        UserWarning, match=r"_graph_labels\.txt: 8 classes among 24 labelled samples, 3\.0 per class on average, look like id"
    ):
        load_dataset(folder)


def test_a_continuous_target_is_called_that(build_tu: Build) -> None:
    graphs = 24
    many = {
        "A": "1, 1\n",
        "graph_indicator": "".join(f"{graph + 1}\n" for graph in range(graphs)),
        "node_labels": "0\n" * graphs,
        "node_attributes": None,
    }
    folder = build_tu(**many, graph_labels="".join(f"{graph * 17 % 24}\n" for graph in range(graphs)), name="WHOLE")
    with pytest.raises(DataError, match=r"WHOLE_graph_labels\.txt: .*24 different values among 24 samples: .*\(regression\)"):
        load_dataset(folder)
    folder = build_tu(**many, graph_labels=None, graph_attributes="0.5\n" * graphs, name="ATTRIBUTES")
    with pytest.raises(
        DataError, match=r"graph_labels\.txt: the file is missing, and ATTRIBUTES_graph_attributes\.txt is a continuous target"
    ):
        load_dataset(folder)
    assert load_dataset(folder, require_labels=False).num_graphs == graphs
    with pytest.raises(DataError, match=r"this is a regression set.*\nChoose another dataset, or write ATTRIBUTES_graph_labels\.txt"):
        load_dataset("tu/ATTRIBUTES", data_dir=folder.parent.parent)
    [fault] = verify_dataset("tu/ATTRIBUTES", data_dir=folder.parent.parent)
    assert "this is a regression set" in fault.rule


@pytest.mark.parametrize("part", ["graph_labels", "node_labels"])
def test_integers_are_read_to_their_last_digit(build_tu: Build, part: str) -> None:
    first, second = 2**53, 2**53 + 1
    lines = [first, second] if part == "graph_labels" else [first, second, first, first, -(2**63)]
    dataset = load_dataset(build_tu(**{part: "".join(f"{line}\n" for line in lines)}))
    if part == "graph_labels":
        assert dataset.target.names == (str(first), str(second)) and dataset.labels.tolist() == [0, 1]
    else:
        assert dataset.feature_names[:3] == (f"label={-(2**63)}", f"label={first}", f"label={second}")


def test_a_number_beyond_int64_is_one_fault_without_a_warning(build_tu: Build) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (fault,) = verify_dataset(build_tu(graph_labels="1e300\n1\n"))
    assert fault.line == 1 and "expected integers from -2^63" in fault.rule


@pytest.mark.parametrize("change", ["bom", "crlf", "cr", "no newline", "spaces"])
def test_how_editors_save_text(build_tu: Build, change: str) -> None:
    plain = load_dataset(build_tu())
    folder = build_tu()
    for file in folder.iterdir():
        text = file.read_bytes()
        changed = {
            "bom": b"\xef\xbb\xbf" + text,
            "crlf": text.replace(b"\n", b"\r\n"),
            "cr": text.replace(b"\n", b"\r"),
            "no newline": text.rstrip(b"\n"),
            "spaces": text.replace(b"\n", b"  \n"),
        }
        file.write_bytes(changed[change])
    found = load_dataset(folder)
    np.testing.assert_array_equal(found.features, plain.features)
    np.testing.assert_array_equal(found.edges, plain.edges)
    np.testing.assert_array_equal(found.labels, plain.labels)


def test_files_that_macos_leaves_behind(build_tu: Build) -> None:
    folder = build_tu()
    for file in list(folder.iterdir()):
        (folder / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    assert load_dataset(folder).name == "TOY"


def test_verify_reports_every_kind_of_fault(build_tu: Build) -> None:
    folder = build_tu(A="1, 2\n2, 9\n2, 4\nx, 1\n", node_labels="0\n3\n0\n3\n", node_attributes="0.5, 1\n1, nan\n1, 2\n1, 2, 3\n1, 2\n")
    found = {(fault.file.name, fault.line) for fault in verify_dataset(folder)}
    assert found == {
        *(("TOY_A.txt", line) for line in (2, 3, 4)),
        ("TOY_node_labels.txt", 5),
        ("TOY_node_attributes.txt", 2),
        ("TOY_node_attributes.txt", 4),
    }
    with pytest.raises(DataError, match="5 more kinds of fault"):
        load_dataset(folder)


def test_trailing_blank_lines_and_a_binary_file(build_tu: Build) -> None:
    assert load_dataset(build_tu(graph_labels="1\n-1\n\n\n")).labels.tolist() == [1, 0]
    folder = build_tu()
    (folder / "TOY_A.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="TOY_A"):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("name", "graphs", "classes", "nodes", "edges", "features"),
    [
        ("MUTAG", 188, 2, 17.93, 19.79, 7),
        ("PROTEINS", 1113, 2, 39.06, 72.82, 4),
        ("ENZYMES", 600, 6, 32.63, 62.14, 21),
        ("NCI1", 4110, 2, 29.87, 32.30, 37),
        ("IMDB-BINARY", 1000, 2, 19.77, 96.53, 136),
    ],
)
def test_published_counts(data_dir: Path, name: str, graphs: int, classes: int, nodes: float, edges: float, features: int) -> None:
    dataset = load_dataset(name, data_dir=data_dir, offline=True)
    assert (dataset.num_graphs, dataset.target.num_outputs, dataset.num_features) == (graphs, classes, features)
    assert round(dataset.num_nodes / graphs, 2) == nodes
    assert dataset.num_edges / 2 / graphs == pytest.approx(edges, abs=0.011)
    assert len(np.unique(dataset.labels)) == classes


def test_each_column_of_node_labels_is_one_hot_by_itself(build_tu: Build) -> None:
    dataset = load_dataset(build_tu(node_labels="0, 1\n3, 1\n0, 2\n3, 1\n3, 2\n", node_attributes=None))
    assert dataset.feature_names == ("label=0", "label=3", "label 1=1", "label 1=2")
    np.testing.assert_array_equal(dataset.features, [[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]])
