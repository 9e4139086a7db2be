"""Trackers: callbacks that send the metrics of a training to TensorBoard, MLflow or Weights & Biases, one tracked run per training.

Installed packages may provide others (entry points of the group ``dgl_mutual.trackers``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from dgl_mutual.registry import Registry, made_by, subclass_of
from dgl_mutual.training.trackers.base import TrackedRun, Tracker
from dgl_mutual.training.trackers.mlflow import MLflowTracker
from dgl_mutual.training.trackers.tensorboard import TensorBoardTracker
from dgl_mutual.training.trackers.wandb import WandbTracker
from dgl_mutual.utils.custom_code import errors_attributed_to

__all__ = ["TRACKER_REGISTRY", "TrackedRun", "Tracker", "TrackerLike", "check_trackers", "make_tracker"]

#: A tracker: its name, an import path, or its class.
TrackerLike: TypeAlias = "str | type[Tracker]"

TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoardTracker, "mlflow": MLflowTracker, "wandb": WandbTracker}


def _fault(value: Any) -> str | None:
    return subclass_of(Tracker, "dgl_mutual.training.trackers.Tracker")(value) or made_by(value, "trackers", ("run",))


TRACKER_REGISTRY: Registry[type[Tracker]] = Registry("tracker", TRACKERS, _fault, group="dgl_mutual.trackers")


def check_trackers(track: Sequence[TrackerLike]) -> None:
    """Check before a run that its trackers can be used.

    Raises:
        UsageError: an unknown tracker, one whose package is not installed, or one that is not set up.
    """
    for tracker in track:
        tracker_class = TRACKER_REGISTRY.resolve(tracker)
        with errors_attributed_to(f"check of the tracker {_name(tracker)!r}", tracker_class):
            tracker_class.check()


def make_tracker(tracker: TrackerLike, run: TrackedRun) -> Tracker:
    """Create a tracker for one training.

    Raises:
        UsageError: the tracker of an installed package cannot be created.
    """
    tracker_class = TRACKER_REGISTRY.resolve(tracker)
    with errors_attributed_to(f"The tracker {_name(tracker)!r}", tracker_class, "cannot be made"):
        return tracker_class(run)


def _name(tracker: TrackerLike) -> str:
    return tracker if isinstance(tracker, str) else tracker.__name__
