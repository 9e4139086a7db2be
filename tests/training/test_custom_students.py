"""Students that users bring, in a cohort with built-in ones."""

from __future__ import annotations

import random
from typing import Any

import dgl
import numpy as np
import pytest
import torch
from torch import Tensor

import dgl_mutual
from dgl_mutual.errors import DglMutualError, UsageError
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.blocks import BlockBatch, LayerwiseBatch
from dgl_mutual.nn.custom import CustomStudent
from dgl_mutual.nn.dgl_graphs import graph_of
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training.callbacks import EpochReports
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.snapshots import Snapshots
from tests.training.custom_students import BlockNet, Both, GraphNet, Linear, Net, custom, linear

LOOKING_AT_STATES = ("alignahead", "oad", "okddip")
#: Where the students are.
HERE = Net.__module__


class Drawing(Linear):
    """Draws in evaluation, too."""

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        return super().forward(graph, feat + torch.rand(()))


class AnyDice(Linear):
    """Draws from NumPy and Python, as augmentations of graphs often do."""

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        return super().forward(graph, feat * float(np.random.rand() + random.random()))


class Embedding(Net):
    def embed(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        return torch.relu(self.first(graph, feat))


def figures(result: Any, member: str) -> tuple[Any, ...]:
    return tuple(getattr(result[member], name) for name in ("train", "val", "test", "best_epoch"))


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_custom_student_trains_under_every_strategy_that_needs_logits_alone(strategy, task, node_data, graph_data, fit):
    data, student = (node_data, custom(Net, hidden=4)) if task == "node" else (graph_data, custom(GraphNet))
    if strategy in LOOKING_AT_STATES:
        with pytest.raises(UsageError, match=rf"Strategy '{strategy}' reads hidden states, and the custom student '{student.label}'"):
            fit(data, ("gcn", student), strategy=strategy, epochs=1)
        return
    result = fit(data, ("gcn", student, "sage"), strategy=strategy, epochs=2)
    name = f"{student.label}-1"
    assert result[name].architecture == f"{HERE}:{student.label}"
    assert result[name].parameters == sum(weight.numel() for weight in result.cohort.members[1].module.parameters())
    probabilities = result.predict(member=name)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    moved = [key for key in result.history[0] if key.startswith("loss/supervised/")]
    assert len(moved) == (1 if strategy in ("bgnn", "kd") else 3)  # theirs train one after another


def test_a_custom_student_learns(node_data, fit):
    result = fit(node_data, ("gcn", custom(Net)), epochs=60, strategy="independent", training={"learning_rate": 0.05})
    assert result["Net-1"].train > 0.8


def test_results_depend_neither_on_other_draws_nor_on_peers(node_data, fit):
    def run(peer: Any, seed: int) -> Any:
        torch.manual_seed(seed)
        return fit(node_data, (peer, custom(Net)), strategy="independent", epochs=5)

    one, two, three = run("gcn", 1), run("gcn", 2), run(custom(Net, hidden=3), 3)
    assert [row["train/Net-1"] for row in one.history] == [row["train/Net-1"] for row in two.history]
    assert figures(one, "Net-1") == figures(two, "Net-1") == figures(three, "Net-1")
    assert torch.equal(one.cohort.members[1].module.first.weight, three.cohort.members[1].module.first.weight)
    alone = fit(node_data, ("gcn", "sage"), strategy="independent", epochs=5)
    assert figures(one, "gcn-0") == figures(alone, "gcn-0")


def test_dropout_draws_from_the_students_stream_and_evaluation_repeats(node_data):
    batch = Collator(node_data[0]).all()
    torch.manual_seed(0)
    student = CustomStudent(custom(Net), "node", 6, 3)
    one, two, three = (student.forward_batch(batch, torch.Generator().manual_seed(seed)).logits for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, three)
    generator = torch.Generator().manual_seed(1)
    first, second = (student.forward_batch(batch, generator).logits for _ in range(2))
    assert torch.equal(first, one) and not torch.equal(first, second)
    drawing = CustomStudent(custom(Drawing), "node", 6, 3).eval()
    assert torch.equal(drawing.forward_batch(batch).logits, drawing.forward_batch(batch).logits)


def test_numpy_and_python_numbers_come_from_the_students_stream_too(node_data, fit):
    def run(peer: Any, seed: int) -> Any:
        np.random.seed(seed)
        random.seed(seed)
        before = np.random.get_state()[1].tolist(), random.getstate()
        result = fit(node_data, (peer, custom(AnyDice)), strategy="independent", epochs=5)
        assert (np.random.get_state()[1].tolist(), random.getstate()) == before
        return result

    one, two = run("gcn", 1), run(custom(AnyDice), 2)
    assert [row["loss/supervised/AnyDice-1"] for row in one.history] == [row["loss/supervised/AnyDice-1"] for row in two.history]
    losses = [row["loss/supervised/AnyDice-1"] for row in two.history]
    assert losses != [row["loss/supervised/AnyDice-0"] for row in two.history]
    np.testing.assert_array_equal(one.predict(member="AnyDice-1"), one.predict(member="AnyDice-1"))


def test_embed_is_the_students_own_where_it_has_one(node_data, fit):
    result = fit(node_data, ("gcn", custom(Embedding), custom(Net)), strategy="independent", epochs=2)
    found, data = result.embeddings(member="Embedding-1"), node_data[0]
    assert found.shape == (data.num_nodes, 8) and (found >= 0).all()
    student = result.cohort.members[1].eval()
    graph = dgl.graph(tuple(torch.as_tensor(data.edges)), num_nodes=data.num_nodes)
    feat = torch.as_tensor(np.asarray(data.features))
    np.testing.assert_allclose(student.embed(graph, feat).detach(), found, atol=1e-6)
    np.testing.assert_allclose(student.embed(graph, feat).detach(), student.module.embed(graph, feat).detach(), atol=1e-6)
    assert result.embeddings(member="Net-2").shape == (data.num_nodes, data.target.num_outputs)  # it has none: logits


def test_a_wrong_embed_is_named(node_data, fit, monkeypatch):
    result = fit(node_data, ("gcn", custom(Embedding)), strategy="independent", epochs=1)
    monkeypatch.setattr(Embedding, "embed", lambda self, graph, feat: feat.sum())
    with pytest.raises(UsageError, match=r"embed of the student 'Embedding-1' returns the shape \(\)\. Expected a tensor \(\d+, width\)"):
        result.embeddings(member="Embedding-1")


def test_a_function_makes_a_student_and_so_does_a_local_class(node_data, fit, tmp_path):
    class Local(Linear):
        pass

    result = fit(node_data, (custom(linear), custom(Local), "gcn"), epochs=2)
    assert [member.member for member in result.members[:3]] == ["linear-0", "Local-1", "gcn-2"]
    with pytest.raises(UsageError, match=r"Local cannot be found again later .* defined inside a function"):
        result.save(tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_custom_student_on_blocks_gives_what_it_gives_on_the_graph(node_data):
    whole = Collator(node_data[0]).all()
    student = CustomStudent(custom(BlockNet), "node", 6, 3).eval()
    seeds = torch.tensor([5, 40, 2])
    blocks = dgl.dataloading.MultiLayerFullNeighborSampler(3).sample_blocks(graph_of(whole), seeds)[2]
    expected = student.forward_batch(whole).logits[seeds]
    torch.testing.assert_close(student.forward_batch(BlockBatch.of(blocks, whole, whole.device)).logits, expected)
    torch.testing.assert_close(student.forward_batch(LayerwiseBatch(whole, seeds)).logits, expected)


def test_sampled_training_gives_blocks_to_a_student_that_takes_them(node_data, fit):
    sampled = {"training": {"sampler": "neighbor", "fanout": (3, 3), "batch_size": 8}}
    result = fit(node_data, ("gcn", custom(BlockNet)), epochs=3, **sampled)
    assert 0 <= result["BlockNet-1"].test <= 1
    assert fit(node_data, ("gcn", custom(BlockNet)), epochs=3)["BlockNet-1"].parameters == result["BlockNet-1"].parameters
    with pytest.raises(UsageError, match=r"custom_students:Net does not declare that it takes sampled neighbourhoods\..*num_blocks"):
        fit(node_data, ("gcn", custom(Net)), epochs=1, **sampled)
    with pytest.raises(UsageError, match="A layer of appnp needs more than the in-neighbours"):
        fit(node_data, ("gcn", "appnp"), epochs=1, **sampled)
    assert fit(node_data, ("gcn", "gatv2"), epochs=2, **sampled)["gatv2-1"].parameters > 0


def test_a_training_with_a_custom_student_goes_on_to_the_same_bits(node_data, fit, tmp_path):
    def run(**more: Any) -> Any:
        return fit(node_data, ("gcn", custom(Net)), epochs=6, **more)

    class Cut(Exception):
        pass

    def cut(report: Any) -> None:
        if report.epoch == 3:
            raise Cut

    whole = run()
    with pytest.raises(Cut):
        run(snapshots=Snapshots(tmp_path / "s", 1), callbacks=[EpochReports(cut)])
    again = run(snapshots=Snapshots(tmp_path / "s", 1))
    assert again.history == whole.history and figures(again, "Net-1") == figures(whole, "Net-1")


def test_scaled_inputs_are_folded_into_a_custom_student(node_data, fit):
    dataset, split = node_data
    large = dgl_mutual.Dataset(**{**vars(dataset), "features": dataset.features * np.float32(1000)})
    result = fit((large, split), ("gcn", custom(Net)), epochs=3, training={"scale_inputs": True})
    student = result.cohort.members[1]
    assert (student.input_scale != 1).all()
    logits = student.eval().forward_batch(Collator(large).all()).logits
    np.testing.assert_allclose(torch.softmax(logits.detach(), 1).numpy(), result.predict(member="Net-1"), rtol=1e-5)


def test_save_and_load_only_with_trust(node_data, fit, tmp_path):
    result = fit(node_data, ("gcn", custom(Net, hidden=5)), epochs=3)
    result.save(tmp_path)
    path = tmp_path / "Net-1.safetensors"
    for refused in (path, tmp_path):
        with pytest.raises(
            UsageError, match=rf"is of the class '{HERE}:Net'. Loading it imports that module.*trust=\['{HERE}:Net'\].*trust=True"
        ):
            load_student(refused)
    for trust, named in (("another.package", "another.package"), ([f"{HERE}:Other", Linear], f"{HERE}:Other, {HERE}:Linear")):
        told = rf"class '{HERE}:Net', which trust does not name \({named}\)\. Loading it .* name it, too: trust=\[.*, '{HERE}:Net'\]"
        with pytest.raises(UsageError, match=told) as caught:
            load_student(path, trust=trust)
        assert type(caught.value) is UsageError
    for trust in (3, None, [3]):
        with pytest.raises(UsageError, match="is neither True or False nor names of packages, modules or classes"):
            load_student(path, trust=trust)
    state = torch.random.get_rng_state()
    for trust in (True, HERE, [f"{HERE}:Net"], HERE.split(".")[0], Net, [Net]):
        loaded = load_student(path, trust=trust)
        np.testing.assert_array_equal(loaded.predict(node_data[0]), result.predict(member="Net-1"))
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(load_student(tmp_path, trust=True).predict(node_data[0]), result.predict())
    assert load_student(tmp_path / "gcn-0.safetensors").member == "gcn-0"
    graph = dgl.rand_graph(7, 20)
    assert loaded(graph, torch.rand(7, 6)).shape == (7, 3)


def test_a_missing_class_is_named(node_data, fit, tmp_path):
    fit(node_data, ("gcn", custom(Net)), epochs=1).save(tmp_path)
    file = tmp_path / "Net-1.json"
    file.write_text(file.read_text().replace(f"{HERE}:Net", f"{HERE}:Gone"))
    with pytest.raises(UsageError, match="has no 'Gone'"):
        load_student(tmp_path / "Net-1.safetensors", trust=True)
    file.write_text(file.read_text().replace(f"{HERE}:Gone", f"{HERE}:Linear"))
    with pytest.raises(DglMutualError, match="belong to another student"):
        load_student(tmp_path / "Net-1.safetensors", trust=True)


def test_tied_weights_are_saved(node_data, fit, tmp_path):
    class Tied(Linear):
        def __init__(self, in_features: int, num_outputs: int) -> None:
            super().__init__(in_features, num_outputs)
            self.again = self.weight

    Tied.__qualname__ = "Tied"
    globals()["Tied"] = Tied
    result = fit(node_data, ("gcn", custom(Tied)), epochs=1)
    result.save(tmp_path)
    np.testing.assert_array_equal(
        load_student(tmp_path / "Tied-1.safetensors", trust=True).predict(node_data[0]), result.predict(member="Tied-1")
    )


def test_a_custom_teacher(node_data, fit):
    result = fit(node_data, ("gcn", "sage"), strategy="kd", strategy_options={"teacher": {"architecture": f"{HERE}:Net"}}, epochs=2)
    assert result["teacher"].architecture == f"{HERE}:Net"


@pytest.mark.parametrize("task", ["node", "graph"])
def test_a_student_that_asks_for_its_task_is_told_also_when_it_is_loaded(task, data_of, fit, tmp_path):
    data = data_of(task)
    result = fit(data, ("gcn", custom(Both)), epochs=2)
    student = result.cohort.members[1]
    assert student.module.task == task and student.options.options == {}
    result.save(tmp_path)
    loaded = load_student(tmp_path, "Both-1", trust=HERE)
    np.testing.assert_array_equal(loaded.predict(data[0]), result.predict(member="Both-1"))


def test_a_student_is_told_its_task_by_a_parameter_of_that_name_alone(node_data, fit):
    told: list[Any] = []

    def anything(in_features: int, num_outputs: int, **options: Any) -> Linear:
        told.append(options)
        return Linear(in_features, num_outputs)

    def chosen(in_features: int, num_outputs: int, task: Any = None) -> Linear:
        told.append(task)
        return Linear(in_features, num_outputs)

    def first(task: int, num_outputs: int) -> Linear:
        return Linear(task, num_outputs)

    fit(node_data, (custom(anything), custom(first)), epochs=1)
    assert told and all(one == {} for one in told)
    told.clear()
    fit(node_data, (custom(chosen), custom(chosen, task="mine")), epochs=1)
    assert set(told) == {"node", "mine"}


@pytest.mark.parametrize(("default", "expected"), [("classification", "classification"), (0, 0), ("graph", "node"), (None, "node")])
def test_a_parameter_task_with_a_default_of_another_meaning_keeps_it(default, expected, node_data, fit):
    told: list[Any] = []

    def mine(in_features: int, num_outputs: int, task: Any = default) -> Linear:
        told.append(task)
        return Linear(in_features, num_outputs)

    fit(node_data, ("gcn", custom(mine)), epochs=1)
    assert set(told) == {expected}
