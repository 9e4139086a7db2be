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

#: Seeds from which further modules are made. No user would choose them, and the first module may have been made from a user's seed.
_OTHER_SEEDS = (0x5EED_0F_0_7E57, 0x5EED_0F_1_7E57)


def fault_of_tensors(module: nn.Module, *, may_be_lazy: bool = False) -> str | None:
    """Why a module cannot be trained, as the end of a sentence that starts with its name; None if it can.

    Args:
        may_be_lazy: whether lazy layers are allowed; they get their shapes in the first step.
    """
    try:
        method = "parameters"
        tensors: list[Tensor] = list(module.parameters())
        method = "buffers"
        tensors += module.buffers()
        method = "state_dict"
        state = module.state_dict()
    except Exception as error:
        return f"has a method {method}() that raised an error: {described(error)}"
    if not isinstance(state, Mapping):
        return f"has a method state_dict() that returns {kind_of(state)}. It must return a mapping from names to tensors."
    if not may_be_lazy and any(map(is_lazy, tensors)):
        return "has lazy layers, whose size is not known yet. Give them in_features."
    if any(tensor.is_meta for tensor in tensors):
        return "has weights on the device 'meta', which hold no numbers. Make them on the CPU."
    for module_class in map(type, module.modules()):
        saves, loads = (getattr(module_class, name) is not getattr(nn.Module, name) for name in ("get_extra_state", "set_extra_state"))
        if saves != loads:
            defined, missing = ("get_extra_state", "set_extra_state")[:: 1 if saves else -1]
            return f"defines {defined} and not {missing} in {module_class.__name__}, so state cannot be restored. Define {missing}, too."
    return None


def fault_of_state(module: nn.Module) -> str | None:
    """As `fault_of_tensors`; also for state of a module that cannot be saved."""
    if fault := fault_of_tensors(module):
        return fault
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            return f"keeps state that is not a tensor ({name}). Keep it in buffers."
        if value.layout != torch.strided:
            return f"has a sparse tensor {name}, which cannot be saved. Keep it dense, or register it with persistent=False."
        if repeats(value):
            return f"has a tensor {name} in which several values share memory, as after expand(). Make a copy: {name}.clone()."
    return None


#: Why a module has the same weights each time it is made.
Cause: TypeAlias = Literal["kept", "seeded", "computed"]


def cause_of_equal_weights(module: nn.Module, make: Callable[[], nn.Module], *, without: str = "") -> Cause | None:
    """Why a module has the same trainable weights each time it is made; None if it does not.

    kept: they share memory with those of another one. seeded: they are equal, and making the module seeds a global random stream of torch
    (CPU), NumPy or Python. computed: they are equal for another reason, for example read from a file, or drawn from a generator of its own.
    Tensors whose values are all equal, such as zeros, do not count.

    Args:
        module: the first module.
        make: makes another one.
        without: the name of a submodule to ignore.
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
    # Weights that are drawn and overwritten advance a stream, too. A seeded stream ends in the same state wherever it began.
    is_seeded = any(first == second for first, second in zip(ends, _made_from(_OTHER_SEEDS[1], make)[1], strict=True))
    return "seeded" if is_seeded else "computed"


def _made_from(seed: int, make: Callable[[], nn.Module]) -> tuple[nn.Module, tuple[Any, ...]]:
    """Make a module from global random streams with this seed; return it and the final states of the streams."""
    with custom_streams(torch.Generator().manual_seed(seed), torch.device("cpu")):
        module = make()
        numpy_state = np.random.get_state(legacy=False)["state"]
        return module, (torch.get_rng_state().tolist(), random.getstate(), (numpy_state["key"].tolist(), numpy_state["pos"]))


def _equal(ours: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    drawn = {name for name, weights in ours.items() if bool((weights != weights.flatten()[:1]).any())}
    return bool(drawn) and all(name in others and torch.equal(ours[name], others[name]) for name in drawn)


def memory_of(weights: Mapping[str, Tensor]) -> set[int]:
    """The memory addresses of tensors: tensors that share memory have one in common."""
    return {tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor) for tensor in weights.values()}


def _trainable(module: nn.Module, without: str = "") -> dict[str, Tensor]:
    """The trainable weights by name, without lazy and empty ones."""
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
