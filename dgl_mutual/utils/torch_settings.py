"""Torch's global settings, which custom code may change, and which also affect built-in students."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch

from dgl_mutual.utils.process_state import alone

#: The getter of a setting, and the setter for the value that it returns.
_Setting: TypeAlias = tuple[Callable[[], Any], Callable[[Any], Any]]

#: Backends with a precision of matrix products of their own. Older releases of torch have one for all.
_BACKENDS: tuple[Any, ...] = tuple(
    backend for backend in (torch.backends.cuda, torch.backends.mkldnn) if hasattr(getattr(backend, "matmul", None), "fp32_precision")
)


def _matmul_precision() -> tuple[str, ...]:
    """The precision of float32 matrix products in general, and in each of `_BACKENDS`."""
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # backends differ
        precision = "highest"
    return (precision, *(backend.matmul.fp32_precision for backend in _BACKENDS))


def _set_matmul_precision(precisions: Sequence[str]) -> None:
    torch.set_float32_matmul_precision(precisions[0])  # also sets those of the backends
    inherited = getattr(torch.backends, "fp32_precision", "none")
    for backend, precision in zip(_BACKENDS, precisions[1:], strict=True):
        backend.matmul.fp32_precision = "none" if precision == inherited else precision


#: Settings of the current thread.
_OF_THREAD: tuple[_Setting, ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
)
#: Settings of all threads.
_OF_PROCESS: tuple[_Setting, ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (_matmul_precision, _set_matmul_precision),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda values: torch.use_deterministic_algorithms(values[0], warn_only=values[1]),
    ),
)

#: Number of open blocks of `torch_defaults` in all threads, and the settings of the process before the first.
_num_open = 0
_before_all: list[Any] = []


@contextmanager
def settings_kept() -> Iterator[None]:
    """Restore torch's settings at the end of the block: the default dtype, gradients, threads, precision and determinism.

    One thread at a time (see `alone`).
    """
    with alone(), _put_back((*_OF_THREAD, *_OF_PROCESS)):
        yield


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Use torch's defaults within the block, whatever a user has set, and restore all settings afterwards: new tensors are float32 and
    on the CPU by default, matrix products have full precision, and autocast is off.

    Results then do not depend on earlier settings of a script. Several threads may be in such blocks at a time: the settings of the process
    from before the first block are restored at the end of the last one.
    """
    with _put_back(_OF_THREAD), thread_defaults():
        _open()
        try:
            yield
        finally:
            _close()


@contextmanager
def thread_defaults() -> Iterator[None]:
    """Use the defaults of `torch_defaults` that concern no other thread: new tensors are on the CPU by default, and autocast is off."""
    with ExitStack() as stack:
        if torch.empty(0).device.type != "cpu":  # the context slows down each call of torch
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.is_autocast_enabled():  # autocast of CUDA; torch warns if there is no CUDA
            stack.enter_context(torch.autocast("cuda", enabled=False))
        yield


def _open() -> None:
    global _num_open, _before_all
    with alone():
        if not _num_open:
            _before_all = _read(_OF_PROCESS)
        _num_open += 1
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")


def _close() -> None:
    global _num_open
    with alone():
        _num_open -= 1
        if not _num_open:
            _put(_OF_PROCESS, _before_all)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Restore torch's number of threads at the end of the block. Other threads may run meanwhile."""
    with _put_back(_OF_THREAD[1:]):
        yield


@contextmanager
def _put_back(settings: Sequence[_Setting]) -> Iterator[None]:
    before = _read(settings)
    try:
        yield
    finally:
        _put(settings, before)


def _read(settings: Sequence[_Setting]) -> list[Any]:
    return [read() for read, _ in settings]


def _put(settings: Sequence[_Setting], values: Sequence[Any]) -> None:
    for (read, put), value in zip(settings, values, strict=True):
        if read() != value:
            put(value)
