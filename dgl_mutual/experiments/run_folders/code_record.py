"""Digests of the custom code that a configuration names, since all trials of a run must be trained by the same code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch import nn

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.configuration.resolve import added_members, strategy_options_of
from dgl_mutual.experiments.run_folders.run_store import Kept
from dgl_mutual.nn.architectures import STUDENT_REGISTRY
from dgl_mutual.registry import Found
from dgl_mutual.strategies import STRATEGY_REGISTRY
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.utils.code_digest import changed_since_import, code_digest
from dgl_mutual.utils.custom_code import is_custom
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted
from dgl_mutual.weightings import WEIGHTING_REGISTRY, Weighting


def custom_code(config: RunConfig) -> list[Found[Any]]:
    """The custom classes and functions in a resolved configuration."""
    strategy = STRATEGY_REGISTRY.find(config.strategy)
    items: list[Found[Any]] = [strategy]
    weightings: list[Any] = [config.strategy_options.get("weighting"), _chosen_weighting(strategy.value, config)]
    for weighting in weightings:
        with suppress(UsageError):  # there is none, or a custom strategy uses the option in another way
            items.append(WEIGHTING_REGISTRY.find(weighting))
    members = [*config.students, *(member for _, member in added_members(config))]
    items += [STUDENT_REGISTRY.find(member.architecture) for member in members if member.is_custom]
    return [item for item in items if is_custom(item.value)]


def _chosen_weighting(strategy_class: type[Strategy], config: RunConfig) -> str | type[Weighting] | None:
    """The weighting that a custom strategy chooses by its options; None if it chooses none, or chooses it in ``__init__``."""
    if not is_custom(strategy_class):
        return None
    with suppress(Exception):  # it may need attributes of __init__; its own errors show when it is created
        strategy = object.__new__(strategy_class)
        nn.Module.__init__(strategy)
        strategy.options = strategy_options_of(config)
        chosen = strategy.coordinator_weighting()
        return chosen[0] if chosen is not None else None
    return None


def custom_code_digests(*configs: RunConfig) -> dict[str, str]:
    """Digests of the custom classes and functions in resolved configurations, by their names there (see `code_digest`).

    Raises:
        UsageError: the imported code differs from its file, of which a digest would be taken.
    """
    named = {item.name: item.value for config in configs for item in custom_code(config)}
    digests = {}
    for name, value in named.items():
        changed = changed_since_import(value, name)
        if changed is not None:
            module = changed.partition(":")[0]
            raise UsageError(
                f"{changed} is not what its file says ({sys.modules[module].__file__}): the file was changed after it was imported, or "
                "the value was replaced in this process. Other processes would train other code than this one. Put the code to be "
                f"trained into the file, and restart Python, or reload the module (importlib.reload) and pass {name} again."
            )
        digests[name] = code_digest(value, name)
    return {name: digest for name, digest in sorted(digests.items()) if digest is not None}


def changed_code(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """The names whose digests differ; names without an earlier digest are not compared."""
    return [name for name, digest in now.items() if before.get(name, digest) != digest]


def check_process(configs: Sequence[RunConfig], code: Mapping[str, str]) -> None:
    """Check that this process has the same custom code as the process that sent the trial.

    Args:
        configs: the resolved configurations of the trial.
        code: digests of the other process (see `custom_code_digests`).

    Raises:
        UsageError: the code differs.
    """
    here = {}
    for item in (item for config in configs for item in custom_code(config)):
        digest = code_digest(item.value, item.name)
        if digest is not None or changed_since_import(item.value, item.name):
            here[item.name] = digest or "changed"
    changed = changed_code(code, here)
    if changed:
        raise UsageError(
            f"A training process has other code of {', '.join(changed)} than the process that started it: the file was changed between "
            "their imports, or they have different files. Run it again; restart the workers of a cluster first."
        )


def check_code(kept: Kept, code: Mapping[str, str], asked: set[tuple[int, int]]) -> None:
    """Compare the custom code of a run with that of its finished trials. A warning names changes.

    Args:
        asked: (seed, fold) of the requested trials.

    Raises:
        StoreError: the code has changed, and further trials would be trained beside the finished ones.
    """
    if not kept.keys:
        return
    before = kept.recorded("code")
    is_incomplete = not asked <= kept.keys
    trained = f"{counted(len(kept.keys), 'trial')} in {str(kept.folder)!r} {'was' if len(kept.keys) == 1 else 'were'} trained"
    unknown = [name for name in code if name not in before]
    if is_incomplete and unknown:
        warn(f"The code of {', '.join(unknown)} was not recorded when {trained}. If it has changed since, {kept.start_over(asked)}.")
    changed = changed_code(before, code)
    if not changed:
        return
    message = f"The code of {', '.join(changed)} has changed since {trained}."
    if is_incomplete:
        raise StoreError(
            f"{message} A mean over them and new trials would mix different code. Choose another folder with --out (in Python: out=...), "
            f"or {kept.start_over(asked)}."
        )
    warn(f"{message} Their results are from the former code. To train them again, {kept.start_over(asked)}.")
