"""Trainings that are cut, and how one that goes on compares with one that was not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.state import TrainingState


class Cut(Exception):
    """Stands for a kill."""


class CutAfter(Callback):
    """Ends a training before one of its epochs, when so many are over, those of all phases together."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def on_epoch_begin(self, _: TrainingState) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cut


def cut(fit: Any, data: Any, snapshots: Snapshots, *, callbacks: Sequence[Callback] = (), **options: Any) -> None:
    """Train for two of four epochs."""
    with pytest.raises(Cut):
        fit(data, epochs=4, snapshots=snapshots, callbacks=[*callbacks, CutAfter(2)], **options)


def same(first: FitResult, second: FitResult) -> None:
    """All figures and all weights, to the bit."""
    assert [json.dumps(row) for row in first.history] == [json.dumps(row) for row in second.history]
    clock = "inference_ms"
    for one, other in zip(first.members, second.members, strict=True):
        assert {**vars(one), clock: 0} == {**vars(other), clock: 0}
    for (name, one), other in zip(first.cohort.state_dict().items(), second.cohort.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert np.array_equal(first.predict(member="ensemble"), second.predict(member="ensemble"))
