from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dgl
import numpy as np
import pytest
import torch

from dgl_mutual import cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import DataError, TrainingError, UsageError
from dgl_mutual.nn.blocks import LayerwiseBatch
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.evaluation import evaluation_batches, inference
from tests.training.conftest import Fit
from tests.training.small_data import Data, as_dgl


@pytest.mark.parametrize("member", ["gcn-0", "sage-1", "best_by_val", "ensemble"])
@pytest.mark.parametrize("task", ["node", "graph"])
def test_dataset_and_dgl_graph_predict_the_same(task: str, member: str, fit: Fit, node_data: Data, graph_data: Data) -> None:
    data = node_data if task == "node" else graph_data
    result = fit(data)
    probabilities = result.predict(member=member)
    assert probabilities.shape == (data[0].num_samples, data[0].target.num_outputs)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(result.predict(data[0], member), probabilities)
    np.testing.assert_allclose(result.predict(as_dgl(data[0]), member), probabilities, rtol=1e-4, atol=1e-6)


def test_figures_are_those_of_the_predictions(fit: Fit, node_data: Data) -> None:
    dataset, split = node_data
    result = fit(node_data, epochs=10)
    for name in ("gcn-0", "sage-1", "ensemble", "best_by_val"):
        right = result.predict(member=name).argmax(1) == dataset.labels
        figures = result[name]
        assert [right[part].mean() for part in (split.train, split.val, split.test)] == pytest.approx(
            [figures.train, figures.val, figures.test]
        )


def test_ensemble_of_uniform_weights_is_the_mean_of_logits(fit: Fit, graph_data: Data) -> None:
    result = fit(graph_data, strategy="independent")
    log_p = np.mean([np.log(result.predict(member=name)) for name in ("gcn-0", "sage-1")], axis=0)
    expected = np.exp(log_p) / np.exp(log_p).sum(1, keepdims=True)
    np.testing.assert_allclose(result.predict(), expected, rtol=1e-4)


def test_batches_do_not_matter(fit: Fit, graph_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    result = fit(graph_data)
    whole = result.predict()
    monkeypatch.setattr(evaluation_batches, "EVALUATION_NODES", 11)
    np.testing.assert_allclose(result.predict(), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("member", ["gcn-0", "ensemble"])
def test_a_large_graph_is_predicted_layer_by_layer(member: str, fit: Fit, node_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    result = fit(node_data)
    whole = result.predict(member=member)
    passes = []
    monkeypatch.setattr(inference, "WHOLE_GRAPH_NODES", 11)
    monkeypatch.setattr(inference, "LayerwiseBatch", lambda *arguments: passes.append(1) or LayerwiseBatch(*arguments))
    monkeypatch.setattr(cohort, "_MAX_SAMPLES", 7)
    np.testing.assert_allclose(result.predict(member=member), whole, rtol=1e-5, atol=1e-7)
    assert passes


def test_prediction_changes_nothing(fit: Fit, graph_data: Data) -> None:
    result = fit(graph_data)
    before = {name: value.clone() for name, value in result.cohort.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    result.predict()
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in result.cohort.state_dict().items())


def test_a_node_cohort_predicts_every_node_of_many_graphs(fit: Fit, node_data: Data) -> None:
    """Two graphs side by side are one graph with two parts: what task a dataset was made for does not matter to a student of nodes."""
    dataset, split = node_data
    dataset = replace(dataset, edges=dataset.edges[:, (dataset.edges < 20).sum(axis=0) != 1])
    result = fit((dataset, split))
    parted = replace(dataset, task="graph", node_offsets=np.array([0, 20, 48]), labels=np.array([0, 1]))
    np.testing.assert_array_equal(result.predict(parted), result.predict(dataset))


def test_probabilities_of_several_labels_need_not_sum_to_one(fit: Fit, multi_label_data: Data) -> None:
    probabilities = fit(multi_label_data).predict()
    assert probabilities.shape == (40, 3)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert not np.allclose(probabilities.sum(1), 1, atol=0.05)


def test_probabilities_close_to_one_keep_the_order_of_the_logits(fit: Fit, multi_label_data: Data) -> None:
    """A ROC-AUC of the predictions would be another one than that of the training."""
    dataset, _ = multi_label_data
    result = fit(multi_label_data)
    logits = torch.linspace(18, 30, dataset.num_samples)[:, None]
    predictor = inference.Predictor(result.cohort, "gcn-0")
    predictor.logits = lambda batch, samples: logits[samples]
    assert (np.diff(predictor(dataset)[:, 0]) > 0).all()


def test_an_unknown_member_lists_the_members(fit: Fit, node_data: Data) -> None:
    with pytest.raises(
        UsageError, match=r"Unknown member 'gcn-1'. Did you mean 'gcn-0'\? Choose from: best_by_val, ensemble, gcn-0, sage-1"
    ):
        fit(node_data, epochs=1).predict(member="gcn-1")


def test_the_mean_student_has_no_predictions(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    result = fit(node_data, epochs=1)
    result.save(tmp_path)
    message = r"'mean' is the average of the students' metrics, .* Choose from: best_by_val, ensemble, gcn-0, sage-1\."
    with pytest.raises(UsageError, match=message):
        result.predict(member="mean")
    with pytest.raises(UsageError, match=message):
        load_student(tmp_path, "mean")


def test_features_of_another_width_are_refused(fit: Fit, node_data: Data) -> None:
    dataset, _ = node_data
    result = fit(node_data, epochs=1)
    narrow = replace(dataset, features=dataset.features[:, :4], feature_names=dataset.feature_names[:4], feature_kinds=())
    with pytest.raises(DataError, match=r"expects 6 feature columns and nodes has 4. Missing: feature 4, feature 5"):
        result.predict(narrow)
    with pytest.raises(UsageError, match="trained on 6 features per node and the data has 4"):
        result.predict(as_dgl(narrow))


def test_students_of_degrees_say_how_graphs_without_features_are_predicted(fit: Fit) -> None:
    rings = [dgl.graph((torch.arange(size), torch.arange(size).roll(1))) for size in (3, 4, 5, 6) * 3]
    made = Dataset.from_dgl(rings, labels=np.arange(12) % 2, feat=None)
    result = fit((made, Split(range(4), range(4, 8), range(8, 12))), epochs=1)
    with pytest.raises(DataError, match=r"or take one-hot in-degrees with dgl_mutual\.Dataset\.from_dgl\(graphs, feat=None\)"):
        result.predict(rings[:2])
    assert len(result.predict(Dataset.from_dgl(rings[:2], feat=None))) == 2
    with pytest.raises(
        UsageError, match=r"predict dgl_mutual\.Dataset\.from_dgl\(graph, feat=None\), with task='graph' to classify graphs"
    ):
        result.predict(rings[0])
    assert len(result.predict(Dataset.from_dgl(rings[0], feat=None, task="graph"))) == 1


def test_a_transductive_ensemble_knows_its_own_nodes_alone(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    dataset, _ = node_data
    result = fit(node_data, epochs=1, strategy_options={"weighting": "transductive"})
    fewer = as_dgl(dataset).subgraph(torch.arange(30), store_ids=False)
    result.save(tmp_path)
    for predict in (result.predict, lambda graph: load_student(tmp_path)(graph, graph.ndata["feat"])):
        with pytest.raises(UsageError, match=r"'transductive'.*48 nodes.*has 30"):
            predict(fewer)
    assert result.predict(fewer, "gcn-0").shape == (30, 3)


@pytest.mark.parametrize("task", ["node", "graph"])
def test_extreme_features_of_a_test_sample_are_refused(task: str, fit: Fit, node_data: Data, graph_data: Data) -> None:
    """Training does not see test graphs: it ends well, and the figures must not."""
    dataset, split = node_data if task == "node" else graph_data
    sample = int(split.test[0])
    features = dataset.features.copy()
    features[sample if task == "node" else dataset.node_offsets[sample]] = 3e38
    extreme = replace(dataset, features=features)
    result = fit((dataset, split))
    with torch.no_grad():
        for weight in result.cohort.members[0].convolutions[0].input_weights:
            weight.mul_(1e3)
    for member in ("gcn-0", "ensemble"):
        with pytest.raises(DataError, match=rf"The logits of gcn-0 for {task} \d+ are not finite"):
            result.predict(extreme, member)
    with pytest.raises(TrainingError, match=r"not finite.*(gcn-0|sage-1).*features of extreme size"):
        fit((extreme, split), strategy="independent", training={"scale_inputs": False})


@pytest.mark.parametrize("member", ["gcn-0", "ensemble"])
def test_infinite_logits_are_refused(member: str, fit: Fit, multi_label_data: Data) -> None:
    """A sigmoid makes 1 of it, and looks sound."""
    result = fit(multi_label_data)
    *_, bias = (parameter for name, parameter in result.cohort.members[0].named_parameters() if name.endswith("bias"))
    with torch.no_grad():
        bias[0] = torch.inf
    with pytest.raises(DataError, match=r"The logits of gcn-0 for \w+ 0 are not finite"):
        result.predict(member=member)


def test_features_beyond_float32_are_refused_in_a_dgl_graph(fit: Fit, node_data: Data) -> None:
    graph = as_dgl(node_data[0])
    graph.ndata["feat"] = graph.ndata["feat"].double()
    graph.ndata["feat"][5, 2] = 1e39
    with pytest.raises(DataError, match=r"node features 'feat': expected finite numbers.*found 1e\+39 in row 5"):
        fit(node_data).predict(graph)


def test_a_graph_without_edges_needs_no_edge_features(fit: Fit, graph_data: Data) -> None:
    dataset, split = graph_data
    with_bonds = dataset.replaced(edge_features=np.ones((dataset.num_edges, 2)), edge_feature_names=("a", "b"))
    result = fit((with_bonds, split), epochs=1)
    alone = dgl.graph(([], []), num_nodes=2)
    alone.ndata["feat"] = torch.ones(2, dataset.num_features)
    kept = alone.clone()
    kept.edata["feat"] = torch.zeros(0, 2)
    np.testing.assert_array_equal(result.predict(alone), result.predict(kept))


def test_samples_keep_their_numbers_in_batches(fit: Fit, graph_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = inference.Predictor(fit(graph_data, epochs=1).cohort, "ensemble")
    monkeypatch.setattr(evaluation_batches, "EVALUATION_NODES", 11)
    found = predictor.rows_of(graph_data[0], lambda batch, samples: samples)
    np.testing.assert_array_equal(found, np.arange(graph_data[0].num_samples))
