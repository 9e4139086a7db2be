"""Calls the methods of a strategy and checks what they return, so that mistakes in a custom strategy are named."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from numbers import Integral, Real
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from dgl_mutual.coordinator import Coordinator
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.custom_modules import fault_of_tensors, same_each_time, versions
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.streams import custom_streams
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.exchange import Exchange
from dgl_mutual.strategies.options import StrategyOptions
from dgl_mutual.strategies.setting import Setting
from dgl_mutual.strategies.step import Step
from dgl_mutual.training.history import KEYS, fault_of_name
from dgl_mutual.training.seeds import seeded_globally
from dgl_mutual.utils.custom_code import blamed, described, is_custom
from dgl_mutual.utils.torch_settings import settings_kept
from dgl_mutual.utils.warning import warn
from dgl_mutual.utils.wording import kind_of

#: What torch says of a label of -1 in a cross-entropy, a gather or a one-hot encoding.
_UNKNOWN_LABEL = re.compile(r"-1 is out of bounds|Class values must be non-negative")


def extra_members(
    kind: type[Strategy], options: StrategyOptions, students: Sequence[StudentOptions]
) -> tuple[tuple[str, StudentOptions], ...]:
    """The members that a strategy adds to the students. What it draws is the same in each call: trials of a run have the same members.

    Raises:
        UsageError: it returns something other than pairs of a name and options.
    """
    with blamed(f"extra_members of the strategy {kind.name!r}", kind), seeded_globally(0, "extra members"):
        extras = tuple(kind.extra_members(options, students))
    for extra in extras:
        if not (isinstance(extra, tuple) and len(extra) == 2 and isinstance(extra[0], str) and isinstance(extra[1], StudentOptions)):
            raise UsageError(
                f"extra_members of the strategy {kind.name!r} returns {extra!r}. It must return pairs of a name and StudentOptions."
            )
    return extras


def make_strategy(kind: type[Strategy], options: StrategyOptions, setting: Setting) -> Strategy:
    """A strategy for a cohort.

    Raises:
        UsageError: it cannot be made, or does not support the cohort.
    """

    def make(setting: Setting) -> Strategy:
        with blamed(f"The strategy {kind.name!r}", kind, "cannot be made"), settings_kept():
            return kind(options, setting)

    strategy = make(setting)
    if not isinstance(vars(strategy).get("_modules", {}).get("coordinator"), nn.Module):
        raise UsageError(f"The strategy {kind.name!r} does not call super().__init__(options, setting) in its __init__. Do so first.")
    if not isinstance(strategy.coordinator, Coordinator):
        raise UsageError(
            f"The coordinator of the strategy {kind.name!r} is {kind_of(strategy.coordinator)}. It must be made by "
            "dgl_mutual.weightings.make_coordinator; leave it as super().__init__ makes it, or override coordinator_weighting."
        )
    if is_custom(kind):
        if fault := fault_of_tensors(strategy, may_be_lazy=True):
            raise UsageError(f"The strategy {kind.name!r} {fault}")
        seeds = itertools.count(setting.seed + 1)
        if same_each_time(strategy, lambda: make(replace(setting, seed=next(seeds))), without="coordinator") in ("kept", "seeded"):
            raise UsageError(
                f"The strategy {kind.name!r} has modules with the same weights each time it is made, so that all seeds would begin with "
                "them. Make them in its __init__, not before, and set no seed there but setting.seed."
            )
    return strategy


def exchange_of(strategy: Strategy, phases: Sequence[Sequence[int]], epochs: int) -> Exchange:
    """The `Exchange` of a strategy in these phases (see `phases_of`), of so many epochs each. What it draws
    follows from the seed of its setting.

    Raises:
        UsageError: `exchange()` does not return an `Exchange`, or one that would not begin in so many epochs.
    """
    with blamed(f"exchange of the strategy {strategy.name!r}", strategy), seeded_globally(strategy.setting.seed, "exchange"):
        exchange = strategy.exchange()
    if not isinstance(exchange, Exchange):
        raise UsageError(f"exchange of the strategy {strategy.name!r} returns {exchange!r}. It must return an Exchange.")
    if exchange.targets == "frozen" and is_custom(strategy) and len(phases) == 1:
        raise UsageError(
            f"The exchange of the strategy {strategy.name!r} has the targets 'frozen', which are predictions of members that train in "
            "another phase, and there is one phase. Choose other targets, for example Exchange('eval'), or define phases."
        )
    if exchange.warmup[0] >= epochs and getattr(strategy.options, "weight", 1) > 0:
        raise UsageError(
            f"The exchange of the strategy {strategy.name!r} begins in epoch {exchange.warmup[0]}, and training.epochs = {epochs}: it "
            "never would. Train for longer, or let it begin earlier (the first number of its warmup)."
        )
    return exchange


def phases_of(strategy: Strategy) -> tuple[tuple[int, ...], ...]:
    """Which members train together, phase after phase, each phase in the cohort's order.

    What the strategy draws follows from the seed of its setting.

    Raises:
        UsageError: there are no phases, a phase is empty, names a member twice, or names one that does not exist; or a member is in none.
    """
    with blamed(f"phases of the strategy {strategy.name!r}", strategy), seeded_globally(strategy.setting.seed, "phases"):
        phases = tuple(tuple(phase) for phase in strategy.phases())
    members = range(len(strategy.setting.members))
    for phase in phases or ((),):
        are_numbers = all(isinstance(member, Integral) and not isinstance(member, bool) for member in phase)
        if not phase or not are_numbers or len({*phase}) < len(phase) or not {*phase} <= {*members}:
            raise UsageError(
                f"phases of the strategy {strategy.name!r} returns {phases!r}. Each phase must name some of the {len(members)} members, "
                f"counted from 0, once each, for example {(tuple(members),)!r}."
            )
    if left_out := {*members} - {member for phase in phases for member in phase}:
        raise UsageError(
            f"phases of the strategy {strategy.name!r} returns {phases!r}, which leaves out member {min(left_out)} "
            f"({strategy.setting.members[min(left_out)].label}): it would never be trained. Name each member in one phase at least."
        )
    return tuple(tuple(sorted(map(int, phase))) for phase in phases)


def has_custom_code(strategy: Strategy) -> bool:
    """Whether the strategy or its weighting is a custom one."""
    return is_custom(strategy) or any(map(is_custom, strategy.coordinator.task_coordinators()))


def loss_terms_of(strategy: Strategy, step: Step, stream: torch.Generator) -> Mapping[str, Tensor]:
    """The loss terms of a step. A warning names one of a custom strategy that has no gradient.

    Args:
        stream: what a custom strategy or weighting draws from.

    Raises:
        UsageError: it does not return a mapping of names to tensors, each a scalar or with a value for each active member, or changes the
            tensors of the step.
    """
    given = {
        name: value
        for name in ("logits", "targets", "labels", "labelled", "training", "exchange", "samples")
        if isinstance(value := getattr(step, name), Tensor)
    }
    for name in ("features", "edge_features"):
        if isinstance(value := getattr(step.batch, name, None), Tensor):
            given[f"batch.{name}"] = value
    before = versions(*given.values())
    with (
        blamed(f"loss_terms of the strategy {strategy.name!r}", strategy),
        custom_streams(stream, step.logits.device) if has_custom_code(strategy) else nullcontext(),
    ):
        try:
            terms = strategy.loss_terms(step)
        except (IndexError, RuntimeError) as error:
            if is_custom(strategy) and _UNKNOWN_LABEL.search(str(error)) and bool((step.labels < 0).any()):
                raise UsageError(
                    f"loss_terms of the strategy {strategy.name!r} raised an error: {described(error)} The likely cause: labels are "
                    "unknown (-1) outside of step.labelled. Take both sides there, for example step.logits[:, step.labelled] and "
                    "step.labels[step.labelled]."
                ) from error
            raise
    changed = [name for name, first, last in zip(given, before, versions(*given.values()), strict=True) if first != last]
    if changed and is_custom(strategy):
        shared = [name for name in changed[1:] if _share_memory(given[name], given[changed[0]])]
        raise UsageError(
            f"loss_terms of the strategy {strategy.name!r} changes {' and '.join(f'step.{name}' for name in (changed[0], *shared))}, which "
            f"others read, too{' (they share memory here)' if shared else ''}. Use operations that make a new tensor, for example "
            f"step.{changed[0]} / 2 in place of step.{changed[0]} /= 2."
        )
    checked = checked_terms(terms, strategy.name, len(step.active))
    if is_custom(strategy):
        _warn_of_constants(checked, strategy)
    return checked


def _share_memory(first: Tensor, second: Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


#: Loss terms that a warning has named, by the strategy of a training.
_named_constants: WeakKeyDictionary[Strategy, set[str]] = WeakKeyDictionary()


def _warn_of_constants(terms: Mapping[str, Tensor], strategy: Strategy) -> None:
    """Warn, once a training, of a loss term from which nothing is learned. A term that is zero may stand for one that has not begun."""
    told = _named_constants.setdefault(strategy, set())
    for name in terms.keys() - told:
        if not terms[name].requires_grad and bool(terms[name].any()):
            told.add(name)
            warn(
                f"The loss term {name!r} of the strategy {strategy.name!r} has no gradient, so nothing is learned from it: it is made of "
                "step.targets, which are detached, or of other constants. Use step.logits for what a student itself predicts. A value that "
                "is only to be seen belongs into step.log."
            )


def checked_terms(terms: Any, strategy: str, num_active: int) -> Mapping[str, Tensor]:
    """The loss terms, after the checks of `loss_terms_of`."""
    if not isinstance(terms, Mapping) or not terms:
        found = "an empty dict" if isinstance(terms, Mapping) else kind_of(terms)
        raise UsageError(f"loss_terms of the strategy {strategy!r} returns {found}. It must return a dict of named loss terms.")
    learns = False
    for name, term in terms.items():
        if not isinstance(name, str):
            raise UsageError(f"loss_terms of the strategy {strategy!r} names a term {name!r}. Names must be strings.")
        if fault := fault_of_name(name):
            raise UsageError(f"loss_terms of the strategy {strategy!r} names a term {name!r}. The name {fault}, for example 'mutual'.")
        if not isinstance(term, Tensor):
            raise UsageError(f"The loss term {name!r} of the strategy {strategy!r} is {kind_of(term)}. It must be a tensor.")
        if term.layout != torch.strided:
            raise UsageError(f"The loss term {name!r} of the strategy {strategy!r} is a sparse tensor. Make it dense: to_dense().")
        if term.shape not in ((), (num_active,)) or not term.is_floating_point():
            raise UsageError(
                f"The loss term {name!r} of the strategy {strategy!r} has the shape {tuple(term.shape)} and the type {term.dtype}. "
                f"Expected are floating-point numbers, one for each of the {num_active} members that train, or one for all of them."
            )
        learns = learns or term.requires_grad
    if not learns:
        raise UsageError(
            f"No loss term of the strategy {strategy!r} depends on the students' logits, so nothing is learned. Do not detach them."
        )
    return terms


def likely_cause(strategy: Strategy, learning_rate: float, *, finite_logits: bool) -> str:
    """Why a loss under a custom strategy is not finite, as the end of a message.

    Args:
        finite_logits: whether the logits that the loss was made of are finite.
    """
    if finite_logits:
        return (
            f"All logits of the step are finite, so look in loss_terms of the strategy {strategy.name!r}: the likely cause is a logarithm "
            "of zero, a division by zero, or labels that are not known (step.labelled has the rows of those that are). Use for example "
            "log_softmax, or clamp(min=1e-12)."
        )
    return (
        f"Likely causes are a gradient that is not finite in loss_terms of the strategy {strategy.name!r} (a square root or a norm at "
        f"zero), and a learning rate that is too large (training.learning_rate = {learning_rate})."
    )


def logged(step: Step, strategy: Strategy) -> dict[str, Tensor]:
    """The values that a strategy has logged for the history, as tensors without gradient.

    Raises:
        UsageError: a name that is no string, empty or not printable, or that of another column of the history; or a value that is neither
            a number nor one for each active member, or each pair of members.
    """
    values = {}
    for name, value in step.log.items():
        if not isinstance(name, str):
            raise UsageError(f"The strategy {strategy.name!r} logs a value under the name {name!r}. Names must be strings.")
        if fault := fault_of_name(name):
            raise UsageError(f"The strategy {strategy.name!r} logs a value under the name {name!r}. The name {fault}, for example 'mine'.")
        if name in KEYS or name.startswith(("loss/", "train/", "val/")):
            raise UsageError(
                f"The strategy {strategy.name!r} logs {name!r}, which is a column of the history already. Log under another name, for "
                f"example 'my/{name}'."
            )
        tensor = torch.as_tensor(value) if isinstance(value, Real) else value
        num_members = len(strategy.setting.members)
        shapes = ((), (len(step.active),))
        fits = isinstance(tensor, Tensor) and (tensor.shape in shapes or (tensor.dim() == 2 and max(tensor.shape) <= num_members))
        if not fits:
            found = f"the shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else f"the type {type(value).__name__}"
            raise UsageError(
                f"The value {name!r} that the strategy {strategy.name!r} logs has {found}. Expected is a number, a tensor of one for "
                f"each of the {len(step.active)} members that train, or a matrix over the {num_members} members."
            )
        values[name] = tensor.detach()
    return values
