"""Interface of executors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeAlias

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.trial import Outcome
from dgl_mutual.experiments.work import Work

#: `do_work` with its options bound: does a piece of work on its dataset, and says to which plan the outcome belongs.
DoWork: TypeAlias = Callable[..., tuple[int, Outcome]]


class Executor(Protocol):
    """Runs trials somewhere.

    Attributes:
        num_jobs: trials at a time.
        num_processes: processes that train one trial together.
    """

    @property
    def num_jobs(self) -> int: ...

    @property
    def num_processes(self) -> int: ...

    def outcomes(
        self, do_work: DoWork, works: Sequence[Work], datasets: Sequence[Dataset], progress: Progress
    ) -> Generator[tuple[int, Outcome], None, None]:
        """What `do_work` returns for each of the works, as they come.

        Args:
            datasets: of each plan; runs of a suite share them.

        Raises:
            TrainingError: processes are gone; outcomes that have come stay valid.
        """
