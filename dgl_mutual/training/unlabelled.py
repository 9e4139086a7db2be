"""Samples without labels: which of them steps see."""

from __future__ import annotations

from dgl_mutual.data.arrays import IntArray
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.protocols import unlabelled_samples
from dgl_mutual.data.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.strategies.exchange import Exchange
from dgl_mutual.training.feeds import Feed


def add_unlabelled(feed: Feed, exchange: Exchange, dataset: Dataset, split: Split, ratio: float | None) -> None:
    """Let steps also see samples without labels, for a strategy that exchanges on more than the labelled ones.

    Args:
        ratio: how many of them an epoch sees for each labelled sample (None: all).

    Raises:
        UsageError: a ratio where steps see whole graphs, or where there are no such samples.
    """
    if ratio is not None and not feed.draws_unlabelled:
        raise UsageError(
            f"training.unlabelled_ratio = {ratio:g} has no meaning on a node task whose steps see whole graphs. Leave it out, or sample "
            "neighbourhoods with --sampler neighbor."
        )
    if exchange.on == "labelled":
        return
    without_labels_alone = exchange.on == "training" if feed.sampled else exchange.on != "transductive"
    if ratio is not None and without_labels_alone and not len(split.unlabelled):
        raise UsageError(
            f"training.unlabelled_ratio = {ratio:g} asks for samples without labels, and there are none. Leave it out, hide labels with "
            "label_rate, or give a pool of unlabelled graphs."
        )
    samples = _unlabelled(feed, exchange, dataset, split)
    if len(samples):
        feed.add_unlabelled(samples, ratio)


def _unlabelled(feed: Feed, exchange: Exchange, dataset: Dataset, split: Split) -> IntArray:
    """What steps see beside the labelled samples."""
    if exchange.on == "transductive" or (feed.sampled and exchange.on == "all"):
        return unlabelled_samples(dataset, split, transductive=exchange.on == "transductive")
    return split.unlabelled
