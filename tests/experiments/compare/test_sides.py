from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from dgl_mutual.data.scaling import column_scales
from dgl_mutual.errors import TrainingError
from tests.experiments.compare.cases import make_case

pytest.importorskip("torch_geometric", reason="needs torch_geometric")

from dgl_mutual.experiments.compare import theirs
from dgl_mutual.experiments.compare.sides import train_both

pytestmark = pytest.mark.usefixtures("forked_apart")


@pytest.mark.parametrize(("task", "average", "metric"), [("node", "ema", None), ("graph", "swa", None), ("node", "ema", "macro-f1")])
def test_without_dropout_both_sides_end_at_the_same_figures(task: str, average: str, metric: str | None) -> None:
    """The same epoch is chosen, the same weights are kept, the same ensemble is made, and features are scaled alike."""
    student = {"hidden": 8, "heads": 2, "dropout": 0.0}
    training = {"epochs": 6, "learning_rate": 0.001, "batch_size": 3, "average": average}
    trial, config, dataset = make_case(task, options={"exchange_warmup": [1, 2]}, student=student, training=training)
    dataset = replace(dataset, features=np.asarray(dataset.features) * np.float32(4.0)).with_metric(metric)
    assert config.training.scale_inputs and (column_scales(dataset, trial.split) < 1).any()
    match = train_both(trial, config, dataset)
    pairs = match.pairs.set_index("member")
    assert pairs.index.tolist() == ["gcn-0", "gat-1", "gin-2", "sage-3", "mean", "best_by_val", "ensemble"]
    assert pairs["ours"].tolist() == pytest.approx(pairs["reference"].tolist())
    assert pairs["parameters_ours"].tolist() == pairs["parameters_reference"].tolist()
    assert match.epochs == 4 and match.seconds_ours > 0 and match.seconds_reference > 0
    assert (pairs[["inference_ms_ours", "inference_ms_reference"]] > 0).all(axis=None)


def test_the_reference_goes_on_where_ours_has_stopped() -> None:
    trial, config, dataset = make_case("node", strategy="independent", training={"epochs": 40, "patience": 2})
    told: list[tuple[str, int, int]] = []
    match = train_both(trial, config, dataset, on_epoch=lambda title, report: told.append((title, report.epoch, report.epochs)))
    assert 0 < match.epochs < 40
    assert told == [("seed-0-fold-0", epoch, 40) for epoch in range(len(told))] and match.epochs <= len(told) < 40


def test_a_reference_whose_process_is_killed_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs, "results", partial(os._exit, 1))
    with pytest.raises(TrainingError, match=r"process of the reference ended.*lack of memory"):
        train_both(*make_case("node", strategy="independent", training={"epochs": 3}))
