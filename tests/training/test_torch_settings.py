"""Settings of torch that hold for the whole process: custom code does not change them for others, and results do not depend on them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dgl_mutual as dm
from dgl_mutual.utils import torch_settings
from dgl_mutual.utils.imports import import_object
from dgl_mutual.utils.process_state import alone
from dgl_mutual.utils.torch_settings import torch_defaults
from tests.small_graph import EDGES, FEATURES, LABELS, fit, graph, strategy

CHANGES = """
import torch
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.set_num_threads(torch.get_num_threads() + 1)
torch.set_float32_matmul_precision("medium")
torch.use_deterministic_algorithms(True)
"""


@pytest.fixture(autouse=True)
def _kept() -> Iterator[None]:
    dtype, gradients, threads, precision, deterministic = _settings()
    yield
    if torch_settings._BACKENDS:
        torch.backends.fp32_precision = "none"
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(gradients)
    torch.set_num_threads(threads)
    torch_settings._set_matmul_precision(precision)
    torch.use_deterministic_algorithms(deterministic)


def _settings() -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch_settings._matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    )


def change() -> None:
    exec(CHANGES)


class Changes(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        change()
        self.layer = nn.Linear(in_features, num_outputs).float().requires_grad_()

    def forward(self, graph: Any, feat: torch.Tensor) -> Any:
        return self.layer(feat)


class ChangingWeighting(dm.Weighting):
    def __init__(self, options: Any, config: Any) -> None:
        super().__init__(options, config)
        change()

    def scores(self, logits: torch.Tensor, confidence: torch.Tensor, samples: torch.Tensor) -> Any:
        return logits[None]


def _strategy_init(self: Any, options: Any, setting: Any) -> None:
    dm.Strategy.__init__(self, options, setting)
    change()


def test_importing_custom_code_changes_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "changes_settings.py").write_text(f"{CHANGES}\nvalue = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = _settings()
    assert import_object("changes_settings:value") == 1
    assert _settings() == before
    del sys.modules["changes_settings"]


@pytest.mark.parametrize(
    ("students", "options"),
    [
        ([Changes, "gcn"], {}),
        ("gcn,sage", {"strategy": strategy(__init__=_strategy_init)}),
        ("gcn,gcn,sage", {"strategy_options": {"weighting": ChangingWeighting, "exchange_warmup": [0, 0]}}),
    ],
)
def test_making_custom_code_changes_no_settings(students: Any, options: dict[str, Any]) -> None:
    seen: list[tuple[Any, ...]] = []

    class Looks(dm.Callback):
        def on_epoch_end(self, state: Any) -> None:
            seen.append(_settings())

    before = _settings()
    with torch_defaults():
        within = _settings()
    fit(students, callbacks=[Looks()], **options)
    assert set(seen) == {within} and _settings() == before


class ChangesLater(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, num_outputs)

    def forward(self, graph: Any, feat: torch.Tensor) -> Any:
        logits = self.layer(feat)
        change()
        return logits


def test_the_forward_of_a_student_changes_no_settings() -> None:
    before = _settings()
    assert fit([ChangesLater, "gcn"]).epochs == 2
    assert _settings() == before


def test_results_do_not_depend_on_the_default_type(tmp_path: Path) -> None:
    plain = fit()
    plain.save(tmp_path)
    expected = plain.predict()
    torch.set_default_dtype(torch.float64)
    again = fit()
    assert again.history == plain.history and torch.get_default_dtype() == torch.float64
    loaded = dm.load_student(tmp_path)
    for predicted in (again.predict(), plain.predict(), loaded.predict(graph())):
        np.testing.assert_array_equal(predicted, expected)


def _lower_backend() -> None:
    if not torch_settings._BACKENDS:
        pytest.skip("this torch has one precision for all")
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def _lower_all_backends() -> None:
    if not torch_settings._BACKENDS:
        pytest.skip("this torch has one precision for all")
    torch.backends.fp32_precision = "tf32"


@pytest.mark.parametrize("lower", [lambda: torch.set_float32_matmul_precision("medium"), _lower_backend, _lower_all_backends, int])
def test_matrix_products_have_full_precision_and_afterwards_that_of_the_user(lower: Callable[[], Any]) -> None:
    plain = fit().history
    lower()
    before = torch_settings._matmul_precision()
    with torch_defaults():
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch_settings._matmul_precision() == before
    assert fit().history == plain


def test_backends_still_inherit_the_precision_of_all_afterwards() -> None:
    _lower_all_backends()
    with torch_defaults():
        pass
    torch.backends.fp32_precision = "none"
    assert torch_settings._matmul_precision() == ("highest", "none", "none")


def _everything(folder: Path) -> list[Any]:
    """What a training, its predictions and a file of it give. Of a plain layer, torch itself would choose the type and the device."""
    result = fit([ChangesLater, "gcn"], "gml", strategy_options={"weighting": "consensus"})
    result.save(folder)
    loaded = dm.load_student(folder, trust=[ChangesLater])
    numbers = [result.predict(), result.embeddings(), result.peer_weights(), loaded.predict(dm.Dataset.from_arrays(EDGES, FEATURES))]
    return [result.history, *(array.tolist() for array in numbers)]


@pytest.mark.parametrize(
    "context",
    [lambda: torch.autocast("cpu", dtype=torch.bfloat16), lambda: torch.device("meta"), nullcontext],
    ids=["autocast", "device", "default device"],
)
def test_results_do_not_depend_on_autocast_or_the_default_device(context: Callable[[], Any], tmp_path: Path) -> None:
    expected = _everything(tmp_path)
    if context is nullcontext:
        torch.set_default_device("meta")
    try:
        with context():
            assert _everything(tmp_path) == expected
            rate = fit(label_rate=2)
    finally:
        torch.set_default_device(None)
    assert rate.history == fit(label_rate=2).history


@pytest.mark.parametrize(
    "context", [lambda: torch.autocast("cpu", dtype=torch.bfloat16), lambda: torch.device("meta")], ids=["autocast", "device"]
)
def test_a_trained_student_computes_in_its_own_type(context: Callable[[], Any], tmp_path: Path) -> None:
    result = fit("gcn,gat,gin,sage,gatv2,appnp,mlp", "gml", strategy_options={"weighting": "attention"})
    result.save(tmp_path)
    made = graph()
    students = [*result.cohort.members, *(dm.load_student(tmp_path / f"{name}.safetensors") for name in (*result.cohort.names, "ensemble"))]
    calls = [*students, *(student.embed for student in students[:-1])]  # an ensemble has no hidden states
    expected = [call(made, made.ndata["feat"]) for call in calls]
    with context():
        found = [call(made, made.ndata["feat"]) for call in calls]
    assert all(map(torch.equal, found, expected))


class Draws(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, num_outputs))

    def forward(self, graph: Any, feat: torch.Tensor) -> Any:
        return self.layers(feat)


def test_trainings_in_threads_are_those_of_one_after_another() -> None:
    torch.set_default_dtype(torch.float64)
    interval = sys.getswitchinterval()

    def trained(seed: int) -> Any:
        return fit([Draws, "gcn"], training={"epochs": 8}, seed=seed).history

    expected = [trained(seed) for seed in range(4)] * 3
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(trained, [0, 1, 2, 3] * 3)) == expected
    finally:
        sys.setswitchinterval(interval)
    assert torch.get_default_dtype() == torch.float64


def test_settings_are_those_from_before_the_first_of_several_threads() -> None:
    torch.set_default_dtype(torch.float64)
    first, second = torch_defaults(), torch_defaults()
    with ThreadPoolExecutor(1) as pool:
        first.__enter__()
        pool.submit(second.__enter__).result()
        first.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float32
        pool.submit(second.__exit__, None, None, None).result()
    assert torch.get_default_dtype() == torch.float64


def test_a_training_within_a_training_and_in_a_thread_of_it_ends() -> None:
    class Trains(dm.Callback):
        def on_epoch_end(self, state: Any) -> None:
            fit([Draws], "independent")
            with ThreadPoolExecutor(1) as pool:
                pool.submit(fit, [Draws], "independent").result(timeout=60)

    assert fit([Draws, "gcn"], callbacks=[Trains()]).history == fit([Draws, "gcn"]).history


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_trains_while_a_thread_has_its_turn() -> None:
    with alone():
        pool = ThreadPoolExecutor(1)
        forked = pool.submit(_forked_training)
        code = forked.result(timeout=60)
    assert code == 0


def _forked_training() -> int:
    child = os.fork()
    if not child:
        with alone():
            os._exit(0)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


@pytest.mark.parametrize("options", [{}, {"tuned": 2}])
def test_an_experiment_leaves_the_number_of_threads(options: dict[str, Any]) -> None:
    torch.set_num_threads(2)
    data = dm.Dataset.from_arrays(EDGES, FEATURES, LABELS)
    common = {"students": "gcn,sage", "seeds": 1, "training": {"epochs": 1}, "protocol": "holdout", "jobs": 1}
    dm.experiment(data, ["independent"], **common, **options)
    assert torch.get_num_threads() == 2
