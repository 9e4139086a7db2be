"""Everything that changes while a cohort trains, as a file from which an interrupted training goes on to the very same end.

What is not in it follows from the options, the data and the seed. It is one safetensors file with JSON in its header: nothing in it is ever
executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset, Split
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DataError, StoreError
from dgl_mutual.files import check_regular
from dgl_mutual.joint import TaskWeights
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.training.checkpoints import write_tensors
from dgl_mutual.training.diversity import DiversityProbe
from dgl_mutual.training.early_stopping import EarlyStopping
from dgl_mutual.training.history import HistoryRow
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.version import __version__

#: Stands before the name of a tensor where plain values have its place.
_TENSOR = "tensor:"

#: What decides the outcome of a training, by name: a digest of each part, and the versions of the packages that compute it.
Identity: TypeAlias = dict[str, str]
_VERSIONS = ("dgl_mutual", "torch", "dgl")


@dataclass
class Phase:
    """Where a training stands within one phase of its strategy.

    Attributes:
        number: which of the phases, from 0.
        active: the members that train in it.
        first: the epochs of the phases before.
        epoch: the epochs of this one that are over.
        best: each active member's weights at its best epoch so far, by its place, and the ``coordinator``'s.
    """

    number: int
    active: Sequence[int]
    optimizer: torch.optim.Optimizer
    first: int
    epoch: int = 0
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def weights_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of a module's state, for `Phase.best`."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


class Training(Protocol):
    """What of a training changes from epoch to epoch, beside its phase."""

    cohort: Cohort
    strategy: Strategy
    clean: Tensor
    average: Tensor
    stoppers: list[EarlyStopping]
    ensemble_stopper: EarlyStopping
    diversity: DiversityProbe | None
    history: list[HistoryRow]

    @property
    def streams(self) -> list[torch.Generator]:
        """All that is drawn from while training."""


@dataclass(frozen=True)
class Snapshots:
    """Where the state of one training is kept, and how often it is renewed.

    Attributes:
        file: replaced as a whole; whoever knows that the training is not needed any more removes it.
        every: epochs from one to the next. The end of a phase is always kept.
    """

    file: Path
    every: int


class Keeper:
    """Keeps a training while it lasts, and puts it where it was if it was interrupted. Without `snapshots` it does neither."""

    def __init__(self, snapshots: Snapshots | None, identity: Identity) -> None:
        """Read what was kept last of the training that `identity` describes (see `identity_of`).

        Raises:
            DataError: the file is damaged, or of another training.
        """
        self._snapshots = snapshots
        self._identity = identity
        self._state = _load(snapshots.file, identity) if snapshots is not None and os.path.lexists(snapshots.file) else None
        self._started = time.perf_counter() - (self._state["seconds"] if self._state is not None else 0.0)

    @property
    def seconds(self) -> float:
        """How long the training has taken, what was before interruptions included."""
        return time.perf_counter() - self._started

    def is_past(self, number: int) -> bool:
        """Whether the phase of this number was over when the snapshot was taken."""
        return self._state is not None and number < self._state["phase"]

    def resume(self, training: Training, phase: Phase) -> bool:
        """Put a training that was just prepared, and its phase, where they were; false if there is nothing from this phase.

        Raises:
            DataError: the snapshot is not one of such a training.
        """
        if self._snapshots is None or self._state is None or self._state["phase"] != phase.number:
            return False
        try:
            _restore(self._state, training, phase)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise _unusable(self._snapshots.file, error) from error
        self._state = None
        return True

    def keep(self, training: Training, phase: Phase, *, over: bool) -> None:
        """Take note of the end of an epoch, which may be the last of its phase.

        Raises:
            StoreError: the disk does not take it.
        """
        if self._snapshots is None or not (over or phase.epoch % self._snapshots.every == 0):
            return
        file = self._snapshots.file
        tensors: dict[str, Tensor] = {}
        plain = _part({"identity": self._identity, "seconds": self.seconds, **_state(training, phase)}, "", tensors)
        try:
            write_tensors(tensors, file, {"state": json.dumps(plain)})
        except StoreError as error:
            raise StoreError(f"{error} Or train without checkpoint_every.") from None


def identity_of(
    training: Training,
    options: TrainingOptions,
    dataset: Dataset,
    split: Split,
    *,
    stream: tuple[int, int],
    task_weights: TaskWeights,
) -> Identity:
    """What makes exactly this training: all that decides its outcome, `stream` being its seed and fold."""
    decisive = {
        "students": [student.options.model_dump(mode="json") for student in training.cohort.students],
        "strategy": [training.strategy.name, training.strategy.options.model_dump(mode="json")],
        "training options": options.model_dump(mode="json", exclude={"checkpoint_every"}),
        "task weights": task_weights,
        "data or split": fingerprint(dataset, split),
        "seed or fold": [int(part) for part in stream],
        "precision": str(training.clean.dtype),
        "device": training.clean.device.type,
    }
    digests = {name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12] for name, value in decisive.items()}
    return {**digests, "dgl_mutual": __version__, "torch": str(torch.__version__), "dgl": str(dgl.__version__)}


def _load(file: Path, identity: Identity) -> dict[str, Any]:
    try:
        check_regular(file)
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no dict
            plain = json.loads((opened.metadata() or {})["state"])
        state: dict[str, Any] = _join(plain, tensors)
        found, state["seconds"], state["phase"] = state["identity"], float(state["seconds"]), int(state["phase"])
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _unusable(file, error) from error
    if found != identity:
        raise DataError(
            f"The snapshot {file} is of another training: {_differences(found, identity)}. Remove it to train from the start, "
            "or go on with what it was made by."
        )
    return state


def _differences(found: Any, identity: Identity) -> str:
    if not isinstance(found, dict) or found.keys() != identity.keys():
        return "it was written by another version of dgl_mutual"
    differ = [name for name in identity if found[name] != identity[name]]
    versions = [f"{name} {found[name]} (here {identity[name]})" for name in differ if name in _VERSIONS]
    others = [name for name in differ if name not in _VERSIONS]
    return "; ".join(
        [*([f"it has other {', '.join(others)}"] if others else []), *([f"it was written by {', '.join(versions)}"] if versions else [])]
    )


def _unusable(file: Path, reason: object) -> DataError:
    return DataError(f"The snapshot {file} cannot be used ({reason}). It was changed or damaged; remove it to train from the start.")


def _state(training: Training, phase: Phase) -> dict[str, Any]:
    return {
        "phase": phase.number,
        "first": phase.first,
        "epoch": phase.epoch,
        "best": phase.best,
        "optimizer": {str(place): moments for place, moments in phase.optimizer.state_dict()["state"].items()},
        "cohort": training.cohort.state_dict(),
        "strategy": training.strategy.state_dict(),
        "streams": [stream.get_state() for stream in training.streams],
        "clean": training.clean,
        "average": training.average,
        "stoppers": [asdict(stopper) for stopper in (*training.stoppers, training.ensemble_stopper)],
        "diversity": None if training.diversity is None else training.diversity.state(),
        "history": training.history,
    }


def _restore(state: dict[str, Any], training: Training, phase: Phase) -> None:
    phase.first, phase.epoch, phase.best = int(state["first"]), int(state["epoch"]), dict(state["best"])
    training.cohort.load_state_dict(state["cohort"])
    training.strategy.load_state_dict(state["strategy"])
    moments = {int(place): found for place, found in state["optimizer"].items()}
    phase.optimizer.load_state_dict({**phase.optimizer.state_dict(), "state": moments})
    for stream, found in zip(training.streams, state["streams"], strict=True):
        stream.set_state(found)
    for tensor, found in ((training.clean, state["clean"]), (training.average, state["average"])):
        if tensor.shape != found.shape:
            raise ValueError(f"logits of the shape {tuple(found.shape)}")
        tensor.copy_(found)  # in place, since sums depend on the layout
    *training.stoppers, training.ensemble_stopper = (EarlyStopping(**found) for found in state["stoppers"])
    if training.diversity is not None:
        training.diversity.restore(state["diversity"], training.clean.device)
    training.history[:] = state["history"]


def _part(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """`value` with every tensor replaced by its name, under which it is put into `tensors`."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return f"{_TENSOR}{path}"
    if isinstance(value, dict):
        return {key: _part(below, f"{path}/{key}", tensors) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_part(below, f"{path}/{place}", tensors) for place, below in enumerate(value)]
    return value


def _join(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_part`."""
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value.removeprefix(_TENSOR)]
    if isinstance(value, dict):
        return {key: _join(below, tensors) for key, below in value.items()}
    if isinstance(value, list):
        return [_join(below, tensors) for below in value]
    return value
