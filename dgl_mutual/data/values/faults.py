"""What readers of datasets are given: the request, and a list to which they add faults of files. Loading stops at the first of them,
`verify` shows all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError, shortened
from dgl_mutual.utils.wording import counted

#: The rule that a file breaks which is not there.
MISSING_FILE = "the file is missing"


@dataclass(frozen=True)
class Fault:
    """One broken rule.

    Attributes:
        file: the file that breaks it.
        line: its 1-based line; None where the file has no lines (a pickle, an archive) or the fault is the whole file's.
        rule: what was expected and what was found.
        fix: what to do about it, where that is not the hint of the dataset.
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
        folder: the dataset's folder. Links in it are followed, but a fault quotes nothing of a file outside of it: a folder made by someone
            else may link to a private file.
    """

    def __init__(self, hint: str = "Correct the file.", *, labels: bool = True, folder: Path | None = None) -> None:
        self.found: list[Fault] = []
        self.hint = hint
        self.labels = labels
        self._folder = folder

    def add(self, file: Path, rule: str, line: int | None = None, *, fix: str = "") -> None:
        if self._folder is not None and _leads_out(file, self._folder):
            rule = (
                f"the file is not as expected, and what it holds is not shown, since it is a link out of the dataset's folder, to "
                f"{str(file.resolve())!r}; put a copy in its place to see more"
            )
            line = None
        self.found.append(Fault(file, line, shortened(rule.removesuffix("."), most=1000), fix))

    def add_lines(self, file: Path, lines: Sequence[int] | IntArray, rule: str) -> None:
        """One fault at the first of `lines`, saying how many lines break the rule; none if no line does."""
        if len(lines):
            more = f" ({len(lines)} lines break this rule)" if len(lines) > 1 else ""
            self.add(file, rule + more, int(lines[0]))

    def check(self) -> None:
        """Stop where there are faults.

        Raises:
            DataError: naming the first fault, if there is one.
        """
        if self.found:
            others = len(self.found) - 1
            command = f"dgl-mutual data verify DATASET{'' if self.labels else ' --no-labels'}"
            more = f"\n{counted(others, 'more kind')} of fault; '{command}' lists them all." if others else ""
            hint = self.hint.replace("Correct the file", "Add the file", 1) if self.found[0].rule == MISSING_FILE else self.hint
            hint = self.found[0].fix or hint
            raise DataError(f"{self.found[0]}.{more}\n{hint}")


def _leads_out(file: Path, folder: Path) -> bool:
    """Whether it is a file that can be read, and lies outside of `folder`, which may be a link itself."""
    # Not Path.is_file, which raises for a name that is too long.
    return os.path.isfile(file) and os.access(file, os.R_OK) and not file.resolve().is_relative_to(folder.resolve())


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
