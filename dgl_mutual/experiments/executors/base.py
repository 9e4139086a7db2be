"""Interface of executors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeAlias

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.trial import Outcome
from dgl_mutual.experiments.work import Work

#: `do_work` with its options bound: (work, dataset) -> (index of the plan, outcome).
DoWork: TypeAlias = Callable[..., tuple[int, Outcome]]


class Executor(Protocol):
    """Interface of a place where trials run.

    Attributes:
        num_jobs: number of parallel trials.
        num_processes: number of processes that train one trial together.
    """

    @property
    def num_jobs(self) -> int: ...

    @property
    def num_processes(self) -> int: ...

    def outcomes(
        self, do_work: DoWork, works: Sequence[Work], datasets: Sequence[Dataset], progress: Progress
    ) -> Generator[tuple[int, Outcome], None, None]:
        """Yield the result of `do_work` for each work, in the order in which they end.

        Args:
            datasets: the dataset of each plan; runs of a suite share them.

        Raises:
            TrainingError: processes are gone; outcomes so far remain valid.
        """
