"""Training one cohort on one split: everything is put together here, and trained by the loop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.arrays import FloatArray, IntArray
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.label_rate import without_labels
from dgl_mutual.data.split import Split
from dgl_mutual.distributions import Distribution
from dgl_mutual.errors import UsageError
from dgl_mutual.joint import TaskWeights, make_distribution
from dgl_mutual.nn.architectures import num_blocks
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import AnyStudent
from dgl_mutual.options import parse_options
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.setting import Setting, TrainingSamples
from dgl_mutual.training import seeds
from dgl_mutual.training.assessment import assess
from dgl_mutual.training.averages import WeightAverages
from dgl_mutual.training.callbacks import Callback, CallbackList, EpochClock
from dgl_mutual.training.diversity import Diversity
from dgl_mutual.training.feeds import Feed, make_feed
from dgl_mutual.training.feeds.sampled import resolve_fanout
from dgl_mutual.training.inputs import Inputs
from dgl_mutual.training.loop import Loop
from dgl_mutual.training.members import check_members, make_members, resolve_members
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.own_state import OwnStateCheck
from dgl_mutual.training.propagated import fit_untrained, propagated_logits, with_kept
from dgl_mutual.training.ranks import SINGLE_PROCESS, Ranks
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.selection import Selection
from dgl_mutual.training.snapshots import Checkpointer, Snapshots
from dgl_mutual.training.state import TrainingState
from dgl_mutual.training.steps import StepMaker
from dgl_mutual.training.targets import Targets
from dgl_mutual.training.task_metrics import refuse_undefined, scorer_of
from dgl_mutual.training.teaching import exchange_of, make_strategy
from dgl_mutual.training.unlabelled import add_unlabelled
from dgl_mutual.utils.user_code import is_ours


def fit_cohort(
    dataset: Dataset,
    split: Split,
    *,
    students: Sequence[StudentOptions],
    strategy: str | type[Strategy],
    strategy_options: Mapping[str, Any],
    training: TrainingOptions,
    task_weights: TaskWeights | None = None,
    seed: int = 0,
    fold: int = 0,
    callbacks: Sequence[Callback] = (),
    snapshots: Snapshots | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    ranks: Ranks = SINGLE_PROCESS,
) -> FitResult:
    """Train one cohort on one split.

    The options are those of a resolved configuration, in which nothing is left open (see `dgl_mutual.experiments.resolve`).

    Args:
        students: options of the K students.
        strategy: name or class; `strategy_options` are its options as plain values.
        task_weights: how several tasks are weighed against each other (default: equal).
        seed, fold: name the random streams; the same pair gives the same result whatever ran before.
        callbacks: called in this order, after what selects epochs and before what keeps snapshots (see `Callback`).
        snapshots: where the training is kept while it lasts, and goes on from if it was interrupted; the result is the same.
        ranks: the processes that train this cohort together, each of which calls this with the same arguments and gets the same result.

    Returns:
        Each member's metrics at its best epoch by validation, the history, and the trained cohort.

    Raises:
        UsageError: options that do not fit together, or that several processes cannot train with.
        TrainingError: a loss that is not finite, or a metric that is not defined on a part of the split.
        StoreError, DataError: a snapshot cannot be written, or used.
    """
    device = torch.device(device)
    split = replace(split)  # a copy: code of a user's own is given tensors that share its memory
    callbacks = CallbackList(callbacks).callbacks
    dataset = without_labels(dataset, split.unlabelled)
    kind = resolve_strategy(strategy)
    if not all(map(is_ours, (kind, *callbacks))):
        dataset = _with_own_arrays(dataset)
    options = parse_options(kind.Options, strategy_options, "strategy_options")
    if not kind.trains:
        distribution = make_distribution(dataset.target)
        refuse_undefined(scorer_of(dataset), torch.as_tensor(dataset.labels), split, dataset.target.num_outputs)
        return fit_untrained(kind, options, dataset, split, distribution, dtype, seeds.derive(seed, "strategy", fold))
    _check_gradients()
    if not any(student.edge_features for student in students):
        dataset = dataset.without_edge_features()  # members that the strategy adds have none then, either
    members = resolve_members(kind, options, students, dataset, device)
    check_members(members.values(), training)
    _check_ranks(ranks, len(students), training)
    inputs = Inputs.of(dataset, split, training)
    order = seeds.generator(seed, "order", fold)
    feed = make_feed(
        inputs.dataset,
        split,
        batch_size=training.batch_size,
        order=order,
        device=device,
        dtype=dtype,
        fanout=resolve_fanout(training.fanout, [num_blocks(member) for member in members.values()]) if training.sampler else None,
        ranks=ranks,
    )
    distribution = make_distribution(dataset.target, task_weights or "equal")
    setting = _setting(
        dataset,
        split,
        members=tuple(members.values()),
        num_students=len(students),
        distribution=distribution,
        feed=feed,
        ranks=ranks,
        seed=seeds.derive(seed, "strategy", fold),
    )
    modules = make_members(members, inputs, setting, seed=seed, fold=fold, ranks=ranks, device=device, dtype=dtype)
    with seeds.initialisation(seed, "initialisation", fold, "strategy"):
        teaching = make_strategy(kind, options, setting).to(device, dtype)
    exchange = exchange_of(teaching, training.epochs)
    cohort = Cohort(modules, teaching.coordinator, distribution, tuple(members), len(students), positions=training.positions)
    served_averages = _served_averages(modules, training)
    targets = Targets(cohort, teaching, exchange, training, feed, dataset, split, ranks, served=served_averages, device=device, dtype=dtype)
    add_unlabelled(feed, exchange, options, inputs.dataset, split, training.unlabelled_ratio)
    state = TrainingState(
        cohort=cohort,
        strategy=teaching,
        dataset=dataset,
        split=split,
        options=training,
        exchange=exchange,
        task_weights=task_weights or "equal",
        seed=seed,
        fold=fold,
        ranks=ranks,
        targets=targets,
        streams=seeds.Streams.of(seed, fold, len(members), device=device, order=order, process=ranks.stream),
        served_averages=served_averages,
    )
    clock = EpochClock()
    loop = _loop(state, feed, [*callbacks, clock], snapshots)
    loop.run()
    state.result = _assessed(loop, clock)
    inputs.fold_scaling(state.cohort.members, device)
    loop.callbacks("on_fit_end", state)
    return state.result


def _with_own_arrays(dataset: Dataset) -> Dataset:
    """The dataset with copies of its numbers, which batches share memory with and callbacks see: what code of a user's own changes in them
    must not reach other trainings."""
    arrays = {name: getattr(dataset, name) for name in ("features", "edge_features", "labels")}
    return dataset.replaced(**{name: deepcopy(array) for name, array in arrays.items() if array is not None})


def _check_gradients() -> None:
    if not torch.is_grad_enabled():
        raise UsageError(
            "Gradients are switched off (torch.no_grad, torch.inference_mode or torch.set_grad_enabled(False)), so nothing can be learned. "
            "Call it where they are on."
        )


def _setting(
    dataset: Dataset,
    split: Split,
    *,
    members: tuple[StudentOptions, ...],
    num_students: int,
    distribution: Distribution,
    feed: Feed,
    ranks: Ranks,
    seed: int,
) -> Setting:
    """What a strategy is told of a training."""
    labelled = dataset.labels[split.train]
    return Setting(
        task=dataset.task,
        members=members,
        num_students=num_students,
        num_outputs=dataset.target.num_outputs,
        num_samples=feed.num_transductive_samples,
        distribution=distribution,
        sampled=feed.sampled,
        divided=ranks.divides,
        seed=seed,
        training=TrainingSamples(split.train, _classes(labelled), dataset.num_samples),
        class_prior=distribution.marginal(torch.as_tensor(labelled), dataset.target.num_outputs),
    )


def _loop(state: TrainingState, feed: Feed, callbacks: Sequence[Callback], snapshots: Snapshots | None) -> Loop:
    """The loop that trains the cohort of a state. What selects epochs comes before `callbacks`, and what keeps snapshots after them.

    Raises:
        TrainingError: a metric that is not defined on a part of the split.
    """
    dataset, split, device = state.dataset, state.split, state.clean.device
    labels = torch.as_tensor(dataset.labels, device=device)
    step_maker = StepMaker(state, train_labels=_only(labels, split.train), training=_training_rows(dataset, split, device))
    scorer = scorer_of(dataset, official=False)
    refuse_undefined(scorer, labels, split, dataset.target.num_outputs)
    selection = Selection(len(state.cohort), state.options.patience)
    hooked = [OwnStateCheck(feed), selection, *_diversity(state, device), *callbacks]
    keeps_snapshots = [Checkpointer(snapshots, hooked)] if snapshots else []
    return Loop(state, feed, step_maker, labels, scorer, selection, CallbackList([*hooked, *keeps_snapshots]))


def _assessed(loop: Loop, clock: EpochClock) -> FitResult:
    """The result of a training that is over."""
    state, kind = loop.state, type(loop.state.strategy)
    seconds, seconds_per_epoch = state.seconds, clock.seconds_per_epoch(state)
    dataset, split, distribution = state.dataset, state.split, state.cohort.distribution
    loop.clean_pass(range(len(state.cohort)), np.arange(dataset.num_samples - dataset.num_pool))
    logits = state.clean.latest
    if kind.propagates:
        strategy = state.strategy
        logits = propagated_logits(kind, strategy.options, dataset, split, distribution, loop.scorer, logits, strategy.setting.seed)
    result = assess(
        cohort=state.cohort,
        dataset=dataset,
        split=split,
        logits=logits,
        test_batches=[batch for batch, _ in loop.feed.evaluation_batches(split.test)],
        best_epochs=[stopper.best_epoch for stopper in loop.selection.stoppers],
        history=state.history,
        train_seconds=seconds,
        seconds_per_epoch=seconds_per_epoch,
        exchange_on=state.exchange.on,
    )
    return with_kept(result, logits) if kind.propagates else result


def _check_ranks(ranks: Ranks, num_students: int, training: TrainingOptions) -> None:
    ranks.check_students(num_students)
    if ranks.divides == "students" and training.diversity:
        raise UsageError("Processes that divide students have no two of them to compare (training.diversity). Leave out --divide students.")


def _served_averages(members: Sequence[AnyStudent], training: TrainingOptions) -> WeightAverages | None:
    """`TrainingState.served_averages`."""
    if training.average == "none":
        return None
    # A member that starts late has nothing to average before.
    starts = [max(member.options.first_epoch(training.epochs), training.average_start or 0) for member in members]
    return WeightAverages(members, training.average, starts=starts, decay=training.average_decay or 0.0)


def _classes(labels: IntArray | FloatArray) -> IntArray | None:
    """The class of each training sample, of a single-label target or of one binary label; None where a sample has several labels."""
    if labels.ndim == 1:
        return labels.astype(np.int64)
    return np.nan_to_num(labels[:, 0], nan=-1).astype(np.int64) if labels.shape[1] == 1 else None


def _only(labels: torch.Tensor, samples: IntArray) -> torch.Tensor:
    """The labels of these samples; those of all others unknown."""
    rows = torch.as_tensor(samples, device=labels.device)
    found = torch.full_like(labels, math.nan if labels.is_floating_point() else -1)
    found[rows] = labels[rows]
    return found


def _training_rows(dataset: Dataset, split: Split, device: torch.device) -> torch.Tensor | None:
    """`StepMaker.training`."""
    if not len(split.unlabelled):
        return None
    rows = torch.zeros(dataset.num_samples, dtype=torch.bool, device=device)
    rows[torch.as_tensor(split.seen, device=device)] = True
    return rows


def _diversity(state: TrainingState, device: torch.device) -> list[Diversity]:
    if not state.options.diversity:
        return []
    cohort = state.cohort
    generator = seeds.generator(state.seed, "diversity", state.fold)
    names = cohort.names[: cohort.num_students]
    return [Diversity(names, state.split, state.dataset.num_samples, cohort.distribution, generator=generator, device=device)]
