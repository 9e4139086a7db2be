"""Training of one cohort on one split: assembly, training loop and assessment."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.label_rate import without_labels
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.joint import make_distribution
from dgl_mutual.strategies import Strategy
from dgl_mutual.training.assembly import assemble
from dgl_mutual.training.assessment import assess
from dgl_mutual.training.callbacks import Callback, CallbackList, EpochClock, check_callbacks
from dgl_mutual.training.checked_strategy import CheckedStrategy
from dgl_mutual.training.custom_state import CustomStateCheck
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.diversity import Diversity
from dgl_mutual.training.evaluation.task_metrics import refuse_undefined, scorer_of
from dgl_mutual.training.feeds import Feed
from dgl_mutual.training.loop import Loop
from dgl_mutual.training.method import Method
from dgl_mutual.training.propagated import fit_untrained, propagated_logits, with_kept
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.seeds import TrialSeed
from dgl_mutual.training.selection import Selection
from dgl_mutual.training.snapshots import Checkpointer, Snapshots
from dgl_mutual.training.state import TrainingState
from dgl_mutual.training.step_maker import StepMaker
from dgl_mutual.utils.custom_code import is_custom
from dgl_mutual.utils.torch_settings import torch_defaults


@torch_defaults()
def fit_cohort(
    dataset: Dataset,
    split: Split,
    method: Method,
    *,
    seed: TrialSeed,
    callbacks: Sequence[Callback] = (),
    snapshots: Snapshots | None = None,
    placement: Placement,
) -> FitResult:
    """Train one cohort on one split.

    Args:
        seed: seed of the random streams; the same seed gives the same result, whatever ran before.
        callbacks: called in this order, after the selection of epochs and before snapshots are written (see `Callback`).
        snapshots: file of the snapshots, from which an interrupted training resumes with the same result.
        placement: device, precision and processes. Each of several processes calls this with the same other arguments and gets the same
            result.

    Returns:
        Each member's metrics at its best epoch by validation, the history, and the trained cohort.

    Raises:
        UsageError: options that do not fit together, or that several processes cannot train with.
        TrainingError: a loss that is not finite, or a metric that is not defined on a part of the split.
        StoreError, DataError: a snapshot cannot be written or used.
    """
    split = replace(split)  # a copy, since custom code receives tensors that share its memory
    callbacks = check_callbacks(callbacks)
    dataset = without_labels(dataset, split.unlabelled)
    if any(map(is_custom, (method.strategy, *callbacks))):
        dataset = _with_copied_arrays(dataset)
    if not method.strategy.trains:
        distribution = make_distribution(dataset.target)
        refuse_undefined(scorer_of(dataset), torch.as_tensor(dataset.labels), split, dataset.target.num_outputs)
        return fit_untrained(method.strategy, method.options, dataset, split, distribution, placement.dtype, seed.derive("strategy"))
    check_gradients(method.strategy)
    state, feed, inputs = assemble(method, dataset, split, seed, placement)
    clock = EpochClock()
    loop = _loop(state, feed, [*callbacks, clock], snapshots)
    loop.run()
    state.result = _assessed(loop, clock)
    inputs.fold_scaling(state.cohort.members, state.clean.device)
    loop.callbacks("on_fit_end", state)
    return state.result


def _with_copied_arrays(dataset: Dataset) -> Dataset:
    """Return the dataset with copies of its arrays, which batches and callbacks share memory with: changes by custom code must not
    reach other trainings."""
    arrays = {name: getattr(dataset, name) for name in ("features", "edge_features", "labels")}
    return dataset.replaced(**{name: deepcopy(array) for name, array in arrays.items() if array is not None})


def check_gradients(strategy_class: type[Strategy]) -> None:
    """Refuse to train while gradients are switched off.

    Raises:
        UsageError: gradients are switched off.
    """
    if strategy_class.trains and not torch.is_grad_enabled():
        raise UsageError(
            "Gradients are switched off (torch.no_grad, torch.inference_mode or torch.set_grad_enabled(False)), so nothing can be learned. "
            "Call it with gradients enabled."
        )


def _loop(state: TrainingState, feed: Feed, callbacks: Sequence[Callback], snapshots: Snapshots | None) -> Loop:
    """Create the training loop of a state. `callbacks` run after the selection of epochs and before snapshots are written.

    Raises:
        TrainingError: a metric that is not defined on a part of the split.
    """
    dataset = state.dataset
    labels = torch.as_tensor(dataset.labels, device=state.clean.device)
    scorer = scorer_of(dataset, official=False)
    refuse_undefined(scorer, labels, state.split, dataset.target.num_outputs)
    selection = Selection(len(state.cohort), state.options.patience)
    diversity = [Diversity()] if state.options.diversity else []
    hooked = [CustomStateCheck(feed), selection, *diversity, *callbacks]
    keeps_snapshots = [Checkpointer(snapshots, hooked)] if snapshots else []
    strategy = CheckedStrategy(state.strategy, state.streams.custom)
    return Loop(state, feed, StepMaker.of(state), strategy, labels, scorer, selection, CallbackList([*hooked, *keeps_snapshots]))


def _assessed(loop: Loop, clock: EpochClock) -> FitResult:
    """Assess a finished training."""
    state, kind = loop.state, type(loop.state.strategy)
    seconds, seconds_per_epoch = state.seconds, clock.seconds_per_epoch(state)
    dataset, split, distribution = state.dataset, state.split, state.cohort.distribution
    loop.clean_pass(range(len(state.cohort)), np.arange(dataset.num_samples - dataset.num_pool))
    logits = state.clean.latest
    if kind.propagates:
        strategy = state.strategy
        logits = propagated_logits(kind, strategy.options, dataset, split, distribution, loop.scorer, logits, strategy.setting.seed)
    test_batches = [batch for batch, _ in loop.feed.evaluation_batches(split.test)]
    best_epochs = [stopper.best_epoch for stopper in loop.selection.stoppers]
    result = FitResult(
        **vars(assess(state.cohort, dataset, split, logits, test_batches, best_epochs)),
        history=state.history,
        epochs=len(state.history),
        train_seconds=seconds,
        seconds_per_epoch=seconds_per_epoch,
        cohort=state.cohort,
        dataset=dataset,
        split=split,
        exchange_on=state.exchange.on,
    )
    return with_kept(result, logits) if kind.propagates else result
