"""Everything that changes while a cohort trains, as a file from which an interrupted training resumes, bit for bit.

What is not in it follows from the options, the data and the seed. It is one safetensors file with JSON in its header: nothing in it is ever
executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.schema import differences, schema_of
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import DataError, StoreError, UsageError, shortened
from dgl_mutual.nn.architectures import make_custom
from dgl_mutual.nn.module import CohortMember
from dgl_mutual.nn.unsaved_state import (
    Unsaved,
    changed_names,
    digest_of_tensor,
    is_generator,
    restore_unsaved_buffers,
    unsaved_buffers,
    unsaved_values,
)
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.checkpoints import write_tensors
from dgl_mutual.training.custom_state import custom_modules
from dgl_mutual.training.state import TrainingState, Validation
from dgl_mutual.utils.code_digest import code_digest
from dgl_mutual.utils.custom_code import described, is_custom
from dgl_mutual.utils.error_causes import is_out_of_memory
from dgl_mutual.utils.files import check_regular, unreadable
from dgl_mutual.utils.plain_json import read_json
from dgl_mutual.utils.wording import value_and_kind
from dgl_mutual.version import __version__

#: In the JSON of the header: how a text begins that stands for the tensor of a name, and one that would else begin like this by itself.
_TENSOR, _TEXT = "tensor:", "text:"

#: What decides the outcome of a training, by name: a digest of each part, and the versions of the packages that compute it.
Identity: TypeAlias = dict[str, str]
#: The packages in it.
_VERSIONS = ("dgl_mutual", "torch", "dgl")


@dataclass(frozen=True)
class Snapshots:
    """Where the state of one training is kept, and how often it is renewed.

    Attributes:
        file: replaced as a whole. It is left when the training ends; the caller removes it.
        every: epochs from one to the next. The end of a phase is always kept.
        within: a folder above the file that is not made anew where it was moved away while the training lasts.
    """

    file: Path
    every: int
    within: Path | None = None


class Checkpointer(Callback):
    """Writes snapshots of a training, and puts the training where it was if it was interrupted. It must be the last of the callbacks.

    What other callbacks give as their state is kept, too. The cohort is in evaluation mode when its state is written and taken back.
    """

    def __init__(self, snapshots: Snapshots, callbacks: Sequence[Callback]) -> None:
        self._snapshots = snapshots
        self._callbacks = callbacks
        self._identity: Identity = {}
        self._found: dict[str, Any] | None = None
        self._unsaved: dict[str, dict[str, Unsaved]] = {}

    def on_fit_begin(self, state: TrainingState) -> None:
        """Read what was kept last.

        Raises:
            UsageError: a callback gives a state and does not take it back, or takes one that it does not give.
            DataError: the file is damaged.
            StoreError: it is of another training, and stays.
        """
        for callback in self._callbacks:
            _refuse_half_state(callback)
        state.cohort.train()  # as in an epoch, so that what the modes alone set is the same after one
        state.cohort.eval()
        self._unsaved = _unsaved_values(state)
        self._identity = identity_of(state)
        if os.path.lexists(self._snapshots.file):
            self._found = _load(self._snapshots.file, self._identity, schema_of(state.dataset))
            if not 0 <= self._found["phase"] < len(state.phases):
                raise _unusable(self._snapshots.file, f"there is no phase {self._found['phase']}")
            state.phases_over = self._found["phase"]
            state.started -= self._found["seconds"]

    def on_phase_begin(self, state: TrainingState) -> None:
        """Put the training where it was, if it was interrupted in this phase.

        Raises:
            StoreError: the state cannot be taken back, probably by custom code; the snapshot stays.
        """
        if self._found is None or self._found["phase"] != state.current.number:
            return
        try:
            _restore(self._found, state, self._callbacks)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise StoreError(  # it ends the run; a trial that fails loses its snapshots
                f"The snapshot {self._snapshots.file} cannot be taken back: {shortened(described(error), most=1000)} It is kept. Mend the "
                "cause and go on: a callback may have other code then, a strategy, student or weighting with other code is another "
                "training. Or remove the file to train from the start."
            ) from error
        self._found = None

    def on_epoch_end(self, state: TrainingState) -> None:
        """Write a snapshot where one is due: every so many epochs, and at the end of a phase.

        Raises:
            UsageError: a strategy or a callback has a state that cannot be written, or custom code one that is not.
            StoreError: the disk does not take it, or the folder that it belongs to is gone.
        """
        state.cohort.eval()  # it may be in training mode where the epoch had no validation
        _refuse_unsaved_values(self._unsaved, _unsaved_values(state))
        if state.is_phase_over or state.current.epoch % self._snapshots.every == 0:
            tensors: dict[str, Tensor] = {}
            told = {"identity": self._identity, "schema": schema_of(state.dataset)}
            kept = {**told, "seconds": state.seconds, **_state_of(state, self._callbacks)}
            plain = json.dumps(_without_tensors(kept, "", tensors))
            try:
                header = {"state": plain, "digest": _digest(plain, tensors)}
                write_tensors(tensors, self._snapshots.file, header, within=self._snapshots.within)
            except StoreError as error:
                if self._snapshots.within is not None and not self._snapshots.within.is_dir():
                    raise
                raise StoreError(f"{error} Or train without checkpoint_every.") from None


def identity_of(state: TrainingState) -> Identity:
    """All that decides the outcome of a training."""
    custom: list[tuple[Any, str]] = [
        (type(one), "") for one in (state.strategy, *state.strategy.coordinator.task_coordinators()) if is_custom(one)
    ]
    custom += [(make_custom(one.options), one.options.architecture_name) for one in state.cohort.members if one.custom_module is not None]
    decisive = {
        "students": [student.options.model_dump(mode="json") for student in state.cohort.members],
        "code": [code_digest(item, path) for item, path in custom],
        "strategy": [state.strategy.name, state.strategy.options.model_dump(mode="json")],
        "training options": state.options.model_dump(mode="json", exclude={"checkpoint_every"}),
        "task weights": state.task_weights,
        "data or split": fingerprint(state.dataset, state.split),
        "seed or fold": [int(state.seed), int(state.fold)],
        "precision": str(state.clean.dtype),
        "device": state.clean.device.type,
    }
    digests = {name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12] for name, value in decisive.items()}
    return {**digests, "dgl_mutual": __version__, "torch": str(torch.__version__), "dgl": str(dgl.__version__)}


def _load(file: Path, identity: Identity, schema: Mapping[str, str]) -> dict[str, Any]:
    """What a snapshot holds: see `_state_of`, and the seconds that the training had taken.

    Raises:
        DataError: the file is damaged.
        StoreError: it cannot be read, or is of a training of another identity, or of data of another schema.
    """
    try:
        check_regular(file)
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # not a dict
            header = opened.metadata() or {}
        if header.get("digest") != _digest(header["state"], tensors):
            raise ValueError("its content is not that of its digest")
        state: dict[str, Any] = _with_tensors(read_json(header["state"]), tensors)
        found, state["seconds"], state["phase"] = state["identity"], float(state["seconds"]), int(state["phase"])
        of_data = differences(state["schema"], schema)
    except PermissionError:
        raise StoreError(unreadable(file)) from None  # a trial that fails loses its snapshots
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise _unusable(file, error) from error
    if found != identity or of_data:
        differ = _differences(found, identity) if found != identity else of_data
        raise StoreError(  # it ends the run; a trial that fails loses its snapshots
            f"The snapshot {file} is of another training: {differ}. Remove it to train from the start, or go on with what it was made by."
        )
    return state


def _digest(plain: str, tensors: Mapping[str, Tensor]) -> str:
    """What tells that a snapshot of this JSON and these tensors is as it was written. It is against damage: who forges one can make it."""
    digest = hashlib.sha256(plain.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {digest_of_tensor(tensor)}".encode())
    return digest.hexdigest()


def _differences(found: Any, identity: Identity) -> str:
    """What sets the training of a snapshot, of the identity `found`, apart from this one, for a message."""
    if not isinstance(found, dict) or found.keys() != identity.keys():
        return "it was written by another version of dgl_mutual"
    differ = [name for name in identity if found[name] != identity[name]]
    versions = [f"{name} {shortened(found[name], most=40)} (here {identity[name]})" for name in differ if name in _VERSIONS]
    others = [name for name in differ if name not in _VERSIONS]
    return "; ".join(
        [*([f"it has other {', '.join(others)}"] if others else []), *([f"it was written by {', '.join(versions)}"] if versions else [])]
    )


def _unusable(file: Path, reason: object) -> DataError:
    return DataError(
        f"The snapshot {file} cannot be used ({shortened(reason)}). It was changed or damaged; remove it to train from the start."
    )


def _state_of(state: TrainingState, callbacks: Sequence[Callback]) -> dict[str, Any]:
    """All that changes while a cohort trains, as tensors and plain values; `_restore` takes it back."""
    phase = state.current
    return {
        "phase": phase.number,
        "first": phase.first,
        "epoch": phase.epoch,
        "stopped": phase.stopped,
        "optimizer": {str(place): moments for place, moments in phase.optimizer.state_dict()["state"].items()},
        "cohort": state.cohort.state_dict(),
        "strategy": state.strategy.state_dict(),
        "unsaved buffers": {name: unsaved_buffers(module) for name, module in _with_custom_code(state).items()},
        "streams": [stream.get_state() for stream in state.streams],
        **state.targets.state(),
        "averages": [averages.state() for averages in state.all_averages],
        "history": state.history,
        "validation": None if state.validation is None else asdict(state.validation),
        "callbacks": {name: kept for name, callback in _named(callbacks).items() if (kept := callback.state_dict())},
    }


def _with_custom_code(state: TrainingState) -> dict[str, nn.Module]:
    """What custom students, weightings and strategies are parts of, by its name in a snapshot."""
    return {"cohort": state.cohort, "strategy": state.strategy}


def _unsaved_values(state: TrainingState) -> dict[str, dict[str, Unsaved]]:
    """What custom students, weightings and strategies keep in plain attributes (see `unsaved_values`), by their names in messages."""
    return {
        title: unsaved_values(module.custom_module if isinstance(module, CohortMember) and module.custom_module is not None else module)
        for title, module in custom_modules(state).items()
    }


def _refuse_unsaved_values(before: Mapping[str, Mapping[str, Unsaved]], now: Mapping[str, Mapping[str, Unsaved]]) -> None:
    """Refuse custom code that changes plain attributes, which an interrupted training would go on without.

    Args:
        before, now: see `_unsaved_values`.

    Raises:
        UsageError: it does.
    """
    for title, values in now.items():
        for name in changed_names(before[title], values):
            value = values[name].value if name in values else None
            raise UsageError(
                f"{title} changes its attribute {name!r} while it trains, now to {_shown(value)}. Snapshots "
                "(training.checkpoint_every) do not keep it, so an interrupted training would go on with its first value. "
                f"{_fix(name.rpartition('.')[2], value)}"
            )


def _shown(value: Any) -> str:
    """A value of an attribute in one short line."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return f"{'a tensor' if isinstance(value, Tensor) else 'an array'} of shape {tuple(value.shape)}"
    return " ".join(repr(value).split())[:80]


def _fix(attribute: str, value: Any) -> str:
    """How a value that changes can be kept."""
    extra = "in get_extra_state and take it back in set_extra_state (of a student or a weighting, a tensor)."
    if is_generator(value):
        return f"Draw from the global random stream of torch, NumPy or Python in its place, which is kept; or give its state {extra}"
    if not isinstance(value, bool | int | float | np.generic | NoneType | Tensor | np.ndarray):
        return f"Give what changes in it {extra}"
    return (
        f"Make it a buffer, self.register_buffer({attribute!r}, torch.tensor(...)) in __init__, and change it in place (with "
        f"persistent=False, if files of trained students need not have it); or give it {extra}"
    )


def _refuse_half_state(callback: Callback) -> None:
    """Refuse a callback whose class overrides one of `state_dict` and `load_state_dict` alone: its state would be lost, or never given.

    Raises:
        UsageError: it does.
    """
    kind = type(callback)
    overridden = {name: getattr(kind, name) is not getattr(Callback, name) for name in ("state_dict", "load_state_dict")}
    if len({*overridden.values()}) > 1:
        missing = next(name for name, is_there in overridden.items() if not is_there)
        raise UsageError(
            f"The callback {kind.__name__} defines one of state_dict and load_state_dict, and not {missing}: an interrupted training could "
            f"not give its state back. Define {missing}, too."
        )


def _named(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Callbacks by class and place among those of the same class, so that others may come and go between interruptions."""
    named: dict[str, Callback] = {}
    for callback in callbacks:
        kind = f"{type(callback).__module__}.{type(callback).__qualname__}"
        place = sum(name.rpartition("#")[0] == kind for name in named)
        named[f"{kind}#{place}"] = callback
    return named


def _restore(found: dict[str, Any], state: TrainingState, callbacks: Sequence[Callback]) -> None:
    """Put a training where it was.

    Args:
        found: what `_state_of` gave, or what somebody made of it.
        state: of the training, at the beginning of the same phase.

    Raises:
        Exception: any that its parts raise for what they cannot take; the training is of no use then.
    """
    phase, history = state.current, list(found["history"])
    phase.first, phase.epoch, phase.stopped = int(found["first"]), int(found["epoch"]), bool(found["stopped"])
    if not 0 < phase.epoch <= state.options.epochs or len(history) != phase.first + phase.epoch:
        raise ValueError(f"epoch {phase.epoch} of a phase, and a history of {len(history)} epochs")
    state.cohort.load_state_dict(found["cohort"])
    state.strategy.load_state_dict(found["strategy"])
    for name, kept in found["unsaved buffers"].items():
        restore_unsaved_buffers(_with_custom_code(state)[name], kept, state.clean.device)
    moments = {int(place): kept for place, kept in found["optimizer"].items()}
    phase.optimizer.load_state_dict({**phase.optimizer.state_dict(), "state": moments})
    for stream, kept in zip(state.streams, found["streams"], strict=True):
        stream.set_state(kept)
    state.targets.restore(found, phase.active)
    for averages, kept in zip(state.all_averages, found["averages"], strict=True):
        averages.restore(kept)
    named = _named(callbacks)
    for name, kept in found["callbacks"].items():
        if name not in named:
            raise ValueError(f"it holds the state of a callback {name} that is missing now")
        named[name].load_state_dict(kept)
    state.history[:] = history
    state.epoch = len(history) - 1
    kept = found["validation"]
    state.validation = None if kept is None else Validation(**{**kept, "names": tuple(kept["names"])})


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """`value` with every tensor replaced by its name, under which it is put into `tensors`.

    Raises:
        UsageError: something in it is not a plain value.
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return f"{_TENSOR}{path}"
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _without_tensors(below, f"{path}/{_escaped(key)}", tensors) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_without_tensors(below, f"{path}/{index}", tensors) for index, below in enumerate(value)]
    if isinstance(value, str):
        return f"{_TEXT}{value}" if value.startswith((_TENSOR, _TEXT)) else value
    if value is None or type(value) in (bool, int, float):
        return value
    raise UsageError(
        f"The state {path.removeprefix('/')} cannot be kept with training.checkpoint_every: it holds {value_and_kind(value)}. What "
        "get_extra_state of a strategy, or state_dict of a callback, gives may hold tensors, numbers, strings, lists, and dicts with "
        "strings as keys."
    )


def _escaped(key: str) -> str:
    """A key as a part of a path, as in JSON pointers (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _with_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_without_tensors`."""
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value.removeprefix(_TENSOR)]
    if isinstance(value, str):
        return value.removeprefix(_TEXT)
    if isinstance(value, dict):
        return {key: _with_tensors(below, tensors) for key, below in value.items()}
    if isinstance(value, list):
        return [_with_tensors(below, tensors) for below in value]
    return value
