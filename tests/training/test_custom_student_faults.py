"""Mistakes in students that users bring: each is an error that names the student."""

from __future__ import annotations

import warnings
from typing import Any

import dgl
import numpy as np
import pytest
from torch import Tensor, nn

from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.nn.architectures import make_custom
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.checkpoints import load_student
from tests.training.custom_students import Linear, Net, custom


def bad(result: Any) -> type[nn.Module]:
    """A student whose forward returns what `result` makes of its logits."""

    class Bad(Linear):
        def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
            return result(super().forward(graph, feat))

    return Bad


def failing(logits: Tensor) -> Tensor:
    raise ValueError("not today")


class Bare(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()


class Frozen(Linear):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.requires_grad_(False)


class Lazy(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(num_outputs)


class Extra(Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None: ...


@pytest.mark.parametrize(
    ("student", "error", "message"),
    [
        (bad(lambda z: z[:, :2]), UsageError, r"'Bad-1' returns logits of the shape \(48, 2\). Expected \(48, 3\): \(nodes, outputs\)"),
        (bad(lambda z: z[:5]), UsageError, r"shape \(5, 3\)"),
        (bad(lambda z: z[None]), UsageError, r"shape \(1, 48, 3\)"),
        (bad(lambda z: (z, z)), UsageError, "'Bad-1' returns a tuple. Its forward must return the logits"),
        (bad(lambda z: None), UsageError, "returns None"),
        (bad(lambda z: z.detach().numpy()), UsageError, "returns an ndarray"),
        (bad(lambda z: z.long()), UsageError, "returns torch.int64 logits"),
        (bad(lambda z: z.detach()), UsageError, "'Bad-1' do not depend on its parameters"),
        (bad(lambda z: z * float("nan")), TrainingError, r"'Bad-1' returns logits that are not finite"),
        (bad(lambda z: z / 0), TrainingError, r"'Bad-1' returns logits that are not finite"),
        (bad(lambda z: z.long().float()), UsageError, "'Bad-1' do not depend on its parameters"),
        (bad(failing), UsageError, r"'Bad-1' raised an error: ValueError: not today \(.*test_custom_student_faults.py, line \d+\)"),
        (Bare, UsageError, "'Bare-1' has no parameters to train"),
        (Frozen, UsageError, "All parameters of the student 'Frozen-1' are frozen"),
        (Lazy, UsageError, "'Lazy-1' has lazy layers"),
        (Extra, UsageError, r"'Extra-1' keeps state that is not a tensor \(_extra_state\)"),
        (lambda in_features, num_outputs: 3, UsageError, "is not a torch.nn.Module but an int"),
        (lambda in_features, num_outputs: 1 / 0, UsageError, "cannot be made: ZeroDivisionError"),
        (lambda in_features: None, UsageError, r"cannot be called with \(in_features, num_outputs\)"),
        (dict, UsageError, r"is not a subclass of torch.nn.Module. Give a class or function"),
    ],
)
def test_a_wrong_student_is_named(student, error, message, node_data, fit):
    with pytest.raises(error, match=message):
        fit(node_data, ("gcn", custom(student)), epochs=1)


def test_probabilities_are_warned_of_once_and_logits_never(node_data, fit):
    with pytest.warns(UserWarning, match=r"'Bad-1' seems to return probabilities.* Return logits") as shown:
        fit(node_data, ("gcn", custom(bad(lambda z: z.softmax(-1)))), epochs=3)
    assert sum("seems to return probabilities" in str(one.message) for one in shown) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for logits in (lambda z: z.log_softmax(-1), lambda z: z.sigmoid(), lambda z: z - z.mean(-1, keepdim=True) + 1 / 3):
            fit(node_data, ("gcn", custom(bad(logits))), epochs=1)


@pytest.mark.parametrize("data", ["ndata", "edata"])
def test_data_that_a_graph_does_not_hold_are_told_with_their_place(data, node_data, fit):
    class Asks(Linear):
        def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
            return super().forward(graph, feat) + getattr(graph, data)["feat"].mean()

    message = (
        r"'Asks-1' asks the graph for 'feat', which it does not hold \(.*test_custom_student_faults.py, line \d+\)\. Node features are the "
        r"argument feat\. Edge features, .*: {'architecture': Asks, 'edge_features': True}\."
    )
    with pytest.raises(UsageError, match=message):
        fit(node_data, ("gcn", custom(Asks)), epochs=1)


def test_the_mend_for_nodes_without_in_edges_works(node_data, fit):
    class Convolution(nn.Module):
        def __init__(self, in_features, num_outputs, loops=False, **options):
            super().__init__()
            self.layer, self.loops = dgl.nn.GraphConv(in_features, num_outputs, **options), loops

        def forward(self, graph, feat):
            return self.layer(dgl.add_self_loop(graph) if self.loops else graph, feat)

    dataset, split = node_data
    isolated = dataset.replaced(edges=dataset.edges[:, (dataset.edges != 0).all(0)]), split
    with pytest.raises(UsageError, match=r"hold no self-loops.* graph = dgl.add_self_loop\(graph\), or .* allow_zero_in_degree=True"):
        fit(isolated, ("gcn", custom(Convolution)), epochs=1)
    for options in ({"loops": True}, {"allow_zero_in_degree": True}):
        fit(isolated, ("gcn", custom(Convolution, **options)), epochs=1)


def test_a_key_error_of_a_custom_student_stays_one(node_data, fit):
    with pytest.raises(UsageError, match=r"'Bad-1' raised an error: KeyError: 'feat' \("):
        fit(node_data, ("gcn", custom(bad(lambda z: {}["feat"]))), epochs=1)


def test_a_graph_student_must_pool(graph_data, fit):
    with pytest.raises(UsageError, match=r"'Linear-1' returns logits of the shape .* \(graphs, outputs\)\. Pool node states"):
        fit(graph_data, ("gcn", custom(Linear)), epochs=1)


def test_wrong_options_are_named(node_data, fit):
    with pytest.raises(
        UsageError, match=r"cannot be called with \(in_features, num_outputs, hiden=...\): .*'hiden'\. It takes \(in_f.*hidden"
    ):
        fit(node_data, ("gcn", custom(Net, hiden=3)), epochs=1)
    with pytest.raises(UsageError, match=r"The options hidden are for built-in students, and Net is not one.*options: \{hidden: \.\.\.\}"):
        fit(node_data, ("gcn", StudentOptions(architecture=Net, hidden=3)), epochs=1)
    with pytest.raises(UsageError, match=r"'options' are for students of your own, and gcn is a built-in one"):
        fit(node_data, ("sage", custom("gcn", hidden=3)), epochs=1)


def typed(
    in_features: int,
    num_outputs: int,
    hidden: int = 4,
    rate: float = 0.5,
    mode: str = "mean",
    norm: bool = False,
    depth: int | None = 2,
    size: int = None,  # type: ignore[assignment]  # noqa: RUF013  # as older code has it
    either: int | str = 1,
    free: Any = None,
) -> nn.Module:
    return Linear(in_features, num_outputs)


def not_known(in_features: int, num_outputs: int, hidden: int = 4, graph: Missing = None) -> nn.Module:  # type: ignore[name-defined]  # noqa: F821  # the mistake is the test
    return Linear(in_features, num_outputs)


@pytest.mark.parametrize(
    ("option", "value", "needed"),
    [
        ("hidden", "eight", r"'eight' .*an integer is needed, since its class or function has hidden: int = 4\."),
        ("hidden", True, "True .*an integer is needed"),
        ("hidden", np.bool_(True), "an integer"),
        ("hidden", 8.5, "an integer"),
        ("hidden", None, "an integer"),
        ("rate", "high", "a number"),
        ("rate", False, "a number"),
        ("mode", 3, "a string"),
        ("norm", 1, "true or false"),
        ("depth", "two", "an integer"),
    ],
)
def test_a_value_that_an_option_of_a_student_does_not_take_is_told(option, value, needed):
    with pytest.raises(UsageError, match=rf"^The option '{option}' = .*{needed}"):
        make_custom(custom(typed, **{option: value}))


def test_other_values_are_not_checked():
    values = {"hidden": np.int64(3), "rate": 1, "norm": np.bool_(True), "depth": None, "size": None, "either": "x", "free": {"a": [1]}}
    assert make_custom(custom(typed, **values)) is typed
    assert make_custom(custom(typed, rate=np.float32(0.5), depth=3, either=True)) is typed
    assert make_custom(custom(not_known, hidden="eight")) is not_known


def test_a_file_that_names_a_module_does_not_have_it_imported(node_data, fit, tmp_path, monkeypatch):
    (tmp_path / "executed_on_import.py").write_text("raise SystemExit('it was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    fit(node_data, ("gcn", custom(Net)), epochs=1).save(tmp_path / "saved")
    file = tmp_path / "saved" / "Net-1.json"
    file.write_text(file.read_text().replace(f"{Net.__module__}:Net", "executed_on_import:Net"))
    for path in (file, tmp_path / "saved"):
        with pytest.raises(UsageError, match="is of the class 'executed_on_import:Net'"):
            load_student(path)
    with pytest.raises(UsageError, match="raised SystemExit: it was imported"):
        load_student(file, trust="executed_on_import")
