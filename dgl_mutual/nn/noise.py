"""Noise on the input features of a single student."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_mutual.nn.csr import NodeFeatures, SparseMatrix


def with_noise(x: NodeFeatures, amount: float, generator: torch.Generator | None) -> NodeFeatures:
    """x ((1 - a) + a N(0, 1)), element by element.

    NOTE: the noise of a dataset (`dgl_mutual.data.noise`) is added to features. Here features are multiplied by it, so that sparse features
    stay sparse, and the noise does not depend on the scale of the features.

    Args:
        x: (|V|, F), dense or sparse.
        amount: a, in [0, 1].
        generator: random numbers are drawn from it. None, as in evaluation: the noise is the same in each call.
    """
    values = x.values if isinstance(x, SparseMatrix) else x
    if generator is None:
        generator = torch.Generator(device=values.device).manual_seed(0)
    noise = torch.randn(values.shape, generator=generator, device=values.device, dtype=values.dtype)
    noisy: Tensor = noise.mul_(amount).add_(1 - amount).mul_(values)
    return SparseMatrix(x.pattern, noisy) if isinstance(x, SparseMatrix) else noisy
