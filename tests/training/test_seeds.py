from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from dgl_mutual.training import seeds


def test_a_stream_is_named_by_its_whole_path() -> None:
    paths = list(product(range(5), ("dropout", "initialisation", "order"), range(4), range(4)))
    derived = {seeds.derive(*path) for path in paths}
    assert len(derived) == len(paths)
    assert len({seeds.derive(0, "a", 11), seeds.derive(0, "a", 1, 1), seeds.derive(0, "a1", 1), seeds.derive(0, "a", "11")}) == 4
    assert all(0 <= seed < 2**63 for seed in derived)


def test_the_derivation_stays_what_it_is() -> None:
    """A change here would change every result that was ever reported."""
    assert seeds.derive(0, "dropout", 2) == 6788972931546153208


def test_numpy_integers_name_the_same_stream() -> None:
    assert seeds.derive(np.int64(3), "order", np.int32(1)) == seeds.derive(3, "order", 1)


def test_generator_starts_the_stream() -> None:
    first, again, other = seeds.generator(0, "a"), seeds.generator(0, "a"), seeds.generator(0, "b")
    assert torch.equal(torch.rand(5, generator=first), torch.rand(5, generator=again))
    assert not torch.equal(torch.rand(5, generator=seeds.generator(0, "a")), torch.rand(5, generator=other))


def test_initialisation_is_a_block_of_its_own() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with seeds.seeded_globally(0, "x"):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(2), expected)
    with seeds.seeded_globally(0, "x"):
        assert torch.equal(torch.rand(3), inside)
    with seeds.seeded_globally(0, "y"):
        assert not torch.equal(torch.rand(3), inside)


def test_initialisation_seeds_no_other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.manual_seed` would: it seeds the streams of all devices, and the fork gives back those of the CPU alone."""
    seeded: list[object] = []
    for module in ("torch.cuda", "torch.xpu", "torch.mps"):
        if (name := module.partition(".")[2]) in vars(torch):
            monkeypatch.setattr(getattr(torch, name), "manual_seed_all" if name != "mps" else "manual_seed", seeded.append, raising=False)
    with seeds.seeded_globally(0, "initialisation"):
        first = torch.rand(3)
    assert seeded == []
    torch.manual_seed(seeds.derive(0, "initialisation"))
    assert torch.equal(torch.rand(3), first)


def test_streams_of_a_trial_are_of_its_seed_and_fold() -> None:
    trial = seeds.TrialSeed(5, 2)
    assert trial.derive("view", "columns") == seeds.derive(5, "view", "columns", 2)
    assert trial.derive("dropout", part=(1, "rank", 3)) == seeds.derive(5, "dropout", 2, 1, "rank", 3)
    assert torch.equal(torch.rand(5, generator=trial.generator("order")), torch.rand(5, generator=seeds.generator(5, "order", 2)))
    with trial.seeded_globally("initialisation", part=("strategy",)):
        drawn = torch.rand(3)
    with seeds.seeded_globally(5, "initialisation", 2, "strategy"):
        assert torch.equal(drawn, torch.rand(3))
