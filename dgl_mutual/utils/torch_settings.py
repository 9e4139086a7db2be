"""The settings of torch that hold beyond a call. Custom code may change them, and built-in students compute under them, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch

from dgl_mutual.utils.process_state import alone

#: What reads a setting, and what sets it to what was read.
_Setting: TypeAlias = tuple[Callable[[], Any], Callable[[Any], Any]]

#: Settings of the thread that makes them.
_OF_THREAD: tuple[_Setting, ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
)
#: Settings of all threads.
_OF_PROCESS: tuple[_Setting, ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda found: torch.use_deterministic_algorithms(found[0], warn_only=found[1]),
    ),
)

#: How many blocks of `torch_defaults` are open, in all threads, and what the settings of the process were before the first.
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
    """Within the block torch computes as it does by default, whatever a user has set: new tensors are float32 and on the CPU where
    the code names no other type or device, and autocast is off. Afterwards all settings are as before.

    Results do not depend on what a script did before it trains, unless it lowered the precision of matrix products
    (``torch.set_float32_matmul_precision``), which holds. Several threads may be in such blocks at a time: settings of the process
    are those from before the first block when the last one has ended.
    """
    with _put_back(_OF_THREAD), ExitStack() as stack:
        if torch.empty(0).device.type != "cpu":  # as a context it costs time in each call of torch
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.is_autocast_enabled():  # that of CUDA, which torch warns of where there is none
            stack.enter_context(torch.autocast("cuda", enabled=False))
        _open()
        stack.callback(_close)
        yield


def _open() -> None:
    global _num_open, _before_all
    with alone():
        if not _num_open:
            _before_all = _read(_OF_PROCESS)
        _num_open += 1
        torch.set_default_dtype(torch.float32)


def _close() -> None:
    global _num_open
    with alone():
        _num_open -= 1
        if not _num_open:
            _put(_OF_PROCESS, _before_all)


@contextmanager
def threads_kept() -> Iterator[None]:
    """After the block torch computes with as many threads as before, whatever was set within. Other threads may go on meanwhile."""
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
