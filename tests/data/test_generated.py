"""Generated graphs: sizes, determinism, information in features and edges, and invalid requests."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgl_mutual.cli.main import main
from dgl_mutual.data import load_dataset, verify_dataset
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.describe import describe_dataset, edge_homophily
from dgl_mutual.data.sources import generated
from dgl_mutual.data.sources.generated import GENERATORS, draw_edges, generate_dataset
from dgl_mutual.errors import StoreError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_dataset("power-law", tmp_path_factory.mktemp("generated") / "toy", seed=3, nodes=4000, edges=30000)


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return load_dataset(folder)


def test_sizes_and_split(folder: Path, dataset: Dataset) -> None:
    assert (dataset.num_nodes, dataset.num_edges, dataset.num_features, dataset.target.num_outputs) == (4000, 60000, 64, 10)
    split = dataset.official_split
    assert split is not None and [len(part) for part in (split.train, split.val, split.test)] == [2000, 400, 1600]
    assert verify_dataset(folder) == []


def test_ogb_reads_it(folder: Path, dataset: Dataset) -> None:
    from ogb.io.read_graph_raw import read_binary_graph_raw

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        (graph,) = read_binary_graph_raw(str(folder / "raw"))
    assert graph["edge_index"].shape == (2, 30000) and (graph["edge_index"][0] < graph["edge_index"][1]).all()
    np.testing.assert_array_equal(graph["node_feat"], dataset.features)


def test_a_seed_is_a_dataset(dataset: Dataset, tmp_path: Path) -> None:
    again = load_dataset(generate_dataset("power-law", tmp_path / "toy", seed=3, nodes=4000, edges=30000))
    other = load_dataset(generate_dataset("power-law", tmp_path / "other", seed=4, nodes=4000, edges=30000))
    names = [describe_dataset(one)["fingerprint"] for one in (dataset, again, other)]
    assert names[0] == names[1] != names[2]


def test_degrees_follow_a_power_law_and_classes_keep_together(dataset: Dataset) -> None:
    degrees = np.diff(dataset.in_offsets)
    assert degrees.max() > 15 * degrees.mean() and np.median(degrees) < 0.8 * degrees.mean()
    chance = float((np.bincount(dataset.labels) / 4000) @ (np.bincount(dataset.labels) / 4000))
    homophily = edge_homophily(dataset)
    assert homophily is not None and homophily > 4 * chance


def test_neighbours_and_features_tell_the_class(dataset: Dataset) -> None:
    """Nearest class centre of a node's own features is better than chance, and of its neighbourhood's mean better still."""
    split = dataset.official_split
    assert split is not None
    gathered = np.zeros_like(dataset.features)
    np.add.at(gathered, dataset.edges[1], dataset.features[dataset.edges[0]])
    scores = []
    for x in (dataset.features, dataset.features + gathered):
        x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-9)
        centres = np.stack([x[split.train][dataset.labels[split.train] == label].mean(0) for label in range(10)])
        decided = (x[split.test] @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T).argmax(1)
        scores.append((decided == dataset.labels[split.test]).mean())
    assert 0.25 < scores[0] < scores[1] < 0.95


def test_twins_have_the_sizes_of_their_models() -> None:
    arxiv, products = GENERATORS["arxiv-twin"], GENERATORS["products-twin"]
    assert (arxiv.nodes, arxiv.edges, arxiv.features, arxiv.classes) == (169_343, 1_166_243, 128, 40)
    assert (products.nodes, products.edges, products.features, products.classes) == (2_449_029, 61_859_140, 100, 47)


def test_the_requested_edges_are_drawn_even_if_hubs_collide() -> None:
    config = replace(GENERATORS["power-law"], nodes=300, edges=4400, classes=3)
    classes = np.arange(300) % 3
    source, destination = draw_edges(config, classes, np.random.default_rng(0))
    assert len(set(zip(source.tolist(), destination.tolist(), strict=True))) == 4400 and (source < destination).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "arxiv-twn"}, "arxiv-twin"),
        ({"name": "arxiv-twin", "nodes": 10}, "power-law"),
        ({"nodes": 100, "edges": 1000}, "1000 edges between 100 nodes are too many: at most 495"),
        ({"nodes": 50, "edges": 100}, "50 nodes are too few for 10 classes"),
        ({"nodes": 10**18}, "nodes = 1000000000000000000 is more than the maximum 2147483647"),
        ({"nodes": 500, "edges": -1}, "edges = -1 is not an integer from 1"),
        ({"seed": -1}, "negative"),
    ],
)
def test_wrong_requests(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        generate_dataset(**{"name": "power-law", "out": tmp_path / "toy", "seed": 0, **arguments})  # type: ignore[arg-type]  # wrong on purpose
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "generate", "power-law", "--nodes", "500", "--edges", "1500", "--out", str(tmp_path / "toy")]
    for status, words in ((0, f"Written to {tmp_path / 'toy'}"), (2, "exists, and nothing is overwritten")):
        with pytest.raises(SystemExit) as caught:
            main(command)
        assert caught.value.code == status
        assert words in "".join(capsys.readouterr())


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "_write", lambda *_: (tmp_path / "toy" / "notes").mkdir(parents=True))
    with pytest.raises(UsageError, match="exists, and nothing is overwritten"):
        generate_dataset("power-law", tmp_path / "toy", seed=0, nodes=500)
    assert [*tmp_path.rglob("*")] == [tmp_path / "toy", tmp_path / "toy" / "notes"]
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    monkeypatch.chdir(tmp_path)
    for out in (tmp_path / "link", Path()):
        with pytest.raises(UsageError, match="exists, and nothing is overwritten"):
            generate_dataset("power-law", out, seed=0, nodes=500)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"Cannot write '.*file/toy'.*Choose another place that you may write to"):
        generate_dataset("power-law", tmp_path / "file" / "toy", seed=0, nodes=1000)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.Series, "to_csv", full_disk)
    with pytest.raises(StoreError, match=r"toy': No space left on device\. Make room"):
        generate_dataset("power-law", tmp_path / "toy", seed=0, nodes=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
