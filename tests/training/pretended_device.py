"""A second device, on a machine that has none: tensors that say that they are on it, and refuse to meet tensors of the CPU.

Their numbers are in fact on the CPU, so a whole training runs, data-dependent steps included, and its result can be compared. Torch's
rules hold: an operation takes tensors of one device, except for scalars, and for indices, which may be on the CPU; ``.numpy()`` without
``.cpu()`` fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

#: A kind of device that every build of torch knows, and that nothing else here uses.
AWAY = torch.device("meta")
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class AwayTensor(Tensor):
    """A tensor on the pretended device."""

    kept: Tensor

    @staticmethod
    def __new__(cls, kept: Tensor) -> AwayTensor:
        made: AwayTensor = torch.Tensor._make_wrapper_subclass(
            cls, kept.shape, strides=kept.stride(), storage_offset=kept.storage_offset(), dtype=kept.dtype, device=AWAY
        )
        made.kept = kept
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"AwayTensor({self.kept!r})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{function} outside the block in which the device is there")


class AwayGenerator(torch.Generator):
    """A generator of the pretended device."""

    device = AWAY  # type: ignore[assignment]  # a property in torch


class _Constructors(TorchFunctionMode):
    """`torch.tensor`, and indexing with lists, make tensors with no numbers where the device is "meta"; here they copy those of the CPU."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            tensor, index, *value = args
            parts = index if isinstance(index, tuple) else (index,)
            index = tuple(torch.as_tensor(part) if isinstance(part, list | np.ndarray) else part for part in parts)
            return function(tensor, index, *value)
        return function(*args, **kwargs)


class PretendedDevice(TorchDispatchMode):
    """Within the block the device is there. `waits` counts how often the CPU had to wait for a number from it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0
        self._constructors = _Constructors()

    def __enter__(self) -> PretendedDevice:
        super().__enter__()
        self._constructors.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._constructors.__exit__(*error)
        super().__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = function.overloadpacket.__name__
        tensors = [leaf for leaf in _leaves((*args, *kwargs.values())) if isinstance(leaf, Tensor)]
        away = any(isinstance(tensor, AwayTensor) for tensor in tensors)
        self._check(name, args, tensors)
        wanted = kwargs.get("device")
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
            away = torch.device(wanted).type == AWAY.type
        self.waits += name in ("_local_scalar_dense", "nonzero") and away
        result = function(*(_each(_kept, arg) for arg in args), **{key: _each(_kept, arg) for key, arg in kwargs.items()})
        if name == "_local_scalar_dense":
            return result
        given = {id(_kept(tensor)): tensor for tensor in tensors}  # in-place operations return what they were given
        return _each(lambda leaf: _on(leaf, away, given), result)

    @staticmethod
    def _check(name: str, args: Any, tensors: list[Tensor]) -> None:
        assert all(isinstance(tensor, AwayTensor) or not tensor.is_meta for tensor in tensors), f"{name}: a tensor without numbers"
        if name in ("copy_", "_to_copy"):
            return
        away = [tensor for tensor in tensors if isinstance(tensor, AwayTensor)]
        here = [tensor for tensor in tensors if not isinstance(tensor, AwayTensor) and tensor.ndim]
        if name in _INDEXING and isinstance(args[0], AwayTensor):
            here = [tensor for tensor in here if tensor.is_floating_point()]
        if away and here:
            raise RuntimeError(f"{name}: tensors on two devices, of the shapes {[tuple(tensor.shape) for tensor in tensors]}")


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _each(function: Callable[[Any], Any], value: Any) -> Any:
    """As `torch.utils._pytree.tree_map`, which takes most of the time of a training here, for what operations take and return."""
    return type(value)(_each(function, part) for part in value) if isinstance(value, list | tuple) else function(value)


def _kept(leaf: Any) -> Any:
    return leaf.kept if isinstance(leaf, AwayTensor) else leaf


def _on(leaf: Any, away: bool, given: dict[int, Tensor]) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return given.get(id(leaf)) if id(leaf) in given else AwayTensor(leaf) if away else leaf
