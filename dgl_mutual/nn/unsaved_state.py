"""What custom modules keep outside of their state_dict: plain attributes, and buffers that are not saved with the weights."""

from __future__ import annotations

import hashlib
import random
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from functools import cached_property, partial
from io import BytesIO
from types import NoneType, SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

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


#: Levels of containers and objects within each other that are compared.
_MOST_LEVELS = 50
#: What containers and objects have in their digests, by their ids; each is kept with its own, so that no other one gets its id.
_Seen: TypeAlias = dict[int, tuple[Any, str]]


class Unsaved(NamedTuple):
    """The value of an attribute, which may change later, and a digest of what it was."""

    value: Any
    digest: str


def is_generator(value: Any) -> bool:
    """Whether a value is a random generator."""
    return isinstance(value, tuple(kind for kind, _ in _GENERATORS))


def unsaved_values(module: nn.Module) -> dict[str, Unsaved]:
    """What custom code keeps in plain attributes of a module and its parts, by dotted names.

    These are numbers, strings, tensors, arrays, sets, the states of random generators, and the attributes of objects of a user's classes,
    also in lists and dicts. Of modules of torch, DGL and PyG these are floats alone, such as the rate of a dropout, since they
    may cache what they like, and of this package's own nothing. Left out are modules with a `get_extra_state` of their own and what is
    below them, since what they save is up to them; what `functools.cached_property` and hooks of torch keep; and tensors that share memory
    with parameters and buffers.
    """
    saved = memory_of({name: one for name, one in _tensors(module) if not is_lazy(one)})
    kept = [prefix for prefix, part in module.named_modules() if type(part).get_extra_state is not nn.Module.get_extra_state]
    return {
        f"{prefix}.{name}".removeprefix("."): Unsaved(value, digest)
        for prefix, part in module.named_modules()
        if not any(not above or f"{prefix}.".startswith(f"{above}.") for above in kept)
        for name, value in _attributes(part).items()
        if _is_custom(part) or (isinstance(value, float) and _library_of(part) != "dgl_mutual")
        if name not in _computed_by_hooks(part) and (digest := _digest(value, saved))
    }


def unsaved_buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """The buffers with ``persistent=False`` of a module and its parts, by dotted names.

    Left out are those of modules of torch, DGL, PyG and this package, and what a file cannot hold: sparse, lazy and quantized tensors, and
    complex numbers of double precision.
    """
    return {
        f"{prefix}.{name}".removeprefix("."): buffer
        for prefix, part in module.named_modules()
        if _is_custom(part)
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


def changed_names(before: Mapping[str, Unsaved], now: Mapping[str, Unsaved]) -> list[str]:
    """The names of values that differ between two of what `unsaved_values` gives; what is missing counts as None."""
    none = Unsaved(None, _digest(None))
    return [name for name in {**before, **now} if before.get(name, none).digest != now.get(name, none).digest]


def changed_values(first: nn.Module, second: nn.Module) -> list[str]:
    """The names of values that differ between two modules of one class, and that a saved file does not have.

    These are values in plain attributes and buffers with ``persistent=False``, also of modules of torch, DGL and PyG.
    """
    return changed_names(_unsaved(first), _unsaved(second))


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _is_custom(part: nn.Module) -> bool:
    return _library_of(part) not in _LIBRARIES


def _library_of(part: nn.Module) -> str:
    return type(part).__module__.partition(".")[0]


def _attributes(value: Any) -> dict[str, Any]:
    """The plain attributes of a module by name, without those of its parts; or of another object. `cached_property` has none."""
    return {
        name: one
        for name, one in vars(value).items()
        if not (isinstance(value, nn.Module) and name in _OF_ANY_MODULE)
        and not isinstance(getattr(type(value), name, None), cached_property)
    }


def _unsaved(module: nn.Module) -> dict[str, Unsaved]:
    """All plain attributes and unsaved buffers of a module and its parts, by dotted names."""
    return {
        f"{prefix}.{name}".removeprefix("."): Unsaved(value, _digest(value))
        for prefix, part in module.named_modules()
        for name, value in {**_attributes(part), **{name: part._buffers[name] for name in part._non_persistent_buffers_set}}.items()
    }


def _computed_by_hooks(module: nn.Module) -> set[str]:
    """The attributes that torch computes before each forward pass, as `weight_norm`, `spectral_norm` and pruning do."""
    hooks = module._forward_pre_hooks.values()
    return {name for hook in hooks for key in ("name", "_tensor_name") if isinstance(name := getattr(hook, key, None), str)}


def _digest(value: Any, saved: Set[int] = frozenset(), seen: _Seen | None = None, level: int = 0) -> str:
    """A text that is the same where a value is the same; empty for what is not compared, such as an object of a library.

    Args:
        saved: where tensors are kept that count as None.
        seen: the containers and objects that were met before; those that this value is in have an empty digest, so that cycles end.
        level: how many containers and objects this value is in.
    """
    if isinstance(value, bool | int | float | str | np.generic | NoneType):
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, int) or (isinstance(plain, float) and plain.is_integer()):
            return hex(int(plain))  # 1 is 1.0
        return repr(plain)
    if isinstance(value, Tensor):
        is_saved = is_lazy(value) or not memory_of({"": value}).isdisjoint(saved)
        return _digest(None) if is_saved else digest_of_tensor(value)
    if isinstance(value, np.ndarray):
        return "" if value.dtype.hasobject else _hash(f"{value.dtype} {value.shape} ".encode() + value.tobytes())
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)][1]
    if level == _MOST_LEVELS:
        return ""
    seen[id(value)] = value, ""
    inner = partial(_digest, saved=saved, seen=seen, level=level + 1)
    parts: list[str] = []
    if isinstance(value, set | frozenset):
        parts = ["set", *sorted(inner(one) or type(one).__name__ for one in value)]
    elif isinstance(value, Mapping):
        parts = [
            "mapping",
            *sorted(f"{inner(key) or type(key).__name__}: {digest}" for key, one in value.items() if (digest := inner(one))),
        ]
    elif isinstance(value, list | tuple | deque):
        parts = ["sequence", *filter(None, map(inner, value))]
    elif (held := _held(value)) is not None:
        parts = [type(value).__name__, inner(held)]
    digest = _hash("\n".join(parts).encode(errors="surrogatepass")) if parts else ""
    seen[id(value)] = value, digest
    return digest


def digest_of_tensor(tensor: Tensor) -> str:
    """A text that tells a tensor's values, dtype, shape and device; of a view, what is beside it in memory does not count."""
    tensor = tensor.detach()
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        file = BytesIO()
        torch.save(tensor, file)
        return _hash(file.getvalue())
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.device} ".encode())
    values = tensor.as_subclass(Tensor).cpu().clone(memory_format=torch.contiguous_format).resolve_conj().resolve_neg().reshape(-1)
    digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _held(value: Any) -> Any:
    """What a random generator, a module that is no part of another one, or an object of a class of a user holds; None of others."""
    for kind, state in _GENERATORS:
        if isinstance(value, kind):
            if not any(value is one for one in _GLOBAL_GENERATORS):
                with suppress(NotImplementedError):  # that of the system has no state
                    return state(value)
            return None
    if isinstance(value, nn.Module):
        return {name: one for name, one in _tensors(value) if not is_lazy(one)}
    kind = type(value)
    if kind not in (SimpleNamespace, Namespace) and (issubclass(kind, type) or not is_of_user(kind)):
        return None
    slots = [name for above in kind.__mro__ for name in getattr(above, "__slots__", ()) if hasattr(value, name)]
    return {**(_attributes(value) if hasattr(value, "__dict__") else {}), **{name: getattr(value, name) for name in slots}}
