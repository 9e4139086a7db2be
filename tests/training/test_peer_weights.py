"""How the coordinator weighs peers on each sample, as `FitResult.peer_weights` shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dgl_mutual import cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.training.evaluation import evaluation_batches
from dgl_mutual.weightings import WEIGHTINGS
from tests.strategies.cases import make_dataset
from tests.training.conftest import Data, Fit

THREE = ("gcn", "gin", "sage")


def trained(fit: Fit, data: Data, weighting: str, **options: Any) -> Any:
    options = {"weighting": weighting, "exchange_warmup": (0, 0), **options}
    return fit(data, THREE, strategy_options=options, training={"learning_rate": 0.1})


@pytest.mark.parametrize("direction", ["all", "best"])
def test_with_two_students_a_weighting_changes_only_the_ensemble(direction: str, fit: Fit, node_data: Data) -> None:
    first, other = (
        fit(node_data, ("gcn", "sage"), epochs=6, strategy="gml", strategy_options={"weighting": weighting, "direction": direction})
        for weighting in ("attention", "consensus")
    )
    same = [np.array_equal(first.predict(member=member), other.predict(member=member)) for member in ("gcn-0", "sage-1", "ensemble")]
    assert same == [True, True, False]


@pytest.mark.parametrize("weighting", sorted(set(WEIGHTINGS) - {"uniform"}))
def test_peers_share_the_weight_of_each_sample(weighting: str, fit: Fit, node_data: Data) -> None:
    found = trained(fit, node_data, weighting).peer_weights()
    assert found.shape[:3] == (node_data[0].num_samples, 3, 3) and found.shape[3] in (1, node_data[0].target.num_outputs)
    assert (found[:, range(3), range(3)] == 0).all()
    np.testing.assert_allclose(found.sum(2), 1, rtol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-3, "and they are not the same on all samples"


def test_weights_of_the_consensus_are_powers_of_odds(fit: Fit, node_data: Data) -> None:
    result = trained(fit, node_data, "consensus", weighting_options={"power": 1.5})
    precision = result.cohort.coordinator.precision()[:, 0].double().numpy()
    odds = (precision / (1 - precision)) ** 1.5
    predicted = np.stack([result.predict(member=name).argmax(1) for name in result.cohort.names], axis=1)
    of_peers = np.stack([odds[j, predicted[:, j]] for j in range(3)], axis=1)
    expected = of_peers[:, None, :] * (1 - np.eye(3))
    np.testing.assert_allclose(result.peer_weights()[..., 0], expected / expected.sum(2, keepdims=True), rtol=1e-4)


def test_weights_of_other_data_and_in_batches(fit: Fit, graph_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, _ = graph_data
    result = trained(fit, graph_data, "attention")
    whole = result.peer_weights()
    nodes, edges = dataset.node_offsets[7], dataset.edge_offsets[7]
    seven = dataset.replaced(
        features=dataset.features[:nodes], edges=dataset.edges[:, :edges], labels=dataset.labels[:7], node_offsets=dataset.node_offsets[:8]
    )
    np.testing.assert_allclose(result.peer_weights(seven), whole[:7], rtol=1e-5)
    monkeypatch.setattr(evaluation_batches, "EVALUATION_NODES", 12)
    np.testing.assert_allclose(result.peer_weights(), whole, rtol=1e-5)
    monkeypatch.setattr(evaluation_batches, "EVALUATION_NODES", 1 << 12)
    monkeypatch.setattr(cohort, "_MAX_SAMPLES", 7)
    np.testing.assert_allclose(result.peer_weights(), whole, rtol=1e-5)


def test_several_tasks_have_weights_of_their_own(fit: Fit) -> None:
    dataset = make_dataset("node", "joint")
    order = np.random.default_rng(0).permutation(dataset.num_samples)
    found = trained(fit, (dataset, Split(*np.split(order, [12, 20]))), "consensus").peer_weights()
    assert found.shape[3] == dataset.target.num_outputs
    np.testing.assert_allclose(found.sum(2), 1, rtol=1e-5)


def test_uniform_weights_are_refused(fit: Fit, node_data: Data) -> None:
    for options in ({"strategy": "dml"}, {"strategy_options": {"weighting": "uniform"}}):
        with pytest.raises(UsageError, match=r"weighs all peers equally.*strategy_options\.weighting, for example consensus"):
            fit(node_data, THREE, epochs=1, **options).peer_weights()
    with pytest.raises(UsageError, match=r"label-propagation has no students, so there are no weights"):
        fit(node_data, THREE, strategy="label-propagation").peer_weights()


def test_weights_for_each_node_are_for_these_nodes_alone(fit: Fit, node_data: Data) -> None:
    result = trained(fit, node_data, "transductive")
    dataset = node_data[0]
    fewer = Dataset.from_arrays(np.array([[0, 1], [1, 0]]), dataset.features[:2], dataset.labels[:2], feature_names=dataset.feature_names)
    with pytest.raises(UsageError, match="has weights for the 48 nodes that it was trained with and the data has 2"):
        result.peer_weights(fewer)
