from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import dgl_mutual
from dgl_mutual.data import load_dataset
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.pool import with_pool
from dgl_mutual.data.sources.catalog import lookup
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.configuration.config import RunConfig, parse_config
from dgl_mutual.experiments.configuration.layers import unflatten
from dgl_mutual.experiments.configuration.resolve import anchored, resolve, resolved_values, run_name
from dgl_mutual.experiments.configuration.splits import splits_of
from dgl_mutual.experiments.configuration.without_effect import warn_of_options_without_effect
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.recipes import read_recipe, recipes
from dgl_mutual.search_space import Categorical, Integer, Real


def test_resolution_leaves_only_options_open_that_are_off(ring: Dataset, pairs: Dataset) -> None:
    node, graph = resolved_values(resolve(parse_config({}), ring)), resolved_values(resolve(parse_config({}), pairs))
    off = {
        "targets",
        "metric",
        "task_weights",
        "label_rate",
        "unlabelled",
        "unlabelled_ratio",
        "noise",
        "distill",
        "grid",
        "checkpoint_every",
        "sampler",
        "fanout",
        "average_decay",
        "average_start",
    }
    assert {key for key, value in {**node, **node["training"]}.items() if value is None} == {"folds", "batch_size", *off}
    assert {key for key, value in {**graph, **graph["training"]}.items() if value is None} == off
    students, off = node["students"] + graph["students"], {"input_dropout", "activation", "feature_noise", "starts_after"}
    assert all({key for key, value in student.items() if value is None} == off for student in students)


def test_seeds_and_folds_follow_the_protocol(ring: Dataset, pairs: Dataset) -> None:
    node, graph = resolve(parse_config({"folds": 5}), ring), resolve(parse_config({"folds": 5}), pairs)
    assert (node.protocol, node.seeds, node.folds, len(splits_of(node, ring, 0))) == ("public", 10, None, 1)
    assert (graph.protocol, graph.seeds, graph.folds, len(splits_of(graph, pairs, 0))) == ("nested", 1, 5, 5)


def test_seeds_draw_different_folds_and_one_seed_the_same(pairs: Dataset) -> None:
    config = resolve(parse_config({}), pairs)
    first, again, other = (splits_of(config, pairs, seed)[0].test.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_resolved_configuration_means_itself(pairs: Dataset) -> None:
    config = resolve(parse_config({"students": "gcn,gat", "student": {"hidden": 16}, "strategy_options": {"weight": 2}}), pairs)
    read_back = resolve(parse_config(yaml.safe_load(yaml.safe_dump(resolved_values(config)))), pairs)
    assert resolved_values(read_back) == resolved_values(config)
    assert run_name(read_back) == run_name(config)


def test_name_depends_on_what_changes_results_alone(ring: Dataset) -> None:
    def name(**values: object) -> str:
        return run_name(resolve(parse_config({"dataset": "ring", **values}), ring))

    assert name() == name(seeds=10) == name(dataset="/somewhere/else/ring") == name(students=["gcn", "gat", "gin", "sage"], folds=3)
    assert name() == name(training={"checkpoint_every": 5})
    assert name() == name(seeds=9)
    assert len({name(), name(training={"epochs": 5}), name(student={"hidden": 8}), name(strategy_options={"weight": 2})}) == 4
    assert name().startswith("node-ring-gml-")
    assert name(dataset="/odd name/a b&c").startswith("node-a-b-c-gml-")


def test_a_chosen_metric_is_another_run_and_the_usual_one_is_not(ring: Dataset) -> None:
    def resolved(dataset: Dataset, **values: object) -> RunConfig:
        return resolve(parse_config({"dataset": "ring", **values}), dataset)

    usual, chosen = resolved(ring), resolved(ring, metric="macro-f1")
    assert usual.metric is None and chosen.metric == "macro-f1"
    assert run_name(usual) == run_name(resolved(ring, metric="accuracy")) != run_name(chosen)
    # However it was chosen: for the dataset, or for the run, which comes last.
    made = ring.with_metric("macro-f1")
    assert run_name(resolved(made)) == run_name(chosen) == run_name(resolve(chosen, made))
    # The usual metric in place of the dataset's own is told: otherwise the configuration would mean the dataset's own.
    back = resolved(made, metric="accuracy")
    assert back.metric == "accuracy" and run_name(back) == run_name(resolve(back, made)) not in (run_name(usual), run_name(chosen))
    with pytest.raises(UsageError, match=r"'ap' does not fit a target of 3 classes. Choose from: accuracy, balanced-accuracy, macro-f1"):
        resolved(ring, metric="ap")
    with pytest.raises(UsageError, match=r"Unknown metric 'f1'\. Choose from: accuracy, balanced-accuracy, macro-f1\."):
        resolved(ring, metric="f1")
    with pytest.raises(UsageError, match=r"grid cannot vary 'metric': it varies training.KEY, .*for example training.learning_rate"):
        prepare(parse_config({"grid": {"metric": ["accuracy", "macro-f1"]}}), ring)


def test_folds_are_part_of_the_name_since_other_numbers_of_them_are_other_splits(pairs: Dataset) -> None:
    names = {run_name(resolve(parse_config({"folds": folds}), pairs)) for folds in (5, 10, None)}
    assert len(names) == 2


def test_other_data_than_those_of_the_configuration_are_refused(ring: Dataset) -> None:
    config = resolve(parse_config({}), ring)
    with pytest.raises(DataError, match=f"{config.fingerprint}.* has"):
        resolve(config, replace(ring, labels=ring.labels[::-1].copy()))


def test_other_data_of_a_pool_are_told_as_such(pairs: Dataset) -> None:
    joined = [with_pool(pairs, replace(pairs, name="p", features=np.asarray(pairs.features) + shift))[0] for shift in (10.0, 20.0)]
    config = resolve(parse_config({"unlabelled": "p"}), joined[0])
    with pytest.raises(DataError, match=rf"{config.fingerprint}, but '.*' with the pool 'p' has .* files of one of the two differ"):
        resolve(config, joined[1])


def test_edge_features_that_decide_which_graphs_of_a_pool_are_new_are_told(pairs: Dataset) -> None:
    edges = np.zeros((pairs.num_edges, 1), np.float32)
    dataset, pool = (replace(pairs, edge_features=edges + shift, edge_feature_names=("e",)) for shift in (0, 1))
    features = np.asarray(pairs.features).copy()
    features[-1] += 1  # of its graphs all but the last differ from the dataset's in edge features alone
    pool = replace(pool, name="p", features=features)
    with_them, without = (with_pool(dataset, pool, edge_features=takes)[0] for takes in (True, False))
    config = resolve(parse_config({"unlabelled": "p"}), with_them)
    with pytest.raises(DataError, match="or only then or now do students take edge features, so that other graphs of the pool"):
        resolve(config, without)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "gmll"}, "Unknown strategy 'gmll'. Did you mean 'gml'?"),
        ({"strategy_options": {"wieght": 1}}, "'strategy_options.wieght'. Did you mean 'weight'?"),
        ({"strategy": "independent", "strategy_options": {"weight": 1}}, "'strategy_options.weight'"),
        ({"students": [{"architecture": "gat", "hidden": 10}]}, "width 10 cannot have 8 heads"),
    ],
)
def test_options_that_do_not_fit_the_data_are_refused(ring: Dataset, values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(parse_config(values), ring)
    assert message in str(caught.value)


def test_dataset_is_named_so_that_it_is_the_same_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "meta.yaml").touch()
    monkeypatch.chdir(tmp_path)
    names = {given: anchored(parse_config({"dataset": given})).dataset for given in ("cora", "mine", "tu/Whatever", "tu/mutag")}
    assert names == {"cora": "Cora", "mine": str(tmp_path / "mine"), "tu/Whatever": "tu/Whatever", "tu/mutag": "MUTAG"}


@pytest.mark.parametrize("key", ["dataset", "unlabelled"])
def test_a_dataset_below_a_folder_whose_name_is_not_utf_8_is_refused(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that names it could not be read again. The command that the message gives helps."""
    above = tmp_path / os.fsdecode(b"l'at\xe9 1")
    try:
        (above / "mine").mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    (above / "mine" / "meta.yaml").touch()
    monkeypatch.chdir(above)
    config = parse_config({"dataset": "ogbg-molhiv", key: "mine"})
    with pytest.raises(UsageError, match="is not a name in UTF-8") as caught:
        anchored(config)
    subprocess.run(["bash", "-c", str(caught.value).partition("for example with ")[2]], check=True)
    monkeypatch.chdir(tmp_path / "l-at-1")
    assert getattr(anchored(config), key) == str(tmp_path / "l-at-1" / "mine")


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1"])
def test_a_dataset_whose_name_is_read_in_another_encoding_than_utf_8_is_refused(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``LC_ALL=de_DE.ISO-8859-1``, where Python takes the bytes of a name in UTF-8 for other letters."""
    (tmp_path / "données").mkdir()
    (tmp_path / "données" / "meta.yaml").write_text(
        "dataset_name: x\nnode_data: [{file_name: nœuds.csv}]\nedge_data: [{file_name: e.csv}]\n"
    )
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    told = f"Python takes names of files for {encoding}, .* Set the environment variable PYTHONUTF8=1"
    with pytest.raises(UsageError, match=told):
        anchored(parse_config({"dataset": str(tmp_path / "données")}))
    with pytest.raises(DataError, match=told):
        load_dataset(str(tmp_path / "données"))


def test_a_batch_size_without_a_sampler_on_a_node_task_is_refused(ring: Dataset) -> None:
    with pytest.raises(UsageError, match=r"batch size of 64 has no effect.*--sampler neighbor"):
        resolve(parse_config({"training": {"batch_size": 64}}), ring)


def test_a_pool_that_is_not_loaded_is_refused(pairs: Dataset) -> None:
    with pytest.raises(UsageError, match=r"pool of unlabelled graphs 'ogbg-molhiv' is not loaded here.*Pass its graphs"):
        resolve(parse_config({"unlabelled": "ogbg-molhiv"}), pairs)


@pytest.mark.parametrize("protocol", ["public", "random"])
def test_an_official_split_with_unlabelled_samples_counts_as_hidden_labels(ring: Dataset, protocol: str) -> None:
    """As the same split does that `fit` is given; a protocol that draws other splits does not."""
    assert ring.official_split is not None
    whole = ring.official_split
    few = Split(whole.train[::2], whole.val, whole.test, whole.train[1::2])
    dataset = ring.replaced(official_splits=(few,))
    asked = parse_config({"protocol": protocol})
    hidden = resolved_values(resolve(asked, dataset))["strategy_options"]
    assert (hidden["exchange_on"] == "training") == (protocol == "public")
    assert resolved_values(resolve(asked, ring, few))["strategy_options"]["exchange_on"] == "training"
    assert resolved_values(resolve(asked, ring))["strategy_options"]["exchange_on"] == "all"
    # Samples of the training part whose label is unknown are unlabelled ones.
    labels = ring.labels.copy()
    labels[whole.train[1::2]] = -1
    unknown = ring.replaced(labels=labels)
    assert resolved_values(resolve(asked, unknown, whole)) == {**resolved_values(resolve(asked, unknown, few))}
    (split, *_) = splits_of(resolve(parse_config({"protocol": "public"}), unknown), unknown, 0)
    assert (split.train.tolist(), split.unlabelled.tolist()) == (few.train.tolist(), few.unlabelled.tolist())


@pytest.mark.parametrize("sizes", [(80, 60), (70, 70)])
def test_a_number_of_labels_a_class_changes_the_prior(sizes: tuple[int, int]) -> None:
    """The prior weighs less there. Sizes are known under random and in Planetoid's public split alone: labels are not counted."""
    labels = np.repeat([0, 1], sizes)
    dataset = dgl_mutual.Dataset.from_arrays(np.zeros((2, 0), dtype=np.int64), np.ones((140, 1)), labels)
    order = np.random.default_rng(0).permutation(140)
    split = Split(order[:40], order[40:90], order[90:])
    official = dataset.replaced(official_splits=(split,))

    def weight(data: Dataset, split: Split | None = None, **values: Any) -> Any:
        return resolved_values(resolve(parse_config({"label_rate": 2, **values}), data, split))["strategy_options"]["class_prior_weight"]

    assert [weight(dataset, protocol=protocol) for protocol in ("holdout", "random")] == [1, 3]
    assert [weight(dataset, protocol=protocol, label_rate=0.5) for protocol in ("holdout", "random")] == [3, 3]
    assert [weight(official, protocol="public"), weight(dataset, split), weight(official, protocol="random")] == [1, 1, 3]
    assert weight(official.replaced(name="Cora"), protocol="public") == 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"students": "gcn,sage", "student": {"heads": 4}}, ["student.heads = 4 has no effect, since gcn has no attention heads."]),
        ({"students": "gcn,gat", "student": {"heads": 4, "pooling": "sum"}}, []),
        ({"students": ["sage", {"architecture": "gcn", "options": {}}], "student": {"options": {}}}, []),
        ({"students": "gcn,gat", "student": {"hidden": 12, "heads": 4}}, []),
        ({"students": ["gcn", {"architecture": "gat", "hidden": 12, "heads": 4}]}, []),
        ({"students": "sgc", "student": {"heads": 4}}, ["student.heads = 4 has no effect, since sgc has no attention heads."]),
        (
            {"students": "gcn", "student": {"depth": 1, "hidden": 32}},
            ["student.hidden = 32 has no effect, since the one layer of gcn gives"],
        ),
        ({"strategy": "label-propagation"}, []),
        (
            {
                "strategy": "gml",
                "strategy_options": {"uniform_kl_weight": 3},
                "grid": {"strategy_options.weighting": ["uniform", "attention"]},
            },
            [],
        ),
        (
            {"students": ["gcn", {"architecture": "sage", "pooling": "mean"}]},
            ["pooling = mean of sage has no effect, since a node task has no states of graphs."],
        ),
        (
            {"students": "sgc", "student": {"norm": "batch"}},
            ["student.norm = batch has no effect, since the one layer of sgc gives the logits"],
        ),
        ({"students": "sgc", "student": {"norm": "none"}}, []),
        ({"students": "sgc,gin", "student": {"norm": "batch", "depth": 1}}, []),
        ({"students": "sgc", "student": {"norm": "batch"}, "grid": {"student.depth": [1, 2]}}, []),
        (
            {"strategy": "gml", "strategy_options": {"weighting": "uniform", "uniform_kl_weight": 3}},
            ["since weighting = uniform. Leave it out"],
        ),
        (
            {"strategy": "gml", "students": "gcn,sage", "strategy_options": {"mix": "logits"}},
            ["strategy_options.mix = logits has no effect, since each of two students has one peer"],
        ),
        ({"strategy": "gml", "students": "gcn,sage", "strategy_options": {"mix": "probabilities"}}, []),
        ({"strategy": "dml", "strategy_options": {"scale_by_temperature": False}}, ["since temperature = 1.0."]),
        ({"strategy": "dml", "strategy_options": {"scale_by_temperature": True}}, []),
        (
            {"strategy": "gml", "students": "gcn,sage", "strategy_options": {"gate": "agreement", "gate_threshold": 0.9}},
            ["gate = agreement has no effect, since each of two students has one peer"],
        ),
        (
            {"strategy": "gml", "students": "gcn,sage", "strategy_options": {"weighting": "attention", "uniform_kl_weight": 3}},
            [
                "strategy_options.weighting = attention has no effect, except on the ensemble, since each of two students has one peer",
                "strategy_options.uniform_kl_weight = 3.0 has no effect, since each of two students has one peer, of weight 1.",
            ],
        ),
        (
            {
                "strategy": "gml",
                "students": "gcn,sage,gin",
                "strategy_options": {"direction": "best", "weighting": "attention", "uniform_kl_weight": 3},
            },
            [
                f"strategy_options.{option} has no effect, except on the ensemble, since students learn from the best student alone"
                for option in ("weighting = attention", "uniform_kl_weight = 3.0")
            ],
        ),
        ({"strategy": "gml", "students": "gcn,sage", "strategy_options": {"weighting": "cross-fitted"}}, []),
        ({"strategy": "gml", "students": "gcn,sage", "strategy_options": {"weighting": "consensus"}}, []),
        ({"strategy": "gml", "students": "gcn,sage,gin", "strategy_options": {"weighting": "attention"}}, []),
        (
            {"strategy": "gml", "students": "gcn,sage", "strategy_options": {"weighting_options": {"power": 3.0}}},
            ["strategy_options.weighting_options = {'power': 3.0"],
        ),
        (
            {"label_rate": 0.5, "training": {"sampler": "neighbor", "unlabelled_ratio": 1}},
            ["training.unlabelled_ratio = 1 has no effect, since students of independent learn from labelled samples alone."],
        ),
        ({"label_rate": 0.5, "training": {"sampler": "neighbor", "unlabelled_ratio": 1}, "distill": {}}, []),
    ],
)
def test_options_without_effect_are_named(values: dict[str, Any], expected: list[str], ring: Dataset) -> None:
    asked = parse_config({"strategy": "independent", **values})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_options_without_effect(prepare(asked, ring, in_memory=True).asked_and_resolved)
    messages = [str(one.message) for one in caught]
    assert len(messages) == len(expected)
    assert all(part in message for part, message in zip(expected, messages, strict=True))


@pytest.mark.parametrize(
    ("given", "grid", "idle"),
    [
        ({"strategy_options.ema_decay": 0.5}, {"strategy_options.targets": ["eval", "ema"]}, []),
        ({"strategy_options.ema_decay": 0.5}, {"strategy_options.targets": ["eval", "best"]}, ["strategy_options.ema_decay = 0.5"]),
        ({}, {"strategy_options.targets": ["eval", "ema"], "strategy_options.ema_decay": [0.5, 0.8]}, []),
        (
            {},
            {"strategy_options.targets": ["eval", "best"], "strategy_options.ema_decay": [0.5, 0.8]},
            ["strategy_options.ema_decay = 0.5", "strategy_options.ema_decay = 0.8"],
        ),
        ({"strategy_options.gate_threshold": 0.5}, {"strategy_options.gate": ["none", "confidence"]}, []),
        ({"strategy_options.held_out": 0.3}, {"strategy_options.direction": ["all", "best"]}, []),
        ({"strategy_options.held_out": 0.3}, {"strategy_options.mix": ["logits", "probabilities"]}, ["strategy_options.held_out = 0.3"]),
        ({"training.average_decay": 0.9}, {"training.average": ["none", "ema"]}, []),
        ({"training.average_decay": 0.9}, {"training.average": ["none", "swa"]}, ["training.average_decay = 0.9"]),
        ({"training.average_start": 3}, {"training.average": ["none", "swa"]}, []),
        ({"training.own_views": True}, {"training.edge_drop": [0.0, 0.3]}, []),
        ({"training.own_views": True}, {"training.epochs": [2, 3]}, ["training.own_views = True"]),
        ({"training.fanout": [5, 5]}, {"training.sampler": [None, "neighbor"]}, []),
        ({"training.fanout": [5, 5]}, {"training.epochs": [2, 3]}, ["training.fanout = (5, 5)"]),
        ({"student.heads": 2, "students": "gcn,sgc"}, {"student.hidden": [8, 16]}, ["student.heads = 2"]),
    ],
)
def test_an_option_without_effect_at_any_point_is_named(
    given: dict[str, Any], grid: dict[str, Any], idle: list[str], ring: Dataset
) -> None:
    asked = parse_config({"strategy": "gml", "students": "gcn,gin,sage", "grid": grid}, unflatten(given))
    plan = prepare(asked, ring, in_memory=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_options_without_effect(plan.asked_and_resolved)
    assert [str(one.message).partition(" has no effect")[0] for one in caught] == idle


@pytest.mark.parametrize(
    ("values", "drawn", "expected"),
    [
        ({"student": {"pooling": "max"}}, {"student.hidden": Categorical((8, 16))}, ["student.pooling = max has no effect"]),
        ({"student": {"pooling": "max"}}, {"student.pooling": Categorical(("sum", "max"))}, []),
        (
            {"students": "gcn", "student": {"depth": 1, "norm": "layer"}},
            {"student.hidden": Categorical((8, 16))},
            ["student.norm = layer has no effect"],
        ),
        ({"students": "gcn", "student": {"depth": 1, "norm": "layer"}}, {"student.depth": Integer(1, 2)}, []),
        ({"strategy": "gml", "strategy_options": {"direction": "best", "mix": "logits"}}, {}, ["strategy_options.mix = logits"]),
        (
            {"strategy": "gml", "strategy_options": {"direction": "best", "mix": "logits"}},
            {"strategy_options.mix": Categorical(("logits", "probabilities"))},
            [],
        ),
        ({"strategy": "dml", "strategy_options": {"scale_by_temperature": False}}, {"strategy_options.temperature": Real(0.5, 5.0)}, []),
        ({"training": {"average_decay": 0.9}}, {"training.average": Categorical(("none", "ema", "swa"))}, []),
        ({"training": {"average_decay": 0.9}}, {"training.average": Categorical(("none", "swa"))}, ["training.average_decay = 0.9 has no"]),
    ],
)
def test_nothing_is_said_of_options_that_a_search_gives_an_effect(
    values: dict[str, Any], drawn: dict[str, Any], expected: list[str], ring: Dataset
) -> None:
    asked = parse_config({"strategy": "independent", **values})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_options_without_effect([(asked, resolve(asked, ring))], [drawn])
    assert len(caught) == len(expected)
    assert all(part in str(one.message) for part, one in zip(expected, caught, strict=True))


@pytest.mark.parametrize("name", sorted(recipes()))
def test_students_of_recipes_have_no_options_without_effect(name: str, ring: Dataset, pairs: Dataset) -> None:
    recipe = read_recipe(name)
    task = recipe.get("task") or lookup(recipe["dataset"]).tasks[0]
    students = {key: recipe[key] for key in ("students", "student") if key in recipe}
    asked = parse_config({"strategy": "independent", **students})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_options_without_effect([(asked, resolve(asked, ring if task == "node" else pairs))])


def test_a_complete_configuration_has_no_options_without_effect(ring: Dataset, pairs: Dataset) -> None:
    cases = (
        (ring, {"students": "gcn,sgc,mlp", "student": {"depth": 1}}),
        (pairs, {"students": "gcn,sgc,mlp", "student": {"depth": 1}}),
        (ring, {"students": "gcn,gat", "student": {"heads": 4}}),
        (ring, {"students": "sgc,gcn", "student": {"norm": "batch", "residual": True, "hidden": 32}}),
        (pairs, {"students": "bag,gcn", "student": {"pooling": "mean"}}),
        (pairs, {"students": "gcn,gin", "strategy": "gml"}),
        (ring, {"students": "gcn,gin", "strategy": "gml", "label_rate": 0.5}),
    )
    for dataset, values in cases:
        resolved = resolve(parse_config({"strategy": "independent", **values}), dataset)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_options_without_effect([(parse_config(resolved_values(resolved)), resolved)])


def test_nothing_is_said_of_a_ratio_where_a_custom_strategy_may_exchange(ring: Dataset) -> None:
    class Own(dgl_mutual.Strategy):
        def loss_terms(self, step: Any) -> Any:
            return {"supervised": self.supervised(step)}

    asked = parse_config({"strategy": Own, "label_rate": 0.5, "training": {"sampler": "neighbor", "unlabelled_ratio": 1}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_options_without_effect([(asked, resolve(asked, ring))])


def test_of_several_runs_the_reason_that_names_an_exception_is_told(ring: Dataset) -> None:
    methods = ({"weighting": "uniform"}, {"weighting": "attention", "weight": 0.0})
    asked = [parse_config({"strategy": "gml", "strategy_options": {"uniform_kl_weight": 50, **options}}) for options in methods]
    for several in (asked, asked[::-1]):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_of_options_without_effect([(one, resolve(one, ring)) for one in several])
        (told,) = [str(one.message) for one in caught if "uniform_kl_weight" in str(one.message)]
        assert "uniform_kl_weight = 50.0 has no effect, except on the ensemble, since" in told


def test_nothing_is_said_of_a_pool_on_which_an_mlp_is_distilled(pairs: Dataset) -> None:
    for distill, expected in (({}, 0), (None, 1)):
        asked = parse_config({"strategy": "independent", "distill": distill})
        resolved = resolve(asked, pairs).model_copy(update={"unlabelled": "others"})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_of_options_without_effect([(asked, resolved)])
        assert len(caught) == expected


def test_views_without_edges_have_no_effect_on_students_that_use_none(pairs: Dataset) -> None:
    for students, expected, strategy in (("bag,mlp", 1, "independent"), ("bag,gcn", 0, "independent"), ("mlp", 0, "kd")):
        asked = parse_config({"strategy": strategy, "students": students, "training": {"edge_drop": 0.3}})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_of_options_without_effect([(asked, resolve(asked, pairs))])
        assert [str(one.message) for one in caught] == [
            "training.edge_drop = 0.3 has no effect, since no member of the cohort uses edges."
        ] * expected


@pytest.mark.parametrize(("name", "known"), [("cora", "Cora"), ("tu/mutag", "MUTAG"), ("tu/Cora", "tu/Cora"), ("tu/Other", "tu/Other")])
def test_a_dataset_is_named_as_it_is_known(name: str, known: str) -> None:
    assert anchored(RunConfig(dataset=name)).dataset == known
