"""Checks that the state of custom modules keeps its form while they train, and is all that their predictions depend on."""

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

#: Validation samples that are predicted to compare a module with what a file would give.
_SAMPLES = 32

_Shapes: TypeAlias = dict[str, "tuple[int, ...] | None"]


class CustomStateCheck(Callback):
    """Refuses custom modules whose parameters or buffers come, go or change their shape: the optimizer would not train them, and
    what is saved could not be loaded. It must come before the callbacks that keep weights.

    After the first epoch of a phase and at its end it also refuses students and weightings whose predictions depend on values that are not
    saved: with their state loaded into a new one, they would predict something else. After the first epoch it refuses students that keep
    what they have computed from their first input: its features, its edge features or its edges.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._before: dict[str, _Shapes] = {}

    def on_phase_begin(self, state: TrainingState) -> None:
        self._before = {title: _shapes(module) for title, module in custom_modules(state).items()}

    def on_epoch_end(self, state: TrainingState) -> None:
        for title, module in custom_modules(state).items():
            before, now = self._before[title], _shapes(module)
            lazy = {name for name, shape in before.items() if shape is None and name in now}  # it gets its shape in the first step
            names = [name for name in {**before, **now} if name not in lazy and before.get(name) != now.get(name)]
            if not names:
                continue
            name = names[0]
            if name in before and name in now:
                raise UsageError(
                    f"{title} changes the shape of {name} from {before[name]} to {now[name]} while it trains, and what is saved could not "
                    "be loaded. Keep the shape, for example with a buffer of the largest size and a count."
                )
            change = "is made" if name in now else "is removed"
            raise UsageError(
                f"{name} of {title[0].lower()}{title[1:]} {change} while it trains, and would not be trained or saved with the rest. Make "
                "all parameters and buffers in __init__, not in forward."
            )
        if state.current.epoch == 1:
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
            logits = [one.forward_batch(batch).logits for one in (student, *loaded)]
            trained, again = student.custom_module, loaded[0].custom_module
            assert trained is not None and again is not None
            _refuse_other_numbers(f"The student {name!r}", logits, trained, again)
            if is_first and _agree(logits[1], logits[2]):
                for other in _other_batches(batch, student):
                    _refuse_old_numbers(name, loaded[0], _loaded_again(student, name), other)


def _other_batches(batch: Batch, student: CohortMember) -> Iterator[Batch]:
    """A batch with all features zero; and of whole graphs one with all edge features zero, if the student takes them, and one with half of
    the edges."""
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
        kept = torch.arange(1, len(sources), 2, device=whole.device)  # of the first n edges, n // 2
        yield GraphBatch(offsets // 2, sources[kept], features, whole.node_offsets, None if edges is None else take_rows(edges, kept))


def _refuse_old_numbers(name: str, used: CohortMember, new: CohortMember, batch: Batch) -> None:
    """Refuse a student that predicts something else for a batch where it has seen another one before.

    Args:
        used, new: two students with one state, the first of which has predicted the other batch.
    """
    try:
        expected = new.forward_batch(batch).logits
    except DglMutualError:  # it does not take such a batch
        return
    try:
        agrees = _agree(used.forward_batch(batch).logits, expected)
    except DglMutualError:  # what it has kept does not fit
        agrees = False
    if not agrees:
        raise UsageError(
            f"The student {name!r} keeps something that it computed from its first input (for example cached=True), and would predict old "
            "numbers for other data. Compute it anew in each forward."
        )


def _loaded_again(student: CohortMember, name: str) -> CohortMember:
    """A new student with the state of this one, as it would be loaded from a file."""
    parameter, edges = next(student.parameters()), EdgeInput(student.edge_features)
    with custom_streams(None, torch.device("cpu")):
        other = make_student(student.options, student.task, student.in_features, student.num_outputs, name, edges)
    with errors_attributed_to(f"The state of the student {name!r}", failure="cannot be loaded into a new one"):
        other.to(parameter.device, parameter.dtype).load_state_dict(student.state_dict())
    return other.eval()


def _check_weightings(state: TrainingState) -> None:
    """The coordinator as a whole, since each of several tasks has a part of the logits."""
    coordinator = state.strategy.coordinator
    custom_weightings = [one for one in coordinator.task_coordinators() if is_custom(one)]
    if not custom_weightings:
        return
    val = torch.as_tensor(state.split.val[:_SAMPLES], device=state.clean.device)
    logits = state.clean.latest[: state.cohort.num_students, val]
    confidence = state.cohort.distribution.confidence(logits)
    with custom_streams(None, torch.device("cpu")):
        others = [make_coordinator(coordinator.config).to(logits.device, logits.dtype) for _ in range(2)]
    for other in others:
        other.load_state_dict(coordinator.state_dict())
    weights = [one.eval().ensemble_weights(logits, confidence, val) for one in (coordinator, *others)]
    _refuse_other_numbers(f"The weighting {type(custom_weightings[0]).__name__!r}", weights, coordinator, others[0])


def _refuse_other_numbers(title: str, found: list[Tensor], trained: nn.Module, loaded: nn.Module) -> None:
    """Refuse a module that computes something else than two new ones with its state, which agree with each other.

    Where these differ, too, the module draws random numbers of its own, which is allowed.
    """
    ours, first, second = found
    if not _agree(first, second) or _agree(ours, first):
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
    """The custom modules, by their names in messages."""
    members = zip(state.cohort.names, state.cohort.members, strict=True)
    found: dict[str, nn.Module] = {f"The student {name!r}": member for name, member in members if member.custom_module is not None}
    found.update({f"The weighting {type(one).__name__!r}": one for one in state.strategy.coordinator.task_coordinators() if is_custom(one)})
    if is_custom(state.strategy):
        found[f"The strategy {state.strategy.name!r}"] = state.strategy
    return found


def _shapes(module: nn.Module) -> _Shapes:
    """The shape of each parameter and buffer that is saved; None of a lazy one."""
    saved = {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    return {name: None if is_lazy(tensor) else tuple(tensor.shape) for name, tensor in saved.items()}
