"""TensorBoard: event files in the run's folder, below ``tensorboard/``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from dgl_mutual.training.trackers.base import Tracker
from dgl_mutual.utils.paths import refuse_links


class TensorBoardTracker(Tracker):
    """Writes event files with `torch.utils.tensorboard`. View them with ``tensorboard --logdir results``."""

    title, package, extra = "TensorBoard", "torch.utils.tensorboard", "tensorboard"
    _writer: Any

    def open(self) -> None:
        folder = self.run.folder / "tensorboard" / self.run.name
        refuse_links(folder, self.run.folder)
        self._writer = self.client().SummaryWriter(log_dir=str(folder))
        self._writer.add_text("config", f"```yaml\n{yaml.safe_dump(dict(self.run.config), sort_keys=False)}```")

    def log(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self, failed: bool) -> None:
        self._writer.close()
