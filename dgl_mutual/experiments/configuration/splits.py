"""The splits of a run: those of its protocol, with labels hidden by its label rate, and with its pool."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.label_rate import LabelRate, hide_labels, name_with_fold, separate_unlabelled, warn_of_unlearned
from dgl_mutual.data.protocols import make_splits, splits_whole_graphs
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.training.evaluation.task_metrics import refuse_undefined, scorer_of
from dgl_mutual.training.seeds import TrialSeed, derive
from dgl_mutual.utils.torch_settings import torch_defaults
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted


def splits_of(config: RunConfig, dataset: Dataset, seed: int, most: int | None = None) -> list[Split]:
    """The splits of one seed, one per fold, under a resolved configuration: all, or the first `most`. For errors see `with_unlabelled`."""
    splits = _whole_splits(config, dataset, seed)[:most]
    return [with_unlabelled(config, dataset, split, seed=seed, fold=fold) for fold, split in enumerate(splits)]


def split_of(config: RunConfig, dataset: Dataset, seed: int, fold: int) -> Split:
    """One of the splits of `splits_of`, without warnings about the others.

    Raises:
        UsageError: there is no such fold; see also `with_unlabelled`.
    """
    splits = _whole_splits(config, dataset, seed)
    if not 0 <= fold < len(splits):
        raise UsageError(f"There is no fold {fold}: protocol {config.protocol!r} has the folds 0 to {len(splits) - 1} here.")
    return with_unlabelled(config, dataset, splits[fold], seed=seed, fold=fold)


def _whole_splits(config: RunConfig, dataset: Dataset, seed: int) -> list[Split]:
    """The splits of one seed before labels are hidden."""
    assert config.protocol is not None
    return make_splits(dataset, config.protocol, seed=derive(seed, "split"), folds=config.folds)


def with_unlabelled(config: RunConfig, dataset: Dataset, split: Split, *, seed: int, fold: int) -> Split:
    """Hide labels of a split by the label rate of a resolved configuration, and separate all unlabelled training samples, with the pool.

    Warnings name classes or labels of which nothing can be learned, and a strategy that needs unlabelled samples if there are none.

    Args:
        fold: index of the split, for messages.

    Raises:
        UsageError: see `hide_labels`.
    """
    split = separate_unlabelled(dataset, split)
    shown_fold = fold if config.folds is not None and config.folds > 1 else None
    if config.label_rate is not None:
        split = hide_labels(dataset, split, config.label_rate, seed=TrialSeed(seed, fold).derive("labels"), fold=shown_fold)
        _check_metric_of_few(dataset, split, config.label_rate, shown_fold)
    warn_of_unlearned(dataset, split, shown_fold)
    if dataset.num_pool:
        pool = np.arange(dataset.num_samples - dataset.num_pool, dataset.num_samples)
        split = replace(split, unlabelled=np.union1d(split.unlabelled, pool))
    _warn_without_unlabelled(config, dataset, split)
    return split


def _warn_without_unlabelled(config: RunConfig, dataset: Dataset, split: Split) -> None:
    strategy_class, on = resolve_strategy(config.strategy), config.strategy_options.get("exchange_on")
    sees_labelled_alone = on == "training" or (on == "all" and (dataset.task == "graph" or splits_whole_graphs(dataset, split)))
    if strategy_class.needs_unlabelled and sees_labelled_alone and not len(split.unlabelled):
        warn(
            f"The strategy {strategy_class.name!r} learns from samples without labels, and there are none, so it trains students "
            "independently. Hide labels (label_rate), give a pool of unlabelled graphs, or set strategy_options.exchange_on=transductive."
        )


@torch_defaults()
def _check_metric_of_few(dataset: Dataset, split: Split, rate: LabelRate, fold: int | None) -> None:
    """Raise `UsageError` for a label rate that leaves the metric undefined on training samples, as ROC-AUC without negatives."""
    labels = torch.as_tensor(dataset.labels)
    try:
        refuse_undefined(scorer_of(dataset, official=False), labels, split, dataset.target.num_outputs, parts=("training",))
    except TrainingError:
        labelled = counted(len(split.train), "labelled training sample")
        raise UsageError(
            f"A label rate of {rate:g} leaves {labelled} of {name_with_fold(dataset, fold)}, on which {dataset.target.metric} is not "
            "defined. Give a higher rate."
        ) from None
