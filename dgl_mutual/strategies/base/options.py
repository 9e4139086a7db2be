"""Options common to several strategies."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.options import MAX_TEMPERATURE, MAX_WEIGHT, MIN_TEMPERATURE, IdleWith, Options
from dgl_mutual.search_space import Categorical, Real, SearchSpace
from dgl_mutual.strategies.base.exchange import Exchange, ExchangeOn, TargetPass
from dgl_mutual.utils.custom_code import errors_attributed_to, is_custom
from dgl_mutual.utils.wording import kind_of, value_and_kind

if TYPE_CHECKING:
    from typing_extensions import Self


#: Decay of a moving average of logits, over epochs.
DEFAULT_EMA_DECAY = 0.9


@dataclass(frozen=True)
class Unlabelled:
    """Training samples without labels, on which defaults may depend.

    Attributes:
        equal_counts: the same number of labels was kept of each class, although classes may differ in size.
        pool: some of these samples are graphs of a pool.
    """

    equal_counts: bool = False
    pool: bool = False


#: Beginning of the reason for an option that has no effect on the students, but on something else.
EXCEPT = "except on "
ENSEMBLE_ALONE = f"{EXCEPT}the ensemble, "


class StrategyOptions(Options):
    """Options of a strategy; the base has none."""

    def resolved(self, epochs: int, task: TaskName, unlabelled: Unlabelled | None = None) -> Self:
        """Return the options with open values filled in for a training of this many epochs on this task.

        Args:
            unlabelled: the training samples without labels, if there are any.
        """
        return self if unlabelled is None else self._with_unlabelled(task, unlabelled)

    def exchange(self) -> Exchange:
        """Return the exchange that resolved options set; see `Strategy.exchange`."""
        return Exchange()

    def without_effect(self, num_students: int) -> Mapping[str, str]:
        """Map each resolved option that has no effect beside the others to the reason, the end of a sentence.

        The reason for an option that changes the ensemble alone begins with ``except on the ensemble,``.

        Args:
            num_students: K.
        """
        return self.idle_beside_others()

    def _with_unlabelled(self, task: TaskName, unlabelled: Unlabelled) -> Self:
        """Return the options with the defaults for training samples without labels, where an option is not given."""
        return self._with_defaults({"exchange_on": "training"} if "exchange_on" in type(self).model_fields else {})

    def _with_defaults(self, defaults: Mapping[str, Any]) -> Self:
        """Return the options with other defaults, except for options that are given or whose default a custom class declares."""
        return self.model_copy(
            update={
                name: value
                for name, value in defaults.items()
                if name not in self.model_fields_set and not is_custom(self._declaring(name))
            }
        )

    @classmethod
    def _declaring(cls, name: str) -> type:
        """Return the class that declares the default of an option."""
        return next(kind for kind in cls.__mro__ if name in inspect.get_annotations(kind))


def resolved_options(options: StrategyOptions, epochs: int, task: TaskName, unlabelled: Unlabelled | None = None) -> StrategyOptions:
    """Call `resolved`, which a custom class may override, and check the result.

    Raises:
        UsageError: the options do not fit, or a custom method fails or returns no options.
    """
    method = f"resolved of the options {type(options).__name__!r}"
    with errors_attributed_to(method, options):
        resolved = options.resolved(epochs, task, unlabelled)
    if not isinstance(resolved, StrategyOptions):
        raise UsageError(f"{method} returns {kind_of(resolved)}. It must return options, for example self.")
    return resolved


def checked_reasons(options: StrategyOptions, num_students: int) -> Mapping[str, str]:
    """Call `without_effect`, which a custom class may override, and check the result as `resolved_options` does."""
    method = f"without_effect of the options {type(options).__name__!r}"
    with errors_attributed_to(method, options):
        reasons = options.without_effect(num_students)
    if not isinstance(reasons, Mapping) or not all(isinstance(why, str) for why in reasons.values()):
        raise UsageError(
            f"{method} returns {value_and_kind(reasons)}. It must return a mapping from names of options to reasons (strings)."
        )
    return reasons


class TeachingOptions(StrategyOptions):
    """Weight and warm-up of the terms that are learned from others. A subclass may add ``exchange_on``, the samples of the exchange."""

    search_space: ClassVar[SearchSpace] = {"weight": Real(0.1, 10.0, log=True), "exchange_warmup": Categorical((None, (0, 0)))}
    weight: float = Field(1.0, ge=0, le=MAX_WEIGHT)
    """lambda: weight of the terms that are learned from others."""
    exchange_warmup: tuple[int, int] | None = (0, 0)
    """[start, length]: lambda is 0 until epoch start, then grows linearly over length epochs (null: a quarter of the epochs each)."""

    @model_validator(mode="after")
    def _check_warmup(self) -> TeachingOptions:
        if self.exchange_warmup is not None and min(self.exchange_warmup) < 0:
            raise ValueError("exchange_warmup takes two epochs that are not negative, [start, length]")
        return self

    def resolved(self, epochs: int, task: TaskName, unlabelled: Unlabelled | None = None) -> Self:
        """See `StrategyOptions.resolved`.

        Raises:
            UsageError: the exchange would not begin in so many epochs.
        """
        options = super().resolved(epochs, task, unlabelled)
        warmup = self.exchange_warmup
        if warmup is None:
            return options.model_copy(update={"exchange_warmup": (epochs // 4, epochs // 4)})
        if options.weight > 0 and warmup[0] >= epochs:
            raise UsageError(
                f"With strategy_options.exchange_warmup = {list(warmup)} students learn from others from epoch {warmup[0]} on, and "
                f"training.epochs = {epochs}: they never would. Let it begin earlier, train for longer, or leave exchange_warmup out, so "
                "that it follows from the epochs."
            )
        return options

    def exchange(self) -> Exchange:
        assert self.exchange_warmup is not None  # `resolved` fills it in
        return Exchange(on=getattr(self, "exchange_on", Exchange.on), warmup=self.exchange_warmup)


class ImitationOptions(TeachingOptions):
    """Options of members that imitate the predictions of others."""

    search_space: ClassVar[SearchSpace] = {**TeachingOptions.search_space, "temperature": Real(0.5, 5.0, log=True)}
    idle_with: ClassVar[IdleWith] = {
        "temperature": {"weight": (0.0,)},
        "target_temperature": {"weight": (0.0,)},
        "scale_by_temperature": {"temperature": (1.0,), "weight": (0.0,)},
    }
    temperature: float = Field(1.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    """T: temperature of the student's own distribution in the exchange."""
    target_temperature: float | None = Field(None, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    """Temperature of the peers' distribution; below 1 it sharpens (default: the same as `temperature`)."""
    scale_by_temperature: bool = True
    """Multiply the exchange by T^2, so that its gradient does not shrink with T."""
    exchange_on: ExchangeOn = "all"
    """The samples on which members imitate: all (of a step: all nodes, or the graphs of the batch), training (labelled or not), labelled,
    or transductive (also validation and test samples, without their labels). With sampled neighbourhoods, all and transductive are the
    training nodes of the step and as many other nodes."""

    def exchange(self) -> Exchange:
        return replace(super().exchange(), targets="eval")

    @property
    def peers_temperature(self) -> float:
        return self.temperature if self.target_temperature is None else self.target_temperature

    @property
    def scale(self) -> float:
        """lambda, times T^2 if `scale_by_temperature`."""
        return self.weight * (self.temperature**2 if self.scale_by_temperature else 1.0)


class TargetOptions(TeachingOptions):
    """Options that select the predictions that members learn from."""

    idle_with: ClassVar[IdleWith] = {"ema_decay": {"targets": ("train", "eval", "best")}}
    targets: TargetPass = "train"
    """Which predictions of the peers are the targets: eval (dropout off, batch norm in evaluation mode), train (the noisy training pass),
    ema (moving average of eval), best (eval of each peer at its best epoch so far, by validation), or average (eval with a moving average
    of each peer's weights, as in `mean-teacher`; Ge et al., ICLR 2020, arXiv 2001.01526)."""
    ema_decay: float = Field(DEFAULT_EMA_DECAY, ge=0, lt=1)
    """Decay of the moving average of logits over epochs (targets: ema), or of weights over steps (targets: average), for which 0.99 and
    more are usual where an epoch has many steps."""

    def exchange(self) -> Exchange:
        return replace(super().exchange(), targets=self.targets, decay=self.ema_decay)


class ExchangeOptions(TargetOptions, ImitationOptions):
    """Options of members that train side by side and exchange predictions. Strategies inherit them and change the defaults."""
