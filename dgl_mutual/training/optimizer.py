"""The optimizer of a cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from inspect import unwrap
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from dgl_mutual.training.options import TrainingOptions

#: Methods of `torch.optim.Adam` without the wrappers around them.
_STEP = unwrap(torch.optim.Adam.step)
_STATE_DICT = unwrap(torch.optim.Adam.state_dict)
_ZERO_GRAD = unwrap(torch.optim.Adam.zero_grad)


class Adam(torch.optim.Adam):
    """torch's Adam with less work in Python: the same results to the bit, in less time on small students.

    The wrappers that keep ``torch.compile`` out of its methods are left out. At their first call they import the compiler, some 800
    modules: 1.5 s before the first step of a process, as long as 60 epochs on Cora.

    On a CPU the fused kernel is called directly, and the step counts of a group are views of one tensor, which one addition increments.
    With 36 parameters, a gin on graphs, torch takes 116 microseconds for a step and this class 43: 2 % of an epoch on NCI1.
    """

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)

    #: For each group the step counts of its parameters, and the views of them that `state` holds; empty before the first fused step.
    _counts: Sequence[tuple[Tensor, tuple[Tensor, ...]]] = ()

    def state_dict(self) -> dict[str, Any]:
        """As in torch, with a step count for each parameter that shares no memory with others."""
        saved: dict[str, Any] = _STATE_DICT(self)
        moments = {place: {**state, "step": state["step"].clone()} for place, state in saved["state"].items()}
        return {**saved, "state": moments}

    def zero_grad(self, set_to_none: bool = True) -> None:
        if not set_to_none:
            _ZERO_GRAD(self, set_to_none=False)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        grads = [[parameter.grad for parameter in group["params"]] for group in self.param_groups]
        # Otherwise torch leaves parameters out of this step, or computes gradients in it.
        is_usual = closure is None and all(grad is not None and not grad.is_sparse for of_group in grads for grad in of_group)
        if not is_usual or not all(map(_is_plain, self.param_groups)):
            return _STEP(self, closure)
        states = [[self.state.get(parameter, {}) for parameter in group["params"]] for group in self.param_groups]
        if not self._has_counts_of(states):
            _STEP(self)
            groups = [group["params"] for group in self.param_groups]
            # Steps on a GPU stay torch's own: this has not been measured there.
            is_on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group)
            self._counts = [self._shared_counts(group) for group in groups] if is_on_cpu else ()
            return None
        for options, counts, of_group, of_states in zip(self.param_groups, self._counts, grads, states, strict=True):
            _fused_step(options, of_group, of_states, counts)
        return None

    def _has_counts_of(self, states: Sequence[Sequence[dict[str, Tensor]]]) -> bool:
        """Whether `_counts` belong to these states: whoever loads or replaces a state replaces its count."""
        if len(self._counts) != len(states):
            return False
        found = ([state.get("step") for state in of_group] for of_group in states)
        return all(len(views) == len(steps) and all(map(is_, views, steps)) for (_, views), steps in zip(self._counts, found, strict=True))

    def _shared_counts(self, parameters: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Make the step counts of these parameters views of one tensor."""
        states = [self.state[parameter] for parameter in parameters]
        counts = torch.stack([state["step"] for state in states]) if states else torch.empty(0)
        views = counts.unbind()
        for state, view in zip(states, views, strict=True):
            state["step"] = view
        return counts, views


def _is_plain(options: dict[str, Any]) -> bool:
    """Whether a group takes fused steps without options that few use."""
    others = ("amsgrad", "maximize", "differentiable", "capturable", "decoupled_weight_decay")
    numbers = (options["lr"], options["weight_decay"], options["eps"], *options["betas"])
    return options["fused"] and not any(map(options.get, others)) and all(isinstance(number, float | int) for number in numbers)


def _fused_step(
    options: dict[str, Any], grads: list[Tensor], states: Sequence[dict[str, Tensor]], counts: tuple[Tensor, tuple[Tensor, ...]]
) -> None:
    """Update a group of parameters as torch does with ``fused=True``."""
    total, views = counts
    beta1, beta2 = options["betas"]
    total.add_(1)
    torch._fused_adam_(
        options["params"],
        grads,
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        views,
        lr=options["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=options["weight_decay"],
        eps=options["eps"],
        amsgrad=False,
        maximize=False,
    )


def make_optimizer(
    students: Iterable[nn.Module], strategy: nn.Module, options: TrainingOptions, device: torch.device
) -> torch.optim.Optimizer:
    """Create Adam for students, with weight decay, and for the strategy's own parameters, without."""
    parameters = [parameter for student in students for parameter in student.parameters()]
    groups = [{"params": parameters, "weight_decay": options.weight_decay}]
    of_strategy = list(strategy.parameters())
    if of_strategy:
        groups.append({"params": of_strategy, "weight_decay": 0.0})
    return Adam(groups, lr=options.learning_rate, fused=_fused_adam_works(device))


def _fused_adam_works(device: torch.device) -> bool:
    """Whether torch has a fused Adam: for CPU tensors since 2.4, in a third of the time; for CUDA in every supported version."""
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    return device.type == "cuda" or (major, minor) >= (2, 4)
