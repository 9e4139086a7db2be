"""State of custom modules outside of their state_dict: plain attributes, and buffers that are not saved with the weights."""

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
#: Packages whose modules save all that they need to continue.
_LIBRARIES = ("dgl", "dgl_mutual", "torch", "torch_geometric")
#: Classes of random generators, and functions that return their state.
_GENERATORS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (random.Random, lambda generator: generator.getstate()),
    (np.random.Generator, lambda generator: generator.bit_generator.state),
    (np.random.BitGenerator, lambda generator: generator.state),
    (np.random.RandomState, lambda generator: generator.get_state(legacy=False)),
    (torch.Generator, lambda generator: generator.get_state()),
)
#: The generators of the global random streams, whose state is kept elsewhere.
_GLOBAL_GENERATORS = (random._inst, np.random.mtrand._rand, torch.default_generator)


#: Maximum depth of nested containers and objects that are compared.
_MOST_LEVELS = 50
#: Containers and objects with their digests, by id. Keeping the objects prevents another one from getting the same id.
_Seen: TypeAlias = dict[int, tuple[Any, str]]


class Unsaved(NamedTuple):
    """The value of an attribute, which may change later, and a digest of its present state."""

    value: Any
    digest: str


def is_generator(value: Any) -> bool:
    """Whether a value is a random generator."""
    return isinstance(value, tuple(generator_class for generator_class, _ in _GENERATORS))


def unsaved_values(module: nn.Module) -> dict[str, Unsaved]:
    """Values that custom code keeps in plain attributes of a module and its submodules, by dotted names.

    These are numbers, strings, tensors, arrays, sets, the states of random generators, and the attributes of objects of a user's classes,
    also in lists and dicts. Modules of torch, DGL and PyG may cache anything, so only their floats count, such as a dropout rate; modules
    of this package do not count. Left out are modules with a `get_extra_state` of their own and their submodules, which decide themselves
    what they save; values of `functools.cached_property` and of torch's hooks; and tensors that share memory with parameters and buffers.
    """
    saved = memory_of({name: tensor for name, tensor in _tensors(module) if not is_lazy(tensor)})
    own_state = [prefix for prefix, part in module.named_modules() if type(part).get_extra_state is not nn.Module.get_extra_state]
    return {
        f"{prefix}.{name}".removeprefix("."): Unsaved(value, digest)
        for prefix, part in module.named_modules()
        if not any(not above or f"{prefix}.".startswith(f"{above}.") for above in own_state)
        for name, value in _attributes(part).items()
        if _is_custom(part) or (isinstance(value, float) and _library_of(part) != "dgl_mutual")
        if name not in _computed_by_hooks(part) and (digest := _digest(value, saved))
    }


def unsaved_buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """The buffers with ``persistent=False`` of a module and its submodules, by dotted names.

    Left out are buffers of modules of torch, DGL, PyG and this package, and those that a file cannot hold: sparse, lazy and quantized
    tensors, and complex numbers of double precision.
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
def restore_unsaved_buffers(module: nn.Module, buffers: Mapping[str, Tensor | None], device: torch.device) -> None:
    """Restore the result of `unsaved_buffers`, in place where the shape is the same, since other tensors may share the memory.

    Args:
        device: device of buffers of another shape, and of those that the module has not made yet.

    Raises:
        AttributeError, KeyError, TypeError: the buffers are not those of such a module.
    """
    for path, value in buffers.items():
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
    """The names of values that differ between two results of `unsaved_values`; a missing value counts as None."""
    none = Unsaved(None, _digest(None))
    return [name for name in {**before, **now} if before.get(name, none).digest != now.get(name, none).digest]


def changed_values(first: nn.Module, second: nn.Module) -> list[str]:
    """The names of values that differ between two modules of one class and are not in saved files.

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
    """The plain attributes of a module, without submodules, or of another object, by name, except values of `cached_property`."""
    return {
        name: attribute
        for name, attribute in vars(value).items()
        if not (isinstance(value, nn.Module) and name in _OF_ANY_MODULE)
        and not isinstance(getattr(type(value), name, None), cached_property)
    }


def _unsaved(module: nn.Module) -> dict[str, Unsaved]:
    """All plain attributes and unsaved buffers of a module and its submodules, by dotted names."""
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
    """A string that is equal for equal values; empty for values that are not compared, such as objects of a library.

    Args:
        saved: memory addresses of tensors that count as None.
        seen: containers and objects met before; those that contain this value have an empty digest, which ends cycles.
        level: number of containers and objects around this value.
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
        parts = ["set", *sorted(inner(item) or type(item).__name__ for item in value)]
    elif isinstance(value, Mapping):
        parts = [
            "mapping",
            *sorted(f"{inner(key) or type(key).__name__}: {digest}" for key, item in value.items() if (digest := inner(item))),
        ]
    elif isinstance(value, list | tuple | deque):
        parts = ["sequence", *filter(None, map(inner, value))]
    elif (held := _held(value)) is not None:
        parts = [type(value).__name__, inner(held)]
    digest = _hash("\n".join(parts).encode(errors="surrogatepass")) if parts else ""
    seen[id(value)] = value, digest
    return digest


def digest_of_tensor(tensor: Tensor) -> str:
    """A digest of a tensor's values, dtype, shape and device, without memory outside of a view."""
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
    """The state of a random generator, of a module outside of another one, or of an object of a user's class; None for others."""
    for generator_class, state in _GENERATORS:
        if isinstance(value, generator_class):
            if not any(value is generator for generator in _GLOBAL_GENERATORS):
                with suppress(NotImplementedError):  # the system's generator has no state
                    return state(value)
            return None
    if isinstance(value, nn.Module):
        return {name: tensor for name, tensor in _tensors(value) if not is_lazy(tensor)}
    value_class = type(value)
    if value_class not in (SimpleNamespace, Namespace) and (issubclass(value_class, type) or not is_of_user(value_class)):
        return None
    slots = [name for base in value_class.__mro__ for name in getattr(base, "__slots__", ()) if hasattr(value, name)]
    return {**(_attributes(value) if hasattr(value, "__dict__") else {}), **{name: getattr(value, name) for name in slots}}
