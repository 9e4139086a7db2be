"""Snapshots of a training: files from which an interrupted training resumes, bit for bit.

A snapshot holds everything that changes while a cohort trains; the rest follows from the options, the data and the seed. It is one
safetensors file with JSON in its header: nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
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

#: Prefixes of strings in the JSON of the header: of a reference to a tensor, and of a text that begins with one of these prefixes itself.
_TENSOR, _TEXT = "tensor:", "text:"

#: Everything that determines the outcome of a training, by name: a digest of each part, and the versions of packages.
Identity: TypeAlias = dict[str, str]
#: The entries of an identity that are versions.
_VERSIONS = ("dgl_mutual", "torch", "dgl")


@dataclass(frozen=True)
class Snapshots:
    """The file of the snapshots of one training, and their interval.

    Attributes:
        file: path of the last snapshot; each one replaces it as a whole. The caller removes it after the training.
        every: epochs from one snapshot to the next. Another one is written at the end of each phase.
        within: a folder above the file that is not created again if it was moved away during the training.
    """

    file: Path
    every: int
    within: Path | None = None


class Checkpointer(Callback):
    """Writes snapshots of a training, and resumes an interrupted training from the last one. It must be the last of the callbacks.

    Snapshots include the state of the other callbacks. The cohort is in evaluation mode when its state is written and restored.
    """

    def __init__(self, snapshots: Snapshots, callbacks: Sequence[Callback]) -> None:
        self._snapshots = snapshots
        self._callbacks = callbacks
        self._identity: Identity = {}
        self._snapshot: dict[str, Any] | None = None
        self._unsaved: dict[str, dict[str, Unsaved]] = {}

    def on_fit_begin(self, state: TrainingState) -> None:
        """Read the last snapshot, if there is one.

        Raises:
            UsageError: a callback defines only one of `state_dict` and `load_state_dict`.
            DataError: the file is damaged.
            StoreError: it belongs to a different training; it is not deleted.
        """
        for callback in self._callbacks:
            _refuse_half_state(callback)
        state.cohort.train()  # an epoch calls both, and custom modules may set attributes in them
        state.cohort.eval()
        self._unsaved = _unsaved_values(state)
        self._identity = identity_of(state)
        if os.path.lexists(self._snapshots.file):
            self._snapshot = _load(self._snapshots.file, self._identity, schema_of(state.dataset))
            if not 0 <= self._snapshot["phase"] < len(state.phases):
                raise _unusable(self._snapshots.file, f"there is no phase {self._snapshot['phase']}")
            state.phases_over = self._snapshot["phase"]
            state.started -= self._snapshot["seconds"]

    def on_phase_begin(self, state: TrainingState) -> None:
        """Restore the training, if it was interrupted in this phase.

        Raises:
            StoreError: the state cannot be restored, probably by custom code; the snapshot is not deleted.
        """
        if self._snapshot is None or self._snapshot["phase"] != state.current.number:
            return
        try:
            _restore(self._snapshot, state, self._callbacks)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise StoreError(  # it ends the run; a trial that fails loses its snapshots
                f"The snapshot {self._snapshots.file} cannot be restored: {shortened(described(error), most=1000)} It was not deleted. Fix "
                "the cause and run the command again. You may change the code of a callback; with changed code of a strategy, student or "
                "weighting the snapshot cannot be used. Or remove the file to train from the start."
            ) from error
        self._snapshot = None

    def on_epoch_end(self, state: TrainingState) -> None:
        """Write a snapshot if one is due: every few epochs (`Snapshots.every`), and at the end of a phase.

        Raises:
            UsageError: the state of a strategy or a callback cannot be written, or custom code changes attributes that are not written.
            StoreError: the file cannot be written, or its folder is gone.
        """
        state.cohort.eval()  # it may be in training mode after an epoch without validation
        _refuse_unsaved_values(self._unsaved, _unsaved_values(state))
        if state.is_phase_over or state.current.epochs_done % self._snapshots.every == 0:
            tensors: dict[str, Tensor] = {}
            origin = {"identity": self._identity, "schema": schema_of(state.dataset)}
            snapshot = {**origin, "seconds": state.seconds, **_state_of(state, self._callbacks)}
            plain = json.dumps(_without_tensors(snapshot, "", tensors))
            try:
                header = {"state": plain, "digest": _digest(plain, tensors)}
                write_tensors(tensors, self._snapshots.file, header, within=self._snapshots.within)
            except StoreError as error:
                if self._snapshots.within is not None and not self._snapshots.within.is_dir():
                    raise
                raise StoreError(f"{error} Or train without checkpoint_every.") from None


def identity_of(state: TrainingState) -> Identity:
    """Return everything that determines the outcome of a training."""
    custom: list[tuple[Any, str]] = [
        (type(module), "") for module in (state.strategy, *state.strategy.coordinator.task_coordinators()) if is_custom(module)
    ]
    members = state.cohort.members
    custom += [(make_custom(m.options), m.options.architecture_name) for m in members if m.custom_module is not None]
    parts = {
        "students": [member.options.model_dump(mode="json") for member in members],
        "code": [code_digest(item, path) for item, path in custom],
        "strategy": [state.strategy.name, state.strategy.options.model_dump(mode="json")],
        "training options": state.options.model_dump(mode="json", exclude={"checkpoint_every"}),
        "task weights": state.task_weights,
        "data or split": fingerprint(state.dataset, state.split),
        "seed or fold": [int(state.seed), int(state.fold)],
        "precision": str(state.clean.dtype),
        "device": state.clean.device.type,
    }
    digests = {name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12] for name, value in parts.items()}
    return {**digests, "dgl_mutual": __version__, "torch": str(torch.__version__), "dgl": str(dgl.__version__)}


def _load(file: Path, identity: Identity, schema: Mapping[str, str]) -> dict[str, Any]:
    """Read a snapshot: the content of `_state_of`, and the seconds of training before it.

    Raises:
        DataError: the file is damaged.
        StoreError: it cannot be read, or belongs to a training with another identity or to data with another schema.
    """
    try:
        check_regular(file)
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # not a dict
            header = opened.metadata() or {}
        if header.get("digest") != _digest(header["state"], tensors):
            raise ValueError("its content does not match its digest")
        state: dict[str, Any] = _with_tensors(read_json(header["state"]), tensors)
        saved_identity = state["identity"]
        state.update(seconds=float(state["seconds"]), phase=int(state["phase"]))
        data_differences = differences(state["schema"], schema)
    except PermissionError:
        raise StoreError(unreadable(file)) from None  # a trial that fails loses its snapshots
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise _unusable(file, error) from error
    if saved_identity != identity or data_differences:
        differ = _differences(saved_identity, identity) if saved_identity != identity else data_differences
        raise StoreError(  # it ends the run; a trial that fails loses its snapshots
            f"The snapshot {file} belongs to a different training: {differ}. Remove it to train from the start, or resume with the "
            "settings, data and versions that wrote it."
        )
    return state


def _digest(plain: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum of the JSON and the tensors of a snapshot. It detects damage, not forgery."""
    digest = hashlib.sha256(plain.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {digest_of_tensor(tensor)}".encode())
    return digest.hexdigest()


def _differences(saved: Any, identity: Identity) -> str:
    """Describe how the saved identity of a snapshot differs from that of this training, for a message."""
    if not isinstance(saved, dict) or saved.keys() != identity.keys():
        return "it was written by another version of dgl_mutual"
    differ = [name for name in identity if saved[name] != identity[name]]
    versions = [f"{name} {shortened(saved[name], most=40)} (here {identity[name]})" for name in differ if name in _VERSIONS]
    others = [name for name in differ if name not in _VERSIONS]
    reasons = []
    if others:
        reasons.append(f"it has other {', '.join(others)}")
    if versions:
        reasons.append(f"it was written by {', '.join(versions)}")
    return "; ".join(reasons)


def _unusable(file: Path, reason: object) -> DataError:
    return DataError(
        f"The snapshot {file} cannot be used ({shortened(reason)}). It was changed or damaged; remove it to train from the start."
    )


def _state_of(state: TrainingState, callbacks: Sequence[Callback]) -> dict[str, Any]:
    """Return everything that changes while a cohort trains, as tensors and plain values, for `_restore`."""
    phase = state.current
    return {
        "phase": phase.number,
        "first": phase.epoch_offset,
        "epoch": phase.epochs_done,
        "stopped": phase.stopped,
        "optimizer": {str(place): moments for place, moments in phase.optimizer.state_dict()["state"].items()},
        "cohort": state.cohort.state_dict(),
        "strategy": state.strategy.state_dict(),
        "unsaved buffers": {name: unsaved_buffers(module) for name, module in _with_custom_code(state).items()},
        "streams": [stream.get_state() for stream in state.streams],
        **state.targets.state(),
        "averages": state.averages.state(),
        "history": state.history,
        "validation": None if state.validation is None else asdict(state.validation),
        "callbacks": {name: saved for name, callback in _named(callbacks).items() if (saved := callback.state_dict())},
    }


def _with_custom_code(state: TrainingState) -> dict[str, nn.Module]:
    """Return the modules that may contain custom code, by their names in a snapshot."""
    return {"cohort": state.cohort, "strategy": state.strategy}


def _unsaved_values(state: TrainingState) -> dict[str, dict[str, Unsaved]]:
    """Return the plain attributes of custom students, weightings and strategies (see `unsaved_values`), by their names in messages."""
    return {
        title: unsaved_values(module.custom_module if isinstance(module, CohortMember) and module.custom_module is not None else module)
        for title, module in custom_modules(state).items()
    }


def _refuse_unsaved_values(before: Mapping[str, Mapping[str, Unsaved]], now: Mapping[str, Mapping[str, Unsaved]]) -> None:
    """Refuse custom code that changes plain attributes, whose values an interrupted training would lose.

    Args:
        before, now: results of `_unsaved_values`.

    Raises:
        UsageError: an attribute has changed.
    """
    for title, values in now.items():
        for name in changed_names(before[title], values):
            value = values[name].value if name in values else None
            raise UsageError(
                f"{title} changes its attribute {name!r} while it trains, now to {_shown(value)}. Snapshots "
                "(training.checkpoint_every) do not keep it, so an interrupted training would resume with its initial value. "
                f"{_fix(name.rpartition('.')[2], value)}"
            )


def _shown(value: Any) -> str:
    """Return the value of an attribute as one short line."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return f"{'a tensor' if isinstance(value, Tensor) else 'an array'} of shape {tuple(value.shape)}"
    return " ".join(repr(value).split())[:80]


def _fix(attribute: str, value: Any) -> str:
    """Suggest how to keep a value that changes."""
    extra = "from get_extra_state and restore it in set_extra_state (of a student or a weighting, a tensor)."
    if is_generator(value):
        return f"Draw from the global random stream of torch, NumPy or Python instead, which is kept; or return its state {extra}"
    if not isinstance(value, bool | int | float | np.generic | NoneType | Tensor | np.ndarray):
        return f"Return what changes in it {extra}"
    return (
        f"Make it a buffer, self.register_buffer({attribute!r}, torch.tensor(...)) in __init__, and change it in place (with "
        f"persistent=False, if files of trained students need not have it); or return it {extra}"
    )


def _refuse_half_state(callback: Callback) -> None:
    """Refuse a callback whose class overrides only one of `state_dict` and `load_state_dict`.

    Raises:
        UsageError: such a callback.
    """
    kind = type(callback)
    saves = kind.state_dict is not Callback.state_dict
    loads = kind.load_state_dict is not Callback.load_state_dict
    if saves != loads:
        defined, missing = ("state_dict", "load_state_dict") if saves else ("load_state_dict", "state_dict")
        raise UsageError(
            f"The callback {kind.__name__} defines {defined} and not {missing}: an interrupted training could not restore its state. "
            f"Define {missing}, too."
        )


def _named(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Name callbacks by class and by place among those of the same class, so that others may be added or removed between interruptions."""
    named: dict[str, Callback] = {}
    num_seen: Counter[str] = Counter()
    for callback in callbacks:
        kind = f"{type(callback).__module__}.{type(callback).__qualname__}"
        named[f"{kind}#{num_seen[kind]}"] = callback
        num_seen[kind] += 1
    return named


def _restore(snapshot: dict[str, Any], state: TrainingState, callbacks: Sequence[Callback]) -> None:
    """Restore a training.

    Args:
        snapshot: a result of `_state_of`, perhaps edited by somebody.
        state: state of the training at the beginning of the same phase.

    Raises:
        Exception: any error of a part that cannot be restored; the training cannot be used then.
    """
    phase, history = state.current, list(snapshot["history"])
    phase.epoch_offset, phase.epochs_done, phase.stopped = int(snapshot["first"]), int(snapshot["epoch"]), bool(snapshot["stopped"])
    if not 0 < phase.epochs_done <= state.options.epochs or len(history) != phase.epoch_offset + phase.epochs_done:
        raise ValueError(f"epoch {phase.epochs_done} of a phase, and a history of {len(history)} epochs")
    state.cohort.load_state_dict(snapshot["cohort"])
    state.strategy.load_state_dict(snapshot["strategy"])
    for name, buffers in snapshot["unsaved buffers"].items():
        restore_unsaved_buffers(_with_custom_code(state)[name], buffers, state.clean.device)
    moments = {int(place): saved for place, saved in snapshot["optimizer"].items()}
    phase.optimizer.load_state_dict({**phase.optimizer.state_dict(), "state": moments})
    for stream, saved in zip(state.streams, snapshot["streams"], strict=True):
        stream.set_state(saved)
    state.targets.restore(snapshot, phase.active)
    state.averages.restore(snapshot["averages"])
    named = _named(callbacks)
    for name, saved in snapshot["callbacks"].items():
        if name not in named:
            raise ValueError(f"it holds the state of a callback {name} that is missing now")
        named[name].load_state_dict(saved)
    state.history[:] = history
    state.epoch = len(history) - 1
    scores = snapshot["validation"]
    state.validation = None if scores is None else Validation(**{**scores, "names": tuple(scores["names"])})


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return `value` with every tensor replaced by a reference, and put the tensors into `tensors`.

    Raises:
        UsageError: `value` contains something that is neither a tensor nor a plain value.
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
        f"The state {path.removeprefix('/')} cannot be kept with training.checkpoint_every: it holds {value_and_kind(value)}. "
        "get_extra_state of a strategy, and state_dict of a callback, may return tensors, numbers, strings, lists, and dicts with strings "
        "as keys."
    )


def _escaped(key: str) -> str:
    """Escape a key for a path, as in JSON pointers (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _with_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Invert `_without_tensors`."""
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value.removeprefix(_TENSOR)]
    if isinstance(value, str):
        return value.removeprefix(_TEXT)
    if isinstance(value, dict):
        return {key: _with_tensors(below, tensors) for key, below in value.items()}
    if isinstance(value, list):
        return [_with_tensors(below, tensors) for below in value]
    return value
