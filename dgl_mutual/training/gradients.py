"""The backward pass, the optimizer step, and the check that losses are finite. Errors name the custom code that probably causes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.streams import custom_streams
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.training.checked_strategy import has_custom_code
from dgl_mutual.training.history import refuse_non_finite
from dgl_mutual.training.state import TrainingState
from dgl_mutual.utils.custom_code import described, is_custom
from dgl_mutual.utils.error_causes import is_out_of_memory


def backward(state: TrainingState, terms: Mapping[str, Tensor], step: Step) -> None:
    """Compute the gradients of the sum of the loss terms of a step.

    Raises:
        TrainingError: a term of a custom strategy is not finite.
        UsageError: torch cannot compute the gradients, probably because of custom code.
    """
    parts = [term.sum() for term in terms.values()]
    loss = parts[0] if len(parts) == 1 else torch.stack(parts).sum()
    # Built-in strategies are checked at the end of the epoch; in a custom one, one bad step would make all later terms NaN.
    if is_custom(state.strategy) and not loss.isfinite():
        values = {titled(name): term.tolist() for name, term in terms.items()}
        names = [state.cohort.names[k] for k in step.active]
        refuse_non_finite_losses(state, values, names, finite_logits=bool(step.logits.isfinite().all()))
    # Hooks of gradients may draw random numbers.
    custom = has_custom_code(state.strategy) or any(state.cohort.members[k].custom_module is not None for k in step.active)
    with _naming_custom_code(state), custom_streams(state.streams.custom, step.logits.device) if custom else nullcontext():
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap


def optimizer_step(state: TrainingState) -> None:
    """Update the weights of the active members and of the strategy.

    Raises:
        UsageError: torch cannot use the gradients, probably because of custom code.
    """
    with _naming_custom_code(state):
        state.current.optimizer.step()


def refuse_non_finite_losses(state: TrainingState, losses: Mapping[str, Any], names: Sequence[str], *, finite_logits: bool = False) -> None:
    """Refuse losses of which one is NaN or infinite; see `dgl_mutual.training.history.refuse_non_finite`.

    Args:
        finite_logits: whether the logits that the losses were computed from are known to be finite.
    """
    strategy, rate, cause = state.strategy, state.options.learning_rate, None
    if is_custom(strategy) and finite_logits:
        cause = (
            f"All logits of the step are finite, so look in loss_terms of the strategy {strategy.name!r}: the likely cause is a "
            "logarithm of zero, a division by zero, or unknown labels (step.labelled has the rows of the known ones). Use for example "
            "log_softmax, or clamp(min=1e-12)."
        )
    elif is_custom(strategy):
        cause = (
            f"Likely causes are a gradient that is not finite in loss_terms of the strategy {strategy.name!r} (a square root or a norm "
            f"at zero), and a learning rate that is too large (training.learning_rate = {rate})."
        )
    refuse_non_finite(losses, names, state.epoch, rate, cause)


def titled(term: str) -> str:
    """The name of a loss term in messages."""
    return f"the term {term!r}"


@contextmanager
def _naming_custom_code(state: TrainingState) -> Iterator[None]:
    """Name the custom strategy and students in an error of torch within the block, which they probably cause."""
    try:
        yield
    except RuntimeError as error:
        strategy = state.strategy
        students = [state.cohort.names[k] for k in state.current.active if strategy.setting.members[k].is_custom]
        custom = [*((f"the strategy {strategy.name!r}",) if is_custom(strategy) else ()), *map(repr, students)]
        if not custom or is_out_of_memory(error):
            raise
        raise UsageError(
            f"The gradients of a step cannot be computed or used: {described(error)} Look in your own code ({', '.join(custom)}) for "
            "tensors that are kept from an earlier step without detach(), that are changed in place, or that have sparse gradients."
        ) from error
