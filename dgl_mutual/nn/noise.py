"""Noise on the input features of a single student."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_mutual.nn.csr import NodeFeatures, SparseMatrix

#: Rows of noise that are drawn for evaluation: the nodes of each graph use them in order, and start again after the last.
_ROWS = 256


def with_noise(x: NodeFeatures, amount: float, generator: torch.Generator | None, offsets: Tensor | None = None) -> NodeFeatures:
    """x ((1 - a) + a N(0, 1)), element by element.

    NOTE: the noise of a dataset (`dgl_mutual.data.noise`) is added to features. Here features are multiplied by it, so that sparse features
    keep their pattern.

    Args:
        x: (|V|, F), dense or sparse.
        amount: a, in [0, 1].
        generator: random numbers are drawn from it. None, as in evaluation: the noise is the same in each call.
        offsets: (graphs + 1,), where the nodes of each of several graphs begin. In evaluation the noise on a graph then depends on that
            graph alone, and not on the others of its batch.
    """
    values = x.values if isinstance(x, SparseMatrix) else x
    drawn_from = torch.Generator(device=values.device).manual_seed(0) if generator is None else generator
    if generator is None and offsets is not None:
        noise = _noise_of_graphs(x, offsets, drawn_from)
    else:
        noise = torch.randn(values.shape, generator=drawn_from, device=values.device, dtype=values.dtype)
    noisy: Tensor = noise.mul_(amount).add_(1 - amount).mul_(values)
    return SparseMatrix(x.pattern, noisy) if isinstance(x, SparseMatrix) else noisy


def _noise_of_graphs(x: NodeFeatures, offsets: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, one for each value; they depend on the position of its node within its graph."""
    values = x.values if isinstance(x, SparseMatrix) else x
    rows = torch.randn((_ROWS, x.shape[1]), generator=generator, device=values.device, dtype=values.dtype)
    starts = torch.repeat_interleave(offsets[:-1], offsets.diff())
    places = (torch.arange(len(starts), device=values.device) - starts) % _ROWS
    if isinstance(x, SparseMatrix):
        return rows[torch.repeat_interleave(places, x.pattern.indptr.diff()), x.pattern.indices.long()]
    return rows[places]
