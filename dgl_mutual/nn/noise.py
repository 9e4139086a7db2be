"""Noise on the input features of a single student."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.nn.csr import NodeFeatures, SparseMatrix

#: Number of noise rows for evaluation on a graph task. The nodes of each graph take them in order, starting again after the last.
_ROWS = 256


def with_noise(
    x: NodeFeatures, amount: float, generator: torch.Generator | None, offsets: Tensor | None = None, task: TaskName = "graph"
) -> NodeFeatures:
    """x ((1 - a) + a N(0, 1)), element by element.

    NOTE: the noise of a dataset (`dgl_mutual.data.noise`) is added to features. Here features are multiplied by it, so that sparse features
    keep their pattern.

    Args:
        x: (|V|, F), dense or sparse.
        amount: a, in [0, 1].
        generator: source of the noise. None, as in evaluation: the noise is the same in each call, and for dense and sparse features.
        offsets: (graphs + 1,), where the nodes of each graph begin. In evaluation the noise on a graph then does not depend on
            other graphs of its batch.
        task: on a graph task, graphs are many and small, and share the drawn rows.
    """
    values = x.values if isinstance(x, SparseMatrix) else x
    if generator is not None:
        noise = _noise_of(values, generator)
    elif offsets is None:
        noise = _noise_of_nonzeros(values)
    elif task == "graph":
        noise = _noise_of_graphs(x, offsets)
    else:
        starts = x.pattern.indptr[offsets] if isinstance(x, SparseMatrix) else offsets
        noise = torch.cat([_noise_of_nonzeros(part) for part in values.tensor_split(starts[1:-1].tolist())])
    noisy: Tensor = noise.mul_(amount).add_(1 - amount).mul_(values)
    return SparseMatrix(x.pattern, noisy) if isinstance(x, SparseMatrix) else noisy


def _noise_of(values: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers, one for each value; the same in each call if there is no generator."""
    drawn_from = torch.Generator(device=values.device).manual_seed(0) if generator is None else generator
    return torch.randn(values.shape, generator=drawn_from, device=values.device, dtype=values.dtype)


def _noise_of_nonzeros(values: Tensor) -> Tensor:
    """Standard normal numbers for the non-zero values, drawn in row-major order; 0 for the others. The same in each call."""
    noise, is_drawn = torch.zeros_like(values), values != 0
    noise[is_drawn] = _noise_of(values[is_drawn])
    return noise


def _noise_of_graphs(x: NodeFeatures, offsets: Tensor) -> Tensor:
    """Standard normal numbers, one for each value; they depend on the position of a node in its graph."""
    values = x.values if isinstance(x, SparseMatrix) else x
    rows = _noise_of(values.new_empty(_ROWS, x.shape[1]))
    starts = torch.repeat_interleave(offsets[:-1], offsets.diff())
    places = (torch.arange(len(starts), device=values.device) - starts) % _ROWS
    if isinstance(x, SparseMatrix):
        return rows[torch.repeat_interleave(places, x.pattern.indptr.diff()), x.pattern.indices.long()]
    return rows[places]
