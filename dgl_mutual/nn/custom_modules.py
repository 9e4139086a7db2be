"""Checks of custom modules: that their weights and buffers can be kept, saved and loaded again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dgl_mutual.nn.streams import custom_streams
from dgl_mutual.utils.custom_code import described
from dgl_mutual.utils.wording import kind_of

#: Attributes that every module has.
_OF_ANY_MODULE = frozenset(vars(nn.Module()))
#: Seed of the stream that a second module is made from.
_OTHER_SEED = 0x5EED_0F_0_7E57


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
        if any(stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape, strict=True)):
            return f"has a tensor {name} several values of which share memory, as expand() makes them. Make a copy: {name}.clone()."
    return None


def same_each_time(module: nn.Module, make: Callable[[], nn.Module], *, may_compute: bool = False, without: str = "") -> bool:
    """Whether a module gets the same trainable weights each time it is made.

    That is, another one has weights in common with it, or draws the same numbers from another random stream, as where it seeds the stream
    itself. Weights that are all equal, as zeros are, do not count.

    Args:
        module: one that has been made.
        make: makes another one.
        may_compute: weights may begin with values that no random stream gives, such as a class prior.
        without: the name of a part that does not count.
    """
    ours = _trainable(module, without)
    if not ours:
        return False
    # No seed that a user would choose: the module may have been made from the stream of that one.
    with custom_streams(torch.Generator().manual_seed(_OTHER_SEED), torch.device("cpu")):
        before = torch.get_rng_state()
        others = _trainable(make(), without)
        draws = not torch.equal(before, torch.get_rng_state())
    if not {*map(id, ours.values())}.isdisjoint(map(id, others.values())):
        return True
    if may_compute and not draws:
        return False
    drawn = {name for name, weights in ours.items() if bool((weights != weights.flatten()[:1]).any())}
    return bool(drawn) and all(name in others and torch.equal(ours[name], others[name]) for name in drawn)


def _trainable(module: nn.Module, without: str) -> dict[str, Tensor]:
    found = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad and not is_lazy(parameter)}
    return {name: parameter for name, parameter in found.items() if not without or name.partition(".")[0] != without}


def plain_attributes(module: nn.Module) -> dict[str, bool | int | float | str | None]:
    """The plain attributes of a module that are numbers or texts, by name; those of its parts are not in it."""
    return {
        name: value
        for name, value in vars(module).items()
        if name not in _OF_ANY_MODULE and isinstance(value, bool | int | float | str | None)
    }


def changed_values(first: nn.Module, second: nn.Module) -> list[str]:
    """The names of values that differ between two modules of one class, and that a saved file does not have.

    These are numbers, texts, tensors and arrays in plain attributes, also in lists and dicts, and buffers with ``persistent=False``.
    """
    others = dict(second.named_modules())
    return [
        f"{prefix}.{name}".removeprefix(".")
        for prefix, part in first.named_modules()
        if prefix in others
        for name, value in _unsaved(part).items()
        if _differ(value, _unsaved(others[prefix]).get(name))
    ]


def _unsaved(module: nn.Module) -> dict[str, Any]:
    """The plain attributes and unsaved buffers of a module by name; those of its parts are not in it."""
    attributes = {name: value for name, value in vars(module).items() if name not in _OF_ANY_MODULE}
    return {**attributes, **{name: module._buffers[name] for name in module._non_persistent_buffers_set}}


def _differ(first: Any, second: Any) -> bool:
    """Whether two values differ; False of values that are not compared."""
    if all(isinstance(value, bool | int | float | str | None) for value in (first, second)):
        return bool(first != second)
    if (first is None) != (second is None):
        return True
    try:
        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)
    except AssertionError:
        return True
    except Exception:  # it compares no other types, and of these some compare with nothing
        return False
    return False


def versions(*tensors: Tensor) -> list[int]:
    """How often each tensor was changed in place; 0 under `torch.inference_mode`, where that is not counted."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]
