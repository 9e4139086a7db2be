"""Assembles a training: creates members, strategy, batches and targets from the options, and checks them against each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.protocols import unlabelled_samples
from dgl_mutual.data.values.arrays import FloatArray, IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.joint import make_distribution
from dgl_mutual.nn.architectures import num_blocks
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.setting import Setting, TrainingSamples
from dgl_mutual.training.averages import Averages
from dgl_mutual.training.checked_strategy import exchange_of, make_strategy, phases_of
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.distributed.ranks import Ranks
from dgl_mutual.training.feeds import Feed, make_feed
from dgl_mutual.training.feeds.sampled import resolve_fanout
from dgl_mutual.training.inputs import Inputs
from dgl_mutual.training.members import check_members, make_members, resolve_members
from dgl_mutual.training.method import Method
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.seeds import Streams, TrialSeed
from dgl_mutual.training.state import TrainingState
from dgl_mutual.training.targets import make_targets, refuse_moving_average
from dgl_mutual.utils.wording import counted


def assemble(method: Method, dataset: Dataset, split: Split, seed: TrialSeed, placement: Placement) -> tuple[TrainingState, Feed, Inputs]:
    """Assemble a training.

    Returns:
        The initial state of the training, its batches, and the input features of its students.

    Raises:
        UsageError: options that do not fit together, or that several processes cannot train with.
    """
    training, num_students = method.training, len(method.students)
    if not any(student.edge_features for student in method.students):
        dataset = dataset.without_edge_features()  # members that the strategy adds have none then, either
    members = resolve_members(method, dataset, placement.device)
    check_members(members.values(), training)
    _check_ranks(placement.ranks, num_students, training)
    inputs = Inputs.of(dataset, split, training)
    order = seed.generator("order")
    fanout = resolve_fanout(training.fanout, [num_blocks(member) for member in members.values()]) if training.sampler else None
    feed = make_feed(inputs.dataset, split, batch_size=training.batch_size, order=order, placement=placement, fanout=fanout)
    setting = _setting(dataset, split, members, method, feed, seed, placement.ranks)
    modules = make_members(members, inputs, setting, seed=seed, placement=placement)
    with seed.seeded_globally("initialisation", part=("strategy",)):
        strategy = make_strategy(method.strategy, method.options, setting).to(placement.device, placement.dtype)
    phases = phases_of(strategy)
    exchange = exchange_of(strategy, phases, training.epochs)
    cohort = Cohort(modules, strategy.coordinator, setting.distribution, tuple(members), num_students, positions=training.positions)
    averages = Averages(modules, training, exchange)
    refuse_moving_average(strategy, exchange, feed, dataset)
    targets = make_targets(cohort, exchange, feed, dataset, split, placement, averages)
    add_unlabelled(feed, exchange, inputs.dataset, split, training.unlabelled_ratio)
    state = TrainingState(
        cohort=cohort,
        strategy=strategy,
        phases=phases,
        dataset=dataset,
        split=split,
        options=training,
        exchange=exchange,
        task_weights=method.task_weights,
        trial_seed=seed,
        ranks=placement.ranks,
        averages=averages,
        targets=targets,
        streams=Streams.of(seed, len(members), device=placement.device, order=order, process=placement.ranks.stream),
    )
    return state, feed, inputs


def _check_ranks(ranks: Ranks, num_students: int, training: TrainingOptions) -> None:
    ranks.check("students", num_students, counted(num_students, "student"), "leave out --divide students")
    if ranks.divides == "students" and training.diversity:
        raise UsageError("Processes that divide students have no two of them to compare (training.diversity). Leave out --divide students.")


def _setting(
    dataset: Dataset,
    split: Split,
    members: Mapping[str, StudentOptions],
    method: Method,
    feed: Feed,
    seed: TrialSeed,
    ranks: Ranks,
) -> Setting:
    """Return the setting that the strategy is created with."""
    labelled = dataset.labels[split.train]
    distribution = make_distribution(dataset.target, method.task_weights)
    return Setting(
        task=dataset.task,
        members=tuple(members.values()),
        num_students=len(method.students),
        num_outputs=dataset.target.num_outputs,
        num_samples=feed.num_transductive_samples,
        distribution=distribution,
        sampled=feed.sampled,
        divided=ranks.divides,
        seed=seed.derive("strategy"),
        training_samples=TrainingSamples(split.train, _classes(labelled), dataset.num_samples),
        class_prior=distribution.marginal(torch.as_tensor(labelled), dataset.target.num_outputs),
    )


def _classes(labels: IntArray | FloatArray) -> IntArray | None:
    """Return the class of each training sample, of a single-label target or of one binary label; None for several labels."""
    if labels.ndim == 1:
        return labels.astype(np.int64)
    return np.nan_to_num(labels[:, 0], nan=-1).astype(np.int64) if labels.shape[1] == 1 else None


def add_unlabelled(feed: Feed, exchange: Exchange, dataset: Dataset, split: Split, ratio: float | None) -> None:
    """Add samples without labels to steps, for a strategy that exchanges on more than the labelled ones.

    Args:
        ratio: number of unlabelled samples that an epoch sees for each labelled one (None: all).

    Raises:
        UsageError: a ratio on a task whose steps see the whole graph, or without unlabelled samples.
    """
    if ratio is not None and not feed.draws_unlabelled:
        raise UsageError(
            f"training.unlabelled_ratio = {ratio:g} has no meaning on a node task whose steps see whole graphs. Leave it out, or sample "
            "neighbourhoods with --sampler neighbor."
        )
    if not exchange.uses_unlabelled:
        return
    without_labels_alone = exchange.on == "training" if feed.sampled else not exchange.is_transductive
    if ratio is not None and without_labels_alone and not len(split.unlabelled):
        raise UsageError(
            f"training.unlabelled_ratio = {ratio:g} asks for samples without labels, and there are none. Leave it out, hide labels with "
            "label_rate, or give a pool of unlabelled graphs."
        )
    samples = split.unlabelled
    if exchange.is_transductive or (feed.sampled and exchange.on == "all"):
        samples = unlabelled_samples(dataset, split, transductive=exchange.is_transductive)
    if len(samples):
        feed.add_unlabelled(samples, ratio)
