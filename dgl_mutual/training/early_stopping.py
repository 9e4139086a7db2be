"""Early stopping on validation metrics. Only these numbers are passed to it, so it cannot use a test metric."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dgl_mutual.errors import TrainingError
from dgl_mutual.training.evaluation.metrics import as_compared


@dataclass
class EarlyStopping:
    """Keeps the best epoch by validation metric, ties (see `as_compared`) broken by the lower validation loss.

    It stops after `patience` epochs without a better one; epochs before `start` do not count, though the best may be among them. Small
    validation parts give the same accuracy for many epochs: without the tie-break the first of them would win.
    """

    patience: int
    start: int = 0
    best_epoch: int | None = None
    best_metric: float = -math.inf
    best_loss: float = math.inf
    stopped: bool = False

    def update(self, epoch: int, *, val_metric: float, val_loss: float) -> bool:
        """Update with the scores of one epoch, and return whether it is the best so far.

        Raises:
            TrainingError: a metric or loss that is not finite, and so cannot be compared.
        """
        if not (math.isfinite(val_metric) and math.isfinite(val_loss)):
            raise TrainingError(
                f"Validation is not finite in epoch {epoch} (metric {val_metric}, loss {val_loss}), so no epoch can be chosen. Likely "
                "causes are features of extreme size and a learning rate that is too large; rescale the former or lower the latter."
            )
        if self.stopped:
            return False
        candidate, best = (as_compared(val_metric), -val_loss), (as_compared(self.best_metric), -self.best_loss)
        if self.best_epoch is None or candidate > best:
            self.best_epoch, self.best_metric, self.best_loss = epoch, val_metric, val_loss
            return True
        self.stopped = epoch - max(self.best_epoch, self.start - 1) >= self.patience
        return False
