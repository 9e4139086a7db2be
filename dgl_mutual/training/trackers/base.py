"""Base class of trackers."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from dgl_mutual.errors import DglMutualError, UsageError
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.state import TrainingState
from dgl_mutual.utils.custom_code import refuse_other_arguments
from dgl_mutual.utils.user_warnings import level_of_caller


@dataclass(frozen=True)
class TrackedRun:
    """The training that a tracker follows.

    Attributes:
        group: name of the run that the training belongs to, which is the name of its folder.
        name: name of the training within the run, for example ``seed-0-fold-0``.
        folder: folder for files of the tracker.
        config: configuration of the training, as plain values.
    """

    group: str
    name: str
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """`config` with dotted keys and without nesting."""
        return dict(_flat(self.config, ""))


class Tracker(Callback, ABC):
    """Sends each epoch's row of the history, and at the end every member's metrics as ``final/<part>/<member>``.

    If the service fails during training, a warning says so and the training continues without it.

    Class attributes:
        title: its name in error messages (default: the name of the class).
        package: the package that it needs; None if it needs none.
        extra: the extra of dgl-mutual that installs it, if there is one.
    """

    title: ClassVar[str] = ""
    package: ClassVar[str | None] = None
    extra: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.title = cls.title or cls.__name__

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self._is_open = self._has_failed = False

    @classmethod
    def check(cls) -> None:
        """Check that the tracker can be used here.

        Raises:
            UsageError: its package is not installed, or is not set up; or a method does not accept its arguments.
        """
        for name in ("open", "log", "close", "summarise"):
            arguments = list(inspect.signature(getattr(Tracker, name)).parameters)
            refuse_other_arguments(getattr(cls, name), f"{name} of the tracker {cls.__name__}", arguments)
        if cls.package is not None:
            cls.client()

    @classmethod
    def client(cls) -> ModuleType:
        """Import the package that the tracker needs.

        Raises:
            UsageError: the package is not installed, or cannot be imported.
        """
        assert cls.package is not None
        try:
            module = importlib.import_module(cls.package)
            if module.__spec__ is None or module.__spec__.origin is not None:  # None for a folder of that name that is not a package
                return module
        except ModuleNotFoundError:
            pass
        except Exception as error:
            raise UsageError(f"{cls.title} cannot be used: importing {cls.package!r} raised {type(error).__name__}: {error}.") from error
        wanted = f"dgl-mutual[{cls.extra}]" if cls.extra else cls.package
        raise UsageError(f"Tracking with {cls.title} needs a package that is not installed. Install it: pip install '{wanted}'")

    @abstractmethod
    def open(self) -> None:
        """Start a tracked run."""

    @abstractmethod
    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Send the metrics of one epoch."""

    @abstractmethod
    def close(self, failed: bool) -> None:
        """End the tracked run."""

    def summarise(self, figures: Mapping[str, float], step: int) -> None:
        """Send the final metrics."""
        self.log(figures, step)

    def on_fit_begin(self, state: TrainingState) -> None:
        try:
            self.open()
        except DglMutualError:
            raise
        except Exception as error:
            raise UsageError(f"{self.title} cannot start a tracked run: {type(error).__name__}: {error}.") from error
        self._is_open = True

    def on_epoch_end(self, state: TrainingState) -> None:
        row = state.history[-1]
        self._send(lambda: self.log(_finite({name: value for name, value in row.items() if name != "epoch"}), int(row["epoch"])))

    def on_fit_end(self, state: TrainingState) -> None:
        assert state.result is not None
        parts = ("train", "val", "test")
        figures = {f"final/{part}/{member.member}": getattr(member, part) for member in state.result.members for part in parts}
        self._send(lambda: self.summarise(_finite(figures), len(state.history)))
        self.end(failed=False)

    def end(self, *, failed: bool) -> None:
        """End the tracked run, if it has not ended."""
        if self._is_open:
            self._send(lambda: self.close(failed))
        elif self._has_failed:
            with contextlib.suppress(Exception):  # a warning was shown already
                self.close(True)
        self._is_open = self._has_failed = False

    def _send(self, send: Any) -> None:
        if not self._is_open:
            return
        try:
            send()
        except Exception as error:
            self._is_open, self._has_failed = False, True
            warnings.warn(
                f"{self.title} failed, and {self.run.name} continues without it: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=level_of_caller(),
            )


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def _flat(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [pair for key, below in value.items() for pair in _flat(below, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
        return [pair for index, below in enumerate(value) for pair in _flat(below, f"{path}.{index}")]
    return [(path, value)]
