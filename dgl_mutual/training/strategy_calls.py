"""What a strategy is asked before the first step; mistakes of a custom one are named (of its steps, see `strategy_steps`)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral

from torch import nn

from dgl_mutual.coordinator import Coordinator
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.custom_modules import fault_of_tensors, same_each_time
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.exchange import Exchange
from dgl_mutual.strategies.options import StrategyOptions
from dgl_mutual.strategies.setting import Setting
from dgl_mutual.training.seeds import seeded_globally
from dgl_mutual.utils.custom_code import errors_attributed_to, is_custom
from dgl_mutual.utils.torch_settings import settings_kept
from dgl_mutual.utils.wording import kind_of


def extra_members(
    strategy_class: type[Strategy], options: StrategyOptions, students: Sequence[StudentOptions]
) -> tuple[tuple[str, StudentOptions], ...]:
    """The members that a strategy adds to the students. What it draws is the same in each call: trials of a run have the same members.

    Raises:
        UsageError: it returns something other than pairs of a name and options.
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
    """A strategy for a cohort.

    Raises:
        UsageError: it cannot be made, or does not support the cohort.
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
        if same_each_time(strategy, lambda: make(replace(setting, seed=next(seeds))), without="coordinator") in ("kept", "seeded"):
            raise UsageError(
                f"The strategy {strategy_class.name!r} has modules with the same weights each time it is made, so that all seeds would "
                "begin with them. Make them in its __init__, not before, and set no seed there but setting.seed."
            )
    return strategy


def exchange_of(strategy: Strategy, phases: Sequence[Sequence[int]], epochs: int) -> Exchange:
    """The `Exchange` of a strategy in these phases (see `phases_of`), of so many epochs each. What it draws
    follows from the seed of its setting.

    Raises:
        UsageError: `exchange()` does not return an `Exchange`, or one that would not begin in so many epochs.
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
    """Which members train together, phase after phase, each phase in the cohort's order.

    What the strategy draws follows from the seed of its setting.

    Raises:
        UsageError: there are no phases, a phase is empty, names a member twice, or names one that does not exist; or a member is in none.
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
