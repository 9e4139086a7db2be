"""Feeds, the batches of training and evaluation: the whole graph, mini-batches of graphs, sampled neighbourhoods, a graph store."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.protocols import splits_whole_graphs
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds.base import Feed, TrainingBatch, num_drawn
from dgl_mutual.training.feeds.full_graph import FullGraphFeed
from dgl_mutual.training.feeds.graphs import GraphsFeed

__all__ = ["Feed", "TrainingBatch", "make_feed", "num_drawn"]


def make_feed(
    dataset: Dataset,
    split: Split,
    *,
    batch_size: int | None,
    order: torch.Generator,
    placement: Placement,
    fanout: Sequence[int] | None = None,
) -> Feed:
    """Create the feed of a task; with a fan-out, one that samples neighbours.

    Raises:
        UsageError: steps that several processes cannot divide, or a partitioned graph without a fan-out.
    """
    if fanout is not None:
        from dgl_mutual.training.feeds.sampled import NeighbourFeed

        assert batch_size is not None
        if dataset.store is not None:
            from dgl_mutual.training.feeds.stored import StoredFeed

            return StoredFeed(dataset.store, split, placement, fanout=fanout, batch_size=batch_size, order=order)
        return NeighbourFeed(dataset, split, placement, fanout=fanout, batch_size=batch_size, order=order)
    if dataset.store is not None:
        raise UsageError("Training on a partitioned graph needs sampled neighbourhoods. Add --sampler neighbor.")
    if splits_whole_graphs(dataset, split):
        from dgl_mutual.training.feeds.inductive import NodesOfGraphsFeed

        return NodesOfGraphsFeed(dataset, split, placement, batch_size=batch_size, order=order)
    if dataset.task == "node":
        if placement.ranks.divides == "samples":
            raise UsageError(
                "The nodes of a step on the whole graph cannot be divided among processes: each needs its neighbours. Divide the students, "
                "with --divide students, or samples of neighbours, with --sampler neighbor, or leave torchrun out and train several trials "
                "at a time, with --jobs."
            )
        return FullGraphFeed(dataset, split, placement)
    return GraphsFeed(dataset, split, placement, batch_size=batch_size or 32, order=order)
