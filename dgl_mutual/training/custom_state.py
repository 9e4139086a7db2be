"""Checks of the state of custom modules: its shapes are constant in training, and predictions depend on nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dgl_mutual.errors import DglMutualError, UsageError
from dgl_mutual.nn.batch import Batch, GraphBatch
from dgl_mutual.nn.blocks import BlockBatch, LayerwiseBatch
from dgl_mutual.nn.csr import take_rows
from dgl_mutual.nn.dgl_graphs import dense
from dgl_mutual.nn.module import CohortMember, EdgeInput
from dgl_mutual.nn.streams import custom_streams
from dgl_mutual.nn.student import make_student
from dgl_mutual.nn.unsaved_state import changed_values
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.feeds import Feed
from dgl_mutual.training.state import TrainingState
from dgl_mutual.utils.custom_code import errors_attributed_to, is_custom
from dgl_mutual.weightings import make_coordinator

#: Number of validation samples on which a module is compared with a new one that has its state.
_SAMPLES = 32

_Shapes: TypeAlias = dict[str, "tuple[int, ...] | None"]


class CustomStateCheck(Callback):
    """Refuses custom modules whose parameters or buffers are added, are removed or change their shape in training: the optimizer would not
    train them, and a saved state could not be loaded. It must come before the callbacks that keep weights.

    After the first epoch of a phase and at its end it also refuses students and weightings whose predictions depend on values that are not
    saved: a new module with their state would predict something else. After the first epoch it refuses students that cache a result from
    their first input: its features, its edge features or its edges.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._before: dict[str, _Shapes] = {}

    def on_phase_begin(self, state: TrainingState) -> None:
        self._before = {title: _shapes(module) for title, module in custom_modules(state).items()}

    def on_epoch_end(self, state: TrainingState) -> None:
        for title, module in custom_modules(state).items():
            before, now = self._before[title], _shapes(module)
            lazy = {name for name, shape in before.items() if shape is None and name in now}  # the first step sets its shape
            names = [name for name in {**before, **now} if name not in lazy and before.get(name) != now.get(name)]
            if not names:
                continue
            name = names[0]
            if name in before and name in now:
                raise UsageError(
                    f"{title} changes the shape of {name} from {before[name]} to {now[name]} while it trains, so a saved state could not "
                    "be loaded. Keep the shape, for example with a buffer of the largest size and a count."
                )
            change = "is created" if name in now else "is removed"
            raise UsageError(
                f"{name} of {title[0].lower()}{title[1:]} {change} while it trains, and would not be trained or saved with the rest. "
                "Create all parameters and buffers in __init__, not in forward."
            )
        if state.current.epochs_done == 1:
            self._refuse_unsaved_values(state, is_first=True)

    def on_phase_end(self, state: TrainingState) -> None:
        self._refuse_unsaved_values(state, is_first=False)

    @torch.no_grad()
    def _refuse_unsaved_values(self, state: TrainingState, *, is_first: bool) -> None:
        self._check_students(state, is_first=is_first)
        if state.validation is not None:
            _check_weightings(state)

    def _check_students(self, state: TrainingState, *, is_first: bool) -> None:
        for k in state.ranks.local(state.current.active):
            name, student = state.cohort.names[k], state.cohort.members[k]
            if student.custom_module is None:
                continue
            student.eval()
            batch, _ = next(iter(self._feed.evaluation_batches(state.split.val[:_SAMPLES])))
            loaded = [_loaded_again(student, name) for _ in range(2)]
            logits = [module.forward_batch(batch).logits for module in (student, *loaded)]
            trained, again = student.custom_module, loaded[0].custom_module
            assert trained is not None and again is not None
            _refuse_other_predictions(f"The student {name!r}", logits, trained, again)
            if is_first and _agree(logits[1], logits[2]):
                for other in _other_batches(batch, student):
                    _refuse_cached_results(name, loaded[0], _loaded_again(student, name), other)


def _other_batches(batch: Batch, student: CohortMember) -> Iterator[Batch]:
    """Yield a batch with all features zero and, of whole graphs, one with all edge features zero (if the student takes any) and one with
    half of the edges."""
    if isinstance(batch, BlockBatch):
        yield batch.with_features(torch.zeros_like(dense(batch.features)))
        return
    whole = batch.whole if isinstance(batch, LayerwiseBatch) else batch
    assert isinstance(whole, GraphBatch), "there are no other batches"
    offsets, sources, features, edges = whole.in_offsets, whole.sources, whole.features, whole.edge_features
    zeros = torch.zeros(whole.num_nodes, student.in_features, dtype=whole.dtype, device=whole.device)  # codes of categories, too
    yield GraphBatch(offsets, sources, zeros, whole.node_offsets, edges)
    if student.edge_features:
        zeros = torch.zeros(len(sources), student.edge_features, dtype=whole.dtype, device=whole.device)
        yield GraphBatch(offsets, sources, features, whole.node_offsets, zeros)
    if len(sources):
        half = torch.arange(1, len(sources), 2, device=whole.device)  # n // 2 of the first n edges
        yield GraphBatch(offsets // 2, sources[half], features, whole.node_offsets, None if edges is None else take_rows(edges, half))


def _refuse_cached_results(name: str, used: CohortMember, new: CohortMember, batch: Batch) -> None:
    """Refuse a student whose predictions for a batch depend on a batch that it has seen before.

    Args:
        used, new: two students with the same state, of which only the first has seen another batch.
    """
    try:
        expected = new.forward_batch(batch).logits
    except DglMutualError:  # it does not take such a batch
        return
    try:
        agrees = _agree(used.forward_batch(batch).logits, expected)
    except DglMutualError:  # the cached result does not fit
        agrees = False
    if not agrees:
        raise UsageError(
            f"The student {name!r} keeps something that it computed from its first input (for example cached=True), so its predictions for "
            "other data would be wrong. Compute it anew in each forward."
        )


def _loaded_again(student: CohortMember, name: str) -> CohortMember:
    """Return a new student with the state of this one, as if loaded from a file."""
    parameter, edges = next(student.parameters()), EdgeInput(student.edge_features)
    with custom_streams(None, torch.device("cpu")):
        other = make_student(student.options, student.task, student.in_features, student.num_outputs, name, edges)
    with errors_attributed_to(f"The state of the student {name!r}", failure="cannot be loaded into a new one"):
        other.to(parameter.device, parameter.dtype).load_state_dict(student.state_dict())
    return other.eval()


def _check_weightings(state: TrainingState) -> None:
    """Check the coordinator as a whole: with several tasks, each weighting gets a part of the logits."""
    coordinator = state.strategy.coordinator
    custom_weightings = [weighting for weighting in coordinator.task_coordinators() if is_custom(weighting)]
    if not custom_weightings:
        return
    val = torch.as_tensor(state.split.val[:_SAMPLES], device=state.clean.device)
    logits = state.clean.latest[: state.cohort.num_students, val]
    confidence = state.cohort.distribution.confidence(logits)
    with custom_streams(None, torch.device("cpu")):
        others = [make_coordinator(coordinator.config).to(logits.device, logits.dtype) for _ in range(2)]
    for other in others:
        other.load_state_dict(coordinator.state_dict())
    weights = [module.eval().ensemble_weights(logits, confidence, val) for module in (coordinator, *others)]
    _refuse_other_predictions(f"The weighting {type(custom_weightings[0]).__name__!r}", weights, coordinator, others[0])


def _refuse_other_predictions(title: str, outputs: list[Tensor], trained: nn.Module, loaded: nn.Module) -> None:
    """Refuse a module whose output differs from that of two new modules with its state.

    If the two differ from each other, too, the module draws random numbers of its own, which is allowed.
    """
    of_trained, first, second = outputs
    if not _agree(first, second) or _agree(of_trained, first):
        return
    names = changed_values(trained, loaded)
    which = f" The cause may be {names[0]!r}, which is not the same in both." if names else ""
    example = (names[0] if names else "count").rpartition(".")[2]
    raise UsageError(
        f"{title} predicts something else after its state has been loaded into a new one: it depends on values that are not saved.{which} "
        "Make what changes in training, or is drawn at random when the module is made, a buffer, "
        f"self.register_buffer({example!r}, torch.tensor(...)) in __init__, and change it in place."
    )


def _agree(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=1e-3, atol=1e-5)


def custom_modules(state: TrainingState) -> dict[str, nn.Module]:
    """Return the custom modules, by their names in messages."""
    members = zip(state.cohort.names, state.cohort.members, strict=True)
    modules: dict[str, nn.Module] = {f"The student {name!r}": member for name, member in members if member.custom_module is not None}
    modules.update({f"The weighting {type(w).__name__!r}": w for w in state.strategy.coordinator.task_coordinators() if is_custom(w)})
    if is_custom(state.strategy):
        modules[f"The strategy {state.strategy.name!r}"] = state.strategy
    return modules


def _shapes(module: nn.Module) -> _Shapes:
    """Return the shape of each saved parameter and buffer; None for a lazy one."""
    saved = {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    return {name: None if is_lazy(tensor) else tuple(tensor.shape) for name, tensor in saved.items()}
