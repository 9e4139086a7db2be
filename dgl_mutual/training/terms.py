"""Checks what a strategy returns, so that a mistake in one of your own is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dgl_mutual.errors import UsageError


def checked_terms(terms: Any, strategy: str, num_active: int) -> Mapping[str, Tensor]:
    """The loss terms themselves, if they are some.

    Raises:
        UsageError: no mapping of names to tensors that are scalars or have a value for each of the active members.
    """
    if not isinstance(terms, Mapping) or not terms:
        found = "an empty dict" if isinstance(terms, Mapping) else f"a {type(terms).__name__}"
        raise UsageError(f"loss_terms of the strategy {strategy!r} returns {found}. It must return a dict of named loss terms.")
    learns = False
    for name, term in terms.items():
        if not isinstance(term, Tensor):
            raise UsageError(f"The loss term {name!r} of the strategy {strategy!r} is a {type(term).__name__}. It must be a tensor.")
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
