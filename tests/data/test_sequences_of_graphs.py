"""Datasets of PyG, DGL and torch, batches and loaders: what is a sequence of graphs is read as one."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dgl
import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset

import dgl_mutual
from dgl_mutual.data import Dataset, load_dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.errors import DataError, UsageError
from tests import small_graph
from tests.data.test_dataset import EDGES, FEATURES
from tests.data.test_graph_objects import dgl_graph

pyg = pytest.importorskip("torch_geometric", reason="PyG is of the extra reference")


def pyg_graphs() -> list[Any]:
    edges = torch.as_tensor(EDGES)
    return [
        pyg.data.Data(x=torch.as_tensor(FEATURES)[:size] * (number + 1), edge_index=edges[:, edges.max(0)[0] < size], y=number % 2)
        for number, size in enumerate([4, 3, 4, 4])
    ]


class InMemory(pyg.data.InMemoryDataset):  # type: ignore[misc]  # PyG is not typed here
    def __init__(self, graphs: list[Any]) -> None:
        super().__init__()
        self._data, self.slices = self.collate(graphs)


class OnDemand(pyg.data.Dataset):  # type: ignore[misc]
    def len(self) -> int:
        return 4

    def get(self, idx: int) -> Any:
        return pyg_graphs()[idx]


class Plain:
    """A sequence of its own, as OGB's datasets for DGL are."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> Any:
        if not 0 <= number < 4:
            raise IndexError(number)
        return pyg_graphs()[number]


@pytest.mark.parametrize(
    "made",
    [
        lambda: InMemory(pyg_graphs()),
        lambda: InMemory(pyg_graphs()[::-1])[[3, 2, 1, 0]],
        OnDemand,
        Plain,
        lambda: deque(pyg_graphs()),
        lambda: ConcatDataset([InMemory(pyg_graphs()[:3]), InMemory(pyg_graphs()[3:])]),
        lambda: Subset(InMemory(pyg_graphs() * 2), range(4, 8)),
        lambda: list(pyg.loader.DataLoader(pyg_graphs(), batch_size=3)),
    ],
    ids=["in memory", "a selection", "on demand", "plain", "deque", "concatenated", "a subset", "batches"],
)
def test_a_sequence_of_graphs_is_one_whatever_its_class(made: Callable[[], Any]) -> None:
    expected = fingerprint(Dataset.from_pyg(pyg_graphs()))
    assert fingerprint(Dataset.from_pyg(made())) == fingerprint(dgl_mutual.load(made())) == expected


def test_tu_of_pyg_is_that_of_its_files(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir / "tu" / "MUTAG", tmp_path / "MUTAG" / "raw")
    theirs, own = pyg.datasets.TUDataset(str(tmp_path), "MUTAG"), load_dataset(data_dir / "tu" / "MUTAG")
    dataset = Dataset.from_pyg(theirs)
    assert (dataset.name, dataset.task, dataset.num_graphs, dataset.num_edge_features) == ("MUTAG", "graph", 188, 4)
    np.testing.assert_array_equal(dataset.labels, own.labels)
    np.testing.assert_array_equal(dataset.edges, own.edges)
    assert Dataset.from_pyg(theirs[:20]).labels.tolist() == own.labels[:20].tolist()
    assert sorted(Dataset.from_pyg(theirs.shuffle()).labels.tolist()) == sorted(own.labels.tolist())
    result = dgl_mutual.fit(theirs, "gcn,gin", folds=3, training={"epochs": 1}, student={"hidden": 4})
    assert result.predict(theirs[:20]).shape == (20, 2)


def test_planetoid_of_pyg_is_a_node_task(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "Cora" / "raw").mkdir(parents=True)
    for file in (data_dir / "planetoid").glob("ind.cora.*"):
        shutil.copy(file, tmp_path / "Cora" / "raw")
    dataset, own = Dataset.from_pyg(pyg.datasets.Planetoid(str(tmp_path), "Cora")), load_dataset("Cora", data_dir=data_dir, offline=True)
    assert (dataset.name, dataset.task) == ("Cora", "node")
    np.testing.assert_array_equal(dataset.labels, own.labels)
    np.testing.assert_array_equal(dataset.edges, own.edges)
    assert dataset.official_split is not None and own.official_split is not None
    for part, numbers in dataset.official_split.parts.items():
        np.testing.assert_array_equal(numbers, own.official_split.parts[part])


def test_datasets_of_dgl_are_sequences() -> None:
    graphs = dgl.data.MiniGCDataset(24, 10, 20)
    whole = Dataset.from_dgl(graphs, feat=None)
    assert (whole.name, whole.task, whole.num_graphs) == ("minigc", "graph", 24)
    part = Dataset.from_dgl(dgl.data.utils.Subset(graphs, list(range(24))), feat=None)
    assert fingerprint(part) == fingerprint(Dataset.from_dgl(Subset(graphs, range(24)), feat=None)) == fingerprint(whole)

    class OneGraph:
        """As OGB's for nodes: one pair, with a column of labels of nodes."""

        def __len__(self) -> int:
            return 1

        def __getitem__(self, number: int) -> Any:
            if number:
                raise IndexError(number)
            graph = dgl_graph()
            return graph, graph.ndata.pop("label")[:, None]

    assert fingerprint(dgl_mutual.load(OneGraph())) == fingerprint(Dataset.from_dgl(dgl_graph()))


@pytest.mark.filterwarnings("ignore:Using 'NeighborSampler' without")
def test_other_objects_than_sequences_of_graphs_are_refused() -> None:
    loader, sampler = dgl.dataloading.DataLoader, dgl.dataloading.MultiLayerFullNeighborSampler(1)
    for data, source in (
        (pyg.loader.DataLoader(pyg_graphs()), "dataset"),
        (pyg.loader.NeighborLoader(pyg_graphs()[0], [2]), "data"),
        (loader(dgl_graph(), torch.arange(4), sampler), "graph"),
    ):
        with pytest.raises(DataError, match=rf"is a loader of batches: give what it loads from, loader\.{source}\."):
            dgl_mutual.load(data)
        assert hasattr(data, source)
    for other, found in ((Subset([], []), "a Subset"), (small_graph.fit(), "a FitResult"), ({0: dgl_graph()}, "a dict")):
        with pytest.raises(UsageError, match=f"Expected a Dataset, .*, found {found}"):
            dgl_mutual.load(other)


def test_objects_that_give_themselves_or_change_when_they_are_asked() -> None:
    events = pyg.data.TemporalData(src=torch.tensor([0]), dst=torch.tensor([1]), t=torch.tensor([0]), msg=torch.rand(1, 3))
    with pytest.raises(DataError, match="Expected PyG graphs, and item 0 is a TemporalData"):
        dgl_mutual.load(events)
    hetero = pyg.data.HeteroData()
    hetero["a"].x = torch.rand(2, 2)
    with pytest.raises(DataError, match="Graph 0 is a HeteroData"):
        dgl_mutual.load(hetero)
    assert hetero.node_types == ["a"]
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(UsageError, match="found a list whose item 0 is a list"):
        dgl_mutual.load(itself)
    one = pyg_graphs()[0]
    one.y, one.node_types, one.to_data = torch.tensor([0, 1, 0, 1]), torch.zeros(4), 3
    assert dgl_mutual.load(one).task == "node"


def test_a_batch_of_pyg_that_was_changed_is_refused() -> None:
    batch = pyg.data.Batch.from_data_list(pyg_graphs())
    batch.x = torch.ones(20, FEATURES.shape[1])
    with pytest.raises(DataError, match=r"it has 20 nodes, and its graphs 15\. .*Batch\.from_data_list\(graphs\)"):
        Dataset.from_pyg(batch)
    batch.x = torch.ones(3, FEATURES.shape[1])
    with pytest.raises(DataError, match="A batch of PyG cannot be taken apart"):
        Dataset.from_pyg(batch)
    by_hand = pyg.data.Batch(x=torch.ones(2, 2), edge_index=torch.tensor([[0], [1]]), batch=torch.tensor([0, 1]))
    with pytest.raises(DataError, match="A batch of PyG cannot be taken apart"):
        Dataset.from_pyg(by_hand)
