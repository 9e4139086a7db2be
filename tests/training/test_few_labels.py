"""Trainings in which the labels of some training samples are hidden."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dgl_mutual.api import fit as public_fit
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.label_rate import hide_labels
from dgl_mutual.data.protocols import splits_whole_graphs
from dgl_mutual.data.scaling import column_scales
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.strategies.gml import GraphMutualLearning
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.step_maker import StepMaker
from tests.training.conftest import Data, Fit

NEEDS = {"kd": {"teacher": {"hidden": 8}}, "okddip": {"leader": {"hidden": 8}}}
SAMPLED = {"sampler": "neighbor", "fanout": (2, 2), "batch_size": 4}


@pytest.fixture(params=["node", "graph", "multi-label", "sampled"])
def few(request: pytest.FixtureRequest) -> tuple[Dataset, Split, dict[str, Any]]:
    """Data with hidden labels, and how to train on them."""
    name = {"sampled": "node", "multi-label": "multi_label"}.get(request.param, request.param)
    dataset, split = request.getfixturevalue(f"{name}_data")
    training = SAMPLED if request.param == "sampled" else {"batch_size": 5} if name != "node" else {}
    return dataset, hide_labels(dataset, split, 0.4, seed=0), training


def with_other_hidden_labels(dataset: Dataset, split: Split) -> Dataset:
    labels = dataset.labels.copy()
    labels[split.unlabelled] = 1 - np.nan_to_num(labels[split.unlabelled]).clip(0, 1)
    assert not np.array_equal(labels, dataset.labels, equal_nan=True)
    return dataset.replaced(labels=labels)


def weights_of(result: Any) -> list[torch.Tensor]:
    return list(result.cohort.state_dict().values())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_hidden_labels_change_no_bit_of_a_training(strategy: str, few: tuple[Dataset, Split, dict[str, Any]], fit: Fit) -> None:
    dataset, split, training = few
    if training is SAMPLED and STRATEGIES[strategy].needs_all_edges:
        pytest.skip(f"{strategy} has no form for sampled steps")
    options = {**NEEDS.get(strategy, {}), **({"target": "naive"} if strategy == "kdcl" else {})}
    results = [
        fit((data, split), strategy=strategy, strategy_options=options, training=training, epochs=3)
        for data in (dataset, with_other_hidden_labels(dataset, split))
    ]
    assert results[0].history == results[1].history
    ours, theirs = ([replace(member, inference_ms=0.0) for member in result.members] for result in results)
    assert ours == theirs
    for ours, theirs in zip(*map(weights_of, results), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def watched(data: Data, fit: Fit, options: dict[str, Any], training: dict[str, Any]) -> list[Any]:
    steps: list[Any] = []

    class Watching(GraphMutualLearning):
        def loss_terms(self, step: Any) -> Any:
            steps.append(step)
            return super().loss_terms(step)

    fit(data, strategy=Watching, strategy_options={"exchange_warmup": (0, 0), **options}, training=training, epochs=2)
    return steps


@pytest.mark.parametrize("exchange_on", [None, "training", "labelled", "transductive"])
def test_what_steps_learn_from_and_what_they_exchange_on(
    exchange_on: str | None, few: tuple[Dataset, Split, dict[str, Any]], fit: Fit
) -> None:
    dataset, split, training = few
    steps = watched((dataset, split), fit, {} if exchange_on is None else {"exchange_on": exchange_on}, training)
    epoch = steps[: len(steps) // 2]
    labelled = np.concatenate([step.samples[step.labelled] for step in epoch])
    np.testing.assert_array_equal(np.sort(labelled), np.sort(split.train))
    exchanged = np.sort(np.concatenate([step.samples[step.exchange] for step in epoch]))
    expected = {"labelled": split.train, "transductive": np.arange(dataset.num_samples)}.get(exchange_on or "training", split.seen)
    if training is SAMPLED and exchange_on != "labelled":  # as many others as there are labelled ones
        assert set(exchanged) <= set(expected) and len(exchanged) == 2 * len(split.train)
    else:
        np.testing.assert_array_equal(exchanged, np.sort(expected))
    for step in epoch:
        np.testing.assert_array_equal(np.sort(step.training), np.flatnonzero(np.isin(step.samples, split.seen)))
        hidden = np.isin(step.samples, split.unlabelled)
        labels = step.labels[torch.as_tensor(hidden)]
        assert (labels == -1).all() if labels.ndim == 1 else labels.isnan().all()


def test_targets_on_graphs_without_labels_are_clean_and_of_the_step_itself(
    graph_data: Data, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recomputed from the weights at the step, in evaluation mode. No pass over all training graphs is made after an epoch."""
    dataset, split = graph_data
    split = hide_labels(dataset, split, 0.4, seed=0)
    evaluated: list[torch.Tensor] = []
    seen: list[torch.Tensor] = []
    expected: list[torch.Tensor] = []
    step_of = StepMaker.step

    def step(self: Any, active: Any, batch: Any, epoch: int) -> Any:
        made = step_of(self, active, batch, epoch)
        students = self.state.cohort.members
        assert all(student.training for student in students)
        with torch.no_grad():
            expected.append(torch.stack([student.eval().forward_batch(batch.batch).logits for student in students]))
        self.state.cohort.train()
        seen.append(made.targets)
        return made

    class Watching(Callback):
        def on_evaluation_batch(self, state: Any, member: int, samples: torch.Tensor, output: Any) -> None:
            if member == 0:
                evaluated.append(samples)

    monkeypatch.setattr(StepMaker, "step", step)
    training = {"batch_size": 4, "eval_every": 2}
    fit((dataset, split), strategy_options={"targets": "eval"}, training=training, epochs=2, callbacks=[Watching()])
    assert len(seen) == 4
    for targets, recomputed in zip(seen, expected, strict=True):
        torch.testing.assert_close(targets, recomputed, rtol=0, atol=0)
    assert len(torch.cat(evaluated)) == len(split.val) + dataset.num_samples, "one validation, and the assessment"


def test_a_moving_average_of_clean_logits_covers_hidden_samples(graph_data: Data, fit: Fit) -> None:
    dataset, split = graph_data
    steps = watched((dataset, hide_labels(dataset, split, 0.4, seed=0)), fit, {"targets": "ema"}, {"batch_size": 10})
    assert (steps[-1].targets[:, steps[-1].exchange].abs().sum(-1) > 0).all()


def test_graph_steps_divide_hidden_graphs_evenly(graph_data: Data, fit: Fit) -> None:
    dataset, split = graph_data
    few = hide_labels(dataset, split, 0.4, seed=0)
    steps = watched((dataset, few), fit, {}, {"batch_size": 4})
    assert [(len(step.samples[step.labelled]), len(step.samples)) for step in steps[:2]] == [(4, 10), (4, 10)]


def test_where_labels_are_hidden_features_of_all_training_samples_are_scaled_alike(graph_data: Data) -> None:
    dataset, split = graph_data
    few = hide_labels(dataset, split, 0.4, seed=0)
    np.testing.assert_array_equal(column_scales(dataset, few), column_scales(dataset, split))


def test_hidden_nodes_keep_a_split_by_graph_inductive(graph_data: Data) -> None:
    dataset, _ = graph_data
    nodes = replace(dataset, task="node", labels=np.repeat(dataset.labels, np.diff(dataset.node_offsets)))
    first, second, third = dataset.node_offsets[[20, 30, 40]]
    numbers = np.arange(third)
    split = Split(numbers[:first:2], numbers[first:second], numbers[second:], numbers[1:first:2])
    assert splits_whole_graphs(nodes, split)
    leaking = replace(split, test=numbers[second + 1 :], unlabelled=np.append(numbers[1:first:2], second))
    assert not splits_whole_graphs(nodes, leaking)


def test_an_interrupted_training_with_hidden_labels_goes_on_to_the_same_bits(graph_data: Data, fit: Fit, tmp_path: Path) -> None:
    dataset, split = graph_data
    data = (dataset, hide_labels(dataset, split, 0.4, seed=0))
    options: dict[str, Any] = {"strategy_options": {"targets": "eval"}, "training": {"batch_size": 4}}
    whole = fit(data, epochs=4, **options)
    snapshots = Snapshots(tmp_path / "kept.safetensors", 1)

    class Cutting(Callback):
        def on_epoch_begin(self, state: Any) -> None:
            if state.epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(data, epochs=4, snapshots=snapshots, callbacks=[Cutting()], **options)
    resumed = fit(data, epochs=4, snapshots=snapshots, **options)
    assert resumed.history == whole.history
    for ours, theirs in zip(weights_of(resumed), weights_of(whole), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


SHORT: dict[str, Any] = {"students": "gcn,sage", "student": {"hidden": 8}, "training": {"epochs": 2}}


def test_fit_hides_labels_of_a_protocol_or_of_a_split(graph_data: Data) -> None:
    dataset, split = graph_data
    by_protocol = public_fit(dataset, label_rate=0.25, folds=2, **SHORT)
    assert len(by_protocol.split.unlabelled) and by_protocol.config["label_rate"] == 0.25
    assert by_protocol.config["strategy_options"]["exchange_on"] == "training"
    given = public_fit(dataset, split=split, label_rate=3, **SHORT)
    assert np.bincount(dataset.labels[given.split.train]).tolist() == [3, 3]
    assert (given.dataset.labels[given.split.unlabelled] == -1).all()
    hidden = public_fit(dataset, split=given.split, **SHORT)
    assert hidden.config["strategy_options"]["exchange_on"] == "training"
    assert hidden.history == given.history


@pytest.mark.parametrize("task", ["node", "graph"])
def test_with_hidden_labels_gml_has_other_defaults(task: str, graph_data: Data, node_data: Data, pool: Dataset, fit: Fit) -> None:
    dataset, split = {"graph": graph_data, "node": node_data}[task]
    few = hide_labels(dataset, split, 0.4, seed=0)

    def options_of(**how: Any) -> dict[str, Any]:
        return dict(public_fit(dataset, **how, **SHORT).config["strategy_options"])

    for how, prior in (({"split": few}, 3), ({"split": split, "label_rate": 0.4}, 3), ({"split": split, "label_rate": 2}, 1)):
        options = options_of(**how)
        assert options["weight"] == 1
        assert (options["entropy_weight"], options["class_prior_weight"]) == ((-0.05, prior) if task == "node" else (0, None))
    options = options_of(split=split)
    assert options["class_prior_weight"] is None and options["weight"] == (1 if task == "node" else 0.3)
    again = public_fit(dataset, split=few, config=public_fit(dataset, split=few, strategy_options={"entropy_weight": 0.0}, **SHORT).config)
    assert again.config["strategy_options"]["entropy_weight"] == 0
    terms = fit((dataset, few)).history[-1]
    assert any(name.startswith("loss/class_prior/") for name in terms) == (task == "node")
    weights: list[float] = []

    class Watching(Callback):
        def on_epoch_end(self, state: Any) -> None:
            weights.append(state.strategy.options.weight)

    fit((dataset, few), epochs=1, callbacks=[Watching()])
    if task == "graph":
        with pytest.warns(UserWarning, match="are left out"):
            joined = public_fit(dataset, split=few, unlabelled=pool, **SHORT)
        assert joined.config["strategy_options"]["targets"] == "train" != options_of(split=few)["targets"]
        fit((joined.dataset, joined.split), epochs=1, callbacks=[Watching()])
    assert weights == ([1.0, 0.3] if task == "graph" else [1.0])


def test_all_labels_are_the_same_run_as_without_a_rate(graph_data: Data) -> None:
    dataset, split = graph_data
    plain, whole = (public_fit(dataset, split=split, **rate, **SHORT) for rate in ({}, {"label_rate": 1.0}))
    assert plain.config == whole.config and plain.history == whole.history


@pytest.mark.parametrize("rate", [0, 1.2, "few"])
def test_fit_refuses_what_is_no_label_rate(rate: Any, graph_data: Data) -> None:
    with pytest.raises(UsageError, match=r"label_rate.*give a share of the labels"):
        public_fit(graph_data[0], label_rate=rate, **SHORT)


def test_the_training_metric_is_that_of_labelled_samples(graph_data: Data, fit: Fit) -> None:
    dataset, split = graph_data
    few = hide_labels(dataset, split, 0.4, seed=0)
    result = fit((dataset, few), strategy="independent", training={"batch_size": 4})
    predicted = result.predict(member="gcn-0").argmax(1)
    assert result["gcn-0"].train == pytest.approx((predicted == dataset.labels)[few.train].mean())


@pytest.mark.parametrize(("ratio", "expected"), [(None, 12), (0.5, 4), (1.5, 12), (1.0, 8)])
def test_an_epoch_draws_so_many_unlabelled_graphs_for_each_labelled_one(
    ratio: float | None, expected: int, graph_data: Data, fit: Fit
) -> None:
    dataset, split = graph_data
    few = hide_labels(dataset, split, 0.4, seed=0)
    steps = watched((dataset, few), fit, {}, {"batch_size": 4, "unlabelled_ratio": ratio})
    drawn = [np.setdiff1d(np.concatenate([step.samples for step in epoch]), few.train) for epoch in (steps[:2], steps[2:])]
    assert [len(one) for one in drawn] == [expected] * 2, "none twice in an epoch"
    assert all(set(one) <= set(few.unlabelled) for one in drawn)
    assert expected == 12 or set(drawn[0]) != set(drawn[1])


def test_sampled_steps_draw_so_many_unlabelled_nodes(node_data: Data, fit: Fit) -> None:
    dataset, split = node_data
    few = hide_labels(dataset, split, 0.25, seed=0)
    steps = watched((dataset, few), fit, {}, {**SAMPLED, "unlabelled_ratio": 2})
    assert sum(len(step.samples) for step in steps) == 2 * 3 * len(few.train)


def test_more_unlabelled_samples_than_exist_are_refused(graph_data: Data, node_data: Data, fit: Fit) -> None:
    dataset, split = graph_data
    few = hide_labels(dataset, split, 0.4, seed=0)
    with pytest.raises(UsageError, match=r"unlabelled_ratio = 2 asks for 16 .*\(8 are labelled\), and there are 12. Give 1.5 or less"):
        fit((dataset, few), training={"unlabelled_ratio": 2})
    fit((dataset, few), training={"unlabelled_ratio": 1.5}, epochs=1)
    plain, asked = (
        fit((dataset, few), epochs=2, training=ratio, strategy_options={"exchange_on": "labelled"})
        for ratio in ({}, {"unlabelled_ratio": 9})
    )
    assert plain.history == asked.history  # none of them is drawn
    with pytest.raises(UsageError, match=r"unlabelled_ratio = 1 has no meaning on a node task whose steps see whole graphs"):
        fit((node_data[0], hide_labels(*node_data, 0.5, seed=0)), training={"unlabelled_ratio": 1})
    with pytest.raises(UsageError, match=r"unlabelled_ratio = 1 has no meaning on a node task"):
        fit(node_data, strategy="independent", training={"unlabelled_ratio": 1})
    with pytest.raises(UsageError, match=r"unlabelled_ratio = 1 asks for samples without labels, and there are none"):
        fit(node_data, training={**SAMPLED, "unlabelled_ratio": 1}, strategy_options={"exchange_on": "training"})


@pytest.fixture
def pool(graph_data: Data) -> Dataset:
    """30 graphs of the dataset with other features, and two of its own."""
    dataset, _ = graph_data
    nodes = np.arange(dataset.node_offsets[32])
    random = np.random.default_rng(9)
    features = dataset.features[nodes] + (nodes >= dataset.node_offsets[2])[:, None] * random.normal(size=(len(nodes), 4))
    edges = dataset.edges[:, dataset.edges[1] < len(nodes)]
    return Dataset.from_arrays(
        edges,
        features.astype(np.float32),
        np.zeros(32),
        node_offsets=dataset.node_offsets[:33],
        name="pool",
    )


@pytest.mark.parametrize("strategy", ["gml", "mean-teacher", "pseudo-label", "kd", "snapshot-distillation"])
def test_fit_takes_a_pool(strategy: str, graph_data: Data, pool: Dataset) -> None:
    dataset, split = graph_data
    seen: list[np.ndarray] = []

    class Watching(Callback):
        def on_step_end(self, state: Any) -> None:
            seen.append(state.step.samples.numpy())

    options = NEEDS.get(strategy, {})
    with pytest.warns(UserWarning, match="Of the pool 'pool', 2 of 32 graphs are in 'graphs', too, and are left out.* 30 are left"):
        result = public_fit(
            dataset, split=split, unlabelled=pool, strategy=strategy, strategy_options=options, callbacks=[Watching()], **SHORT
        )
    options = result.config["strategy_options"]
    assert result.config["unlabelled"] == "pool" and options["exchange_on"] == "training"
    assert strategy != "gml" or (options["targets"], options["weight"], options["mix"]) == ("train", 0.3, "logits")
    everything = np.concatenate(seen)
    assert set(everything) == {*split.train, *range(40, 70)}, "and no validation or test graph"
    assert np.isfinite(result["mean"].test)


@pytest.mark.parametrize("targets", ["best", "eval", "average"])
def test_there_is_no_pass_over_the_whole_pool(targets: str, graph_data: Data, pool: Dataset) -> None:
    dataset, split = graph_data
    seen: list[torch.Tensor] = []

    class Watching(Callback):
        def on_fit_end(self, state: Any) -> None:
            seen.append(state.clean.latest)

    options = {"targets": targets, "exchange_warmup": (0, 0)}
    with pytest.warns(UserWarning, match="are left out"):
        public_fit(dataset, split=split, unlabelled=pool, strategy_options=options, callbacks=[Watching()], **SHORT)
    assert seen[0][:, : dataset.num_samples].any() and not seen[0][:, dataset.num_samples :].any()


def test_a_pool_has_a_ratio_and_hidden_labels_beside_it(graph_data: Data, pool: Dataset) -> None:
    dataset, _ = graph_data
    with pytest.warns(UserWarning, match="are left out"):
        result = public_fit(
            dataset, unlabelled=pool, label_rate=0.5, folds=2, **{**SHORT, "training": {"epochs": 1, "unlabelled_ratio": 2}}
        )
    assert len(result.split.unlabelled) > 30 and set(range(40, 70)) < set(result.split.unlabelled)


def test_what_a_pool_changes_is_told_to_students_that_use_labels_alone(graph_data: Data, pool: Dataset) -> None:
    dataset, split = graph_data
    wide = pool.replaced(features=100 * pool.features)

    def told_and_trained(unlabelled: Dataset | None, **training: Any) -> tuple[list[str], Any]:
        short = {**SHORT, "training": {**SHORT["training"], **training}}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = public_fit(dataset, split=split, unlabelled=unlabelled, strategy="independent", **short)
        return [str(one.message) for one in caught if str(one.message).startswith("unlabelled")], result.history

    alone = "since students of independent learn from labelled samples alone."
    told, history = told_and_trained(wide)
    assert told == [f"unlabelled = pool has no effect, except on the scaling of numeric features, {alone}"]
    assert history != told_and_trained(None)[1]
    told, history = told_and_trained(wide, scale_inputs=False)
    assert told == [f"unlabelled = pool has no effect, {alone}"] and history == told_and_trained(None, scale_inputs=False)[1]


def test_a_pool_without_effect_is_named_and_pseudo_labels_need_samples(graph_data: Data, pool: Dataset) -> None:
    dataset, split = graph_data
    on_labels = {"exchange_on": "labelled"}
    with (
        pytest.warns(UserWarning, match=r"unlabelled = pool has no effect, except on the scaling of .*exchange_on = labelled"),
        pytest.warns(UserWarning, match=r"unlabelled_ratio = 2 has no effect, .*exchange_on = labelled"),
        pytest.warns(UserWarning, match="left out"),
    ):
        pooled = public_fit(
            dataset,
            split=split,
            unlabelled=pool,
            strategy_options=on_labels,
            **{**SHORT, "training": {**SHORT["training"], "unlabelled_ratio": 2}},
        )
    assert pooled.history == public_fit(dataset, split=split, strategy_options=on_labels, **SHORT).history
    with pytest.raises(UsageError, match="exchange_on = labelled leaves no sample for pseudo-labels"):
        public_fit(dataset, split=split, strategy="pseudo-label", strategy_options=on_labels, **SHORT)


def test_pseudo_labels_without_unlabelled_samples_are_told(graph_data: Data, node_data: Data, recwarn: pytest.WarningsRecorder) -> None:
    dataset, split = graph_data
    with pytest.warns(UserWarning, match="'pseudo-label' learns from samples without labels, and there are none"):
        alone = public_fit(dataset, split=split, strategy="pseudo-label", **SHORT)
    independent = public_fit(dataset, split=split, strategy="independent", **SHORT)
    assert (alone.predict(dataset) == independent.predict(dataset)).all()
    recwarn.clear()
    public_fit(dataset, split=split, strategy="pseudo-label", strategy_options={"exchange_on": "transductive"}, **SHORT)
    public_fit(dataset, split=split, strategy="pseudo-label", label_rate=0.5, **SHORT)
    public_fit(node_data[0], split=node_data[1], strategy="pseudo-label", **SHORT)
    assert not [one for one in recwarn if "without labels" in str(one.message)]


def test_a_ratio_is_checked_on_all_folds_before_the_first_is_trained(graph_data: Data) -> None:
    dataset = graph_data[0]
    config = parse_config({"label_rate": 0.5, "folds": 3, "protocol": "nested", "training": {"epochs": 1}, "students": ["gcn", "gin"]})
    shares = [len(trial.split.unlabelled) / len(trial.split.train) for trial in prepare(config, dataset, in_memory=True).trials]
    assert min(shares) < max(shares)
    between = config.model_copy(update={"training": TrainingOptions(epochs=1, unlabelled_ratio=max(shares))})
    with pytest.raises(UsageError, match="asks for") as refused:
        prepare(between, dataset, in_memory=True)
    proposed = float(str(refused.value).split("Give ")[1].split(" ")[0])
    assert prepare(
        config.model_copy(update={"training": TrainingOptions(epochs=1, unlabelled_ratio=proposed)}), dataset, in_memory=True
    ).trials


def test_averages_of_logits_on_a_pool_are_refused(graph_data: Data, pool: Dataset) -> None:
    message = "needs predictions on all graphs of the pool after each epoch.* Choose .*targets=eval, best or train, or leave out the pool"
    with pytest.raises(UsageError, match=message), pytest.warns(UserWarning, match="are left out"):
        public_fit(graph_data[0], split=graph_data[1], unlabelled=pool, strategy_options={"targets": "ema"}, **SHORT)


@pytest.mark.parametrize("average", ["none", "ema", "swa"])
@pytest.mark.parametrize("strategy", ["gml", "snapshot-distillation"])
def test_members_of_the_best_epoch_predict_what_was_kept_of_it(
    strategy: str, average: str, graph_data: Data, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, split = graph_data
    data = dataset, hide_labels(dataset, split, 0.4, seed=0)
    options = {"exchange_warmup": (1, 2), **({"targets": "best"} if strategy == "gml" else {})}
    training = {"eval_every": 2, "batch_size": 4, "average": average}
    settings = {"strategy": strategy, "strategy_options": options, "training": training, "epochs": 9, "dtype": torch.float64}
    students = [StudentOptions(architecture=name, hidden=8, norm="batch") for name in ("gcn", "gin")]
    kept = fit(data, students, **settings)
    monkeypatch.setattr("dgl_mutual.training.targets.passes_are_costly", lambda *_: True)
    made = fit(data, students, **settings)
    for one, other in zip(kept.history, made.history, strict=True):
        assert other == pytest.approx(one, rel=1e-9, abs=1e-9)
    assert len({member.best_epoch for member in kept.members}) > 1 or kept.members[0].best_epoch not in (0, 8)


@pytest.mark.filterwarnings("ignore:unlabelled = pool has no effect")
def test_students_of_independent_training_take_no_notice_of_a_pool(graph_data: Data, pool: Dataset) -> None:
    dataset, split = graph_data
    short = {**SHORT, "training": {"epochs": 2, "scale_inputs": False}}
    plain = public_fit(dataset, split=split, strategy="independent", **short)
    with pytest.warns(UserWarning, match="are left out"):
        pooled = public_fit(dataset, split=split, unlabelled=pool, strategy="independent", **short)
    assert plain.history == pooled.history
    for member in ("ensemble", "best_by_val"):
        np.testing.assert_allclose(pooled.predict(member=member), plain.predict(member=member), rtol=1e-9)  # and none for the pool


def test_a_ratio_without_unlabelled_samples_is_refused(fit: Fit, graph_data: Data) -> None:
    with pytest.raises(UsageError, match="unlabelled_ratio = 2 asks for samples without labels, and there are none"):
        fit(graph_data, strategy="gml", training={"unlabelled_ratio": 2.0})
    dataset, split = graph_data
    with pytest.warns(UserWarning, match="unlabelled_ratio = 2 has no effect, since students of independent learn from labelled"):
        public_fit(dataset, split=split, strategy="independent", students="gcn,gin", training={"epochs": 1, "unlabelled_ratio": 2})


def test_a_user_is_warned_of_options_of_terms_that_are_off(node_data: Data) -> None:
    dataset, split = node_data
    for options in ({"entropy_on": "all"}, {"entropy_on": "labelled", "entropy_weight": 0.0}):
        with pytest.warns(UserWarning, match=r"entropy_on = (all|labelled) has no effect, since .* are zero"):
            public_fit(dataset, split=split, label_rate=0.4, strategy_options=options, **SHORT)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        public_fit(dataset, split=split, label_rate=0.4, strategy_options={"entropy_on": "labelled"}, **SHORT)


def test_logged_values_are_means_over_the_steps_that_have_such_samples(graph_data: Data, fit: Fit) -> None:
    dataset, split = graph_data
    few = hide_labels(dataset, split, 0.8, seed=0)
    training = {"batch_size": 4, "unlabelled_ratio": 1 / 16}  # four steps, one unlabelled graph in all
    result = fit((dataset, few), strategy="pseudo-label", strategy_options={"threshold": 0.0}, training=training, epochs=2)
    assert [row["confident"] for row in result.history] == [1.0, 1.0]
    held_out = {"direction": "best", "held_out": 0.5, "exchange_on": "labelled", "gate": "confidence", "exchange_warmup": (0, 0)}
    history = fit((dataset, split), strategy_options=held_out, training={"batch_size": 2}, epochs=2).history
    assert all(0 <= row["gate"] <= 1 for row in history)
