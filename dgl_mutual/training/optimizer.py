"""The optimizer of a cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn

from dgl_mutual.training.options import TrainingOptions


@dataclass(frozen=True)
class _Group:
    """The tensors of a parameter group, as the fused kernel takes them.

    Attributes:
        counts: the numbers of steps of all parameters, of which `steps` are views: a single addition increments them all.
    """

    parameters: list[Tensor]
    averages: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]
    counts: Tensor


class Adam(torch.optim.Adam):
    """torch's Adam without the wrappers that keep ``torch.compile`` out of its methods, and without collecting its state on every step.

    At their first call these wrappers import the compiler, some 800 modules: 1.5 s before the first step of a process, as long as 60 epochs
    on Cora. What they wrap is called directly instead. Collecting the state takes most of the time of a fused step on small students
    (0.3 ms of 0.5 with 36 parameters), so the tensors found are kept. Each step gives the same result to the last bit.
    """

    add_param_group = unwrap(torch.optim.Adam.add_param_group)

    _kept: tuple[_Group, ...] | None = None

    def state_dict(self) -> dict[str, Any]:
        self._release()
        state: dict[str, Any] = _STATE(self)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._release()
        _LOAD(self, state_dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        if not set_to_none:
            _ZERO(self, set_to_none=False)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        sizes = [len(group["params"]) for group in self.param_groups]
        grads = [_dense_gradients(group["params"]) for group in self.param_groups]
        # Otherwise some parameters are left out of this step, or gradients are computed in it.
        is_usual = closure is None and [len(of_group) for of_group in grads] == sizes
        if is_usual and self._kept is not None and [len(group.parameters) for group in self._kept] == sizes:
            for options, group, of_group in zip(self.param_groups, self._kept, grads, strict=True):
                self._fused_step(options, group, of_group)
            return None
        self._release()
        loss = _STEP(self, closure)
        if is_usual and all(_is_plain(options) for options in self.param_groups):
            self._kept = tuple(self._tensors_of(options) for options in self.param_groups)
        return loss

    def _tensors_of(self, options: dict[str, Any]) -> _Group:
        states = [self.state[parameter] for parameter in options["params"]]
        averages, squares, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        counts = torch.stack(steps)
        views = list(counts.unbind())
        for state, view in zip(states, views, strict=True):
            state["step"] = view
        return _Group(list(options["params"]), averages, squares, views, counts)

    def _release(self) -> None:
        """Give each parameter a step count of its own again, since tensors that share memory cannot be saved."""
        for group in self._kept or ():
            for parameter in group.parameters:
                self.state[parameter]["step"] = self.state[parameter]["step"].clone()
        self._kept = None

    @staticmethod
    def _fused_step(options: dict[str, Any], group: _Group, grads: list[Tensor]) -> None:
        beta1, beta2 = options["betas"]
        group.counts.add_(1)
        torch._fused_adam_(
            group.parameters,
            grads,
            group.averages,
            group.squares,
            [],
            group.steps,
            lr=options["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=options["weight_decay"],
            eps=options["eps"],
            amsgrad=False,
            maximize=False,
        )


def _dense_gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The gradients of those parameters that have one that is not sparse."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None and not parameter.grad.is_sparse]


def _is_plain(options: dict[str, Any]) -> bool:
    """Whether a group uses the fused kernel on a CPU, with none of its special options. On a GPU nothing would be gained."""
    others = ("amsgrad", "maximize", "differentiable", "capturable", "decoupled_weight_decay")
    if not options["fused"] or any(options.get(name) for name in others):
        return False
    numbers = (options["lr"], options["weight_decay"], options["eps"], *options["betas"])
    kinds = {(parameter.device.type, parameter.dtype) for parameter in options["params"]}
    return all(isinstance(number, float | int) for number in numbers) and len(kinds) == 1 and kinds.pop()[0] == "cpu"


#: `torch.optim.Adam.step` itself; its wrapper switches gradients off, as `Adam.step` does.
_STEP = unwrap(torch.optim.Adam.step)
_STATE = unwrap(torch.optim.Adam.state_dict)
_ZERO = unwrap(torch.optim.Adam.zero_grad)
_LOAD = unwrap(torch.optim.Adam.load_state_dict)


def make_optimizer(
    students: Iterable[nn.Module], strategy: nn.Module, options: TrainingOptions, device: torch.device
) -> torch.optim.Optimizer:
    """A fresh Adam for students, with weight decay, and for what their strategy learns itself, without."""
    parameters = [parameter for student in students for parameter in student.parameters()]
    groups = [{"params": parameters, "weight_decay": options.weight_decay}]
    own = list(strategy.parameters())
    if own:
        groups.append({"params": own, "weight_decay": 0.0})
    return Adam(groups, lr=options.learning_rate, fused=_fused_adam_works(device))


def _fused_adam_works(device: torch.device) -> bool:
    """torch has a fused Adam for CPU tensors since 2.4, a third of the plain one's time; one for CUDA in every version allowed here."""
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    return device.type == "cuda" or (major, minor) >= (2, 4)
