from __future__ import annotations

import math

import pytest
import torch

from dgl_mutual.errors import TrainingError
from tests.experiments.compare.cases import make_case
from tests.nn.edges import with_edges

pytest.importorskip("torch_geometric", reason="needs torch_geometric")

from dgl_mutual.experiments.compare.theirs import make_reference
from dgl_mutual.experiments.trial import fit_resolved
from dgl_mutual.reference.trainer import Best


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
@pytest.mark.parametrize("task", ["node", "graph"])
def test_logits_that_are_not_finite_are_neither_selected_nor_scored(task: str, kind: str) -> None:
    trial, config, dataset = make_case(task, kind, "independent")
    reference = make_reference(config, dataset, trial.split, seed=0, fold=0)
    reference.train_epoch()
    reference.evaluate()
    name = reference.names[1]
    for state in (reference.students[1].state_dict(), reference.best[name].state):
        *_, bias = (value for key, value in state.items() if key.endswith("bias"))
        with torch.no_grad():
            bias.fill_(math.inf)
    for chosen in (reference.evaluate, reference.results):
        with pytest.raises(TrainingError, match=f"Logits are not finite, so they predict nothing: {name} "):
            chosen()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    best, module = Best(), torch.nn.Linear(1, 1)
    for metric, loss in ((value, 1.0), (0.5, value)):
        with pytest.raises(TrainingError, match="not finite in epoch 3"):
            best.update(3, metric, loss, module, patience=5, start=0)
    assert best.epoch < 0 and not best.state


def test_a_metric_that_is_equal_but_for_its_last_bit_is_a_tie() -> None:
    best, module = Best(), torch.nn.Linear(1, 1)
    for epoch, (metric, loss) in enumerate([(0.1 + 0.2, 1.0), (0.3, 0.8), (0.1 + 0.2, 0.9)]):
        best.update(epoch, metric, loss, module, patience=5, start=0)
    assert best.epoch == 1


def test_patience_begins_with_the_average_of_weights() -> None:
    training = {"epochs": 300, "patience": 1, "average": "swa", "average_start": 12}
    trial, config, dataset = make_case("node", strategy="independent", training=training)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # its dropout draws from torch's own stream
        reference = make_reference(config, dataset, trial.split, seed=0, fold=0)
        while not reference.stopped:
            reference.train_epoch()
            reference.evaluate()
    assert 12 < reference.epoch < 300
    assert 12 < len(fit_resolved(trial, config, dataset).history) < 300


@pytest.mark.parametrize("strategy", ["independent", "dml", "gml"])
@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_a_training_that_breaks_says_so(kind: str, strategy: str) -> None:
    options = {"exchange_warmup": [0, 0]} if strategy == "gml" else {}
    trial, config, dataset = make_case("graph", kind, strategy, options, training={"learning_rate": 1e30, "batch_size": 3})
    reference = make_reference(config, dataset, trial.split, seed=0, fold=0)
    with pytest.raises(TrainingError, match="not finite"):
        for _ in range(3):
            reference.train_epoch()
            reference.evaluate()


@pytest.mark.parametrize("task", ["node", "graph"])
def test_students_that_use_edge_features_are_scored_and_timed(task: str) -> None:
    trial, config, dataset = make_case(task, strategy="independent")
    students = tuple(student.model_copy(update={"edge_features": True}) for student in config.students)
    config = config.model_copy(update={"students": students})
    reference = make_reference(config, with_edges(dataset), trial.split, seed=0, fold=0)
    reference.train_epoch()
    reference.evaluate()
    results = reference.results()
    assert [result.member for result in results] == [*reference.names, "mean", "best_by_val", "ensemble"]
    assert all(result.inference_ms > 0 for result in results)
