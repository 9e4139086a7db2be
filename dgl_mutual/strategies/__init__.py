"""Registry of strategies, and the names that authors of strategies import.

A strategy is a file in this folder, which is found automatically, or a class elsewhere, which is named by its import path or by an
entry point of a package (group ``dgl_mutual.strategies``; see `dgl_mutual.registry`).
"""

from __future__ import annotations

from typing import Any

from dgl_mutual.options import fault_of_options
from dgl_mutual.registry import Registry, made_by, subclass_of, subclasses_in
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.imitation import ExchangeStrategy, ImitationStrategy
from dgl_mutual.strategies.base.options import (
    ExchangeOptions,
    ImitationOptions,
    StrategyOptions,
    TargetOptions,
    TeachingOptions,
    Unlabelled,
)
from dgl_mutual.strategies.base.propagation import LabelledGraph
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy

__all__ = [
    "BASELINES",
    "STRATEGIES",
    "STRATEGY_REGISTRY",
    "Citation",
    "Exchange",
    "ExchangeOptions",
    "ExchangeStrategy",
    "ImitationOptions",
    "ImitationStrategy",
    "LabelledGraph",
    "Setting",
    "Step",
    "Strategy",
    "StrategyOptions",
    "TargetOptions",
    "TeachingOptions",
    "Unlabelled",
    "resolve_strategy",
]

_BUILT_IN: dict[str, type[Strategy]] = subclasses_in(__name__, __path__, Strategy)
#: name -> class, in alphabetical order: the strategies that train students and do not change their predictions afterwards.
STRATEGIES = {name: kind for name, kind in _BUILT_IN.items() if not kind.propagates}
#: Baselines that spread training labels over the edges of one graph.
BASELINES = {name: kind for name, kind in _BUILT_IN.items() if kind.propagates}


def _fault(value: Any) -> str | None:
    fault = (
        subclass_of(Strategy, "dgl_mutual.Strategy")(value)
        or made_by(value, "strategies", ("options", "setting"))
        or fault_of_options(value, StrategyOptions, "dgl_mutual.strategies.StrategyOptions")
    )
    if fault is not None:
        return fault
    if next(kind for kind in value.__mro__ if "propagate" in vars(kind)) is not Strategy and not value.propagates:
        return "has a propagate() that is not called. Set the class attribute propagates = True."
    if not isinstance(value.name, str):
        return f"has name = {value.name!r}. Give it a string, or leave it out."
    least = 1 if value.trains else 0
    if not isinstance(value.min_students, int) or value.min_students < least:
        return f"has min_students = {value.min_students!r}. Set the class attribute to an integer from {least} on."
    return None


#: Finds a strategy by name, import path or class.
STRATEGY_REGISTRY: Registry[type[Strategy]] = Registry("strategy", _BUILT_IN, _fault, group="dgl_mutual.strategies")


def resolve_strategy(name: str | type[Strategy]) -> type[Strategy]:
    """Return the strategy with a name (built-in, or of an installed package) or import path ``package.module:Class``; a class as it is.

    Raises:
        UsageError: the name is unknown (the message lists the names), or the import path cannot be imported or is not a strategy.
    """
    return STRATEGY_REGISTRY.resolve(name)
