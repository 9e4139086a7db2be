"""Which epoch is chosen for each student, and when a training stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training import selection
from dgl_mutual.training.callbacks import Callback, EpochReports
from dgl_mutual.training.early_stopping import EarlyStopping
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.selection import weights_of
from dgl_mutual.training.state import TrainingState
from tests.training.conftest import Fit
from tests.training.small_data import Data


def test_every_student_stops_by_itself(fit: Fit, node_data: Data) -> None:
    patient, hasty = (fit(node_data, epochs=40, training={"patience": patience, "learning_rate": 0.3}) for patience in (1000, 3))
    assert patient.epochs == 40
    assert hasty.epochs < 40
    assert hasty.epochs == max(member.best_epoch for member in hasty.members[:2]) + 3 + 1
    assert hasty.history == patient.history[: hasty.epochs]


@pytest.mark.parametrize("weighting", ["attention", "consensus"])
def test_the_coordinator_is_that_of_the_ensembles_best_epoch(weighting: str, fit: Fit, node_data: Data) -> None:
    epochs: list[tuple[float, float, dict[str, Tensor]]] = []

    class Watching(Callback):
        def on_epoch_end(self, state: TrainingState) -> None:
            assert state.validation is not None
            epochs.append((state.validation.metrics[-1], -state.validation.losses[-1], weights_of(state.cohort.coordinator)))

    settings = {"training": {"learning_rate": 0.3}, "strategy_options": {"weighting": weighting}}
    result = fit(node_data, epochs=12, callbacks=[Watching()], **settings)
    *_, chosen = max(epochs, key=lambda epoch: epoch[:2])
    assert chosen is not epochs[-1][2]
    torch.testing.assert_close(dict(result.cohort.coordinator.state_dict()), chosen, rtol=0, atol=0)


WARM = {"exchange_warmup": (1, 2)}
TAUGHT = [
    ("node", "independent", {}),
    ("node", "gml", WARM),
    ("node", "gml", {**WARM, "targets": "ema"}),
    ("graph", "gml", {**WARM, "targets": "eval"}),
    ("graph", "gml", {**WARM, "targets": "ema", "exchange_on": "transductive"}),
    ("graph", "dml", {"targets": "eval"}),
]


@pytest.mark.parametrize(("task", "strategy", "strategy_options"), TAUGHT)
def test_evaluation_every_few_epochs_changes_what_is_chosen_and_not_what_is_trained(
    task: str, strategy: str, strategy_options: dict[str, Any], fit: Fit, data_of: Callable[[str], Data]
) -> None:
    options = {"strategy": strategy, "strategy_options": strategy_options, "epochs": 8}
    always, seldom = fit(data_of(task), **options), fit(data_of(task), training={"eval_every": 3}, **options)
    evaluated = [row["epoch"] for row in seldom.history if "val/gcn-0" in row]
    assert evaluated == [2, 5, 7], "the last epoch is always looked at"
    for ours, theirs in zip(seldom.history, always.history, strict=True):
        assert ours == {name: theirs[name] for name in ours}
    assert all(member.best_epoch in (2, 5, 7) for member in seldom.members[:2])


#: Strategies some of whose phases teach nothing -> the epochs of each phase with a patience of 2 and an exchange from epoch 7 on.
APART = {"independent": [3], "kd": [3, 9], "bgnn": [3, 9], "ensemble-distillation": [3, 9], "self-distillation": [3, 9]}


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - set(APART)))
def test_patience_begins_with_the_exchange(strategy: str, fit: Fit, node_data: Data) -> None:
    """Students that cannot get better in the warm-up must still be there to learn from each other."""
    students = [StudentOptions(hidden=8)] * 2
    options: dict[str, Any] = {"leader": {"hidden": 8}} if strategy == "okddip" else {}
    options["exchange_warmup"] = (7, 2)
    training = {"learning_rate": 1e-12, "patience": 2}  # no epoch is better than the first
    result = fit(node_data, students, 30, strategy=strategy, strategy_options=options, training=training)
    assert result.epochs == 7 + 2
    assert any(f"exchange/{result.cohort.names[0]}" in row for row in result.history[7:])


@pytest.mark.parametrize(("strategy", "epochs"), APART.items())
def test_patience_does_not_wait_where_nothing_is_taught(strategy: str, epochs: list[int], fit: Fit, node_data: Data) -> None:
    options: dict[str, Any] = {} if strategy == "independent" else {"exchange_warmup": (7, 2)}
    if strategy == "kd":
        options["teacher"] = {"hidden": 8}
    training = {"learning_rate": 1e-12, "patience": 2}
    result = fit(node_data, epochs=30, strategy=strategy, strategy_options=options, training=training)
    assert result.epochs == sum(epochs)


def test_evaluating_less_often_than_there_are_epochs(fit: Fit, node_data: Data) -> None:
    result = fit(node_data, epochs=3, training={"eval_every": 50})
    assert {member.best_epoch for member in result.members[:2]} == {2}


def test_reports_contain_no_test_metric(fit: Fit, node_data: Data) -> None:
    reports: list[EpochReport] = []
    result = fit(node_data, epochs=3, callbacks=[EpochReports(reports.append)])
    assert [(report.epoch, report.epochs) for report in reports] == [(0, 3), (1, 3), (2, 3)]
    for report, row in zip(reports, result.history, strict=True):
        assert report.val == {name: row[f"val/{name}"] for name in ("gcn-0", "sage-1", "ensemble")}
        assert report.loss == pytest.approx(sum(value for name, value in row.items() if name.startswith("loss/")))


@pytest.mark.parametrize(("warmup", "late"), [(2, 5), (7, 7)])
def test_the_ensemble_is_chosen_once_all_students_are(
    warmup: int, late: int, fit: Fit, node_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student waits for the later of its own start and the exchange, and the ensemble for the last of the students."""
    made: list[EarlyStopping] = []

    def making(*given: int) -> EarlyStopping:
        made.append(EarlyStopping(*given))
        return made[-1]

    monkeypatch.setattr(selection, "EarlyStopping", making)
    students = [StudentOptions(hidden=8), StudentOptions(hidden=8, starts_after=0.5)]
    fit(node_data, students, 10, strategy_options={"exchange_warmup": (warmup, 1)})
    assert [one.start for one in made[-3:]] == [warmup, late, late]
