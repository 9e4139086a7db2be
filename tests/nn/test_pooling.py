from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.pooling import pool

#: Empty graphs first, amid and last.
SIZES = (0, 3, 1, 0, 5, 2, 0)
REDUCE = {"sum": np.sum, "mean": np.mean, "max": np.max}


@pytest.fixture
def batch(make_dataset: Callable[..., Dataset]) -> GraphBatch:
    return Collator(make_dataset(SIZES), dtype=torch.float64).all()


@pytest.mark.parametrize("how", REDUCE)
def test_equals_numpy_and_an_empty_graph_is_zero(how: str, batch: GraphBatch) -> None:
    x = torch.randn(sum(SIZES), 4, dtype=torch.float64) - 3  # far below zero: an empty graph's zero is not a max of something
    parts = np.split(x.numpy(), np.cumsum(SIZES)[:-1])
    expected = np.stack([REDUCE[how](part, axis=0) if len(part) else np.zeros(4) for part in parts])
    np.testing.assert_allclose(pool(batch, x, how).numpy(), expected, rtol=1e-12)


def test_nodes_that_share_a_maximum_share_its_gradient_of_either_sign(batch: GraphBatch) -> None:
    """As in `Tensor.amax`, graph by graph. The gradient of `torch.segment_reduce` differs where it is negative."""
    x = torch.randint(3, (sum(SIZES), 4), dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(len(SIZES), 4, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((pool(batch, x, "max") * upstream).sum(), x)
    plain = torch.stack([part.amax(0) if len(part) else part.new_zeros(4) for part in x.split(SIZES)])
    (expected,) = torch.autograd.grad((plain * upstream).sum(), x)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("how", REDUCE)
def test_passes_gradcheck(how: str, batch: GraphBatch) -> None:
    x = torch.randn(sum(SIZES), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: pool(batch, v, how), (x,))
