"""The code that a configuration names, by digest: trials of a run are to have been trained by the same code."""

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
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.utils.code_digest import changed_since_import, code_digest
from dgl_mutual.utils.custom_code import is_custom
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted
from dgl_mutual.weightings import WEIGHTING_REGISTRY, Weighting


def custom_code(config: RunConfig) -> list[Found[Any]]:
    """The custom classes and functions that a resolved configuration names."""
    strategy = STRATEGY_REGISTRY.find(config.strategy)
    named: list[Found[Any]] = [strategy]
    weightings: list[Any] = [config.strategy_options.get("weighting"), _chosen_weighting(strategy.value, config)]
    for weighting in weightings:
        with suppress(UsageError):  # there is none, or a custom strategy means something else by it
            named.append(WEIGHTING_REGISTRY.find(weighting))
    members = [*config.students, *(member for _, member in added_members(config))]
    named += [STUDENT_REGISTRY.find(member.architecture) for member in members if member.is_custom]
    return [found for found in named if is_custom(found.value)]


def _chosen_weighting(strategy_class: type[Strategy], config: RunConfig) -> str | type[Weighting] | None:
    """The weighting that a custom strategy chooses by its class and its options; None where it chooses none, or by what is known later."""
    if not is_custom(strategy_class):
        return None
    with suppress(Exception):  # where it needs what __init__ makes; what is wrong with it is told when it is made
        strategy = object.__new__(strategy_class)
        nn.Module.__init__(strategy)
        strategy.options = strategy_options_of(config)
        found = strategy.coordinator_weighting()
        return found[0] if found is not None else None
    return None


def custom_code_digests(*configs: RunConfig) -> dict[str, str]:
    """A digest of each custom class and function that resolved configurations name, by its name there (see `code_digest`).

    Raises:
        UsageError: what would be trained is not what the file has now, to which a digest would belong.
    """
    named = {found.name: found.value for config in configs for found in custom_code(config)}
    digests = {}
    for name, value in named.items():
        changed = changed_since_import(value, name)
        if changed is not None:
            module = changed.partition(":")[0]
            raise UsageError(
                f"{changed} is not what its file says ({sys.modules[module].__file__}): the file was changed after it was imported, or "
                "the value was replaced in this process. Other processes would train other code than this one. Keep in the file what is to "
                f"be trained, and start Python again, or reload the module (importlib.reload) and pass {name} again."
            )
        digests[name] = code_digest(value, name)
    return {name: digest for name, digest in sorted(digests.items()) if digest is not None}


def changed_code(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """The names whose digests differ; a name without one before has not been compared."""
    return [name for name, digest in now.items() if before.get(name, digest) != digest]


def check_process(configs: Sequence[RunConfig], code: Mapping[str, str]) -> None:
    """Check that this process would train the code that the one which sent it the trial has recorded.

    Args:
        configs: resolved, of the trial.
        code: the digests there (see `custom_code_digests`).

    Raises:
        UsageError: its code is another.
    """
    here = {}
    for found in (found for config in configs for found in custom_code(config)):
        digest = code_digest(found.value, found.name)
        if digest is not None or changed_since_import(found.value, found.name):
            here[found.name] = digest or "changed"
    changed = changed_code(code, here)
    if changed:
        raise UsageError(
            f"A process that trains has other code of {', '.join(changed)} than the one that started it: the file was changed between "
            "the imports of the two, or they have different files. Run it again; restart the workers of a cluster first."
        )


def check_code(kept: Kept, code: Mapping[str, str], asked: set[tuple[int, int]]) -> None:
    """Compare the code that a run names with that of its finished trials. A warning says where it has changed.

    Args:
        asked: (seed, fold) of the trials that are asked for.

    Raises:
        StoreError: it has changed, and further trials are to be trained beside the finished ones.
    """
    before, num_finished, missing = kept.recorded("code"), len(kept.keys), not asked <= kept.keys
    changed = changed_code(before, code)
    unknown = [name for name in code if name not in before]
    if num_finished and missing and unknown:
        warn(
            f"The code of {', '.join(unknown)} was not recorded when {counted(num_finished, 'trial')} in {str(kept.folder)!r} "
            f"{'was' if num_finished == 1 else 'were'} trained. If it has changed since, {kept.start_over(asked)}."
        )
    if not changed or not num_finished:
        return
    message = (
        f"The code of {', '.join(changed)} has changed since {counted(num_finished, 'trial')} in {str(kept.folder)!r} "
        f"{'was' if num_finished == 1 else 'were'} trained."
    )
    if missing:
        raise StoreError(
            f"{message} A mean over them and new ones would be one over different code. Choose another folder with --out (in Python: "
            f"out=...), or {kept.start_over(asked)}."
        )
    warn(f"{message} Their results are those of the former code. To train them again, {kept.start_over(asked)}.")
