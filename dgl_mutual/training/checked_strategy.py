"""Calls into a strategy, and checks of what it returns. Errors name the mistake of a custom strategy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from dgl_mutual.coordinator import Coordinator
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.custom_modules import cause_of_equal_weights, fault_of_tensors, versions
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.streams import custom_streams
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.options import StrategyOptions
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.history import KEYS, fault_of_name
from dgl_mutual.training.seeds import seeded_globally
from dgl_mutual.utils.custom_code import described, errors_attributed_to, is_custom
from dgl_mutual.utils.torch_settings import settings_kept
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import kind_of

#: Messages of torch on a label of -1 in a cross-entropy, a gather or a one-hot encoding.
_UNKNOWN_LABEL = re.compile(r"-1 is out of bounds|Class values must be non-negative")


def extra_members(
    strategy_class: type[Strategy], options: StrategyOptions, students: Sequence[StudentOptions]
) -> tuple[tuple[str, StudentOptions], ...]:
    """Return the members that a strategy adds to the students. Its random numbers are the same in all trials, and so are the members.

    Raises:
        UsageError: the strategy returns something other than pairs of a name and options.
    """
    with (
        errors_attributed_to(f"extra_members of the strategy {strategy_class.name!r}", strategy_class),
        seeded_globally(0, "extra members"),
    ):
        extras = tuple(strategy_class.extra_members(options, students))
    for extra in extras:
        if not (isinstance(extra, tuple) and len(extra) == 2 and isinstance(extra[0], str) and isinstance(extra[1], StudentOptions)):
            raise UsageError(
                f"extra_members of the strategy {strategy_class.name!r} returns {extra!r}. It must return pairs of a name and "
                "StudentOptions."
            )
    return extras


def make_strategy(strategy_class: type[Strategy], options: StrategyOptions, setting: Setting) -> Strategy:
    """Create the strategy of a cohort.

    Raises:
        UsageError: the strategy cannot be created, or does not support the cohort.
    """

    def make(setting: Setting) -> Strategy:
        with errors_attributed_to(f"The strategy {strategy_class.name!r}", strategy_class, "cannot be made"), settings_kept():
            return strategy_class(options, setting)

    strategy = make(setting)
    if not isinstance(vars(strategy).get("_modules", {}).get("coordinator"), nn.Module):
        raise UsageError(
            f"The strategy {strategy_class.name!r} does not call super().__init__(options, setting) in its __init__. Do so first."
        )
    if not isinstance(strategy.coordinator, Coordinator):
        raise UsageError(
            f"The coordinator of the strategy {strategy_class.name!r} is {kind_of(strategy.coordinator)}. It must be made by "
            "dgl_mutual.weightings.make_coordinator; leave it as super().__init__ makes it, or override coordinator_weighting."
        )
    if is_custom(strategy_class):
        if fault := fault_of_tensors(strategy, may_be_lazy=True):
            raise UsageError(f"The strategy {strategy_class.name!r} {fault}")
        seeds = itertools.count(setting.seed + 1)
        if cause_of_equal_weights(strategy, lambda: make(replace(setting, seed=next(seeds))), without="coordinator") in ("kept", "seeded"):
            raise UsageError(
                f"The strategy {strategy_class.name!r} has modules with the same weights each time it is made, so that all seeds would "
                "begin with them. Make them in its __init__, not before, and set no seed there but setting.seed."
            )
    return strategy


def exchange_of(strategy: Strategy, phases: Sequence[Sequence[int]], epochs: int) -> Exchange:
    """Return the `Exchange` of a strategy in these phases (see `phases_of`), of so many epochs each. The seed of the setting determines its
    random numbers.

    Raises:
        UsageError: `exchange()` does not return an `Exchange`, or returns one that would not begin in so many epochs.
    """
    with errors_attributed_to(f"exchange of the strategy {strategy.name!r}", strategy), seeded_globally(strategy.setting.seed, "exchange"):
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
    """Return the members that train in each phase, in the cohort's order.

    The seed of the setting determines the strategy's random numbers.

    Raises:
        UsageError: there are no phases, a phase is empty, names a member twice or a member that does not exist, or a member is in no phase.
    """
    with errors_attributed_to(f"phases of the strategy {strategy.name!r}", strategy), seeded_globally(strategy.setting.seed, "phases"):
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


@dataclass(frozen=True, eq=False)
class CheckedStrategy:
    """The calls into a strategy in each training step.

    Attributes:
        stream: random stream of custom code of the strategy or its weighting.
    """

    strategy: Strategy
    stream: torch.Generator
    #: Loss terms that a warning has named.
    _named_constants: set[str] = field(default_factory=set, init=False)

    def loss_terms(self, step: Step) -> Mapping[str, Tensor]:
        """Return the loss terms of a step. Warns of terms of a custom strategy without a gradient.

        Raises:
            UsageError: the strategy does not return a mapping of names to tensors, each a scalar or with a value for each active member,
                or changes the tensors of the step.
        """
        strategy = self.strategy
        tensors = _tensors_of(step) if is_custom(strategy) else {}
        before = versions(*tensors.values())
        stream = custom_streams(self.stream, step.logits.device) if has_custom_code(strategy) else nullcontext()
        with errors_attributed_to(f"loss_terms of the strategy {strategy.name!r}", strategy), stream:
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
        changed = [name for name, first, last in zip(tensors, before, versions(*tensors.values()), strict=True) if first != last]
        if changed:
            shared = [name for name in changed[1:] if _share_memory(tensors[name], tensors[changed[0]])]
            raise UsageError(
                f"loss_terms of the strategy {strategy.name!r} changes {' and '.join(f'step.{name}' for name in (changed[0], *shared))}, "
                f"which others read, too{' (they share memory here)' if shared else ''}. Use operations that make a new tensor, for "
                f"example step.{changed[0]} / 2 in place of step.{changed[0]} /= 2."
            )
        checked = _checked_terms(terms, strategy.name, len(step.active))
        if is_custom(strategy):
            self._warn_of_constants(checked)
        return checked

    def logged(self, step: Step) -> dict[str, Tensor]:
        """Return the values that the strategy has logged for the history, as tensors without gradient.

        Raises:
            UsageError: a name that is not a string, is empty or not printable, or is another column of the history; or a value that is
                not a number, a number for each active member, or a matrix over the members.
        """
        strategy = self.strategy
        values: dict[str, Tensor] = {}
        for name, value in step.log.items():
            if not isinstance(name, str):
                raise UsageError(f"The strategy {strategy.name!r} logs a value under the name {name!r}. Names must be strings.")
            if fault := fault_of_name(name):
                raise UsageError(
                    f"The strategy {strategy.name!r} logs a value under the name {name!r}. The name {fault}, for example 'mine'."
                )
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
                kind = f"the shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else f"the type {type(value).__name__}"
                raise UsageError(
                    f"The value {name!r} that the strategy {strategy.name!r} logs has {kind}. Expected is a number, a tensor with a number "
                    f"for each of the {len(step.active)} members that train, or a matrix over the {num_members} members."
                )
            values[name] = tensor.detach()
        return values

    def _warn_of_constants(self, terms: Mapping[str, Tensor]) -> None:
        """Warn once of each loss term without a gradient. A term that is zero may not have begun yet."""
        for name in terms.keys() - self._named_constants:
            if not terms[name].requires_grad and bool(terms[name].any()):
                self._named_constants.add(name)
                warn(
                    f"The loss term {name!r} of the strategy {self.strategy.name!r} has no gradient, so nothing is learned from it: "
                    "it is made of step.targets, which are detached, or of other constants. Use step.logits for what a student itself "
                    "predicts. Put a value that is only for the history into step.log."
                )


def has_custom_code(strategy: Strategy) -> bool:
    """Whether the strategy or its weighting is custom."""
    return is_custom(strategy) or any(map(is_custom, strategy.coordinator.task_coordinators()))


def _tensors_of(step: Step) -> dict[str, Tensor]:
    """The tensors of a step that others read, too, by name."""
    names = ("logits", "targets", "labels", "labelled", "training", "exchange", "samples")
    values = {name: getattr(step, name) for name in names}
    values |= {f"batch.{name}": getattr(step.batch, name, None) for name in ("features", "edge_features")}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _share_memory(first: Tensor, second: Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


def _checked_terms(terms: Any, strategy: str, num_active: int) -> Mapping[str, Tensor]:
    """Check the loss terms for `CheckedStrategy.loss_terms`, and return them."""
    if not isinstance(terms, Mapping) or not terms:
        kind = "an empty dict" if isinstance(terms, Mapping) else kind_of(terms)
        raise UsageError(f"loss_terms of the strategy {strategy!r} returns {kind}. It must return a dict of named loss terms.")
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
                f"It must have a floating-point number for each of the {num_active} members that train, or one for all of them."
            )
        learns = learns or term.requires_grad
    if not learns:
        raise UsageError(
            f"No loss term of the strategy {strategy!r} depends on the students' logits, so nothing is learned. Do not detach them."
        )
    return terms
