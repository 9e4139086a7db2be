from __future__ import annotations

import numpy as np
import pytest
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.training import feeds
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.evaluation import evaluation_batches
from dgl_mutual.training.feeds import make_feed


def feed_of(data: tuple[Dataset, Split], batch_size: int | None = None, seed: int = 0) -> feeds.Feed:
    order = torch.Generator().manual_seed(seed)
    return make_feed(*data, batch_size=batch_size, order=order, placement=Placement(dtype=torch.float64))


def test_a_node_task_sees_the_whole_graph(node_data: tuple[Dataset, Split]) -> None:
    dataset, split = node_data
    feed = feed_of(node_data)
    (batch,) = feed.training_batches()
    assert batch.batch.num_nodes == 48 and batch.batch.dtype == torch.float64
    assert torch.equal(batch.samples, torch.arange(48))
    assert torch.equal(torch.arange(48)[batch.index], batch.samples)
    np.testing.assert_array_equal(batch.samples[batch.labelled], split.train)
    assert feed.num_transductive_samples == 48
    ((seen, numbers),) = feed.evaluation_batches(split.val)
    assert seen is batch.batch and torch.equal(numbers, torch.arange(48))
    assert len(batch.batch.sources) == dataset.num_edges


def test_an_epoch_sees_each_training_graph_once_in_a_new_order(graph_data: tuple[Dataset, Split]) -> None:
    dataset, split = graph_data
    feed = feed_of(graph_data, batch_size=8)
    assert feed.num_transductive_samples is None
    orders = []
    for _ in range(2):
        batches = list(feed.training_batches())
        orders.append(np.concatenate([batch.samples for batch in batches]))
        np.testing.assert_array_equal(np.sort(orders[-1]), split.train)
        for batch in batches:
            np.testing.assert_array_equal(batch.batch.graph_sizes, np.diff(dataset.node_offsets)[batch.samples])
            assert torch.equal(torch.arange(40)[batch.index], batch.samples)
            assert torch.equal(batch.samples[batch.labelled], batch.samples)
    assert not np.array_equal(*orders)
    again = np.concatenate([batch.samples for batch in feed_of(graph_data, batch_size=8).training_batches()])
    np.testing.assert_array_equal(again, orders[0])
    other = np.concatenate([batch.samples for batch in feed_of(graph_data, batch_size=8, seed=1).training_batches()])
    assert not np.array_equal(other, orders[0])


@pytest.mark.parametrize(("batch_size", "sizes"), [(8, [7, 7, 6]), (20, [20]), (100, [20]), (1, [1] * 20), (None, [20])])
def test_batches_of_an_epoch_differ_by_one_at_most(batch_size: int | None, sizes: list[int], graph_data: tuple[Dataset, Split]) -> None:
    batches = feed_of(graph_data, batch_size=batch_size).training_batches()
    assert [batch.batch.num_graphs for batch in batches] == sizes


def test_evaluation_covers_the_samples_in_bounded_batches(graph_data: tuple[Dataset, Split], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, split = graph_data
    monkeypatch.setattr(evaluation_batches, "EVALUATION_NODES", 15)
    feed = feed_of(graph_data)
    batches = list(feed.evaluation_batches(split.val))
    assert len(batches) > 1
    assert all(batch.num_nodes < 15 + 6 for batch, _ in batches)
    np.testing.assert_array_equal(np.concatenate([numbers for _, numbers in batches]), split.val)
    sizes = np.diff(dataset.node_offsets)
    for batch, numbers in batches:
        np.testing.assert_array_equal(batch.graph_sizes, sizes[numbers])
    again, once_more = ([batch for batch, _ in feed.evaluation_batches(split.val)] for _ in range(2))
    assert len(again) == len(batches) and once_more == again, "what is asked for again is kept"


def test_batches_are_bounded_in_nodes_and_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_batches, "EVALUATION_NODES", 10)
    monkeypatch.setattr(evaluation_batches, "EDGES_PER_NODE", 2)

    def groups(num_nodes: list[int], num_edges: list[int]) -> list[list[int]]:
        return [group.tolist() for group in evaluation_batches.evaluation_groups(np.array(num_nodes), np.array(num_edges))]

    assert groups([], []) == []
    assert groups([4, 4, 4, 4], [0, 0, 0, 0]) == [[0, 1], [2, 3]]
    assert groups([4, 40, 4], [0, 0, 0]) == [[0], [1, 2]]
    assert groups([3, 3, 3], [15, 15, 1]) == [[0], [1, 2]]  # edges alone part them
    assert groups([3] * 6, [9, 0, 0, 9, 9, 1]) == [[0, 1, 2], [3, 4, 5]]  # edges are counted from the first graph that nodes leave together


def test_without_samples_there_are_no_batches(graph_data: tuple[Dataset, Split]) -> None:
    assert list(feed_of(graph_data).evaluation_batches(np.zeros(0, dtype=np.int64))) == []
