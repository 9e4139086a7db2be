"""Configuration of the exchange: source of targets, samples, warm-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dgl_mutual.errors import UsageError, unknown

TargetPass = Literal["eval", "train", "ema", "best", "average"]
#: ``frozen``: the strategy reads logits only of members that do not train in the same phase.
TargetSource = Literal[TargetPass, "frozen"]
ExchangeOn = Literal["all", "training", "labelled", "transductive"]


@dataclass(frozen=True)
class Exchange:
    """How members learn from others: the settings that the training loop needs. The default is for strategies without an exchange.

    Attributes:
        targets: which pass gives `Step.targets`: eval (dropout off, batch norm in evaluation mode), train (the training pass of the step
            itself), ema (the moving average of eval), best (eval of each member at its best epoch so far, by validation; before the first,
            its latest), average (eval with a moving average of each member's weights), or frozen: the strategy reads only the logits of
            members that do not train in the same phase, which are always eval.
        decay: decay of the moving average of logits (ema) or weights (average).
        on: the samples of `Step.exchange`: all of a step, its training samples (labelled or not), the labelled ones, or transductive: all
            of a step, which then also has validation and test samples, without their labels.
        warmup: (start, length) in epochs of a phase: `Step.ramp` is 0 before the start, then grows linearly to 1. Early stopping counts
            from the start on.

    Raises:
        UsageError: a value is unknown or out of range.
    """

    targets: TargetSource = "train"
    decay: float = 0.0
    on: ExchangeOn = "labelled"
    warmup: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.targets not in get_args(TargetSource):
            raise unknown("Exchange(targets=...)", self.targets, get_args(TargetSource))
        if self.on not in get_args(ExchangeOn):
            raise unknown("Exchange(on=...)", self.on, get_args(ExchangeOn))
        if not 0 <= self.decay < 1:
            raise UsageError(f"Exchange(decay={self.decay!r}): the decay of a moving average is in [0, 1), for example 0.9.")
        if len(self.warmup) != 2 or not all(isinstance(epochs, int) and epochs >= 0 for epochs in self.warmup):
            raise UsageError(f"Exchange(warmup={self.warmup!r}): give two numbers of epochs, (start, length), for example (10, 10).")

    @property
    def uses_unlabelled(self) -> bool:
        """Whether steps need samples without labels."""
        return self.on != "labelled"

    @property
    def is_transductive(self) -> bool:
        """Whether steps need validation and test samples."""
        return self.on == "transductive"

    def ramp(self, epoch: int) -> float:
        """The factor in [0, 1] on the terms learned from others, in this epoch of a phase."""
        start, length = self.warmup
        if epoch < start:
            return 0.0
        return 1.0 if length == 0 else min(1.0, (epoch - start + 1) / length)
