"""Arguments of dataset readers: the request, and a list that collects the faults of files. Loading stops at the first fault, `verify`
shows all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError, shortened
from dgl_mutual.utils.wording import counted

#: The rule that a missing file breaks.
MISSING_FILE = "the file is missing"


@dataclass(frozen=True)
class Fault:
    """One broken rule.

    Attributes:
        file: the file that breaks it.
        line: the line, from 1 on; None where the file has no lines (a pickle, an archive) or the fault concerns the whole file.
        rule: what was expected and what was found.
        fix: how to correct it, if not by the hint of the dataset.
    """

    file: Path
    line: int | None
    rule: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f', line {self.line}'}: {self.rule}"


class Faults:
    """The faults of one dataset, collected while its files are read. Loading and verification share all rules in this way.

    Args:
        hint: how to correct the files of this dataset, as a sentence.
        labels: whether labels are required.
        folder: the dataset's folder. Links in it are followed, but faults quote nothing from files outside of it: a foreign folder may link
            to a private file.
    """

    def __init__(self, hint: str = "Correct the file.", *, labels: bool = True, folder: Path | None = None) -> None:
        self.found: list[Fault] = []
        self.hint = hint
        self.labels = labels
        self._folder = folder

    def add(self, file: Path, rule: str, line: int | None = None, *, fix: str = "") -> None:
        if self._folder is not None and _leads_out(file, self._folder):
            rule = (
                f"the file is not as expected, and its content is not shown, since it is a link out of the dataset's folder, to "
                f"{str(file.resolve())!r}; put a copy in its place to see more"
            )
            line = None
        self.found.append(Fault(file, line, shortened(rule.removesuffix("."), most=1000), fix))

    def add_lines(self, file: Path, lines: Sequence[int] | IntArray, rule: str) -> None:
        """Add one fault at the first of `lines`, with the number of lines that break the rule; nothing for no lines."""
        if len(lines):
            more = f" ({len(lines)} lines break this rule)" if len(lines) > 1 else ""
            self.add(file, rule + more, int(lines[0]))

    def check(self) -> None:
        """Raise the first fault, if there is one.

        Raises:
            DataError: the first fault, and the number of others.
        """
        if self.found:
            first, *others = self.found
            command = f"dgl-mutual data verify DATASET{'' if self.labels else ' --no-labels'}"
            more = f"\n{counted(len(others), 'more kind')} of fault; '{command}' lists them all." if others else ""
            hint = self.hint.replace("Correct the file", "Add the file", 1) if first.rule == MISSING_FILE else self.hint
            raise DataError(f"{first}.{more}\n{first.fix or hint}")


def _leads_out(file: Path, folder: Path) -> bool:
    """Whether `file` is readable and lies outside of `folder`, which may be a link itself."""
    # Not Path.is_file, which raises for a name that is too long.
    return os.path.isfile(file) and os.access(file, os.R_OK) and not file.resolve().is_relative_to(folder.resolve())


@dataclass(frozen=True)
class Request:
    """The user's request to a reader. Readers of data with a single task, or whose files always have labels, may ignore it.

    Attributes:
        task: the task; None to infer it from the data.
        require_labels: whether missing labels are a fault; otherwise they are unknown.
        targets: names of the chosen targets; None for all, or in CSV form for the column ``label``.
    """

    task: TaskName | None = None
    require_labels: bool = True
    targets: tuple[str, ...] | None = None
