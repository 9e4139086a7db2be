"""Members as they were at their best epoch: for targets (`targets: best`) of steps that make them on their own samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dgl_mutual.nn.module import CohortMember
from dgl_mutual.training.averages import copied


class BestMembers:
    """A copy of each member, with its weights at its best epoch so far.

    Args:
        members: all members of a cohort.
    """

    def __init__(self, members: Sequence[CohortMember]) -> None:
        self._members = members
        self._kept: dict[int, CohortMember] = {}

    def keep(self, students: Mapping[int, CohortMember]) -> None:
        """Keep a copy of these members as they are now, in place of the copies before.

        Raises:
            UsageError: one that cannot be copied.
        """
        self._kept.update({k: copied(student) for k, student in students.items()})

    def of(self, member: int) -> CohortMember:
        """A member at its best epoch, in evaluation mode."""
        return self._kept[member]

    def state(self) -> dict[str, Any]:
        """What must be kept to resume."""
        return {str(k): student.state_dict() for k, student in self._kept.items()}

    def restore(self, found: Mapping[str, Any], members: Iterable[int]) -> None:
        """Take back what `state` gave, for the members that train.

        Raises:
            LookupError, RuntimeError: it is of others.
        """
        self.keep({k: self._members[k] for k in members})
        for k, student in self._kept.items():
            student.load_state_dict(found[str(k)])
