from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dgl
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import dgl_mutual
from dgl_mutual.coordinator import Weighting
from dgl_mutual.errors import DataError, StoreError, UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.checkpoints import load_student
from dgl_mutual.training.checkpoints.models import MLPShape, Preprocessing
from dgl_mutual.training.options import DistillOptions, TrainingOptions
from tests import small_graph
from tests.closed import close
from tests.training.conftest import Fit
from tests.training.small_data import Data, as_dgl


@pytest.fixture
def saved(fit: Fit, node_data: Data, tmp_path: Path) -> Path:
    fit(node_data, epochs=2).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("weighting", ["attention", "classwise", "transductive", "confidence", "consensus", "cross-fitted", "uniform"])
@pytest.mark.parametrize("task", ["node", "graph"])
def test_a_round_trip_predicts_to_the_bit(task: str, weighting: str, fit: Fit, node_data: Data, graph_data: Data, tmp_path: Path) -> None:
    if (task, weighting) == ("graph", "transductive"):
        return  # refused in training
    data = node_data if task == "node" else graph_data
    result = fit(data, ("gcn", "gat", "gin", "sage"), strategy_options={"weighting": weighting})
    result.save(tmp_path)
    for member in (*result.cohort.names, "ensemble"):
        model = load_student(tmp_path / f"{member}.safetensors")
        assert (model.member, model.target, model.feature_names) == (member, data[0].target, data[0].feature_names)
        np.testing.assert_array_equal(model.predict(data[0]), result.predict(member=member))
    np.testing.assert_array_equal(load_student(tmp_path).predict(data[0]), result.predict())
    np.testing.assert_array_equal(load_student(str(tmp_path / "gcn-0")).predict(data[0]), result.predict(member="gcn-0"))


def test_the_best_student_is_read_back_by_its_role(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    result = fit(node_data, ("gcn", "gat", "sage"), epochs=3)
    result.save(tmp_path)
    model = load_student(tmp_path, "best_by_val")
    assert model.member == result.best_student
    np.testing.assert_array_equal(model.predict(node_data[0]), result.predict(member="best_by_val"))
    with pytest.raises(UsageError, match="Choose from: best_by_val, ensemble, gat-1, gcn-0, sage-2"):
        load_student(tmp_path, "gcn-7")


@pytest.mark.parametrize("place", ["", "target", "preprocessing", "student", "coordinator"])
def test_entries_that_are_not_known_are_refused(place: str, saved: Path) -> None:
    """One of a later version may change what the weights mean."""
    path = saved / ("ensemble.json" if place == "coordinator" else "gcn-0.json")
    values = json.loads(path.read_text())
    (values[place] if place else values)["later"] = 1
    path.write_text(json.dumps(values))
    message = rf"{path.name} has '{place}{'.' if place else ''}later', which this version of dgl_mutual does not know: a later version has"
    with pytest.raises(DataError, match=message):
        load_student(path.with_suffix(".safetensors"))


@pytest.mark.parametrize("name", ["gcn-7", "../outside/gcn-0", "ensemble", 3, ["gcn-0"], None])
def test_a_wrong_note_of_the_best_student_is_refused(name: object, saved: Path) -> None:
    edit(saved / "ensemble.json", best_by_val=name, members=["gcn-0", "../outside/gcn-0", "sage-1"])
    with pytest.raises(DataError, match=r"ensemble\.json is not a description that dgl_mutual wrote .*best_by_val"):
        load_student(saved, "best_by_val")


def test_the_best_student_is_not_read_from_another_cohort(saved: Path, fit: Fit, node_data: Data, tmp_path: Path) -> None:
    best = load_student(saved, "best_by_val").member
    fit(node_data, epochs=3).save(tmp_path / "other")
    for file in (tmp_path / "other").glob(f"{best}.*"):
        shutil.copy(file, saved / file.name)
    with pytest.raises(DataError, match=rf"ensemble.json and {best}.json in .* different cohorts"):
        load_student(saved, "best_by_val")


def test_a_consensus_over_labels_comes_back(fit: Fit, multi_label_data: Data, tmp_path: Path) -> None:
    result = fit(multi_label_data, ("gcn", "gin", "sage"), strategy_options={"weighting": "consensus"})
    assert result.cohort.coordinator.agreed.shape == (3, 3, 2)
    result.save(tmp_path)
    np.testing.assert_array_equal(load_student(tmp_path).predict(multi_label_data[0]), result.predict())


def test_options_and_precision_come_back(fit: Fit, multi_label_data: Data, tmp_path: Path) -> None:
    student = StudentOptions(architecture="gat", hidden=6, heads=3, depth=1, norm="none", readout="last", pooling="max")
    result = fit(multi_label_data, (student, student), epochs=2, dtype=torch.float64)
    result.save(tmp_path)
    for member in ("gat-1", "ensemble"):
        model = load_student(tmp_path / f"{member}.safetensors")
        assert model.cohort.members[-1].options == result.cohort.members[1].options
        probabilities = model.predict(multi_label_data[0])
        assert probabilities.dtype == np.float64
        np.testing.assert_array_equal(probabilities, result.predict(member=member))


def test_members_that_a_strategy_adds_are_saved_and_have_no_say(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    result = fit(node_data, strategy="kd", epochs=2)
    result.save(tmp_path)
    np.testing.assert_array_equal(load_student(tmp_path / "teacher.safetensors").predict(node_data[0]), result.predict(member="teacher"))
    assert load_student(tmp_path).cohort.names == ("gcn-0", "sage-1")
    np.testing.assert_array_equal(load_student(tmp_path).predict(node_data[0]), result.predict())


def test_saving_replaces_and_leaves_nothing_else(saved: Path, fit: Fit, node_data: Data) -> None:
    expected = sorted(f"{name}.{kind}" for name in ("ensemble", "gcn-0", "sage-1") for kind in ("json", "safetensors"))
    assert sorted(path.name for path in saved.iterdir()) == expected
    again = fit(node_data, epochs=2, seed=5)
    again.save(saved)
    assert sorted(path.name for path in saved.iterdir()) == expected
    np.testing.assert_array_equal(load_student(saved).predict(node_data[0]), again.predict())


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_have_the_mode_of_the_umask(umask: int, fit: Fit, node_data: Data, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        fit(node_data, epochs=1).save(tmp_path)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o666 & ~umask}


def test_another_cohort_replaces_only_the_saved_one(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    fit(node_data, ("gcn", "sage"), strategy="kd", epochs=1).save(tmp_path)
    assert (tmp_path / "teacher.json").is_file()
    (tmp_path / "notes.json").write_text('{"format": 1}')
    (tmp_path / "notes.safetensors").write_text("mine")
    for end in ("json", "safetensors"):
        shutil.copy(tmp_path / f"gcn-0.{end}", tmp_path / f"best-so-far.{end}")
    fit(node_data, ("sage",), strategy="independent", epochs=1).save(tmp_path)
    assert {file.stem for file in tmp_path.iterdir()} == {"sage-0", "ensemble", "notes", "best-so-far"}
    load_student(tmp_path / "best-so-far.safetensors")


def test_a_cohort_that_lists_other_files_does_not_remove_them(saved: Path, fit: Fit, node_data: Data) -> None:
    elsewhere = Path(shutil.copytree(saved, saved / "below"))
    edit(saved / "ensemble.json", members=["below/gcn-0", "../gcn-0", 7], added="gcn-0")
    fit(node_data, ("gat",), strategy="independent", epochs=1).save(saved)
    load_student(elsewhere)
    load_student(saved / "gcn-0.safetensors")


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_full_disk_is_named_and_leaves_the_saved_cohort(
    saved: Path, fit: Fit, node_data: Data, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    before, tries = {file: file.read_bytes() for file in saved.iterdir()}, []

    write = Path.write_bytes

    def full(file: Path, data: bytes) -> int:
        tries.append(file)
        if len(tries) > written:
            write(file, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match=r"No space left on device\. Make room on the disk"):
        fit(node_data, epochs=1, seed=5).save(saved)
    assert {file: file.read_bytes() for file in saved.iterdir()} == before


@pytest.mark.parametrize("name", ["gcn-0.json", "gcn-0.safetensors"])
def test_files_without_permission_are_not_called_damaged(saved: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    close(monkeypatch, saved / name)
    with pytest.raises(DataError, match=rf"{name}' cannot be read: Permission denied\. .* chmod u\+r"):
        load_student(saved, "gcn-0")


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64])
@pytest.mark.parametrize("member", ["gcn-0", "ensemble"])
def test_weights_of_another_type_are_refused(saved: Path, node_data: Data, member: str, dtype: torch.dtype) -> None:
    file = saved / f"{member}.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}
    name = next(name for name, value in weights.items() if value.is_floating_point())
    save_file({**weights, name: weights[name].to(dtype)}, file)
    with pytest.raises(DataError, match=r"cannot be used .(.* has the type torch|numbers of the types)"):
        load_student(saved, member)


@pytest.mark.parametrize("name", ["gcn-0.json", "gcn-0.safetensors", "class"])
def test_a_message_does_not_quote_megabytes_of_a_file(saved: Path, name: str) -> None:
    file = saved / name
    if name.endswith("safetensors"):
        save_file(load_file(file) | {f"extra.{number}": torch.zeros(1) for number in range(10_000)}, file)
    else:
        edit(
            saved / "gcn-0.json",
            **({"student": {"x" * 100_000: 1}} if "json" in name else {"student": {"architecture": f"a:{'x' * 100_000}"}}),
        )
    with pytest.raises((DataError, UsageError)) as caught:
        load_student(saved, "gcn-0")
    assert len(str(caught.value)) < 2000


def test_a_file_that_is_not_a_description_is_neither_read_to_its_end_nor_removed(saved: Path, fit: Fit, node_data: Data) -> None:
    os.mkfifo(saved / "pipe.json")
    (saved / "zero.json").symlink_to("/dev/zero")
    (saved / "strange.json").write_text('{"format": 1, "versions": 1}')
    for name in ("pipe", "zero", "strange"):
        (saved / f"{name}.safetensors").write_text("mine")
    fit(node_data, ("sage",), strategy="independent", epochs=1).save(saved)
    assert {file.stem for file in saved.iterdir()} == {"sage-0", "ensemble", "pipe", "zero", "strange"}


def test_a_different_schema_is_shown_beside_that_of_the_training_data(saved: Path, node_data: Data) -> None:
    dataset, _ = node_data
    model = load_student(saved / "gcn-0.safetensors")
    renamed = replace(dataset, feature_names=(*dataset.feature_names[:5], "weight"))
    with pytest.raises(DataError, match=r"expects 6 feature columns and nodes has 6\. Missing: feature 5; not expected: weight\."):
        model.predict(renamed)
    wider = replace(
        dataset,
        features=np.hstack([dataset.features, dataset.features[:, :1]]),
        feature_names=(*dataset.feature_names, "extra"),
        feature_kinds=(),
    )
    with pytest.raises(
        DataError, match=r"expects 6 feature columns and nodes has 7\. Missing: none; not expected: extra\..*extra\. Encode"
    ):
        model.predict(wider)
    turned = replace(dataset, features=dataset.features[:, ::-1], feature_names=dataset.feature_names[::-1])
    np.testing.assert_array_equal(model.predict(turned), model.predict(dataset))
    many = replace(dataset, feature_names=tuple(f"y{column}" for column in range(6)))
    with pytest.raises(
        DataError, match=r"Missing: feature 0, .*; not expected: y0.* as many columns, under .*feature_names=student\.feature_names"
    ):
        model.predict(many)
    same = dgl_mutual.Dataset.from_arrays(dataset.edges, dataset.features, feature_names=model.feature_names)
    np.testing.assert_array_equal(model.predict(same), model.predict(dataset))


#: A target with two classes of one name.
TWICE = {"kind": "single-label", "names": ["a", "a", "b"], "metric": "accuracy"}


def edit(path: Path, **changed: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "gcn-0.json").unlink(), "no checkpoint description.*gcn-0.json"),
        (lambda folder: (folder / "gcn-0.json").write_text('{"format": 1,'), "cannot be read as JSON.*damaged"),
        (lambda folder: (folder / "gcn-0.json").write_bytes(b"\xff\xfe\x00"), "cannot be read as JSON"),
        (lambda folder: (folder / "gcn-0.json").write_text("[1]"), "not written by this version"),
        (lambda folder: (folder / "gcn-0.json").write_text('{"task": "node", "task": "graph"}'), "the key 'task' occurs twice"),
        (lambda folder: edit(folder / "gcn-0.json", format=99), "no 'format: 1'"),
        (lambda folder: edit(folder / "gcn-0.json", target={}), "not a description that dgl_mutual wrote"),
        (lambda folder: edit(folder / "gcn-0.json", feature_names=None), "not a description that dgl_mutual wrote"),
        (lambda folder: edit(folder / "gcn-0.json", target=TWICE), r"not a description.*target: expected each name once.*'a', 'a'"),
        (
            lambda folder: edit(folder / "gcn-0.json", feature_kinds=["number"]),
            r"feature_kinds: expected 6 kinds, one for each name, not 1",
        ),
        (lambda folder: edit(folder / "gcn-0.json", feature_kinds=[]), r"feature_kinds: expected 6 kinds, one for each name, not 0"),
        *(
            (lambda folder, key=key: edit(folder / "gcn-0.json", **{key: None}), f"{key}: .*found 'None'")
            for key in ("feature_kinds", "cohort")
        ),
        (lambda folder: edit(folder / "gcn-0.json", edge_feature_kinds=["number"]), "edge_feature_kinds: expected 0 kinds"),
        (lambda folder: edit(folder / "gcn-0.json", edge_feature_names=["bond"]), "edge_feature_kinds: expected 1 kinds"),
        (lambda folder: edit(folder / "gcn-0.json", student={"architecture": "cnn"}), "not a description.*'cnn'"),
        (lambda folder: edit(folder / "gcn-0.json", student={"architecture": "gcn", "hidden": 5}), "weights.*cannot be used"),
        (lambda folder: edit(folder / "gcn-0.json", feature_names=["x0"], feature_kinds=["number"]), "weights.*cannot be used"),
        (lambda folder: (folder / "gcn-0.safetensors").unlink(), "no weights.*Copy both"),
        (lambda folder: (folder / "gcn-0.safetensors").write_bytes(b""), "weights.*damaged"),
        (lambda folder: (folder / "gcn-0.safetensors").write_bytes(b"\x08" + bytes(7) + b"notjson!"), "weights.*damaged"),
        (lambda folder: shutil.copy(folder / "sage-1.safetensors", folder / "gcn-0.safetensors"), "weights.*belong to another"),
    ],
)
def test_a_damaged_student_is_one_clear_error(damage: Callable[[Path], object], message: str, saved: Path) -> None:
    damage(saved)
    with pytest.raises(DataError, match=f"(?s){message}") as caught:
        load_student(saved / "gcn-0.safetensors")
    assert "gcn-0" in str(caught.value)
    load_student(saved / "sage-1.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: edit(folder / "ensemble.json", members=["gcn-0", "gat-7"]), "no checkpoint description.*gat-7"),
        (lambda folder: edit(folder / "ensemble.json", members=["gcn-0", "gcn-0"]), "not a description.*a member twice"),
        (lambda folder: edit(folder / "ensemble.json", coordinator={"weighting": "vote"}), "not a description"),
        (
            lambda folder: edit(folder / "ensemble.json", coordinator={"weighting": "vote", "num_students": 2, "num_outputs": 3}),
            "not a description.*'vote'",
        ),
        (lambda folder: edit(folder / "ensemble.json", members=["gcn-0", "../outside/gcn-0"]), "gcn-0' is not the name of a member"),
        (lambda folder: edit(folder / "ensemble.json", members=["gcn-0", "/gcn-0"]), "'/gcn-0' is not the name of a member"),
        (lambda folder: edit(folder / "ensemble.json", members=["gcn-0", ".."]), "'..' is not the name of a member"),
        (lambda folder: instead(folder / "sage-1.json", os.mkfifo), "not a file but"),
        (lambda folder: instead(folder / "sage-1.safetensors", os.mkfifo), "not a file but"),
        (lambda folder: instead(folder / "sage-1.safetensors", lambda path: path.symlink_to("/dev/zero")), "not a file but"),
        (lambda folder: (folder / "ensemble.safetensors").write_bytes(b"x"), "weights.*damaged"),
        (lambda folder: (folder / "sage-1.safetensors").unlink(), "no weights.*sage-1"),
        (lambda folder: edit(folder / "sage-1.json", student=["gcn"]), "not a description"),
    ],
)
def test_a_damaged_ensemble_is_one_clear_error(damage: Callable[[Path], object], message: str, saved: Path) -> None:
    damage(saved)
    with pytest.raises(DataError, match=message):
        load_student(saved)
    load_student(saved / "gcn-0.safetensors")


def test_files_of_two_cohorts_are_not_mixed(saved: Path, fit: Fit, node_data: Data, tmp_path: Path) -> None:
    """As a process leaves them that is killed while it puts one cohort in the place of another."""
    other = tmp_path / "other"
    fit(node_data, epochs=3).save(other)
    for file in sorted(other.iterdir()):
        mixed = shutil.copytree(saved, tmp_path / f"mixed-{file.name}")
        shutil.copy(file, mixed / file.name)
        with pytest.raises(DataError, match=rf"(?s){file.stem}.*were saved with different cohorts.*save the cohort again"):
            load_student(mixed, file.stem)
        with pytest.raises(DataError, match="different cohorts"):
            load_student(mixed)
    both = shutil.copytree(saved, tmp_path / "both")
    for file in other.glob("gcn-0.*"):
        shutil.copy(file, both / file.name)
    load_student(both, "gcn-0")
    with pytest.raises(DataError, match=r"ensemble\.json and gcn-0\.json in .* different cohorts"):
        load_student(both)


def test_weights_that_other_tools_wrote_name_no_cohort(saved: Path, node_data: Data) -> None:
    before = load_student(saved).predict(node_data[0])
    for file in saved.glob("*.safetensors"):
        save_file(load_file(file), file)
    model = load_student(saved)
    assert model.member == "ensemble"
    np.testing.assert_array_equal(model.predict(node_data[0]), before)


def test_the_same_cohort_gives_the_same_bytes(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    result = fit(node_data, epochs=2)
    for name in ("one", "two"):
        result.save(tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def instead(file: Path, make: Callable[[Path], object]) -> None:
    file.unlink()
    make(file)


def test_a_path_is_refused_as_a_member(saved: Path) -> None:
    below = shutil.copytree(saved, saved / "below")
    for member in ("../gcn-0", "/gcn-0", ".."):
        with pytest.raises(UsageError, match="does not take a path"):
            load_student(below, member)


def test_a_member_of_a_missing_folder(saved: Path) -> None:
    with pytest.raises(DataError, match=r"no checkpoint description .*elsewhere\.json"):
        load_student(saved.with_name("elsewhere"), "gcn-0")


def test_saving_does_not_write_through_links(saved: Path, fit: Fit, node_data: Data) -> None:
    """Where a file is written first, before it is renamed, nobody can know."""
    mine = saved / "elsewhere" / "mine"
    mine.parent.mkdir()
    mine.write_text("mine")
    for name in (".gcn-0.tmp", ".gcn-0.safetensors.tmp", "gcn-0.json"):
        (saved / name).unlink(missing_ok=True)
        (saved / name).symlink_to(mine)
    fit(node_data, epochs=2).save(saved)
    assert mine.read_text() == "mine"


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ensemble\.json"):
        load_student(tmp_path)
    with pytest.raises(DataError, match=r"gcn-9\.json"):
        load_student(tmp_path / "gcn-9.safetensors")


@pytest.mark.parametrize("task", ["node", "graph"])
def test_a_loaded_student_is_a_module_that_takes_a_dgl_graph(
    task: str, fit: Fit, node_data: Data, graph_data: Data, tmp_path: Path
) -> None:
    dataset = (node_data if task == "node" else graph_data)[0]
    result = fit((node_data if task == "node" else graph_data), ("gcn", "gat"))
    result.save(tmp_path)
    graph = as_dgl(dataset)
    feat = graph.ndata["feat"]
    for member in ("gcn-0", "gat-1", "ensemble"):
        model = load_student(tmp_path, member)
        assert isinstance(model, torch.nn.Module)
        assert not model.training
        logits = model(graph, feat)
        probabilities = result.cohort.distribution.probabilities(logits).detach().numpy()
        np.testing.assert_allclose(probabilities, result.predict(member=member), rtol=1e-5)
        assert logits.requires_grad
    embedding = load_student(tmp_path, "gcn-0").embed(graph, feat)
    assert (embedding.ndim, len(embedding)) == (2, dataset.num_samples)
    with pytest.raises(UsageError, match=r"no hidden states.*gcn-0, gat-1"):
        load_student(tmp_path).embed(graph, feat)


@pytest.mark.parametrize("task", ["node", "graph"])
def test_a_loaded_student_predicts_graphs_whose_columns_have_no_names(
    task: str, fit: Fit, node_data: Data, graph_data: Data, tmp_path: Path
) -> None:
    dataset, split = node_data if task == "node" else graph_data
    named = dataset.replaced(feature_names=tuple(f"column {index}" for index in range(dataset.num_features)))
    result = fit((named, split), ("gcn", "sage"))
    result.save(tmp_path)
    whole = as_dgl(dataset)
    expected = result.predict(member="gcn-0")
    for member in (result, load_student(tmp_path, "gcn-0")):
        chosen = {"member": "gcn-0"} if member is result else {}
        for data in (whole, dgl.unbatch(whole)):
            np.testing.assert_allclose(member.predict(data, **chosen), expected, atol=1e-6)


class Flat(Weighting):
    """Looks at nothing."""

    name = "flat"

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return logits.new_zeros(len(logits), len(logits), 1, 1)


def test_an_ensemble_with_a_custom_weighting_is_loaded_only_with_trust(node_data: Data, fit: Fit, tmp_path: Path) -> None:
    result = fit(node_data, strategy_options={"weighting": Flat})
    result.save(tmp_path)
    with pytest.raises(UsageError, match=rf"has a weighting of the class '{__name__}:Flat'. Loading it imports.*trust=True"):
        load_student(tmp_path)
    loaded = load_student(tmp_path, trust=__name__)
    np.testing.assert_array_equal(loaded.predict(node_data[0]), result.predict())


def test_loaded_weights_are_aligned_as_those_of_torch(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    """Sums of the same numbers at other addresses may differ in the last bit."""
    odd = StudentOptions(hidden=5, norm="batch", residual=True)
    result = fit(node_data, [odd, odd], epochs=1)
    result.save(tmp_path)
    read = load_file(tmp_path / "gcn-0.safetensors")
    assert any(value.data_ptr() % 64 for value in read.values())
    model = load_student(tmp_path / "gcn-0")
    assert not any(value.data_ptr() % 64 for value in model.state_dict().values())


def test_a_description_takes_all_values_that_options_take() -> None:
    for kind, options in ((MLPShape, DistillOptions), (Preprocessing, DistillOptions), (Preprocessing, TrainingOptions)):
        for name, field in kind.model_fields.items():
            assert field.metadata == options.model_fields[name].metadata, name


MODULE = """
import dgl_mutual
import torch

class Net(torch.nn.Module):
    def __init__(self, in_features, num_outputs):
        super().__init__()
        self.layer = torch.nn.Linear(in_features, num_outputs)

    def forward(self, graph, feat):
        return self.layer(feat)

class Flat(dgl_mutual.Weighting):
    def scores(self, logits, confidence, samples):
        return torch.zeros_like(logits)[None]
"""


def test_code_that_has_changed_since_it_was_saved_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "saved_code.py"
    file.write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    options = {"weighting": "saved_code:Flat", "exchange_warmup": [0, 0]}
    small_graph.fit("gcn,sage,saved_code:Net", strategy_options=options).save(tmp_path / "saved")
    trust = ["saved_code"]

    def told(member: str) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_student(tmp_path / "saved", member, trust=trust)
        return [str(one.message) for one in caught if "has changed" in str(one.message)]

    assert told("Net-2") == told("ensemble") == []
    file.write_text(MODULE.replace("self.layer(feat)", "-self.layer(feat)").replace("logits)[None]", "logits)[None] + 1"))
    sys.modules.pop("saved_code")
    (message,) = told("Net-2")
    assert "The code of the student 'Net-2' (saved_code:Net) has changed since it was saved" in message
    assert len(told("ensemble")) == 2 and "the weighting 'saved_code:Flat'" in told("ensemble")[0]
    for described in (tmp_path / "saved").glob("*.json"):  # as without its source
        described.write_text(re.sub(r'\n  "code": .*', "", described.read_text()))
    assert told("Net-2") == told("ensemble") == []
    sys.modules.pop("saved_code")


def install(folder: Path, package: str, version: str = "0.1", *, factor: float = 1.0, provides: bool = True) -> Path:
    """A package as pip would install it, with a student and a weighting of the name `own`. Returns the folder of Python's path."""
    module = package.replace("-", "_")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(MODULE.replace("self.layer(feat)", f"{factor} * self.layer(feat)"))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    points = (f"[dgl_mutual.{group}]\nown = {module}:{kind}\n" for group, kind in (("students", "Net"), ("weightings", "Flat")))
    (info / "entry_points.txt").write_text("".join(points) if provides else "")
    return folder


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports is not there for the next one, nor are the folders that it is found in."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("first_ext", "other_ext"):
        sys.modules.pop(name, None)


def test_a_saved_name_is_that_of_the_package_that_provided_it(tmp_path: Path, forgetful: None) -> None:
    first = str(install(tmp_path / "first", "first-ext"))
    other = str(install(tmp_path / "other", "other-ext", factor=-1.0))
    folder = tmp_path / "saved"
    sys.path.insert(0, first)
    result = small_graph.fit("gcn,own,sage", strategy_options={"weighting": "own", "exchange_warmup": [0, 0]})
    result.save(folder)
    origin = {"package": "first-ext 0.1", "path": "first_ext:Net"}
    assert json.loads((folder / "own-1.json").read_text())["origin"] == origin
    assert json.loads((folder / "ensemble.json").read_text())["origin"] == {**origin, "path": "first_ext:Flat"}
    assert "origin" not in json.loads((folder / "gcn-0.json").read_text())

    sys.path.insert(0, other)  # both have that name
    for member in ("own-1", "ensemble"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = load_student(folder, member)
        np.testing.assert_array_equal(loaded.predict(small_graph.graph()), result.predict(member=member))

    sys.path.remove(first)
    for member, kind in (("own-1", "student"), ("ensemble", "weighting")):
        with pytest.raises(
            UsageError, match=rf"^The {kind} 'own' is of the package first-ext 0\.1, which is not installed: pip install first"
        ):
            load_student(folder, member)
    sys.path.remove(other)
    with pytest.raises(UsageError, match=r"^The student 'own' is of the package first-ext 0\.1, which is not installed"):
        load_student(folder, "own-1")
    load_student(folder, "gcn-0")

    sys.path.insert(0, str(install(tmp_path / "later", "first-ext", "0.2", provides=False)))
    with pytest.raises(UsageError, match=r"first-ext 0\.1, and first-ext 0\.2, which is installed, does not provide it.*first-ext==0\.1"):
        load_student(folder, "own-1")


def test_students_of_any_name_can_be_loaded_again(tmp_path: Path, forgetful: None) -> None:
    site = install(tmp_path / "first", "first-ext")
    (points,) = site.glob("*/entry_points.txt")
    points.write_text("[dgl_mutual.students]\n" + "".join(f"{name} = first_ext:Net\n" for name in ("-net", ".net", "--", "my net")))
    sys.path.insert(0, str(site))
    result = small_graph.fit("-net,.net,--,my net")
    assert list(result.cohort.names) == ["net-0", "net-1", "student-2", "my-net-3"]
    result.save(tmp_path / "saved")
    for member in (*result.cohort.names, "ensemble"):
        np.testing.assert_array_equal(load_student(tmp_path / "saved", member).predict(small_graph.graph()), result.predict(member=member))


def test_what_another_version_of_a_package_cannot_load_is_told_with_both(tmp_path: Path, forgetful: None) -> None:
    folder = tmp_path / "saved"
    sys.path.insert(0, str(install(tmp_path / "first", "first-ext")))
    small_graph.fit("gcn,own").save(folder)
    sys.path[0] = str(install(tmp_path / "later", "first-ext", "0.2"))
    later = tmp_path / "later" / "first_ext.py"
    later.write_text(later.read_text().replace("self.layer", "self.other"))
    sys.modules.pop("first_ext")
    with pytest.raises(DataError, match=r"another student\. It was saved with the package first-ext 0\.1, and first-ext 0\.2 is installed"):
        load_student(folder, "own-1")


def test_the_package_of_a_file_gives_an_import_path_no_trust(tmp_path: Path, forgetful: None) -> None:
    folder = tmp_path / "saved"
    sys.path.insert(0, str(install(tmp_path / "first", "first-ext")))
    small_graph.fit("gcn,own").save(folder)
    edit(folder / "own-1.json", student={"architecture": "other_ext:Net"})
    with pytest.raises(UsageError, match="executes it"):
        load_student(folder, "own-1")
    edit(folder / "own-1.json", student={"architecture": "own"}, origin={"package": "first-ext 0.1", "path": "other_ext:Net"})
    assert "first_ext" in repr(load_student(folder, "own-1"))  # the path in the file is not followed
