"""Noise on the input features of a single student."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_mutual.nn.csr import NodeFeatures, SparseMatrix


def with_noise(x: NodeFeatures, amount: float, generator: torch.Generator | None, offsets: Tensor | None = None) -> NodeFeatures:
    """x ((1 - a) + a N(0, 1)), element by element.

    NOTE: the noise of a dataset (`dgl_mutual.data.noise`) is added to features. Here features are multiplied by it, so that sparse features
    stay sparse, and the noise does not depend on the scale of the features.

    Args:
        x: (|V|, F), dense or sparse.
        amount: a, in [0, 1].
        generator: random numbers are drawn from it. None, as in evaluation: the noise is the same in each call.
        offsets: (graphs + 1,), where the nodes of each of several graphs begin. In evaluation the noise on a graph then depends on that
            graph alone, and not on the others of its batch.
    """
    values = x.values if isinstance(x, SparseMatrix) else x
    if generator is None and offsets is not None:
        noise = _noise_of_graphs(x, offsets)
    else:
        generator = torch.Generator(device=values.device).manual_seed(0) if generator is None else generator
        noise = torch.randn(values.shape, generator=generator, device=values.device, dtype=values.dtype)
    noisy: Tensor = noise.mul_(amount).add_(1 - amount).mul_(values)
    return SparseMatrix(x.pattern, noisy) if isinstance(x, SparseMatrix) else noisy


def _noise_of_graphs(x: NodeFeatures, offsets: Tensor) -> Tensor:
    """Standard normal numbers, one for each value, by a hash of the graph's own features and the value's place in it.

    The hash leaves out exponents: features that are scaled by a power of two while students learn (`training.scale_inputs`) get the same.
    """
    sizes = offsets.diff()
    graph_of = torch.repeat_interleave(torch.arange(len(sizes), device=offsets.device), sizes)
    row_in_graph = torch.arange(len(graph_of), device=offsets.device) - offsets[graph_of]
    if isinstance(x, SparseMatrix):
        values, columns = x.values, x.pattern.indices.long()
        rows = torch.repeat_interleave(torch.arange(len(graph_of), device=offsets.device), x.pattern.indptr.diff())
    else:
        values, columns = x, torch.arange(x.shape[1], device=x.device)
        rows = torch.arange(len(x), device=x.device).unsqueeze(1)
    place = _mixed(row_in_graph[rows] * x.shape[1] + columns)
    fractions = values.float().contiguous().view(torch.int32).long() & 0x807FFFFF
    terms = torch.where(values == 0, 0, _mixed(fractions + place))
    owner = graph_of[rows].expand_as(terms)
    seeds = torch.zeros(len(sizes), dtype=torch.int64, device=offsets.device).index_add_(0, owner.flatten(), terms.flatten())
    uniform = (((_mixed(seeds[owner] + place) >> 11) & (2**53 - 1)).double() + 0.5) / 2**53
    noise: Tensor = torch.special.ndtri(uniform).to(values.dtype)
    return noise


def _mixed(numbers: Tensor) -> Tensor:
    """splitmix64 (Steele et al. 2014) of int64, modulo 2^64."""
    mixed = numbers + (0x9E3779B97F4A7C15 - 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64)):
        mixed = (mixed ^ ((mixed >> shift) & (2 ** (64 - shift) - 1))) * factor
    return mixed ^ ((mixed >> 31) & (2**33 - 1))
