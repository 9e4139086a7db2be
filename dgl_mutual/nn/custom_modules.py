"""Checks of custom modules: that their weights and buffers can be kept, saved and loaded again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dgl_mutual.utils.custom_code import described
from dgl_mutual.utils.wording import kind_of

#: Attributes that every module has.
_OF_ANY_MODULE = frozenset(vars(nn.Module()))


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


def share_weights(first: nn.Module, second: nn.Module) -> bool:
    """Whether two modules have a trainable parameter in common."""
    trained = {id(parameter) for parameter in first.parameters() if parameter.requires_grad}
    return any(id(parameter) in trained for parameter in second.parameters())


def unsaved_difference(first: nn.Module, second: nn.Module) -> str | None:
    """The name of numbers that differ between two modules of one class, and that a saved file does not have; None if there are none.

    These are buffers with ``persistent=False``, and tensors and arrays in plain attributes, also in lists and dicts. Other values may
    differ, a time or a counter among them. What a module with a `get_extra_state` of its own keeps is up to it.
    """
    others = dict(_unsaved(second))
    for name, numbers in _unsaved(first):
        try:
            torch.testing.assert_close(numbers, others.get(name, numbers), rtol=0, atol=0, equal_nan=True)
        except AssertionError:
            return name
    return None


def plain_attributes(module: nn.Module) -> dict[str, bool | int | float | str | None]:
    """The plain attributes of a module that are numbers or texts, by name; those of its parts are not in it."""
    return {
        name: value
        for name, value in vars(module).items()
        if name not in _OF_ANY_MODULE and isinstance(value, bool | int | float | str | None)
    }


def changed_values(first: nn.Module, second: nn.Module) -> list[str]:
    """The names of plain attributes, of two modules of one class, that are numbers or texts and differ."""
    others = dict(second.named_modules())
    return [
        f"{prefix}.{name}".removeprefix(".")
        for prefix, part in first.named_modules()
        if prefix in others
        for name, value in plain_attributes(part).items()
        if vars(others[prefix]).get(name) != value
    ]


def _unsaved(module: nn.Module) -> Iterator[tuple[str, list[Any]]]:
    for prefix, part in module.named_modules():
        if type(part).get_extra_state is not nn.Module.get_extra_state:
            continue
        attributes = {name: value for name, value in vars(part).items() if name not in _OF_ANY_MODULE}
        buffers = {name: part._buffers[name] for name in part._non_persistent_buffers_set}
        for name, value in {**attributes, **buffers}.items():
            yield f"{prefix}.{name}".removeprefix("."), [*_numbers_in(value)]


def _numbers_in(value: Any) -> Iterator[Tensor | np.ndarray[Any, Any]]:
    if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf"):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers_in(part)


def versions(*tensors: Tensor) -> list[int]:
    """How often each tensor was changed in place; 0 under `torch.inference_mode`, where that is not counted."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]
