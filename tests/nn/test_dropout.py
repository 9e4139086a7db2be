from __future__ import annotations

import pytest
import torch
from scipy.stats import binom, binomtest, chisquare

from dgl_mutual.nn.dropout import dropout, keep_multiplier

COUNT = 200_000


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rate", [1 / 65536, 0.001, 1 / 256, 0.3, 0.5, 0.6, 0.75, 255 / 256, 0.999])
def test_share_of_zeros_is_the_rate(rate: float) -> None:
    zeros = int((keep_multiplier(torch.Size((COUNT,)), rate, stream()) == 0).sum())
    assert binomtest(zeros, COUNT, round(rate * 65536) / 65536).pvalue > 1e-3


@pytest.mark.parametrize(("rate", "lanes"), [(0.3, 4), (0.5, 8)])
def test_rate_holds_in_each_lane(rate: float, lanes: int) -> None:
    """Four or eight lanes come from one draw; each must keep the rate, and two of one draw must not hang together."""
    zeros = (keep_multiplier(torch.Size((COUNT, lanes)), rate, stream()) == 0).double()
    assert chisquare(zeros.sum(0).numpy()).pvalue > 1e-3
    together = torch.corrcoef(zeros.t())
    assert (together - torch.eye(lanes, dtype=torch.float64)).abs().max() < 5 / COUNT**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.9])
def test_values_are_zero_or_the_inverse_of_what_is_kept(rate: float, dtype: torch.dtype) -> None:
    multiplier = keep_multiplier(torch.Size((101, 7)), rate, stream(), dtype)
    assert multiplier.dtype == dtype and multiplier.shape == (101, 7)
    expected = torch.tensor([0.0, 65536 / (65536 - round(rate * 65536))] if rate else [1.0], dtype=dtype)
    torch.testing.assert_close(multiplier.unique(), expected, rtol=1e-7, atol=0)


def test_highest_rate_still_keeps_the_mean_finite() -> None:
    multiplier = keep_multiplier(torch.Size((COUNT,)), 1 - 1e-9, stream())
    kept = int((multiplier != 0).sum())
    assert multiplier.max() in (0.0, 65536.0)
    low, high = binom.interval(0.999, COUNT, 1 / 65536)
    assert low <= kept <= high


def test_same_seed_same_mask() -> None:
    shape = torch.Size((13, 5))
    assert torch.equal(keep_multiplier(shape, 0.5, stream(7)), keep_multiplier(shape, 0.5, stream(7)))
    assert not torch.equal(keep_multiplier(shape, 0.5, stream(7)), keep_multiplier(shape, 0.5, stream(8)))


def test_a_stream_continues_from_call_to_call() -> None:
    generator, shape = stream(), torch.Size((64,))
    assert not torch.equal(keep_multiplier(shape, 0.5, generator), keep_multiplier(shape, 0.5, generator))


def test_global_stream_is_neither_read_nor_moved() -> None:
    shape = torch.Size((100,))
    torch.manual_seed(0)
    first = keep_multiplier(shape, 0.5, stream())
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), after)
    torch.manual_seed(99)
    assert torch.equal(keep_multiplier(shape, 0.5, stream()), first)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 15])
def test_odd_sizes(size: int) -> None:
    multiplier = keep_multiplier(torch.Size((size,)), 0.5, stream())
    assert multiplier.shape == (size,)
    assert set(multiplier.tolist()) <= {0.0, 2.0}


def test_every_element_is_dropped_sometimes() -> None:
    """Also the last ones of a size that four does not divide."""
    generator = stream()
    masks = torch.stack([keep_multiplier(torch.Size((7,)), 0.5, generator) for _ in range(200)])
    assert ((masks == 0).sum(0) > 50).all() and ((masks == 2).sum(0) > 50).all()


def test_dropout_multiplies_by_the_mask_and_passes_its_gradient() -> None:
    x = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    mask = keep_multiplier(x.shape, 0.4, stream(), x.dtype)
    dropped = dropout(x, 0.4, stream())
    assert torch.equal(dropped, x * mask)
    assert torch.equal(torch.autograd.grad(dropped.sum(), x)[0], mask)


def test_dropout_is_off_without_a_generator_or_rate() -> None:
    x = torch.randn(3)
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, stream()) is x
