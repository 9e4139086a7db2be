"""Weights & Biases: one group for each run, one W&B run for each training."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dgl_mutual.errors import UsageError
from dgl_mutual.training.trackers.base import Tracker
from dgl_mutual.utils.paths import refuse_links


def _has_key(wandb: ModuleType) -> bool:
    """Whether there is a key for this machine. Does not prompt for one."""
    login = getattr(wandb, "login", None)
    if login is not None and "prompt" in inspect.signature(login).parameters:  # such releases deprecate `wandb.api`
        return bool(login(prompt=False, verify=False))
    return bool(getattr(getattr(wandb, "api", None), "api_key", None))


class WandbTracker(Tracker):
    """Sends metrics to the project WANDB_PROJECT (default: ``dgl-mutual``). With WANDB_MODE=offline it only writes files."""

    title, package, extra = "Weights & Biases", "wandb", "wandb"
    _run: Any

    @classmethod
    def check(cls) -> None:
        wandb = cls.client()
        # Without a key, wandb.init would prompt for one.
        if os.environ.get("WANDB_MODE", "online") in ("online", "shared") and not _has_key(wandb):
            raise UsageError("Weights & Biases has no key for this machine. Run 'wandb login' first, or set WANDB_MODE=offline.")

    def open(self) -> None:
        self.run.folder.mkdir(parents=True, exist_ok=True)
        refuse_links(self.run.folder / "wandb", self.run.folder)
        self._run = self.client().init(
            project=os.environ.get("WANDB_PROJECT") or "dgl-mutual",
            group=self.run.group,
            name=self.run.name,
            config=dict(self.run.config),
            dir=str(self.run.folder),
        )

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def summarise(self, figures: Mapping[str, float], step: int) -> None:
        self._run.summary.update(dict(figures))

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
