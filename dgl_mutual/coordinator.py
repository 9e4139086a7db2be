"""The ensemble coordinator: it weighs the peers' logits per sample (the adaptive logit weighting unit of arXiv 2510.19223).

Every weighting is a softmax over the students of scores that a subclass of `Weighting` computes (see `dgl_mutual.weightings`). A student's
own column is left out if the mix teaches that student, and kept if it is the prediction of the ensemble.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.nn.custom_modules import versions
from dgl_mutual.nn.streams import custom_streams
from dgl_mutual.options import Options
from dgl_mutual.utils.custom_code import errors_attributed_to, is_custom
from dgl_mutual.utils.wording import kind_of


@dataclass(frozen=True)
class CoordinatorConfig:
    """The complete configuration of a coordinator, from which it can also be rebuilt.

    Attributes:
        weighting: the name of a weighting, its import path, or the class itself.
        num_samples: N of a full-batch node task; None if the set of samples is not fixed.
        tasks: number of outputs of each of several tasks; None for one task.
        options: the weighting's options as plain values.
        multi_label: for each task, whether its outputs are independent binary labels rather than classes (empty: no task has such labels).
    """

    weighting: str | type[Weighting]
    num_students: int
    num_outputs: int
    num_samples: int | None = None
    tasks: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    multi_label: tuple[bool, ...] = ()


class Coordinator(nn.Module, ABC):
    """Weights over students.

    Shapes: logits (K, N, C), confidence (K, N), samples (N,) sample indices; weights (R, K, N, 1 or C) for R receivers.
    """

    #: The configuration that it was built from.
    config: CoordinatorConfig
    #: Whether it applies to samples not seen in training.
    inductive: bool = True
    #: Its scores are the log-odds that a peer is right, fitted on training labels that this peer leaves out.
    cross_fitted: ClassVar[bool] = False

    @abstractmethod
    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """Log-weights before normalisation, broadcastable to (receivers K, peers K, N, C)."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Reset to the uniform mean."""

    def observe(self, logits: Tensor, samples: Tensor) -> None:
        """Learn from the students' predictions on exchange samples, without labels; called in each step with the exchange on.

        The default learns nothing.

        Args:
            logits: (K, N, C).
            samples: (N,), the indices of the samples.
        """
        return

    def task_coordinators(self) -> Sequence[Coordinator]:
        """The coordinator of each task; this one if there is one task."""
        return (self,)

    def checked_observe(self, logits: Tensor, samples: Tensor) -> None:
        """Call `observe`; errors of a custom weighting name it."""
        with errors_attributed_to(f"observe of the weighting {type(self).__name__!r}", self), _unchanged(self, logits, samples):
            self.observe(logits, samples)

    def peer_weights(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """The weight of peer j for receiver i on each sample: (K, K, N, 1 or C); zero for j = i, sums to 1 over j."""
        return torch.softmax(mask_self(self.checked_scores(logits, confidence, samples)), dim=1)

    def ensemble_weights(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """The weight of student j in the ensemble on each sample: (1, K, N, 1 or C); sums to 1 over j.

        NOTE[PAPER]: the scores of the ensemble are the mean of the students' scores. The paper leaves them open.
        """
        return torch.softmax(self.checked_scores(logits, confidence, samples).mean(0, keepdim=True), dim=1)

    def all_weights(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """`peer_weights` and, as the last receiver, `ensemble_weights`, from one evaluation: (K + 1, K, N, 1 or C)."""
        scores = self.checked_scores(logits, confidence, samples)
        return torch.softmax(torch.cat([mask_self(scores), scores.mean(0, keepdim=True)]), dim=1)

    def checked_scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        """Compute `scores`, expanded over receivers and peers. Those of a custom weighting are checked first."""
        if not is_custom(self):
            return self.scores(logits, confidence, samples)
        title = f"weighting {type(self).__name__!r}"
        k, n, c = logits.shape
        # In training the stream is that of the strategy's step.
        with (
            errors_attributed_to(f"scores of the {title}"),
            _unchanged(self, logits, confidence, samples),
            nullcontext() if self.training else custom_streams(None, logits.device),
        ):
            scores = self.scores(logits, confidence, samples)
        if not isinstance(scores, Tensor):
            raise UsageError(f"scores of the {title} returns {kind_of(scores)}. It must return a tensor of log-weights.")
        fits = scores.dim() == 4 and all(size in (1, full) for size, full in zip(scores.shape, (k, k, n, c), strict=True))
        if not fits or not scores.is_floating_point() or scores.layout != torch.strided:
            sparse = "sparse " if scores.layout != torch.strided else ""
            raise UsageError(
                f"The {title} returns {sparse}scores of the shape {tuple(scores.shape)} and the type {scores.dtype}. Expected dense "
                f"floating-point numbers of the shape ({k}, {k}, {n}, {c}): (receivers, peers, samples, outputs), each of which may be 1."
            )
        scores = scores.expand(k, k, *scores.shape[2:])
        if bool((scores.isnan() | (scores == math.inf)).any()) or bool(mask_self(scores).isneginf().all(1).any()):
            raise TrainingError(
                f"The {title} returns scores that are NaN or infinite, or minus infinity for all peers of a student. Check its scores for "
                "divisions by zero and logarithms of zero."
            )
        return scores


class WeightingOptions(Options):
    """Options of a weighting; the base has none."""


class HiddenOptions(WeightingOptions):
    """Options of a weighting with a hidden layer."""

    hidden: int = Field(16, ge=1)
    """h: hidden width."""


class Weighting(Coordinator):
    """Base class of weightings. A new one is a file in `dgl_mutual.weightings`, or a custom class, named by its import path.

    State kept from step to step must be a parameter, a buffer (`register_buffer`) or a tensor that `get_extra_state` returns.

    Class attributes:
        name: what users type.
        Options: its options.
    """

    name: ClassVar[str]
    Options: ClassVar[type[WeightingOptions]] = WeightingOptions

    def __init__(self, options: WeightingOptions, config: CoordinatorConfig) -> None:
        """Make the weighting for the numbers of students, outputs and samples in `config`, whose `tasks` is always None.

        Raises:
            UsageError: a setting that the weighting does not support.
        """
        super().__init__()
        self.options = options
        self.config = config

    def reset_parameters(self) -> None:
        """Reset to the uniform mean. A weighting with weights of its own overrides this."""


@contextmanager
def _unchanged(weighting: Coordinator, *tensors: Tensor) -> Iterator[None]:
    """Refuse custom code that changes shared tensors in place."""
    before = versions(*tensors)
    yield
    if versions(*tensors) != before and is_custom(weighting):
        raise UsageError(
            f"The weighting {type(weighting).__name__!r} changes the logits, confidence or samples that it receives. Use operations that "
            "make a new tensor, for example logits / 2 in place of logits /= 2."
        )


def mask_self(scores: Tensor) -> Tensor:
    """Set scores (K, K, N, 1 or C) to minus infinity where receiver and peer are the same student."""
    is_self = torch.eye(len(scores), dtype=torch.bool, device=scores.device)[:, :, None, None]
    return scores.masked_fill(is_self, -math.inf)


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """sum_j weights[r, j] * values[j]: weights (R, K, N, 1 or C), values (K, N, C), result (R, N, C)."""
    terms = zip(weights.unbind(1), values.unbind(0), strict=True)
    mixed = torch.mul(*next(terms))
    for weight, value in terms:  # one product at a time: the (R, K, N, C) intermediate would take three times as long
        mixed = torch.addcmul(mixed, weight, value)
    return mixed


class PerTask(Coordinator):
    """Several tasks at once: each has a coordinator of its own, which sees the logits and confidence of that task.

    Shapes: confidence (K, N, T); the others as in `Coordinator`, C being the logits of all tasks side by side.
    """

    def __init__(self, coordinators: Sequence[Coordinator], widths: Sequence[int], config: CoordinatorConfig) -> None:
        super().__init__()
        self.config = config
        self.coordinators = nn.ModuleList(coordinators)
        self.widths = list(widths)
        self.inductive = all(coordinator.inductive for coordinator in coordinators)

    def reset_parameters(self) -> None:
        for coordinator in self.task_coordinators():
            coordinator.reset_parameters()

    def observe(self, logits: Tensor, samples: Tensor) -> None:
        for coordinator, block in self._blocks(logits):
            coordinator.checked_observe(block, samples)

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        scores = [
            coordinator.checked_scores(block, confidence[..., task], samples).expand(len(block), *block.shape)
            for task, (coordinator, block) in enumerate(self._blocks(logits))
        ]
        return torch.cat(scores, dim=-1)

    def task_coordinators(self) -> Sequence[Coordinator]:
        return cast("Sequence[Coordinator]", self.coordinators)

    def _blocks(self, logits: Tensor) -> Iterator[tuple[Coordinator, Tensor]]:
        return zip(self.task_coordinators(), torch.split(logits, self.widths, dim=-1), strict=True)
