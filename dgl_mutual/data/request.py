"""What is asked of the readers of datasets."""

from __future__ import annotations

from dataclasses import dataclass

from dgl_mutual.data.target import TaskName


@dataclass(frozen=True)
class Request:
    """What a reader is asked for. A reader of data with one task, or whose files always have labels, need not look at it.

    Attributes:
        task: None where the data say.
        require_labels: whether missing labels are a fault; otherwise they are unknown.
        targets: the chosen ones, by name; None: all, or in CSV form the column ``label``.
    """

    task: TaskName | None = None
    require_labels: bool = True
    targets: tuple[str, ...] | None = None
