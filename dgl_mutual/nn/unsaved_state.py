"""What custom modules keep outside of their state_dict: plain attributes, and buffers that are not saved with the weights."""

from __future__ import annotations

import random
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import NoneType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dgl_mutual.nn.custom_modules import memory_of, repeats
from dgl_mutual.utils.custom_code import is_of_user

#: Attributes that every module has.
_OF_ANY_MODULE = frozenset(vars(nn.Module()))
#: Packages whose modules save all that they need to go on with.
_LIBRARIES = ("dgl", "dgl_mutual", "torch", "torch_geometric")
#: Random generators, and what gives their state.
_GENERATORS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (random.Random, lambda one: one.getstate()),
    (np.random.Generator, lambda one: one.bit_generator.state),
    (np.random.BitGenerator, lambda one: one.state),
    (np.random.RandomState, lambda one: one.get_state(legacy=False)),
    (torch.Generator, lambda one: one.get_state()),
)
#: Those of the global random streams, which are kept elsewhere.
_GLOBAL_GENERATORS = (random._inst, np.random.mtrand._rand, torch.default_generator)


@dataclass(frozen=True, repr=False)
class Held:
    """A copy of what an object holds.

    Attributes:
        title: the name of its class; "a random generator" of those.
        content: its attributes by name, or the state of a generator.
    """

    title: str
    content: Any
    is_generator: bool = False

    def __repr__(self) -> str:
        return self.title if self.is_generator else f"{self.title} {self.content!r}"


#: Kinds of values that can be compared; two values of different kinds differ.
_PLAIN = (bool, int, float, str, np.generic, NoneType)
_SEQUENCES = (list, tuple, deque)
_SETS = (set, frozenset)
_KINDS: tuple[Any, ...] = (_PLAIN, Tensor, np.ndarray, Mapping, _SEQUENCES, _SETS, Held)
#: The most frequent of the first kind, to be told at once.
_SIMPLE = frozenset((bool, int, float, str, NoneType))
#: Levels of containers and objects within each other that are compared.
_MOST_LEVELS = 50
#: Stands for what is not compared.
_SKIPPED = ...


def unsaved_values(module: nn.Module) -> dict[str, Any]:
    """Copies of what custom code keeps in plain attributes of a module and its parts, by dotted names.

    These are numbers, texts, tensors, arrays, sets, the states of random generators, and the attributes of objects of a user's classes,
    also in lists and dicts (see `Held`). Of modules of torch, DGL and PyG these are floats alone, such as the rate of a dropout, since they
    may cache what they like, and of this package's own nothing. Left out are modules with a `get_extra_state` of their own and what is
    below them, since what they save is up to them; what `functools.cached_property` and hooks of torch keep; and tensors that share memory
    with parameters and buffers.
    """
    saved = _saved_memory(module)
    kept = [prefix for prefix, part in module.named_modules() if type(part).get_extra_state is not nn.Module.get_extra_state]
    copies = _Copies(saved)
    return {
        f"{prefix}.{name}".removeprefix("."): copy
        for prefix, part in module.named_modules()
        if not any(not above or f"{prefix}.".startswith(f"{above}.") for above in kept)
        for name, value in _attributes(part).items()
        if _is_custom(part) or (isinstance(value, float) and _library_of(part) != "dgl_mutual")
        if name not in _computed_by_hooks(part) and _kind_of(copy := copies.of(value)) is not None
    }


def unsaved_buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """The buffers with ``persistent=False`` of a module and its parts, by dotted names.

    Left out are those of modules of torch, DGL, PyG and this package, and what a file cannot hold: sparse, lazy and quantized tensors, and
    complex numbers of double precision.
    """
    return {
        f"{prefix}.{name}".removeprefix("."): buffer
        for prefix, part in _custom_parts(module)
        for name in sorted(part._non_persistent_buffers_set)
        if (buffer := part._buffers[name]) is None
        or not (buffer.layout != torch.strided or is_lazy(buffer) or buffer.is_quantized or buffer.dtype == torch.complex128)
    }


@torch.no_grad()
def restore_unsaved_buffers(module: nn.Module, found: Mapping[str, Tensor | None], device: torch.device) -> None:
    """Take back what `unsaved_buffers` gave: in place where the shape is the same, since others may share the memory.

    Args:
        device: where buffers of another shape, and those that the module has not made yet, are put.

    Raises:
        AttributeError, KeyError, TypeError: it is not of such a module.
    """
    for path, value in found.items():
        prefix, _, name = path.rpartition(".")
        part = module.get_submodule(prefix)
        present = part._buffers.get(name)
        if name not in part._non_persistent_buffers_set:
            part.register_buffer(name, None if value is None else value.to(device), persistent=False)
        elif value is None or present is None or (present.shape, present.dtype) != (value.shape, value.dtype) or repeats(present):
            part._buffers[name] = None if value is None else value.to(device)
        else:
            present.copy_(value)


def changed_names(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of values that differ between two of what `unsaved_values` gives; what is missing counts as None."""
    return [name for name in {**before, **now} if _differ(before.get(name), now.get(name))]


def changed_values(first: nn.Module, second: nn.Module) -> list[str]:
    """The names of values that differ between two modules of one class, and that a saved file does not have.

    These are values in plain attributes, as of `unsaved_values`, and buffers with ``persistent=False``.
    """
    others = dict(second.named_modules())
    return [
        f"{prefix}.{name}".removeprefix(".")
        for prefix, part in first.named_modules()
        if prefix in others
        for name, value in _unsaved(part).items()
        if _differ(value, _unsaved(others[prefix]).get(name))
    ]


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _custom_parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A module and its parts by dotted names, but for those of torch, DGL, PyG and this package."""
    for prefix, part in module.named_modules():
        if _is_custom(part):
            yield prefix, part


def _is_custom(part: nn.Module) -> bool:
    return _library_of(part) not in _LIBRARIES


def _library_of(part: nn.Module) -> str:
    return type(part).__module__.partition(".")[0]


def _saved_memory(module: nn.Module) -> set[int]:
    """Where the weights and buffers of a module are kept."""
    return memory_of({name: one for name, one in _tensors(module) if not is_lazy(one)})


def _attributes(value: Any) -> dict[str, Any]:
    """The plain attributes of a module by name, without those of its parts; or of another object. `cached_property` has none."""
    return {
        name: one
        for name, one in vars(value).items()
        if not (isinstance(value, nn.Module) and name in _OF_ANY_MODULE)
        and not isinstance(getattr(type(value), name, None), cached_property)
    }


def _unsaved(module: nn.Module) -> dict[str, Any]:
    """Copies of the plain attributes and unsaved buffers of a module by name; those of its parts are not in it."""
    copies = _Copies(frozenset())
    unsaved = {**_attributes(module), **{name: module._buffers[name] for name in module._non_persistent_buffers_set}}
    return {name: copies.of(value) for name, value in unsaved.items()}


def _kind_of(value: Any) -> Any:
    """Which of the kinds of values that can be compared a value is; None of any other."""
    return _kind_of_class(type(value))  # type: ignore[arg-type]  # classes can be hashed


@lru_cache
def _kind_of_class(kind: type) -> Any:
    return next((one for one in _KINDS if issubclass(kind, one)), None)


def _computed_by_hooks(module: nn.Module) -> set[str]:
    """The attributes that torch computes before each forward pass, as `weight_norm`, `spectral_norm` and pruning do."""
    hooks = module._forward_pre_hooks.values()
    return {name for hook in hooks for key in ("name", "_tensor_name") if isinstance(name := getattr(hook, key, None), str)}


class _Copies:
    """Makes copies of values that can be compared. What is in them of other kinds is not copied.

    Args:
        saved: where tensors are kept (see `_memory`) that are left out, as None.
    """

    def __init__(self, saved: Set[int]) -> None:
        self._saved = saved
        self._of_user: dict[type, bool] = {}
        self._seen: set[int] = set()
        self._level = 0

    def of(self, value: Any) -> Any:
        """A copy of the value of an attribute.

        A container that holds itself, an object that was met before, and what is more than `_MOST_LEVELS` deep are not followed.
        """
        self._seen.clear()
        return self._copy(value)

    def _copy(self, value: Any) -> Any:
        if type(value) in _SIMPLE:
            return value
        kind = _kind_of(value)
        if kind is Tensor:
            is_saved = is_lazy(value) or not memory_of({"": value}).isdisjoint(self._saved)
            return None if is_saved else value.detach().clone()
        if kind is np.ndarray:
            return value.copy()
        if kind is _SETS:
            return set(value)
        held = self._held(value) if kind is None else None
        if kind is _PLAIN or (kind is None and held is None):
            return value
        if id(value) in self._seen or self._level == _MOST_LEVELS:
            return _SKIPPED
        self._seen.add(id(value))
        self._level += 1
        if held is not None:
            copy: Any = Held(held.title, self._copy(held.content), held.is_generator)
        elif kind is Mapping:
            copy = {key: one for key, value in value.items() if _kind_of(one := self._copy(value)) is not None}
        else:
            copy = [one for value in value if _kind_of(one := self._copy(value)) is not None]
        self._level -= 1
        if held is None:  # of containers, only those around it count: two names of one list are compared twice
            self._seen.discard(id(value))
        return copy

    def _held(self, value: Any) -> Held | None:
        """What a random generator, a module that is no part of another one, or an object of a class of a user holds; None of others."""
        for kind, state in _GENERATORS:
            if isinstance(value, kind):
                if not any(value is one for one in _GLOBAL_GENERATORS):
                    with suppress(NotImplementedError):  # that of the system has no state
                        return Held("a random generator", state(value), is_generator=True)
                return None
        kind = type(value)
        if isinstance(value, nn.Module):
            return Held(kind.__name__, {name: one for name, one in _tensors(value) if not is_lazy(one)})
        if kind not in self._of_user:
            self._of_user[kind] = kind in (SimpleNamespace, Namespace) or (is_of_user(kind) and not issubclass(kind, type))
        if not self._of_user[kind]:
            return None
        slots = [name for above in kind.__mro__ for name in getattr(above, "__slots__", ()) if hasattr(value, name)]
        attributes = _attributes(value) if hasattr(value, "__dict__") else {}
        return Held(kind.__name__, {**attributes, **{name: getattr(value, name) for name in slots}})


def _differ(first: Any, second: Any) -> bool:
    """Whether two copies of values differ; False of values that are not compared."""
    if type(first) is type(second) and type(first) in _SIMPLE:
        return bool(first != second) and not (first != first and second != second)  # two NaNs are the same
    if (first is None) != (second is None):
        return True
    kind = _kind_of(first)
    if kind is None or _kind_of(second) is None:
        return False
    if _kind_of(second) is not kind:
        return True
    if kind is _PLAIN:
        return bool(first != second) and not (first != first and second != second)
    if kind is _SETS:
        return bool(first != second)
    if kind is Held:
        return first.title != second.title or _differ(first.content, second.content)
    if kind is Mapping:
        return first.keys() != second.keys() or any(_differ(value, second[key]) for key, value in first.items())
    if kind is _SEQUENCES:
        return len(first) != len(second) or any(map(_differ, first, second))
    forms = [(one.layout, one.dtype, one.device) for one in (first, second)] if kind is Tensor else []
    if forms and forms[0] == forms[1] and first.layout == torch.strided and torch.equal(first, second):
        return False  # as below, and much faster
    try:
        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)
    except AssertionError:
        return True
    except Exception:  # it compares no arrays of objects
        return False
    return False
