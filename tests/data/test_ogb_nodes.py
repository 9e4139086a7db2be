"""Node datasets in OGB's raw form: as OGB reads them, and every rule of the form."""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dgl_mutual.data import default_protocol, known_datasets, load_dataset, make_splits, verify_dataset
from dgl_mutual.data.sources.folders import missing_files
from dgl_mutual.data.sources.ogb_package import make_evaluator
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.training.evaluation.metrics import accuracy, make_metric

Build = Callable[..., Path]
NUM_NODES = 6
SPLITS = {"ogbn-arxiv": "time", "ogbn-products": "sales_ranking", "ogbn-proteins": "species"}


def files(name: str) -> dict[str, str]:
    """Six nodes, five edges of which one is a self-loop and one occurs twice."""
    random = np.random.default_rng(len(name))

    def lines(values: np.ndarray) -> str:
        return "".join(",".join(map(str, row)) + "\n" for row in values)

    if name == "ogbn-proteins":
        content = {"edge-feat": lines(random.random((5, 8)).round(3)), "node-label": lines(random.integers(2, size=(NUM_NODES, 112)))}
    else:
        content = {"node-feat": lines(random.normal(size=(NUM_NODES, 3)).round(4)), "node-label": "4\n0\n39\n1\n2\n0\n"}
    content |= {"edge": "0,1\n1,2\n3,3\n4,0\n0,1\n", "num-node-list": "6\n", "num-edge-list": "5\n"}
    split = {
        f"split/{SPLITS.get(name, 'own')}/{part}": text for part, text in {"train": "0\n3\n", "valid": "1\n5\n", "test": "2\n4\n"}.items()
    }
    return {f"raw/{part}": text for part, text in content.items()} | split


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(name: str = "ogbn-arxiv", **changed: str | bytes | None) -> Path:
        folder = tmp_path / "ogb" / name.replace("-", "_")
        for part, content in {**files(name), **{part.replace("__", "/").replace("_", "-"): text for part, text in changed.items()}}.items():
            path = folder / f"{part}.csv.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content if isinstance(content, bytes) else gzip.compress(content.encode()))
        return folder

    return make


def as_arrays(folder: Path) -> Path:
    """The same dataset in OGB's other form."""
    raw = folder / "raw"
    tables = {part: np.genfromtxt(raw / f"{part}.csv.gz", delimiter=",", ndmin=2) for part in ("edge", "node-feat", "node-label")}
    np.savez(
        raw / "data.npz",
        edge_index=tables["edge"].T.astype(np.int32),
        num_nodes_list=np.array([NUM_NODES]),
        num_edges_list=np.array([5]),
        node_feat=tables["node-feat"].astype(np.float32),
    )
    np.savez(raw / "node-label.npz", node_label=tables["node-label"])
    for path in raw.glob("*.csv.gz"):
        path.unlink()
    return folder


@pytest.mark.parametrize("name", SPLITS)
def test_files_mean_what_ogb_reads(name: str, build: Build) -> None:
    from ogb.io.read_graph_raw import read_csv_graph_raw

    folder = build(name)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        (graph,) = read_csv_graph_raw(str(folder / "raw"), add_inverse_edge=True)
    dataset = load_dataset(name, data_dir=folder.parents[1], offline=True)
    np.testing.assert_array_equal(dataset.edges, canonical_edges(*graph["edge_index"], NUM_NODES, symmetric=False))
    assert dataset.num_nodes == graph["num_nodes"] and dataset.task == "node" and dataset.evaluator == name
    if name == "ogbn-proteins":
        ends = graph["edge_index"][1]
        means = [graph["edge_feat"][ends == node].mean(0) if (ends == node).any() else np.zeros(8) for node in range(NUM_NODES)]
        np.testing.assert_allclose(dataset.features, means, rtol=1e-6)
        assert (dataset.target.kind, dataset.target.metric, dataset.labels.shape) == ("multi-label", "rocauc", (NUM_NODES, 112))
    else:
        np.testing.assert_array_equal(dataset.features, graph["node_feat"])
        assert dataset.labels.tolist() == [4, 0, 39, 1, 2, 0] and dataset.target.num_outputs == {"ogbn-arxiv": 40}.get(name, 47)
    assert default_protocol(dataset) == "public"
    (split,) = make_splits(dataset, "public", seed=0)
    assert [part.tolist() for part in (split.train, split.val, split.test)] == [[0, 3], [1, 5], [2, 4]]


def test_both_forms_are_one_dataset(build: Build) -> None:
    text = load_dataset(build("own"))
    arrays = load_dataset(as_arrays(build("own")))
    assert (text.name, arrays.name, arrays.evaluator) == ("own", "own", None)
    for one, other in ((text.edges, arrays.edges), (text.features, arrays.features), (text.labels, arrays.labels)):
        np.testing.assert_array_equal(one, other)
    assert text.target == arrays.target and text.target.num_outputs == 40
    assert text.official_split is not None and arrays.official_split is not None
    np.testing.assert_array_equal(text.official_split.test, arrays.official_split.test)
    faults = verify_dataset(build("own"))
    assert all("in the test part of the official split" in fault.rule for fault in faults), "six nodes have too many classes"


def test_unknown_labels_no_features_and_no_split(build: Build) -> None:
    folder = build("own", raw__node_label="4\n\n1\n1\n2\n0\n", raw__node_feat=None, split__own__train=None)
    for part in ("valid", "test"):
        (folder / "split" / "own" / f"{part}.csv.gz").unlink()
    (folder / "split" / "own").rmdir()
    (folder / "raw" / "node-feat.csv.gz").unlink(missing_ok=True)
    dataset = load_dataset(folder)
    assert dataset.labels.tolist() == [4, -1, 1, 1, 2, 0] and dataset.official_split is None
    assert dataset.feature_names == ("degree=0", "degree=1", "degree=2")


def test_labels_may_be_absent_where_nobody_asks_for_them(build: Build) -> None:
    folder = as_arrays(build("own"))
    (folder / "raw" / "node-label.npz").unlink()
    assert load_dataset(folder, require_labels=False).labels.tolist() == [-1] * NUM_NODES
    with pytest.raises(DataError, match=r"node-label.npz: the file is missing"):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"raw__edge": "0,1\n1,6\n3,3\n4,0\n0,1\n"}, r"edge.csv.gz, line 2: expected two node indices 0 ... 5, found '1, 6'"),
        ({"raw__edge": "0,1\n"}, r"edge.csv.gz, line 2: expected 5 lines"),
        ({"raw__num_node_list": "3\n3\n"}, r"num-node-list.csv.gz, line 2: expected 1 lines, one for each graph"),
        ({"raw__node_label": "4\n0\n"}, r"node-label.csv.gz, line 3: expected 6 lines"),
        ({"raw__node_label": "4\n0\n1.5\n1\n2\n0\n"}, r"node-label.csv.gz, line 3: expected a class index"),
        ({"raw__node_feat": "1\n"}, r"node-feat.csv.gz, line 2: expected 6 lines"),
        ({"raw__node_feat": "1\n1\nnan\n1\n1\n1\n"}, r"node-feat.csv.gz, line 3: expected finite numbers"),
        ({"raw__num_edge_list": "-12\n"}, r"num-edge-list.csv.gz, line 1: expected a number of edges, found '-12'"),
        ({"raw__num_edge_list": b"no gzip"}, r"num-edge-list.csv.gz: the file is truncated or damaged"),
        ({"split__time__train": "0\n9\n"}, r"train.csv.gz, line 2: expected a node index 0 ... 5"),
        ({"split__time__test": "2\n0\n"}, r"test.csv.gz, line 2: expected each node in one part"),
    ],
)
def test_faults_of_text_files(changed: dict[str, str], message: str, build: Build) -> None:
    folder = build(**changed)
    with pytest.raises(DataError, match=message):
        load_dataset("ogbn-arxiv", data_dir=folder.parents[1], offline=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"edge_index": None}, "edge_index missing"),
        ({"edge_index": np.zeros((2, 4), dtype=np.int64)}, r"edge_index: expected integers of shape \(2, 5\)"),
        ({"edge_index": np.full((2, 5), 6)}, r"expected node indices 0 ... 5, found 6 ... 6"),
        ({"num_nodes_list": np.array([3, 3])}, "one graph"),
        ({"num_edges_list": np.array([-12])}, "num_edges_list: expected a number of edges, found -12"),
        ({"node_feat": np.full((NUM_NODES, 2), np.nan)}, r"node_feat: expected finite numbers.*found nan in row 0"),
        ({"node_feat": np.full((NUM_NODES, 2), 1e39)}, r"node_feat: expected finite numbers.*found 1e\+39 in row 0"),
        ({"edge_feat": np.full((5, 2), -1e39)}, r"edge_feat: expected finite numbers.*found -1e\+39 in row 0"),
        ({"node_feat": np.ones(NUM_NODES)}, r"node_feat: expected a row for each of the 6 nodes, shape \(6, columns\), found \(6,\)"),
        ({"node_feat": np.array([{}], dtype=object)}, "node_feat: expected plain numbers"),
    ],
)
def test_faults_of_arrays(changed: dict[str, np.ndarray | None], message: str, build: Build) -> None:
    folder = as_arrays(build("own"))
    arrays = {**np.load(folder / "raw" / "data.npz"), **changed}
    np.savez(folder / "raw" / "data.npz", **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=message):
        load_dataset(folder)


@pytest.mark.parametrize("part", ["raw/node-feat", "raw/edge-feat", "raw/node-label", "split/own/valid"])
def test_a_link_to_nothing_or_a_folder_is_not_an_absent_file(build: Build, part: str) -> None:
    place = build("own") / f"{part}.csv.gz"
    place.unlink(missing_ok=True)
    place.symlink_to("nowhere")
    with pytest.raises(DataError, match=f"{place.name}: it is a link to nowhere, which does not exist"):
        load_dataset(place.parents[part.count("/")], require_labels=False)
    place.unlink()
    place.mkdir()
    with pytest.raises(DataError, match=f"{place.name}: it is not a file but a folder"):
        load_dataset(place.parents[part.count("/")], require_labels=False)


def test_arrays_that_are_a_link_to_nothing(build: Build) -> None:
    folder = build("own")
    (folder / "raw" / "data.npz").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"data\.npz: it is a link to nowhere"):
        load_dataset(folder)


def test_a_split_that_is_not_there_as_a_folder(build: Build) -> None:
    folder = build("own")
    split = folder / "split"
    (split / "own").rename(folder / "kept")
    (split / "own").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"train\.csv\.gz: the file is missing"):
        load_dataset(folder)
    (split / "own").unlink()
    (split / "own").write_text("0\n")
    with pytest.raises(DataError, match=r"split: expected a folder with the files train\.csv\.gz, .*, found the file own"):
        load_dataset(folder)
    (split / "own").unlink()
    assert load_dataset(folder).official_split is None
    split.rmdir()
    for make in (lambda: split.write_text("0\n"), lambda: split.symlink_to("nowhere")):
        make()
        with pytest.raises(DataError, match="split: expected a folder that holds the folder of a split"):
            load_dataset(folder)
        split.unlink()


def test_two_splits_are_one_too_many(build: Build) -> None:
    folder = build("own")
    (folder / "split" / "other").mkdir()
    with pytest.raises(DataError, match="expected one split, found other, own"):
        load_dataset(folder)


def test_catalog_names_the_files_that_are_read(build: Build) -> None:
    for name in SPLITS:
        entry = known_datasets()[name]
        assert not missing_files(build(name), entry)
        assert entry.url == f"https://snap.stanford.edu/ogb/data/nodeproppred/{name.removeprefix('ogbn-')}.zip"


def test_ogbs_evaluator_scores_classes(build: Build) -> None:
    logits, labels = torch.randn(3, 50, 40), torch.randint(-1, 40, (50,))
    assert make_metric("accuracy", "ogbn-arxiv")(logits, labels) == pytest.approx(accuracy(logits, labels))
    assert np.isnan(make_metric("accuracy", "ogbn-arxiv")(logits, torch.full((50,), -1))).all()


def test_ogbs_evaluator_scores_labels() -> None:
    truth = np.random.default_rng(0).integers(2, size=(30, 112)).astype(np.float32)
    logits = torch.randn(1, 30, 112)
    expected = make_evaluator("ogbn-proteins").eval({"y_true": truth, "y_pred": logits[0].numpy()})["rocauc"]
    assert make_metric("rocauc", "ogbn-proteins")(logits, torch.as_tensor(truth)) == [expected]


def test_what_ogbs_dataset_saver_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arrays are read as OGB reads them; its split is a pickle, which is refused for that reason."""
    from ogb.io import DatasetSaver
    from ogb.io.read_graph_raw import read_binary_graph_raw

    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    graph = {"edge_index": np.array([[0, 1, 2], [1, 2, 3]]), "num_nodes": 4, "node_feat": generator.random((4, 2))}
    saver = DatasetSaver("ogbn-own", is_hetero=False, version=1)
    saver.save_graph_list([graph])
    saver.save_target_labels(np.array([[0.0], [np.nan], [1.0], [0.0]]))
    folder = tmp_path / saver.dataset_dir
    (theirs,) = read_binary_graph_raw(str(folder / "raw"), False)
    ours = load_dataset(folder)
    np.testing.assert_array_equal(ours.features, theirs["node_feat"])
    assert ours.labels.tolist() == [0, -1, 1, 0]
    assert set(zip(*theirs["edge_index"].tolist(), strict=True)) <= set(zip(*ours.edges.tolist(), strict=True))

    saver.save_split({"train": np.array([0]), "valid": np.array([2]), "test": np.array([3])}, "random")
    with pytest.raises(
        DataError, match=r"split_dict\.pt: a pickle is not read.*save the split as train\.csv\.gz, valid\.csv\.gz, test\.csv\.gz"
    ):
        load_dataset(folder)
    for part, node in (("train", 0), ("valid", 2), ("test", 3)):
        (folder / "split" / "random" / f"{part}.csv.gz").write_bytes(gzip.compress(f"{node}\n".encode()))
    split = load_dataset(folder).official_split
    assert split is not None and [split.train.tolist(), split.val.tolist(), split.test.tolist()] == [[0], [2], [3]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0.25], [0.5], [1.0], [2.0]]), r"continuous target \(regression\).*found \[0\.25\] for node 0"),
        (np.array([["a"], ["b"], ["a"], ["b"]]), "found values of type <U1"),
    ],
)
def test_targets_of_ogbs_dataset_saver_that_are_no_classes(
    labels: np.ndarray, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ogb.io import DatasetSaver

    monkeypatch.chdir(tmp_path)
    saver = DatasetSaver("ogbn-own", is_hetero=False, version=1)
    saver.save_graph_list([{"edge_index": np.array([[0, 1], [1, 2]]), "num_nodes": 4}])
    saver.save_target_labels(labels)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path / saver.dataset_dir)


def test_graph_and_heterogeneous_datasets_of_ogbs_saver_are_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ogb.io import DatasetSaver

    monkeypatch.chdir(tmp_path)
    saver = DatasetSaver("ogbg-own", is_hetero=False, version=1)
    saver.save_graph_list([{"edge_index": np.array([[0], [1]]), "num_nodes": 2}] * 2)
    saver.save_target_labels(np.array([[0], [1]]))
    with pytest.raises(DataError, match=r"graph-label\.npz: the dataset is for the graph task"):
        load_dataset(tmp_path / saver.dataset_dir)
    saver = DatasetSaver("ogbn-hetero", is_hetero=True, version=1)
    saver.save_graph_list([{"edge_index_dict": {("a", "to", "b"): np.array([[0], [1]])}, "num_nodes_dict": {"a": 2, "b": 2}}])
    with pytest.raises(DataError, match="a heterogeneous dataset in OGB's form"):
        load_dataset(tmp_path / saver.dataset_dir)


def test_labels_that_look_like_identifiers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ogb.io import DatasetSaver

    monkeypatch.setattr("dgl_mutual.data.values.label_rules._MANY_CLASSES", 3)
    monkeypatch.chdir(tmp_path)
    saver = DatasetSaver("ogbn-own", is_hetero=False, version=1)
    saver.save_graph_list([{"edge_index": np.array([[0, 1], [1, 2]]), "num_nodes": 4}])
    saver.save_target_labels(np.arange(4.0)[:, None])
    with pytest.warns(UserWarning, match=r"labels: 4 classes among 4 labelled samples, 1\.0 per class on average, look like identifiers"):
        load_dataset(tmp_path / saver.dataset_dir)


def test_a_folder_with_files_of_two_forms_is_for_the_task_of_the_one_that_is_read(build: Build) -> None:
    folder = build("mine")
    for part, text in {"A": "1,2\n", "graph_indicator": "1\n1\n", "graph_labels": "1\n"}.items():
        (folder / f"TOY_{part}.txt").write_text(text)
    assert load_dataset(folder).task == load_dataset(folder, "node").task == "node"
    with pytest.raises(UsageError, match="is a dataset for the node task, not for 'graph'"):
        load_dataset(folder, "graph")
