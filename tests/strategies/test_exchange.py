"""Which samples and which view of them the loop hands over."""

from __future__ import annotations

import pytest
import torch

from dgl_mutual.strategies.gml import GraphMutualLearning
from dgl_mutual.training.callbacks import Callback
from tests.strategies.test_kd import fit


def watched(task, options, **training):
    steps = []

    class Watching(GraphMutualLearning):
        def loss_terms(self, step):
            steps.append((step, step.targets.clone()))
            return super().loss_terms(step)

    result, split = fit(task, Watching, {"exchange_warmup": [0, 0], **options}, **training)
    return result, split, steps


@pytest.mark.parametrize("exchange_on", ["all", "labelled", "transductive"])
def test_the_exchange_samples_of_an_epoch_on_graphs(exchange_on):
    _, split, steps = watched("graph", {"exchange_on": exchange_on})
    epoch = [step for step, _ in steps if step.epoch == 2]
    exchanged = torch.cat([step.samples[step.exchange] for step in epoch]).tolist()
    labelled = torch.cat([step.samples[step.labelled] for step in epoch]).tolist()
    assert sorted(labelled) == sorted(split.train)
    assert sorted(exchanged) == (list(range(12)) if exchange_on == "transductive" else sorted(split.train))


@pytest.mark.parametrize("exchange_on", ["all", "labelled", "transductive"])
def test_the_exchange_samples_of_a_step_on_nodes(exchange_on):
    _, split, steps = watched("node", {"exchange_on": exchange_on})
    for step, _ in steps:
        exchanged = sorted(step.samples[step.exchange].tolist())
        assert exchanged == (sorted(split.train) if exchange_on == "labelled" else list(range(30)))


def test_graphs_without_labels_speak_by_clean_logits_of_the_epoch_before():
    kept = {}

    class Keeping(Callback):
        def on_epoch_end(self, state):
            kept[state.epoch] = state.clean.latest.clone()

    _, split, steps = watched("graph", {"exchange_on": "transductive", "targets": "eval"}, callbacks=[Keeping()])
    seen = []
    for step, targets in steps:
        if step.epoch == 3:
            torch.testing.assert_close(targets, kept[2][:, step.samples], rtol=0, atol=0)
            seen += step.samples.tolist()
    assert set(split.test) <= set(seen)
    assert not torch.equal(kept[2][:, split.test], kept[1][:, split.test])


@pytest.mark.parametrize(("task", "training_pass"), [("node", False), ("graph", True)])
def test_who_speaks_for_the_peers_unless_told_otherwise(task, training_pass):
    _, _, steps = watched(task, {})
    assert [torch.equal(targets, step.logits.detach()) for step, targets in steps] == [training_pass] * len(steps)


@pytest.mark.parametrize("task", ["node", "graph"])
def test_students_train_on_perturbed_views_and_targets_see_everything(task):
    result, _, steps = watched(task, {"targets": "eval"}, edge_drop=0.5, feature_mask=0.3)
    plain, _, usual = watched(task, {"targets": "eval"})
    # Before the first step nothing is trained, so both have the same targets; the training passes differ from then on.
    assert torch.equal(steps[0][1], usual[0][1])
    assert not torch.equal(steps[0][0].logits, usual[0][0].logits)
    assert len(steps[0][0].batch.sources) == len(usual[0][0].batch.sources)
    assert result.history != plain.history
