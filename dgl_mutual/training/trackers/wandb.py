"""Weights & Biases: a group a run, a W&B run a training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dgl_mutual.errors import UsageError
from dgl_mutual.training.trackers.base import Tracker


class WandbTracker(Tracker):
    """Sends figures to the project WANDB_PROJECT (default: ``dgl-mutual``). With WANDB_MODE=offline it writes files alone."""

    title, package, extra = "Weights & Biases", "wandb", "wandb"
    _run: Any

    @classmethod
    def check(cls) -> None:
        wandb = cls.client()
        # Without a key wandb.init asks for one, and a run never asks.
        if os.environ.get("WANDB_MODE", "online") in ("online", "shared") and not getattr(getattr(wandb, "api", None), "api_key", None):
            raise UsageError("Weights & Biases has no key for this machine. Run 'wandb login' first, or set WANDB_MODE=offline.")

    def open(self) -> None:
        self.run.folder.mkdir(parents=True, exist_ok=True)
        self._run = self.client().init(
            project=os.environ.get("WANDB_PROJECT") or "dgl-mutual",
            group=self.run.group,
            name=self.run.name,
            config=dict(self.run.config),
            dir=str(self.run.folder),
            reinit=True,
        )

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def summarise(self, figures: Mapping[str, float], step: int) -> None:
        self._run.summary.update(dict(figures))

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
