"""All ways in which students teach each other, by name. A new one is a new file here: the registry finds it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from dgl_mutual.errors import unknown
from dgl_mutual.strategies.base import Strategy


def _find() -> dict[str, type[Strategy]]:
    found: dict[str, type[Strategy]] = {}
    for module in pkgutil.iter_modules(__path__):
        members = vars(importlib.import_module(f"{__name__}.{module.name}")).values()
        found.update(
            {kind.name: kind for kind in members if inspect.isclass(kind) and issubclass(kind, Strategy) and not inspect.isabstract(kind)}
        )
    return dict(sorted(found.items()))


#: name -> class, in alphabetical order.
STRATEGIES = _find()


def resolve_strategy(name: str | type[Strategy]) -> type[Strategy]:
    """The strategy of a name, or the class itself.

    Raises:
        UsageError: no strategy has that name; the message lists them.
    """
    if not isinstance(name, str):
        return name
    if name not in STRATEGIES:
        raise unknown("strategy", name, STRATEGIES)
    return STRATEGIES[name]
