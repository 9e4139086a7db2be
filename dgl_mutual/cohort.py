"""K students and their coordinator as one module."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from dgl_mutual.coordinator import Coordinator, mix
from dgl_mutual.distributions import Distribution
from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import CohortMember, StudentOutput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.store.members import BEST, ENSEMBLE, MEAN, MLP_MEMBER

#: Maximum number of samples per call of the coordinator; pairwise weights need much more memory than logits.
_MAX_SAMPLES = 1 << 17
#: Valid names of members; they are used in file names.
MEMBER_NAME = re.compile(r"\w[\w.-]*")
#: Names reserved for aggregate results and files.
RESERVED_NAMES = (MEAN, BEST, ENSEMBLE, MLP_MEMBER)


class Cohort(nn.Module):
    """Students that train together, and the coordinator that combines their predictions.

    A strategy may add members (a teacher, a leader): they follow the students and are not part of the ensemble.

    Args:
        members: the students, followed by members that the strategy added.

    Attributes:
        names: one name per member; for a student, its architecture and place, for example ``gat-1``.
        num_students: K.
        positions: number of random-walk steps whose return probabilities are the students' last features.
    """

    def __init__(
        self,
        members: Sequence[CohortMember],
        coordinator: Coordinator,
        distribution: Distribution,
        names: Sequence[str],
        num_students: int,
        *,
        positions: int = 0,
    ) -> None:
        super().__init__()
        self._members = nn.ModuleList(members)
        self.coordinator = coordinator
        self.distribution = distribution
        self.names = tuple(names)
        self.num_students = num_students
        self.positions = positions

    @property
    def members(self) -> Sequence[CohortMember]:
        """All members: the K students, followed by members that the strategy added."""
        return cast("Sequence[CohortMember]", self._members)

    @property
    def students(self) -> Sequence[CohortMember]:
        """The K students."""
        return self.members[: self.num_students]

    def __len__(self) -> int:
        return len(self.members)

    def forward(
        self, batch: Batch, members: Sequence[int] | None = None, generators: Sequence[torch.Generator] | None = None
    ) -> list[StudentOutput]:
        """One output per member (default: all members); `generators` has a dropout stream for every member of the cohort."""
        chosen = range(len(self)) if members is None else members
        return [self.members[k].forward_batch(batch, generators[k] if generators is not None else None) for k in chosen]

    def ensemble_logits(self, logits: Tensor, samples: Tensor) -> Tensor:
        """The coordinator's mix of all K students: logits (K, N, C), samples (N,) sample indices; result (N, C)."""
        return self._in_parts(self._mixed, logits, samples, dim=0)

    def peer_weights(self, logits: Tensor, samples: Tensor) -> Tensor:
        """The coordinator's weight of student j for student i on each sample: logits (K, N, C), samples (N,); result (K, K, N, 1 or C)."""
        return self._in_parts(self._weighed, logits, samples, dim=2)

    def _in_parts(self, compute: Callable[[Tensor, Tensor], Tensor], logits: Tensor, samples: Tensor, dim: int) -> Tensor:
        """Apply `compute` to the students' logits in parts of `_MAX_SAMPLES` samples, and concatenate the results along `dim`."""
        logits = logits[: self.num_students]
        if len(samples) <= _MAX_SAMPLES:
            return compute(logits, samples)
        parts = (slice(start, start + _MAX_SAMPLES) for start in range(0, len(samples), _MAX_SAMPLES))
        return torch.cat([compute(logits[:, part], samples[part]) for part in parts], dim)

    def _weighed(self, logits: Tensor, samples: Tensor) -> Tensor:
        weights = self.coordinator.peer_weights(logits, self.distribution.confidence(logits), samples)
        return weights.expand(-1, -1, len(samples), -1)

    def _mixed(self, logits: Tensor, samples: Tensor) -> Tensor:
        weights = self.coordinator.ensemble_weights(logits, self.distribution.confidence(logits), samples)
        return mix(weights, logits)[0]


def no_such_member(member: str, choices: Iterable[str]) -> UsageError:
    """The error for a member that cannot predict: an unknown one, or ``mean``.

    Args:
        choices: the members that can.
    """
    if member == MEAN:
        return UsageError(
            f"'mean' is the average of the students' metrics, so it has no predictions of its own. Choose from: {', '.join(choices)}."
        )
    return unknown("member", member, choices)


def student_names(students: Sequence[StudentOptions]) -> tuple[str, ...]:
    """``gcn-0``, ``gat-1``, ``MyNet-2``, ...: the architecture and the place in the cohort."""
    return tuple(f"{student.label}-{index}" for index, student in enumerate(students))
