"""The global random streams of torch, NumPy and Python, set for code that draws from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dgl_mutual.utils.process_state import alone
from dgl_mutual.utils.random_streams import python_streams


def global_generator(device: torch.device) -> torch.Generator:
    """The random stream that torch itself draws from."""
    if device.type != "cuda":
        return torch.default_generator
    torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's own gap
    return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]


@contextmanager
def torch_stream(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Use `generator` as torch's global random stream within a block; afterwards the global one continues as if nothing had been drawn.

    Layers that draw from the global stream thus use that of their student, independently of other students. Without a generator, as in
    evaluation, the stream is the same each time. Streams of other libraries do not change (see `custom_streams`). One thread at a time (see
    `alone`).
    """
    default = global_generator(device)
    if generator is default:  # a user calls the student directly
        yield
        return
    with alone():
        streams = {default: default.get_state()}
        if device.type != "cpu":
            streams[torch.default_generator] = torch.default_generator.get_state()
        try:
            if generator is None:
                for stream in streams:
                    stream.manual_seed(0)
            else:
                if device.type != "cpu":  # a module may draw on the CPU, too
                    torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=generator, device=device)))
                default.set_state(generator.get_state())
            yield
        finally:
            if generator is not None:
                generator.set_state(default.get_state())
            for stream, state in streams.items():
                stream.set_state(state)


@contextmanager
def custom_streams(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """As `torch_stream`, for custom code: the global streams of Python and NumPy are seeded from torch's."""
    if generator is global_generator(device):
        yield
        return
    with torch_stream(generator, device), python_streams(int(torch.randint(2**31, ()))):
        yield
