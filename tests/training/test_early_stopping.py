from __future__ import annotations

import math

import pytest

from dgl_mutual.errors import TrainingError
from dgl_mutual.training.early_stopping import EarlyStopping


def run(metrics: list[float], losses: list[float] | None = None, patience: int = 3, every: int = 1) -> tuple[EarlyStopping, list[int]]:
    """The stopper after these evaluations, and the epochs it called the best so far."""
    stopper = EarlyStopping(patience)
    losses = losses if losses is not None else [1.0] * len(metrics)
    best = [
        every * index
        for index, (metric, loss) in enumerate(zip(metrics, losses, strict=True))
        if stopper.update(every * index, val_metric=metric, val_loss=loss)
    ]
    return stopper, best


@pytest.mark.parametrize(
    ("metrics", "losses", "best"),
    [
        ([0.1, 0.3, 0.2, 0.5], None, [0, 1, 3]),
        ([0.0], None, [0]),
        ([0.5, 0.5, 0.5], [1.0, 0.8, 0.9], [0, 1]),
        ([0.5, 0.6, 0.5], [1.0, 2.0, 0.1], [0, 1]),
        ([0.5, 0.5], [1.0, 1.0], [0]),
        ([0.1 + 0.2, 0.3, 0.1 + 0.2], [1.0, 0.8, 0.9], [0, 1]),
    ],
    ids=["higher metric", "first of all", "tie broken by loss", "metric before loss", "equal is not better", "equal but for the last bit"],
)
def test_best_epoch(metrics: list[float], losses: list[float] | None, best: list[int]) -> None:
    stopper, found = run(metrics, losses)
    assert found == best
    assert stopper.best_epoch == best[-1]
    assert stopper.best_metric == metrics[best[-1]]


def test_stops_after_patience_and_not_before() -> None:
    assert not run([0.5, 0.1, 0.1], patience=3)[0].stopped
    assert run([0.5, 0.1, 0.1, 0.1], patience=3)[0].stopped
    assert not run([0.5, 0.1, 0.1, 0.6, 0.1, 0.1], patience=3)[0].stopped


def test_a_stopped_student_is_not_chosen_again() -> None:
    stopper, best = run([0.5, 0.1, 0.9], patience=1)
    assert stopper.stopped
    assert best == [0] and stopper.best_epoch == 0 and stopper.best_metric == 0.5


def test_epochs_before_the_start_do_not_count_though_the_best_may_be_among_them() -> None:
    stopper = EarlyStopping(patience=2, start=4)
    found = [stopper.update(epoch, val_metric=0.9 - 0.1 * epoch, val_loss=1.0) for epoch in range(5)]
    assert found == [True, False, False, False, False] and not stopper.stopped
    stopper.update(5, val_metric=0.1, val_loss=1.0)
    assert stopper.stopped and stopper.best_epoch == 0
    late = EarlyStopping(patience=2, start=4)
    for epoch in range(7):
        late.update(epoch, val_metric=float(epoch <= 5), val_loss=float(epoch != 5))
    assert late.best_epoch == 5 and not late.stopped, "after the start patience counts from the best epoch"


def test_patience_counts_epochs_and_not_evaluations() -> None:
    assert run([0.5, 0.1], patience=5, every=5)[0].stopped
    assert not run([0.5, 0.1], patience=6, every=5)[0].stopped


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    stopper = EarlyStopping(patience=3)
    for figures in ({"val_metric": value, "val_loss": 1.0}, {"val_metric": 0.5, "val_loss": value}):
        with pytest.raises(TrainingError, match=r"Validation is not finite in epoch 4 .*no epoch can be chosen"):
            stopper.update(4, **figures)
    assert stopper.best_epoch is None
    assert stopper.update(5, val_metric=0.0, val_loss=9.0)
