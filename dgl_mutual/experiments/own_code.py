"""The code that a configuration names, by digest: trials of a run are to have been trained by the same code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.run_store import RunStore
from dgl_mutual.nn.architectures import STUDENT_REGISTRY
from dgl_mutual.strategies import STRATEGY_REGISTRY
from dgl_mutual.utils.user_code import code_digest, is_ours
from dgl_mutual.utils.wording import counted
from dgl_mutual.weightings import WEIGHTING_REGISTRY


def own_code(config: RunConfig) -> dict[str, str]:
    """A digest of each class and function of a user's own that a resolved configuration names (see `code_digest`)."""
    strategy = STRATEGY_REGISTRY.find(config.strategy).value
    named: list[Any] = [strategy]
    weighting = config.strategy_options.get("weighting")
    if weighting is not None and is_ours(strategy):  # another strategy may mean something else by it
        named.append(WEIGHTING_REGISTRY.find(weighting).value)
    named += [STUDENT_REGISTRY.find(student.architecture).value for student in config.cohort if student.is_custom]
    digests = {f"{item.__module__}:{item.__qualname__}": code_digest(item) for item in named if not is_ours(item)}
    return {name: digest for name, digest in sorted(digests.items()) if digest is not None}


def check_code(store: RunStore, code: Mapping[str, str], *, missing: bool) -> None:
    """Compare the code that a run names with that of its finished trials. A warning tells where it has changed.

    Args:
        missing: whether further trials are to be trained beside the finished ones.

    Raises:
        StoreError: it has changed, and further trials are to be trained.
    """
    before = store.code()
    changed = [name for name, digest in code.items() if before.get(name, digest) != digest]
    num_finished = len(store.finished())
    if not changed or not num_finished:
        return
    told = (
        f"The code of {', '.join(changed)} has changed since {counted(num_finished, 'trial')} in {str(store.folder)!r} "
        f"{'was' if num_finished == 1 else 'were'} trained."
    )
    if missing:
        raise StoreError(
            f"{told} A mean over them and new ones would be one over different code. Start over with --no-resume (in Python: "
            "resume=False), or choose another folder with --out."
        )
    warnings.warn(f"{told} Their results are those of the former code. Train them again with --no-resume.", stacklevel=2)
