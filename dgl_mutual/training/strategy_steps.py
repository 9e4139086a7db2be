"""What a strategy is asked in each step of a training; mistakes of custom code are named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.custom_modules import versions
from dgl_mutual.nn.streams import custom_streams
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.step import Step
from dgl_mutual.training.history import KEYS, fault_of_name, refuse_non_finite
from dgl_mutual.training.state import TrainingState
from dgl_mutual.utils.custom_code import described, errors_attributed_to, is_custom
from dgl_mutual.utils.error_causes import is_out_of_memory
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import kind_of

#: What torch says of a label of -1 in a cross-entropy, a gather or a one-hot encoding.
_UNKNOWN_LABEL = re.compile(r"-1 is out of bounds|Class values must be non-negative")


@dataclass(frozen=True, eq=False)
class StrategySteps:
    """The strategy's part in the steps of a training.

    Custom code draws from a stream of its own. Custom is code of the strategy, of its weighting or of a student.
    """

    state: TrainingState
    #: Loss terms that a warning has named.
    _named_constants: set[str] = field(default_factory=set, init=False)

    def loss_terms(self, step: Step) -> Mapping[str, Tensor]:
        """The loss terms of a step. A warning names one of a custom strategy that has no gradient.

        Raises:
            UsageError: the strategy does not return a mapping of names to tensors, each a scalar or with a value for each active member,
                or changes the tensors of the step.
        """
        strategy = self.state.strategy
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
            errors_attributed_to(f"loss_terms of the strategy {strategy.name!r}", strategy),
            self._stream(step, _has_custom_code(strategy)),
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
                f"loss_terms of the strategy {strategy.name!r} changes {' and '.join(f'step.{name}' for name in (changed[0], *shared))}, "
                f"which others read, too{' (they share memory here)' if shared else ''}. Use operations that make a new tensor, for "
                f"example step.{changed[0]} / 2 in place of step.{changed[0]} /= 2."
            )
        checked = _checked_terms(terms, strategy.name, len(step.active))
        if is_custom(strategy):
            self._warn_of_constants(checked)
        return checked

    def backward(self, terms: Mapping[str, Tensor], step: Step) -> None:
        """Compute the gradients of the sum of the loss terms of a step.

        Raises:
            TrainingError: a term of a custom strategy is not finite.
            UsageError: torch cannot compute the gradients, probably because of custom code.
        """
        state = self.state
        loss = torch.stack([term.sum() for term in terms.values()]).sum()
        # Of built-in strategies an epoch's end is soon enough; in a custom one, one bad step would make all later terms NaN.
        if is_custom(state.strategy) and not loss.isfinite():
            values = {titled(name): term.tolist() for name, term in terms.items()}
            names = [state.cohort.names[k] for k in step.active]
            self.refuse_non_finite(values, names, finite_logits=bool(step.logits.isfinite().all()))
        # Hooks of gradients may draw.
        custom = _has_custom_code(state.strategy) or any(state.cohort.members[k].custom_module is not None for k in step.active)
        with self._blamed(step.active), self._stream(step, custom):
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap

    def update(self, optimizer: torch.optim.Optimizer, step: Step) -> None:
        """Take a step of the optimizer.

        Raises:
            UsageError: torch cannot use the gradients, probably because of custom code.
        """
        with self._blamed(step.active):
            optimizer.step()

    def logged(self, step: Step) -> dict[str, Tensor]:
        """The values that the strategy has logged for the history, as tensors without gradient.

        Raises:
            UsageError: a name that is no string, empty or not printable, or that of another column of the history; or a value that is
                neither a number nor one for each active member, or each pair of members.
        """
        strategy, values = self.state.strategy, {}
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
                found = f"the shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else f"the type {type(value).__name__}"
                raise UsageError(
                    f"The value {name!r} that the strategy {strategy.name!r} logs has {found}. Expected is a number, a tensor of one for "
                    f"each of the {len(step.active)} members that train, or a matrix over the {num_members} members."
                )
            values[name] = tensor.detach()
        return values

    def refuse_non_finite(self, losses: Mapping[str, Any], names: Sequence[str], *, finite_logits: bool = False) -> None:
        """Refuse losses of which one is NaN or infinite; see `dgl_mutual.training.history.refuse_non_finite`.

        Args:
            finite_logits: whether the logits that the losses were made of are known to be finite.
        """
        strategy, rate, cause = self.state.strategy, self.state.options.learning_rate, None
        if is_custom(strategy) and finite_logits:
            cause = (
                f"All logits of the step are finite, so look in loss_terms of the strategy {strategy.name!r}: the likely cause is a "
                "logarithm of zero, a division by zero, or labels that are not known (step.labelled has the rows of those that are). Use "
                "for example log_softmax, or clamp(min=1e-12)."
            )
        elif is_custom(strategy):
            cause = (
                f"Likely causes are a gradient that is not finite in loss_terms of the strategy {strategy.name!r} (a square root or a norm "
                f"at zero), and a learning rate that is too large (training.learning_rate = {rate})."
            )
        refuse_non_finite(losses, names, self.state.epoch, rate, cause)

    def _stream(self, step: Step, custom: bool) -> AbstractContextManager[None]:
        """The stream of custom code, if any is run."""
        return custom_streams(self.state.streams.custom, step.logits.device) if custom else nullcontext()

    def _warn_of_constants(self, terms: Mapping[str, Tensor]) -> None:
        """Warn, once a training, of a loss term from which nothing is learned. One that is zero may stand for one that has not begun."""
        for name in terms.keys() - self._named_constants:
            if not terms[name].requires_grad and bool(terms[name].any()):
                self._named_constants.add(name)
                warn(
                    f"The loss term {name!r} of the strategy {self.state.strategy.name!r} has no gradient, so nothing is learned from it: "
                    "it is made of step.targets, which are detached, or of other constants. Use step.logits for what a student itself "
                    "predicts. A value that is only to be seen belongs into step.log."
                )

    @contextmanager
    def _blamed(self, active: Sequence[int]) -> Iterator[None]:
        """Name the custom strategy and students in an error of torch within the block, which they probably cause."""
        try:
            yield
        except RuntimeError as error:
            strategy = self.state.strategy
            students = [self.state.cohort.names[k] for k in active if strategy.setting.members[k].is_custom]
            custom = [*((f"the strategy {strategy.name!r}",) if is_custom(strategy) else ()), *map(repr, students)]
            if not custom or is_out_of_memory(error):
                raise
            raise UsageError(
                f"The gradients of a step cannot be computed or used: {described(error)} Look in your own code ({', '.join(custom)}) for "
                "tensors that are kept from an earlier step without detach(), that are changed in place, or that have sparse gradients."
            ) from error


def titled(term: str) -> str:
    """What messages call a loss term."""
    return f"the term {term!r}"


def _has_custom_code(strategy: Strategy) -> bool:
    """Whether the strategy or its weighting is a custom one."""
    return is_custom(strategy) or any(map(is_custom, strategy.coordinator.task_coordinators()))


def _share_memory(first: Tensor, second: Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


def _checked_terms(terms: Any, strategy: str, num_active: int) -> Mapping[str, Tensor]:
    """The loss terms, after the checks of `StrategySteps.loss_terms`."""
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
