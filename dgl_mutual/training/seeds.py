"""Independent random streams from one base seed, so that neither the order of trials nor the number of students matters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from dgl_mutual.utils.arguments import whole_number
from dgl_mutual.utils.random_streams import seeded


def derive(seed: int, *path: str | int) -> int:
    """Return the 63-bit seed of the stream named `path`, for example ``derive(base, "dropout", 2)``.

    Raises:
        UsageError: the seed is not an integer from 0.
    """
    # The repr of NumPy integers differs.
    plain = (whole_number("seed", seed), *(part if isinstance(part, str) else int(part) for part in path))
    digest = hashlib.sha256(repr(plain).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *path: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Create a torch generator at the start of the stream named `path`."""
    return torch.Generator(device=device).manual_seed(derive(seed, *path))


def seeded_globally(seed: int, *path: str | int) -> AbstractContextManager[None]:
    """Seed the global streams of torch's CPU, NumPy and Python by `path` within the block (see `seeded`)."""
    return seeded(derive(seed, *path))


@dataclass(frozen=True)
class TrialSeed:
    """Determines all random numbers of a trial. Each stream has a name, and differs from fold to fold."""

    seed: int = 0
    fold: int = 0

    def derive(self, *name: str, part: tuple[str | int, ...] = ()) -> int:
        """Return the 63-bit seed of a stream or of a part of it, for example ``derive("dropout", part=(2,))`` for one member.

        Raises:
            UsageError: the seed is not an integer from 0.
        """
        return derive(self.seed, *self._path(name, part))

    def generator(self, *name: str, part: tuple[str | int, ...] = (), device: torch.device | str = "cpu") -> torch.Generator:
        """Create a torch generator at the start of a stream. Other arguments as in `derive`."""
        return generator(self.seed, *self._path(name, part), device=device)

    def seeded_globally(self, *name: str, part: tuple[str | int, ...] = ()) -> AbstractContextManager[None]:
        """Seed the global streams of torch's CPU, NumPy and Python within the block (see `seeded`). Arguments as in `derive`."""
        return seeded_globally(self.seed, *self._path(name, part))

    def _path(self, name: tuple[str, ...], part: tuple[str | int, ...]) -> tuple[str | int, ...]:
        return (*name, self.fold, *part)


@dataclass(frozen=True)
class Streams:
    """All random streams of a training.

    Attributes:
        dropout: one for each member. Processes that divide samples have different ones.
        edges, columns: streams of perturbed views. All processes that divide a batch mask the same columns.
        order: stream of the order of samples.
        custom: stream of custom strategies and weightings. All processes have the same.
    """

    dropout: tuple[torch.Generator, ...]
    edges: torch.Generator
    columns: torch.Generator
    order: torch.Generator
    custom: torch.Generator

    @classmethod
    def of(cls, seed: TrialSeed, num_members: int, *, device: torch.device, order: torch.Generator, process: int = 0) -> Streams:
        """Create the streams of one process of a training."""
        of_process = ("rank", process) if process else ()
        return cls(
            dropout=tuple(seed.generator("dropout", part=(index, *of_process), device=device) for index in range(num_members)),
            edges=seed.generator("view", part=of_process, device=device),
            columns=seed.generator("view", "columns", device=device),
            order=order,
            # The name must not change: kept results were drawn from this stream.
            custom=seed.generator("own strategy", device=device),
        )

    def __iter__(self) -> Iterator[torch.Generator]:
        return iter((*self.dropout, self.edges, self.columns, self.order, self.custom))
