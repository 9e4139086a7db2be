"""Checks of custom modules: that their weights and buffers can be kept, saved and loaded again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dgl_mutual.nn.streams import custom_streams
from dgl_mutual.utils.custom_code import described
from dgl_mutual.utils.wording import kind_of

#: Seeds of the streams that further modules are made from: none that a user would choose, from which the first one may have been made.
_OTHER_SEEDS = (0x5EED_0F_0_7E57, 0x5EED_0F_1_7E57)


def fault_of_tensors(module: nn.Module, *, may_be_lazy: bool = False) -> str | None:
    """Why a module cannot be trained, as the end of a sentence that starts with its name; None if it can.

    Args:
        may_be_lazy: its lazy layers get their shapes in the first step.
    """
    try:
        called = "parameters"
        tensors: list[Tensor] = list(module.parameters())
        called = "buffers"
        tensors += module.buffers()
        called = "state_dict"
        state = module.state_dict()
    except Exception as error:
        return f"has a method {called}() that raised an error: {described(error)}"
    if not isinstance(state, Mapping):
        return f"has a method state_dict() that returns {kind_of(state)}. It must return a mapping from names to tensors."
    if not may_be_lazy and any(map(is_lazy, tensors)):
        return "has lazy layers, whose size is not known yet. Give them in_features."
    if any(tensor.is_meta for tensor in tensors):
        return "has weights on the device 'meta', which hold no numbers. Make them on the CPU."
    for kind in map(type, module.modules()):
        gives, takes = (getattr(kind, name) is not getattr(nn.Module, name) for name in ("get_extra_state", "set_extra_state"))
        if gives != takes:
            there, missing = ("get_extra_state", "set_extra_state")[:: 1 if gives else -1]
            return f"defines {there} and not {missing} in {kind.__name__}, so its state could not be given back. Define {missing}, too."
    return None


def fault_of_state(module: nn.Module) -> str | None:
    """As `fault_of_tensors`, or what in the state of a module cannot be kept."""
    if fault := fault_of_tensors(module):
        return fault
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            return f"keeps state that is not a tensor ({name}). Keep it in buffers."
        if value.layout != torch.strided:
            return f"has a sparse tensor {name}, which cannot be saved. Keep it dense, or register it with persistent=False."
        if repeats(value):
            return f"has a tensor {name} several values of which share memory, as expand() makes them. Make a copy: {name}.clone()."
    return None


#: Why a module has the same weights each time it is made.
Cause: TypeAlias = Literal["kept", "seeded", "computed"]


def same_each_time(module: nn.Module, make: Callable[[], nn.Module], *, without: str = "") -> Cause | None:
    """Why a module has the same trainable weights each time it is made; None if it has not.

    They are kept if they share memory with those of another one, seeded if they are the same numbers while it seeds a global random stream
    of torch's CPU, NumPy or Python, and else computed, read from a file, or drawn from a generator of its own. Weights that are all equal,
    as zeros are, do not count.

    Args:
        module: one that has been made.
        make: makes another one.
        without: the name of a part that does not count.
    """
    ours = _trainable(module, without)
    if not ours:
        return None
    other, ends = _made_from(_OTHER_SEEDS[0], make)
    others = _trainable(other, without)
    if not memory_of(ours).isdisjoint(memory_of(others)):
        return "kept"
    if not _equal(ours, others):
        return None
    # Weights that are drawn and overwritten move a stream, too. One that has been seeded ends in the same state wherever it began.
    is_seeded = any(first == second for first, second in zip(ends, _made_from(_OTHER_SEEDS[1], make)[1], strict=True))
    return "seeded" if is_seeded else "computed"


def _made_from(seed: int, make: Callable[[], nn.Module]) -> tuple[nn.Module, tuple[Any, ...]]:
    """A module made from global random streams that begin with a seed, and the states in which these end."""
    with custom_streams(torch.Generator().manual_seed(seed), torch.device("cpu")):
        made = make()
        numpy_state = np.random.get_state(legacy=False)["state"]
        return made, (torch.get_rng_state().tolist(), random.getstate(), (numpy_state["key"].tolist(), numpy_state["pos"]))


def _equal(ours: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    drawn = {name for name, weights in ours.items() if bool((weights != weights.flatten()[:1]).any())}
    return bool(drawn) and all(name in others and torch.equal(ours[name], others[name]) for name in drawn)


def memory_of(weights: Mapping[str, Tensor]) -> set[int]:
    """Where tensors are kept: tensors that share memory have an address in common."""
    return {one.untyped_storage().data_ptr() if one.layout == torch.strided else id(one) for one in weights.values()}


def _trainable(module: nn.Module, without: str = "") -> dict[str, Tensor]:
    """The trainable weights by name, except for lazy ones and those of no numbers."""
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and not is_lazy(parameter) and parameter.numel() and not (without and name.partition(".")[0] == without)
    }


def repeats(tensor: Tensor) -> bool:
    """Whether several values of a dense tensor share memory."""
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def versions(*tensors: Tensor) -> list[int]:
    """How often each tensor was changed in place; 0 under `torch.inference_mode`, where that is not counted."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]
